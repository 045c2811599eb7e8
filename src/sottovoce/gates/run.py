"""One pruning with gates: a model, a loss, batches, targets; and the smaller model that comes out."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from sottovoce.data.batches import Source
from sottovoce.gates.choosing import check_reachable, choose
from sottovoce.gates.cutting import cut
from sottovoce.gates.hooks import gated
from sottovoce.gates.latency import LatencyModel, latency_model
from sottovoce.gates.latency_design import Setting, Timer, on_pytorch, typical
from sottovoce.gates.objective import Gated, Gating
from sottovoce.gates.targets import Cost, Shares, Target
from sottovoce.gates.units import Sites, Vector, sites_of, sort_head_dims
from sottovoce.gates.vectors import Gates
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.widths import widths_of
from sottovoce.timing import thread_count
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

    For a target in time, parts of the model are timed at `latency`, unless a `clock` says what widths take.

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
        latency: Setting | None = None,
        clock: Cost | None = None,
    ) -> None:
        self.model, self.plan = model, plan
        self.sites: Sites = sites_of(model, units)
        if "dims" in units:
            sort_head_dims(model)
        self.gates = Gates(self.sites, seed=seed, shape=plan.shape, closed=plan.closed)
        self.latency: LatencyModel | None = None
        self.whole: Any = None
        if clock is None and any(target.cost == "latency" for target in targets):
            self.latency, self.whole = latency_model(model, latency or Setting(), seed=seed), copy.deepcopy(model)
        self.shares = Shares(model, targets, clock or self.latency)
        check_reachable(self.gates, self.shares, round_to=plan.round_to)

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

    @torch.no_grad()
    def finish(self) -> Outcome:
        """Choose which units stay, and cut the others out."""
        expected = tuple(float(share) for share in self.shares(self.gates.probabilities()))
        left = choose(self.gates, self.shares, round_to=self.plan.round_to)
        kept = {vector: int(mask.sum()) for vector, mask in self.gates.opened().items()}
        cut(self.model, self.sites, self.gates)
        return Outcome(self.shares.targets, expected, tuple(left), kept)

    def time(self, tell: Callable[[str], object]) -> None:
        """Where a time was the target, take that of the model as it is now, in turns with the whole one's."""
        if self.latency is None:
            return
        setting = self.latency.setting
        models = {"whole": self.whole, "cut": self.model}
        inputs = Anatomy(self.whole).dummy_inputs(setting.seconds, batch=setting.batch)
        timer: Timer[str] = setting.timer or on_pytorch
        parts = {name: (model.eval(), (inputs[model.main_input_name],)) for name, model in models.items()}
        with thread_count(setting.threads), torch.no_grad():
            times = {name: typical(found) for name, found in timer(parts).items()}
        measured = times["cut"] / times["whole"]
        predicted = float(self.latency(widths_of(self.model))) / self.shares.whole[0]
        tell(
            f"prune_jointly: {setting.seconds:g} s of audio take {1000 * times['cut']:.2f} ms instead of "
            f"{1000 * times['whole']:.2f} ({100 * (measured - 1):.1f}%, {100 * (predicted - 1):.1f}% was predicted; "
            f"the latency model misses models that it has not seen by {100 * self.latency.held_out_whole:.1f}%)."
        )
