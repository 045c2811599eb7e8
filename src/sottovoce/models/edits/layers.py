"""Which layers a model has, and in which order they run."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits.settled import edit, stack_needed
from sottovoce.models.own import OwnLinear, OwnNorm, check_in_common, keep_applications
from sottovoce.models.parts import Repeated
from sottovoce.models.slices import indices, replace_parameter


@edit
def set_order(model: Any, order: Sequence[int], *, steps: Sequence[int] | None = None) -> None:
    """Apply the stored layers in this order; those that it never names are dropped.

    `(0, 1, 3)` drops layer 2, `(0,) * 12` shares the first layer among twelve steps, `(0, 0, 1, 1)` runs each twice.
    Where steps have parts of their own, `steps` says which of the steps there were each one was; if it is not given,
    each layer's first application takes the parts of its first, and so on.

    Example:
        >>> set_order(model, [0, 1, 3])
    """
    body = Anatomy(model)
    stack_needed(body, "layers")
    if not order:
        raise SottovoceError(f"none of {len(body.layers)} layers would be left; keep at least one.")
    for index in order:
        indices("layer", [index], len(body.layers))
    old_order, stored = body.order, list(body.layers[index] for index in range(len(body.layers)))
    kept = list(dict.fromkeys(order))
    hand_on_own_parts(stored, old_order, order, steps)
    if body.family.gated_position_bias:
        hand_on_position_bias(body, kept[0])
    new_order = tuple(kept.index(index) for index in order)
    layers = [stored[index] for index in kept]
    plain = new_order == tuple(range(len(layers)))
    container = nn.ModuleList(layers) if plain else Repeated(layers, order=new_order)
    if isinstance(container, Repeated):
        container.exits = getattr(body.layers, "exits", None)
    container.train(body.layers.training)
    parent, _, name = body.family.layers.rpartition(".")
    setattr(body.base.get_submodule(parent), name, container)
    body.set_setting("num_hidden_layers", len(new_order))
    weigh_steps(model, old_order, tuple(order))


def hand_on_own_parts(stored: Any, old: Sequence[int], new: Sequence[int], steps: Sequence[int] | None) -> None:
    """Let each application of a layer have the own parts of the one that it was."""
    for layer in set(new):
        kept = list(range(new.count(layer)))
        if steps is not None:
            kept = [old[:step].count(layer) for step in steps if old[step] == layer]
        if kept != list(range(list(old).count(layer))):
            keep_applications(stored[layer], kept)


def hand_on_position_bias(body: Anatomy, first: int) -> None:
    """WavLM's first layer owns the table of relative positions: give it to the layer that is now applied first."""
    owner = next(index for index in range(len(body.layers)) if hasattr(body.attention(index), "rel_attn_embed"))
    if owner != first:
        body.attention(first).rel_attn_embed = body.attention(owner).rel_attn_embed
        del body.attention(owner).rel_attn_embed


def weigh_steps(model: Any, old: Sequence[int], new: Sequence[int]) -> None:
    """Let a head's learned weights of the hidden states follow the steps that are left."""
    weights = getattr(model, "layer_weights", None)
    if weights is None:
        return
    # A new step takes the weight of the next old step that applied the same layer, the last such one when none is left.
    places, start = [0], 0
    for layer in new:
        later = [step for step, name in enumerate(old) if name == layer and step >= start]
        found = later[0] if later else max((s for s, name in enumerate(old) if name == layer), default=len(old) - 1)
        places.append(found + 1)
        start = found + 1
    replace_parameter(model, "layer_weights", weights[torch.tensor(places, device=weights.device)])


def keep_layers(model: Any, steps: Iterable[int]) -> None:
    """Keep these steps of the stack, drop the others.

    Example:
        >>> keep_layers(model, [0, 1, 2, 3, 8, 9])
    """
    order = Anatomy(model).order
    kept = indices("layer", steps, len(order))
    set_order(model, [order[step] for step in kept], steps=kept)


