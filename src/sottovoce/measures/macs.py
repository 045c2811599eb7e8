"""Multiply-accumulates by formula, from the widths of a model's own modules."""

import copy
import math
from collections.abc import Iterator
from typing import Any, Literal

from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.measurement import Measurement
from sottovoce.measures.parts import Part
from sottovoce.measures.places import COST, place
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.front_end import FFT, SAMPLE_RATE, SHIFT, WINDOW, LogMel
from sottovoce.models.int8 import Int8Linear
from sottovoce.models.mimic import HEADS, TransformerMimic
from sottovoce.models.parts import Factored, GroupedConv
from sottovoce.models.wavlm import GatedAttention, adopt_attention, gate_macs, is_uncuttable
from sottovoce.registry import measure

# SUPERB's cost is the sum over 32 utterances of LibriSpeech test-clean (every 82nd by length); these are their samples.
SUPERB_SAMPLES = (
    *(20560, 34560, 38480, 42560, 45600, 48720, 52000, 55120, 59120, 62720, 66400, 71200, 75200, 78640, 82800, 87520),
    *(92720, 98560, 104400, 111120, 118480, 125040, 132720, 142640, 154000, 166720, 180880, 197920, 217920, 239280),
    *(268160, 326000),
)


@measure("macs", paper="arXiv 2302.14132 (formulas), 2211.09949 (per second), SUPERB (32 utterances)", shown=COST)
def macs(
    model: Any,
    data: Any = None,
    *,
    seconds: float = 10.0,
    convention: Literal["total", "per_second", "superb"] = "total",
) -> list[Measurement]:
    """Multiply-accumulates of one forward pass, whole and by part.

    `total` is for one utterance of `seconds`, `per_second` that divided by `seconds`, and `superb` the sum over the 32
    utterances (224.86 s) of the SUPERB profile, whatever `seconds` says. They are never mixed: the unit tells which.

    Example:
        >>> macs(sv.new("wav2vec2-base"), seconds=10)[0].value / 1e9
        74.07...
    """
    if not 0 < seconds < math.inf:
        raise SottovoceError(f"seconds={seconds}, but audio has a finite length above 0; give one.")
    model = with_own_attention(model)
    if convention == "superb":
        each = [macs_by_part(model, samples) for samples in SUPERB_SAMPLES]
        parts = {where: sum(one[where] for one in each) for where in each[0]}
        unit = "MAC/superb"
    else:
        parts = macs_by_part(model, round(seconds * SAMPLE_RATE))
        unit = f"MAC/{seconds:g}s" if convention == "total" else "MAC/s"
    scale = seconds if convention == "per_second" else 1
    rows = {(): sum(parts.values()), **parts}
    return [
        Measurement("macs", "macs", count / scale if scale != 1 else count, unit, "lower", place(where))
        for where, count in rows.items()
    ]


def with_own_attention(model: Any) -> Any:
    """The model, or for a WavLM that Hugging Face loaded a copy with sottovoce's attention."""
    if not is_uncuttable(model):
        return model
    copied = copy.deepcopy(model)
    adopt_attention(copied)
    return copied


def macs_by_part(model: Any, samples: int) -> dict[Part, int]:
    """The multiply-accumulates of one utterance of so many samples, by part of the model.

    Counted are products of matrices and convolutions, as `torch.utils.flop_counter` counts them (half its operations);
    norms, activations and Fourier transforms are not.

    Example:
        >>> sum(macs_by_part(sv.new("wav2vec2-base"), 160_000).values()) / 1e9
        74.07...
    """
    if isinstance(model, LogMel):
        if samples < WINDOW + (model.stack - 1) * SHIFT:
            raise SottovoceError(f"{samples} samples make no frame of log-mel features; give longer audio.")
        return {("front_end", 0): log_mel(model, samples)}
    body = Anatomy(model)
    if getattr(body.base, "adapter", None) is not None:
        raise SottovoceError(
            "this model has an adapter behind its layers, whose cost has no formula here; remove it first."
        )
    if body.decodes:
        raise SottovoceError("the cost of a decoder depends on what it says; count the encoder with its classifier.")
    frames = body.frames(samples)
    if frames < 1:
        raise SottovoceError(f"{samples} samples make no frame for this {body.name} model; give longer audio.")
    counts: dict[Part, int] = {}
    for where, count in _all_parts(body, model, samples, frames):
        counts[where] = counts.get(where, 0) + count
    return counts


