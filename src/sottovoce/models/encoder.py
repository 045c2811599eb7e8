"""One way to ask any encoder for the states of some audio, log-mel features among them as the baseline."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, final

import numpy as np
import torch
import transformers

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.front_end import SAMPLE_RATE, SHIFT, WINDOW, LogMel
from sottovoce.models.modes import evaluating
from sottovoce.models.padding import exact_padding
from sottovoce.models.processors import extractor_settings
from sottovoce.models.record import states

Inputs = dict[str, torch.Tensor]


@final
class Encoder:
    """A view on a model, or on a `LogMel`, as something that turns audio into states; it changes nothing.

    Example:
        >>> encoder = Encoder(model)
        >>> inputs = encoder.inputs([samples, other_samples])
        >>> with encoder.exact():
        ...     hidden = encoder.states(inputs)
    """

    def __init__(self, model: Any, *, outputs: bool = False, final_norm: bool = False) -> None:
        self.model, self.final_norm = model, final_norm
        self.body = None if isinstance(model, LogMel) else Anatomy(model)
        # SEW's layers work at half the rate of what goes in and comes out: of which of the two `frames` speaks.
        squeezes = self.body is not None and self.body.family.squeezes and not outputs
        self.squeeze: int = self.body.config.squeeze_factor if squeezes and self.body is not None else 1
        # The feature extractor is found at once: threads come later.
        self._extractor = None if self.body is None else self._find_extractor(self.body)

    @property
    def depth(self) -> int:
        """How many states there are: one before the first layer and one behind each."""
        return 1 if self.body is None else len(self.body.order) + 1

    @property
    def width(self) -> int:
        """The numbers in a frame of a state."""
        if self.body is None:
            return self.model.bins * self.model.stack
        return self.body.setting("hidden_size")

    @property
    def normalizes(self) -> bool | None:
        """Whether each utterance is brought to mean 0 and variance 1; None where features come ready-made."""
        return self._extractor if isinstance(self._extractor, bool) else None

    @property
    def extractor(self) -> Any:
        """Hugging Face's feature extractor, where features come ready-made; else None."""
        return None if isinstance(self._extractor, bool) else self._extractor

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(iter((*self.model.parameters(), *self.model.buffers()))).device

    def frames(self, samples: int) -> int:
        """How many frames are of so many samples; Whisper's frames of its padding do not count."""
        if self.body is None:
            return max(0, (samples - WINDOW) // SHIFT + 1) // self.model.stack
        if self.body.family.mel_input:
            return max(1, min(self.body.frames(samples), samples // (2 * SHIFT)))
        return self.body.frames(samples) // self.squeeze

    def counts(self, audio: Sequence[np.ndarray]) -> list[int]:
        """How many frames are of each piece of audio: at least one, for what is too short is padded."""
        return [max(1, self.frames(len(piece))) for piece in audio]

    def field(self) -> tuple[int, int]:
        """How many samples a frame sees, and how many lie between two frames."""
        field, shift = WINDOW, SHIFT
        if self.body is None:
            stack = self.model.stack
        elif self.body.family.mel_input:
            return 0, 2 * SHIFT  # its windows are centred: the first one lies around the beginning
        elif self.body.family.convs is None:
            stack = 2
        else:
            field, shift, stack = 1, 1, self.squeeze
            for kernel, stride in zip(self.body.config.conv_kernel, self.body.config.conv_stride, strict=True):
                field, shift = field + (kernel - 1) * shift, shift * stride
        return field + shift * (stack - 1), shift * stack

    def centers(self, frames: int) -> np.ndarray:
        """The middle of each frame's audio, in seconds."""
        field, shift = self.field()
        return (field / 2 + shift * np.arange(frames)) / SAMPLE_RATE

    def nearest(self, times: np.ndarray) -> np.ndarray:
        """The number of the frame whose middle is nearest to each time in seconds; past an end, of one that is not."""
        field, shift = self.field()
        return np.rint((times * SAMPLE_RATE - field / 2) / shift).astype(np.int64)

    @property
    def shortest(self) -> int:
        """The samples that make one frame, and in SEW one pooled frame; shorter audio is padded to so many."""
        return self.field()[0] if self.body is None else self.body.shortest

    def inputs(self, audio: Sequence[np.ndarray]) -> Inputs:
        """A padded batch on the CPU."""
        audio = [np.pad(piece, (0, max(0, self.shortest - len(piece)))) for piece in audio]
        if not isinstance(self._extractor, bool) and self._extractor is not None:
            made = self._extractor(
                list(audio), sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True
            )
            return {name: made[name] for name in (self.model.main_input_name, "attention_mask")}
        lengths = torch.tensor([len(samples) for samples in audio])
        longest = int(lengths.max())
        values = torch.zeros(len(audio), longest)
        for row, samples in zip(values, audio, strict=True):
            piece = torch.from_numpy(samples)
            if self._extractor:
                piece = (piece - piece.mean()) / torch.sqrt(piece.var(correction=0) + 1e-7)
            row[: len(piece)] = piece
        return {"input_values": values, "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}

    def states(self, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        """Every state, each (batch, frames, width).

        With `final_norm` the last is what comes out behind the norm at the end of the stack, where there is one.
        """
        if self.body is None:
            return (self.model(inputs["input_values"].to(self.device)).transpose(1, 2),)
        placed: dict[str, Any] = self.placed(inputs)
        seen = states(self.body.base, **placed)
        normed = self.final_norm and not self.body.family.squeezes  # it puts out frames at another rate
        return (*seen.hidden[:-1], seen.output[0]) if normed else seen.hidden

    def placed(self, inputs: Inputs) -> Inputs:
        """A batch on the model's device, in its dtype, and without what its forward pass does not take."""
        assert self.body is not None
        device, dtype = self.device, self.body.base.dtype
        return {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in inputs.items()
            if name != "attention_mask" or not self.body.family.mel_input
        }

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """The model is on a device inside, and behind it where it was."""
        home = self.device
        self.model.to(device)
        try:
            yield
        finally:
            self.model.to(home)

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Padded batches give inside what single utterances give; the model is in evaluation mode."""
        with evaluating(self.model), nullcontext() if self.body is None else exact_padding(self.model):
            yield

    def _find_extractor(self, body: Anatomy) -> Any:
        """Hugging Face's feature extractor where features come in ready-made; else whether audio is normalised."""
        source = getattr(self.model, "name_or_path", "") or ""
        settings = extractor_settings(source) or {}
        if body.family.convs is not None:
            return settings.get("do_normalize", True)
        if body.family.mel_input:
            extractor = transformers.WhisperFeatureExtractor(feature_size=body.config.num_mel_bins)
            extractor.n_samples = 2 * body.config.max_source_positions * SHIFT
            extractor.chunk_length = extractor.n_samples // SAMPLE_RATE
            extractor.nb_max_frames = 2 * body.config.max_source_positions
            return extractor
        width = body.config.feature_projection_input_dim
        if width % 2:
            raise SottovoceError(
                f"this model takes {width} features a frame, but an even number (two frames) is wanted."
            )
        bins, padding = width // 2, settings.get("padding_value", 0.0)
        return transformers.SeamlessM4TFeatureExtractor(feature_size=bins, num_mel_bins=bins, padding_value=padding)


def fingerprint(encoder: Encoder) -> str:
    """Twelve digits of an encoder: its tensors, its shape, how it takes its audio.

    Example:
        >>> len(fingerprint(Encoder(model)))
        12
    """
    # How many frames log-mel features stack is in none of their tensors.
    config = encoder.model.config.to_dict() if encoder.body is not None else {"stack": encoder.model.stack}
    inputs: Any = encoder.normalizes if encoder.body is not None else None
    inputs = [inputs, "final norm"] if encoder.final_norm else inputs
    digest = hashlib.sha256(json.dumps([config, inputs], sort_keys=True, default=str).encode())
    for name, tensor in sorted(encoder.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


def frame_mask(frames: torch.Tensor, time: int) -> torch.Tensor:
    """True at the frames before each end: (batch, time).

    Example:
        >>> frame_mask(torch.tensor([1, 2]), 2)
        tensor([[ True, False],
                [ True,  True]])
    """
    # Over samples, in a graph, integers of half the size take half of the time.
    return torch.arange(time, device=frames.device, dtype=torch.int32)[None, :] < frames[:, None].int()


def mean_over_time(state: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """The mean of each utterance's own frames: (batch, time, width) to (batch, width).

    Example:
        >>> mean_over_time(torch.ones(2, 5, 3), torch.tensor([5, 2])).shape
        torch.Size([2, 3])
    """
    inside = frame_mask(frames, state.shape[1])[:, :, None].to(state.dtype)
    return (state * inside).sum(1) / inside.sum(1).clamp(min=1)
