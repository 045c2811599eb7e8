"""One round of pretraining: audio, units, training, and what is kept of it beside the model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from sottovoce.data.batches import Speech, decoded
from sottovoce.data.utterance import Utterance, recording
from sottovoce.errors import SottovoceError
from sottovoce.files import place_for, scratch, work_folder, working_in
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import set_order
from sottovoce.models.padding import exact_padding
from sottovoce.pretraining.objective import Masked
from sottovoce.pretraining.plan import Round, Stack
from sottovoce.pretraining.pseudo_labels import UnitNamer, at_other_speeds, calibrate, spread_out
from sottovoce.pretraining.targets import masked_source, targets_of
from sottovoce.pretraining.units import Fit
from sottovoce.sharing.depth import Depth, depth_of
from sottovoce.sharing.groups import groups_of, order_of
from sottovoce.tasks import TASKS
from sottovoce.tasks.batch import Batch
from sottovoce.tasks.finetune import set_dropout
from sottovoce.tasks.probe import probe
from sottovoce.tasks.task import material, require
from sottovoce.training import Training, train
from sottovoce.training.validation import totals

JUDGED_SECONDS = 900.0  # of audio in a validation


def pretrain_model(
    model: Any, data: Sequence[Utterance] | None, *, plan: Round, settings: Training, dropout: float | None = None
) -> Any:
    """The encoder, trained in place to say what hidden frames were; a head over units stays beside it.

    Learns from every recording that is in no test or dev split; judged on the dev split's.

    Example:
        >>> pretrain_model(model, data, plan=Round(Units(100)), settings=Training(steps=10_000, lr=5e-4))
    """
    refuse_other_inputs(model)
    learnt, judged = train_and_dev(data)
    if plan.probe_every is not None:
        require(TASKS["phones"], material(TASKS["phones"], data), "train", "test")
    (order, depth), listener = stack_of(model, plan.stack), UnitNamer(model, plan)
    set_dropout(model, dropout, None)
    with place_for("pretraining") as place, exact_padding(model):
        audio = decoded([*learnt, *judged], place / "audio")
        sizes = {utterance.id for utterance in learnt}
        learnt = [utterance for utterance in audio if utterance.id in sizes]
        judged = [utterance for utterance in audio if utterance.id not in sizes]
        calibrate(model, learnt)
        learnt += at_other_speeds(learnt, plan.speeds, place)
        targets = targets_of(plan, listener, learnt, judged, place=place, seed=settings.seed)
        if order is not None:
            set_order(model, order)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            hidden = {**asdict(plan.mask), "frames": plan.units.kind == "frames", "depth": depth}
            objective = Masked(model, targets.outputs, **hidden, seed=settings.seed)
        source = masked_source(targets, learnt, plan, seed=settings.seed, noise=plan.noise)
        heard = spread_out(judged or learnt[:100], JUDGED_SECONDS)
        every = settings.validate_every or settings.steps
        judge = Judge(objective, masked_source(targets, heard, plan), plan, data or (), targets.quality, every)
        train(objective, source, settings, validate=judge, about=[asdict(plan), *targets.about], name="pretrain")
    targets.keep(model, objective.head, plan)
    return model.eval()


def stack_of(model: Any, stack: Stack) -> tuple[list[int] | None, Depth | None]:
    """The order in which a stack's layers are to run, if it is another one, and how many steps of it."""
    body = Anatomy(model)
    order, steps = None, len(body.order)
    if stack.groups != "none":
        if body.order != tuple(range(len(body.layers))):
            raise SottovoceError("pretrain: this model shares layers already; leave stack.groups= out.")
        order = order_of(groups_of(stack.groups, steps))
    depth = None if stack.depth is None else depth_of(stack.depth, steps)
    return order, depth


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


@dataclass
class Judge:
    """Validation: how far hidden frames are from what was said, and now and then a phone probe."""

    objective: Masked
    source: Speech
    plan: Round
    data: Sequence[Utterance]
    quality: Fit | None = None
    every: int = 1  # updates between validations

    def __call__(self, objective: nn.Module) -> tuple[float, dict[str, float]]:
        """The loss, and what else is to be logged. The frames that are hidden are always the same."""
        generator = torch.Generator().manual_seed(0)

        def named(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, int]:
            said, wanted = self.objective.asked(batch, generator)
            right = wanted.new_zeros(()) if self.objective.frames else (said.argmax(-1) == wanted).sum()
            return self.objective.apart(said, wanted), right, len(wanted)

        loss, right, count = totals(self.objective, self.source, named, precision=self.plan.precision)
        found = {"validation_loss": loss / count} | ({} if self.objective.frames else {"unit_accuracy": right / count})
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
