"""Which class a recording is of: as a whole, or window by window."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sottovoce.errors import SottovoceError
from sottovoce.streaming.stream import Part, Stream, stream

LONGEST = 60.0  # seconds that are heard as a whole


@dataclass(frozen=True)
class Answer:
    """The probabilities of the classes from `start` to `end`, in seconds.

    Example:
        >>> Answer(0.0, 1.0, {"no": 0.1, "yes": 0.9}).best(1)
        [('yes', 0.9)]
    """

    start: float
    end: float
    probabilities: dict[str, float]

    def best(self, top: int) -> list[tuple[str, float]]:
        """The likeliest classes, with their probabilities."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:top]

    def record(self, top: int) -> dict[str, Any]:
        """As a JSON object."""
        shares = {label: round(share, 6) for label, share in self.best(top)}
        return {"start": round(self.start, 3), "end": round(self.end, 3), "probabilities": shares}


def listener(model: Any, *, window: float | None = None, threads: int | None = None) -> Stream:
    """A classifier as a stream that answers once a window, or once for recordings of a minute at most.

    Example:
        >>> listener(sv.load("small-melhubert-keywords"), window=1.0).labels[0]
        'almost'
    """
    hears = stream(model, chunk=window or LONGEST, left=0, right=0, threads=threads)
    if hears.runner.gives != "classes":
        raise SottovoceError(
            f"this model gives {hears.runner.gives}, but one with a head for classes is wanted; fine-tune it for "
            "keywords or another task with labels, or run `sottovoce transcribe` on one that writes text."
        )
    return hears


def classified(parts: Iterable[Part], labels: Sequence[str], *, name: str, whole: bool) -> Iterator[Answer]:
    """The answers about a recording; one alone if it is heard as a whole.

    Example:
        >>> part = Part(0.0, 1.0, {"probabilities": np.array([0.2, 0.8])})
        >>> next(classified([part], ["no", "yes"], name="a.wav", whole=True)).best(1)
        [('yes', 0.8)]
    """
    for number, part in enumerate(parts):
        if whole and (number or part.end - part.start > LONGEST):
            raise SottovoceError(
                f"{name} is longer than {LONGEST:g} s; give the seconds that get an answer of their own (--window 1)."
            )
        shares: np.ndarray = part.outputs["probabilities"]
        yield Answer(part.start, part.end, dict(zip(labels, shares.tolist(), strict=True)))
