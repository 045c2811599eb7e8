"""Half precision for a while."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from sottovoce.models.record import eager
from sottovoce.training.settings import Precision

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def fast_attention(module: nn.Module, device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The attention that is fast in some precision: in bfloat16 on a CPU, plain products beat the fused kernel
    (`benchmarks/pretraining.py`). It lasts until gradients are computed: checkpoints compute attention again.

    Example:
        >>> with fast_attention(model, torch.device("cpu"), "bf16"):
        ...     loss = objective(batch)
    """
    return eager(module) if device.type == "cpu" and precision == "bf16" else nullcontext()


def autocast_to(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Autocast to half precision, where that is wanted.

    Example:
        >>> with autocast_to(torch.device("cpu"), "bf16"):
        ...     loss = objective(batch)
    """
    dtype = DTYPES.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


@contextmanager
def half_precision(module: nn.Module, device: torch.device, precision: Precision) -> Iterator[None]:
    """Half precision inside, where that is wanted, with the attention that is fast in it.

    Example:
        >>> with half_precision(model, torch.device("cpu"), "bf16"):
        ...     states = encoder.states(inputs)
    """
    with fast_attention(module, device, precision), autocast_to(device, precision):
        yield
