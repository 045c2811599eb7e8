"""What is known of a corpus: where it comes from, under which licence, and how its folder becomes utterances."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sottovoce.data.utterance import Utterance


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
class Corpus:
    """A corpus in the layout in which its authors publish it.

    Args:
        read: the utterances of a folder in that layout, paths below that folder.
        archives: what to download, by part; empty where the licence asks each user to get it for himself.
        terms: for those, where and how.

    Example:
        >>> corpus = Corpus("fsdd", "Free Spoken Digits", "CC-BY-SA-4.0", "https://github.com/...", read_fsdd)
    """

    name: str
    about: str
    licence: str
    page: str
    read: Callable[[Path], Iterator[Utterance]]
    archives: dict[str, tuple[Archive, ...]] | None = None
    terms: str = ""
