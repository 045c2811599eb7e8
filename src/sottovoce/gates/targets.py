"""What a model is to cost behind a pruning: targets as users write them, and how near some widths are to them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sottovoce.errors import SottovoceError, shown
from sottovoce.gates.expected import Expected
from sottovoce.gates.units import Vector
from sottovoce.gates.vectors import largest, least_of
from sottovoce.models.counting import macs_by_part, parameters_by_part
from sottovoce.models.widths import Number, Widths

SAMPLES = 160_000  # the virtual 10 s of paper 3
NEAR = 0.01  # of the whole cost: how near a target must be met
WHOLE, PARTS = ("size", "macs", "latency"), ("conv", "transformer")
EXAMPLES = "size:-75%, macs:-40%, latency:-50% or {conv: -60%, transformer: -30%}"
Cost = Callable[[Widths], Number]


@dataclass(frozen=True)
class Target:
    """A cost and the share of it that is to be left.

    `conv` and `transformer` are the parameters of the front end's convolutions and of the layers.

    Example:
        >>> Target("macs", 0.6)
        Target(cost='macs', left=0.6)
    """

    cost: str
    left: float

    def __str__(self) -> str:
        """As users write it."""
        return f"{self.cost}:{100 * (self.left - 1):.4g}%"


def targets_of(given: str | Mapping[str, Any]) -> tuple[Target, ...]:
    """The targets that a text or a mapping names.

    Example:
        >>> targets_of("macs:-40%")
        (Target(cost='macs', left=0.6),)
        >>> targets_of({"conv": "-60%", "transformer": "-30%"})[1].left
        0.7
    """
    pairs = dict(given) if isinstance(given, Mapping) else pairs_in(given)
    found = []
    for name, value in pairs.items():
        name, value = str(name).strip(), str(value).strip()
        number = re.fullmatch(r"[-\N{MINUS SIGN}](\d+(?:\.\d+)?)\s*%", value)
        if name not in (*WHOLE, *PARTS) or number is None or not 0 < float(number[1]) < 100:
            raise SottovoceError(
                f"target={shown(given)}, but a cost and by how much it is to change is wanted: {EXAMPLES}."
            )
        found.append(Target(name, 1 - float(number[1]) / 100))
    names = [target.cost for target in found]
    if len(names) > 1 and sorted(names) != sorted(PARTS):
        raise SottovoceError(
            f"target={shown(given)}, but one cost is wanted, or conv and transformer together: {EXAMPLES}."
        )
    return tuple(found)


def pairs_in(text: str) -> dict[str, str]:
    """`conv:-60%,transformer:-30%` as a mapping."""
    found = {}
    for piece in text.split(","):
        name, _, value = piece.partition(":")
        found[name] = value
    return found


def cost_of(target: Target, latency: Cost | None) -> Cost:
    """The function of widths that a target speaks of.

    Example:
        >>> cost_of(Target("size", 0.5), None)(widths_of(model))
        94371712
    """
    if target.cost == "latency":
        assert latency is not None
        return latency
    if target.cost == "macs":
        return lambda widths: total(macs_by_part(widths, SAMPLES), None)
    part = {"size": None, "conv": "front_end", "transformer": "layer"}[target.cost]
    return lambda widths: total(parameters_by_part(widths), part)


def total(counts: Mapping[Any, Number], part: str | None) -> Number:
    """The sum over parts, or over those of one name."""
    return sum(count for where, count in counts.items() if part is None or where[0] == part)


class Shares:
    """What share of each cost is left of a model with some gates, and what is wanted of it.

    Example:
        >>> shares = Shares(model, targets_of("macs:-40%"), gates.sizes)
        >>> shares(gates.probabilities())
    """

    def __init__(
        self, model: Any, targets: Sequence[Target], sizes: Mapping[Vector, int], latency: Cost | None = None
    ) -> None:
        self.targets, self.sizes = tuple(targets), dict(sizes)
        self.expected = Expected(model)
        self.costs = [cost_of(target, latency) for target in targets]
        self.whole = [float(cost(self.expected.whole)) for cost in self.costs]
        if not all(self.whole):
            raise SottovoceError(f"target={self.targets[0]}, but this model has nothing of that.")

    def __call__(self, probabilities: Mapping[Vector, torch.Tensor]) -> list[Number]:
        """The shares that are left, in the order of the targets; gradients pass."""
        widths = self.expected(probabilities)
        return [cost(widths) / whole for cost, whole in zip(self.costs, self.whole, strict=True)]

    def of(self, opened: Mapping[Vector, torch.Tensor]) -> list[float]:
        """The shares that are left when just these units are open."""
        return [float(share) for share in self({vector: mask.double() for vector, mask in opened.items()})]

    def least(self, *kept: str) -> dict[Vector, torch.Tensor]:
        """As few units open as can be, but for all of some kinds."""
        found = {}
        for vector, size in self.sizes.items():
            count = size if vector.kind in kept else least_of(vector)
            found[vector] = largest(torch.zeros(size), count)
        return found

    def check(self) -> None:
        """Refuse a target that no gates can meet."""
        least = self.of(self.least())
        for target, share in zip(self.targets, least, strict=True):
            if target.left < share:
                kinds = ", ".join(dict.fromkeys(vector.kind for vector in self.sizes))
                raise SottovoceError(
                    f"target={target} cannot be met: with every unit of {kinds} gone, as far as they can go, "
                    f"{100 * (share - 1):.1f}% is reached; ask for less, or gate more kinds of units."
                )
