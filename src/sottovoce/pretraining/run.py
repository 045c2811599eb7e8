"""One round of pretraining: audio, units, training, and what is kept of it beside the model."""

import json
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as tensor_bytes
from torch import nn

from sottovoce.data.audio import SAMPLE_RATE
from sottovoce.data.batches import Speech, ahead, decoded, plan_batches, samples
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance, manifest_hash
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.models.hub import load
from sottovoce.models.padding import exact_padding
from sottovoce.pretraining.augment import disturbed, sped
from sottovoce.pretraining.objective import MaskedUnits
from sottovoce.pretraining.units import Codebook, Fit, fit, mfcc
from sottovoce.progress import bar
from sottovoce.tasks import TASKS
from sottovoce.tasks.batch import Batch
from sottovoce.tasks.finetune import set_chance
from sottovoce.tasks.probe import a_folder, fingerprint, probe
from sottovoce.training import Training, train
from sottovoce.training.precision import half
from sottovoce.training.settings import Precision

SAMPLE_SECONDS = 3600.0  # of audio that k-means sees: 180 000 frames
JUDGED_SECONDS = 900.0  # of audio in a validation
STRIDE = 16  # frames: crops are multiples of it, for kernels are made anew for each shape that they meet
UNITS_FILE = "units.safetensors"


@dataclass(frozen=True)
class Round:
    """What a round of pretraining predicts, and how.

    Args:
        layer: the state whose clusters are the units; None for MFCCs.
        teacher: the model whose state that is, a folder or a Hub id; None for the model itself.
        context: how many frames on each side MFCCs are clustered with, standardised over the utterance; None for
            HuBERT's own: single frames, as they are.
        share, span: of the mask; HuBERT's are 0.8 and 10, MelHuBERT's 0.7 and 5.
        heard: the weight in the loss of frames that are not hidden; HuBERT's is 0, and a little training learns more
            with 1.
        noise: the share of utterances that are heard with noise and reverberation, while their units are clean.
        speeds: each recording is there so often more, at these speeds (and pitches).
        probe_every: validations between phone probes; None for none.

    Example:
        >>> Round(clusters=100).layer is None
        True
    """

    clusters: int = 100
    layer: int | None = None
    teacher: str | None = None
    context: int | None = None
    share: float = 0.8
    span: int = 10
    heard: float = 0.0
    noise: float = 0.0
    speeds: tuple[float, ...] = ()
    precision: Precision = "fp32"
    batch_seconds: float = 90.0
    probe_every: int | None = None


def pretrain_model(
    model: Any, data: Sequence[Utterance] | None, *, plan: Round, settings: Training, dropout: float | None = None
) -> Any:
    """The encoder, trained in place to name the units of hidden frames; the head and the codebook are kept beside it.

    Learns from every recording that is in no test or dev split; judged on the dev split's.

    Example:
        >>> pretrain_model(model, data, plan=Round(clusters=100), settings=Training(steps=10_000, lr=5e-4))
    """
    learnt, judged = recordings(data)
    set_chance(model, dropout, None)
    with a_folder("pretraining") as place, exact_padding(model):
        audio = decoded([*learnt, *judged], place / "audio")
        sizes = {utterance.id for utterance in learnt}
        learnt = [utterance for utterance in audio if utterance.id in sizes]
        judged = [utterance for utterance in audio if utterance.id not in sizes]
        calibrate(model, learnt)
        learnt += at_other_speeds(learnt, plan.speeds, place)
        encoder = Encoder(model)
        listener = Listener(encoder, plan)
        book = codebook(listener, learnt, place / "codebook.safetensors", seed=settings.seed)
        units = all_units(listener, [*learnt, *judged], book, place / "units")
        objective = MaskedUnits(model, plan.clusters, share=plan.share, span=plan.span, heard=plan.heard)
        source = units_source(encoder, learnt, units, plan, seed=settings.seed, noise=plan.noise)
        heard = spread_out(judged or learnt[:100], JUDGED_SECONDS)
        quality = phone_fit(encoder, judged or learnt, units, plan.clusters)
        judge = Judge(objective, units_source(encoder, heard, units, plan), plan, data or (), quality)
        train(objective, source, settings, validate=judge, name="pretrain")
    keep_beside(model, objective.head, book, quality, plan)
    return model.eval()


