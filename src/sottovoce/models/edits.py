"""Exact edits of a model's tensors, in place: keep, drop, factor, share, replace.

Every edit is sliced tensors and nothing else: what stays computes as before. The same functions, replayed on a model
without data, rebuild an edited model's shape when it is loaded. Methods copy the model first.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, Literal, ParamSpec

import torch
from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.front_end import SHIFT, WINDOW, LogMel
from sottovoce.models.int8 import check_unquantised, quantised
from sottovoce.models.mimic import MimicEncoder
from sottovoce.models.parts import Factored, NoHeads, Repeated
from sottovoce.models.slices import indices, keep_columns, keep_norm, keep_rows, linear_of, replace_parameter
from sottovoce.models.structure import settle
from sottovoce.models.wavlm import GatedAttention, adopt_attention

P = ParamSpec("P")


def edit(function: Callable[Concatenate[Any, P], None]) -> Callable[Concatenate[Any, P], None]:
    """An edit of a model: what it changed stands in the model's configuration as soon as it returns."""

    @functools.wraps(function)
    def settled(model: Any, *args: P.args, **kwargs: P.kwargs) -> None:
        check_unquantised(model, function.__name__)
        adopt_attention(model)  # WavLM's own attention, as Hugging Face loads it, cannot be cut
        function(model, *args, **kwargs)
        settle(model)

    return settled


@edit
def set_order(model: Any, order: Sequence[int]) -> None:
    """Apply the stored layers in this order; those that it never names are dropped.

    `(0, 1, 3)` drops layer 2, `(0,) * 12` shares the first layer among twelve steps, `(0, 0, 1, 1)` runs each twice.

    Example:
        >>> set_order(model, [0, 1, 3])
    """
    body = Anatomy(model)
    for index in order:
        indices("layer", [index], len(body.layers))
    old_order, stored = body.order, list(body.layers[index] for index in range(len(body.layers)))
    kept = list(dict.fromkeys(order))
    if kept and body.name == "wavlm" and not body.mimics:
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


def share_layers(model: Any, source: int = 0) -> None:
    """Let one layer do the work of all (ALBERT's sharing): the cost in time stays, the size goes."""
    set_order(model, [source] * len(Anatomy(model).order))


def apply_times(model: Any, times: int) -> None:
    """Run the first `times` steps; past the last one, begin again.

    Example:
        >>> apply_times(model, 6)  # shallow inference of a twelve-layer model
    """
    order = Anatomy(model).order
    if times < 0 or not order:
        raise SottovoceError(f"times={times}, but layers can be applied 0 times or more; give 0 or more.")
    set_order(model, [order[step % len(order)] for step in range(times)])


@edit
def keep_heads(model: Any, layer: int, heads: Iterable[int]) -> None:
    """Keep these attention heads of one layer, down to none, numbered as the layer has them now.

    Example:
        >>> keep_heads(model, 3, range(6))
    """
    body = Anatomy(model)
    _stack_needed(body, "attention heads")
    indices("layer", [layer], len(body.layers))
    kept = indices("head", heads, body.heads(layer))
    width = body.head_dim
    rows = [head * width + unit for head in kept for unit in range(width)]
    attention = body.attention(layer)
    names = tuple(body.kept_heads(layer)[head] for head in kept)
    for part in ("query", "key", "value"):
        keep_rows(body.linear(layer, part), rows)
    keep_columns(body.linear(layer, "output"), rows)
    if isinstance(attention, GatedAttention):
        replace_parameter(attention, "gru_rel_pos_const", attention.gru_rel_pos_const[:, list(kept)])
    if getattr(attention, "position_embeddings_type", None) == "relative":
        keep_rows(attention.linear_pos, rows)
        for name in ("pos_bias_u", "pos_bias_v"):
            replace_parameter(attention, name, getattr(attention, name)[list(kept)])
    if body.name == "whisper":
        attention.num_heads = len(kept)
    attention.kept_heads = names
    if not kept and not isinstance(attention, GatedAttention | NoHeads):
        path, _, _ = body.family.query.rpartition(".")
        parts = [getattr(body.family, part).rpartition(".")[2] for part in ("query", "key", "value", "output")]
        body.layers[layer].set_submodule(path, NoHeads(attention, parts))


@edit
def keep_feed_forward(model: Any, layer: int, units: Iterable[int], *, which: int = 0) -> None:
    """Keep these inner units of a feed-forward part, down to none.

    Example:
        >>> keep_feed_forward(model, 3, range(512))
    """
    body = Anatomy(model)
    _stack_needed(body, "feed-forward parts")
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
        check_sew(body, len(kept), "channels")
    block = body.base.get_submodule(body.family.convs)[conv]
    keep_rows(block.conv, kept)
    if hasattr(block, "layer_norm"):
        keep_norm(block.layer_norm, kept)
    if not last:
        keep_columns(body.convs[conv + 1], kept)
    else:
        norm = _submodule(body.base, body.family.projection_norm)
        if isinstance(norm, nn.LayerNorm):
            keep_norm(norm, kept)
        keep_columns(body.projection, kept)
        if hasattr(model, "quantizer"):
            keep_columns(model.quantizer.weight_proj, kept)
    widths = list(body.config.conv_dim)
    widths[conv] = len(kept)
    body.config.conv_dim = widths


