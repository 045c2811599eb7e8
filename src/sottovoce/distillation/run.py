"""One distillation: two models, audio, training, and what is kept of it beside the student."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sottovoce.data.batches import Speech, data_stamp, decoded
from sottovoce.data.utterance import Utterance
from sottovoce.distillation.objective import Distiller, without_masks
from sottovoce.distillation.plan import Distillation, matched
from sottovoce.distillation.source import kept_states, pays, speech_of_both
from sottovoce.distillation.student import find_teacher, make_student, refuse_other_inputs, wanted_clusters
from sottovoce.errors import SottovoceError
from sottovoce.files import place_for
from sottovoce.models.encoder import Encoder, fingerprint
from sottovoce.models.padding import exact_padding
from sottovoce.pretraining.pseudo_labels import calibrate, spread_out
from sottovoce.pretraining.run import JUDGED_SECONDS, train_and_dev
from sottovoce.pretraining.unit_head import keep_unit_head
from sottovoce.tasks.finetune import check_dropout, frozen_parts, set_dropout
from sottovoce.training import Training, train
from sottovoce.training.validation import totals


def distill_model(
    model: Any,
    data: Sequence[Utterance] | None,
    *,
    plan: Distillation,
    settings: Training,
    dropout: float | None = None,
) -> Any:
    """The model, made the student and trained in place to be like its teacher.

    Learns from every recording that is in no test or dev split; judged on the dev split's. A teacher without a name is
    the model as it came. Heads over clusters (MelHuBERT's loss) are those that pretraining leaves beside a model; the
    student gets one of its own.

    Our reconstruction, for the papers as we know them do not say: states of models of different depths belong together
    at the same share of the depth, frames of different times where they are nearest; states of models whose layers
    begin with a norm are compared behind it; each matched state has a Linear (DPHuBERT shares one), which begins as the
    identity where the widths allow it and is dropped at the end; `arm` masks as HuBERT does. DistilHuBERT and MelHuBERT
    train the front end; here a convolutional one that comes from the model is frozen unless the plan says otherwise.

    Example:
        >>> distill_model(model, data, plan=Distillation(student=Student(2)), settings=Training(steps=10_000, lr=2e-4))
    """
    refuse_other_inputs(model)
    check_dropout(dropout, None)
    learnt, judged = speech(data)
    teacher = find_teacher(model, plan.teacher)
    make_student(model, plan.student, settings.seed)
    set_dropout(model, dropout, None)
    clusters = wanted_clusters(teacher) if plan.outputs else None
    student_view, teacher_view = (Encoder(each, outputs=plan.outputs) for each in (model, teacher))
    pairs = matched(plan, student_view.depth - 1, teacher_view.depth - 1)
    layers = [pair.teacher for pair in pairs]
    # A front end that is new has everything to learn.
    frozen = ["head", "front_end"] if plan.student.freeze_front_end and not plan.student.new_front_end else ["head"]
    about = [asdict(plan), fingerprint(teacher_view), student_view.normalizes, data_stamp([*learnt, *judged])]
    with place_for("distillation") as place, exact_padding(model), exact_padding(teacher), frozen_parts(model, frozen):
        learnt, judged = mapped(learnt, judged, place)
        calibrate(model, learnt)
        heard = spread_out(judged or learnt[:100], JUDGED_SECONDS)
        keep = pays(plan, teacher_view, learnt, max(1, len(layers)), settings)
        asked = {utterance.id: utterance for utterance in [*learnt, *heard]}
        shelf = kept_states(teacher_view, layers, list(asked.values()), place / "states", plan) if keep else None
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            objective = Distiller(model, None if keep else teacher, plan, pairs, teacher_view.width, clusters)
        views = (student_view, teacher_view)
        source = speech_of_both(*views, learnt, plan, shelf=shelf, seed=settings.seed)
        judge = judged_on(objective, speech_of_both(*views, heard, plan, shelf=shelf), plan)
        with without_masks(model):
            train(objective, source, settings, validate=judge, about=[*about, keep], name="distill")
    if clusters is not None and objective.head is not None:
        keep_unit_head(model, objective.head, clusters)
    return model.eval()


def speech(data: Sequence[Utterance] | None) -> tuple[list[Utterance], list[Utterance]]:
    """The recordings to learn from, and those to be judged on."""
    try:
        return train_and_dev(data)
    except SottovoceError:
        raise SottovoceError("distill needs data: recordings that are in no dev or test split; give --data.") from None


def mapped(
    learnt: Sequence[Utterance], judged: Sequence[Utterance], place: Path
) -> tuple[list[Utterance], list[Utterance]]:
    """The same with their audio decoded into one mapped file."""
    audio = decoded([*learnt, *judged], place / "audio")
    return audio[: len(learnt)], audio[len(learnt) :]


def judged_on(
    objective: Distiller, source: Speech, plan: Distillation
) -> Callable[[nn.Module], tuple[float, dict[str, float]]]:
    """Validation: the loss of a frame, negative as a score. The frames that `arm` hides are always the same."""

    def validate(module: nn.Module) -> tuple[float, dict[str, float]]:
        generator = torch.Generator().manual_seed(0)
        loss, count = totals(objective, source, lambda batch: objective(batch, generator), precision=plan.precision)
        return -loss / count, {"validation_loss": loss / count}

    return validate
