"""Which layers a model has, and in which order they run."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits.settled import edit, stack_needed
from sottovoce.models.parts import Repeated
from sottovoce.models.slices import indices, replace_parameter


@edit
def set_order(model: Any, order: Sequence[int]) -> None:
    """Apply the stored layers in this order; those that it never names are dropped.

    `(0, 1, 3)` drops layer 2, `(0,) * 12` shares the first layer among twelve steps, `(0, 0, 1, 1)` runs each twice.

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
    if body.family.gated_position_bias:
        hand_on_position_bias(body, kept[0])
    new_order = tuple(kept.index(index) for index in order)
    layers = [stored[index] for index in kept]
    plain = new_order == tuple(range(len(layers)))
    container = nn.ModuleList(layers) if plain else Repeated(layers, order=new_order)
    container.train(body.layers.training)
    parent, _, name = body.family.layers.rpartition(".")
    setattr(body.base.get_submodule(parent), name, container)
    body.set_setting("num_hidden_layers", len(new_order))
    weigh_steps(model, old_order, tuple(order))


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
    set_order(model, [order[step] for step in kept])


def tie_layers(model: Any, source: int = 0) -> None:
    """Let one layer do the work of all (ALBERT's sharing): the cost in time stays, the size goes."""
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
