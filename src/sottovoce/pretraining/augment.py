"""Speech as rooms, streets and other throats make it: reverberation, noise, and another speed and pitch."""

import zlib
from typing import Any

import numpy as np
import soxr
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

from sottovoce.data.audio import SAMPLE_RATE


def disturbed(audio: np.ndarray, name: str, occasion: str, seed: int, share: float) -> np.ndarray:
    """The audio, or for a `share` of cases the audio in a room with noise; the same for the same names and seed.

    Example:
        >>> disturbed(samples, "a-1", "first batch", seed=0, share=0.5).shape == samples.shape
        True
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(occasion.encode())])
    if rng.random() >= share:
        return audio
    if rng.random() < 0.5:
        audio = in_a_room(audio, rng)
    return with_noise(audio, rng)


def in_a_room(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The direct sound with an exponentially decaying tail of noise behind it: a room of 0.15 to 0.6 s."""
    seconds = rng.uniform(0.15, 0.6)
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(times)) * np.exp(-6.9 * times / seconds)
    response = np.concatenate([[1.0], rng.uniform(0.05, 0.3) * tail[1:] / np.sqrt(np.square(tail).sum()) * 3.0])
    heard: Any = fftconvolve(audio, response.astype(np.float32))
    return heard[: len(audio)].astype(np.float32)


def with_noise(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of some colour, 5 to 30 dB below the speech."""
    size = next_fast_len(len(audio), real=True)
    noise: Any = rfft(rng.standard_normal(size, np.float32))
    noise *= np.arange(1, len(noise) + 1, dtype=np.float32) ** -rng.uniform(0.0, 1.0)
    wave: Any = irfft(noise, size)
    wave = wave[: len(audio)]
    level = np.sqrt(np.mean(np.square(audio)) / max(np.mean(np.square(wave)), 1e-20)) * 10 ** (-rng.uniform(5, 30) / 20)
    return (audio + level * wave).astype(np.float32)


def sped(audio: np.ndarray, speed: float) -> np.ndarray:
    """Played so many times as fast, which raises the pitch and shortens the throat by as much.

    Example:
        >>> len(sped(np.zeros(1100, np.float32), 1.1))
        1000
    """
    return soxr.resample(audio, SAMPLE_RATE * speed, SAMPLE_RATE).astype(np.float32)
