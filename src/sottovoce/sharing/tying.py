"""Tying layers of a trained model: what a group begins with, and what each step keeps of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import linears_of, set_order, use_own
from sottovoce.models.own import OwnLinear, OwnNorm, own_parts
from sottovoce.sharing.groups import order_of

Start = Literal["mean", "middle"]


@dataclass(frozen=True)
class Own:
    """What each step of a layer that it shares keeps for itself.

    Args:
        norms: the norms that the layer had before.
        rank: of what each Linear of attention and feed-forward parts differs by from the common one, as good as it can
            be had of this rank (by SVD); 0 for nothing.

    Example:
        >>> Own(norms=True, rank=8).any
        True
    """

    norms: bool = False
    rank: int = 0

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise SottovoceError(f"rank={self.rank}, but 0 or more is wanted.")

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return self.norms or self.rank > 0


def tie(model: Any, groups: Sequence[Sequence[int]], *, start: Start = "mean", own: Own = Own()) -> None:
    """Let the layers of each group share one, which begins as the mean of them, or as the middle one.

    Example:
        >>> tie(model, [[0, 1, 2], [3, 4, 5]], own=Own(norms=True, rank=4))
    """
    check_tying(model, groups, start)
    body = Anatomy(model)
    before = [
        {name: t.detach().clone() for name, t in body.layers[i].state_dict().items()} for i in range(len(body.layers))
    ]
    for group in groups:
        middle = sorted(group)[len(group) // 2]
        with torch.no_grad():
            for name, tensor in body.layers[group[0]].state_dict().items():
                known = [before[layer][name] for layer in group if name in before[layer]]
                if start == "middle":
                    known = [before[middle].get(name, tensor)]
                if tensor.is_floating_point():  # counts of batches are of the layer that stays
                    tensor.copy_(torch.stack([each.double() for each in known]).mean(0))
    set_order(model, order_of(groups))
    if own.any:
        use_own(model, norms=own.norms, rank=own.rank)
        # Layers are numbered as they are first applied, and a layer's applications follow one another.
        ordered = sorted(map(sorted, groups))
        for index, group in enumerate(ordered):
            give_own(body, index, [before[layer] for layer in group])


@torch.no_grad()
def give_own(body: Anatomy, index: int, before: Sequence[dict[str, torch.Tensor]]) -> None:
    """Give the own parts of a layer's steps what the layers had that they come from."""
    layer = body.layers[index]
    for name, module in layer.named_modules():
        if isinstance(module, OwnNorm):
            for norm, known in zip(module.each, before, strict=True):
                for part, tensor in norm.named_parameters():
                    tensor.copy_(known[f"{name}.{part}"])
    for path in linears_of(body):
        module = layer.get_submodule(path)
        if isinstance(module, OwnLinear):
            for at, known in enumerate(before):
                apart = known[f"{path}.weight"].double() - module.common.weight.double()
                left, values, right = torch.linalg.svd(apart, full_matrices=False)
                root = values[: module.rank].sqrt()
                module.first[at].copy_(root[:, None] * right[: module.rank])
                module.second[at].copy_(left[:, : module.rank] * root)


def check_tying(model: Any, groups: Sequence[Sequence[int]], start: str) -> None:
    """Refuse what cannot share: layers that already do, or that differ in shape."""
    body = Anatomy(model)
    if start not in get_args(Start):
        raise unknown("start", start, get_args(Start))
    if body.mimics or not len(body.layers):
        raise SottovoceError("mimic layers stand where this model's layers were; there are none to share.")
    if body.order != tuple(range(len(body.layers))) or any(True for _ in own_parts(body.layers)):
        raise SottovoceError("this model shares layers already; share those of the model that it was made of.")
    for group in groups:
        first = shapes(body.layers[group[0]])
        for layer in group[1:]:
            other = shapes(body.layers[layer])
            wrong = next((name for name in first if name in other and first[name] != other[name]), None)
            if wrong is not None:
                raise SottovoceError(
                    f"layers {group[0]} and {layer} cannot share: {wrong} is {list(first[wrong])} in the one and "
                    f"{list(other[wrong])} in the other; share layers before they are pruned, or group those of one "
                    "shape."
                )


def shapes(layer: nn.Module) -> dict[str, torch.Size]:
    """The shape of each tensor of a layer."""
    return {name: tensor.shape for name, tensor in layer.state_dict().items()}
