"""What a task loses when one layer goes."""

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import work_folder, working_in
from sottovoce.measurement import Measurement, select
from sottovoce.measures.tasks import TASK_MEASURES, Lessons
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_layers
from sottovoce.progress import track
from sottovoce.registry import register_measure
from sottovoce.tasks import TASKS
from sottovoce.tasks.finetune import can_score
from sottovoce.views import Cut, Lines, Rows, Shown


def least_missed(rows: Rows) -> Iterator[Cut]:
    """The layer that a task misses least."""
    for metric in dict.fromkeys(row.metric for row in rows):
        found = [row for row in select(rows, metric) if row.where]
        whole = next((row for row in select(rows, metric) if not row.where), None)
        if found and whole is not None:
            sign = 1 if whole.better == "higher" else -1
            best = max(found, key=lambda row: sign * row.value)
            layer, told = best.at("layer"), metric.replace("_", " ")
            reason = f"Without layer {layer}, {told} is {best.value:.3f}; with all layers {whole.value:.3f}."
            yield Cut(f"drop_layers:drop=[{layer}]", reason)


@register_measure(
    shown=Shown("Ablation", (Lines("layer", x_label="layer left out", y="score"),), recommends=least_missed, place=50)
)
def ablation(
    model: Any,
    data: Any = None,
    *,
    task: str = "keywords",
    train: Lessons = Lessons(steps=300),
    limit: int | None = 500,
    seed: int = 0,
) -> list[Measurement]:
    """The main score of a task without each layer in turn, and of the whole model.

    By the model's own head, if it has one for the task; else by a probe of its last state, learnt anew each time.
    Layers count from 0.

    Example:
        >>> ablation(tuned, data, task="keywords", train={"steps": 20})[1].where
        {'layer': 0}
    """
    if task not in TASK_MEASURES:
        raise unknown("task", task, TASK_MEASURES)
    layers = len(Anatomy(model).order)
    if layers < 2:
        raise SottovoceError(f"this encoder has {layers} layer, so none can go; give a model with at least two.")
    rows = []
    for gone in track([None, *range(layers)], "leaving out layers", layers + 1):
        cut = copy.deepcopy(model)
        if gone is not None:
            keep_layers(cut, [layer for layer in range(layers) if layer != gone])
        place = work_folder()
        # Each in a folder of its own: probes of different models are different trainings.
        with working_in(place / f"without-{gone}") if place is not None else nullcontext():
            rows.append(score(cut, data, task, train, limit=limit, seed=seed))
    where = [{}, *({"layer": layer} for layer in range(layers))]
    return [
        Measurement("ablation", f"{task} {row.metric}", row.value, row.unit, row.better, place, row.n, row.error)
        for row, place in zip(rows, where, strict=True)
    ]


def score(model: Any, data: Any, task: str, train: Lessons, *, limit: int | None, seed: int) -> Measurement:
    """The main score: the first one that a task's measure tells."""
    run: Any = TASK_MEASURES[task]
    if can_score(TASKS[task], model, data):
        return run(model, data, mode="head", limit=limit, seed=seed)[0]
    last = len(Anatomy(model).order)
    return run(model, data, mode="probe", layer=last, train=train, limit=limit, seed=seed)[0]