def tie_layers(model: Any, source: int = 0) -> None:
    """Let one layer do the work of all (ALBERT's sharing): the cost in time stays, the size goes."""
    check_in_common(Anatomy(model).layers, "tie_layers")
    set_order(model, [source] * len(Anatomy(model).order))


def apply_times(model: Any, times: int) -> None:
    """Run the first `times` steps; past the last one, begin again.

    Example:
        >>> apply_times(model, 6)  # shallow inference of a twelve-layer model
    """
    order = Anatomy(model).order
    if times < 1 or not order:
        raise SottovoceError(f"times={times}, but layers can be applied once or more; give 1 or more.")
    set_order(model, [order[step % len(order)] for step in range(times)])


@edit
def use_exit(model: Any, threshold: float | None, *, least: int = 1) -> None:
    """Let each utterance leave a stack of shared layers behind the first step that changes it by no more than this.

    The change is 1 less the cosine of what enters the step and what leaves it, the mean over frames; every utterance
    runs the `least` steps. In evaluation alone; with None, all run all steps again.

    Example:
        >>> tie_layers(model); use_exit(model, 0.01, least=2)
    """
    body = Anatomy(model)
    stack_needed(body, "layers")
    layers = shared_stack(model)
    if threshold is None:
        layers.exits = None
        return
    if body.family.gated_position_bias:
        raise SottovoceError(f"{body.name} hands its table of positions from step to step, so no utterance can leave.")
    if getattr(body.config, "use_weighted_layer_sum", False):
        raise SottovoceError("this model's head reads the states of all steps, so no utterance can leave early.")
    if not 0 <= threshold <= 2 or not 1 <= least <= len(body.order):
        raise SottovoceError(
            f"threshold={threshold} and least={least}, but a change from 0 to 2 and 1 to {len(body.order)} steps are "
            "wanted."
        )
    layers.exits = (float(threshold), least)


def shared_stack(model: Any) -> Repeated:
    """The stack of a model whose layers run more than once; another one is refused.

    Example:
        >>> shared_stack(model).order
        (0, 0, 0)
    """
    layers = Anatomy(model).layers
    if not isinstance(layers, Repeated):
        raise SottovoceError(
            "no layer of this model runs more than once, so no step can be spared; share layers first."
        )
    return layers


@edit
def use_own(model: Any, *, norms: bool = True, rank: int = 0) -> None:
    """Give each step that shares its layer norms of its own, and differences of this rank, which begin as nothing.

    The norms are those that the layer itself begins and ends its parts with; the Linears, those of its attention and
    its feed-forward parts. It is one of the last edits: what has parts of its own is not cut any more, but for steps.

    Example:
        >>> tie_layers(model); use_own(model, rank=8)
    """
    body = Anatomy(model)
    stack_needed(body, "layers")
    check_in_common(body.layers, "use_own")
    if not norms and rank < 1:
        raise SottovoceError(f"norms={norms} and rank={rank}, but something of their own is wanted for steps.")
    for index in range(len(body.layers)):
        layer, times = body.layers[index], body.order.count(index)
        if norms:
            for name, norm in list(layer.named_children()):
                if isinstance(norm, nn.LayerNorm):
                    layer.set_submodule(name, OwnNorm([norm, *(copy.deepcopy(norm) for _ in range(times - 1))]))
        if rank > 0:
            for path in linears_of(body):
                linear: Any = layer.get_submodule(path)
                if type(linear) is not nn.Linear:
                    raise SottovoceError(f"'{path}' of layer {index} is no plain Linear; share layers first.")
                if not 1 <= rank <= min(linear.weight.shape):
                    raise SottovoceError(
                        f"rank={rank}, but '{path}' of layer {index} has full rank {min(linear.weight.shape)}."
                    )
                layer.set_submodule(path, OwnLinear(linear, applications=times, rank=rank))


def linears_of(body: Anatomy) -> list[str]:
    """The paths of the Linears of attention and feed-forward parts, from a layer.

    Example:
        >>> linears_of(Anatomy(model))[0]
        'attention.q_proj'
    """
    family = body.family
    return [
        family.query,
        family.key,
        family.value,
        family.output,
        *(path for pair in family.feed_forwards for path in pair),
    ]
