"""Front ends inside a graph: normalisation and log-mel features, in operations that every runtime has.

No runtime has a fast real FFT that exporters know, and a product with all of a transform's sines is most of a small
model's time. Three symmetries are used instead: frames that are centred on time 0 fold into sums and differences
(cosines are even, sines odd), these fold again at a quarter of the period (even and odd frequencies), and four small
products are left, with a third of the arithmetic.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from sottovoce.models.encoder import frame_mask
from sottovoce.models.front_end import EMPHASIS, FFT, FLOOR, SCALE, SHIFT, WINDOW, LogMel

BLOCK = math.gcd(WINDOW, SHIFT)
WHISPER_FLOOR, WHISPER_RANGE, WHISPER_SHIFT = 1e-10, 8.0, 4.0


def normalized(waveform: torch.Tensor, lengths: torch.Tensor | None, *, center: bool = True) -> torch.Tensor:
    """Each utterance with mean 0 and variance 1 over its own samples, and zeros behind them, where zeros have come.

    Without `center` the mean stays: log-mel features take it from each frame anyway, and silence, which is zeros then,
    is silence to them however a runtime rounds and sums.

    Example:
        >>> normalized(torch.tensor([[1.0, -1.0, 0.0]]), torch.tensor([2]))
        tensor([[ 1., -1.,  0.]])
    """
    if lengths is None:
        mean = waveform.mean(-1, keepdim=True)
        centred = waveform - mean
        return (centred if center else waveform) * torch.rsqrt(centred.square().mean(-1, keepdim=True) + 1e-7)
    inside = frame_mask(lengths, waveform.shape[1]).to(waveform.dtype)
    count = lengths[:, None].to(waveform.dtype)
    centred = (waveform - waveform.sum(-1, keepdim=True) / count) * inside
    return (centred if center else waveform) * torch.rsqrt(centred.square().sum(-1, keepdim=True) / count + 1e-7)


class Frames(nn.Module):
    """Windows of 25 ms every 10 ms, as rows: (batch, samples) to (batch, frames, 400).

    The waveform is seen as blocks of 5 ms, of which each frame gathers its five.

    Example:
        >>> Frames()(torch.zeros(1, 16_000)).shape
        torch.Size([1, 98, 400])
    """

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """The frames that are whole."""
        batch, samples = waveform.shape
        count, whole = (samples - WINDOW) // SHIFT + 1, samples // BLOCK
        blocks = waveform[:, : whole * BLOCK].reshape(batch, whole, BLOCK)
        first = torch.arange(count, device=waveform.device)[:, None] * (SHIFT // BLOCK)
        which = (first + torch.arange(WINDOW // BLOCK, device=waveform.device)).flatten()
        return blocks.index_select(1, which).reshape(batch, count, WINDOW)


class FoldedSpectrum(nn.Module):
    """Energies in triangular filters of frames of 400 samples: (batch, frames, 400) to (batch, frames, bins).

    Args:
        filters: the weight of each frequency in each bin, (size / 2 + 1, bins).
        size: the period of the transform; a multiple of four, and 400 or more.
        window: the weights of a frame's samples, as large before its middle as behind it.
        first: whether the first sample of each frame is to be another one.

    Example:
        >>> FoldedSpectrum(mel_filters(40), 512, torch.ones(400))(torch.zeros(1, 98, 400)).shape
        torch.Size([1, 98, 40])
    """

    def __init__(self, filters: torch.Tensor, size: int, window: torch.Tensor, *, first: bool = False):
        super().__init__()
        self.quarter = size // 4
        # Half of a frame, from its middle on; what lies beyond a quarter of the period has a partner before it.
        self.alone = 2 * self.quarter - WINDOW // 2
        self.window = nn.Buffer(window[WINDOW // 2 :].float())
        points = torch.arange(self.quarter, dtype=torch.float64) + 0.5
        for name, start, sign in (("even", 0, 1.0), ("odd", 1, -1.0)):
            frequencies = torch.arange(start, size // 2 + 1, 2)
            angles = 2 * math.pi * points[:, None] * frequencies / size
            for part, matrix in (("cos", angles.cos()), ("sin", angles.sin())):
                # The first sample is the partner of this row, and, folded twice, has the sign of the frequencies.
                rows = [matrix, sign * matrix[self.alone][None]] if first else [matrix]
                setattr(self, f"{name}_{part}", nn.Buffer(torch.cat(rows).float()))
            setattr(self, f"{name}_filters", nn.Buffer(filters[frequencies].float()))

    def forward(
        self, frames: torch.Tensor, less: torch.Tensor | None = None, first: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The filtered squares of the transform's absolute values.

        All samples of each frame are `less` so much, (batch, frames, 1); `first` is added to its first, weighted.
        """
        later, earlier = frames[..., WINDOW // 2 :], frames[..., : WINDOW // 2].flip(-1)
        sums = later + earlier if less is None else later + earlier - 2.0 * less
        sums, differences = sums * self.window, (later - earlier) * self.window
        energies = 0.0
        for name, sign in (("even", 1.0), ("odd", -1.0)):
            cos, sin, filters = (getattr(self, f"{name}_{part}") for part in ("cos", "sin", "filters"))
            real, imaginary = self.fold(sums, sign, first) @ cos, self.fold(differences, -sign, first) @ sin
            energies = energies + (real.square() + imaginary.square()) @ filters
        return energies

    def fold(self, half: torch.Tensor, sign: float, first: torch.Tensor | None) -> torch.Tensor:
        """Halves of frames folded at a quarter of the period."""
        before, beyond = half[..., : self.quarter], half[..., self.quarter :].flip(-1)
        met = before[..., self.alone :] + sign * beyond
        return torch.cat([before[..., : self.alone], met, *([] if first is None else [first])], dim=-1)


class KaldiLogMel(nn.Module):
    """Kaldi's log-mel filter banks as an exporter can take them: what `LogMel` and SeamlessM4T's extractor compute.

    Kaldi takes the mean from each frame, and then from each sample a part of the one before it, of the first a part of
    itself. All is linear, so what is taken from samples comes first and once for all frames; the mean and the first
    sample are one number a frame each.

    Args:
        window: the 400 weights of a frame's samples.
        filters: the weight of each frequency in each bin, (257, bins).

    Example:
        >>> KaldiLogMel(LogMel().window, LogMel().filters)(torch.zeros(1, 16_000)).shape
        torch.Size([1, 98, 40])
    """

    def __init__(self, window: torch.Tensor, filters: torch.Tensor):
        super().__init__()
        self.frames, self.spectrum = Frames(), FoldedSpectrum(filters, FFT, SCALE * window, first=True)
        self.mean = nn.Buffer(torch.full((1, 1, WINDOW), (1.0 - EMPHASIS) / WINDOW))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to (batch, frames, bins)."""
        waveform = waveform.float()
        means = F.conv1d(waveform[:, None], self.mean, stride=SHIFT).transpose(1, 2)
        rises = EMPHASIS * (waveform - torch.cat([waveform[:, :1], waveform[:, :-1]], dim=-1))
        starts = SHIFT * torch.arange(means.shape[1], device=waveform.device)
        # The same number that stands in the frame, weighted by the same: where it must cancel, nothing is left of it.
        first = -rises.index_select(1, starts)[..., None] * self.spectrum.window[-1]
        frames = self.frames((1.0 - EMPHASIS) * waveform + rises)
        return self.spectrum(frames, means, first).clamp(min=FLOOR).log()


class GraphLogMel(nn.Module):
    """`LogMel` with the same input and output in a form that exports with any length.

    Example:
        >>> GraphLogMel(LogMel())(torch.zeros(1, 16_000)).shape
        torch.Size([1, 80, 49])
    """

    def __init__(self, front: LogMel):
        super().__init__()
        self.log_mel = KaldiLogMel(front.window, front.filters)
        self.stack = front.stack
        self.mean, self.scale = nn.Buffer(front.mean.float()), nn.Buffer(1.0 / front.std.float())

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to (batch, stack x bins, frames)."""
        features = (self.log_mel(input_values) - self.mean) * self.scale
        return stacked(features, self.stack).transpose(1, 2)


class SeamlessFront(nn.Module):
    """What wav2vec2-bert's feature extractor computes: filter banks, each bin normalised over an utterance's frames.

    Args:
        extractor: Hugging Face's, with the window and the filters.

    Example:
        >>> SeamlessFront(transformers.SeamlessM4TFeatureExtractor())(waveform, lengths)["input_features"].shape
        torch.Size([1, 49, 160])
    """

    def __init__(self, extractor: Any):
        super().__init__()
        window, filters = (torch.as_tensor(value) for value in (extractor.window, extractor.mel_filters))
        self.log_mel, self.stack = KaldiLogMel(window, filters), extractor.stride

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """The features of two frames side by side, and the mask of those that are an utterance's own."""
        features = self.log_mel(waveform)
        time = features.shape[1]
        if lengths is None:
            lengths = torch.full((waveform.shape[0],), waveform.shape[1], device=waveform.device)
        count = torch.div(lengths - WINDOW, SHIFT, rounding_mode="floor") + 1
        inside = frame_mask(count, time)[:, :, None].to(features.dtype)
        frames = count[:, None, None].to(features.dtype)
        centred = (features - (features * inside).sum(1, keepdim=True) / frames) * inside
        variance = centred.square().sum(1, keepdim=True) / (frames - 1)
        made = stacked(centred * torch.rsqrt(variance + 1e-7), self.stack)
        mask = frame_mask(torch.div(count, self.stack, rounding_mode="floor"), made.shape[1])
        return {"input_features": made, "attention_mask": mask.long()}


class WhisperFront(nn.Module):
    """Whisper's log-mel window of a fixed length: shorter audio is padded with silence, longer audio is cut.

    Args:
        extractor: Hugging Face's, with the filters and the length.

    Example:
        >>> WhisperFront(transformers.WhisperFeatureExtractor())(torch.zeros(1, 16_000), None)["input_features"].shape
        torch.Size([1, 80, 3000])
    """

    def __init__(self, extractor: Any):
        super().__init__()
        self.samples, self.time = extractor.n_samples, extractor.nb_max_frames
        self.frames = Frames()
        # This window is as large before its middle as behind it, but for its first sample, which is 0.
        self.spectrum = FoldedSpectrum(torch.as_tensor(extractor.mel_filters), WINDOW, torch.ones(WINDOW))
        self.window = nn.Buffer(torch.hann_window(WINDOW))

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """(batch, samples) to features (batch, bins, frames)."""
        if lengths is not None:
            waveform = waveform * frame_mask(lengths, waveform.shape[1]).to(waveform.dtype)
        whole = F.pad(waveform, (0, self.samples))[:, : self.samples]
        edge = WINDOW // 2
        ends = whole[:, 1 : edge + 1].flip(-1), whole[:, self.samples - edge - 1 : self.samples - 1].flip(-1)
        frames = self.frames(torch.cat([ends[0], whole, ends[1]], dim=-1))[:, : self.time]
        levels = self.spectrum(frames * self.window).clamp(min=WHISPER_FLOOR).log10()
        levels = torch.maximum(levels, levels.amax((1, 2), keepdim=True) - WHISPER_RANGE)
        return {"input_features": ((levels + WHISPER_SHIFT) / WHISPER_SHIFT).transpose(1, 2)}


def stacked(features: torch.Tensor, stack: int) -> torch.Tensor:
    """Neighbouring frames side by side; what is left at the end is cut off.

    Example:
        >>> stacked(torch.zeros(1, 99, 40), 2).shape
        torch.Size([1, 49, 80])
    """
    whole = features.shape[1] // stack
    kept = features.index_select(1, torch.arange(whole * stack, device=features.device))
    return kept.reshape(features.shape[0], whole, stack * features.shape[2])
