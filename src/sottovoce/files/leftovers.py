"""Temporary names that say which process made them, so that the next start can clear what a killed one left."""

import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sottovoce.errors import SottovoceError

# The host is part of the name because process numbers mean nothing on another machine that shares the disk.
_NAME = re.compile(
    r"\.(?P<target>.+)\.(?P<host>[^/]+)-(?P<pid>\d+)-(?P<life>[0-9a-f]{8})-[0-9a-f]{8}\.(?P<kind>new|old|part)$"
)
_SHORTENED = re.compile(r"[0-9a-f]{32}")  # what stands for a long name
_SCRATCH = ".sottovoce"  # the target of scratch folders in the system's temporary folder
FORGOTTEN = 7 * 86_400.0  # seconds after which the leftover of another host is taken for one


def host() -> str:
    """This machine, in a file's name.

    Example:
        >>> "/" in host()
        False
    """
    return re.sub(r"[^\w.]", "_", socket.gethostname()) or "host"


def life_of(pid: int) -> str | None:
    """Eight digits that tell a running process from a later one of the same number; None if there is none.

    Example:
        >>> life_of(os.getpid()) == life_of(os.getpid())
        True
    """
    try:
        os.kill(pid, 0) if os.name == "posix" and pid != os.getpid() else None
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    try:
        # Numbers come again, in containers at every start; the time of a process' start since the system's does not.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return _LIFE if pid == os.getpid() else ""
    if state in "ZX":
        return None
    return hashlib.sha256(f"{boot}{pid} {fields[18]}".encode()).hexdigest()[:8]


_LIFE = secrets.token_hex(4)  # where the system does not tell when a process started


def alive(pid: int, life: str) -> bool:
    """Whether the process that had this number and this life is still running.

    Example:
        >>> alive(os.getpid(), life_of(os.getpid()))
        True
    """
    found = life_of(pid)
    return found is not None and found in ("", life)


def sibling(target: Path, kind: str) -> Path:
    """A new name beside a file or folder, on the same disk.

    Example:
        >>> sibling(Path("model"), "new").suffix
        '.new'
    """
    pid = os.getpid()
    # The file system's limit is for the whole name; what is cut off is not needed to find it again.
    name = f".{_short(target.name)}.{host()}-{pid}-{life_of(pid)}-{secrets.token_hex(4)}.{kind}"
    return target.with_name(name)


def _short(name: str) -> str:
    encoded = name.encode(errors="surrogateescape")
    return name if len(encoded) <= 120 else hashlib.sha256(encoded).hexdigest()[:32]


def clear(target: Path) -> None:
    """Remove what killed processes left beside a target; an old folder that one had moved aside comes back.

    Example:
        >>> clear(Path("model"))
    """
    short = _short(target.name)
    for found in _abandoned(target.parent):
        if found["target"] == short:
            _settle(target.parent / found[0], found["kind"], target)


def sweep(folder: str | Path) -> None:
    """Remove what killed processes left in a folder, whatever it was for; a moved folder comes back to its place.

    Example:
        >>> sweep("nothing")
    """
    place = Path(folder)
    for found in _abandoned(place):
        # A folder whose name was too long to keep comes back when somebody asks for it by that name.
        if found["kind"] != "old" or not _SHORTENED.fullmatch(found["target"]):
            _settle(place / found[0], found["kind"], place / found["target"])


def _settle(left: Path, kind: str, target: Path) -> None:
    with suppress(OSError):
        if kind == "old" and not os.path.lexists(target):
            os.rename(left, target)
        else:
            remove(left)


def _abandoned(folder: Path) -> Iterator[re.Match[str]]:
    """The names of leftovers in a folder, old ones first: they may have to come back."""
    try:
        names = sorted(os.listdir(folder), key=lambda name: (not name.endswith(".old"), name))
    except OSError:
        return
    for found in filter(None, map(_NAME.fullmatch, names)):
        if found["host"] == host():
            if not alive(int(found["pid"]), found["life"]):
                yield found
            continue
        with suppress(OSError):
            if time.time() - (folder / found[0]).lstat().st_mtime > FORGOTTEN:
                yield found


@contextmanager
def scratch(folder: str | Path | None = None) -> Iterator[Path]:
    """An empty folder for the time of a block, in a given folder or the system's temporary one.

    Example:
        >>> with scratch() as place:
        ...     (place / "a").write_text("a")
        1
    """
    place = Path(folder or tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    clear(place / _SCRATCH)
    made = sibling(place / _SCRATCH, "new")
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        remove(made)


def remove(path: Path) -> None:
    """Take a file or folder away, as far as that can be done.

    Example:
        >>> remove(Path("nothing"))
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def real_path(path: str | Path) -> Path:
    """Where a path leads: a link is written through, and a temporary lies on that disk, for no rename crosses disks.

    Example:
        >>> real_path(".").is_absolute()
        True
    """
    try:
        return Path(os.path.realpath(path))
    except FileNotFoundError:
        raise SottovoceError(
            f"the current folder is gone, so '{path}' leads nowhere; go to another, or give a whole path."
        ) from None
