"""How big a model is: parameters stored and not zero, and bytes."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sottovoce.measurement import Measurement
from sottovoce.measures.parts import Part, modules_by_part
from sottovoce.measures.places import COST, place
from sottovoce.models.int8 import Int8Linear
from sottovoce.registry import register_measure


@register_measure("size", shown=COST)
def size(model: Any, data: Any = None) -> list[Measurement]:
    """Parameters (stored, and of these not zero) and bytes of all tensors, whole and by part.

    A tensor that several steps share counts once, at the first of them. A weight that was rounded to a byte is a
    parameter of one byte.

    Example:
        >>> size(sv.new("wav2vec2-base"))[0].value
        94371712
    """
    everything = list(unique([model], model))
    stored: dict[Part, list[torch.Tensor]] = {(): everything}
    for where, tensors in tensors_by_part(model):
        stored.setdefault(where, []).extend(tensors)
    rows = []
    for where, tensors in stored.items():
        counts = {
            "parameters": sum(tensor.numel() for tensor in tensors),
            "nonzero": sum(count_nonzero(tensor) for tensor in tensors),
            "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        }
        if not where:
            counts["bytes"] += sum(buffer.numel() * buffer.element_size() for buffer in saved_buffers(model))
        units = {"parameters": "parameters", "nonzero": "parameters", "bytes": "bytes"}
        rows += [
            Measurement("size", metric, value, units[metric], "lower", place(where)) for metric, value in counts.items()
        ]
    return rows


def count_nonzero(tensor: torch.Tensor) -> int:
    """How many numbers of a tensor are not zero; a tensor without data has no zeros."""
    return tensor.numel() if tensor.is_meta else int(torch.count_nonzero(tensor.detach()))


def unique(modules: list[Any], model: Any) -> Iterator[torch.Tensor]:
    """The parameters of some modules, each once."""
    seen: set[int] = set()
    for module in modules:
        for parameter in weights(module):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter


def weights(module: nn.Module) -> Iterator[torch.Tensor]:
    """The parameters of a module, and the bytes of quantised ones, which cannot learn and so are none to PyTorch."""
    yield from module.parameters()
    yield from (part.levels for part in module.modules() if isinstance(part, Int8Linear))


def tensors_by_part(model: Any) -> Iterator[tuple[Part, list[torch.Tensor]]]:
    """Every parameter once, under the part that it belongs to; what belongs to none is `other`."""
    seen: set[int] = set()
    for where, module in modules_by_part(model):
        found: list[torch.Tensor] = [tensor for tensor in weights(module) if id(tensor) not in seen]
        seen.update(id(tensor) for tensor in found)
        yield where, found
    yield ("other",), [tensor for tensor in unique([model], model) if id(tensor) not in seen]


def saved_buffers(model: nn.Module) -> Iterator[torch.Tensor]:
    """The buffers that are saved with a model and are no weights."""
    parameters = {id(parameter) for parameter in weights(model)}
    for tensor in model.state_dict(keep_vars=True).values():
        if id(tensor) not in parameters:
            yield tensor
