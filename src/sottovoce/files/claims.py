"""Folders that belong to one process at a time: who holds one is written in it, and the dead hold nothing."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sottovoce.errors import SottovoceError
from sottovoce.files.leftovers import alive, host, life_of, scratch
from sottovoce.files.text import json_object
from sottovoce.signals import deferred

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None

MARK = ".sottovoce"  # in each folder that this program made for its own work: who holds it, if anybody does
BEAT = 5.0  # seconds between the signs of life of an owner
SILENT = 60.0  # seconds without one after which an owner on another host is taken for dead
PAUSE = 0.2  # seconds between two looks of somebody who waits


@dataclass(frozen=True)
class Owner:
    """Who holds a folder, and what for.

    Example:
        >>> str(Owner("here", 7, "0a1b2c3d", "2026-01-01T00:00:00+00:00", "training"))
        'process 7 on here (training, since 2026-01-01T00:00:00+00:00)'
    """

    host: str
    pid: int
    life: str
    since: str
    what: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.what}, since {self.since})"

    @property
    def here(self) -> bool:
        """Whether the owner is, or was, a process of this machine."""
        return self.host == host()


class Busy(SottovoceError):
    """Another process is at work in a folder."""


def leads() -> bool:
    """Whether this is the first, or only, of the processes that were launched together: it holds folders for all.

    Example:
        >>> leads()
        True
    """
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def claimed(
    folder: str | Path, what: str, *, wait: Callable[[str], object] | None = None, keep_mark: bool = False
) -> Iterator[None]:
    """Hold a folder, which is made if need be; while another process holds it, wait, or say who it is.

    `wait` is told once who is waited for; without it, `Busy` is raised. The claim of a process that has died is taken
    over: on this machine at once, on another when there was no sign of life for a minute.

    Example:
        >>> import tempfile
        >>> with claimed(tempfile.mkdtemp(), "an example"):
        ...     pass
    """
    place = Path(folder)
    told = False
    while True:
        try:
            handle = _take(place, what)
            break
        except Busy as busy:
            if wait is None:
                raise
            if not told:
                wait(str(busy))
            told = True
            time.sleep(PAUSE)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(handle, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        with deferred():
            ended.set()
            beat.join()
            _release(place / MARK, handle, keep_mark)


def holder(folder: str | Path) -> Owner | None:
    """Who holds a folder now; None if nobody does.

    Example:
        >>> holder("nothing") is None
        True
    """
    try:
        handle = os.open(Path(folder, MARK), os.O_RDONLY)
    except OSError:
        return None
    try:
        owner = _owner(handle)
        if owner is None or not _locked(handle, shared=True):
            return owner
        return owner if _lives(owner, Path(folder), handle) else None
    finally:
        os.close(handle)


def _take(place: Path, what: str) -> int:
    path = place / MARK
    for _ in range(1000):
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            free = _locked(handle)
            # Who held it may have taken the file away with the claim: then this is not the file that others see.
            if free and not _same(handle, path):
                os.close(handle)
                continue
            owner = _owner(handle)
            if not free or (owner is not None and _lives(owner, place, handle)):
                who = str(owner) if owner is not None else "another process"
                raise Busy(
                    f"'{place}' is in use by {who}; wait for it, or give another folder. If it hangs, end that process."
                )
            now = datetime.now(UTC).isoformat(timespec="seconds")
            pid = os.getpid()
            _write(handle, Owner(host(), pid, life_of(pid) or "", now, what))
            return handle
        except BaseException:
            with suppress(OSError):
                os.close(handle)
            raise
    raise Busy(f"'{place}' changes hands all the time; try again.")


def _locked(handle: int, *, shared: bool = False) -> bool:
    """Whether the system's own lock was to be had; where a disk has none, only what is written counts."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _owner(handle: int) -> Owner | None:
    """Whom the file names; nobody where it is empty, or where its writer died in the middle."""
    with suppress(OSError, SottovoceError, TypeError, KeyError):
        record = json_object(os.pread(handle, 4096, 0), "the claim")
        return None if record["owner"] is None else Owner(**record["owner"])
    return None


def _lives(owner: Owner, place: Path, handle: int) -> bool:
    """Whether an owner whose lock this process could take is alive all the same: locks of other hosts may not show."""
    if owner.here:
        # The lock was to be had, so it is either gone or, on a disk without locks, still there.
        return fcntl is None and alive(owner.pid, owner.life)
    # The clocks of two machines differ, so both times are those of the disk.
    with scratch(place) as now:
        return now.stat().st_mtime - os.fstat(handle).st_mtime < SILENT


def _write(handle: int, owner: Owner | None) -> None:
    record = {"made by": "sottovoce", "owner": None if owner is None else asdict(owner)}
    content = (json.dumps(record) + "\n").encode()
    os.pwrite(handle, content, 0)
    os.ftruncate(handle, len(content))


def _beat(handle: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(handle)


def _release(path: Path, handle: int, keep_mark: bool) -> None:
    with suppress(OSError):
        if keep_mark:
            _write(handle, None)
        else:
            path.unlink(missing_ok=True)
    os.close(handle)
