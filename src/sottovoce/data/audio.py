"""Decoding: any file that libsndfile reads, as mono at 16 kHz, with a sentence for each thing that can be wrong."""

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from sottovoce.data.containers import cut_off, without_size
from sottovoce.data.kept import wanted
from sottovoce.errors import SottovoceError, explain_system_error
from sottovoce.files import explained, local_path, regular_file
from sottovoce.files.leftovers import remove, sibling
from sottovoce.signals import deferred

SAMPLE_RATE = 16_000
LONGEST = 1800.0  # seconds: what is longer is a recording that somebody forgot to cut
TOLERANCE = 0.05  # seconds between what a manifest says and what its file holds
RATES = (1_000, 1_000_000)  # samples a second: what is beyond is no recording of speech, but a damaged header
CHANNELS = 64
HIGH = 192_000  # at a higher rate than this, as many samples as this gives in the longest time are the most
BLOCK = 1 << 20  # samples that are decoded at once: memory is taken for what is there, not for what is promised
# Of the system's refusals, those that have nothing to do with the file: no file is bad because of them.
_NOT_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True)
class OpenAudio:
    """An audio file whose header can be believed as far as it can be checked without decoding.

    `frames` is None where the file does not say how long it is.

    Example:
        >>> with open_audio("speech.flac") as audio:
        ...     print(audio.rate, audio.frames)
        16000 48000
    """

    name: str
    reader: soundfile.SoundFile
    rate: int
    channels: int
    frames: int | None


@contextmanager
def open_audio(source: str | Path | bytes, name: str = "") -> Iterator[OpenAudio]:
    """Open a file, or the bytes of one, for decoding.

    Refused, each with its reason: no such file, a folder, pipe or device, empty, no audio, cut off, and rates and
    numbers of channels that no recording of speech has.

    Example:
        >>> with open_audio("speech.flac") as audio:
        ...     audio.reader.read(100).shape
        (100,)
    """
    shown = name or str(source)
    try:
        with _opened(source, shown) as file:
            try:
                with soundfile.SoundFile(file.fileno(), closefd=False) as reader:
                    # It would seek behind each block: of no use, and impossible where the length is not known.
                    object.__setattr__(reader, "seekable", lambda: False)
                    yield _checked(reader, shown)
            except soundfile.SoundFileError as error:
                _read_over(file)
                code = getattr(error, "code", "")
                what = (getattr(error, "error_string", "").rstrip(". ") or f"libsndfile's error {code}").rstrip(".")
                raise SottovoceError(
                    f"{shown} is no audio that can be decoded ({what}); copy or convert it again."
                ) from error
    except OSError as error:
        if error.errno in _NOT_THE_FILE:
            raise
        error.filename = shown
        raise SottovoceError(str(explain_system_error(error))) from error


def read_audio(path: str | Path, *, longest: float = LONGEST) -> np.ndarray:
    """The samples of a file as float32, mono (the mean of its channels) and at 16 kHz.

    Refused, each with its reason: no such file, no audio, cut off, empty, silent, NaN, longer than `longest` seconds.
    A file is cut off that holds less than its own header says, or, of Ogg, whose last page does not end the stream
    (`containers.cut_off`). Where a header says nothing of the length, as that of a recording from a pipe (a size of 0
    or of all ones), what is there is taken for the whole. Bytes behind the audio (tags) do not matter.

    Example:
        >>> read_audio("speech.flac").dtype
        dtype('float32')
    """
    with open_audio(path) as audio:
        return as_speech(decode(audio, longest), audio.rate, name=audio.name)


def decode(audio: OpenAudio, longest: float = LONGEST) -> np.ndarray:
    """All samples of an open file as float32, the mean of its channels, at its own rate.

    Example:
        >>> with open_audio("speech.flac") as audio:
        ...     decode(audio).shape
        (48000,)
    """
    name, rate, promised = audio.name, audio.rate, audio.frames
    most = longest * min(rate, HIGH)
    if promised is not None and promised > most:
        raise SottovoceError(
            f"{name} is {promised / rate:.0f} s long, more than {most / rate:g} s; cut it, or allow more."
        )
    blocks, there = list[np.ndarray](), 0
    for block in decoded_blocks(audio):
        blocks.append(block)
        there += len(block)
        if there > most:
            raise SottovoceError(f"{name} is longer than {most / rate:g} s; cut it, or allow more.")
    return blocks[0] if len(blocks) == 1 else np.concatenate([np.zeros(0, np.float32), *blocks])


