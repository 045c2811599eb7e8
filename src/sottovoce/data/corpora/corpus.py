"""What is known of a corpus: where it comes from, under which licence, and how its folder becomes utterances."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from sottovoce.data.utterance import Utterance
from sottovoce.files import read_text

LONGEST_LIST = 1 << 30  # bytes


@dataclass(frozen=True)
class Archive:
    """A file to download; `checksum` is `md5:...` or `sha256:...`, or empty where none is published.

    Example:
        >>> Archive("https://www.openslr.org/resources/12/dev-clean.tar.gz", "md5:42e2...").url[-16:]
        'dev-clean.tar.gz'
    """

    url: str
    checksum: str = ""


@dataclass(frozen=True)
class Segment:
    """A piece of a longer recording, in seconds, and the FLAC file that it becomes.

    Example:
        >>> Segment(Path("sph/AlGore_2009.sph"), 17.82, 28.81, Path("segments/AlGore_2009-1.flac")).start
        17.82
    """

    source: Path
    start: float
    end: float
    audio: Path


@dataclass(frozen=True)
class Corpus:
    """A corpus in the layout in which its authors publish it.

    Args:
        read: the utterances of a folder in that layout, paths below that folder. It opens no audio: `seconds` is 0
            where the lists do not say it, and `prepare` takes it from the file.
        layout: a file of that layout, for those whose folder has another.
        archives: what to download, by part; empty where the licence asks each user to get it for himself. Where
            there are several parts, each has the name of its folder in the layout.
        terms: for those, where and how.
        segments: the pieces to cut before reading, where the corpus names its utterances by times in long recordings.
        part: which of the corpus's own parts a path below its folder belongs to, where several of them are one split;
            `parts` are their names.

    Example:
        >>> corpus = Corpus("fsdd", "Free Spoken Digits", "CC-BY-SA-4.0", "https://github.com/...", read_fsdd)
    """

    name: str
    about: str
    license: str
    page: str
    read: Callable[[Path], Iterator[Utterance]]
    layout: str = ""
    archives: dict[str, tuple[Archive, ...]] | None = None
    terms: str = ""
    segments: Callable[[Path], Iterator[Segment]] | None = None
    part: Callable[[Path], str] | None = None
    parts: tuple[str, ...] = ()


def locate(folder: Path, name: str) -> Path | None:
    """The place in a folder, at most two levels down, that holds `name`: archives bring folders of their own.

    Example:
        >>> locate(Path("digits"), "recordings")
        PosixPath('digits/v1.0.10/free-spoken-digit-dataset-1.0.10')
    """
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        for found in sorted(folder.glob(pattern)):
            return found.parents[len(PurePosixPath(name).parts) - 1]
    return None


def visible(folder: Path, pattern: str) -> list[Path]:
    """The files of a pattern in order, without those that macOS leaves in archives (`._name`).

    Example:
        >>> visible(Path("emodb/wav"), "*.wav")[0].name
        '03a01Fa.wav'
    """
    first, *rest = pattern.split("/", 1)
    found = list[Path]()
    for path in _named(folder, first):
        if not rest:
            found.append(path)
        elif path.is_dir():
            found += visible(path, rest[0])
    return sorted(found)


def _named(folder: Path, pattern: str) -> Iterator[Path]:
    """What lies in a folder under a pattern, or in it and all folders below (`**`).

    Unlike `Path.glob`, a folder that may not be read is an error: its files would be missing without a word.
    """
    if pattern == "**":
        yield folder
        for path in _named(folder, "*"):
            if path.is_dir() and not path.is_symlink():
                yield from _named(path, "**")
    elif folder.is_dir():
        names = [name for name in os.listdir(folder) if fnmatchcase(name, pattern) and not name.startswith(".")]
        yield from (folder / name for name in names)


def text_lines(path: Path) -> list[str]:
    """The lines of a list that are not empty.

    Example:
        >>> text_lines(Path("speech_commands_v0.01/testing_list.txt"))[0]
        'bed/0c40e715_nohash_0.wav'
    """
    text = read_text(path, "the list", largest=LONGEST_LIST)
    return [line for line in text.splitlines() if line.strip()]
