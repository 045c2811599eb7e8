"""Cutting audio that goes on into windows with context on both sides, at frames that the whole recording has too."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cut:
    """How audio is cut: the frames of a window, of its context before and behind, and the samples of frames.

    Args:
        chunk: the frames that are new in each window.
        left: the frames before them that are heard again.
        right: the frames behind them that are heard too.
        shift: the samples between two frames.
        field: the samples that a frame sees.

    Example:
        >>> Cut(50, 10, 10, 320, 400).end(50)
        16080
    """

    chunk: int
    left: int
    right: int
    shift: int
    field: int

    def end(self, frames: int) -> int:
        """The samples that so many frames need."""
        return (frames - 1) * self.shift + self.field


@dataclass(frozen=True)
class Window:
    """Audio from the frame `first` on, in which the frames from `start` to `end` are new; None is the last's end.

    Example:
        >>> Window(np.zeros(400, np.float32), 0, 0, None).first
        0
    """

    audio: np.ndarray
    first: int
    start: int
    end: int | None


def windows(blocks: Iterable[np.ndarray], cut: Cut) -> Iterator[Window]:
    """The windows of audio that comes in blocks of any length; no more than a window and a block is kept.

    The last window takes what would be its own right context, so a recording that fits one window is heard whole.

    Example:
        >>> [(w.first, w.start, w.end) for w in windows([np.zeros(1000)], Cut(4, 1, 1, 100, 100))]
        [(0, 0, 4), (3, 4, None)]
    """
    kept: list[np.ndarray] = []
    there, start = 0, 0  # samples that are kept, the first new frame
    for block in blocks:
        kept.append(block)
        there += len(block)
        first = max(0, start - cut.left)
        # A sample more than the window needs is one frame more at least, some time: so this is not the last one.
        while there > (needed := cut.end(start + cut.chunk + cut.right - first)):
            audio = np.concatenate(kept)
            yield Window(audio[:needed], first, start, start + cut.chunk)
            start += cut.chunk
            following = max(0, start - cut.left)
            rest = audio[(following - first) * cut.shift :].copy()
            kept, there, first = [rest], len(rest), following
    first = max(0, start - cut.left)
    if there and (start == 0 or there >= cut.end(start - first + 1)):
        yield Window(np.concatenate(kept), first, start, None)
