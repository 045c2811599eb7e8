"""Toy speech whose answers can be heard: tones for labels and phones, at the pitch of a speaker."""

from pathlib import Path

import numpy as np
import soundfile

from sottovoce.data.utterance import Phone, Utterance, write_manifest

TONES = {"low": 300.0, "middle": 700.0, "high": 1500.0}
RATE = 16_000
SPEECH_MINI = Path(__file__).resolve().parents[2] / "shared" / "speech-mini"


def tone(name: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """One of the tones, with a little noise."""
    times = np.arange(int(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * TONES[name] * times) + 0.02 * rng.standard_normal(len(times))).astype("float32")


def toy(split: str, index: int) -> Utterance:
    """Two tones after a pause; label and speaker are the first of them."""
    rng = np.random.default_rng([index, len(split), ord(split[1])])
    names = list(TONES)
    first, second = names[index % 3], names[(index // 3) % 3]
    lengths = [0.05 + 0.01 * (index % 4), 0.2, 0.15]
    pieces = [np.float32(0.005) * rng.standard_normal(int(lengths[0] * RATE)).astype("float32")]
    pieces += [tone(first, lengths[1], rng), tone(second, lengths[2], rng)]
    ends = np.cumsum([0, *map(len, pieces)]) / RATE
    names = ["SIL", first.upper(), second.upper()]
    phones = tuple(Phone(name, a, b) for name, a, b in zip(names, ends[:-1], ends[1:], strict=True))
    audio = np.concatenate(pieces)
    return Utterance(
        f"{split}-{index}",
        audio,
        len(audio) / RATE,
        text=f"{first} {second}",
        phones=phones,
        speaker=first,
        label=first,
        split=split,
    )


def toys(train: int = 36, dev: int = 9, test: int = 18) -> list[Utterance]:
    """Three splits."""
    return [toy(split, i) for split, n in (("train", train), ("dev", dev), ("test", test)) for i in range(n)]


def toy_folder(folder: Path) -> Path:
    """The same as files with a manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for utterance in toys():
        path = folder / f"{utterance.id}.flac"
        soundfile.write(str(path), np.asarray(utterance.audio), RATE)
        listed.append(Utterance(**{**vars(utterance), "audio": path}))
    write_manifest(folder / "manifest.jsonl", listed)
    return folder
