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
from sottovoce.tasks.finetune import finetune_model
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
    """Replace the stack, positional convolution included, by one or two mimic layers, and train them in two steps.

    First they match the states of the stack: two layers those behind layer `at` (the last of its first block of similar
    layers, found in the data if not given) and the last; one layer the last only. Then, where the model has a head for
    a task of this data, mimic and head learn the task; `frozen` leaves that to the head alone. Front end and projection
    stay as they are. Without `teacher` the first step is left out: the paper's baseline. `steps=0` or `task_steps=0`
    leave out one of the two. Adam at a constant rate, in batches of so many utterances; the best weights on the dev
    split. Attention of a transformer mimic runs over time; `paper_attention` lets it run over the utterances of a
    batch, as the published code does. Where layers begin with a norm, states are matched behind the norm that reads
    them, which is far easier; `before_norm` matches them before it, as published.

    Example:
        >>> small = mimic(tuned, data, layers=1, width=768, steps=2000, task_steps=1000)
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
    student = with_mimic(model, layers, kind, width, "batch" if paper_attention else "time", seed)
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
    labels = task.kind.labels(splits["train"].answers)
    check_answers(task, splits, labels, "dev")
    if tuple(labels) != tuple(head_labels(model)):
        raise SottovoceError(
            f"the head of this model knows {len(head_labels(model))} labels of {task.name}, and the train split has "
            f"{len(labels)}, not just the same; give the data that it was fine-tuned on, or a higher limit."
        )


def with_mimic(model: Any, layers: int, kind: Any, width: int, over: Any, seed: int) -> Any:
    """A copy of a model with untrained mimic layers, whose first weights the seed decides."""
    student = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        use_mimic(student, layers=layers, kind=kind, width=width, over=over)
    return student
