"""Small layers in the place of the whole stack, which learn to say what it said (arXiv 2409.16302, section 2.3)."""

import copy
from typing import Any

import torch

from sottovoce.errors import SottovoceError
from sottovoce.healing import own_task
from sottovoce.models.edits import use_mimic
from sottovoce.models.heads import head_labels
from sottovoce.registry import register_method
from sottovoce.studies.mimicking import Shape, boundary_of, check_mimic, teach
from sottovoce.tasks.finetune import check_dropout, finetune_model, labels_to_learn
from sottovoce.tasks.probe import check_answers
from sottovoce.tasks.task import Task, material, require
from sottovoce.training import Training


def outlined(model: Any, *, shape: Shape = Shape(), **rest: Any) -> bool:
    """Mimic layers in place of the stack."""
    check_mimic(model, shape.layers, shape.at)
    over: Any = "batch" if shape.paper_attention else "time"
    use_mimic(model, layers=shape.layers, kind=shape.kind, width=shape.width, over=over, positional=shape.positional)
    return True


@register_method(outline=outlined, paper="arXiv 2409.16302")
def mimic(
    model: Any,
    data: Any = None,
    *,
    shape: Shape = Shape(),
    train: Training | None = Training.adam(33_150, 1e-3),
    task_train: Training | None = Training.adam(19_890, 1e-3),
    batch: float = 128,
    task: str | None = None,
    frozen: bool = False,
    before_norm: bool = False,
    mask_time: float | None = 0.0,
    limit: int | None = None,
    seed: int = 0,
) -> Any:
    """Replace the stack by one or two mimic layers, or by none, and train them in two steps.

    First (`train`) they match the states of the stack: two layers those behind layer `shape.at` (the last of its first
    block of similar layers, found in the data if not given) and the last; one layer the last only. Then, where the
    model has a head for a task of this data, mimic and head learn the task (`task_train`); `frozen` leaves that to the
    head alone. Each is left out by None (null in YAML); without `train` it is the paper's baseline without a teacher.
    With `shape.layers=0` the head alone stays, behind the projection: there is nothing to match, so it learns the task.
    Front end and projection stay as they are. The positional convolution goes with the stack, as published; with
    `shape.positional` it stays in front of the mimic and learns on with it, which lets a mimic hear a frame's
    neighbours, or, with an odd number, a filter over so many frames takes its place. Adam at a constant rate, in
    batches of so many utterances; the best weights on the dev split, judged 20 times if `validate_every` does not say
    how often. Attention of a transformer mimic runs over time; `shape.paper_attention` lets it run over the utterances
    of a batch, as the published code does. Where layers begin with a norm, states are matched behind the norm that
    reads them, which is far easier; `before_norm` matches them before it, as published. In the second step no frames
    are masked, unless `mask_time` gives a share, or is none: then it is the configuration's. States that are needed
    often are kept on the disk while it learns, as float16.

    Example:
        >>> wide = {"kind": "transformer", "width": 768, "positional": True}
        >>> small = mimic(tuned, data, shape=wide, train={"steps": 2000}, task_train={"steps": 1000})
    """
    check_mimic(model, shape.layers, shape.at)
    check_dropout(None, mask_time)
    train = train if shape.layers else None
    if not data and (train or task_train):
        raise SottovoceError("mimic needs data: speech to match states on, with answers where the head has a task.")
    chosen = own_task(model, data or (), task) if task_train or task else None
    if not 0 < batch < float("inf"):
        raise SottovoceError(f"batch={batch}, but at least 1 utterance is wanted.")
    if chosen is not None and task_train:
        check_task(chosen, model, data, limit, seed)
    student = with_mimic(model, shape, seed)
    if train:
        at = boundary_of(model, data, limit=640, seed=seed) if shape.layers == 2 and shape.at is None else shape.at
        first = train.planned(seed=seed, validations=20)
        teach(student, model, data, at=at, settings=first, size=batch, limit=limit, before_norm=before_norm)
    if chosen is None or not task_train:
        return student.eval()
    second = task_train.planned(seed=seed, validations=20)
    parts = ["front_end", "projection", *(["layers"] if frozen else [])]
    rest: dict[str, Any] = {"freeze": parts, "limit": limit, "mask_time": mask_time}
    return finetune_model(chosen, student, data, settings=second, size=batch, **rest)


def check_task(task: Task, model: Any, data: Any, limit: int | None, seed: int) -> None:
    """Refuse before the first step what the second one would refuse behind it."""
    splits = material(task, data, limit=limit, seed=seed)
    require(task, splits, "train")
    labels = labels_to_learn(task, model, splits["train"].answers)
    check_answers(task, splits, labels, "dev")
    if labels != head_labels(model):
        strange = sorted(set(labels) - set(head_labels(model)))
        why = f"does not know {strange[0]!r} of the train split" if strange else "has its blank elsewhere than first"
        raise SottovoceError(
            f"the head of this model {why}, so it could not go on; give the data that it was fine-tuned on for "
            f"{task.name}, or fine-tune it here first."
        )


def with_mimic(model: Any, shape: Shape, seed: int) -> Any:
    """A copy of a model with untrained mimic layers, whose first weights the seed decides."""
    student = copy.deepcopy(model)
    over: Any = "batch" if shape.paper_attention else "time"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        use_mimic(
            student, layers=shape.layers, kind=shape.kind, width=shape.width, over=over, positional=shape.positional
        )
    return student
