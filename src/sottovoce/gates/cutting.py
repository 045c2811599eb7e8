"""Gates made final: their values become part of the weights, and closed units are cut out."""

from collections.abc import Container, Sequence
from typing import Any

import torch

from sottovoce.gates.hooks import scaled
from sottovoce.gates.units import Sites, Vector
from sottovoce.gates.vectors import Gates
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_channels, keep_feed_forward, keep_head_dims, keep_heads, keep_layers
from sottovoce.models.narrow import keep_hidden


@torch.no_grad()
def cut(model: Any, sites: Sites, gates: Gates) -> None:
    """Make of a gated model, in place, the ordinary smaller model that computes the same in evaluation mode.

    Example:
        >>> cut(model, sites, gates)
    """
    now = gates.eval().settled()
    for module, tensors in sites.tensors.items():
        for name, scales in tensors.items():
            parameter: Any = module._parameters[name]
            parameter.copy_(scaled(parameter, scales, now))
    kept = {vector: values.opened.nonzero().flatten().tolist() for vector, values in now.items()}
    body = Anatomy(model)
    stays = kept.get(Vector("layers"), range(len(body.layers)))
    for vector, units in kept.items():
        whole = len(units) == gates.sizes[vector]
        if whole or (vector.kind in ("heads", "dims", "ffn") and vector.place not in stays):
            continue  # of a closed layer all goes, below
        if vector.kind == "conv":
            keep_channels(model, vector.place, units)
        elif vector.kind == "heads":
            keep_heads(model, vector.place, units)
        elif vector.kind == "dims":
            keep_head_dims(model, vector.place, units)
        elif vector.kind == "ffn":
            keep_feed_forward(model, vector.place, units, which=vector.which)
    closed = [layer for layer in range(len(body.layers)) if layer not in stays]
    if closed and body.norms_first:
        join_weights(model, body.order, stays)
        keep_layers(model, [step for step, layer in enumerate(body.order) if layer in stays])
    elif closed:
        empty(model, closed)
    hidden = kept.get(Vector("hidden"), [])
    if 0 < len(hidden) < gates.sizes.get(Vector("hidden"), 0):
        keep_hidden(model, hidden)


def join_weights(model: Any, order: Sequence[int], stays: Container[int]) -> None:
    """The state behind a closed layer is the one before it: in a head's sum of states, the two get one weight.

    Where the last layer goes, that is not exact, as its state alone is behind the norm at the end.
    """
    weights: torch.Tensor | None = getattr(model, "layer_weights", None)
    if weights is None:
        return
    place = 0
    for step, layer in enumerate(order):
        if layer in stays:
            place = step + 1
        else:  # they are logits of a softmax
            weights[place] = torch.logaddexp(weights[place], weights[step + 1])


def empty(model: Any, layers: list[int]) -> None:
    """Take heads and feed-forward units out of layers; their norms stay, and their biases are 0 by now."""
    body = Anatomy(model)
    for layer in layers:
        if body.heads(layer):
            keep_heads(model, layer, [])
        for which in range(len(body.family.feed_forwards)):
            keep_feed_forward(model, layer, [], which=which)
