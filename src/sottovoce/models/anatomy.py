"""Where a model of any family keeps its parts."""

import bisect
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from sottovoce.errors import SottovoceError
from sottovoce.models.families import FAMILIES, POSITIONAL, Family, family_name, frames_of, setting

LONGEST_INPUT = 3600.0  # seconds of audio in one pass


class Anatomy:
    """A view on a model that finds its parts; it owns nothing and changes nothing.

    A `step` is one application of a layer. Layers are shared or repeated when there are more steps than layers.

    Example:
        >>> body = Anatomy(sv.new("hubert"))
        >>> len(body.layers), body.heads(0), body.feed_forward_width(0)
        (12, 12, 3072)
    """

    def __init__(self, model: PreTrainedModel):
        if _foreign(type(model).__module__) and not _foreign(__name__):
            # Its parts are of classes of that file's own, which look alike and are not.
            raise SottovoceError(
                "this model was loaded by the modelling file of its folder; load it with sv.load instead."
            )
        if not isinstance(getattr(model, "config", None), PreTrainedConfig):
            raise SottovoceError(
                f"{type(model).__name__} has no layers and no heads, so there is nothing in it to cut, to train or to "
                "look into; give a speech model of Hugging Face's."
            )
        self.model = model
        self.config: Any = model.config
        self.name = family_name(model.config)
        self.family = FAMILIES[self.name]
        self.base: Any = find_base(model, self.family)

    def setting(self, name: str) -> Any:
        """A value of the configuration under the name that most families give it."""
        return setting(self.config, name)

    def set_setting(self, name: str, value: Any) -> None:
        """Change a value of the configuration under the name that most families give it."""
        setattr(self.config, self.family.config_names.get(name, name), value)

    @property
    def layers(self) -> nn.ModuleList:
        """The layers that hold tensors, each once."""
        return self.base.get_submodule(self.family.layers)

    @property
    def order(self) -> tuple[int, ...]:
        """Which stored layer each step applies."""
        return getattr(self.layers, "order", tuple(range(len(self.layers))))

    @property
    def mimics(self) -> bool:
        """Whether mimic layers stand in for the whole stack."""
        return self.family.whole_stack is not None and hasattr(self.base.encoder, "mimic")

    @property
    def norms_first(self) -> bool:
        """Whether layers begin with their norms, so that the states between layers are plain sums."""
        chosen = getattr(self.config, "do_stable_layer_norm", False) and not self.family.squeezes
        return self.family.mel_input or (bool(chosen) and not self.family.convolves)

    def attention(self, layer: int) -> Any:
        """The attention module of a stored layer."""
        return self.layers[layer].get_submodule(self.family.query.rpartition(".")[0])

    def linear(self, layer: int, part: str) -> Any:
        """One of `query`, `key`, `value`, `output` of a stored layer."""
        return self.layers[layer].get_submodule(getattr(self.family, part))

    def feed_forward(self, layer: int, which: int = 0) -> tuple[Any, Any]:
        """The two Linears of a stored layer's feed-forward part (Conformers have two such parts)."""
        up, down = self.family.feed_forwards[which]
        return self.layers[layer].get_submodule(up), self.layers[layer].get_submodule(down)

    def feed_forward_width(self, layer: int, which: int = 0) -> int:
        """How many inner units a feed-forward part has."""
        return self.feed_forward(layer, which)[0].out_features

    @property
    def head_dim(self) -> int:
        """The regular width of an attention head; narrowing the hidden size does not change it."""
        regular = getattr(self.base, "regular_hidden", None) or self.setting("hidden_size")
        return regular // self.setting("num_attention_heads")

    def heads(self, layer: int) -> int:
        """How many attention heads a stored layer has."""
        return self.linear(layer, "query").out_features // self.head_width(layer)

    def head_width(self, layer: int) -> int:
        """The width of the heads that a stored layer has."""
        return getattr(self.attention(layer), "kept_dims", self.head_dim)

    def kept_heads(self, layer: int) -> tuple[int, ...]:
        """Which of the regular heads a stored layer still has."""
        return getattr(self.attention(layer), "kept_heads", tuple(range(self.heads(layer))))

    @property
    def convs(self) -> list[nn.Conv1d]:
        """The convolutions of the waveform front end; empty where features come in ready-made."""
        layers = getattr(self.base.get_submodule("feature_extractor"), "conv_layers", []) if self.family.convs else []
        return [layer.conv for layer in layers]

    @property
    def projection(self) -> Any:
        """The Linear from front-end features to the hidden size, or None where the two widths are equal (SEW)."""
        try:
            return self.base.get_submodule(self.family.projection)
        except AttributeError:
            return None

    @property
    def positional(self) -> nn.Module | None:
        """The positional convolution with what belongs to it; a mimic may have lost it."""
        # A mimic's filter has the same place in every family.
        path = self.family.positional or (POSITIONAL if self.mimics else "")
        parent, _, name = path.rpartition(".")
        return getattr(self.base.get_submodule(parent), name, None) if name else None

    def positional_convs(self) -> Iterator[tuple[str, nn.Module]]:
        """The positional convolutions as (path from the base model, module)."""
        root = self.positional
        if root is None:
            return
        for path, module in root.named_modules():
            inside_grouped = any(path.startswith(f"{name}.") for name, found in root.named_modules() if _grouped(found))
            if (isinstance(module, nn.Conv1d) or _grouped(module)) and not inside_grouped:
                yield f"{self.family.positional or POSITIONAL}.{path}", module

    def short_path(self, path: str) -> str:
        """A module's path from the base model, or from the model if it belongs to the head."""
        prefix = next((name for name, module in self.model.named_modules() if module is self.base), "")
        return path.removeprefix(f"{prefix}.") if prefix else path

    def full_path(self, path: str) -> str | None:
        """A module's path from the model, given that or its short path; None if there is no such module."""
        prefix = next((name for name, module in self.model.named_modules() if module is self.base), "")
        modules = dict(self.model.named_modules())
        return next((found for found in (f"{prefix}.{path}", path) if found in modules), None)

    def frames(self, samples: int) -> int:
        """How many frames this encoder makes of so many samples (of 16 kHz audio)."""
        return frames_of(self.config, samples)

    @property
    def shortest(self) -> int:
        """The fewest samples that make a frame, in SEW a pooled one."""
        wanted = self.config.squeeze_factor if self.family.squeezes else 1
        return 1 + bisect.bisect_left(range(1, round(LONGEST_INPUT * 16_000)), wanted, key=self.frames)

    def dummy_inputs(self, seconds: float = 1.0, *, batch: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
        """Seeded random inputs of this model's kind, on its device and in its dtype."""
        if not 0 < seconds < math.inf:
            raise SottovoceError(f"seconds={seconds}, but audio has a finite length above 0; give one.")
        if batch < 1 or seconds * batch > LONGEST_INPUT:
            raise SottovoceError(
                f"batch={batch} and seconds={seconds:g}, but at least 1 utterance and at most {LONGEST_INPUT:g} s "
                "of audio in all are wanted."
            )
        samples = round(seconds * 16_000)
        if self.frames(samples) < 1:
            raise SottovoceError(f"{seconds:g} s make no frame for this {self.name} model; give longer audio.")
        if self.family.mel_input:
            shape = (batch, self.config.num_mel_bins, 2 * self.config.max_source_positions)
        elif self.family.convs is None:
            shape = (batch, max(1, self.frames(samples)), self.config.feature_projection_input_dim)
        else:
            shape = (batch, samples)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed), device="cpu")
        device = next(self.model.parameters()).device
        inputs = {self.model.main_input_name: noise.to(device, self.model.dtype)}
        if self.decodes:
            inputs["decoder_input_ids"] = torch.zeros(batch, 1, dtype=torch.long, device=device)
        return inputs

    @property
    def decodes(self) -> bool:
        """Whether a text decoder hangs on the encoder (Whisper's)."""
        return any(type(module).__name__ == "WhisperDecoder" for module in self.model.modules())


def find_base(model: PreTrainedModel, family: Family) -> nn.Module:
    """The encoder without its task head."""
    if family.mel_input:
        for module in model.modules():
            if type(module).__name__ == "WhisperEncoder":
                return module
        raise SottovoceError(f"{type(model).__name__} has no Whisper encoder; give a model that has one.")
    return getattr(model, model.base_model_prefix, model)


def _foreign(module: str) -> bool:
    return module.startswith("transformers_modules.")


def _grouped(module: nn.Module) -> bool:
    return getattr(module, "is_grouped_conv", False)


def is_parametrized(module: nn.Module) -> bool:
    """Whether a module's weight is computed on the fly (weight norm)."""
    return hasattr(module, "parametrizations")
