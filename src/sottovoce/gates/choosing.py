"""Which units stay at the end: in the order of the gates, so many that the target holds."""

from collections.abc import Iterable, Mapping

import torch

from sottovoce.errors import SottovoceError
from sottovoce.gates.hard_concrete import open_count
from sottovoce.gates.targets import Shares, Target
from sottovoce.gates.units import Vector
from sottovoce.gates.vectors import Gates, descending, first_of, least_of

# From the kind with the largest steps to the one with the smallest, which meets the target last.
COARSE = ("layers", "heads", "dims", "hidden", "conv", "ffn")
ROUNDED = ("conv", "dims", "ffn", "hidden")
FAR = 60.0  # no gate's logit is beyond this
HALVINGS = 40
MOST_TRIES = 2000

Counts = dict[Vector, int]


def choose(gates: Gates, shares: Shares, *, round_to: int = 1) -> list[float]:
    """Settle which units stay, and return what share of each cost is left.

    As many of each vector as are expected to stay, with the logits of all that a target speaks of moved by one amount
    until it holds; kinds whose units are large are settled first. What is lacking then is made up unit by unit, the
    most open first. Widths become multiples of `round_to`, or stay as they were.

    Example:
        >>> choose(gates, shares, round_to=8)
        [0.598]
    """
    picker = picker_of(gates, shares, round_to)
    logits = picker.logits
    counts = {vector: picker.count(vector, 0.0) for vector in logits}
    for number, target in enumerate(shares.targets):
        for kind in COARSE:
            moving = [
                vector
                for vector in logits
                if concerns(target, vector) and COARSE.index(vector.kind) >= COARSE.index(kind)
            ]
            if any(vector.kind == kind for vector in moving):
                counts |= picker.solved(counts, moving, number)
        picker.fill(counts, [vector for vector in logits if concerns(target, vector)], number)
    gates.chosen = picker.masks(counts)
    return shares.of(gates.chosen)


def check_reachable(gates: Gates, shares: Shares, *, round_to: int = 1) -> None:
    """Refuse a target that is not met with as few units as can be.

    Example:
        >>> check_reachable(gates, shares, round_to=8)
    """
    picker = picker_of(gates, shares, round_to)
    least = {vector: picker.count(vector, -FAR) for vector in gates.sizes}
    for number, target in enumerate(shares.targets):
        share = picker.left(least, number)
        if target.left < share:
            kinds = ", ".join(dict.fromkeys(vector.kind for vector in gates.sizes))
            rounded = f" and round_to={round_to}" if round_to > 1 else ""
            raise SottovoceError(
                f"target={target} cannot be met: with as few units of {kinds} as can be{rounded}, "
                f"{target.cost}:{100 * (share - 1):.1f}% is reached; ask for less, or gate more kinds of units."
            )


def picker_of(gates: Gates, shares: Shares, round_to: int) -> "Picker":
    """What counts the units of some gates, as they are now."""
    with torch.no_grad():
        return Picker(gates.exact_logits(), shares, round_to)


def concerns(target: Target, vector: Vector) -> bool:
    """Whether a vector is to be moved for a target.

    Example:
        >>> concerns(Target("conv", 0.5), Vector("heads", 3))
        False
    """
    if target.cost in ("conv", "transformer"):
        return (vector.kind == "conv") == (target.cost == "conv")
    return True


class Picker:
    """Numbers of units, and what they cost."""

    def __init__(self, logits: Mapping[Vector, torch.Tensor], shares: Shares, round_to: int) -> None:
        self.logits, self.shares, self.round_to = logits, shares, round_to
        self.order = {vector: descending(found) for vector, found in logits.items()}  # asked for thousands of times

    def multiple(self, vector: Vector) -> int:
        """What the width of a vector is a multiple of."""
        return self.round_to if vector.kind in ROUNDED else 1

    def count(self, vector: Vector, shift: float) -> int:
        """How many of a vector are expected to stay when its logits are moved, as a multiple."""
        found = self.logits[vector]
        count = open_count(found + shift, least=least_of(vector))
        step, least = self.multiple(vector), least_of(vector)
        rounded = step * round(count / step)
        return min(len(found), max(rounded, step if least else 0)) if count < len(found) else count

    def masks(self, counts: Counts) -> dict[Vector, torch.Tensor]:
        """The most open units of each vector."""
        return {vector: first_of(order, counts[vector]) for vector, order in self.order.items()}

    def left(self, counts: Counts, number: int) -> float:
        """The share of a cost that these units leave."""
        return self.shares.of(self.masks(counts))[number]

    def solved(self, counts: Counts, moving: Iterable[Vector], number: int) -> Counts:
        """The numbers of some vectors, moved by the largest amount that keeps the target."""
        vectors, wanted = list(moving), self.shares.targets[number].left
        low, high = -FAR, FAR

        def at(shift: float) -> Counts:
            return counts | {vector: self.count(vector, shift) for vector in vectors}

        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.left(at(middle), number) <= wanted else (low, middle)
        return at(low)

    def fill(self, counts: Counts, vectors: Iterable[Vector], number: int) -> None:
        """Add the most open of the closed units while the target holds."""
        wanted, waiting = self.shares.targets[number].left, {vector for vector in vectors if vector.kind != "layers"}
        values = {vector: self.logits[vector][order].tolist() for vector, order in self.order.items()}
        for _ in range(MOST_TRIES):
            waiting = {vector for vector in waiting if counts[vector] < len(values[vector])}
            if not waiting:
                return
            vector = max(sorted(waiting), key=lambda vector: values[vector][counts[vector]])
            more = min(len(values[vector]), counts[vector] + self.multiple(vector))
            if self.left(counts | {vector: more}, number) <= wanted:
                counts[vector] = more
            else:
                waiting.discard(vector)
