"""Paths as users write them: what cannot be one is refused in a sentence, and only regular files are opened."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sottovoce.errors import SottovoceError

_KINDS = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def local_path(text: str | Path, what: str = "the path") -> Path:
    """A path with `~` expanded, that the system can be asked about; whether anything is there is another question.

    Example:
        >>> local_path("speech/manifest.jsonl")
        PosixPath('speech/manifest.jsonl')
        >>> local_path("", "--work")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: --work is empty; give a path.
    """
    if not str(text):
        raise SottovoceError(f"{what} is empty; give a path.")
    if "\0" in str(text):
        raise SottovoceError(f"{what} {str(text)!r} holds a null character, which no path can; take it out.")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise SottovoceError(
            f"{what} '{text}' begins with a home folder that is not known here; write the whole path."
        ) from None
    with reached(path, what):
        path.stat()
    return path


@contextmanager
def reached(path: str | Path, what: str = "the path") -> Iterator[None]:
    """Turn into a sentence what the system says of a path that cannot be reached; that nothing is there passes.

    Example:
        >>> with reached("nothing"):
        ...     os.stat("nothing")
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, RuntimeError) as error:  # Python 3.11 has a RuntimeError for links that lead in a circle
        shown = str(path) if len(str(path)) < 200 else f"{str(path)[:80]}…"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SottovoceError(f"{what} '{shown}' cannot be reached ({reason}); give another path.") from None


def is_folder(path: str | Path) -> bool:
    """Whether a path leads to a folder; one that cannot be reached is an error, not a no.

    Example:
        >>> is_folder(".")
        True
    """
    return local_path(path).is_dir()


def regular_file(path: str | Path, what: str = "the file") -> Path:
    """The path of a file that is there and can be read to its end: no folder, pipe or device.

    Example:
        >>> regular_file("nothing.json", "the recipe")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: there is no file 'nothing.json'; give the path of the recipe.
    """
    file = local_path(path, what)
    try:
        mode = file.stat().st_mode
    except OSError:
        raise SottovoceError(f"there is no file '{path}'; give the path of {what}.") from None
    if stat.S_ISDIR(mode):
        raise SottovoceError(f"'{path}' is a folder, but {what} is a file; give its path.")
    for test, kind in _KINDS.items():
        if test(mode):
            raise SottovoceError(f"'{path}' is {kind}, but {what} is an ordinary file; give its path.")
    return file


def check_writable(path: str | Path) -> None:
    """Refuse, before any work, a place where no file or folder can be made.

    Example:
        >>> check_writable("runs/new")
    """
    with reached(path):
        parent = Path(os.path.abspath(path)).parent
        while not parent.exists() and parent != parent.parent:
            parent = parent.parent
        if not parent.is_dir():
            raise SottovoceError(f"cannot write '{path}': '{parent}' is no folder; give another path.")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise SottovoceError(f"cannot write '{path}': '{parent}' may not be written to; give another path.")
        return
    raise SottovoceError(f"cannot write '{path}': the current folder is gone; go to another, or give a whole path.")


def inside(folder: str | Path, name: str, what: str = "the file") -> Path:
    """The path of a file in a folder by its plain name, which no link leads out of the folder.

    Example:
        >>> inside("model", "../secret", "the shard")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: the shard '../secret' is not the plain name of a file in model.
    """
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise SottovoceError(f"{what} '{name}' is not the plain name of a file in {folder}.")
    path = Path(folder, name)
    with reached(path, what):
        real, root = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
        # In the Hub's cache a file is a link to `blobs`, two folders up.
        blobs = root.parents[1] / "blobs" if root.parent.name == "snapshots" else root
        if real.parent not in (root, blobs):
            raise SottovoceError(f"{what} '{name}' in {folder} is a link that leads out of it; copy the file there.")
    return path


def cache_folder() -> Path:
    """Where this program keeps what it can make again; the folder need not be there.

    Example:
        >>> cache_folder().name
        'sottovoce'
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "sottovoce"


def free_at(place: Path) -> int:
    """The free bytes of the disk on which a folder is or will be.

    Example:
        >>> free_at(Path("runs")) > 0
        True
    """
    return shutil.disk_usage(next(above for above in (place, *place.absolute().parents) if above.is_dir())).free
