"""The two models of a distillation, and the clusters that a teacher names."""

import copy
from typing import Any

import torch
from torch import nn

from sottovoce.distillation.plan import Student
from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.build import compressed
from sottovoce.models.edits import keep_layers, use_channels, use_log_mel
from sottovoce.models.front_end import LogMel
from sottovoce.models.hub import load
from sottovoce.models.processors import UNITS_FILE
from sottovoce.pretraining.unit_head import UnitHead, unit_head_of


def refuse_other_inputs(model: Any) -> None:
    """Both models must hear samples.

    Example:
        >>> refuse_other_inputs(sv.new("hubert"))
    """
    if isinstance(model, LogMel):
        raise SottovoceError("distill is for encoders, and log-mel features have nothing to teach or to learn.")
    body = Anatomy(model)
    if body.family.convs is None:
        raise SottovoceError(
            f"distill is for models that hear samples or sottovoce's log-mel features; {body.name} takes features of "
            "its own."
        )


def find_teacher(model: Any, name: str | None) -> Any:
    """The frozen teacher: the model of this name, or without one a copy of the model as it is.

    Example:
        >>> find_teacher(model, "small-hubert").training
        False
    """
    teacher = copy.deepcopy(model) if name is None else load(name)
    refuse_other_inputs(teacher)
    return teacher.requires_grad_(False).eval()


def make_student(model: Any, plan: Student, seed: int) -> None:
    """Turn a model, in place, into the student: fewer layers, another front end, other weights, as is asked.

    Example:
        >>> make_student(model, Student(layers=2), seed=0)
    """
    body = Anatomy(model)
    if plan.layers is not None:
        if body.mimics:
            raise SottovoceError(
                "distill: mimic layers stand for the whole stack and cannot be cut; leave student.layers."
            )
        if not 1 <= plan.layers <= len(body.order):
            raise SottovoceError(
                f"distill: student.layers={plan.layers}, but this model has {len(body.order)} layers; give 1 to that."
            )
        keep_layers(model, range(plan.layers))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if plan.log_mel and not isinstance(body.base.feature_extractor, LogMel):
            use_log_mel(model)
        if plan.channels is not None:
            use_channels(model, plan.channels)
        if plan.start == "random":
            redraw(model)
    model.requires_grad_(True)


def redraw(model: Any) -> None:
    """Draw an encoder's weights anew; its structure, its head and what a log-mel front end knows of the corpus stay.

    Example:
        >>> redraw(model)
    """
    body = Anatomy(model)
    fresh = Anatomy(compressed(type(model), plain=True)(copy.deepcopy(model.config))).base.state_dict()
    if isinstance(body.base.feature_extractor, LogMel):
        fresh |= {f"feature_extractor.{name}": own for name, own in body.base.feature_extractor.state_dict().items()}
    body.base.load_state_dict(fresh)


def wanted_clusters(teacher: Any) -> UnitHead:
    """The head over clusters beside a teacher, or an error that says what is missing.

    Example:
        >>> wanted_clusters(sv.load("small-hubert")).head()
        Linear(in_features=192, out_features=500, bias=True)
    """
    found = unit_head_of(teacher)
    if found is None:
        raise SottovoceError(
            f"distill: cluster_kl needs a teacher with a head over clusters beside its weights ({UNITS_FILE}), as "
            "pretrain leaves it; give such a teacher, or another loss."
        )
    return found


def student_head(clusters: UnitHead, width: int) -> nn.Linear:
    """The head that a student of some width begins with: the teacher's where it fits, else of chance.

    Example:
        >>> student_head(unit_head_of(teacher), 96).in_features
        96
    """
    head = clusters.head()
    if head.in_features != width:
        head = nn.Linear(width, head.out_features)
    return head.requires_grad_(True)
