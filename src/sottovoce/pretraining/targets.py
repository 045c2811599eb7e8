"""What hidden frames are to be said to be: the units of a codebook, or log-mel frames; and batches with either."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from sottovoce.data.batches import Speech
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.pretraining.augment import disturbed
from sottovoce.pretraining.crops import crops
from sottovoce.pretraining.plan import Round
from sottovoce.pretraining.pseudo_labels import UnitNamer, all_units, codebook, target_frames
from sottovoce.pretraining.unit_head import UnitHead, keep_unit_head
from sottovoce.pretraining.units import Codebook, Fit, fit
from sottovoce.tasks import TASKS
from sottovoce.tasks.batch import Batch
from sottovoce.training import best_device


class Targets(Protocol):
    """What a round predicts."""

    @property
    def encoder(self) -> Encoder:
        """The view on the model that is trained."""
        ...

    @property
    def outputs(self) -> int:
        """How many numbers the head has for a frame."""
        ...

    @property
    def about(self) -> list[Any]:
        """What tells a training for these targets from any other."""
        ...

    def rows(self, utterance: Utterance, piece: np.ndarray, first: int, count: int) -> torch.Tensor:
        """The targets of so many frames of an utterance, which the piece of its audio makes."""
        ...

    @property
    def quality(self) -> Fit | None:
        """How well they fit phones, where these are known."""
        ...

    def keep(self, model: Any, head: nn.Linear, plan: Round) -> None:
        """Keep beside the model what a later training needs."""
        ...


@dataclass(frozen=True)
class UnitTargets:
    """The units of a codebook."""

    encoder: Encoder
    units: Shelf
    clusters: int
    book: Codebook | None = None
    named_by: str = ""
    quality: Fit | None = None

    @property
    def outputs(self) -> int:
        """One number a unit."""
        return self.clusters

    @property
    def about(self) -> list[Any]:
        """Who named them, and the codebook."""
        return [self.named_by, None if self.book is None else self.book.centers.tolist()]

    def rows(self, utterance: Utterance, piece: np.ndarray, first: int, count: int) -> torch.Tensor:
        """Numbers of units."""
        return torch.from_numpy(self.units[utterance.id].astype(np.int64))[first : first + count]

    def keep(self, model: Any, head: nn.Linear, plan: Round) -> None:
        """The head, the codebook, and what is noted of both."""
        assert self.book is not None
        notes = {"plan": plan.noted, "fit": None if self.quality is None else asdict(self.quality)}
        tensors = {"centres": self.book.centers, "mean": self.book.mean, "std": self.book.std}
        keep_unit_head(model, head, UnitHead(tensors, {"sottovoce": json.dumps(notes)}))


@dataclass(frozen=True)
class FrameTargets:
    """Log-mel frames, in standard deviations of each bin over the corpus."""

    encoder: Encoder
    mel: LogMel
    quality: Fit | None = None

    @property
    def outputs(self) -> int:
        """One number a bin of each frame that is stacked."""
        return self.mel.bins * self.mel.stack

    @property
    def about(self) -> list[Any]:
        """The corpus's statistics."""
        return ["frames", self.mel.mean.tolist(), self.mel.std.tolist()]

    @torch.no_grad()
    def rows(self, utterance: Utterance, piece: np.ndarray, first: int, count: int) -> torch.Tensor:
        """The frames; a convolution may make one more than whole windows do, which is then the last one again."""
        values = self.mel(self.encoder.inputs([piece])["input_values"])[0].T
        return values[torch.arange(count).clamp(max=len(values) - 1)]

    def keep(self, model: Any, head: nn.Linear, plan: Round) -> None:
        """Nothing: healing goes by states."""


def targets_of(
    plan: Round,
    listener: UnitNamer,
    learnt: Sequence[Utterance],
    judged: Sequence[Utterance],
    *,
    place: Path,
    seed: int,
) -> Targets:
    """What a round predicts of all utterances.

    Example:
        >>> plan = Round(Units(kind="frames"))
        >>> targets_of(plan, UnitNamer(model, plan), learnt, judged, place=folder, seed=0).outputs
        80
    """
    if plan.units.kind == "frames":
        return FrameTargets(listener.encoder, target_frames(listener.encoder, learnt))
    everything = [*learnt, *judged]
    with listener.namer.on(best_device()):
        book = codebook(listener, learnt, place / "codebook.safetensors", seed=seed)
        units = all_units(listener, everything, book, place / "units")
    quality = phone_fit(listener.encoder, judged or learnt, units, plan.units.clusters)
    return UnitTargets(listener.encoder, units, plan.units.clusters, book, listener.identity, quality)


def masked_source(
    targets: Targets, utterances: Sequence[Utterance], plan: Round, *, seed: int | None = None, noise: float = 0.0
) -> Speech:
    """Batches of audio with the targets of their frames.

    With a seed, which means for training, the utterances of a batch are cut to one length: no frame and no attention is
    padding. Targets are of clean audio.
    """
    inputs = Encoder(targets.encoder.model, outputs=True)

    def collate(chosen: Sequence[Utterance], audio: list[np.ndarray]) -> Batch:
        begins = [0] * len(audio)
        if seed is not None:
            audio, begins, _ = crops(inputs, chosen, audio, seed)
        frames = inputs.counts(audio)
        rows = zip(chosen, audio, begins, frames, strict=True)
        wanted = tuple(targets.rows(*row) for row in rows)
        if noise:
            audio = [
                disturbed(piece, u.id, chosen[0].id, seed or 0, noise) for u, piece in zip(chosen, audio, strict=True)
            ]
        return Batch(inputs.inputs(audio), torch.tensor(frames), wanted)

    return Speech(utterances, collate, plan.batch_seconds, seed)


def units_source(
    encoder: Encoder,
    utterances: Sequence[Utterance],
    units: Shelf,
    plan: Round,
    *,
    seed: int | None = None,
    noise: float = 0.0,
) -> Speech:
    """Batches of audio with the units of their frames, as `masked_source` makes them."""
    return masked_source(UnitTargets(encoder, units, plan.units.clusters), utterances, plan, seed=seed, noise=noise)


def phone_fit(encoder: Encoder, utterances: Sequence[Utterance], units: Shelf, clusters: int) -> Fit | None:
    """How well the units fit phones, where phones are known; silence is left out."""
    kind: Any = TASKS["phones"].kind
    known = [utterance for utterance in utterances if utterance.phones]
    if not known:
        return None
    names = [kind.names(u.phones, encoder.centers(len(units[u.id]))) for u in known]
    phones = sorted(set(np.concatenate(names)) - {"", "SIL"})
    numbers = {name: number for number, name in enumerate(phones)}
    counts = np.zeros((clusters, len(phones)))
    for utterance, row in zip(known, names, strict=True):
        for unit, name in zip(units[utterance.id].tolist(), row.tolist(), strict=True):
            if name in numbers:
                counts[unit, numbers[name]] += 1
    return fit(counts)