def _all_parts(body: Anatomy, model: Any, samples: int, frames: int) -> Iterator[tuple[Part, int]]:
    yield from front_end(body, samples)
    if body.projection is not None and body.name != "whisper":
        yield ("feature_projection",), frames * linear(body.projection)
    steps = frames
    for _, conv in body.positional_convs():
        if not body.family.positional_runs:
            break
        length = conv_length(conv, frames)
        yield ("positional",), conv_macs(conv, length)
        if body.name == "sew":
            steps = min(length - (1 - kernel_of(conv) % 2), frames // body.config.squeeze_factor)
    if body.mimics:
        for step, layer in enumerate(body.layers):
            yield from mimic(layer, step, frames)
    else:
        for step, layer in enumerate(body.order):
            for where, count in transformer_layer(body, layer, steps):
                yield ("layer", step, where), count
    if body.name == "sew":
        yield ("upsampling",), steps * linear(body.base.encoder.upsample.projection)
    yield ("head",), head(model, body, frames)


def linear(module: Any) -> int:
    """Multiply-accumulates of one Linear, whole or factored, for one frame."""
    if isinstance(module, Factored):
        return linear(module.first) + linear(module.second)
    return module.in_features * module.out_features


def any_group(conv: Any) -> Any:
    """A convolution, or one of the groups of a grouped one: in length they are alike."""
    return conv.groups[0] if isinstance(conv, GroupedConv) else conv


def kernel_of(conv: Any) -> int:
    """The kernel length of a convolution, or of the groups of one."""
    return any_group(conv).kernel_size[0]


def conv_length(conv: Any, length: int) -> int:
    """How many frames a convolution makes of so many."""
    first = any_group(conv)
    return (length + 2 * first.padding[0] - first.kernel_size[0]) // first.stride[0] + 1


def conv_macs(conv: Any, length: int) -> int:
    """Multiply-accumulates of a convolution that makes so many frames."""
    if isinstance(conv, GroupedConv):
        return sum(conv_macs(group, length) for group in conv.groups)
    return length * conv.out_channels * (conv.in_channels // conv.groups) * conv.kernel_size[0]


def front_end(body: Anatomy, samples: int) -> Iterator[tuple[Part, int]]:
    """The waveform convolutions, Whisper's two, or the filter bank."""
    if body.name == "whisper":
        frames = 2 * body.config.max_source_positions
        yield ("front_end", 0), conv_macs(body.base.conv1, frames)
        yield ("front_end", 1), conv_macs(body.base.conv2, frames // 2)
        return
    extractor = getattr(body.base, "feature_extractor", None)
    if isinstance(extractor, LogMel):
        yield ("front_end", 0), log_mel(extractor, samples)
    length = samples
    for index, conv in enumerate(body.convs):
        length = conv_length(conv, length)
        yield ("front_end", index), conv_macs(conv, length)


def log_mel(front: LogMel, samples: int) -> int:
    """Multiply-accumulates of a filter bank: its spectra with its filters."""
    return ((samples - WINDOW) // SHIFT + 1) * (FFT // 2 + 1) * front.bins


def transformer_layer(body: Anatomy, layer: int, time: int) -> Iterator[tuple[str, int]]:
    """One application of a stored layer to so many frames."""
    linears = [body.linear(layer, part) for part in ("query", "key", "value", "output")]
    yield "attention_projections", time * sum(linear(module) for module in linears)
    attention, width = body.attention(layer), body.heads(layer) * body.head_dim
    products = 2 * time * time * width
    if isinstance(attention, GatedAttention):
        products += gate_macs(attention, time)
    kind = getattr(attention, "position_embeddings_type", None) if width else None
    if kind == "relative":
        products += (2 * time - 1) * linear(attention.linear_pos) + time * (2 * time - 1) * width
    elif kind == "relative_key":
        products += time * time * width
    yield "attention_products", products
    for which in range(len(body.family.feed_forwards)):
        yield "feed_forward", time * sum(linear(module) for module in body.feed_forward(layer, which))
    block: Any = body.layers[layer]
    if hasattr(block, "conv_module"):
        convs = (block.conv_module.pointwise_conv1, block.conv_module.depthwise_conv, block.conv_module.pointwise_conv2)
        yield "convolution", sum(conv_macs(conv, time) for conv in convs)
    adapter = getattr(block, "adapter_layer", None)
    if adapter is not None:
        yield "adapter", time * (linear(adapter.linear_1) + linear(adapter.linear_2))


def mimic(layer: Any, step: int, time: int) -> Iterator[tuple[Part, int]]:
    """One mimic layer, alone with its utterance (where attention over the batch sees one key)."""
    yield ("layer", step, "feed_forward"), time * (linear(layer.up) + linear(layer.down))
    if isinstance(layer, TransformerMimic):
        width = layer.output.in_features // HEADS * HEADS
        keys = time if layer.over == "time" else 1
        yield ("layer", step, "attention_projections"), time * (linear(layer.inputs) + linear(layer.output))
        yield ("layer", step, "attention_products"), 2 * time * keys * width


def head(model: Any, body: Anatomy, frames: int) -> int:
    """The task head: every Linear on every frame, except behind a pooling over time."""
    kind = type(model).__name__.partition("For")[2]
    if kind in ("SequenceClassification", "AudioClassification"):
        return frames * linear(model.projector) + linear(model.classifier)
    if kind == "XVector":
        total, length = frames * linear(model.projector), frames
        for layer in model.tdnn:
            length -= layer.dilation * (layer.kernel_size - 1)
            total += length * linear(layer.kernel)
        return total + linear(model.feature_extractor) + linear(model.classifier)
    if kind == "PreTraining" and body.name == "unispeech-sat":
        return 0  # Hugging Face builds this head but never runs it
    halves = {part for module in model.modules() if isinstance(module, Factored) for part in module.children()}
    elsewhere = set(body.base.modules()) | halves
    return frames * sum(
        linear(module)
        for module in model.modules()
        if isinstance(module, nn.Linear | Int8Linear | Factored) and module not in elsewhere
    )
