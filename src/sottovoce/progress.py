"""Progress of long work: whoever works reports, and whoever has a screen shows it; without one, nothing happens."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")


class Advance(Protocol):
    """Reports that `amount` more is done, with a note on how it goes."""

    def __call__(self, amount: float = 1, note: str = "") -> None:
        """Report."""
        ...


Show = Callable[[str, float | None], AbstractContextManager[Advance]]


@contextmanager
def _hidden(text: str, total: float | None) -> Iterator[Advance]:
    yield lambda amount=1, note="": None


def ignored(text: str) -> None:
    """Hear nothing."""


_HEAR: ContextVar[Callable[[str], object]] = ContextVar("hear", default=ignored)
_SHOW: ContextVar[Show] = ContextVar("show", default=_hidden)


def bar(text: str, total: float | None = None) -> AbstractContextManager[Advance]:
    """Something to report progress to while a `with` block runs.

    Example:
        >>> with bar("decoding", 2) as advance:
        ...     advance(2, note="120 x real time")
    """
    return _SHOW.get()(text, total)


def track(items: Iterable[T], text: str, total: int | None = None) -> Iterator[T]:
    """The items, each reported when the next one is asked for.

    Example:
        >>> list(track([1, 2], "counting", 2))
        [1, 2]
    """
    with bar(text, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def shown_by(show: Show) -> Iterator[None]:
    """Let a screen show what is reported inside the block.

    Example:
        >>> with shown_by(rich_bar):
        ...     prepare("fsdd", "digits")
    """
    token = _SHOW.set(show)
    try:
        yield
    finally:
        _SHOW.reset(token)


def say(text: str) -> None:
    """Tell whoever listens what came out of long work, in a sentence.

    Example:
        >>> say("macs: -40.1 %")
    """
    _HEAR.get()(text)


@contextmanager
def told_to(listener: Callable[[str], object]) -> Iterator[None]:
    """Let a function hear what is said inside the block.

    Example:
        >>> with told_to(print):
        ...     say("done")
        done
    """
    token = _HEAR.set(listener)
    try:
        yield
    finally:
        _HEAR.reset(token)
