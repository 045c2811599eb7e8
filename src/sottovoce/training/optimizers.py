"""The optimizers of a training: AdamW, and for the matrices inside transformer layers Muon, where it is asked for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.training.settings import Training


@dataclass(frozen=True)
class Rates:
    """Parameters that learn at a rate of their own, on the schedule of the others.

    Args:
        lr: the highest rate.
        weight_decay: of these parameters, whatever their dimensions.
        ascend: make the loss larger, as the multipliers of a constraint do.
        clip: count with the others for the largest norm of the gradients.

    Example:
        >>> Rates([torch.nn.Parameter(torch.zeros(2))], lr=0.02).ascend
        False
    """

    parameters: Sequence[nn.Parameter]
    lr: float
    weight_decay: float = 0.0
    ascend: bool = False
    clip: bool = False


def make_optimizers(objective: nn.Module, settings: Training) -> list[torch.optim.Optimizer]:
    """AdamW, behind Muon if that was chosen; norms and biases, which have one dimension, do not decay.

    What the objective's `rates()` name learns with AdamW at these rates.

    Example:
        >>> make_optimizers(torch.nn.Linear(2, 2), Training())[0].param_groups[1]["weight_decay"]
        0.0
    """
    own = own_rates(objective)
    special = {id(parameter) for rates in own for parameter in rates.parameters}
    learnt = [p for p in objective.parameters() if p.requires_grad and id(p) not in special]
    made: list[torch.optim.Optimizer] = []
    matrices = [matrix for matrix in inner_matrices(objective) if id(matrix) not in special]
    if settings.optimizer == "muon" and matrices:
        # Scaled so that an update is as large as one of AdamW: one learning rate serves both.
        made.append(
            torch.optim.Muon(
                matrices, lr=settings.lr, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
        taken = {id(parameter) for parameter in matrices}
        learnt = [parameter for parameter in learnt if id(parameter) not in taken]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learnt if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learnt if p.dim() <= 1], "weight_decay": 0.0},
    ]
    for rates in own:
        more = {"share": rates.lr / settings.lr, "maximize": rates.ascend, "clip": rates.clip}
        groups.append({"params": list(rates.parameters), "weight_decay": rates.weight_decay, **more})
    # Fused: one pass over the memory instead of a dozen.
    adamw = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)
    for group in (group for optimizer in (*made, adamw) for group in optimizer.param_groups):
        group.setdefault("share", 1.0)
        group.setdefault("clip", True)
    return [*made, adamw]


def own_rates(objective: nn.Module) -> list[Rates]:
    """The rates that an objective asks for, checked.

    Example:
        >>> own_rates(torch.nn.Linear(2, 2))
        []
    """
    found = list(getattr(objective, "rates", list)())
    known = {id(parameter) for parameter in objective.parameters()}
    seen: set[int] = set()
    for rates in found:
        if not 0 < rates.lr < math.inf or not 0 <= rates.weight_decay < math.inf:
            raise SottovoceError(
                f"rates: lr={rates.lr} and weight_decay={rates.weight_decay}, but finite ones are wanted."
            )
        numbers = [id(parameter) for parameter in rates.parameters]
        if not known.issuperset(numbers) or seen.intersection(numbers) or len(set(numbers)) < len(numbers):
            raise SottovoceError("rates: each parameter must be one of the objective's, and stand once.")
        seen.update(numbers)
    return found


def clipped_parameters(optimizers: Sequence[torch.optim.Optimizer]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters whose gradients count for the largest norm, and those that are left out of it.

    Example:
        >>> [len(some) for some in clipped_parameters(make_optimizers(torch.nn.Linear(2, 2), Training()))]
        [2, 0]
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    clipped = [parameter for group in groups if group["clip"] for parameter in group["params"]]
    return clipped, [parameter for group in groups if not group["clip"] for parameter in group["params"]]


def tell_step(objective: nn.Module, done: int, steps: int) -> None:
    """Tell an objective that wants to know how many of how many updates are done.

    Example:
        >>> tell_step(torch.nn.Linear(2, 2), 3, 10)
    """
    on_step = getattr(objective, "on_step", None)
    if on_step is not None:
        on_step(done, steps)


def inner_matrices(objective: nn.Module) -> Iterator[nn.Parameter]:
    """The weight matrices inside transformer layers that are to be trained."""
    model = next((module for module in objective.modules() if isinstance(module, PreTrainedModel)), None)
    if model is not None:  # the outermost one: a model with a head holds the model inside
        matrices = (parameter for parameter in Anatomy(model).layers.parameters() if parameter.dim() == 2)
        yield from (parameter for parameter in matrices if parameter.requires_grad)
