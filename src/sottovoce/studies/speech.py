"""The speech that a pass hears, and what an encoder makes of it."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from sottovoce.data.audio import SAMPLE_RATE
from sottovoce.data.batches import plan_batches, samples
from sottovoce.data.utterance import Utterance, recording
from sottovoce.errors import SottovoceError
from sottovoce.hearing import BATCH_SECONDS
from sottovoce.models.encoder import Encoder
from sottovoce.training import best_device


def recordings(
    data: Sequence[Utterance] | None, *, what: str, limit: int | None = None, seed: int = 0
) -> list[Utterance]:
    """Each recording of the test split once (of everything, where there is none), in an order of chance.

    Example:
        >>> len(recordings(data, what="similarity", limit=128))
        128
    """
    if not data:
        raise SottovoceError(f"{what} needs data: any speech; give --data.")
    if limit is not None and limit < 1:
        raise SottovoceError(f"{what}: limit={limit}, but at least 1 utterance is wanted.")
    rows = [utterance for utterance in data if utterance.split == "test"] or list(data)
    found: dict[str, Utterance] = {}
    for utterance in rows:
        found.setdefault(recording(utterance), utterance)
    kept = list(found.values())
    random.Random(seed).shuffle(kept)
    return kept[:limit]


def not_tested(data: Sequence[Utterance] | None, *, what: str) -> list[Utterance]:
    """The lines whose recordings are in no test split, of any task: what decisions may be made on.

    Example:
        >>> len(not_tested(data, what="an order of layers"))
        512
    """
    rows = list(data or ())
    tested = {recording(utterance) for utterance in rows if utterance.split == "test"}
    kept = [utterance for utterance in rows if recording(utterance) not in tested]
    if not kept:
        raise SottovoceError(f"{what} needs data: speech that is in no test split; give --data.")
    return kept


@contextmanager
def ready(*encoders: Encoder) -> Iterator[None]:
    """Encoders on the best device, in evaluation mode, with exact padding and without gradients inside."""
    if not encoders:
        with torch.no_grad():
            yield
        return
    with encoders[0].on(best_device()), encoders[0].exact(), ready(*encoders[1:]):
        yield


def cut_to(utterance: Utterance, seconds: float) -> np.ndarray:
    """So much of an utterance: its middle, or all of it and silence behind.

    Example:
        >>> len(cut_to(utterance, 1.0))
        16000
    """
    audio, wanted = samples(utterance), round(seconds * SAMPLE_RATE)
    begin = max(0, (len(audio) - wanted) // 2)
    return np.pad(audio[begin : begin + wanted], (0, max(0, wanted - len(audio))))


def each_states(encoder: Encoder, audio: Sequence[np.ndarray]) -> Iterator[tuple[int, tuple[torch.Tensor, ...]]]:
    """The number of each piece of audio, and its states (frames, width), in batches of similar length.

    Example:
        >>> with ready(encoder):
        ...     found = dict(each_states(encoder, audio))
    """
    lengths = [len(piece) / SAMPLE_RATE for piece in audio]
    for items in plan_batches(lengths, most=BATCH_SECONDS, seed=None):
        pieces = [audio[item] for item in items]
        hidden = encoder.states(encoder.inputs(pieces))
        for row, (item, frames) in enumerate(zip(items, encoder.counts(pieces), strict=True)):
            yield item, tuple(state[row, :frames].float() for state in hidden)
