"""Narrowing the hidden size: one set of indices, followed through the whole model, in place."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy, is_parametrized
from sottovoce.models.edits.settled import edit
from sottovoce.models.parts import GroupedConv
from sottovoce.models.slices import indices, keep_columns, keep_norm, keep_rows, replace_parameter
from sottovoce.models.wavlm import GatedAttention

# Which Linears outside the base model read the hidden state, and which write it.
HEAD_READERS = {
    "ForCTC": ("lm_head",),
    "ForSequenceClassification": ("projector",),
    "ForAudioFrameClassification": ("classifier",),
    "ForXVector": ("projector",),
}


@edit
def keep_hidden(model: Any, units: Iterable[int]) -> None:
    """Keep these units of the hidden state everywhere: projections, norms, positional convolution, layers, head.

    The heads' own width stays. Norms work on what is left, as in a model that was narrow from the start.

    Example:
        >>> keep_hidden(sv.new("hubert"), range(512))
    """
    body = Anatomy(model)
    check_narrowing(model, body)
    size = body.config.hidden_size
    kept = indices("hidden unit", units, size, least=1)
    before = getattr(body.base, "kept_hidden", tuple(range(size)))
    regular = getattr(body.base, "regular_hidden", size)
    narrow_inputs(body, kept)
    for index in range(len(body.layers)):  # stored layers; iteration would visit a shared one once a step
        narrow_layer(body.layers[index], body, kept)
    head = type(model).__name__.partition("For")[2]
    for name in HEAD_READERS.get(f"For{head}", ()):
        keep_columns(getattr(model, name), kept)
    body.base.kept_hidden = tuple(before[unit] for unit in kept)
    body.base.regular_hidden = regular
    for index in range(len(body.layers)):
        attention = body.attention(index)
        if isinstance(attention, GatedAttention):
            attention.kept_hidden = body.base.kept_hidden
    body.config.hidden_size = len(kept)


def check_narrowing(model: Any, body: Anatomy) -> None:
    """Refuse what cannot be narrowed, with the reason."""
    reasons = {
        f"layers of the {body.name} family tie it to their positions": not body.family.narrows,
        "a mimic's width is chosen when it is made": body.mimics,
        "its front end feeds the layers directly": body.family.convs is not None and body.projection is None,
        "its adapter would have to follow": getattr(body.base, "adapter", None) is not None,
        "its pretraining head is tied to a quantiser": hasattr(model, "quantizer"),
        "its positional convolution has a batch norm": getattr(body.config, "conv_pos_batch_norm", False),
    }
    for reason, holds in reasons.items():
        if holds:
            raise SottovoceError(f"the hidden size of this {type(model).__name__} cannot be narrowed: {reason}.")


def narrow_inputs(body: Anatomy, kept: Sequence[int]) -> None:
    """Everything between the front end and the first layer, and the encoder's own norm."""
    keep_rows(body.projection, kept)
    if hasattr(body.base, "masked_spec_embed"):
        replace_parameter(body.base, "masked_spec_embed", body.base.masked_spec_embed[list(kept)])
    for path, conv in list(body.positional_convs()):
        body.base.set_submodule(path, narrow_conv(conv, kept))
        # Hugging Face's loader would set the weight of the one convolution that it knows here.
        body.base.get_submodule(path.rpartition(".")[0])._is_hf_initialized = True
    encoder = body.base.encoder
    for module in encoder.pos_conv_embed.modules():
        if isinstance(module, nn.LayerNorm):  # data2vec's, without parameters
            keep_norm(module, kept)
    keep_norm(encoder.layer_norm, kept)
    if hasattr(encoder, "upsample"):
        factor, size = encoder.upsample.squeeze_factor, body.config.hidden_size
        keep_columns(encoder.upsample.projection, kept)
        keep_rows(encoder.upsample.projection, [step * size + unit for step in range(factor) for unit in kept])


