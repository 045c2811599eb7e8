"""Keeping some rows, columns or units of one module's tensors, in place; an edit is made of these."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.parts import Factored


def indices(what: str, chosen: Iterable[int], size: int, *, least: int = 0) -> tuple[int, ...]:
    """Chosen indices, sorted and checked.

    Example:
        >>> indices("head", [3, 0], 12)
        (0, 3)
    """
    given = list(chosen)
    picked = tuple(sorted(set(given)))
    if len(picked) != len(given):
        raise SottovoceError(f"{what} indices {given} name one twice; name each once.")
    wrong = [index for index in picked if not 0 <= index < size]
    if wrong:
        raise SottovoceError(f"there is no {what} {wrong[0]}: this model has {size}; give 0-{size - 1}.")
    if len(picked) < least:
        raise SottovoceError(f"{len(picked)} of {size} {what}s would be left; keep at least {least}.")
    return picked


def replace_parameter(module: nn.Module, name: str, value: torch.Tensor) -> None:
    """Put a new tensor where a parameter was; it learns if the old one did."""
    old = getattr(module, name)
    setattr(module, name, nn.Parameter(value.detach().clone().contiguous(), requires_grad=old.requires_grad))


def linear_of(weight: torch.Tensor, bias: nn.Parameter | None, *, learns: bool) -> nn.Linear:
    """A Linear of given tensors, of any size down to none (where PyTorch's own warns about its first values)."""
    linear = nn.Linear(1, 1, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.contiguous(), requires_grad=learns)
    linear.bias = bias  # pyright: ignore[reportAttributeAccessIssue] - None where there is none
    linear.out_features, linear.in_features = weight.shape
    return linear


def keep_rows(linear: Any, rows: Sequence[int]) -> None:
    """Keep some outputs of a Linear or a convolution, in place."""
    linear = linear.second if isinstance(linear, Factored) else linear
    index = torch.tensor(rows, dtype=torch.long, device=linear.weight.device)
    replace_parameter(linear, "weight", linear.weight[index])
    if linear.bias is not None:
        replace_parameter(linear, "bias", linear.bias[index])
    setattr(linear, "out_features" if isinstance(linear, nn.Linear) else "out_channels", len(rows))


def keep_columns(linear: Any, columns: Sequence[int]) -> None:
    """Keep some inputs of a Linear or an ungrouped convolution, in place."""
    linear = linear.first if isinstance(linear, Factored) else linear
    index = torch.tensor(columns, dtype=torch.long, device=linear.weight.device)
    replace_parameter(linear, "weight", linear.weight[:, index])
    setattr(linear, "in_features" if isinstance(linear, nn.Linear) else "in_channels", len(columns))


def keep_norm(norm: Any, units: Sequence[int]) -> None:
    """Keep some units of a LayerNorm or of a GroupNorm with one channel a group, in place."""
    if norm.weight is not None:
        index = torch.tensor(units, dtype=torch.long, device=norm.weight.device)
        replace_parameter(norm, "weight", norm.weight[index])
        if norm.bias is not None:
            replace_parameter(norm, "bias", norm.bias[index])
    if isinstance(norm, nn.GroupNorm):
        norm.num_groups = norm.num_channels = len(units)
    else:
        norm.normalized_shape = (len(units),)
