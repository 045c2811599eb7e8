"""Ctrl-C and SIGTERM: what must not be cut in two is finished first, and everything else ends in an orderly way."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))

AGAIN = 0.05  # seconds after which a signal that met an import comes again


class Stopped(BaseException):
    """A wish to stop, by Ctrl-C or SIGTERM, under a name that no library takes for its own affair.

    Example:
        >>> Stopped(signal.SIGTERM).code
        143
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


_RAISED: list[int] = []  # the signals that were raised in this process as a wish to stop
# What a wish to stop is raised as: by the command line, or by Python's own handler where this is a library.
STOPS = (Stopped, KeyboardInterrupt)


def raise_stopped(number: int, frame: FrameType | None) -> None:
    """The handler that the command line sets; it waits for the end of an import, which an exception would break.

    Example:
        >>> raise_stopped(signal.SIGINT, None)
        Traceback (most recent call last):
        sottovoce.signals.Stopped: stopped by SIGINT
    """
    if _importing(frame):
        again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    _RAISED.append(number)
    raise Stopped(number)


def forget_stops() -> None:
    """Begin a command: what was raised in this process before it is no wish to stop it.

    Example:
        >>> forget_stops()
    """
    _RAISED.clear()


def stop_behind(error: BaseException) -> Stopped | None:
    """The wish to stop that came out as an error: compiled libraries take it for a fault of what they read.

    Example:
        >>> forget_stops()
        >>> stop_behind(ValueError("invalid header")) is None
        True
    """
    if isinstance(error, Stopped):
        return error
    return Stopped(_RAISED[-1]) if _RAISED else None


def _importing(frame: FrameType | None) -> bool:
    """Whether some module is being imported: libraries take any exception there for a module that is not installed."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def handled_by(handler: Any) -> Iterator[None]:
    """Let a handler stand for both signals inside the block; elsewhere than in the main thread, nothing changes.

    Example:
        >>> with handled_by(raise_stopped):
        ...     pass
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Each is put back even if a signal comes, and its handler raises, while the others are.
    with ExitStack() as stack:
        for number in SIGNALS:
            old = signal.getsignal(number)
            stack.callback(signal.signal, number, signal.SIG_DFL if old is None else old)
        for number in SIGNALS:
            signal.signal(number, handler)
        yield


@contextmanager
def deferred() -> Iterator[None]:
    """Finish the block before a signal that comes inside it does what it would have done.

    Example:
        >>> with deferred():
        ...     pass
    """
    came: list[tuple[int, FrameType | None]] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with handled_by(lambda number, frame: came.append((number, frame))):
            yield
    finally:
        for number, frame in came[:1]:
            handler = before[number]
            if callable(handler):
                handler(number, frame)
            elif handler != signal.SIG_IGN:
                signal.raise_signal(number)  # its default, which may be the end of the process
