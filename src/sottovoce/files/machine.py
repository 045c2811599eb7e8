"""The machine as a whole: many may work on it at a time, or one may measure times alone."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sottovoce.files.paths import cache_folder

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None

PAUSE = 0.05  # seconds between two looks of somebody who waits


@contextmanager
def machine(*, alone: bool, told: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Work on this machine beside others, or, `alone`, when all others have paused; `told` is called once if it waits.

    Whoever wants to be alone is let in before those who come later. Where the system has no locks, nobody waits.

    Example:
        >>> with machine(alone=True):
        ...     pass
    """
    if fcntl is None:
        yield
        return
    place = cache_folder()
    place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        gate = stack.enter_context(locked(place / "gate.lock", alone, told))
        stack.enter_context(locked(place / "machine.lock", alone, told))
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@contextmanager
def locked(path: Path, alone: bool, told: Callable[[], object]) -> Iterator[int]:
    """A lock of the system's on a file, waited for in small steps, so that a signal is heard.

    Example:
        >>> with locked(Path("a.lock"), True, print):  # doctest: +SKIP
        ...     pass
    """
    assert fcntl is not None
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        waited = False
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    told()
                waited = True
                time.sleep(PAUSE)
            except OSError:  # a disk without locks
                break
        yield handle
    finally:
        os.close(handle)
