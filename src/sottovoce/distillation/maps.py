"""The Linears between a student's states and a teacher's."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import nn

from sottovoce.distillation.plan import Match, Pair
from sottovoce.models.anatomy import Anatomy


def map_places(pairs: Sequence[Pair], match: Match) -> list[int]:
    """Which map each pair of states has; in DPHuBERT all but the first layer's input share one.

    Example:
        >>> map_places([Pair(0, 0), Pair(4, 4), Pair(8, 8)], Match(maps="shared"))
        [0, 1, 1]
    """
    if match.maps == "each":
        return list(range(len(pairs)))
    first = any(pair.teacher == 0 for pair in pairs)
    return [1 if first and pair.teacher != 0 else 0 for pair in pairs]


def start_map(own: int, wanted: int) -> nn.Linear:
    """A Linear from the student's width to the teacher's that begins by changing nothing, or no lengths.

    Example:
        >>> start_map(2, 2).weight.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    made = nn.Linear(own, wanted)
    (nn.init.eye_ if own == wanted else nn.init.orthogonal_)(made.weight)
    nn.init.zeros_(made.bias)
    return made


@torch.no_grad()
def same_units(maps: nn.Module, model: Any, teacher: Any) -> None:
    """Let maps put each unit of a model's hidden state where its teacher has it, and nothing where the model lost one.

    Example:
        >>> same_units(follower.maps, model, teacher)
    """
    known = kept_units(teacher)
    places = [known.index(unit) for unit in kept_units(model)]
    for name, tensor in maps.state_dict().items():
        tensor.zero_()
        if name.endswith("weight"):
            tensor[places, range(len(places))] = 1.0


@final
class Learned:
    """The maps between a student's states and a teacher's, from one training to the next, behind which it is narrower.

    Example:
        >>> Learned().give(model, follower.maps)
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.units: tuple[int, ...] = ()

    @torch.no_grad()
    def take(self, model: Any, maps: nn.Module) -> None:
        """Keep what was learned of a model."""
        self.tensors = {name: tensor.detach().clone() for name, tensor in maps.state_dict().items()}
        self.units = kept_units(model)

    @torch.no_grad()
    def give(self, model: Any, maps: nn.Module) -> None:
        """Let maps begin as what is kept says of the units that the model still has."""
        now = [self.units.index(unit) for unit in kept_units(model)] if self.units else []
        for name, tensor in maps.state_dict().items():
            if name in self.tensors:
                known = self.tensors[name]
                tensor.copy_(known[:, now] if known.dim() > 1 else known)


def kept_units(model: Any) -> tuple[int, ...]:
    """Which units of its regular hidden state a model has."""
    body = Anatomy(model)
    return getattr(body.base, "kept_hidden", tuple(range(body.setting("hidden_size"))))
