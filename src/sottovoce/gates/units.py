"""What can be gated in a model, and which of its tensors each gate scales.

A gate never touches an activation: it scales what reads or writes the unit, as the cut model will have it. Channels,
heads and feed-forward units scale the inputs of what reads them; the hidden state is scaled by the norms that write it,
and norms see open units only; a layer scales what it adds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import nn

from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits.settled import submodule
from sottovoce.models.edits.widths import check_head_dims
from sottovoce.models.int8 import check_unquantized
from sottovoce.models.narrow import check_narrowing
from sottovoce.models.parts import Factored
from sottovoce.models.wavlm import adopt_attention

Kind = Literal["conv", "heads", "dims", "ffn", "hidden", "layers"]
# The probability that a gate is closed at the start, as DPHuBERT's code has it.
CLOSED = {"ffn": 0.5}


class Vector(NamedTuple):
    """The gates of units that are alike: of one convolution, of the heads of one layer, ...

    `place` is the convolution or the stored layer, `which` the feed-forward part.

    Example:
        >>> Vector("heads", 3).name
        'heads_3_0'
    """

    kind: Kind
    place: int = 0
    which: int = 0

    @property
    def name(self) -> str:
        """The name of its parameters."""
        return f"{self.kind}_{self.place}_{self.which}"


class Scale(NamedTuple):
    """One factor of a tensor.

    `dim` is the dimension along which a vector's gates go, each for `repeat` entries in a row, and all of them `tile`
    times; with `place`, that one gate scales the whole tensor. With `opened`, what counts is whether a gate is open.
    """

    vector: Vector
    dim: int = 0
    repeat: int = 1
    tile: int = 1
    place: int | None = None
    opened: bool = False


@dataclass
class Sites:
    """The gates of a model: how many each vector has, and what they do.

    Args:
        sizes: how many gates each vector has.
        tensors: of each module, by the tensor's name, the factors that it is scaled by.
        norms: the norms that see the open units of a vector only.
        outputs: modules whose output loses the closed units of the hidden state.
    """

    sizes: dict[Vector, int] = field(default_factory=dict)
    tensors: dict[nn.Module, dict[str, list[Scale]]] = field(default_factory=dict)
    norms: dict[nn.Module, Vector] = field(default_factory=dict)
    outputs: dict[nn.Module, Vector] = field(default_factory=dict)

    def scale(self, module: nn.Module, names: Iterable[str], scale: Scale) -> None:
        """Add a factor to those of these tensors that a module has."""
        for name in names:
            if getattr(module, name, None) is not None:
                self.tensors.setdefault(module, {}).setdefault(name, []).append(scale)

    def readers(self, vector: Vector) -> Iterator[tuple[torch.Tensor, Scale]]:
        """The tensors whose inputs a vector scales."""
        for module, scaled in self.tensors.items():
            for name, scales in scaled.items():
                yield from (
                    (getattr(module, name), scale) for scale in scales if scale.vector == vector and not scale.opened
                )


def sites_of(model: Any, kinds: Iterable[str]) -> Sites:
    """The gates of these kinds of units in a model; an error where a family has none of a kind.

    Example:
        >>> sites_of(sv.new("hubert"), ["heads", "ffn"]).sizes[Vector("heads", 3)]
        12
    """
    wanted = list(dict.fromkeys(kinds))
    for kind in wanted:
        if kind not in get_args(Kind):
            raise unknown("kind of unit", kind, get_args(Kind))
    if not wanted:
        raise SottovoceError(f"units is empty, but something must be gated: some of {', '.join(get_args(Kind))}.")
    check_unquantized(model, "gates")
    adopt_attention(model)  # WavLM's own attention, as Hugging Face loads it, does not call its output projection
    body = Anatomy(model)
    if body.mimics:
        raise SottovoceError("mimic layers stand where this model's stack was; there are no units to gate.")
    if body.decodes:
        raise SottovoceError("a text decoder hangs on this encoder; gate the encoder with its classifier.")
    sites = Sites()
    add = {
        "conv": add_convs,
        "heads": add_heads,
        "dims": add_head_dims,
        "ffn": add_feed_forwards,
        "hidden": add_hidden,
        "layers": add_layers,
    }
    for kind in wanted:
        add[kind](sites, model, body)
    if not sites.sizes:
        raise SottovoceError(
            f"this {body.name} model has nothing left to gate of {', '.join(wanted)}; name more units."
        )
    return sites


def first(linear: Any) -> nn.Module:
    """The part of a Linear, whole or factored, that reads its inputs."""
    return linear.first if isinstance(linear, Factored) else linear


def last(linear: Any) -> nn.Module:
    """The part that writes its outputs."""
    return linear.second if isinstance(linear, Factored) else linear


def add_convs(sites: Sites, model: Any, body: Anatomy) -> None:
    """Output channels of the front end; those of the last convolution are scaled behind the norm that follows it."""
    if not body.convs:
        raise SottovoceError(f"this {body.name} model has no convolutions in its front end; leave conv out of units.")
    blocks: Any = body.base.get_submodule(body.family.convs or "")
    for index, conv in enumerate(body.convs):
        vector, end = Vector("conv", index), index == len(body.convs) - 1
        if end and body.projection is None:
            return  # its channels are the hidden state
        sites.sizes[vector] = conv.out_channels
        norm = getattr(blocks[index], "layer_norm", None)
        if isinstance(norm, nn.LayerNorm):
            sites.norms[norm] = vector
        if not end:
            sites.scale(body.convs[index + 1], ["weight"], Scale(vector, dim=1))
            continue
        between = submodule(body.base, body.family.projection_norm)
        if isinstance(between, nn.LayerNorm):
            sites.norms[between] = vector
        sites.scale(first(body.projection), ["weight"], Scale(vector, dim=1))
        if hasattr(model, "quantizer") and body.family.pretraining != "unused":
            sites.scale(model.quantizer.weight_proj, ["weight"], Scale(vector, dim=1))


def stack(body: Anatomy) -> range:
    """The stored layers, of which there must be some."""
    if not body.layers:
        raise SottovoceError(f"this {body.name} model has no layers; leave heads, ffn and layers out of units.")
    return range(len(body.layers))


def add_heads(sites: Sites, model: Any, body: Anatomy) -> None:
    """Attention heads, scaled where the output projection reads them."""
    for layer in stack(body):
        vector = Vector("heads", layer)
        if body.heads(layer):
            sites.sizes[vector] = body.heads(layer)
            sites.scale(
                first(body.linear(layer, "output")), ["weight"], Scale(vector, dim=1, repeat=body.head_width(layer))
            )


def add_head_dims(sites: Sites, model: Any, body: Anatomy) -> None:
    """Dimensions inside heads: a gate is for one of each head of a layer, which keep as many, as kernels want it.

    Our design, after the abstract of arXiv 2306.01385. `sort_head_dims` lets those of one gate be of like importance.
    A gate scales the queries and what reads the values.
    """
    check_head_dims(body)
    for layer in stack(body):
        vector, heads = Vector("dims", layer), body.heads(layer)
        if heads:
            sites.sizes[vector] = body.head_width(layer)
            sites.scale(last(body.linear(layer, "query")), ("weight", "bias"), Scale(vector, tile=heads))
            sites.scale(first(body.linear(layer, "output")), ["weight"], Scale(vector, dim=1, tile=heads))


@torch.no_grad()
def sort_head_dims(model: Any) -> None:
    """Order the dimensions inside each head by how much they weigh, in place; the model computes as before.

    They weigh what their queries' and keys' rows, and their values' rows and output's columns, have for L2 norms.

    Example:
        >>> sort_head_dims(model)
    """
    body = Anatomy(model)
    for layer in range(len(body.layers)):
        shape = (body.heads(layer), body.head_width(layer))
        if not shape[0]:
            continue
        query, key, value, output = (body.linear(layer, part) for part in ("query", "key", "value", "output"))
        rows = [part.weight.double().norm(dim=1).view(shape) for part in (query, key, value)]
        weight = rows[0] * rows[1] + rows[2] * output.weight.double().norm(dim=0).view(shape)
        order = weight.argsort(dim=1, descending=True, stable=True)
        places = (order + torch.arange(shape[0], device=order.device)[:, None] * shape[1]).flatten()
        for part in (query, key, value):
            for tensor in last(part).parameters():
                tensor.copy_(tensor[places])
        reader: Any = first(output)
        reader.weight.copy_(reader.weight[:, places])


def add_feed_forwards(sites: Sites, model: Any, body: Anatomy) -> None:
    """Inner units of every feed-forward part, scaled where the second Linear reads them."""
    for layer in stack(body):
        for which in range(len(body.family.feed_forwards)):
            vector, width = Vector("ffn", layer, which), body.feed_forward_width(layer, which)
            if width:
                sites.sizes[vector] = width
                sites.scale(first(body.feed_forward(layer, which)[1]), ["weight"], Scale(vector, dim=1))


def add_hidden(sites: Sites, model: Any, body: Anatomy) -> None:
    """The hidden size: one vector through the whole model."""
    check_narrowing(model, body)
    vector = Vector("hidden")
    sites.sizes[vector] = body.config.hidden_size
    encoder, positional, both = body.base.encoder, body.positional, ("weight", "bias")
    sites.scale(last(body.projection), both, Scale(vector))
    if hasattr(body.base, "masked_spec_embed"):
        sites.scale(body.base, ["masked_spec_embed"], Scale(vector))
    assert positional is not None  # every family that can be narrowed has it
    norms = [encoder.layer_norm, *(module for module in positional.modules() if isinstance(module, nn.LayerNorm))]
    for layer in stack(body):
        part = body.layers[layer]
        norms += [part.layer_norm, part.final_layer_norm]
        if body.norms_first:  # the states between its layers are sums, which show what is written to closed units
            for writer in writers(body, layer):
                sites.scale(writer, both, Scale(vector, opened=True))
        if (adapter := getattr(part, "adapter_layer", None)) is not None:
            norms.append(adapter.norm)
    for norm in norms:
        sites.norms[norm] = vector
        sites.scale(norm, both, Scale(vector))
    if body.norms_first:
        sites.outputs[positional] = vector
    if hasattr(encoder, "upsample"):
        factor = encoder.upsample.squeeze_factor
        sites.scale(last(encoder.upsample.projection), both, Scale(vector, tile=factor))


def writers(body: Anatomy, layer: int) -> list[nn.Module]:
    """What adds to the hidden state in a stored layer."""
    found = [
        body.linear(layer, "output"),
        *(body.feed_forward(layer, w)[1] for w in range(len(body.family.feed_forwards))),
    ]
    if (adapter := getattr(body.layers[layer], "adapter_layer", None)) is not None:
        found.append(adapter.linear_2)
    return [last(linear) for linear in found]


def add_layers(sites: Sites, model: Any, body: Anatomy) -> None:
    """Whole layers, scaled where they add to the hidden state."""
    if body.family.convolves:
        raise SottovoceError(
            f"layers of the {body.name} family have a convolution and a norm behind them, so none can be switched off; "
            "leave layers out of units."
        )
    vector = Vector("layers")
    if len(stack(body)) < 2:
        raise SottovoceError("this model has one layer, which must stay; leave layers out of units.")
    sites.sizes[vector] = len(body.layers)
    for layer in stack(body):
        for writer in writers(body, layer):
            sites.scale(writer, ("weight", "bias"), Scale(vector, place=layer))
