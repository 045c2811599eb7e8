"""Parameters and multiply-accumulates of every part of a model, as functions of its widths.

One list of terms serves both: how many numbers a tensor holds, and how often a pass multiplies with each of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

import torch

from sottovoce.errors import SottovoceError
from sottovoce.models.families import family_name, frames_of
from sottovoce.models.front_end import FFT, SHIFT, WINDOW
from sottovoce.models.head_rows import Row
from sottovoce.models.widths import Number, Widths

Part = tuple[str | int, ...]


class Term(NamedTuple):
    """Some numbers of a part: how many, what a pass multiplies each with (None: nothing), and whether they are stored.

    Products of two computed things (queries and keys) are numbers that are not stored.
    """

    where: Part
    count: Number
    runs: str | None = None
    fewer: int = 0
    stored: bool = True


def parameters_by_part(widths: Widths) -> dict[Part, Number]:
    """The parameters of each part; a layer that several steps share counts at the first of them.

    Example:
        >>> sum(parameters_by_part(widths_of(sv.new("wav2vec2-base"))).values())
        94371712
    """
    counts: dict[Part, Number] = {}
    for term in terms(in_double(widths)):
        counts[term.where] = counts.get(term.where, 0) + (term.count if term.stored else 0)
    return counts


def macs_by_part(widths: Widths, samples: int) -> dict[Part, Number]:
    """The multiply-accumulates of one utterance of so many samples, by part.

    Counted are products of matrices and convolutions, as `torch.utils.flop_counter` counts them (half its operations);
    norms, activations and Fourier transforms are not.

    Example:
        >>> sum(macs_by_part(widths_of(sv.new("wav2vec2-base")), 160_000).values()) / 1e9
        74.06...
    """
    lengths = lengths_of(widths, samples)
    counts: dict[Part, Number] = {}
    for term in terms(in_double(widths)):
        if term.runs is not None:
            counts[term.where] = counts.get(term.where, 0) + term.count * (lengths[term.runs] - term.fewer)
    return counts


def in_double(value: Any) -> Any:
    """Widths with their tensors in float64, which holds every such count exactly; gradients pass."""
    if isinstance(value, Widths):
        names = [entry.name for entry in fields(value) if entry.name != "config"]
        return replace(value, **{name: in_double(getattr(value, name)) for name in names})
    if isinstance(value, torch.Tensor):
        return value.double()
    if isinstance(value, Mapping):
        return {key: in_double(inner) for key, inner in value.items()}
    return tuple(in_double(inner) for inner in value) if type(value) is tuple else value


def lengths_of(widths: Widths, samples: int) -> dict[str, int]:
    """How many vectors, or pairs of frames, there are of each kind that a term speaks of."""
    config, family = widths.config, widths.family
    frames = frames_of(config, samples)
    if frames < 1:
        raise SottovoceError(
            f"{samples} samples make no frame for this {family_name(config)} model; give longer audio."
        )
    lengths = {"utterance": 1, "frames": frames, "windows": windows(samples)}
    if family.mel_input:
        lengths |= {"conv 0": 2 * frames, "conv 1": frames}
    length = samples
    for index in range(len(widths.channels)):
        length = (length - config.conv_kernel[index]) // config.conv_stride[index] + 1
        lengths[f"conv {index}"] = length
    steps = frames
    if filtered(widths) is not None:
        lengths["positional"] = frames  # a filter over an odd number of frames gives as many as it hears
    elif family.positional is not None:
        kernel, stride = positional_kernel(widths), config.squeeze_factor if family.squeezes else 1
        lengths["positional"] = (frames + kernel // 2 * 2 - kernel) // stride + 1
        if family.squeezes:
            steps = min(lengths["positional"] - (1 - kernel % 2), frames // stride)
    return lengths | {
        "steps": steps,
        "distances": 2 * steps - 1,
        "pairs": steps * steps,
        "pairs with distances": steps * (2 * steps - 1),
    }


def terms(widths: Widths) -> Iterator[Term]:
    """Everything that a model stores or multiplies, in the order of its parts."""
    hidden, family = widths.hidden, widths.family
    yield from front_end(widths)
    yield from positional(widths)
    layer_terms = mimic_layer if widths.mimic is not None else layer
    for step, stored in enumerate(widths.order):
        first, present = widths.order.index(stored) == step, widths.present[stored]
        for term in layer_terms(widths, stored):
            where = ("layer", step, *term.where)
            yield Term(where, term.count * present, term.runs, stored=term.stored and first)
        for term in own(widths, stored, first=first):
            yield Term(("layer", step, *term.where), term.count * present, term.runs, stored=term.stored)
    if family.gated_position_bias and widths.mimic is None and widths.order:
        # The table belongs to whichever layer comes first.
        heads = widths.config.num_attention_heads
        yield Term(("layer", 0, "attention_products"), widths.config.num_buckets * heads)
    if family.squeezes:
        path = "encoder.upsample.projection"
        yield from linear(widths, "upsampling", path, hidden, hidden * widths.config.squeeze_factor)
    yield Term(("head",), 0, "utterance", stored=False)
    for row in widths.outside:
        yield from outside(widths, row)
    yield Term(("other",), other(widths))


def front_end(widths: Widths) -> Iterator[Term]:
    """The filter bank or the convolutions with their norms, and what makes the hidden size of their channels."""
    config, family, hidden = widths.config, widths.family, widths.hidden
    if widths.log_mel is not None:
        yield Term(("front_end", 0), filters(widths.log_mel["bins"]), "windows", stored=False)
    if family.mel_input:
        yield from convolution(0, config.num_mel_bins, hidden, 3, bias=True)
        yield from convolution(1, hidden, hidden, 3, bias=True)
        return
    before: Number = 1
    for index, width in enumerate(widths.channels):
        yield from convolution(index, before, width, config.conv_kernel[index], bias=config.conv_bias)
        if index == 0 or getattr(config, "feat_extract_norm", "layer") == "layer":
            yield Term(("front_end", index), 2 * width)
        before = width
    if widths.log_mel is None and getattr(config, "feat_proj_layer_norm", True):
        yield Term(("feature_projection",), 2 * widths.features)
    if widths.projects:
        yield from linear(widths, "feature_projection", family.projection, widths.features, hidden, "frames")


def filters(bins: int) -> int:
    """How many numbers the filters of a log-mel front end have, which are no parameters."""
    return (FFT // 2 + 1) * bins


def windows(samples: int) -> int:
    """How many windows a log-mel front end hears."""
    return (samples - WINDOW) // SHIFT + 1


def log_mel_macs(bins: int, samples: int) -> int:
    """Multiply-accumulates of a filter bank alone: of its spectra with its filters.

    Example:
        >>> log_mel_macs(40, 16_000)
        1007440
    """
    return windows(samples) * filters(bins)


def convolution(index: int, inputs: Number, outputs: Number, kernel: int, *, bias: bool) -> Iterator[Term]:
    """A convolution of the front end."""
    yield Term(("front_end", index), outputs * inputs * kernel, f"conv {index}")
    if bias:
        yield Term(("front_end", index), outputs)


def positional(widths: Widths) -> Iterator[Term]:
    """The positional convolutions with their norms; a mimic may have lost them."""
    config, family, hidden, where = widths.config, widths.family, widths.hidden, ("positional",)
    if (frames := filtered(widths)) is not None:
        yield Term(where, hidden * frames, "positional")
        yield Term(where, hidden)
        return
    if family.positional is None or (widths.mimic is not None and not widths.mimic["positional"]):
        return
    kernel = positional_kernel(widths)
    even = divided(hidden * hidden, config.num_conv_pos_embedding_groups)
    pairs = even if widths.groups is None else sum(width * width for width in widths.groups)
    for _ in range(config.num_conv_pos_embeddings if family.positional_stack else 1):
        yield Term(where, pairs * kernel, "positional" if family.positional_runs else None)
        yield Term(where, hidden)
    if getattr(config, "conv_pos_batch_norm", False):
        yield Term(where, 2 * hidden)
    elif family.positional_norm and not widths.folded and widths.groups is None:
        yield Term(where, kernel)


def filtered(widths: Widths) -> int | None:
    """Over how many frames a mimic filters each unit, in the place of positional convolutions; None where none does."""
    kept = False if widths.mimic is None else widths.mimic["positional"]
    return None if isinstance(kept, bool) else kept


def positional_kernel(widths: Widths) -> int:
    """How many frames a positional convolution sees."""
    config = widths.config
    return config.conv_pos_kernel_size if widths.family.positional_stack else config.num_conv_pos_embeddings


def divided(number: Number, by: int) -> Number:
    """A share that stays a whole number where it is one."""
    return number // by if isinstance(number, int) and number % by == 0 else number / by


def layer(widths: Widths, stored: int) -> Iterator[Term]:
    """One application of a stored layer."""
    config, family, hidden = widths.config, widths.family, widths.hidden
    path = f"{family.layers}.{stored}"
    queries, values = widths.inner(stored)
    for part, inputs, outputs, bias in (
        (family.query, hidden, queries, True),
        (family.key, hidden, queries, family.key_bias),
        (family.value, hidden, values, True),
        (family.output, values, hidden, True),
    ):
        yield from linear(widths, "attention_projections", f"{path}.{part}", inputs, outputs, bias=bias)
    yield Term(("attention_products",), queries + values, "pairs", stored=False)
    yield from positions(widths, stored)
    for which, width in enumerate(widths.feed_forward[stored]):
        up, down = family.feed_forwards[which]
        yield from linear(widths, "feed_forward", f"{path}.{up}", hidden, width)
        yield from linear(widths, "feed_forward", f"{path}.{down}", width, hidden)
    if family.convolves:
        # Twice the width and back by each frame alone, and between them each channel alone; two norms.
        kernel = config.conv_depthwise_kernel_size
        yield Term(("convolution",), 3 * hidden * hidden + hidden * kernel, "steps")
        yield Term(("convolution",), 4 * hidden)
    width = getattr(config, "adapter_attn_dim", None)
    if width is not None and getattr(config, "do_stable_layer_norm", False):
        yield from linear(widths, "adapter", f"{path}.adapter_layer.linear_1", hidden, width)
        yield from linear(widths, "adapter", f"{path}.adapter_layer.linear_2", width, hidden)
        yield Term(("adapter",), 2 * hidden)
    yield Term(("norms",), 2 * family.layer_norms * hidden)


def own(widths: Widths, stored: int, *, first: bool) -> Iterator[Term]:
    """What one step of a stored layer has for itself; it is stored with the first of them."""
    if widths.own is None:
        return
    times, (queries, values) = widths.order.count(stored), widths.inner(stored)
    if widths.own["norms"] and first:
        yield Term(("norms",), 2 * widths.family.layer_norms * widths.hidden * (times - 1))
    pairs = [("attention_projections", queries)] * 2 + [("attention_projections", values)] * 2
    pairs += [("feed_forward", width) for width in widths.feed_forward[stored] for _ in range(2)]
    for part, width in pairs if widths.own["rank"] else ():
        count = widths.own["rank"] * (widths.hidden + width)
        yield Term((part,), count, "steps", stored=False)
        if first:
            yield Term((part,), count * times)


def positions(widths: Widths, stored: int) -> Iterator[Term]:
    """What a layer's attention does with the distances of frames, beside its queries, keys and values."""
    config, family, where = widths.config, widths.family, ("attention_products",)
    heads, size, (queries, _) = widths.heads[stored], widths.head_dim, widths.inner(stored)
    path = f"{family.layers}.{stored}.{family.query.rpartition('.')[0]}"
    if family.gated_position_bias:
        # Eight outputs of each head's slice, which are summed to two before anything is multiplied.
        yield from linear(widths, where[0], f"{path}.gru_rel_pos_linear", size, 8, None)
        yield Term(where, heads)
        yield Term(where, 2 * heads * size, "steps", stored=False)
    kind = getattr(config, "position_embeddings_type", None) if family.convolves else None
    if kind == "relative":
        yield from linear(widths, where[0], f"{path}.linear_pos", widths.hidden, queries, "distances", bias=False)
        yield Term(where, 2 * queries)
        yield Term(where, queries, "pairs with distances", stored=False)
    elif kind == "relative_key":
        # A layer without heads has no table either.
        distances = config.left_max_position_embeddings + config.right_max_position_embeddings + 1
        yield Term(where, distances * size if heads > 0 else 0)
        yield Term(where, queries, "pairs", stored=False)


