"""Small layers in the place of the whole stack, which learn to say what it said (arXiv 2409.16302, section 2.3)."""

import copy
from typing import Any, Literal

import torch

from sottovoce.errors import SottovoceError
from sottovoce.healing import own_task
from sottovoce.models.edits import use_mimic
from sottovoce.models.heads import head_labels
from sottovoce.registry import method
from sottovoce.studies.mimicking import boundary_of, check_mimic, teach
from sottovoce.tasks.finetune import finetune_model, labels_to_learn
from sottovoce.tasks.probe import check_answers
from sottovoce.tasks.task import Task, material, require
from sottovoce.training import Training


@method(paper="arXiv 2409.16302")
def mimic(
    model: Any,
    data: Any = None,
    *,
    layers: int = 1,
    kind: Literal["linear", "transformer"] = "linear",
    width: int = 768,
    at: int | None = None,
    positional: bool = False,
    teacher: bool = True,
    steps: int = 33_150,
    task_steps: int = 19_890,
    lr: float = 1e-3,
    batch: float = 128,
    task: str | None = None,
    frozen: bool = False,
    paper_attention: bool = False,
    before_norm: bool = False,
    validate_every: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Any:
    """Replace the stack by one or two mimic layers, and train them in two steps.

    First they match the states of the stack: two layers those behind layer `at` (the last of its first block of similar
    layers, found in the data if not given) and the last; one layer the last only. Then, where the model has a head for
    a task of this data, mimic and head learn the task; `frozen` leaves that to the head alone. Front end and projection
    stay as they are. The positional convolution goes with the stack, as published; with `positional` it stays in front
    of the mimic and learns on with it, which lets a mimic hear a frame's neighbours. Without `teacher` the first step
    is left out: the paper's baseline. `steps=0` or `task_steps=0` leave out one of the two. Adam at a constant rate, in
    batches of so many utterances; the best weights on the dev split. Attention of a transformer mimic runs over time;
    `paper_attention` lets it run over the utterances of a batch, as the published code does. Where layers begin with a
    norm, states are matched behind the norm that reads them, which is far easier; `before_norm` matches them before it,
    as published. States that are needed often are kept on the disk while it learns, as float16.

    Example:
        >>> small = mimic(tuned, data, kind="transformer", width=768, positional=True, steps=2000, task_steps=1000)
    """
    check_mimic(model, layers, at, steps if teacher else 0, task_steps)
    if not data and max(steps if teacher else 0, task_steps):
        raise SottovoceError("mimic needs data: speech to match states on, with answers where the head has a task.")
    chosen = own_task(model, data or (), task) if task_steps or task else None
    every = [validate_every if validate_every is not None else max(1, count // 20) for count in (steps, task_steps)]
    first, second = (
        Training.adam(max(1, count), lr, validate_every=often, seed=seed)
        for count, often in zip((steps, task_steps), every, strict=True)
    )
    if not 0 < batch < float("inf"):
        raise SottovoceError(f"batch={batch}, but at least 1 utterance is wanted.")
    if chosen is not None and task_steps:
        check_task(chosen, model, data, limit, seed)
    over: Any = "batch" if paper_attention else "time"
    student = with_mimic(model, seed, layers=layers, kind=kind, width=width, over=over, positional=positional)
    if teacher and steps:
        at = boundary_of(model, data, limit=640, seed=seed) if layers == 2 and at is None else at
        teach(student, model, data, at=at, settings=first, size=batch, limit=limit, before_norm=before_norm)
    if chosen is None or not task_steps:
        return student.eval()
    parts = ["front_end", "projection", *(["layers"] if frozen else [])]
    return finetune_model(chosen, student, data, settings=second, size=batch, freeze=parts, limit=limit)


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


def with_mimic(model: Any, seed: int, **options: Any) -> Any:
    """A copy of a model with untrained mimic layers, whose first weights the seed decides."""
    student = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        use_mimic(student, **options)
    return student
