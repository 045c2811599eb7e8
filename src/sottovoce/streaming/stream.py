"""A model that hears recordings of any length: windows with context, whose frames are joined where both agree."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sottovoce.data.audio import SAMPLE_RATE
from sottovoce.errors import SottovoceError
from sottovoce.streaming.runner import Runner, runner_of
from sottovoce.streaming.sources import Audio, blocks_of
from sottovoce.streaming.tokens import Greedy, Token
from sottovoce.streaming.windows import Cut, Window, windows
from sottovoce.tasks.kinds import BLANK

CHUNK, LEFT, RIGHT = 20.0, 4.0, 4.0  # seconds
AROUND = 10  # frames on both sides of a seam in which two windows are asked to agree


@dataclass(frozen=True)
class Part:
    """What was heard from `start` to `end`, in seconds.

    Args:
        start: where its first frame begins.
        end: where its last frame ends.
        outputs: `log_probs` (frames, labels) or states (frames, size) of its frames; of a classifier `logits` and
            `probabilities`, of a head for speakers `embeddings`.
        tokens: of a head for text, those that end in it.

    Example:
        >>> Part(0.0, 20.0, {}, ()).end
        20.0
    """

    start: float
    end: float
    outputs: dict[str, np.ndarray]
    tokens: tuple[Token, ...] = ()


@final
class Stream:
    """Call it with a file, an array at 16 kHz or anything that gives arrays: it yields a `Part` after the other.

    Memory does not grow with the recording. What is shorter than a window and its right context is heard whole.

    Example:
        >>> hears = stream(tuned, chunk=0.5)
        >>> [part.end for part in hears(samples)]
        [0.5, 1.0]
    """

    def __init__(self, runner: Runner, chunk: float, left: float, right: float) -> None:
        self.runner = runner
        self.whole = runner.gives in ("classes", "embedding")  # one answer a window, and no frames
        if self.whole:
            # A rest of less than half a window is heard with the window before it.
            size = seconds(chunk, 1)
            self.cut = Cut(size, 0, size // 2, 1, 1)
        else:
            frame = runner.shift * runner.unit
            new, before, behind = (seconds(part, frame) * runner.unit for part in (chunk, left, right))
            self.cut = Cut(new, before, behind, runner.shift, runner.field)
        if self.cut.chunk < 1:
            raise SottovoceError(f"chunk={chunk:g}, but at least one frame is wanted; give more seconds.")

    @property
    def labels(self) -> tuple[str, ...]:
        """What the head can say."""
        return self.runner.labels

    def __call__(self, audio: Audio) -> Iterator[Part]:
        """Hear a recording."""
        pieces = windows(blocks_of(audio), self.cut)
        return self.answers(pieces) if self.whole else self.parts(pieces)

    def answers(self, pieces: Iterator[Window]) -> Iterator[Part]:
        """One answer a window."""
        for piece in pieces:
            audio = piece.audio if piece.end is None else piece.audio[: self.cut.chunk]
            start = piece.first / SAMPLE_RATE
            yield Part(start, start + len(audio) / SAMPLE_RATE, self.runner.run(audio))

    def parts(self, pieces: Iterator[Window]) -> Iterator[Part]:
        """Frames, each once, from the window in which they have most context, or nearly so."""
        begin = (self.runner.field - self.runner.shift) / 2 / SAMPLE_RATE
        step = self.runner.shift / SAMPLE_RATE
        text = self.runner.gives == "tokens"
        greedy = Greedy(self.labels, {BLANK, ""}, begin, step)
        at, held, at_held = 0, dict[str, np.ndarray](), 0  # the next frame; a window's frames and the first of them

        def part(outputs: dict[str, np.ndarray], *, last: bool = False) -> Part:
            count = len(next(iter(outputs.values())))
            tokens = greedy(outputs["log_probs"]) if text else []
            if text and last:
                tokens += greedy.end()
            return Part(begin + step * at, begin + step * (at + count), outputs, tuple(tokens))

        for piece in pieces:
            said = self.runner.run(piece.audio)
            if held:
                seam = self.seam(held, at_held, said, piece, at)
                yield part(cut_out(held, at - at_held, seam - at_held))
                at = seam
            held, at_held = said, piece.first
        if held:
            yield part(cut_out(held, at - at_held, None), last=True)

    def seam(
        self, held: dict[str, np.ndarray], at_held: int, said: dict[str, np.ndarray], piece: Window, at: int
    ) -> int:
        """The frame from which the later of two windows is believed: where both agree before it and behind it."""
        if "log_probs" not in said:
            return piece.start
        reach = min(self.cut.left, self.cut.right) // 2
        ends = at_held + len(held["log_probs"]), piece.first + len(said["log_probs"])
        low, high = max(at, piece.first), min(ends)
        first = held["log_probs"][low - at_held : high - at_held].argmax(-1)
        second = said["log_probs"][low - piece.first : high - piece.first].argmax(-1)
        differ = np.flatnonzero(first != second)
        # A seam s lies between the frames s - 1 and s.
        places = np.arange(max(low, piece.start - reach), min(high, piece.start + reach) + 1)
        if not len(places):
            return piece.start
        around = np.full(len(places), AROUND)
        if len(differ):
            gaps = np.where(
                places[:, None] <= low + differ, low + differ - places[:, None], places[:, None] - low - differ - 1
            )
            around = np.minimum(AROUND, gaps.min(1))
        best = places[around == around.max()]
        return int(best[np.abs(best - piece.start).argmin()])


def cut_out(outputs: dict[str, np.ndarray], start: int, end: int | None) -> dict[str, np.ndarray]:
    """Frames of every output.

    Example:
        >>> cut_out({"log_probs": np.zeros((9, 2))}, 2, 5)["log_probs"].shape
        (3, 2)
    """
    return {name: value[start:end] for name, value in outputs.items()}


def seconds(value: float, samples: int) -> int:
    """How many times so many samples go into some seconds.

    Example:
        >>> seconds(1.0, 320)
        50
    """
    if not 0 <= value <= 600:
        raise SottovoceError(f"{value:g} s for a window or its context, but 0 to 600 s are wanted.")
    return round(value * SAMPLE_RATE / samples)


def stream(
    model: Any,
    *,
    chunk: float = CHUNK,
    left: float = LEFT,
    right: float = RIGHT,
    threads: int | None = None,
) -> Stream:
    """A model, or a folder exported for ONNX Runtime or OpenVINO, that hears recordings of any length.

    Each window of `chunk` seconds is heard with `left` seconds before it and `right` seconds behind it, and frames of
    two windows are joined where both say the same, so that no label is said twice or lost. A classifier answers once a
    window, without context.

    Example:
        >>> parts = list(stream(tuned, chunk=0.5)(samples))
        >>> sorted(parts[0].outputs)
        ['logits', 'probabilities']
    """
    return Stream(runner_of(model, threads=threads), chunk, left, right)
