"""How wide a model's parts are: heads, feed-forward units, channels of the front end."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits.settled import check_projection, edit, stack_needed, submodule
from sottovoce.models.parts import NoHeads
from sottovoce.models.slices import indices, keep_columns, keep_norm, keep_rows, replace_parameter
from sottovoce.models.wavlm import GatedAttention


@edit
def keep_heads(model: Any, layer: int, heads: Iterable[int]) -> None:
    """Keep these attention heads of one layer, down to none, numbered as the layer has them now.

    Example:
        >>> keep_heads(model, 3, range(6))
    """
    body = Anatomy(model)
    stack_needed(body, "attention heads")
    indices("layer", [layer], len(body.layers))
    kept = indices("head", heads, body.heads(layer))
    width = body.head_width(layer)
    rows = [head * width + unit for head in kept for unit in range(width)]
    attention = body.attention(layer)
    names = tuple(body.kept_heads(layer)[head] for head in kept)
    keep_inside_heads(body, layer, rows)
    if isinstance(attention, GatedAttention):
        replace_parameter(attention, "gru_rel_pos_const", attention.gru_rel_pos_const[:, list(kept)])
    if getattr(attention, "position_embeddings_type", None) == "relative":
        keep_rows(attention.linear_pos, rows)
        for name in ("pos_bias_u", "pos_bias_v"):
            replace_parameter(attention, name, getattr(attention, name)[list(kept)])
    if body.family.counts_heads:
        attention.num_heads = len(kept)
    attention.kept_heads = names
    if not kept and not isinstance(attention, GatedAttention | NoHeads):
        path, _, _ = body.family.query.rpartition(".")
        parts = [getattr(body.family, part).rpartition(".")[2] for part in ("query", "key", "value", "output")]
        body.layers[layer].set_submodule(path, NoHeads(attention, parts))


@edit
def keep_head_dims(model: Any, layer: int, dims: Iterable[int]) -> None:
    """Keep these dimensions inside every head of one layer; attention is scaled as before.

    Example:
        >>> keep_head_dims(model, 3, range(32))
    """
    body = Anatomy(model)
    stack_needed(body, "attention heads")
    check_head_dims(body)
    indices("layer", [layer], len(body.layers))
    width, attention = body.head_width(layer), body.attention(layer)
    kept = indices("dimension of a head", dims, width, least=1)
    rows = [head * width + unit for head in range(body.heads(layer)) for unit in kept]
    keep_inside_heads(body, layer, rows)
    attention.kept_dims = len(kept)
    if not isinstance(attention, GatedAttention | NoHeads):  # the first reads slices of the hidden state by it as well
        attention.head_dim = len(kept)


def keep_inside_heads(body: Anatomy, layer: int, rows: list[int]) -> None:
    """Keep these of the numbers that all heads of a layer have side by side."""
    for part in ("query", "key", "value"):
        keep_rows(body.linear(layer, part), rows)
    keep_columns(body.linear(layer, "output"), rows)


def check_head_dims(body: Anatomy) -> None:
    """Refuse families whose heads are tied to their positions by dimension."""
    if body.family.convolves:
        raise SottovoceError(
            f"heads of the {body.name} family read positions dimension by dimension, so none can go; drop whole heads."
        )


@edit
def keep_feed_forward(model: Any, layer: int, units: Iterable[int], *, which: int = 0) -> None:
    """Keep these inner units of a feed-forward part, down to none.

    Example:
        >>> keep_feed_forward(model, 3, range(512))
    """
    body = Anatomy(model)
    stack_needed(body, "feed-forward parts")
    indices("layer", [layer], len(body.layers))
    indices("feed-forward part", [which], len(body.family.feed_forwards))
    up, down = body.feed_forward(layer, which)
    kept = indices("feed-forward unit", units, up.out_features)
    keep_rows(up, kept)
    keep_columns(down, kept)


@edit
def keep_channels(model: Any, conv: int, channels: Iterable[int]) -> None:
    """Keep these output channels of one convolution of the front end; norms and the next part follow.

    Example:
        >>> keep_channels(model, 0, range(256))
    """
    body = Anatomy(model)
    if not body.convs:
        raise SottovoceError(f"this {body.name} model has no convolutional front end; prune its layers instead.")
    indices("convolution", [conv], len(body.convs))
    kept = indices("channel", channels, body.convs[conv].out_channels, least=1)
    last = conv == len(body.convs) - 1
    if last and body.projection is None:
        raise SottovoceError(
            "the last convolution feeds the layers directly (no feature projection); prune another convolution."
        )
    if last:
        check_projection(body, len(kept), "channels")
    block = body.base.get_submodule(body.family.convs)[conv]
    keep_rows(block.conv, kept)
    if hasattr(block, "layer_norm"):
        keep_norm(block.layer_norm, kept)
    if not last:
        keep_columns(body.convs[conv + 1], kept)
    else:
        norm = submodule(body.base, body.family.projection_norm)
        if isinstance(norm, nn.LayerNorm):
            keep_norm(norm, kept)
        keep_columns(body.projection, kept)
        if hasattr(model, "quantizer") and body.family.pretraining != "unused":  # that one reads the hidden state
            keep_columns(model.quantizer.weight_proj, kept)
    widths = list(body.config.conv_dim)
    widths[conv] = len(kept)
    body.config.conv_dim = widths
