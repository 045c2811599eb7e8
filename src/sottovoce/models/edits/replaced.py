"""Another part in the place of a whole one: another front end, or a mimic for the stack."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits.settled import check_projection, edit, submodule
from sottovoce.models.front_end import SHIFT, WINDOW, LogMel
from sottovoce.models.mimic import LONGEST_FILTER, MimicEncoder


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
    check_projection(body, features, "features")
    front = LogMel(bins=bins, stack=stack, device=old.weight.device).to(old.weight.dtype)
    body.base.feature_extractor = front.train(old.training)
    # The features are normalised over the corpus, so MelHuBERT has no norm before its projection.
    if submodule(body.base, body.family.projection_norm) is not None:
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
def use_channels(model: Any, channels: Sequence[int]) -> None:
    """Replace the convolutional front end by one with these numbers of channels, drawn anew.

    Kernels and strides stay; the norm and the projection behind it are new as well.

    Example:
        >>> use_channels(model, [144] * 7)
    """
    body = Anatomy(model)
    if not body.convs or body.projection is None or hasattr(model, "quantizer"):
        raise SottovoceError(f"this {type(model).__name__} has no front end of convolutions that could be replaced.")
    if len(channels) != len(body.convs) or min(channels) < 1:
        raise SottovoceError(
            f"channels={list(channels)}, but the front end has {len(body.convs)} convolutions; give a number for each."
        )
    check_projection(body, channels[-1], "channels")
    body.config.conv_dim = list(channels)
    old, norm = body.projection, submodule(body.base, body.family.projection_norm)
    new = nn.Linear(channels[-1], old.out_features)
    front = type(body.base.feature_extractor)(copy.deepcopy(body.config))
    fresh: dict[str, nn.Module] = {"feature_extractor": front, body.family.projection: new}
    if isinstance(norm, nn.LayerNorm):
        fresh[body.family.projection_norm] = nn.LayerNorm(channels[-1], eps=norm.eps)
    for path, module in fresh.items():
        for part in module.modules():
            body.base._init_weights(part)
        before = body.base.get_submodule(path)
        module.requires_grad_(any(parameter.requires_grad for parameter in before.parameters()))
        body.base.set_submodule(path, module.to(old.weight.device, old.weight.dtype).train(before.training))


@edit
def use_mimic(
    model: Any,
    *,
    layers: int = 1,
    kind: Literal["linear", "transformer"] = "linear",
    width: int = 768,
    over: Literal["time", "batch"] = "time",
    positional: bool | int = False,
) -> None:
    """Replace the whole stack by untrained mimic layers; the positional convolution may stay in front of them, or a
    filter over `positional` frames of each unit alone be put there.

    Without a layer (`layers=0`) a head reads what the stack read; `kind` and `width` then say nothing.

    Example:
        >>> use_mimic(model, layers=1, kind="linear", width=768)
    """
    body = Anatomy(model)
    if body.family.whole_stack is None or body.family.squeezes or getattr(body.base, "adapter", None) is not None:
        raise SottovoceError(
            f"the stack of this {body.name} model cannot be mimicked: its encoder also changes lengths."
        )
    if getattr(model, "layer_weights", None) is not None:
        raise SottovoceError(
            "this model's head weighs all layers, and a mimic has none of them; use a head on the last."
        )
    if layers not in (0, 1, 2) or kind not in ("linear", "transformer") or over not in ("time", "batch") or width < 1:
        raise SottovoceError(
            f"layers={layers}, kind={kind!r}, width={width}, over={over!r}: give 0, 1 or 2 layers, kind linear or "
            "transformer, a width of 1 or more, attention over time or batch."
        )
    hidden, old = body.config.hidden_size, next(body.base.feature_projection.parameters())
    if layers and kind == "transformer" and hidden % 8:
        raise SottovoceError(
            f"a transformer mimic has 8 heads, which do not divide the hidden size {hidden}; use linear."
        )
    filtered = positional is not True and positional is not False
    if filtered and not (positional % 2 and 1 <= positional <= LONGEST_FILTER):
        raise SottovoceError(
            f"positional={positional}, but true, false or an odd number of frames up to {LONGEST_FILTER} is wanted."
        )
    stays = positional if filtered else body.positional if positional else None
    if positional and not filtered and (stays is None or not body.family.positional_runs):
        raise SottovoceError(f"this {body.name} model has no positional convolution to keep; give a number of frames.")
    stack = MimicEncoder(hidden, layers=layers, kind=kind, width=width, over=over, positional=stays, device=old.device)
    stack.requires_grad_(any(parameter.requires_grad for parameter in body.base.encoder.parameters()))
    body.base.encoder = stack.to(old.dtype).train(body.base.encoder.training)
    body.config.num_hidden_layers = layers