def mimic_layer(widths: Widths, stored: int) -> Iterator[Term]:
    """One mimic layer, alone with its utterance (where attention over the batch sees one key)."""
    mimic, hidden, path = widths.mimic or {}, widths.hidden, f"encoder.layers.{stored}"
    (width,) = widths.feed_forward[stored]
    attends = mimic["kind"] == "transformer"
    first, second = ("up", "down") if attends else ("down", "up")
    yield from linear(widths, "feed_forward", f"{path}.{first}", hidden, width)
    yield from linear(widths, "feed_forward", f"{path}.{second}", width, hidden)
    if attends:
        yield from linear(widths, "attention_projections", f"{path}.inputs", hidden, 3 * hidden)
        yield from linear(widths, "attention_projections", f"{path}.output", hidden, hidden)
        runs = "pairs" if mimic.get("over", "time") == "time" else "steps"
        yield Term(("attention_products",), 2 * hidden, runs, stored=False)
        yield Term(("norms",), 4 * hidden)


def linear(
    widths: Widths,
    part: str,
    path: str,
    inputs: Number,
    outputs: Number,
    runs: str | None = "steps",
    *,
    bias: bool = True,
) -> Iterator[Term]:
    """A Linear, whole or factored, and its bias."""
    yield Term((part,), matrix(widths, path, inputs, outputs), runs)
    if bias:
        yield Term((part,), outputs)


def matrix(widths: Widths, path: str, inputs: Number, outputs: Number) -> Number:
    """How many numbers the weight of a Linear holds, whole or factored."""
    rank = widths.ranks.get(path)
    return inputs * outputs if rank is None else rank * (inputs + outputs)


def outside(widths: Widths, row: Row) -> Iterator[Term]:
    """A tensor of the head; one that the model itself holds belongs to no part."""
    sizes = [getattr(widths, size) if isinstance(size, str) else size for size in row.shape]
    where = ("other",) if row.loose else ("head",)
    count: Number = 1
    for size in sizes:
        count = count * size
    yield Term(where, matrix(widths, row.path, *sizes) if len(sizes) == 2 else count, row.runs, row.fewer)


def other(widths: Widths) -> Number:
    """What belongs to no part: the last norm, tables of positions, the mask embedding."""
    config, family, hidden = widths.config, widths.family, widths.hidden
    count = hidden if widths.masks else 0
    if family.mel_input:
        count = count + config.max_source_positions * hidden
    if widths.mimic is None:
        return count + (2 * hidden if family.final_norm is not None else 0)
    normed = widths.feed_forward[:1] if widths.mimic["kind"] == "linear" else ()  # all share one norm
    return count + sum(2 * width for (width,) in normed)
