"""Decoding: any file that libsndfile reads, as mono at 16 kHz, with a sentence for each thing that can be wrong."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
import soxr

from sottovoce.errors import SottovoceError

SAMPLE_RATE = 16_000
LONGEST = 1800.0  # seconds: what is longer is a recording that somebody forgot to cut


def read_audio(path: str | Path, *, longest: float = LONGEST) -> np.ndarray:
    """The samples of a file as float32, mono (the mean of its channels) and at 16 kHz.

    Refused, each with its reason: no such file, no audio, cut off, empty, silent, NaN, longer than `longest` seconds.

    Example:
        >>> read_audio("speech.flac").dtype
        dtype('float32')
    """
    file = Path(path)
    if not file.is_file():
        raise SottovoceError(f"there is no audio file {file}; check the manifest's root.")
    if file.stat().st_size == 0:
        raise SottovoceError(f"{file} is an empty file; copy it again.")
    try:
        with soundfile.SoundFile(str(file)) as opened:
            promised, rate = opened.frames, opened.samplerate
            if promised > longest * rate:
                raise SottovoceError(
                    f"{file} is {promised / rate:.0f} s long, more than {longest:g} s; cut it, or allow more."
                )
            samples = opened.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise SottovoceError(f"{file} is no audio that can be decoded ({error}); copy or convert it again.") from error
    if len(samples) < promised:
        raise SottovoceError(f"{file} is cut off: {len(samples)} of {promised} samples are there; copy it again.")
    return as_speech(samples, rate, name=str(file))


def as_speech(samples: np.ndarray, rate: int, *, name: str = "the audio") -> np.ndarray:
    """Samples (time, or time x channels) of any rate as mono float32 at 16 kHz, checked.

    Example:
        >>> as_speech(np.random.randn(8_000), 8_000).shape
        (16000,)
    """
    mono = np.asarray(samples, dtype=np.float32)
    if mono.ndim == 2:
        mono = mono[:, 0] if mono.shape[1] == 1 else mono.mean(axis=1, dtype=np.float32)
    if mono.ndim != 1:
        raise SottovoceError(f"{name} has {mono.ndim} dimensions; give time, or time x channels.")
    if len(mono) == 0:
        raise SottovoceError(f"{name} holds no samples; leave it out.")
    # One fast pass says whether a closer look is needed: only NaN, infinity and silence have such an energy.
    energy = float(np.dot(mono, mono))
    if not np.isfinite(energy) and not np.isfinite(mono).all():
        raise SottovoceError(
            f"{name} holds NaN or infinite samples, at {np.argmin(np.isfinite(mono))} first; make it anew."
        )
    if energy == 0.0 and not mono.any():
        raise SottovoceError(f"{name} is silent: every sample is zero; leave it out.")
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)


def write_flac(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write a FLAC file that is whole or not there; the disk is not waited for, because corpora have a million.

    Example:
        >>> write_flac(Path("a.flac"), samples, 16_000)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        soundfile.write(str(part), samples, rate, format="FLAC")
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
