"""Audio heard once through an encoder: what was asked of it is kept on a shelf, and a pass that stopped goes on."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from sottovoce.data.audio import SAMPLE_RATE
from sottovoce.data.batches import ahead, data_stamp, plan_batches, samples
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.models.encoder import Encoder, Inputs, fingerprint
from sottovoce.progress import bar
from sottovoce.training import best_device
from sottovoce.training.precision import half_precision
from sottovoce.training.settings import Precision

BATCH_SECONDS = 60.0  # of audio in a pass through an encoder
Audio = list[np.ndarray]


def heard_once(
    encoder: Encoder,
    utterances: Sequence[Utterance],
    shelf: Shelf,
    ask: Callable[[Inputs, Audio], Sequence[np.ndarray]],
    *,
    doing: str,
    pooled: bool = False,
    states: Sequence[int] = (),
    precision: Precision = "fp32",
) -> Shelf:
    """The shelf with the rows that `ask` makes of every utterance in its batch: one a frame, or with `pooled` one.

    `states` are the numbers of the hidden states in a row, for the message where one of them is no number.

    Example:
        >>> shelf = Shelf(folder, identity="lengths", row=(), dtype="int64")
        >>> heard_once(encoder, utterances, shelf, lambda inputs, audio: [...], doing="counting")["a-1"]
    """
    # Batches of all, of which those that are there are left out: a pass that goes on pads as one that never stopped.
    planned = plan_batches([utterance.seconds for utterance in utterances], most=BATCH_SECONDS, seed=None)
    batches = [items for items in planned if any(utterances[item].id not in shelf for item in items)]
    left = [utterances[item] for items in batches for item in items]
    frames = sum(utterance.seconds for utterance in left) * SAMPLE_RATE / encoder.field()[1]
    refuse_full(shelf.folder, (len(left) if pooled else int(frames)) * shelf.row_bytes)

    def load(items: list[int]) -> tuple[Inputs, Audio]:
        audio = [samples(utterances[item]) for item in items]
        return encoder.inputs(audio), audio

    with (
        bar(doing, len(left)) as advance,
        encoder.on(best_device()),
        encoder.exact(),
        torch.no_grad(),
        half_precision(encoder.model, best_device(), precision),
        closing(ahead(load, batches)) as loads,
    ):
        for items, (inputs, audio) in zip(batches, loads, strict=True):
            arrays = dict(zip([utterances[item].id for item in items], ask(inputs, audio), strict=True))
            if states:
                refuse_nan(arrays, states)
            shelf.add(arrays)
            advance(len(items))
    return shelf


def shelved(
    encoder: Encoder,
    ask: Callable[[Inputs], Sequence[torch.Tensor]],
    states: Sequence[int],
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    of: str,
    doing: str = "encoding",
    precision: Precision = "fp32",
) -> Shelf:
    """What a question to an encoder brings, a hidden state for each of these numbers, of every utterance as float16.

    `of` says in the shelf's identity what the question was.

    Example:
        >>> shelved(encoder, lambda inputs: encoder.states(inputs)[-1:], [12], utterances, folder, of="the last")
    """
    identity = f"states {fingerprint(encoder)} {list(states)} {of} {precision} {data_stamp(utterances)}"
    shelf = Shelf(folder, identity=identity, row=(len(states), encoder.width), dtype="float16")

    def answer(inputs: Inputs, audio: Audio) -> list[np.ndarray]:
        return trimmed(encoder, as_float16(torch.stack(list(ask(inputs)), dim=2)).cpu().numpy(), audio)

    return heard_once(encoder, utterances, shelf, answer, doing=doing, states=states, precision=precision)


def trimmed(encoder: Encoder, rows: np.ndarray, audio: Audio) -> list[np.ndarray]:
    """The frames of a padded batch that are of its utterances.

    Example:
        >>> [len(row) for row in trimmed(encoder, np.zeros((2, 49, 768)), [np.zeros(16_000), np.zeros(8_000)])]
        [49, 24]
    """
    return [row[:count] for row, count in zip(rows, encoder.counts(audio), strict=True)]


def as_float16(state: torch.Tensor) -> torch.Tensor:
    """States as float16, what is beyond it at its end.

    Example:
        >>> as_float16(torch.tensor([1e6]))
        tensor([65504.], dtype=torch.float16)
    """
    return state.float().clamp(-65504.0, 65504.0).half()


def refuse_full(folder: Path, wanted: int) -> None:
    """Stop before a disk is filled with states."""
    free = shutil.disk_usage(folder).free
    if wanted > 0.95 * free:
        raise SottovoceError(
            f"the states need {wanted / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free; take one layer, "
            "fewer utterances (limit=...), or another disk (--work FOLDER)."
        )


def refuse_nan(arrays: dict[str, np.ndarray], states: Sequence[int]) -> None:
    """Stop where a state is no number, and say in which layer of which utterance."""
    for name, array in arrays.items():
        bad = ~np.isfinite(array).all(axis=(0, 2))
        if bad.any():
            raise SottovoceError(
                f"layer {states[int(bad.argmax())]} of this model gives NaN or infinite states for '{name}'; check the "
                "model's weights with `sottovoce doctor`."
            )
