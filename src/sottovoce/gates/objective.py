"""Learning with gates: any loss, and what it takes that the expected cost goes where it is to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final, get_args

import torch
from torch import nn

from sottovoce.errors import SottovoceError, unknown
from sottovoce.gates.targets import Shares
from sottovoce.gates.vectors import Gates, Shape
from sottovoce.training.optimizers import Rates, own_rates, tell_step


@dataclass(frozen=True)
class Gating:
    """How gates learn.

    Args:
        shape: hard-concrete gates, as published, or one learned threshold for each vector (`pinching`).
        lr: the highest learning rate of gates; `multiplier_lr`, of the multipliers, which ascend.
        stiffness: where the multiplier of the squared gap begins. As published it is 0; in a training of only hundreds
            of updates, 100 holds the gates to the target, which they would overshoot or not reach.
        ramp: the share of the updates in which the target goes from nothing to where it ends.
        closed: how likely a gate is closed at the start; feed-forward units begin at one half.
        round_to: the final widths of convolutions, feed-forward parts and the hidden state are multiples of it.

    Example:
        >>> Gating(ramp=0.1).lr
        0.02
    """

    shape: Shape = "hard_concrete"
    lr: float = 0.02
    multiplier_lr: float = 0.02
    stiffness: float = 0.0
    ramp: float = 0.2
    closed: float = 0.01
    round_to: int = 1

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise unknown("shape", self.shape, get_args(Shape))
        for name in ("lr", "multiplier_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SottovoceError(f"{name}={getattr(self, name)}, but a finite rate above 0 is wanted.")
        if not 0 <= self.stiffness < float("inf"):
            raise SottovoceError(f"stiffness={self.stiffness}, but a finite number of at least 0 is wanted.")
        if not 0 <= self.ramp <= 1:
            raise SottovoceError(f"ramp={self.ramp}, but a share of the updates is wanted: 0 to 1.")
        if not 0 < self.closed < 1:
            raise SottovoceError(f"closed={self.closed}, but a probability is wanted: above 0 and below 1.")
        if not 1 <= self.round_to <= 1024:
            raise SottovoceError(f"round_to={self.round_to}, but a multiple from 1 to 1024 is wanted.")


@final
class Gated(nn.Module):
    """A loss of a gated model and the augmented Lagrangian of its targets.

    Of each target, `m1 (s - t) + m2 (s - t)^2` is added: `s` is the share of the cost that is expected to go, `t` the
    share that is to go by now, and the multipliers ascend, the first from 0.

    Example:
        >>> Gated(Headed(task, model), gates, shares, Gating()).multipliers
        Parameter containing: tensor([[0., 0.]], requires_grad=True)
    """

    def __init__(self, inner: nn.Module, gates: Gates, shares: Shares, plan: Gating) -> None:
        super().__init__()
        # The inner one first: of several models, the optimizers take the matrices of the first.
        self.inner, self.gates = inner, gates
        self.multipliers = nn.Parameter(torch.tensor([[0.0, plan.stiffness]] * len(shares.targets)))
        self.plan = plan
        self._keep: dict[str, Any] = {"shares": shares}  # in a dictionary: what it measures is no part of the module
        self.begun = 0.0

    def on_step(self, done: int, steps: int) -> None:
        """Draw the gates of an update, and move the target."""
        rising = self.plan.ramp * steps
        self.begun = 1.0 if done >= rising else done / rising
        self.gates.draw(done)
        tell_step(self.inner, done, steps)

    def rates(self) -> Sequence[Rates]:
        """The rates of gates and multipliers, behind those of the loss."""
        plan = self.plan
        gates = Rates(list(self.gates.parameters()), plan.lr)
        return [*own_rates(self.inner), gates, Rates([self.multipliers], plan.multiplier_lr, ascend=True)]

    def forward(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, with the penalty once for the whole of its weight."""
        self.gates.refresh()
        loss, weight = self.inner(batch)
        return loss + self.penalty().to(loss) * weight, weight

    def penalty(self) -> torch.Tensor:
        """What the gates' distance from the targets costs now."""
        shares: Shares = self._keep["shares"]
        found = shares(self.gates.probabilities())
        wanted = [1 - self.begun * (1 - target.left) for target in shares.targets]
        over = torch.stack([torch.as_tensor(w - share) for share, w in zip(found, wanted, strict=True)])
        first, second = self.multipliers.cpu().double().unbind(1)
        return (first * over + second * over.square()).sum()
