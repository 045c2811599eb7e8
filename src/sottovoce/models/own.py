"""What a layer that several steps share has for each of them alone: norms, and small differences of its Linears."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from sottovoce.errors import SottovoceError


class OwnNorm(nn.Module):
    """A norm for each application of a layer.

    Example:
        >>> OwnNorm([nn.LayerNorm(4), nn.LayerNorm(4)])(torch.zeros(1, 4)).shape
        torch.Size([1, 4])
    """

    def __init__(self, each: Sequence[nn.Module]):
        super().__init__()
        self.each = nn.ModuleList(each)
        self.at = 0
        self.train(each[0].training)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The norm of the application that is under way."""
        return self.each[self.at](hidden_states)


class OwnLinear(nn.Module):
    """A Linear in common, and for each application of its layer a difference of low rank.

    Example:
        >>> OwnLinear(nn.Linear(8, 4), applications=2, rank=1)(torch.zeros(1, 8)).shape
        torch.Size([1, 4])
    """

    def __init__(self, common: nn.Linear, *, applications: int, rank: int):
        super().__init__()
        self.common, self.rank, self.at = common, rank, 0
        weight, learns = common.weight, common.weight.requires_grad

        def zeros(*shape: int) -> nn.ParameterList:
            return nn.ParameterList(
                nn.Parameter(weight.new_zeros(shape), requires_grad=learns) for _ in range(applications)
            )

        self.first, self.second = zeros(rank, common.in_features), zeros(common.out_features, rank)
        self.train(common.training)

    @property
    def in_features(self) -> int:
        """The width that comes in."""
        return self.common.in_features

    @property
    def out_features(self) -> int:
        """The width that goes out."""
        return self.common.out_features

    @property
    def weight(self) -> torch.Tensor:
        """The matrix of the application that is under way."""
        return self.common.weight + self.second[self.at] @ self.first[self.at]

    @property
    def bias(self) -> torch.Tensor | None:
        """The bias, which all applications have in common."""
        return self.common.bias

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The Linear in common and the difference of the application that is under way."""
        less = nn.functional.linear(hidden_states, self.first[self.at])
        return self.common(hidden_states) + nn.functional.linear(less, self.second[self.at])


def own_parts(layer: nn.Module) -> Iterator[OwnNorm | OwnLinear]:
    """The parts of a layer that differ by application."""
    for module in layer.modules():
        if isinstance(module, OwnNorm | OwnLinear):
            yield module


def own_of(layers: Any) -> dict[str, Any] | None:
    """Whether norms are each application's own, and the rank of its differences; None where all is in common."""
    parts = list(own_parts(layers))
    if not parts:
        return None
    rank = next((part.rank for part in parts if isinstance(part, OwnLinear)), 0)
    return {"norms": any(isinstance(part, OwnNorm) for part in parts), "rank": rank}


def check_in_common(layers: Any, name: str) -> None:
    """Refuse to edit layers whose steps have parts of their own, which no cut keeps exact."""
    if own_of(layers) is not None:
        raise SottovoceError(
            f"{name}: steps of this model share layers and have parts of their own (share_layers with own=); cut the "
            "model first, then share its layers."
        )


def keep_applications(layer: nn.Module, kept: Sequence[int]) -> None:
    """Keep the own parts of some applications of a layer, in this order; they may stand twice.

    Example:
        >>> keep_applications(model.encoder.layers[0], [0, 1, 5])
    """
    for part in own_parts(layer):
        names = ("each",) if isinstance(part, OwnNorm) else ("first", "second")
        for name in names:
            held = getattr(part, name)
            if max(kept) >= len(held):
                raise SottovoceError(f"a layer has parts of its own for {len(held)} steps, so it cannot run once more.")
            chosen = [
                held[index] if list(kept).index(index) == at else copy.deepcopy(held[index])
                for at, index in enumerate(kept)
            ]
            setattr(part, name, type(held)(chosen))
        part.at = 0
