"""Which module is which part of a model: the rows of every cost table."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from sottovoce.models.anatomy import Anatomy
from sottovoce.models.counting import Part
from sottovoce.models.front_end import LogMel


def modules_by_part(model: Any) -> Iterator[tuple[Part, nn.Module]]:
    """Every part with its module, smallest first where one holds another; a shared layer comes once a step.

    Example:
        >>> [where for where, _ in modules_by_part(model)][:2]
        [('front_end', 0), ('front_end', 1)]
    """
    if isinstance(model, LogMel):
        yield ("front_end", 0), model
        return
    body = Anatomy(model)
    extractor = getattr(body.base, "feature_extractor", None)
    if body.family.mel_input:
        yield ("front_end", 0), body.base.conv1
        yield ("front_end", 1), body.base.conv2
    elif extractor is not None:
        for index, block in enumerate(getattr(extractor, "conv_layers", [extractor])):
            yield ("front_end", index), block
    for path in ("feature_projection", "layer_norm"):
        if hasattr(body.base, path) and not body.family.mel_input:
            yield ("feature_projection",), getattr(body.base, path)
    if body.positional is not None:
        yield ("positional",), body.positional
    for step, layer in enumerate(body.order):
        for name, module in layer_parts(body, layer):
            yield ("layer", step, name), module
    if body.family.squeezes:
        yield ("upsampling",), body.base.encoder.upsample
    inside = set(body.base.modules())
    for module in model.children():
        if module not in inside and not inside.intersection(module.modules()):
            yield ("head",), module


def layer_parts(body: Anatomy, layer: int) -> Iterator[tuple[str, nn.Module]]:
    """The parts of one layer: projections, what else attention holds, feed-forward, the rest."""
    block = body.layers[layer]
    if body.mimics:
        linear = not hasattr(block, "inputs")
        for name in ("inputs", "output") if not linear else ():
            yield "attention_projections", getattr(block, name)
        for name in ("up", "down"):
            yield "feed_forward", getattr(block, name)
        yield "norms", block
        return
    for part in ("query", "key", "value", "output"):
        yield "attention_projections", body.linear(layer, part)
    yield "attention_products", body.attention(layer)
    for which in range(len(body.family.feed_forwards)):
        for module in body.feed_forward(layer, which):
            yield "feed_forward", module
    for name, part in (("conv_module", "convolution"), ("adapter_layer", "adapter")):
        if getattr(block, name, None) is not None:
            yield part, getattr(block, name)
    yield "norms", block
