"""Half precision for a while."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from sottovoce.models.record import eager
from sottovoce.training.settings import Precision

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def half(module: nn.Module, device: torch.device, precision: Precision) -> Iterator[None]:
    """Half precision inside, where that is wanted, with the attention that is fast in it.

    In bfloat16 on a CPU the fused kernel is slower than plain products (`benchmarks/pretraining.py`).

    Example:
        >>> with half(model, torch.device("cpu"), "bf16"):
        ...     loss = objective(batch)
    """
    dtype = DTYPES.get(precision)
    plain = device.type == "cpu" and dtype == torch.bfloat16
    with eager(module) if plain else nullcontext(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        yield
