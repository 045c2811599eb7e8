"""The few modules that an edited encoder has and a regular one has not."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from sottovoce.models.exits import Pass, exiting
from sottovoce.models.own import own_parts


class Factored(nn.Module):
    """A Linear of low rank, kept as two: `in -> rank -> out`; the bias is the second one's.

    Example:
        >>> Factored(nn.Linear(768, 64, bias=False), nn.Linear(64, 3072)).rank
        64
    """

    def __init__(self, first: nn.Linear, second: nn.Linear):
        super().__init__()
        self.first = first
        self.second = second

    @property
    def in_features(self) -> int:
        """The width that comes in."""
        return self.first.in_features

    @property
    def out_features(self) -> int:
        """The width that goes out."""
        return self.second.out_features

    @property
    def rank(self) -> int:
        """The width in between."""
        return self.first.out_features

    @property
    def weight(self) -> torch.Tensor:
        """The product of the two, as the one matrix that they stand for."""
        return self.second.weight @ self.first.weight

    @property
    def bias(self) -> nn.Parameter | None:
        """The bias of the whole."""
        return self.second.bias

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The product of the two Linears."""
        return self.second(self.first(hidden_states))


class Repeated(nn.ModuleList):
    """Layers in the order in which they are applied: each is stored once, however often it runs.

    `len()` and indexing speak of stored layers, iteration of steps, because an encoder's forward pass iterates. With
    `exits` (a threshold and the fewest steps), utterances leave early in evaluation; `last` tells of the last pass.

    Example:
        >>> len(list(Repeated([nn.Identity()], order=(0, 0, 0))))
        3
    """

    def __init__(self, layers: Sequence[nn.Module], *, order: Sequence[int]):
        super().__init__(layers)
        self.order = tuple(order)
        self.exits: tuple[float, int] | None = None
        self.last: Pass | None = None

    def __iter__(self) -> Iterator[Any]:
        if self.exits is None or self.training:
            return self.steps()
        self.last = Pass(*self.exits)
        return exiting(self.steps(), self.last)

    def steps(self) -> Iterator[nn.Module]:
        """Every step's layer, with the parts that are that step's own."""
        own = {layer: list(own_parts(self[layer])) for layer in set(self.order)}
        for step, layer in enumerate(self.order):
            for part in own[layer]:
                part.at = self.order[:step].count(layer)
            yield self[layer]


class NoHeads(nn.Module):
    """What is left of an attention without heads: its output bias.

    Hugging Face's own forward pass cannot reshape to zero heads.
    """

    def __init__(self, attention: Any, parts: Sequence[str]):
        super().__init__()
        self.parts = tuple(parts)
        for part in self.parts:
            self.add_module(part, attention.get_submodule(part))
        self.kept_heads = ()
        self.train(attention.training)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        """The output projection of nothing."""
        return self.get_submodule(self.parts[-1])(hidden_states[..., :0]), None


class GroupedConv(nn.Module):
    """A grouped convolution whose groups differ in width, as a narrowed positional convolution has them.

    Example:
        >>> GroupedConv([3, 0, 2], kernel=128, stride=1, padding=64)(torch.zeros(1, 5, 50)).shape
        torch.Size([1, 5, 51])
    """

    is_grouped_conv = True

    def __init__(self, widths: Sequence[int], *, kernel: int, stride: int, padding: int, device: Any = None):
        super().__init__()
        self.widths = tuple(width for width in widths if width)
        options: dict[str, Any] = {"stride": stride, "padding": padding, "device": device}
        self.groups = nn.ModuleList(nn.Conv1d(width, width, kernel, **options) for width in self.widths)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Each group's convolution on its own channels."""
        pieces = hidden_states.split(self.widths, dim=1)
        return torch.cat([conv(piece) for conv, piece in zip(self.groups, pieces, strict=True)], dim=1)