def check_sew(body: Anatomy, width: int, what: str) -> None:
    """SEW has no feature projection where the front end is as wide as its regular hidden size."""
    regular = getattr(body.base, "regular_hidden", None) or body.config.hidden_size
    if body.name == "sew" and width == regular:
        raise SottovoceError(f"{width} {what} equal SEW's hidden size, where it has no projection; take more or fewer.")


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
    check_unquantised(model, "zero_weights")
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


@edit
def use_log_mel(model: Any, *, bins: int = 40, stack: int = 2) -> None:
    """Replace the convolutional front end by log-mel filter banks: 80 numbers every 20 ms by default.

    The projection that reads them is new and untrained.

    Example:
        >>> use_log_mel(model)
    """
    body = Anatomy(model)
    if body.family.convs is None or body.projection is None:
        raise SottovoceError(
            f"this {body.name} model has no waveform front end with a projection that could be replaced."
        )
    if bins < 1 or stack < 1:
        raise SottovoceError(f"bins={bins}, stack={stack}, but both count something; give 1 or more.")
    if hasattr(model, "quantizer"):
        raise SottovoceError(
            "a quantiser reads the convolutional features; take the model without its pretraining head."
        )
    old: Any = body.projection
    features = bins * stack
    check_sew(body, features, "features")
    front = LogMel(bins=bins, stack=stack, device=old.weight.device).to(old.weight.dtype)
    body.base.feature_extractor = front.train(old.training)
    # The features are normalised over the corpus, so MelHuBERT has no norm before its projection.
    if _submodule(body.base, body.family.projection_norm) is not None:
        body.base.set_submodule(body.family.projection_norm, nn.Identity().train(old.training))
    new = nn.Linear(features, old.out_features, device=old.weight.device, dtype=old.weight.dtype)
    new.requires_grad_(any(parameter.requires_grad for parameter in old.parameters()))
    new.bias = old.bias
    body.base.set_submodule(body.family.projection, new.train(old.training))
    body.config.conv_dim, body.config.conv_kernel, body.config.conv_stride = (
        [bins, features],
        [WINDOW, stack],
        [SHIFT, stack],
    )
    body.config.num_feat_extract_layers = 2


@edit
def use_mimic(
    model: Any,
    *,
    layers: int = 1,
    kind: Literal["linear", "transformer"] = "linear",
    width: int = 768,
    over: Literal["time", "batch"] = "time",
    positional: bool = False,
) -> None:
    """Replace the whole stack by untrained mimic layers; the positional convolution may stay in front of them.

    Example:
        >>> use_mimic(model, layers=1, kind="linear", width=768)
    """
    body = Anatomy(model)
    if body.family.whole_stack is None or body.name == "sew" or getattr(body.base, "adapter", None) is not None:
        raise SottovoceError(
            f"the stack of this {body.name} model cannot be mimicked: its encoder also changes lengths."
        )
    if getattr(model, "layer_weights", None) is not None:
        raise SottovoceError(
            "this model's head weighs all layers, and a mimic has none of them; use a head on the last."
        )
    if layers not in (1, 2) or kind not in ("linear", "transformer") or over not in ("time", "batch") or width < 1:
        raise SottovoceError(
            f"layers={layers}, kind={kind!r}, width={width}, over={over!r}: give 1 or 2 layers, kind linear or "
            "transformer, a width of 1 or more, attention over time or batch."
        )
    hidden, old = body.config.hidden_size, next(body.base.encoder.parameters())
    if kind == "transformer" and hidden % 8:
        raise SottovoceError(
            f"a transformer mimic has 8 heads, which do not divide the hidden size {hidden}; use linear."
        )
    stays = body.positional if positional else None
    if positional and (stays is None or not body.family.positional_runs):
        raise SottovoceError(f"this {body.name} model has no positional convolution to keep; leave out positional.")
    stack = MimicEncoder(hidden, layers=layers, kind=kind, width=width, over=over, positional=stays, device=old.device)
    stack.requires_grad_(any(parameter.requires_grad for parameter in body.base.encoder.parameters()))
    body.base.encoder = stack.to(old.dtype).train(body.base.encoder.training)
    body.config.num_hidden_layers = layers


def use_int8(model: Any, largest: Mapping[str, float | None]) -> None:
    """Round the weights of these Linears to bytes; it is the last edit, for no other can follow.

    With each path comes the largest input that its static scale is for, or None: then every frame has its own scale.

    Example:
        >>> use_int8(model, {"encoder.layers.0.feed_forward.intermediate_dense": None})
    """
    adopt_attention(model)
    found = {path: Anatomy(model).full_path(path) for path in largest}
    for path, full in found.items():
        if full is None or not isinstance(model.get_submodule(full), nn.Linear):
            raise SottovoceError(f"'{path}' is not a Linear of this model, or it is quantised; give the path of one.")
    for path, full in found.items():
        model.set_submodule(full or "", quantised(model.get_submodule(full or ""), largest[path]))
    settle(model)


def _stack_needed(body: Anatomy, what: str) -> None:
    if body.mimics:
        raise SottovoceError(f"mimic layers stand where this model's {what} were; there is nothing of them to cut.")


def _submodule(root: nn.Module, path: str) -> nn.Module | None:
    try:
        return root.get_submodule(path)
    except AttributeError:
        return None


def _example(model: Any) -> str:
    return next(f"'{name}'" for name, module in model.named_modules() if isinstance(module, nn.Linear))
