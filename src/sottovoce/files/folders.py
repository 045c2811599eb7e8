"""Folders that appear, or are replaced, as a whole, and are read as a whole while others replace them."""

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from sottovoce.errors import SottovoceError
from sottovoce.files.leftovers import clear, real_path, remove, sibling
from sottovoce.files.paths import local_path
from sottovoce.files.write import explained, sync_folder
from sottovoce.signals import deferred

T = TypeVar("T")
TRIES = 50  # readings of a folder that is replaced again and again
_AT_FDCWD, _EXCHANGE, _SWAP = -100, 2, 2  # linux/fcntl.h and linux/fs.h; sys/stdio.h of macOS
# The system has no exchange, or this disk has none.
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


@contextmanager
def atomic_folder(target: str | Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its place if the block succeeds, and vanishes if it fails.

    The old folder, if there is one, stays as it is until the new one is complete and on the disk. Without `replace`, a
    folder that has come to be there meanwhile, and is not empty, stays, and that is an error.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "model"
        >>> with atomic_folder(target) as folder:
        ...     _ = (folder / "config.json").write_text("{}")
        >>> [path.name for path in target.iterdir()]
        ['config.json']
    """
    real = real_path(local_path(target))
    refuse_precious(real)
    with explained(real):
        real.parent.mkdir(parents=True, exist_ok=True)
        clear(real)
        temporary = sibling(real, "new")
        temporary.mkdir()
    try:
        with explained(real, only_full=True):
            yield temporary
        with explained(real):
            finish_tree(temporary)
            with deferred():
                _swap(temporary, real) if replace else _place(temporary, real)
    except BaseException:
        remove(temporary)
        raise


def put_back(folder: str | Path) -> Path:
    """The folder itself; if it is gone and a killed process had moved it aside, it is put back first.

    Example:
        >>> put_back("nothing")
        PosixPath('nothing')
    """
    path = Path(folder)
    if not path.exists():
        clear(real_path(path))
    return path


def read_whole(folder: str | Path, read: Callable[[], T]) -> T:
    """What `read` makes of a folder that another process may replace meanwhile: never of a half of each.

    Example:
        >>> read_whole(".", lambda: 3)
        3
    """
    for _ in range(TRIES):
        put_back(folder)
        before = folder_identity(folder)
        try:
            found = read()
        except Exception:
            if folder_identity(folder) == before:
                raise
            continue
        if folder_identity(folder) == before:
            return found
    raise SottovoceError(f"'{folder}' was replaced {TRIES} times while it was read; try again when it is left alone.")


def folder_identity(folder: str | Path) -> list[int] | None:
    """What tells a folder from the one that takes its name: a number may come again, the time of its files not.

    Example:
        >>> folder_identity("nothing") is None
        True
    """
    with suppress(OSError):
        found = os.stat(folder)
        return [found.st_dev, found.st_ino, found.st_mtime_ns]
    return None


def _place(new: Path, target: Path) -> None:
    """Give `new` a name that is free, or that of an empty folder."""
    try:
        os.rename(new, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise SottovoceError(f"'{target}' was made by somebody else meanwhile; give a new folder.") from None
    sync_folder(target.parent)


def _swap(new: Path, target: Path) -> None:
    """Put `new` in the place of `target`: at once where the system can, or else a failure in between is undone."""
    if target.exists() and exchange(new, target):
        sync_folder(target.parent)
        remove(new)  # what was the target until now
        return
    aside = sibling(target, "old") if target.exists() else None
    if aside is not None:
        os.rename(target, aside)
    try:
        os.rename(new, target)
        sync_folder(target.parent)
    except BaseException:
        # The new folder may be in place already (an interrupt after the rename): then the old one is done with.
        if aside is not None and not target.exists():
            os.rename(aside, target)
            aside = None
        raise
    finally:
        # Even if another process has just moved the new folder aside in its turn: this old one is nobody else's.
        if aside is not None:
            # Under the other kind of name first: half removed, it must never come back as the old folder.
            junk = sibling(target, "new")
            with suppress(OSError):
                os.rename(aside, junk)
                remove(junk)


def exchange(first: Path, second: Path) -> bool:
    """Give two folders each other's names in one step; False where the system or the disk cannot.

    Example:
        >>> exchange(Path("nothing"), Path("nothing either"))
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'nothing'
    """
    names = os.fsencode(first), os.fsencode(second)
    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE)  # type: ignore[union-attr]
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, _SWAP)  # type: ignore[union-attr]
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(first))


def refuse_precious(target: Path) -> None:
    """Refuse to replace a folder in which the user is or lives, and what is no folder.

    Example:
        >>> refuse_precious(Path("/"))
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: cannot save to '/': it is or holds the current folder; give another.
    """
    if target.exists() and not target.is_dir():
        raise SottovoceError(f"cannot save to '{target}': it is a file, but a folder is wanted; give another path.")
    for place, what in precious_places():
        if place.is_relative_to(target):
            # Saving replaces the folder and all that is in it.
            raise SottovoceError(f"cannot save to '{target}': it is or holds {what}; give another.")


def precious_places() -> list[tuple[Path, str]]:
    """The current folder and the home folder, where there are such.

    Example:
        >>> precious_places()[0][1]
        'the current folder'
    """
    found = []
    for place, what in ((Path.cwd, "the current folder"), (Path.home, "the home folder")):
        with suppress(OSError, RuntimeError):
            found.append((real_path(place()), what))
    return found


def finish_tree(folder: Path) -> None:
    """See that all files of a folder are on the disk, with the rights that the user gives to new files.

    Example:
        >>> finish_tree(Path("nothing"))
    """
    # safetensors and other writers go over temporary files, which are for the owner alone.
    rights = os.stat(folder).st_mode & 0o666 if folder.is_dir() else 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                os.fsync(file.fileno())
            if os.stat(path).st_mode & 0o666 != rights:
                os.chmod(path, rights)
        sync_folder(Path(parent))
