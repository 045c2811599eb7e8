"""What a validation adds up over held-out batches."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import nn

from sottovoce.data.batches import Source, ahead
from sottovoce.training.precision import half_precision
from sottovoce.training.settings import Precision


def totals(
    module: nn.Module,
    source: Source,
    ask: Callable[[Any], Sequence[torch.Tensor | float]],
    *,
    precision: Precision = "fp32",
) -> list[float]:
    """The numbers that `ask` says of each batch of a source on the module's device, each summed over all batches.

    Example:
        >>> loss, frames = totals(objective, source, objective)
        >>> score = -loss / frames
    """
    device = next(module.parameters()).device
    sums: list[float] = []
    with closing(ahead(source.load, source.plan(0))) as loads:
        for batch in loads:
            with half_precision(module, device, precision):
                found = ask(batch.to(device))
            sums = [total + float(value) for total, value in zip(sums or [0.0] * len(found), found, strict=True)]
    return sums
