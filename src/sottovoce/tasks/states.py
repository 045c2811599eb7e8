"""States for probes: made in one pass and kept on the disk, or made anew for every batch where they take too much."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sottovoce.data.audio import SAMPLE_RATE
from sottovoce.data.batches import ahead, data_stamp, plan_batches, samples
from sottovoce.data.shelf import Shelf
from sottovoce.errors import SottovoceError
from sottovoce.files import free_at, place_for
from sottovoce.hearing import BATCH_SECONDS, Audio, as_float16, heard_once, refuse_nan, shelved, trimmed
from sottovoce.models.encoder import Encoder, Inputs, fingerprint, mean_over_time
from sottovoce.progress import bar
from sottovoce.tasks.batch import Batch
from sottovoce.tasks.task import Material
from sottovoce.training import best_device

Layer = int | Literal["sum", "each"]
Keeping = Literal["auto", "kept", "streamed"]
ROOM = 0.9  # the share of the free disk that states may take
FEW = 2000  # utterances that say what the numbers of streamed states are like
BYTES = 2  # a number of a state that is kept


@dataclass(frozen=True)
class States:
    """Where a probe's states come from: a shelf, or an encoder that makes them of each batch's audio.

    Example:
        >>> with states_for(encoder, splits, [0, 1], keeping="auto", pooled=False, name="pr", seed=0) as states:
        ...     states.mean.shape
        torch.Size([2, 768])
    """

    shelf: Shelf | None
    of: Callable[[Batch], torch.Tensor]
    mean: torch.Tensor
    std: torch.Tensor
    about: tuple[str, ...] = ()


@contextmanager
def states_for(
    encoder: Encoder,
    parts: dict[str, Material],
    layers: Sequence[int],
    *,
    keeping: Keeping,
    pooled: bool,
    name: str,
    seed: int,
) -> Iterator[States]:
    """The states of a training and a test split, kept or streamed; means over time (`pooled`) are always kept."""
    with place_for(f"states-{name}") as folder:
        both = [parts["train"], parts["test"]]
        if pooled or not streamed(encoder, both, layers, keeping, folder):
            shelf = collect(encoder, both, folder, layers=layers, pooled=pooled)
            rows = (shelf[utterance.id] for utterance in parts["train"].utterances)
            yield States(shelf, lambda batch: batch.inputs["states"], *feature_statistics(rows, shelf.row))
            return
        with encoder.on(best_device()), encoder.exact():
            rows = some_states(encoder, parts["train"], layers, seed)
            found = feature_statistics(rows, (len(layers), encoder.width))
            yield States(None, lambda batch: stacked(encoder, layers, batch.inputs), *found, (fingerprint(encoder),))


def streamed(
    encoder: Encoder, parts: Sequence[Material], layers: Sequence[int], keeping: Keeping, folder: Path
) -> bool:
    """Whether to make states anew for every batch: where that is wished, or where the disk has no room for them."""
    if keeping != "auto":
        return keeping == "streamed"
    seconds = sum(utterance.seconds for part in parts for utterance in part.utterances)
    wanted = seconds * SAMPLE_RATE / encoder.field()[1] * len(layers) * encoder.width * BYTES
    there = sum(file.stat().st_size for file in folder.glob("*")) if folder.is_dir() else 0
    return wanted > ROOM * (free_at(folder) + there)


def stacked(encoder: Encoder, layers: Sequence[int], inputs: Inputs) -> torch.Tensor:
    """States of a batch, (batch, frames, layers, width), rounded as those that are kept are."""
    with torch.no_grad():
        hidden = encoder.states(inputs)
    return as_float16(torch.stack([hidden[layer] for layer in layers], dim=2))


def some_states(encoder: Encoder, part: Material, layers: Sequence[int], seed: int) -> Iterator[np.ndarray]:
    """The states of some utterances of a split, by chance: enough to know their means and deviations."""
    chosen = list(part.utterances)
    if len(chosen) > FEW:
        chosen = random.Random(f"{seed}/statistics").sample(chosen, FEW)
    batches = plan_batches([utterance.seconds for utterance in chosen], most=BATCH_SECONDS, seed=None)

    def load(items: list[int]) -> tuple[list[int], Inputs, Audio]:
        audio = [samples(chosen[item]) for item in items]
        return items, encoder.inputs(audio), audio

    with bar("encoding some", len(chosen)) as advance:
        for items, inputs, audio in ahead(load, batches):
            rows = trimmed(encoder, stacked(encoder, layers, inputs).cpu().numpy(), audio)
            refuse_nan(dict(zip([chosen[item].id for item in items], rows, strict=True)), layers)
            yield from rows
            advance(len(items))


def chosen(layer: Layer, depth: int) -> list[int]:
    """The numbers of the states that a probe needs."""
    if isinstance(layer, str):
        return list(range(depth))
    if not 0 <= layer < depth:
        raise SottovoceError(f"layer={layer}, but this encoder's states are 0 to {depth - 1}; give one of these.")
    return [layer]


def collect(encoder: Encoder, parts: Sequence[Material], folder: Path, *, layers: Sequence[int], pooled: bool) -> Shelf:
    """The states of utterances, or their means over time, from one pass of the audio through the encoder.

    Example:
        >>> collect(encoder, [train], folder, layers=range(13), pooled=True)["a-1"].shape
        (1, 13, 768)
    """
    utterances = [utterance for part in parts for utterance in part.utterances]

    def ask(inputs: Inputs) -> list[torch.Tensor]:
        hidden = encoder.states(inputs)
        return [hidden[layer] for layer in layers]

    if not pooled:
        return shelved(encoder, ask, layers, utterances, folder, of="each")
    identity = f"means {fingerprint(encoder)} {list(layers)} {data_stamp(utterances)}"
    shelf = Shelf(folder, identity=identity, row=(len(layers), encoder.width), dtype="float32")

    def means(inputs: Inputs, audio: Audio) -> list[np.ndarray]:
        frames = torch.tensor(encoder.counts(audio), device=encoder.device)
        found = torch.stack([mean_over_time(state.float(), frames) for state in ask(inputs)], dim=1)
        return list(found[:, None].cpu().numpy())

    return heard_once(encoder, utterances, shelf, means, doing="encoding", pooled=True, states=layers)


def feature_statistics(arrays: Iterable[np.ndarray], row: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of every number of every layer, in one reading of the states of some utterances.

    Example:
        >>> feature_statistics([np.ones((49, 13, 768))], (13, 768))[0].shape
        torch.Size([13, 768])
    """
    count, total, squares = 0, np.zeros(tuple(row)), np.zeros(tuple(row))
    for array in arrays:
        rows = array.astype(np.float64)
        count, total, squares = count + len(rows), total + rows.sum(0), squares + np.square(rows).sum(0)
    mean = total / max(1, count)
    # What never varies is left at its scale.
    std = np.sqrt(np.maximum(squares / max(1, count) - mean**2, 0.0))
    std[std < 1e-6 * (1.0 + np.abs(mean))] = 1.0
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()
