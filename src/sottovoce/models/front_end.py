"""A log-mel front end in place of the convolutional one: MelHuBERT's input (arXiv 2211.09949) for any family."""

import math

import torch
from torch import nn

SAMPLE_RATE = 16_000
WINDOW = 400  # 25 ms
SHIFT = 160  # 10 ms
FFT = 512
LOWEST = 20.0  # Hz, as Kaldi's filter banks
FLOOR = torch.finfo(torch.float32).eps
SCALE = 2.0**15  # Kaldi's samples are 16-bit integers
EMPHASIS = 0.97  # of each sample, so much of the one before is taken


class LogMel(nn.Module):
    """Kaldi-like log-mel filter banks (Hamming window, pre-emphasis 0.97), neighbouring frames side by side.

    Forty bins and a stack of two are MelHuBERT's: 80 numbers every 20 ms. Only whole windows make frames, so a padded
    batch gives what single utterances give. `mean` and `std` are those of the corpus, one number a bin.

    Example:
        >>> LogMel(bins=40, stack=2)(torch.zeros(1, 16_000)).shape
        torch.Size([1, 80, 49])
    """

    def __init__(self, *, bins: int = 40, stack: int = 2, device: torch.device | None = None):
        super().__init__()
        self.bins, self.stack = bins, stack
        steps = torch.arange(WINDOW, device=device)
        self.window = nn.Buffer(0.54 - 0.46 * torch.cos(2 * math.pi * steps / (WINDOW - 1)))
        self.filters = nn.Buffer(mel_filters(bins, device=device))
        self.mean = nn.Buffer(torch.zeros(bins, device=device))
        self.std = nn.Buffer(torch.ones(bins, device=device))

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to (batch, stack x bins, frames); in float32 inside, since half precision has no FFT."""
        with torch.autocast(input_values.device.type, enabled=False):
            frames = input_values.float().unfold(-1, WINDOW, SHIFT)
            # Silence with an offset, as normalising leaves it, is then zeros, and no rounding of its mean is heard.
            frames = (frames - frames[..., :1]) * SCALE
            frames = frames - frames.mean(-1, keepdim=True)
            before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
            spectrum = torch.fft.rfft((frames - EMPHASIS * before) * self.window.float(), n=FFT)
            energies = (spectrum.real.square() + spectrum.imag.square()) @ self.filters.float()
            features = (energies.clamp(min=FLOOR).log() - self.mean.float()) / self.std.float()
        batch, time, _ = features.shape
        whole = features[:, : time - time % self.stack]
        stacked = whole.reshape(batch, time // self.stack, self.stack * self.bins)
        return stacked.transpose(1, 2).to(input_values.dtype)

    def _freeze_parameters(self) -> None:
        # Hugging Face's `freeze_feature_encoder` calls this; there is nothing to learn here.
        return


def mel_filters(bins: int, *, device: torch.device | None = None) -> torch.Tensor:
    """Triangular filters on the mel scale, as (frequencies, bins).

    Example:
        >>> mel_filters(40).shape
        torch.Size([257, 40])
    """
    frequencies = torch.arange(FFT // 2 + 1, device=device) * (SAMPLE_RATE / FFT)
    mels = 1127.0 * torch.log1p(frequencies / 700.0)
    lowest, highest = (1127.0 * math.log1p(f / 700.0) for f in (LOWEST, SAMPLE_RATE / 2))
    edges = torch.linspace(lowest, highest, bins + 2, device=device)
    rising = (mels[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mels[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0)
