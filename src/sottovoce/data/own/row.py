"""What a line of somebody's list says, before any audio is looked at, and the names of splits."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError

OnBad = Callable[[str], None]
Bad = Callable[[str], None]  # as OnBad, but where nobody hears it, it is an error
AUDIO = ("wav", "flac", "ogg", "oga", "opus", "mp3", "aiff", "aif", "aifc", "au", "snd", "sph", "w64", "caf", "rf64")
SPLITS = {
    **{"train": "train", "training": "train"},
    **{name: "dev" for name in ("dev", "devel", "development", "validation", "valid", "val", "eval")},
    **{"test": "test", "testing": "test"},
}


@dataclass(frozen=True)
class Row:
    """A line of a list: where it stands, which audio it names, and what it says of it.

    Args:
        base: the folder in which the path begins.
        id: None where the list has none; the path is taken for it then.
        seconds: of the utterance.
        start: where it begins in a longer recording; None for a whole file.
        whole: the length of that recording, where the list says it.
        channel: the one of several that is meant.
        content: reads the audio where it lies in no file of its own.

    Example:
        >>> Row("list.csv, line 2", Path("speech"), "a.wav", text="yes").id is None
        True
    """

    where: str
    base: Path
    path: str
    id: str | None = None
    seconds: float | None = None
    start: float | None = None
    whole: float | None = None
    channel: int | None = None
    text: str | None = None
    speaker: str | None = None
    label: str | None = None
    task: str | None = None
    split: str | None = None
    license: str | None = None
    meta: Mapping[str, Any] | None = None
    content: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Source:
    """A file or folder to read: where the paths in it begin if that is given, and the split that its name tells.

    Example:
        >>> Source(Path("speech/train.tsv"), split="train").folder
        PosixPath('speech')
    """

    place: Path
    root: Path | None = None
    split: str | None = None

    @property
    def folder(self) -> Path:
        """The folder in which relative paths begin."""
        return self.root or (self.place if self.place.is_dir() else self.place.parent)


def teller(on_bad: OnBad | None) -> Bad:
    """Where faults go: to somebody who asked for them, and otherwise the first ends the work.

    Example:
        >>> teller(None)("list.csv, line 2: it has no path")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: list.csv, line 2: it has no path.
    """

    def tell(message: str) -> None:
        sentence = f"{message.rstrip('.')}."
        if on_bad is None:
            raise SottovoceError(sentence)
        on_bad(sentence)

    return tell


def split_named(name: str | None) -> str | None:
    """A split by the name that this program has for it; other names stay as they are.

    Example:
        >>> split_named("validation")
        'dev'
    """
    return SPLITS.get(name.strip().lower(), name.strip()) or None if name else None


def split_in(file: str) -> str | None:
    """The split that the name of a file tells, if it tells one.

    Example:
        >>> split_in("train_manifest.json"), split_in("validated.tsv")
        ('train', None)
    """
    found = {SPLITS[word] for word in re.split(r"[^a-z]+", file.lower()) if word in SPLITS}
    return found.pop() if len(found) == 1 else None


def is_audio(name: str) -> bool:
    """Whether a file has the name of audio that can be decoded.

    Example:
        >>> is_audio("a.FLAC"), is_audio("a.txt")
        (True, False)
    """
    return name.rpartition(".")[2].lower() in AUDIO and not name.startswith(".")
