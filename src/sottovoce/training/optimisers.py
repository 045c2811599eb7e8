"""The optimisers of a training: AdamW, and for the matrices inside transformer layers Muon, where it is asked for."""

from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

from sottovoce.models.anatomy import Anatomy
from sottovoce.training.settings import Training


def make_optimisers(objective: nn.Module, settings: Training) -> list[torch.optim.Optimizer]:
    """AdamW, behind Muon if that was chosen; norms and biases, which have one dimension, do not decay.

    Example:
        >>> make_optimisers(torch.nn.Linear(2, 2), Training())[0].param_groups[1]["weight_decay"]
        0.0
    """
    learnt = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    made: list[torch.optim.Optimizer] = []
    if settings.optimiser == "muon" and (matrices := list(inner_matrices(objective))):
        # Scaled so that an update is as large as one of AdamW: one learning rate serves both.
        made.append(
            torch.optim.Muon(
                matrices, lr=settings.lr, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
        taken = {id(parameter) for parameter in matrices}
        learnt = [parameter for parameter in learnt if id(parameter) not in taken]
    groups = [
        {"params": [p for p in learnt if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learnt if p.dim() <= 1], "weight_decay": 0.0},
    ]
    # Fused: one pass over the memory instead of a dozen.
    adamw = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)
    return [*made, adamw]


def inner_matrices(objective: nn.Module) -> Iterator[nn.Parameter]:
    """The weight matrices inside transformer layers that are to be trained."""
    model = next((module for module in objective.modules() if isinstance(module, PreTrainedModel)), None)
    if model is not None:  # the outermost one: a model with a head holds the model inside
        matrices = (parameter for parameter in Anatomy(model).layers.parameters() if parameter.dim() == 2)
        yield from (parameter for parameter in matrices if parameter.requires_grad)
