"""Gates at work in a plain model: hooks that scale tensors while their module runs, and nothing else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from sottovoce.gates.units import Scale, Sites
from sottovoce.gates.vectors import Gates, Values, Vector


def factor(now: Mapping[Vector, Values], scale: Scale, dims: int) -> torch.Tensor:
    """What a tensor of so many dimensions is multiplied by.

    Example:
        >>> factor({Vector("ffn"): Values(torch.tensor([0.5, 1.0]), torch.ones(2))}, Scale(Vector("ffn"), dim=1), 2)
        tensor([[0.5000, 1.0000]])
    """
    values = now[scale.vector].opened if scale.opened else now[scale.vector].value
    if scale.place is not None:
        return values[scale.place]
    if scale.repeat > 1:
        values = values.repeat_interleave(scale.repeat)
    if scale.tile > 1:
        values = values.repeat(scale.tile)
    shape = [1] * dims
    shape[scale.dim] = len(values)
    return values.view(shape)


def scaled(tensor: torch.Tensor, scales: list[Scale], now: Mapping[Vector, Values]) -> torch.Tensor:
    """A tensor times its factors, in its own dtype."""
    for scale in scales:
        tensor = tensor * factor(now, scale, tensor.dim()).to(tensor.dtype)
    return tensor


class Scaling:
    """Before a module runs, its scaled tensors stand before its parameters; behind it they are gone."""

    def __init__(self, gates: Gates, tensors: Mapping[str, list[Scale]]) -> None:
        self.gates, self.tensors = gates, tensors

    def before(self, module: nn.Module, args: Any) -> None:
        """Put the scaled tensors where the module looks first."""
        for name, scales in self.tensors.items():
            module.__dict__[name] = scaled(module._parameters[name], scales, self.gates.now)  # pyright: ignore[reportArgumentType]

    def behind(self, module: nn.Module, args: Any, result: Any) -> None:
        """Take them away."""
        for name in self.tensors:
            module.__dict__.pop(name, None)


class OpenNorm:
    """A LayerNorm over the open units alone; closed ones come out as 0.

    Closed units are set to the mean of the open ones: the plain norm over all of them then has the right mean, and a
    variance that is too small by the share of the open ones, which is exact.
    """

    def __init__(self, norm: Any, gates: Gates, vector: Vector) -> None:
        self.norm, self.gates, self.vector = norm, gates, vector

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        norm, (_, opened, share) = self.norm, self.gates.now[self.vector]
        size, weight, bias = len(opened), norm.weight, norm.bias
        share = max(share, 1 / size)  # chance may close all of a few units
        if share == 1.0:
            return F.layer_norm(states, (size,), weight, bias, norm.eps)
        wide = states.float() if states.dtype in (torch.float16, torch.bfloat16) else states
        mask = opened.to(wide.dtype)
        mean = (wide @ (mask / (size * share)))[..., None]
        filled = torch.where(mask > 0, wide, mean)
        root = share**0.5
        plain = F.layer_norm(filled, (size,), None, None, norm.eps * share)
        gain = root * mask if weight is None else root * mask * weight
        found = plain * gain if bias is None else torch.addcmul(bias * mask, plain, gain)
        return found.to(states.dtype)


@contextmanager
def gated(model: Any, sites: Sites, gates: Gates) -> Iterator[Any]:
    """A model with its gates at work inside a `with` block; behind it, the plain model as it was.

    `gates.refresh()` says what they are worth in the passes that follow.

    Example:
        >>> with gated(model, sites, gates):
        ...     gates.refresh()
        ...     loss = objective(batch)
    """
    handles = []
    scalings = [(module, Scaling(gates, tensors)) for module, tensors in sites.tensors.items()]
    try:
        for module, scaling in scalings:
            handles.append(module.register_forward_pre_hook(scaling.before))
            handles.append(module.register_forward_hook(scaling.behind, always_call=True))
        for norm, vector in sites.norms.items():
            norm.forward = OpenNorm(norm, gates, vector)
        for module, vector in sites.outputs.items():
            handles.append(module.register_forward_hook(closing(gates, vector)))
        yield model
    finally:
        for handle in handles:
            handle.remove()
        for module, scaling in scalings:
            scaling.behind(module, None, None)  # a Ctrl-C inside a pass calls no hooks
        for norm in sites.norms:
            norm.__dict__.pop("forward", None)


def closing(gates: Gates, vector: Vector) -> Any:
    """A hook that takes the closed units out of what a module puts out."""

    def hook(module: nn.Module, args: Any, result: torch.Tensor) -> torch.Tensor:
        return result * gates.now[vector].opened.to(result.dtype)

    return hook
