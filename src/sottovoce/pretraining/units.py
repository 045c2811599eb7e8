"""Units: the clusters that masked prediction predicts, and how well they fit phones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save

from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import WINDOW, LogMel
from sottovoce.progress import track

CEPSTRA = 13
CHUNK = 8192  # rows whose distances to all centres are in memory at once


@dataclass(frozen=True)
class Codebook:
    """Centres in a space whose every number is standardised first.

    Example:
        >>> Codebook(torch.zeros(100, 39), torch.zeros(39), torch.ones(39)).units(torch.zeros(50, 39)).shape
        torch.Size([50])
    """

    centers: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def fit(cls, sample: torch.Tensor, clusters: int, *, seed: int = 0, rounds: int = 30) -> "Codebook":
        """k-means on a sample of frames (frames, width).

        Example:
            >>> Codebook.fit(frames, 100).centers.shape
            torch.Size([100, 39])
        """
        if len(sample) < clusters:
            raise SottovoceError(
                f"{clusters} units from {len(sample)} frames; give more speech, or ask for fewer units."
            )
        mean, std = sample.mean(0), sample.std(0).clamp(min=1e-5)
        points = (sample - mean) / std
        generator = torch.Generator().manual_seed(seed)
        centers = spread(points, clusters, generator)
        before = None
        for _ in track(range(rounds), f"{clusters} units", rounds):
            nearest = closest(points, centers)
            if before is not None and torch.equal(nearest, before):
                break
            before = nearest
            counts = torch.bincount(nearest, minlength=clusters)
            sums = torch.zeros_like(centers).index_add_(0, nearest, points)
            centers = sums / counts.clamp(min=1)[:, None]
            # A centre that nobody is close to begins again at some point.
            empty = (counts == 0).nonzero().flatten()
            centers[empty] = points[torch.randint(len(points), (len(empty),), generator=generator)]
        return cls(centers, mean, std)

    def write(self, path: Path, identity: str) -> None:
        """Keep it in a file, with what it belongs to."""
        tensors = {"centres": self.centers, "mean": self.mean, "std": self.std}
        atomic_write(path, save(tensors, metadata={"identity": identity}))

    @classmethod
    def read(cls, path: Path, identity: str) -> "Codebook | None":
        """What was kept, if it is there and belongs to the same."""
        if not path.is_file():
            return None
        with safe_open(str(path), "pt") as opened:
            same = (opened.metadata() or {}).get("identity") == identity
            return cls(*(opened.get_tensor(name) for name in ("centres", "mean", "std"))) if same else None

    def units(self, frames: torch.Tensor) -> torch.Tensor:
        """The number of the closest centre of each frame."""
        return closest((frames - self.mean) / self.std, self.centers)


def spread(points: torch.Tensor, clusters: int, generator: torch.Generator) -> torch.Tensor:
    """First centres, each drawn by its squared distance to those before (k-means++), from a part of the points."""
    part = points[torch.randperm(len(points), generator=generator)[: max(20_000, 20 * clusters)]]
    chosen = [int(torch.randint(len(part), (1,), generator=generator))]
    distance = (part - part[chosen[0]]).square().sum(-1)
    for _ in range(clusters - 1):
        # Where all that is left lies on centres, any point will do.
        weights = distance if distance.sum() > 0 else torch.ones_like(distance)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
        distance = torch.minimum(distance, (part - part[chosen[-1]]).square().sum(-1))
    return part[chosen].clone()


def closest(points: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """The number of the closest centre of each point.

    Example:
        >>> closest(torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [8.0]]))
        tensor([0, 1])
    """
    # |x - c|^2 without |x|^2, which is the same for every centre.
    half = 0.5 * centers.square().sum(-1)
    return torch.cat([(half - part @ centers.T).argmin(-1) for part in points.split(CHUNK)])


def mfcc(audio: np.ndarray, centers: np.ndarray, *, context: int | None = None) -> torch.Tensor:
    """Thirteen cepstra with first and second differences, HuBERT's first features, at some times (seconds).

    With `context`, cepstra and first differences are standardised over the utterance, which takes away most of the
    speaker and the channel, and stand beside those of so many frames on each side: their clusters say more of phones.

    Example:
        >>> mfcc(samples, encoder.centers(49)).shape
        torch.Size([49, 39])
        >>> mfcc(samples, encoder.centers(49), context=2).shape
        torch.Size([49, 130])
    """
    audio = np.pad(audio, (0, max(0, WINDOW - len(audio))))
    mel = LogMel(bins=40, stack=1)
    log_mel = mel(torch.from_numpy(np.ascontiguousarray(audio))[None])[0].T
    size = log_mel.shape[-1]
    angles = torch.pi / size * (torch.arange(size) + 0.5)
    cepstra = log_mel @ torch.cos(angles[:, None] * torch.arange(CEPSTRA)) * (2.0 / size) ** 0.5
    first = slope(cepstra)
    rows = torch.cat([cepstra, first, slope(first)], dim=-1)
    rows = rows[Encoder(mel).nearest(centers).clip(0, len(rows) - 1)]
    if context is None:
        return rows
    own = (rows - rows.mean(0)) / rows.std(0, correction=0).clamp(min=1e-3)
    return stack_context(own[:, : 2 * CEPSTRA], context)


def stack_context(rows: torch.Tensor, context: int) -> torch.Tensor:
    """Each row with those of so many before and behind it; the first and the last row go on past the ends.

    Example:
        >>> stack_context(torch.tensor([[1.0], [2.0], [3.0]]), 1)
        tensor([[1., 1., 2.],
                [1., 2., 3.],
                [2., 3., 3.]])
    """
    padded = torch.cat([rows[:1]] * context + [rows] + [rows[-1:]] * context)
    return torch.cat([padded[start : start + len(rows)] for start in range(2 * context + 1)], dim=-1)


def slope(rows: torch.Tensor) -> torch.Tensor:
    """The regression slope over two frames on each side."""
    padded = torch.cat([rows[:1], rows[:1], rows, rows[-1:], rows[-1:]])
    time = len(rows)
    pairs = [(step, padded[2 + step : 2 + step + time] - padded[2 - step : 2 - step + time]) for step in (1, 2)]
    return torch.stack([step * difference for step, difference in pairs]).sum(0) / 10.0


@dataclass(frozen=True)
class Fit:
    """How much units say about phones: mutual information over the phones' entropy, and two purities.

    Example:
        >>> fit(np.array([[5, 0], [0, 5]])).information
        1.0
    """

    information: float
    phone_purity: float
    unit_purity: float


def fit(counts: np.ndarray) -> Fit:
    """The fit of a table of counts (units, phones).

    Example:
        >>> fit(np.array([[5, 5], [5, 5]])).information
        0.0
    """
    joint = counts / max(1, counts.sum())
    units, phones = joint.sum(1), joint.sum(0)
    inside = joint > 0
    mutual = float((joint[inside] * np.log(joint[inside] / np.outer(units, phones)[inside])).sum())
    entropy = float(-(phones[phones > 0] * np.log(phones[phones > 0])).sum())
    information = max(0.0, mutual) / entropy if entropy > 0 else 0.0
    return Fit(information, float(joint.max(1).sum()), float(joint.max(0).sum()))
