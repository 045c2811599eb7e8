"""Trade-offs between costs and scores: which points are beaten in everything, and which stand in front."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from sottovoce.errors import SottovoceError

Better = Literal["lower", "higher"]


def dominates(first: Sequence[float], second: Sequence[float], better: Sequence[Better]) -> bool:
    """Whether a point is no worse than another in any number, and better in one of them.

    Example:
        >>> dominates((10, 0.9), (12, 0.9), ("lower", "higher"))
        True
    """
    return _beats(lowered(first, better), lowered(second, better))


def front(points: Sequence[Sequence[float]], better: Sequence[Better]) -> list[int]:
    """The numbers of the points that no other dominates (the Pareto front), in the order given; equal ones all stay.

    Example:
        >>> front([(10, 0.9), (12, 0.9), (5, 0.7)], ("lower", "higher"))
        [0, 2]
    """
    rows = [lowered(point, better) for point in points]
    kept: list[int] = []
    # In this order, a point that dominates another comes before it; and what is dominated at all is so by the front.
    for number in sorted(range(len(rows)), key=rows.__getitem__):
        if not any(_beats(rows[other], rows[number]) for other in kept):
            kept.append(number)
    return sorted(kept)


def best_within(points: Iterable[tuple[float, float]], cost: float) -> float | None:
    """The highest score of those (cost, score) that cost no more than this; None where all cost more.

    Example:
        >>> best_within([(10, 0.9), (5, 0.7)], 8)
        0.7
    """
    return max((score for price, score in points if price <= cost), default=None)


def lead(points: Iterable[tuple[float, float]], others: Iterable[tuple[float, float]]) -> float | None:
    """By how much (cost, score) points are above the front of others where that is most.

    At what one of the points costs, over the best of the others for no more; None where the others have nothing so low.

    Example:
        >>> lead([(8, 0.75), (20, 0.9)], [(10, 0.9), (5, 0.7)])
        0.05...
    """
    rivals = list(others)
    found = [(score, best_within(rivals, cost)) for cost, score in points]
    return max((score - best for score, best in found if best is not None), default=None)


def lowered(point: Sequence[float], better: Sequence[Better]) -> tuple[float, ...]:
    """A point's numbers turned so that lower is better of each.

    Example:
        >>> lowered((10, 0.9), ("lower", "higher"))
        (10, -0.9)
    """
    if any(math.isnan(value) for value in point):
        raise SottovoceError(f"a point of a trade-off is {tuple(point)}, but numbers are wanted; leave it out.")
    return tuple(-value if way == "higher" else value for value, way in zip(point, better, strict=True))


def _beats(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))