def recordings(data: Sequence[Utterance] | None) -> tuple[list[Utterance], list[Utterance]]:
    """Each recording once: those to learn from, and those of dev splits; none that any line has in a test split."""
    rows = list(data or ())
    key = {
        utterance.id: str(utterance.audio) if isinstance(utterance.audio, Path) else utterance.id for utterance in rows
    }
    split = {name: {key[u.id] for u in rows if u.split == name} for name in ("test", "dev")}
    learnt, judged, seen = [], [], set[str]()
    for utterance in rows:
        place = key[utterance.id]
        if place in split["test"] or place in seen:
            continue
        seen.add(place)
        (judged if place in split["dev"] else learnt).append(utterance)
    if not learnt:
        raise SottovoceError("pretraining needs data: recordings that are in no dev or test split; give --data.")
    return learnt, judged


def calibrate(model: Any, learnt: Sequence[Utterance]) -> None:
    """Give a log-mel front end that has none yet the mean and deviation of the speech, one number a bin."""
    front = Encoder(model).body
    mel = getattr(front.base, "feature_extractor", None) if front is not None else None
    if not isinstance(mel, LogMel) or bool(mel.mean.any()):
        return
    normalised = Encoder(model).inputs
    rows = []
    with torch.no_grad():
        for utterance in spread_out(learnt, SAMPLE_SECONDS / 4):
            values = mel(normalised([samples(utterance)])["input_values"])[0]
            rows.append(values.view(mel.stack, mel.bins, -1).permute(0, 2, 1).reshape(-1, mel.bins))
    frames = torch.cat(rows)
    mel.mean.copy_(frames.mean(0))
    mel.std.copy_(frames.std(0).clamp(min=1e-3))


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


class Listener:
    """Hears, of each utterance, the frames that are clustered, at the times of an encoder's frames.

    Example:
        >>> rows = Listener(Encoder(model), Round(layer=6)).frames(utterances)
    """

    def __init__(self, encoder: Encoder, plan: Round) -> None:
        self.encoder, self.plan = encoder, plan
        self.namer = encoder if plan.teacher is None else Encoder(load(plan.teacher).to(encoder.device))
        if plan.layer is not None and not 0 <= plan.layer < self.namer.depth:
            raise SottovoceError(f"layer={plan.layer}, but this model's states are 0-{self.namer.depth - 1}.")
        if plan.layer is None and plan.teacher is not None:
            raise SottovoceError(f"teacher='{plan.teacher}' needs a layer= whose clusters are the units.")

    @property
    def identity(self) -> str:
        """What tells what this one hears from what others hear."""
        made_of = fingerprint(self.namer) if self.plan.layer is not None else ""
        return f"{asdict(self.plan)} {made_of} {self.encoder.field()}"

    def frames(self, utterances: Sequence[Utterance]) -> list[torch.Tensor]:
        """The rows of each utterance, one a frame of the encoder."""
        audio = [samples(utterance) for utterance in utterances]
        times = [self.encoder.centres(max(1, self.encoder.frames(len(piece)))) for piece in audio]
        if self.plan.layer is None:
            return [
                mfcc(piece, centres, context=self.plan.context) for piece, centres in zip(audio, times, strict=True)
            ]
        with self.namer.exact(), torch.no_grad(), half(self.namer.model, self.namer.device, self.plan.precision):
            state = self.namer.states(self.namer.inputs(audio))[self.plan.layer].float().cpu()
        field, shift = self.namer.field()
        rows = []
        for row, piece, centres in zip(state, audio, times, strict=True):
            nearest = np.rint((centres * SAMPLE_RATE - field / 2) / shift).astype(np.int64)
            rows.append(row[nearest.clip(0, max(1, self.namer.frames(len(piece))) - 1)])
        return rows


def codebook(listener: Listener, learnt: Sequence[Utterance], path: Path, *, seed: int) -> Codebook:
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
    book = Codebook.fit(torch.cat(rows), listener.plan.clusters, seed=seed)
    book.write(path, identity)
    return book


