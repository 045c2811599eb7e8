"""Audio as it comes: blocks of mono samples at 16 kHz from a file of any length, an array, or anything that goes on."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr

from sottovoce.data.audio import RATES, SAMPLE_RATE, OpenAudio, check_finite_samples, decoded_blocks, open_audio
from sottovoce.data.own.row import is_audio
from sottovoce.errors import SottovoceError
from sottovoce.files import local_path, scratch

Audio = str | Path | np.ndarray | Iterable[np.ndarray]
BLOCK = 10 * SAMPLE_RATE  # samples that are decoded at once


def blocks_of(audio: Audio) -> Iterator[np.ndarray]:
    """Blocks of samples of a file, of one array, or of an iterable of arrays (both at 16 kHz), checked.

    Example:
        >>> [len(block) for block in blocks_of([np.zeros(160, np.float32), np.zeros(80, np.float32)])]
        [160, 80]
    """
    if isinstance(audio, str | Path):
        with open_audio(audio) as file:
            yield from decoded(file)
        return
    several = [audio] if isinstance(audio, np.ndarray) else audio
    begun = 0
    for block in several:
        yield sound(np.asarray(block, dtype=np.float32), "the audio", begun)
        begun += len(block)


def decoded(file: OpenAudio) -> Iterator[np.ndarray]:
    """The blocks of an open file, at 16 kHz.

    Example:
        >>> with open_audio("speech.flac") as file:
        ...     sum(map(len, decoded(file)))
        48000
    """
    there, change = 0, resampler(file.rate)
    for block in decoded_blocks(file, BLOCK):
        yield change(sound(block, file.name, there), False)
        there += len(block)
    if not there:
        raise SottovoceError(f"{file.name} holds no samples; leave it out.")
    yield change(np.zeros(0, np.float32), True)


def raw(file: BinaryIO, rate: int) -> Iterator[np.ndarray]:
    """Blocks at 16 kHz of raw signed 16-bit little-endian mono samples, as recorders write them into a pipe.

    Example:
        >>> [len(block) for block in raw(io.BytesIO(bytes(640)), 16_000)]
        [320, 0]
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise SottovoceError(f"{rate} samples a second, but {RATES[0]} to {RATES[1]} are wanted; give another rate.")
    change, rest = resampler(rate), b""
    while data := file.read(rate // 5):  # a tenth of a second
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield change(np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768.0, False)
    yield change(np.zeros(0, np.float32), True)


def resampler(rate: int) -> Callable[[np.ndarray, bool], np.ndarray]:
    """What brings blocks of one recording to 16 kHz; it is called with each block and whether it is the last.

    Example:
        >>> len(resampler(16_000)(np.zeros(9, np.float32), True))
        9
    """
    if rate == SAMPLE_RATE:
        return lambda block, last: block
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, quality="HQ")
    return lambda block, last: stream.resample_chunk(block, last=last)


def sound(block: np.ndarray, name: str, begun: int) -> np.ndarray:
    """A block of finite samples of one channel.

    Example:
        >>> sound(np.array([np.nan], np.float32), "a.wav", 5)
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: a.wav holds NaN or infinite samples, at 5 first; make it anew.
    """
    if block.ndim != 1:
        raise SottovoceError(f"{name} has {block.ndim} dimensions, but one (time) is wanted.")
    check_finite_samples(block, name, begun)
    return block


@contextmanager
def saved(file: BinaryIO) -> Iterator[Path]:
    """What comes from a pipe as a file, for libsndfile looks at its ends; it is gone behind the block.

    Example:
        >>> with saved(sys.stdin.buffer) as path:  # doctest: +SKIP
        ...     sum(map(len, blocks_of(path)))
    """
    with scratch() as place, open(place / "piped", "w+b") as copy:
        shutil.copyfileobj(file, copy)
        copy.flush()
        yield place / "piped"


def audio_files(name: str) -> list[tuple[Path, Path]]:
    """A file, or all audio files in a folder and the folders in it, each with its place below that.

    Example:
        >>> audio_files("interviews")  # doctest: +SKIP
        [(PosixPath('interviews/a/1.flac'), PosixPath('a/1.flac'))]
    """
    path = local_path(name, "the audio file")
    if not path.is_dir():
        if not path.exists():
            raise SottovoceError(f"there is no audio file {name}; give a file, a folder, or - for standard input.")
        return [(path, Path(path.name))]
    found = sorted(each for each in path.rglob("*") if is_audio(each.name) and each.is_file())
    if not found:
        raise SottovoceError(f"there is no audio file in {name}; give another folder.")
    return [(each, each.relative_to(path)) for each in found]