def decoded_blocks(audio: OpenAudio, size: int = BLOCK) -> Iterator[np.ndarray]:
    """The samples of an open file as float32, the mean of its channels, so many at once of all channels together.

    Refused, behind what is there: a file that holds less than its header says.

    Example:
        >>> with open_audio("speech.flac") as audio:
        ...     sum(map(len, decoded_blocks(audio)))
        48000
    """
    promised, there = audio.frames, 0
    while True:
        rest = size if promised is None else max(promised - there, 1)
        count = max(1, min(rest, size // audio.channels))
        block = audio.reader.read(count, dtype="float32", always_2d=True)
        if not len(block):
            break
        there += len(block)
        yield mono(block)
    if promised is not None and there < promised:
        raise SottovoceError(f"{audio.name} is cut off: {there} of {promised} samples are there; copy it again.")


def duration(path: str | Path) -> float:
    """The length of a file in seconds: by its header or, if that does not say it, by decoding.

    Example:
        >>> duration("speech.flac")
        3.0
    """
    with open_audio(path) as audio:
        frames = len(decode(audio)) if audio.frames is None else audio.frames
        if not frames:
            raise SottovoceError(f"{audio.name} holds no samples; leave it out.")
        if frames > LONGEST * audio.rate:
            raise SottovoceError(
                f"{audio.name} is {frames / audio.rate:.0f} s long, more than {LONGEST:g} s; cut it, or leave it out."
            )
        return frames / audio.rate


def as_speech(samples: np.ndarray, rate: int, *, name: str = "the audio") -> np.ndarray:
    """Samples (time, or time x channels) of any rate as mono float32 at 16 kHz, checked.

    Example:
        >>> as_speech(np.random.randn(8_000), 8_000).shape
        (16000,)
    """
    single = mono(np.asarray(samples, dtype=np.float32))
    if single.ndim != 1:
        raise SottovoceError(f"{name} has {single.ndim} dimensions; give time, or time x channels.")
    if len(single) == 0:
        raise SottovoceError(f"{name} holds no samples; leave it out.")
    # One fast pass says whether a closer look is needed: only NaN, infinity and silence have such an energy.
    with np.errstate(over="ignore", invalid="ignore"):
        energy = float(np.dot(single, single))
    if not np.isfinite(energy):
        check_finite_samples(single, name)
        loudest = float(np.abs(single).max())
        raise SottovoceError(f"{name} holds samples up to {loudest:.0e}, where 1 is as loud as can be; make it anew.")
    if energy == 0.0 and not single.any():
        raise SottovoceError(f"{name} is silent: every sample is zero; leave it out.")
    if rate != SAMPLE_RATE:
        single = soxr.resample(single, rate, SAMPLE_RATE, quality="HQ")
    return np.ascontiguousarray(single, dtype=np.float32)


def check_finite_samples(samples: np.ndarray, name: str, begun: int = 0) -> None:
    """Refuse NaN and infinity, and say where they are first; `begun` samples came before these.

    Example:
        >>> check_finite_samples(np.array([0.0, np.nan]), "a.wav", 5)
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: a.wav holds NaN or infinite samples, at 6 first; make it anew.
    """
    finite = np.isfinite(samples)
    if not finite.all():
        first = begun + int(np.argmin(finite))
        raise SottovoceError(f"{name} holds NaN or infinite samples, at {first} first; make it anew.")


def encode_flac(samples: np.ndarray, rate: int) -> bytes:
    """The content of a FLAC file.

    Example:
        >>> encode_flac(np.zeros(100, np.int16), 16_000)[:4]
        b'fLaC'
    """
    buffer = io.BytesIO()
    # libsndfile writes over callbacks here, and what a signal's handler raises at their door would be dropped.
    with deferred():
        soundfile.write(buffer, samples, rate, format="FLAC")
    return buffer.getvalue()


def write_flac(path: Path, samples: np.ndarray, rate: int, *, overwrite: bool = False) -> None:
    """Write a FLAC file that is whole or not there; the disk is not waited for, because corpora have a million.

    A file that is there is left alone if it has this content, and is refused otherwise unless `overwrite`.

    Example:
        >>> write_flac(Path("a.flac"), samples, 16_000)
    """
    content = encode_flac(samples, rate)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not wanted(path, content, overwrite=overwrite):
            return
        part = sibling(path, "part")
        try:
            part.write_bytes(content)
            os.replace(part, path)
        except BaseException:
            remove(part)
            raise


@contextmanager
def _opened(source: str | Path | bytes, name: str) -> Iterator[BinaryIO]:
    """A file, or bytes, as an open file that is whole."""
    if isinstance(source, bytes):
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(source)
            with _whole(file, name) as whole:
                yield whole
        return
    path = local_path(source, "the audio file")
    if not path.exists():
        raise SottovoceError(f"there is no audio file {name}; check the manifest's root.")
    with open(regular_file(path, "the audio"), "rb", buffering=0) as file, _whole(file, name) as whole:
        yield whole


@contextmanager
def _whole(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    if not file.seek(0, os.SEEK_END):
        raise SottovoceError(f"{name} is an empty file; copy it again.")
    if (fault := cut_off(file)) is not None:
        raise SottovoceError(f"{name} is cut off: {fault}; copy it again.")
    place = without_size(file)
    file.seek(0)
    if place is None:
        yield file
        return
    # libsndfile believes a size of 0, but takes what is there if the size is larger than the file.
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(place)
        copy.write(b"\xff" * 4)
        copy.seek(0)
        yield copy


def mono(samples: np.ndarray) -> np.ndarray:
    """Samples (time, or time x channels) as the mean of their channels.

    Example:
        >>> mono(np.array([[1.0, 3.0]], np.float32))
        array([2.], dtype=float32)
    """
    if samples.ndim != 2:
        return samples
    if samples.shape[1] == 1:
        return samples[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):  # infinity is found afterwards
        return samples.mean(axis=1, dtype=np.float32)


def _checked(reader: soundfile.SoundFile, name: str) -> OpenAudio:
    rate, channels = reader.samplerate, reader.channels
    if not RATES[0] <= rate <= RATES[1]:
        raise SottovoceError(
            f"{name} has {rate} samples a second, but {RATES[0]} to {RATES[1]} can be read; convert it again."
        )
    if not 1 <= channels <= CHANNELS:
        raise SottovoceError(f"{name} has {channels} channels, but 1 to {CHANNELS} can be read; convert it again.")
    known = reader.frames < 1 << 62  # libsndfile says 2^63 - 1 where the file does not say it
    return OpenAudio(name, reader, rate, channels, reader.frames if known else None)


def _read_over(file: BinaryIO) -> None:
    """Meet again what the system says of a file, if that is why it could not be decoded: libsndfile does not tell."""
    file.seek(0)
    for _ in range(64):
        if not file.read(1 << 20):
            return
