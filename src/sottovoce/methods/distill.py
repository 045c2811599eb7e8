"""Distillation: a smaller or another encoder learns to be like its teacher."""

from dataclasses import replace
from typing import Any

from sottovoce.distillation.plan import Distillation, Loss, Match, Student
from sottovoce.distillation.run import distill_model
from sottovoce.distillation.student import make_student
from sottovoce.registry import register_method
from sottovoce.training import Training


def outlined(model: Any, *, student: Student = Student(), **rest: Any) -> bool:
    """The student's shape."""
    make_student(model, replace(student, start="model"), 0)
    return True


@register_method(outline=outlined, paper="MelHuBERT (arXiv 2211.09949), DistilHuBERT (arXiv 2110.01900)")
def distill(
    model: Any,
    data: Any = None,
    *,
    teacher: str | None = None,
    loss: Loss = "hidden",
    student: Student = Student(),
    match: Match = Match(),
    cache: bool | None = None,
    train: Training = Training(steps=10_000, lr=2e-4, warmup=0.08, save_seconds=120.0, log_every=50),
    batch_seconds: float = 90.0,
    dropout: float | None = None,
    seed: int = 0,
) -> Any:
    """Train a small encoder to be like a teacher: the model's lowest layers, or the model as it is, or drawn anew.

    The teacher is the model itself, or what `teacher` names; `student.layers` is how many are kept from the bottom.
    `loss` says what is matched: `hidden` states, all from the last (`distilhubert`), names of clusters (`cluster_kl`),
    states of masked audio (`arm`), relations of frames (`star`); `match.layers`, which of the teacher's states, 0 being
    its first layer's input. A conv front end of the model's is frozen, unlike in the papers. With `cache`, states are
    read off the disk: those of whole utterances, of which a cut hears a part; by default where all take less than 4 GB
    and each is needed more than twice. Judged 20 times, if `train.validate_every` does not say how often.

    Example:
        >>> small = distill(model, data, student={"layers": 2}, loss="distilhubert", train={"steps": 20_000})
    """
    plan = Distillation(loss, teacher, student, match, cache, train.precision, batch_seconds)
    settings = train.planned(seed=seed, validations=20)
    return distill_model(model, data, plan=plan, settings=settings, dropout=dropout)
