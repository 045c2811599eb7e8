"""Quantising: the last step, which makes a finished model's numbers smaller, and on some machines the model faster."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn

from sottovoce.data.batches import samples
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import use_int8
from sottovoce.models.encoder import Encoder
from sottovoce.models.int8 import LARGEST, check_unquantized
from sottovoce.models.narrow import fold_weight_norm
from sottovoce.models.parts import Factored
from sottovoce.models.positions import adopt_positions
from sottovoce.registry import register_method
from sottovoce.studies.speech import ready, recordings

PARTS = ("attention", "feed_forward", "projection", "head")
# Magnitudes of inputs are counted in bins on a scale of octaves, from 2 ** LOWEST on.
LOWEST, OCTAVES, FINE = -30, 60, 16


def outlined(model: Any, *, to: str = "int8", **rest: Any) -> bool:
    """In bytes, behind which nothing can be cut any more."""
    check_unquantized(model, "quantize")
    if to.startswith("int8"):
        body = Anatomy(model)
        paths = [body.short_path(path) for part in PARTS[:3] for path in linears_of(model, part)]
        fold_weight_norm(model)
        use_int8(model, dict.fromkeys(paths))
    return True


@register_method(outline=outlined, reports_gain=True)
def quantize(
    model: Any,
    data: Any = None,
    *,
    to: Literal["int8", "int8-static", "fp16"] = "int8",
    parts: list[str] = ["attention", "feed_forward", "projection", "head"],  # noqa: B006 (it is only read)
    limit: int | None = 64,
    seed: int = 0,
) -> Any:
    """Store the weights of the Linears as bytes, or everything in half precision; the last step, for none can follow.

    `int8` makes the memory of these Linears a quarter. Whether the model becomes faster depends on the machine: CPUs
    with instructions for products of bytes (VNNI) gain much in wide Linears, others nothing or less than nothing.
    Convolutions stay in fp32, and so does what is not named in `parts`: attention, feed_forward, projection (from the
    front end to the layers), head (what stands behind the encoder, a decoder included). The weight norm of positional
    convolutions is folded. Inputs get a scale for every frame, or with `int8-static` one for ever, which `limit`
    utterances of the train split choose: a little quicker and less exact. What none of them reaches is dynamic.

    `fp16` makes all of the memory half and computes in half precision, which GPUs do fast and most CPUs slowly; there,
    `sv.load(folder, dtype=torch.float32)` computes in fp32 from the small folder. It is not for `parts`.

    Example:
        >>> small = quantize(model)
        >>> small = quantize(model, data, to="int8-static", parts=["feed_forward"])
    """
    check_unquantized(model, "quantize")
    for part in parts:
        if part not in PARTS:
            raise unknown("part", part, PARTS)
    if to == "fp16":
        if sorted(parts) != sorted(PARTS):
            raise SottovoceError("quantize to=fp16 is of the whole model; leave out parts, or give to=int8.")
        return in_half(model)
    paths = list(dict.fromkeys(path for part in parts for path in linears_of(model, part)))
    if not paths:
        raise SottovoceError(f"this model has no Linear in {', '.join(parts) or 'no part'}; choose other parts.")
    model.float()
    largest: dict[str, float | None] = dict.fromkeys(paths)
    if to == "int8-static":
        train = [utterance for utterance in data or () if utterance.split == "train"]
        chosen = recordings(train or data, what="quantize to=int8-static", limit=limit, seed=seed)
        largest |= {path: best_range(counts) for path, counts in magnitudes(model, paths, chosen).items()}
    fold_weight_norm(model)
    use_int8(model, largest)
    return model


def in_half(model: Any) -> Any:
    """A model in half precision, if its numbers allow that; positions of Conformers stay exact."""
    if model.dtype != torch.float32:
        raise SottovoceError(f"quantize to=fp16: this model is in {str(model.dtype).removeprefix('torch.')} already.")
    most = torch.finfo(torch.float16).max
    for name, tensor in model.named_parameters():
        if tensor.numel() and not tensor.detach().abs().max() <= most:
            raise SottovoceError(f"quantize to=fp16: {name} has numbers beyond {most:g}, the largest one; use int8.")
    adopt_positions(model)
    return model.half()


def linears_of(model: Any, part: str) -> list[str]:
    """The paths from the model of a part's Linears that can be quantised; of factored ones, of both.

    Left out are those without numbers, those whose weight also serves elsewhere, those whose weight is read by
    something else than their own forward pass, and those whose short path means another module first.
    """
    body = Anatomy(model)
    users: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            users[id(parameter)] = users.get(id(parameter), 0) + 1
    names = {id(module): name for name, module in model.named_modules()}
    found = list(head_linears(model, body) if part == "head" else modules_of(body, part))
    pairs = [[module.first, module.second] if isinstance(module, Factored) else [module] for module in found]
    linears = [linear for pair in pairs for linear in pair if type(linear) is nn.Linear and linear.weight.numel()]
    paths = [names[id(linear)] for linear in linears if users[id(linear.weight)] == 1]
    return [path for path in paths if body.full_path(body.short_path(path)) == path]


def modules_of(body: Anatomy, part: str) -> Iterator[Any]:
    """The Linears of the encoder, whole or factored."""
    if part == "projection":
        yield body.projection
        if body.family.squeezes:
            yield body.base.encoder.upsample.projection
        return
    for layer in range(len(body.layers)):
        if body.mimics:
            names = ("inputs", "output") if part == "attention" else ("up", "down")
            yield from (getattr(body.layers[layer], name, None) for name in names)
        elif part == "attention":
            yield from (body.linear(layer, name) for name in ("query", "key", "value", "output"))
            yield getattr(body.attention(layer), "linear_pos", None)
        else:
            for which in range(len(body.family.feed_forwards)):
                yield from body.feed_forward(layer, which)


def head_linears(model: Any, body: Anatomy) -> Iterator[Any]:
    """The Linears outside the encoder."""
    inside = set(body.base.modules())
    for name, module in model.named_modules():
        parent = model.get_submodule(name.rpartition(".")[0])
        # The one is a convolution over time in disguise, of the other only the largest output counts.
        if module not in inside and type(parent).__name__ != "TDNNLayer" and "quantizer" not in name.split("."):
            yield module


def magnitudes(model: Any, paths: Sequence[str], utterances: Sequence[Utterance]) -> dict[str, torch.Tensor]:
    """How often which magnitude enters each of these Linears, over utterances that are heard one by one.

    Example:
        >>> magnitudes(model, ["lm_head"], data)["lm_head"].sum()
    """
    found: dict[str, torch.Tensor] = {}
    body, encoder = Anatomy(model), Encoder(model)
    # What decodes has to be told what to say, and a pretraining head what to guess.
    runs = body.base if body.decodes or hasattr(model, "quantizer") else model

    def watch(path: str) -> Any:
        def hook(module: Any, args: tuple[torch.Tensor, ...]) -> None:
            counts = count_magnitudes(args[0]).cpu()
            found[path] = found[path] + counts if path in found else counts

        return hook

    handles = [model.get_submodule(path).register_forward_pre_hook(watch(path)) for path in paths]
    try:
        with ready(encoder):
            for utterance in utterances:
                inputs: dict[str, Any] = encoder.placed(encoder.inputs([samples(utterance)]))
                runs(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def count_magnitudes(values: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor counted by magnitude, in bins of a sixteenth of an octave; zeros are in the first."""
    octaves = values.detach().abs().flatten().float().log2().nan_to_num(LOWEST, LOWEST, LOWEST)
    bins = ((octaves - LOWEST) * FINE).clamp(0, OCTAVES * FINE - 1).long()
    return torch.bincount(bins, minlength=OCTAVES * FINE)


def best_range(counts: torch.Tensor) -> float:
    """The largest magnitude that levels should reach, so that rounding and cutting off err least in their squares.

    Example:
        >>> best_range(count_magnitudes(torch.randn(100_000)))  # few are beyond, and they cost less than coarse steps
        4.0
    """
    edges = 2.0 ** (LOWEST + torch.arange(1, OCTAVES * FINE + 1, dtype=torch.float64) / FINE)
    values, weights = edges * 2.0 ** (-0.5 / FINE), counts.double()
    ranges = edges[: int(counts.nonzero()[-1]) + 1]
    rounding = torch.minimum((ranges[:, None] / LARGEST) ** 2 / 12, values**2)
    cut_off = (values - ranges[:, None]).clamp(min=0.0) ** 2
    errors = (torch.where(values <= ranges[:, None], rounding, cut_off) * weights).sum(1)
    return float(ranges[errors.argmin()])
