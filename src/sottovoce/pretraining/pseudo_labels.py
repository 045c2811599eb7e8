"""From audio to units: what is heard of each utterance, its clusters, and the number of each frame's cluster."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce.data.batches import decoded, plan_batches, samples
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance, manifest_hash
from sottovoce.errors import SottovoceError
from sottovoce.hearing import Audio, heard_once
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, Inputs, fingerprint
from sottovoce.models.front_end import SHIFT, LogMel
from sottovoce.models.hub import load
from sottovoce.pretraining.augment import sped
from sottovoce.pretraining.plan import Round
from sottovoce.pretraining.units import Codebook, mfcc
from sottovoce.progress import bar
from sottovoce.training.precision import half_precision

SAMPLE_SECONDS = 3600.0  # of audio that k-means sees: 180 000 frames


def calibrate(model: Any, learnt: Sequence[Utterance]) -> None:
    """Give a log-mel front end that has none yet the mean and deviation of the speech, one number a bin."""
    front = Encoder(model).body
    mel = getattr(front.base, "feature_extractor", None) if front is not None else None
    if isinstance(mel, LogMel) and not bool(mel.mean.any()):
        fit_to(mel, Encoder(model), learnt)


@torch.no_grad()
def fit_to(mel: LogMel, encoder: Encoder, learnt: Sequence[Utterance]) -> None:
    """Give a log-mel front end the mean and deviation of speech, as an encoder hears it."""
    device, rows = mel.mean.device, []
    for utterance in spread_out(learnt, SAMPLE_SECONDS / 4):
        values = mel(encoder.inputs([samples(utterance)])["input_values"].to(device))[0]
        rows.append(values.view(mel.stack, mel.bins, -1).permute(0, 2, 1).reshape(-1, mel.bins))
    frames = torch.cat(rows)
    mel.mean.copy_(frames.mean(0))
    mel.std.copy_(frames.std(0).clamp(min=1e-3))


def target_frames(encoder: Encoder, learnt: Sequence[Utterance]) -> LogMel:
    """What makes of audio the log-mel frames that an encoder is to say: its own front end, or 40 bins as often."""
    own = getattr(Anatomy(encoder.model).base, "feature_extractor", None)
    if isinstance(own, LogMel):
        return copy.deepcopy(own).cpu()
    made = LogMel(stack=max(1, encoder.field()[1] // SHIFT))
    fit_to(made, encoder, learnt)
    return made


def spread_out(utterances: Sequence[Utterance], seconds: float) -> list[Utterance]:
    """Every n-th utterance, so many that they last about so long."""
    total = sum(utterance.seconds for utterance in utterances)
    step = max(1, round(total / seconds))
    return list(utterances[::step])


def at_other_speeds(utterances: Sequence[Utterance], speeds: Sequence[float], place: Path) -> list[Utterance]:
    """Copies of all utterances at each speed, named after it; their phones' times are not those of the original."""
    made: list[Utterance] = []
    for speed in speeds:
        copies = [replace(utterance, id=f"{utterance.id} x{speed:g}", phones=None) for utterance in utterances]
        made += decoded(copies, place / f"audio-x{speed:g}", change=partial(sped, speed=speed))
    return made


class UnitNamer:
    """Hears, of each utterance, the frames that are clustered, at the times of an encoder's frames.

    Example:
        >>> rows = UnitNamer(model, Round(Units(layer=6))).frames(utterances)
    """

    def __init__(self, model: Any, plan: Round) -> None:
        self.encoder, self.plan = Encoder(model, outputs=True), plan
        self.namer = Encoder(model if plan.units.teacher is None else load(plan.units.teacher))
        layer = plan.units.layer
        if layer is not None and layer >= self.namer.depth:
            raise SottovoceError(f"layer={layer}, but this model's states are 0-{self.namer.depth - 1}.")

    @cached_property
    def identity(self) -> str:
        """What tells what this one hears from what others hear."""
        units = self.plan.units
        made_of = fingerprint(self.namer) if units.layer is not None else ""
        return f"{units.clusters} {units.layer} {units.context} {self.plan.precision} {made_of} {self.encoder.field()}"

    def frames(self, utterances: Sequence[Utterance]) -> list[torch.Tensor]:
        """The rows of each utterance, one a frame of the encoder."""
        audio = [samples(utterance) for utterance in utterances]
        with self.namer.exact(), torch.no_grad():
            return self.rows(audio, self.namer.inputs(audio))

    def rows(self, audio: Audio, inputs: Inputs) -> list[torch.Tensor]:
        """The same of a batch of audio, and what the one that names the units takes of it, which must be ready."""
        times = [self.encoder.centers(count) for count in self.encoder.counts(audio)]
        asked = self.plan.units
        if asked.layer is None:
            return [mfcc(piece, centers, context=asked.context) for piece, centers in zip(audio, times, strict=True)]
        with half_precision(self.namer.model, self.namer.device, self.plan.precision):
            state = self.namer.states(inputs)[asked.layer].float().cpu()
        return [
            row[self.namer.nearest(centers).clip(0, count - 1)]
            for row, count, centers in zip(state, self.namer.counts(audio), times, strict=True)
        ]


def codebook(listener: UnitNamer, learnt: Sequence[Utterance], path: Path, *, seed: int) -> Codebook:
    """k-means on a sample of the speech; a round that goes on has it in a file."""
    chosen = spread_out(learnt, SAMPLE_SECONDS)
    identity = f"{listener.identity} {seed} {manifest_hash(chosen)}"
    if (kept := Codebook.read(path, identity)) is not None:
        return kept
    batches = plan_batches([utterance.seconds for utterance in chosen], most=60.0, seed=None)
    rows = []
    with bar("listening for units", len(batches)) as advance:
        for items in batches:
            rows += listener.frames([chosen[item] for item in items])
            advance()
    book = Codebook.fit(torch.cat(rows), listener.plan.units.clusters, seed=seed)
    book.write(path, identity)
    return book


def all_units(listener: UnitNamer, utterances: Sequence[Utterance], book: Codebook, folder: Path) -> Shelf:
    """The units of every utterance, kept."""
    identity = f"units {listener.identity} {float(book.centers.sum())} {manifest_hash(utterances)}"
    shelf = Shelf(folder, identity=identity, row=(), dtype="uint16")

    def work(inputs: Inputs, audio: Audio) -> list[np.ndarray]:
        return [book.units(rows).numpy().astype(np.uint16) for rows in listener.rows(audio, inputs)]

    return heard_once(listener.namer, utterances, shelf, work, doing="naming units")
