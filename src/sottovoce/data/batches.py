"""Batches of speech: decoded once, of similar length, in an order that a seed decides, loaded ahead by threads."""

import random
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from sottovoce.data.audio import SAMPLE_RATE, TOLERANCE, as_speech, read_audio
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance, manifest_hash
from sottovoce.errors import SottovoceError
from sottovoce.files import shared_folder
from sottovoce.progress import track

T = TypeVar("T")
R = TypeVar("R")
WINDOW = 64  # batches whose utterances are sorted by length together: more saves padding, fewer mixes better


class Source(Protocol):
    """What training reads: each epoch's batches as lists of items, and what a list of items holds."""

    def plan(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch; the same for the same epoch."""
        ...

    def load(self, items: Sequence[int]) -> Any:
        """What the objective gets, as tensors on the CPU; called from a thread."""
        ...

    def names(self, items: Sequence[int]) -> list[str]:
        """The utterances, for messages."""
        ...

    def seconds(self, items: Sequence[int]) -> float:
        """How much audio it is."""
        ...


def samples(utterance: Utterance) -> np.ndarray:
    """The samples of an utterance as float32 at 16 kHz, whether it names a file or holds them.

    A file that is shorter than the utterance says was cut off, though its own header may not tell.

    Example:
        >>> samples(utterance).dtype
        dtype('float32')
    """
    audio = utterance.audio
    if isinstance(audio, Path):
        found = read_audio(audio)
        if len(found) / SAMPLE_RATE < utterance.seconds - TOLERANCE:
            length = f"{len(found) / SAMPLE_RATE:.2f} s long, but '{utterance.id}' says {utterance.seconds:.2f} s"
            raise SottovoceError(f"{audio} is {length}; copy it again, or correct the manifest.")
        return found
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / 32768.0
    return as_speech(audio, SAMPLE_RATE, name=f"the audio of '{utterance.id}'")


def decoded(
    utterances: Sequence[Utterance],
    folder: str | Path,
    *,
    on_bad: Callable[[str], None] | None = None,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[Utterance]:
    """The same utterances with their audio in one memory-mapped file of 16-bit samples: each file is decoded once.

    An utterance that cannot be decoded is an error; with `on_bad` that is told instead and the utterance left out.
    What `change` makes of the samples is kept instead of them. An interrupted pass goes on where it stopped. The file
    lies in the folder, or, unless samples are changed, where all steps of the run under way find it.

    Example:
        >>> ready = decoded(utterances, "cache")
    """
    common = shared_folder("audio") if change is None else None
    # What is shared is known by what it is made of: other steps have other utterances, or others of the same ids.
    keys = {u.id: u.id if common is None else f"{u.id} {data_stamp([u])}" for u in utterances}
    identity = "audio" if common is not None else f"audio {data_stamp(utterances)}"
    shelf = Shelf(common or folder, identity=identity, row=(), dtype="int16")
    missing = [utterance for utterance in utterances if keys[utterance.id] not in shelf]

    def decode(utterance: Utterance) -> np.ndarray | SottovoceError:
        try:
            audio = samples(utterance) if change is None else change(samples(utterance))
            # Louder than 16 bits can say: quieter as a whole, rather than cut.
            audio = audio / max(1.0, float(np.abs(audio).max()))
            return np.clip(np.rint(audio * 32768.0), -32768, 32767).astype(np.int16)
        except SottovoceError as error:
            return error

    waiting: dict[str, np.ndarray] = {}
    # Closed at once where the loop ends early: left to the garbage collector, its threads might have to end themselves.
    with closing(ahead(decode, missing, workers=4, depth=64)) as results:
        for utterance, result in track(zip(missing, results, strict=True), "decoding", len(missing)):
            if isinstance(result, np.ndarray):
                waiting[keys[utterance.id]] = result
            elif on_bad is None:
                raise result
            else:
                on_bad(f"{utterance.id}: {result}")
            if sum(map(len, waiting.values())) > 600 * SAMPLE_RATE:
                shelf.add(waiting)
                waiting = {}
    if waiting:
        shelf.add(waiting)
    kept = [(utterance, keys[utterance.id]) for utterance in utterances if keys[utterance.id] in shelf]
    return [replace(u, audio=shelf[key], seconds=len(shelf[key]) / SAMPLE_RATE) for u, key in kept]


def data_stamp(utterances: Sequence[Utterance]) -> str:
    """What tells one state of some data from another: what is known of it, its samples, its files' sizes.

    Example:
        >>> data_stamp([]) == data_stamp([])
        True
    """
    files = [utterance.audio for utterance in utterances if isinstance(utterance.audio, Path)]
    sizes = [path.stat().st_size if path.is_file() else 0 for path in files]
    return f"{manifest_hash(utterances)} {zlib.crc32(repr(sizes).encode()):08x}"


def only_sound(utterances: Sequence[Utterance], on_bad: Callable[[str], None]) -> list[Utterance]:
    """The utterances that can be decoded; `on_bad` is told of each that cannot.

    Example:
        >>> sound = only_sound(utterances, bad.append)
    """

    def fault(utterance: Utterance) -> str | None:
        try:
            samples(utterance)
        except SottovoceError as error:
            return f"{utterance.id}: {error}"
        return None

    kept = []
    with closing(ahead(fault, utterances, workers=4, depth=64)) as results:
        for utterance, message in track(zip(utterances, results, strict=True), "checking", len(utterances)):
            if message is None:
                kept.append(utterance)
            else:
                on_bad(message)
    return kept


def ahead(function: Callable[[T], R], items: Iterable[T], *, workers: int = 2, depth: int = 4) -> Generator[R]:
    """The function's results in order, computed by threads up to `depth` items ahead of who takes them.

    Example:
        >>> list(ahead(lambda number: 2 * number, range(3)))
        [0, 2, 4]
    """
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[R]] = deque()
        try:
            for item in items:
                running.append(pool.submit(function, item))
                if len(running) > depth:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            # Also where the taker stops early or a result is an error: nothing goes on in the background.
            for future in running:
                future.cancel()


def plan_batches(lengths: Sequence[float], *, most: float, seed: int | None, epoch: int = 0) -> list[list[int]]:
    """Batches of items of similar length that, padded, hold at most `most`; none is left out.

    With a seed, another order each epoch; without, from short to long, for one pass over everything. An item longer
    than `most` is a batch of its own.

    Example:
        >>> plan_batches([1, 5, 1, 5], most=10, seed=None)
        [[0, 2], [1, 3]]
    """
    order = list(range(len(lengths)))
    shuffle = random.Random(f"{seed}/{epoch}") if seed is not None else None
    window = len(order)
    if shuffle is not None and order:
        shuffle.shuffle(order)
        mean = sum(lengths) / len(lengths)
        window = max(1, round(WINDOW * most / max(mean, 1e-9)))
    batches: list[list[int]] = []
    for begin in range(0, len(order), max(1, window)):
        batches += cut(sorted(order[begin : begin + window], key=lambda item: lengths[item]), lengths, most)
    if shuffle is not None:
        shuffle.shuffle(batches)
        for batch in batches:
            shuffle.shuffle(batch)
    return batches


def cut(order: Iterable[int], lengths: Sequence[float], most: float) -> list[list[int]]:
    """Items in order of length as batches whose padded length stays within `most`."""
    batches: list[list[int]] = []
    for item in order:
        if batches and lengths[item] * (len(batches[-1]) + 1) <= most:
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


@dataclass(frozen=True)
class Speech:
    """Utterances as a `Source`: batches of at most so many seconds, put together by `collate`.

    Example:
        >>> source = Speech(utterances, collate=lambda chosen, audio: audio, batch_seconds=60, seed=0)
        >>> batch = source.load(source.plan(0)[0])
    """

    utterances: Sequence[Utterance]
    collate: Callable[[Sequence[Utterance], list[np.ndarray]], Any]
    batch_seconds: float = 60.0
    seed: int | None = 0

    def plan(self, epoch: int) -> list[list[int]]:
        """Batches of similar length, in this epoch's order."""
        lengths = [utterance.seconds for utterance in self.utterances]
        return plan_batches(lengths, most=self.batch_seconds, seed=self.seed, epoch=epoch)

    def load(self, items: Sequence[int]) -> Any:
        """The batch of these utterances."""
        chosen = [self.utterances[item] for item in items]
        return self.collate(chosen, [samples(utterance) for utterance in chosen])

    def names(self, items: Sequence[int]) -> list[str]:
        """The ids."""
        return [self.utterances[item].id for item in items]

    def seconds(self, items: Sequence[int]) -> float:
        """The audio without padding."""
        return sum(self.utterances[item].seconds for item in items)
