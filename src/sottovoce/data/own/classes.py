"""Folders of audio without a list: a folder a class, also below folders of splits, or audio without classes."""

import os
from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.own.row import SPLITS, Bad, Row, Source, is_audio
from sottovoce.errors import SottovoceError
from sottovoce.files import local_path

PIECES = "pieces"  # where `corpus prepare` writes what it cuts, which is no class


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """The folders and the files in a folder, in order, without hidden ones.

    Example:
        >>> entries(Path("commands"))
        (['no', 'yes'], ['README.md'])
    """
    try:
        names = sorted(name for name in os.listdir(local_path(folder)) if not name.startswith("."))
    except OSError as error:
        raise SottovoceError(f"the folder '{folder}' cannot be read ({error.strerror}); give another.") from None
    folders = [name for name in names if (folder / name).is_dir()]
    return folders, [name for name in names if name not in set(folders)]


def class_folders(folder: Path) -> list[str]:
    """The folders that may be classes or splits: not those that begin with `_`, and not the pieces that were cut.

    Example:
        >>> class_folders(Path("commands"))
        ['no', 'yes']
    """
    return [name for name in entries(folder)[0] if not name.startswith("_") and name != PIECES]


def has_audio(folder: Path) -> bool:
    """Whether there is audio in a folder, or in a folder of it, or in one of those.

    Example:
        >>> has_audio(Path("commands"))
        True
    """

    def search(place: Path, deeper: int) -> bool:
        folders, files = entries(place)
        return any(map(is_audio, files)) or (deeper > 0 and any(search(place / name, deeper - 1) for name in folders))

    return search(folder, 2)


def not_audio(folder: Path) -> list[str]:
    """What to say of the files below a folder whose names are of no audio that can be decoded.

    Example:
        >>> not_audio(Path("commands"))
        ['2 files that are no audio that can be decoded (.m4a)']
    """

    def others(place: Path, deeper: int) -> Iterator[str]:
        folders, files = entries(place)
        yield from (Path(name).suffix or name for name in files if not is_audio(name))
        for name in folders if deeper else ():
            yield from others(place / name, deeper - 1)

    found = [kind for name in class_folders(folder) for kind in others(folder / name, 1)]
    kinds = ", ".join(sorted(set(found))[:5])
    return [f"{len(found)} files that are no audio that can be decoded ({kinds})"] if found else []


def read_classes(source: Source, bad: Bad) -> Iterator[Row]:
    """The files of a folder: their folders are their classes, if there are two or more.

    Example:
        >>> next(read_classes(Source(Path("commands")), print)).label
        'no'
    """
    place = source.place
    names = class_folders(place)
    splits = [name for name in names if name.lower() in SPLITS and has_audio(place / name)]
    others = [name for name in names if name not in splits]
    loose = [name for name in entries(place)[1] if is_audio(name)]
    if splits and (loose or any(has_audio(place / name) for name in others)):
        what = loose[0] if loose else f"{others[0]}/"
        raise SottovoceError(
            f"'{place}' mixes folders of splits ({', '.join(splits)}) with other audio ({what}); "
            "sort that into the splits."
        )
    for name in splits:
        yield from _classes(place, name, SPLITS[name.lower()], bad)
    if not splits:
        yield from _classes(place, "", source.split, bad)


def _classes(top: Path, inner: str, split: str | None, bad: Bad) -> Iterator[Row]:
    """The classes in a folder, which is the whole or a split of it."""
    place = top / inner
    loose = [name for name in entries(place)[1] if is_audio(name)]
    names = class_folders(place)
    if loose and any(has_audio(place / name) for name in names):
        raise SottovoceError(
            f"'{place}' mixes class folders ({', '.join(names[:5])}) with audio beside them ({loose[0]}); sort it."
        )
    for name in loose:
        yield _row(top, Path(inner, name), None, split)
    for name in names if not loose else ():
        folders, files = entries(place / name)
        found = [file for file in files if is_audio(file)]
        deeper = [folder for folder in folders if has_audio(place / name / folder)]
        if deeper:
            bad(f"'{place / name / deeper[0]}' is a folder in a class folder, whose audio has no class that is clear")
        elif not found:
            bad(f"the class folder '{place / name}' has no audio; put some into it, or remove it")
        for file in found:
            yield _row(top, Path(inner, name, file), name if len(names) > 1 else None, split)


def _row(top: Path, path: Path, label: str | None, split: str | None) -> Row:
    return Row(str(top / path), top, path.as_posix(), label=label, split=split)