def all_units(listener: Listener, utterances: Sequence[Utterance], book: Codebook, folder: Path) -> Shelf:
    """The units of every utterance, kept."""
    identity = f"units {listener.identity} {float(book.centres.sum())} {manifest_hash(utterances)}"
    shelf = Shelf(folder, identity=identity, row=(), dtype="uint16")
    rest = [utterance for utterance in utterances if utterance.id not in shelf]
    batches = plan_batches([utterance.seconds for utterance in rest], most=60.0, seed=None)

    def work(items: list[int]) -> dict[str, np.ndarray]:
        chosen = [rest[item] for item in items]
        found = [book.units(rows).numpy().astype(np.uint16) for rows in listener.frames(chosen)]
        return dict(zip([utterance.id for utterance in chosen], found, strict=True))

    with bar("naming units", len(batches)) as advance, closing(ahead(work, batches, workers=1)) as results:
        for made in results:
            shelf.add(made)
            advance()
    return shelf


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

    With a seed, which means for training, the utterances of a batch are cut to the length of the shortest, each
    somewhere: they are of similar length, and what is lost is less than what padding costs.
    """
    inputs = Encoder(encoder.model, outputs=True)
    field, shift = inputs.field()

    def collate(chosen: Sequence[Utterance], audio: list[np.ndarray]) -> Batch:
        rows = [torch.from_numpy(units[utterance.id].astype(np.int64)) for utterance in chosen]
        if seed is not None:
            rng = np.random.default_rng([seed, zlib.crc32(chosen[0].id.encode())])
            count = max(1, min(inputs.frames(len(piece)) for piece in audio))
            count -= count % STRIDE if count > 4 * STRIDE else 0
            size = max(field, shift) + shift * (count - 1)
            begins = [int(rng.integers(0, len(row) - count + 1)) for row in rows]
            audio = [piece[b * shift : b * shift + size] for piece, b in zip(audio, begins, strict=True)]
            rows = [row[b : b + count] for row, b in zip(rows, begins, strict=True)]
        frames = torch.tensor([max(1, inputs.frames(len(piece))) for piece in audio])
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

    def __call__(self, objective: nn.Module) -> tuple[float, dict[str, float]]:
        """The accuracy, and what else is to be logged. The frames that are hidden are always the same."""
        generator = torch.Generator().manual_seed(0)
        right = loss = count = 0.0
        device = next(self.objective.parameters()).device
        for items in self.source.plan(0):
            with half(self.objective, device, self.plan.precision):
                logits, wanted = self.objective.asked(self.source.load(items).to(device), generator)
            right += float((logits.argmax(-1) == wanted).sum())
            loss += float(nn.functional.cross_entropy(logits.float(), wanted, reduction="sum"))
            count += len(wanted)
        found = {"validation_loss": loss / count, "unit_accuracy": right / count}
        if self.quality is not None:
            found |= {f"unit_{name}": value for name, value in asdict(self.quality).items()}
        self.objective.validations += 1
        if self.plan.probe_every is not None and int(self.objective.validations) % self.plan.probe_every == 0:
            found |= self.phones()
        return -loss / count, found

    def phones(self) -> dict[str, float]:
        """Frame accuracy without silence of a quick probe, by state."""
        settings = Training(steps=300, lr=2e-3, clip=None)
        # In a folder of its own: what an earlier validation left is of other weights.
        with tempfile.TemporaryDirectory(prefix="sottovoce-") as folder, working_in(folder):
            probed = probe(TASKS["phones"], self.objective.model, self.data, layer="each", settings=settings, limit=300)
        return {f"phones_{found.layer}": found.scores[0].value for found in probed}


def phone_fit(encoder: Encoder, utterances: Sequence[Utterance], units: Shelf, clusters: int) -> Fit | None:
    """How well the units fit phones, where phones are known; silence is left out."""
    kind: Any = TASKS["phones"].kind
    known = [utterance for utterance in utterances if utterance.phones]
    if not known:
        return None
    names = [kind.names(u.phones, encoder.centres(len(units[u.id]))) for u in known]
    phones = sorted(set(np.concatenate(names)) - {"", "SIL"})
    numbers = {name: number for number, name in enumerate(phones)}
    counts = np.zeros((clusters, len(phones)))
    for utterance, row in zip(known, names, strict=True):
        for unit, name in zip(units[utterance.id].tolist(), row.tolist(), strict=True):
            if name in numbers:
                counts[unit, numbers[name]] += 1
    return fit(counts)


def keep_beside(model: Any, head: nn.Linear, book: Codebook, quality: Fit | None, plan: Round) -> None:
    """The head and the codebook as a file that goes with the model wherever it is saved."""
    tensors = {"head.weight": head.weight, "head.bias": head.bias, "centres": book.centres, "mean": book.mean}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in {**tensors, "std": book.std}.items()}
    about = {"plan": asdict(plan), "fit": None if quality is None else asdict(quality)}
    model.processor_files = {
        **(getattr(model, "processor_files", None) or {}),
        UNITS_FILE: tensor_bytes(tensors, metadata={"sottovoce": json.dumps(about)}),
    }