def narrow_layer(layer: Any, body: Anatomy, kept: Sequence[int]) -> None:
    """One layer: what reads the hidden state loses columns, what writes it loses rows."""
    family = body.family
    for path in (family.query, family.key, family.value, *(up for up, _ in family.feed_forwards)):
        keep_columns(layer.get_submodule(path), kept)
    for path in (family.output, *(down for _, down in family.feed_forwards)):
        keep_rows(layer.get_submodule(path), kept)
    for norm in (layer.layer_norm, layer.final_layer_norm):
        keep_norm(norm, kept)
    adapter = getattr(layer, "adapter_layer", None)
    if adapter is not None:
        keep_norm(adapter.norm, kept)
        keep_columns(adapter.linear_1, kept)
        keep_rows(adapter.linear_2, kept)


def narrow_conv(conv: Any, kept: Sequence[int]) -> nn.Module:
    """A grouped convolution on fewer channels, with its weight norm folded.

    Groups of equal width stay one convolution; others become one convolution a group.
    """
    old: list[Any] = list(conv.groups) if isinstance(conv, GroupedConv) else [conv] * conv.groups
    sizes = list(conv.widths) if isinstance(conv, GroupedConv) else [conv.in_channels // conv.groups] * conv.groups
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    chosen = [
        [unit - start for unit in kept if start <= unit < start + size]
        for start, size in zip(starts, sizes, strict=True)
    ]
    first: Any = old[0]
    options: dict[str, Any] = {"kernel": first.kernel_size[0], "stride": first.stride[0], "padding": first.padding[0]}
    new = GroupedConv([len(group) for group in chosen], device="meta", **options)
    target = iter(new.groups)
    for index, (source, inside) in enumerate(zip(old, chosen, strict=True)):
        if not inside:
            continue
        rows = inside if isinstance(conv, GroupedConv) else [starts[index] + unit for unit in inside]
        learns = any(parameter.requires_grad for parameter in source.parameters())
        piece: Any = next(target)
        weight = source.weight.detach()[rows][:, inside]
        piece.weight = nn.Parameter(weight.contiguous(), requires_grad=learns)
        piece.bias = nn.Parameter(source.bias.detach()[rows].contiguous(), requires_grad=learns)
    new.train(conv.training)
    return joined(new) if len(set(new.widths)) == 1 else new


def joined(grouped: GroupedConv) -> nn.Conv1d:
    """Groups of equal width as one grouped convolution."""
    pieces: list[Any] = list(grouped.groups)
    width, count, first = grouped.widths[0], len(grouped.widths), pieces[0]
    options: dict[str, Any] = {"stride": first.stride, "padding": first.padding, "groups": count, "device": "meta"}
    conv = nn.Conv1d(width * count, width * count, first.kernel_size[0], **options)
    learns = first.weight.requires_grad
    conv.weight = nn.Parameter(torch.cat([piece.weight.detach() for piece in pieces]), requires_grad=learns)
    conv.bias = nn.Parameter(torch.cat([piece.bias.detach() for piece in pieces]), requires_grad=learns)
    return conv.train(grouped.training)


@edit
def fold_weight_norm(model: Any) -> None:
    """Replace weight-normed convolutions by plain ones of the same weight, in place.

    A copy made by `copy.deepcopy` shares its parametrised class with the original, and removing the parametrisation
    of one breaks the other; building a plain convolution touches neither.

    Example:
        >>> fold_weight_norm(model)
    """
    fold_positions(Anatomy(model))


def fold_positions(body: Anatomy) -> None:
    """The same without a record of it, on models that no edit may cut any more too.

    Example:
        >>> fold_positions(Anatomy(copy.deepcopy(model)))
    """
    for path, conv in list(body.positional_convs()):
        if not is_parametrized(conv):
            continue
        old: Any = conv
        learns = any(parameter.requires_grad for parameter in old.parameters())
        plain = nn.Conv1d(
            old.in_channels,
            old.out_channels,
            old.kernel_size[0],
            stride=old.stride,
            padding=old.padding,
            groups=old.groups,
            bias=old.bias is not None,
            device="meta",
        )
        # The parametrisation's output is computed, not a leaf: cloned outside autograd it becomes one again.
        plain.weight = nn.Parameter(old.weight.detach().clone(), requires_grad=learns)
        plain.bias = old.bias
        body.base.set_submodule(path, plain.train(old.training))
