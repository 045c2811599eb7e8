"""One round of pretraining: audio, units, training, and what is kept of it beside the model."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sottovoce.data.batches import Speech, decoded
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance, recording
from sottovoce.errors import SottovoceError
from sottovoce.files import scratch, work_folder, working_in
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder
from sottovoce.models.padding import exact_padding
from sottovoce.pretraining.augment import disturbed
from sottovoce.pretraining.crops import crops
from sottovoce.pretraining.objective import MaskedUnits
from sottovoce.pretraining.plan import Round
from sottovoce.pretraining.pseudo_labels import UnitNamer, all_units, at_other_speeds, calibrate, codebook, spread_out
from sottovoce.pretraining.unit_head import UnitHead, keep_unit_head
from sottovoce.pretraining.units import Fit, fit
from sottovoce.tasks import TASKS
from sottovoce.tasks.batch import Batch
from sottovoce.tasks.finetune import set_dropout
from sottovoce.tasks.probe import a_folder, probe
from sottovoce.tasks.task import material, require
from sottovoce.training import Training, best_device, train
from sottovoce.training.validation import totals

JUDGED_SECONDS = 900.0  # of audio in a validation


def pretrain_model(
    model: Any, data: Sequence[Utterance] | None, *, plan: Round, settings: Training, dropout: float | None = None
) -> Any:
    """The encoder, trained in place to name the units of hidden frames; the head and the codebook are kept beside it.

    Learns from every recording that is in no test or dev split; judged on the dev split's.

    Example:
        >>> pretrain_model(model, data, plan=Round(Units(100)), settings=Training(steps=10_000, lr=5e-4))
    """
    refuse_other_inputs(model)
    learnt, judged = train_and_dev(data)
    if plan.probe_every is not None:
        require(TASKS["phones"], material(TASKS["phones"], data), "train", "test")
    set_dropout(model, dropout, None)
    listener = UnitNamer(model, plan)
    with a_folder("pretraining") as place, exact_padding(model):
        audio = decoded([*learnt, *judged], place / "audio")
        sizes = {utterance.id for utterance in learnt}
        learnt = [utterance for utterance in audio if utterance.id in sizes]
        judged = [utterance for utterance in audio if utterance.id not in sizes]
        calibrate(model, learnt)
        learnt += at_other_speeds(learnt, plan.speeds, place)
        encoder = listener.encoder
        with listener.namer.on(best_device()):
            book = codebook(listener, learnt, place / "codebook.safetensors", seed=settings.seed)
            units = all_units(listener, [*learnt, *judged], book, place / "units")
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            objective = MaskedUnits(model, plan.units.clusters, **asdict(plan.mask))
        source = units_source(encoder, learnt, units, plan, seed=settings.seed, noise=plan.noise)
        heard = spread_out(judged or learnt[:100], JUDGED_SECONDS)
        every = settings.validate_every or settings.steps
        quality = phone_fit(encoder, judged or learnt, units, plan.units.clusters)
        judge = Judge(objective, units_source(encoder, heard, units, plan), plan, data or (), quality, every)
        about = [asdict(plan), listener.identity, book.centers.tolist()]
        train(objective, source, settings, validate=judge, about=about, name="pretrain")
    notes = {"plan": plan.noted, "fit": None if quality is None else asdict(quality)}
    tensors = {"centres": book.centers, "mean": book.mean, "std": book.std}
    keep_unit_head(model, objective.head, UnitHead(tensors, {"sottovoce": json.dumps(notes)}))
    return model.eval()


def refuse_other_inputs(model: Any) -> None:
    """Masks hide frames of a front end that hears samples."""
    body = Anatomy(model)
    if body.family.convs is None:
        raise SottovoceError(
            f"pretrain is for models that hear samples or sottovoce's log-mel features; {body.name} takes features of "
            "its own."
        )


def train_and_dev(data: Sequence[Utterance] | None) -> tuple[list[Utterance], list[Utterance]]:
    """Each recording once: those to learn from, and those of dev splits; none that any line has in a test split."""
    rows = list(data or ())
    split = {name: {recording(u) for u in rows if u.split == name} for name in ("test", "dev")}
    learnt, judged, seen = [], [], set[str]()
    for utterance in rows:
        place = recording(utterance)
        if place in split["test"] or place in seen:
            continue
        seen.add(place)
        (judged if place in split["dev"] else learnt).append(utterance)
    if not learnt:
        raise SottovoceError("pretraining needs data: recordings that are in no dev or test split; give --data.")
    return learnt, judged


def units_source(
    encoder: Encoder,
    utterances: Sequence[Utterance],
    units: Shelf,
    plan: Round,
    *,
    seed: int | None = None,
    noise: float = 0.0,
) -> Speech:
    """Batches of audio with the units of their frames.

    With a seed, which means for training, the utterances of a batch are cut to one length: no frame and no attention is
    padding.
    """
    inputs = Encoder(encoder.model, outputs=True)

    def collate(chosen: Sequence[Utterance], audio: list[np.ndarray]) -> Batch:
        rows = [torch.from_numpy(units[utterance.id].astype(np.int64)) for utterance in chosen]
        if seed is not None:
            audio, begins, count = crops(inputs, chosen, audio, seed)
            rows = [row[b : b + count] for row, b in zip(rows, begins, strict=True)]
        frames = torch.tensor(inputs.counts(audio))
        targets = tuple(rows)
        if noise:
            audio = [
                disturbed(piece, u.id, chosen[0].id, seed or 0, noise) for u, piece in zip(chosen, audio, strict=True)
            ]
        return Batch(inputs.inputs(audio), frames, targets)

    return Speech(utterances, collate, plan.batch_seconds, seed)


@dataclass
class Judge:
    """Validation: how often the units of hidden frames are named rightly, and now and then a phone probe."""

    objective: MaskedUnits
    source: Speech
    plan: Round
    data: Sequence[Utterance]
    quality: Fit | None = None
    every: int = 1  # updates between validations

    def __call__(self, objective: nn.Module) -> tuple[float, dict[str, float]]:
        """The accuracy, and what else is to be logged. The frames that are hidden are always the same."""
        generator = torch.Generator().manual_seed(0)

        def named(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, int]:
            logits, wanted = self.objective.asked(batch, generator)
            loss = nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
            return loss, (logits.argmax(-1) == wanted).sum(), len(wanted)

        loss, right, count = totals(self.objective, self.source, named, precision=self.plan.precision)
        found = {"validation_loss": loss / count, "unit_accuracy": right / count}
        if self.quality is not None:
            found |= {f"unit_{name}": value for name, value in asdict(self.quality).items()}
        number = -(-self.objective.done // self.every)  # of this validation, counted from 1
        if self.plan.probe_every is not None and number % self.plan.probe_every == 0:
            found |= self.phones()
        return -loss / count, found

    def phones(self) -> dict[str, float]:
        """Frame accuracy without silence of a quick probe, by state."""
        settings = Training(steps=300, lr=2e-3, clip=None)
        # In a folder of its own: what an earlier validation left is of other weights.
        with scratch(work_folder()) as folder, working_in(folder):
            probed = probe(TASKS["phones"], self.objective.model, self.data, layer="each", settings=settings, limit=300)
        return {f"phones_{found.layer}": found.scores[0].value for found in probed}


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
