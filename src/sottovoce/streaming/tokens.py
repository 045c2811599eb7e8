"""From frames to tokens with times: repetitions merged, blanks left out, over any number of pieces."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Token:
    """A label that was heard, from when to when, in seconds, and how likely it was at its likeliest.

    Example:
        >>> Token("AH", 0.5, 0.56, 0.9).label
        'AH'
    """

    label: str
    start: float
    end: float
    probability: float


@dataclass
class Greedy:
    """The likeliest label of each frame, as tokens; a token that goes on over the end of a piece is one.

    Args:
        labels: of the columns.
        silent: labels that are not said: blanks and such.
        begin: the second at which the first frame begins.
        step: the seconds between frames.

    Example:
        >>> greedy = Greedy(["<pad>", "A"], {"<pad>"}, 0.0, 0.02)
        >>> greedy(np.log([[0.1, 0.9], [0.2, 0.8]])), greedy(np.log([[0.3, 0.7], [0.9, 0.1]]))
        ([], [Token(label='A', start=0.0, end=0.06, probability=0.9)])
    """

    labels: Sequence[str]
    silent: frozenset[str] | set[str]
    begin: float
    step: float
    frame: int = 0
    held: list[float] = field(
        default_factory=list[float]
    )  # the number of a label, its first frame, its log-probability

    def __call__(self, log_probs: np.ndarray) -> list[Token]:
        """The tokens that end in these frames, (frames, labels)."""
        done: list[Token] = []
        best = log_probs.argmax(-1)
        for number, value in zip(best.tolist(), log_probs.max(-1).tolist(), strict=True):
            if self.held and self.held[0] == number:
                self.held[2] = max(self.held[2], value)
            else:
                done += self.end()
                self.held = [number, self.frame, value]
            self.frame += 1
        return done

    def end(self) -> list[Token]:
        """The token that goes on, ended here; none if it is silent."""
        if not self.held:
            return []
        number, first, value = self.held
        self.held = []
        label = self.labels[int(number)]
        if label in self.silent:
            return []
        start, end = (round(self.begin + self.step * frame, 3) for frame in (first, self.frame))
        return [Token(label, start, end, round(float(np.exp(value)), 4))]
