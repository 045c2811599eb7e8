"""Training a model on for its objective."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from sottovoce.files import work_folder, working_in
from sottovoce.healing.objectives import Objective
from sottovoce.models.padding import exact_padding
from sottovoce.tasks.finetune import frozen_parts
from sottovoce.training import Training, train


def heal(
    model: Any, objective: Objective, settings: Training, *, freeze: Sequence[str] = ("front_end",), name: str = "heal"
) -> Any:
    """The same model, trained on for its objective for so many updates; its checkpoints have a folder by this name.

    Example:
        >>> heal(tuned, objective, Training(steps=100, lr=1e-5))
    """
    with ready_to_learn(model, objective, freeze, name=name):
        # What takes no gradients in the model as it was given stays so.
        module = objective.module(model)
        source = objective.source(model, seed=settings.seed)
        train(module, source, settings, about=objective.about, name="heal")
    objective.keep(model, module)
    return model.eval()


@contextmanager
def ready_to_learn(model: Any, objective: Objective, freeze: Sequence[str], *, name: str) -> Iterator[None]:
    """A model as it is trained for an objective, with checkpoints in a folder by this name.

    Example:
        >>> with ready_to_learn(model, objective, ["front_end"], name="gates"):
        ...     train(objective.module(model), objective.source(model, seed=0), Training(steps=100))
    """
    place = work_folder()
    with (
        working_in(place / name) if place is not None else nullcontext(),
        exact_padding(model),
        frozen_parts(model, freeze),
        objective.training(model),
    ):
        yield


def heal_logged(model: Any, objective: Objective, settings: Training, name: str) -> list[float]:
    """Train a model on in place, and tell the loss of every update; there must be a folder of a run under way.

    Example:
        >>> with working_in("work"), objective_of(tuned, data) as objective:
        ...     losses = heal_logged(tuned, objective, Training(steps=100, lr=1e-5), "round-1")
    """
    place = work_folder()
    assert place is not None
    heal(model, objective, replace(settings, log_every=1), name=name)
    lines = (place / name / "heal" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]
