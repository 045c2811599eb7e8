"""One pruning with gates: a model, a loss, batches, targets; and the smaller model that comes out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from sottovoce.data.batches import Source
from sottovoce.gates.choosing import choose
from sottovoce.gates.cutting import cut
from sottovoce.gates.hooks import gated
from sottovoce.gates.objective import Gated, Gating
from sottovoce.gates.targets import Cost, Shares, Target
from sottovoce.gates.units import Sites, Vector, sites_of
from sottovoce.gates.vectors import Gates
from sottovoce.training import Training, train


@dataclass(frozen=True)
class Outcome:
    """What came out of a pruning.

    Args:
        targets: the targets, with the shares that gates expected when training ended, and that the cut model has.
        kept: how many units of each vector stay.

    Example:
        >>> outcome.kept[Vector("heads", 3)]
        2
    """

    targets: tuple[Target, ...]
    expected: tuple[float, ...]
    left: tuple[float, ...]
    kept: dict[Vector, int]

    def __str__(self) -> str:
        """In a sentence for each target."""
        rows = zip(self.targets, self.expected, self.left, strict=True)
        return "; ".join(
            f"{target}: {100 * (left - 1):.1f}% (the gates expected {100 * (expected - 1):.1f}%)"
            for target, expected, left in rows
        )


class Pruning:
    """A pruning that is prepared: what is gated, and towards what. Bad targets are refused here, before any work.

    Example:
        >>> pruning = Pruning(model, ["conv", "heads", "ffn"], targets_of("macs:-40%"), Gating(), seed=0)
    """

    def __init__(
        self,
        model: Any,
        units: Sequence[str],
        targets: Sequence[Target],
        plan: Gating,
        *,
        seed: int,
        latency: Cost | None = None,
    ) -> None:
        self.model, self.plan = model, plan
        self.sites: Sites = sites_of(model, units)
        self.gates = Gates(self.sites, seed=seed, shape=plan.shape, closed=plan.closed)
        self.shares = Shares(model, targets, self.sites.sizes, latency)
        self.shares.check()

    def learn(self, module: nn.Module, source: Source, settings: Training, about: Sequence[Any]) -> None:
        """Train a module that holds the model, with the gates at work; they are settled behind it."""
        objective = Gated(module, self.gates, self.shares, self.plan)
        targets = [str(target) for target in self.shares.targets]
        known = [
            *about,
            asdict(self.plan),
            targets,
            self.shares.whole,
            sorted(vector.name for vector in self.gates.sizes),
        ]
        with gated(self.model, self.sites, self.gates):
            train(objective, source, settings, about=known, name="prune")

    def finish(self) -> Outcome:
        """Choose which units stay, and cut the others out."""
        expected = tuple(float(share) for share in self.shares(self.gates.probabilities()))
        left = choose(self.gates, self.shares, round_to=self.plan.round_to)
        kept = {vector: int(mask.sum()) for vector, mask in self.gates.opened().items()}
        cut(self.model, self.sites, self.gates)
        return Outcome(self.shares.targets, expected, tuple(left), kept)
