"""What a model is to cost behind a pruning: targets as users write them, and how near some widths are to them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sottovoce.errors import SottovoceError, shown
from sottovoce.gates.expected import Expected
from sottovoce.gates.units import Vector
from sottovoce.models.counting import macs_by_part, parameters_by_part
from sottovoce.models.widths import Number, Widths

SAMPLES = 160_000  # the virtual 10 s of paper 3
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
    pairs = list(given.items()) if isinstance(given, Mapping) else pairs_in(str(given))
    found = [target for name, value in pairs if (target := target_in(str(name), str(value))) is not None]
    if not found or len(found) < len(pairs):
        raise SottovoceError(
            f"target={shown(given)}, but a cost and by how much it is to change is wanted: {EXAMPLES}."
        )
    names = [target.cost for target in found]
    if len(names) > 1 and sorted(names) != sorted(PARTS):
        raise SottovoceError(
            f"target={shown(given)}, but one cost is wanted, or conv and transformer together: {EXAMPLES}."
        )
    return tuple(found)


def target_in(name: str, value: str) -> Target | None:
    """The target that a pair names; None where it names none."""
    number = re.fullmatch(r"[-\N{MINUS SIGN}](\d+(?:\.\d+)?)\s*%", value.strip())
    if name.strip() not in (*WHOLE, *PARTS) or number is None or not 0 < float(number[1]) < 100:
        return None
    return Target(name.strip(), 1 - float(number[1]) / 100)


def pairs_in(text: str) -> list[tuple[str, str]]:
    """`conv:-60%,transformer:-30%` in pairs, which may name a cost twice."""
    pieces = [piece.partition(":") for piece in text.split(",")]
    return [(name, value) for name, _, value in pieces]


def cost_of(target: Target, latency: Cost | None) -> Cost:
    """The function of widths that a target speaks of.

    Example:
        >>> cost_of(Target("size", 0.5), None)(widths_of(model))
        94371712
    """
    if target.cost == "latency":
        if latency is None:
            raise SottovoceError(f"target={target}, but nothing says how long a pass takes; give another cost.")
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
        >>> shares = Shares(model, targets_of("macs:-40%"))
        >>> shares(gates.probabilities())
    """

    def __init__(self, model: Any, targets: Sequence[Target], latency: Cost | None = None) -> None:
        self.targets = tuple(targets)
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
