"""What single weights are: two factors, zeros, bytes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits.settled import edit
from sottovoce.models.int8 import check_unquantized, quantized
from sottovoce.models.own import check_in_common
from sottovoce.models.parts import Factored
from sottovoce.models.slices import linear_of
from sottovoce.models.structure import settle
from sottovoce.models.wavlm import adopt_attention


@edit
def factor(model: Any, path: str, rank: int, *, pair: tuple[torch.Tensor, torch.Tensor] | None = None) -> None:
    """Replace a Linear by two of this rank, the nearest such pair (by SVD); `path` is from the base model or the model.

    Another `pair` of weights, (rank, inputs) and (outputs, rank), can be given.

    Example:
        >>> factor(model, "encoder.layers.0.feed_forward.intermediate_dense", 64)
    """
    found = Anatomy(model).full_path(path)
    linear: Any = None if found is None else model.get_submodule(found)
    if found is None or not isinstance(linear, nn.Linear):
        raise SottovoceError(
            f"'{path}' is not a Linear of this model; give the path of one, such as {_example(model)}."
        )
    full = min(linear.in_features, linear.out_features)
    if not 1 <= rank <= full:
        raise SottovoceError(f"rank={rank}, but '{path}' has full rank {full}; give 1-{full}.")
    shapes = [(rank, linear.in_features), (linear.out_features, rank)]
    if pair is not None and [tuple(weight.shape) for weight in pair] != shapes:
        raise SottovoceError(
            f"a pair of shapes {[tuple(weight.shape) for weight in pair]}, but '{path}' at rank {rank} wants {shapes}."
        )
    split(model, found, rank, pair=pair)


def split(model: Any, path: str, rank: int, *, pair: tuple[torch.Tensor, torch.Tensor] | None = None) -> None:
    """Put two Linears in the place of one.

    Cuts that come after a factoring may leave fewer rows than its rank, so a rebuilt model has ranks over full.
    """
    linear: Any = model.get_submodule(path)
    weight = linear.weight.detach()
    if pair is not None:
        first, second = (given.detach().to(weight, copy=True) for given in pair)
    elif weight.is_meta:
        first, second = weight.new_empty(rank, linear.in_features), weight.new_empty(linear.out_features, rank)
    else:
        left, values, right = torch.linalg.svd(weight.float(), full_matrices=False)
        root = values[:rank].sqrt()
        first, second = weight.new_zeros(rank, linear.in_features), weight.new_zeros(linear.out_features, rank)
        first[: len(root)], second[:, : len(root)] = root[:, None] * right[:rank], left[:, :rank] * root
    learns = linear.weight.requires_grad
    made = Factored(linear_of(first, None, learns=learns), linear_of(second, linear.bias, learns=learns))
    made.train(linear.training)
    model.set_submodule(path, made)


def zero_weights(model: Any, masks: Mapping[str, torch.Tensor]) -> None:
    """Set weights to zero where their mask is false; shapes and dense cost stay.

    Example:
        >>> zero_weights(model, {"encoder.layers.0.attention.q_proj.weight": mask})
    """
    check_unquantized(model, "zero_weights")
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise SottovoceError(f"this model has no parameter '{name}'; `model.named_parameters()` lists them.")
        if mask.shape != parameters[name].shape:
            raise SottovoceError(
                f"the mask of '{name}' has shape {tuple(mask.shape)}, its weight {tuple(parameters[name].shape)}; "
                "give one of the weight's shape."
            )
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].masked_fill_(~mask.bool().to(parameters[name].device), 0.0)


def use_int8(model: Any, largest: Mapping[str, float | None]) -> None:
    """Round the weights of these Linears to bytes; it is the last edit, for no other can follow.

    With each path comes the largest input that its static scale is for, or None: then every frame has its own scale.

    Example:
        >>> use_int8(model, {"encoder.layers.0.feed_forward.intermediate_dense": None})
    """
    adopt_attention(model)
    if largest:
        check_in_common(Anatomy(model).layers, "use_int8")
    found = {path: Anatomy(model).full_path(path) for path in largest}
    for path, full in found.items():
        if full is None or not isinstance(model.get_submodule(full), nn.Linear):
            raise SottovoceError(f"'{path}' is not a Linear of this model, or it is quantised; give the path of one.")
        if 0 in model.get_submodule(full).weight.shape:
            raise SottovoceError(f"'{path}' has no weights, for all of its units are gone; leave it out.")
    for path, full in found.items():
        model.set_submodule(full or "", quantized(model.get_submodule(full or ""), largest[path]))
    settle(model)


def _example(model: Any) -> str:
    return next(f"'{name}'" for name, module in model.named_modules() if isinstance(module, nn.Linear))
