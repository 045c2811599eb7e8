"""Padded batches that compute what single utterances compute, as a switch on any loaded model.

Three things leak padding into real frames: statistics of a group norm over time, convolutions behind the front end that
read across the end of an utterance, and SEW's pooling. Each gets told where the utterances end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutput

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy

SWITCH = "_exact_padding"


class Ends:
    """Where the utterances of the running batch end; the model's parts share one of these."""

    def __init__(self) -> None:
        self.samples: torch.Tensor | None = None
        self.frames: torch.Tensor | None = None

    def mask(self, lengths: torch.Tensor, time: int) -> torch.Tensor:
        """True at positions before each end: (batch, time)."""
        return torch.arange(time, device=lengths.device)[None, :] < lengths[:, None]


class MaskedGroupNorm(nn.GroupNorm):
    """A group norm of one channel a group whose statistics stop where each utterance stops."""

    def __init__(self, norm: nn.GroupNorm, ends: Ends, kernel: int, stride: int):
        nn.Module.__init__(self)
        self.num_groups, self.num_channels, self.eps, self.affine = norm.num_groups, norm.num_channels, norm.eps, True
        self.weight, self.bias = norm.weight, norm.bias
        self.ends, self.kernel, self.stride = ends, kernel, stride
        self.train(norm.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The plain norm where nothing is padded, else the same over each utterance's own frames."""
        samples = self.ends.samples
        if samples is None:
            return super().forward(input)
        lengths = torch.div(samples - self.kernel, self.stride, rounding_mode="floor") + 1
        inside = self.ends.mask(lengths, input.shape[-1])[:, None, :]
        # Half precision holds neither the number of the frames nor the sum of their squares.
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        count = lengths.clamp(min=1)[:, None, None].to(wide.dtype)
        mean = torch.where(inside, wide, 0.0).sum(-1, keepdim=True) / count
        variance = torch.where(inside, wide - mean, 0.0).square().sum(-1, keepdim=True) / count
        scale = torch.rsqrt(variance + self.eps) * self.weight[:, None]
        found = (wide - mean) * scale + self.bias[:, None]
        return found.to(torch.promote_types(input.dtype, self.weight.dtype))


class ReadEnds:
    """A pre-hook on the base model: takes the ends from the attention mask."""

    def __init__(self, ends: Ends, body: Anatomy):
        self.ends, self.kernels = ends, tuple(zip(body.config.conv_kernel, body.config.conv_stride, strict=True))

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
        self.ends.samples = self.ends.frames = None
        if mask is None or (not torch.compiler.is_compiling() and bool(mask.all())):
            return
        if not torch.compiler.is_compiling() and not bool(mask[:, 0].all()):
            raise SottovoceError("an utterance of the batch is empty or padded on the left; pad on the right.")
        lengths = mask.long().sum(-1)
        self.ends.samples = lengths
        for kernel, stride in self.kernels:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        self.ends.frames = lengths


class ForgetEnds:
    """A hook behind the base model: the ends are of this batch alone, unless a backward pass will run parts again."""

    def __init__(self, ends: Ends):
        self.ends = ends

    def __call__(self, module: Any, args: Any, result: Any) -> None:
        again = module.training and any(getattr(part, "gradient_checkpointing", False) for part in module.modules())
        if not again:
            self.ends.samples = self.ends.frames = None


class ZeroPastEnd:
    """A pre-hook on a convolution over frames (batch, channels, time): what lies past the end is silence."""

    def __init__(self, ends: Ends):
        self.ends = ends

    def __call__(self, module: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        lengths = self.ends.frames
        if lengths is None or args[0].shape[0] != lengths.shape[0]:
            return None
        inside = self.ends.mask(lengths, args[0].shape[-1])[:, None, :]
        return (args[0].masked_fill(~inside, 0.0), *args[1:])


class SqueezeExactly:
    """SEW's encoder pass with each utterance pooled as if it were alone (an odd last frame has no partner)."""

    def __init__(self, encoder: Any, ends: Ends):
        self.encoder, self.ends, self.plain = encoder, ends, type(encoder).forward

    def __call__(self, hidden_states: torch.Tensor, attention_mask: Any = None, **kwargs: Any) -> BaseModelOutput:
        encoder, frames = self.encoder, self.ends.frames
        if frames is None:
            return self.plain(encoder, hidden_states, attention_mask=attention_mask, **kwargs)
        time, factor = hidden_states.shape[1], encoder.config.squeeze_factor
        hidden_states = hidden_states.masked_fill(~self.ends.mask(frames, time)[:, :, None], 0.0).transpose(1, 2)
        positions, pooled = encoder.pos_conv_embed(hidden_states), encoder.pool(hidden_states)
        length = min(positions.shape[-1], pooled.shape[-1])
        hidden_states = (pooled[..., :length] + positions[..., :length]).transpose(1, 2)
        whole = torch.div(frames, factor, rounding_mode="floor")
        hidden_states = encoder.dropout(encoder.layer_norm(hidden_states))
        inside = self.ends.mask(whole, length)
        blocked = torch.zeros(inside.shape, dtype=hidden_states.dtype, device=hidden_states.device)
        blocked = blocked.masked_fill(~inside, torch.finfo(hidden_states.dtype).min)[:, None, None, :]
        for layer in encoder.layers:
            if not (encoder.training and torch.rand([]) < encoder.config.layerdrop):
                hidden_states = layer(hidden_states, attention_mask=blocked, **kwargs)
        hidden_states = encoder.upsample(hidden_states)
        hidden_states = F.pad(hidden_states, (0, 0, 0, time - hidden_states.shape[1]))
        # Frames that an utterance of its own length would have had filled with zeros are zeros here as well.
        return BaseModelOutput(hidden_states.masked_fill(~self.ends.mask(whole * factor, time)[:, :, None], 0.0))


def set_exact_padding(model: Any, on: bool = True) -> None:
    """Let padded batches with an attention mask compute what their utterances compute alone; or switch that off.

    Group-norm front ends (every base model) differ by a third under zero padding as Hugging Face runs them. Without an
    attention mask nothing changes. Whisper pads to a fixed length by design and is left alone.

    One batch at a time: the parts of a model share where its utterances end, so threads need models of their own, and
    with gradient checkpointing a batch's backward pass comes before the next forward pass.

    Example:
        >>> set_exact_padding(model)
    """
    if on == is_exact(model):
        return
    body = Anatomy(model)
    if getattr(body.base, "adapter", None) is not None and on:
        raise SottovoceError("this model's adapter pools across the end of an utterance; run it on single utterances.")
    if not on:
        _restore(body)
    elif body.family.convs is not None:
        _install(body)
    setattr(body.base, SWITCH, on)


def is_exact(model: Any) -> bool:
    """Whether the switch is on.

    Example:
        >>> is_exact(sv.new("hubert"))
        False
    """
    return bool(getattr(Anatomy(model).base, SWITCH, False))


@contextmanager
def exact_padding(model: Any) -> Iterator[Any]:
    """The switch, on inside a `with` block and as before after it.

    Example:
        >>> with exact_padding(model):
        ...     states = model(input_values=batch, attention_mask=mask)[0]
    """
    before = is_exact(model)
    set_exact_padding(model, True)
    try:
        yield model
    finally:
        set_exact_padding(model, before)


def _install(body: Anatomy) -> None:
    ends = Ends()
    body.base.register_forward_pre_hook(ReadEnds(ends, body), with_kwargs=True)
    body.base.register_forward_hook(ForgetEnds(ends), always_call=True)
    for layer in body.base.feature_extractor.conv_layers if body.convs else ():
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            layer.layer_norm = MaskedGroupNorm(norm, ends, layer.conv.kernel_size[0], layer.conv.stride[0])
    convs = [module for _, module in body.positional_convs()]
    convs += [module for name, module in body.base.named_modules() if name.endswith("conv_module.depthwise_conv")]
    for conv in convs:
        conv.register_forward_pre_hook(ZeroPastEnd(ends))
    if body.family.squeezes:
        body.base.encoder.forward = SqueezeExactly(body.base.encoder, ends)


def _restore(body: Anatomy) -> None:
    # By kind and not by handle: the handles of a deep copy would still point at the original's hooks.
    for module in body.base.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, ReadEnds | ZeroPastEnd):
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
        for key, hook in list(module._forward_hooks.items()):
            if isinstance(hook, ForgetEnds):
                del module._forward_hooks[key]
                module._forward_hooks_always_called.pop(key, None)
    for layer in body.base.feature_extractor.conv_layers if body.convs else ():
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, MaskedGroupNorm):
            plain = nn.GroupNorm(norm.num_groups, norm.num_channels, eps=norm.eps, device="meta")
            plain.weight, plain.bias = norm.weight, norm.bias
            layer.layer_norm = plain.train(norm.training)
    if body.family.squeezes:
        body.base.encoder.__dict__.pop("forward", None)
