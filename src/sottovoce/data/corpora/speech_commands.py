"""Speech Commands: single English words of one second; also with the twelve classes of SUPERB.

The noises in `_background_noise_` are no words and are left out, except for SUPERB's twelve classes, where one-second
pieces of them are the silence of training (the separate test set brings its own).
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from sottovoce.data.audio import duration
from sottovoce.data.corpora.corpus import Archive, Corpus, Segment, locate, text_lines, visible
from sottovoce.data.utterance import Utterance

LICENSE = "CC-BY-4.0"
PAGE = "https://arxiv.org/abs/1804.03209"
HOST = "https://storage.googleapis.com/download.tensorflow.org/data/"
SUMS = {
    "v0.01": "sha256:743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
    "v0.02": "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
}
WORDS = {"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"}
TEST_SET = "speech_commands_test_set_v0.01"
MOST_HEARD = 50  # words of a speaker who is one of the classes
DEV_EVERY = 10  # of the pieces of noise, one in ten is for development


def _place(folder: Path, version: str) -> Path | None:
    named = f"speech_commands_{version}"
    above = locate(folder, f"{named}/testing_list.txt")
    return above / named if above else folder if (folder / "testing_list.txt").is_file() else None


def _word(path: Path, split: str, prefix: str = "") -> Utterance:
    word = path.parent.name
    # The same number before `_nohash_` is the same person, in every word.
    speaker, mark, _ = path.stem.partition("_nohash_")
    return Utterance(
        f"{prefix}{word}/{path.stem}",
        path,
        0.0,
        speaker=speaker if mark else None,
        label=word,
        task="keywords",
        split=split,
        license=LICENSE,
    )


def _words(folder: Path, version: str) -> Iterator[Utterance]:
    place = _place(folder, version)
    if place is None:
        return
    listed = {"dev": place / "validation_list.txt", "test": place / "testing_list.txt"}
    splits = {line.strip(): split for split, path in listed.items() for line in text_lines(path)}
    for path in visible(place, "*/*.wav"):
        if not path.parent.name.startswith("_"):
            yield _word(path, splits.get(f"{path.parent.name}/{path.name}", "train"))


def reader(version: str) -> Callable[[Path], Iterator[Utterance]]:
    """The function that reads one version: every word is a class, and the split is that of the official lists.

    Example:
        >>> next(reader("v0.02")(Path("commands"))).label
        'backward'
    """
    return lambda folder: _words(folder, version)


def read_twelve(folder: Path) -> Iterator[Utterance]:
    """SUPERB's twelve classes: ten words, every other word as `_unknown_`, and `_silence_`; the test set is its own.

    Example:
        >>> {utterance.label for utterance in read_twelve(Path("commands"))} - WORDS
        {'_silence_', '_unknown_'}
    """
    above = locate(folder, TEST_SET)
    if above is None:
        return
    for utterance in _words(folder, "v0.01"):
        if utterance.split != "test":
            yield utterance if utterance.label in WORDS else replace(utterance, label="_unknown_")
    for number, piece in enumerate(noises(folder)):
        yield _word(piece.audio, "train" if number % DEV_EVERY else "dev")
    for path in visible(above / TEST_SET, "*/*.wav"):
        yield _word(path, "test", prefix="test/")


def read_speakers(folder: Path) -> Iterator[Utterance]:
    """Who speaks: the people with at least 50 words in the training list of v0.02, as in the code of arXiv 2409.16302.

    There, a tenth of these words is held out; here a second tenth is for development. Which ones hangs on their names.

    Example:
        >>> next(read_speakers(Path("commands"))).task
        'speakers'
    """
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in _words(folder, "v0.02"):
        if utterance.split == "train" and utterance.speaker is not None:
            by_speaker.setdefault(utterance.speaker, []).append(utterance)
    for speaker, found in sorted(by_speaker.items()):
        # By a hash, so that no word is more often in one split than in another.
        mixed = sorted(found, key=lambda utterance: hashlib.sha256(utterance.id.encode()).digest())
        for number, utterance in enumerate(mixed if len(found) >= MOST_HEARD else ()):
            split = {0: "test", 1: "dev"}.get(number % 10, "train")
            yield replace(utterance, label=speaker, task="speakers", split=split)


def noises(folder: Path) -> Iterator[Segment]:
    """The noises of v0.01 second by second.

    Example:
        >>> next(noises(Path("commands"))).audio.parent.name
        '_silence_'
    """
    place = _place(folder, "v0.01")
    for source in visible(place, "_background_noise_/*.wav") if place else []:
        for second in range(int(duration(source))):
            name = f"{source.stem}-{second:03d}.flac"
            yield Segment(source, second, second + 1, source.parents[1] / "segments" / "_silence_" / name)


def _corpus(version: str, words: int) -> Corpus:
    return Corpus(
        f"speech-commands-{version}",
        f"{words} English words of one second each",
        LICENSE,
        PAGE,
        reader(version),
        f"speech_commands_{version}/testing_list.txt beside yes/0a7c2a8d_nohash_0.wav",
        {"all": (Archive(f"{HOST}speech_commands_{version}.tar.gz", SUMS[version]),)},
    )


V1 = _corpus("v0.01", 30)
V2 = _corpus("v0.02", 35)
SPEAKERS = Corpus(
    "speech-commands-speakers",
    "who says the words of speech-commands-v0.02: the people with at least 50 of them",
    LICENSE,
    PAGE,
    read_speakers,
    "speech_commands_v0.02/testing_list.txt beside yes/0a7c2a8d_nohash_0.wav",
    {"all": (Archive(f"{HOST}speech_commands_v0.02.tar.gz", SUMS["v0.02"]),)},
)
SUPERB = Corpus(
    "speech-commands-superb",
    "English keywords in the twelve classes of SUPERB, with its separate test set",
    LICENSE,
    PAGE,
    read_twelve,
    f"speech_commands_v0.01/testing_list.txt beside yes/0a7c2a8d_nohash_0.wav, and {TEST_SET}/yes/*.wav",
    {"all": (Archive(f"{HOST}speech_commands_v0.01.tar.gz", SUMS["v0.01"]), Archive(f"{HOST}{TEST_SET}.tar.gz"))},
    segments=noises,
)
