"""What a model was trained for, and so what it goes on with after a cut: a task, its units, or what it was.

The papers go on with the loss of pretraining, whose targets are clusters of a model that is seldom at hand. Where a
head over units lies beside the model, the unit of a frame is here what that head names when the model hears everything,
before any cut. Where there is neither, the model follows the states that it had before the cut.
"""

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from sottovoce.data.batches import Source, data_stamp, decoded
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.distillation.objective import Distiller, plainly
from sottovoce.distillation.plan import Distillation, matched
from sottovoce.distillation.source import speech_of_both
from sottovoce.distillation.student import refuse_other_inputs
from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import work_folder, working_in
from sottovoce.healing.units import named
from sottovoce.models.encoder import Encoder
from sottovoce.models.heads import head_labels
from sottovoce.models.padding import exact_padding
from sottovoce.pretraining.beside import Clusters, clusters_of, keep_beside
from sottovoce.pretraining.objective import MaskedUnits
from sottovoce.pretraining.run import recordings, units_source
from sottovoce.tasks import TASKS
from sottovoce.tasks.batch import Questions
from sottovoce.tasks.finetune import Headed, in_memory, only, speaks_for
from sottovoce.tasks.probe import a_folder, check_answers, fingerprint
from sottovoce.tasks.task import Material, Task, material, require
from sottovoce.training import Training, train


@dataclass(frozen=True)
class Purpose:
    """What a model is trained for, and the speech for it: a task, `clusters` to name, or a `teacher` to follow.

    Example:
        >>> with purpose_of(tuned, data) as purpose:
        ...     purpose.name
        'keywords'
    """

    name: str
    utterances: tuple[Utterance, ...]
    answers: tuple[Any, ...] = ()
    task: Task | None = None
    units: Shelf | None = None
    clusters: Clusters | None = None
    teacher: Any = None
    batch_seconds: float = 90.0
    known: str = ""
    size: float = 16

    def objective(self, model: Any) -> nn.Module:
        """The module whose loss the model is trained with: of a batch the sum, and over how many."""
        if self.task is not None:
            return Headed(self.task, model)
        if self.clusters is not None:
            # The head as it is now: it goes on learning from round to round, while the units stay what they are.
            found, asked = clusters_of(model) or self.clusters, self.clusters.asked
            module = MaskedUnits(model, asked.clusters, share=asked.share, span=asked.span, heard=asked.heard)
            module.head.load_state_dict(found.head().state_dict())
            return module.to(next(model.parameters()).device)
        pairs = matched(self.following, Encoder(model).depth - 1, Encoder(self.teacher).depth - 1)
        follower = Distiller(model, self.teacher, self.following, pairs, Encoder(self.teacher).width)
        follower.maps.requires_grad_(False)  # states are to be what they were, and not what a Linear makes of them
        return follower

    @property
    def following(self) -> Distillation:
        """How states follow a teacher's."""
        # With a number of layers, which nobody takes off here, the plan knows that the two are not one model.
        return Distillation("hidden", student=Encoder(self.teacher).depth, batch_seconds=self.batch_seconds)

    def source(self, model: Any, *, seed: int, limit: int | None = None) -> Source:
        """Batches for it, in an order of chance; `limit` takes so many utterances."""
        chosen = list(range(len(self.utterances)))
        if limit is not None and limit < len(chosen):
            chosen = sorted(np.random.default_rng(seed).choice(len(chosen), limit, replace=False).tolist())
        utterances = tuple(self.utterances[index] for index in chosen)
        if self.teacher is not None:
            return speech_of_both(Encoder(model), Encoder(self.teacher), utterances, self.following, seed=seed)
        if self.task is None:
            assert self.units is not None and self.clusters is not None
            plan = replace(self.clusters.asked, batch_seconds=self.batch_seconds)
            return units_source(Encoder(model), utterances, self.units, plan, seed=seed)
        answers = tuple(self.answers[index] for index in chosen)
        part = Material(utterances, answers)
        return Questions(self.task, part, Encoder(model, outputs=True), head_labels(model), self.size, seed)


@contextmanager
def purpose_of(
    model: Any, data: Sequence[Utterance] | None, *, task: str | None = None, size: float = 16, looks: bool = False
) -> Iterator[Purpose]:
    """What a model as it is now was trained for: the task of its head, if it has one for this data; else its units.

    Else to have the states that it has now, unless somebody `looks` at the loss, which is 0 then.

    Audio (and units) lie in the folder of the run that is under way, or in one that vanishes.

    Example:
        >>> with purpose_of(tuned, data) as purpose:
        ...     tuned = heal(tuned, purpose, Training(steps=100))
    """
    if not data:
        raise SottovoceError(
            "training on, or looking at what the loss would be, needs data: speech, with answers where the model has a "
            "task; give --data."
        )
    chosen = own_task(model, data, task)
    with a_folder("healing") as folder:
        if chosen is not None:
            splits = material(chosen, data)
            require(chosen, splits, "train")
            check_answers(chosen, splits, head_labels(model), "train")
            part = in_memory(splits["train"], folder / "audio")
            yield Purpose(chosen.name, part.utterances, part.answers, task=chosen, size=size)
            return
        clusters = clusters_of(model)
        if clusters is None and looks:
            raise SottovoceError(
                "this model has neither a head for a task of this data nor one over units beside it, so there is no "
                "loss to look at; fine-tune it first, pretrain it with `sottovoce pretrain`, or score by weights (l1)."
            )
        if next(model.parameters()).dtype != torch.float32:
            raise SottovoceError(
                "this model's weights are in half precision, and it would go on training in them; load it with "
                "dtype=torch.float32."
            )
        learnt = tuple(decoded(recordings(data)[0], folder / "audio"))
        seconds = size * sum(utterance.seconds for utterance in learnt) / len(learnt)
        # Which model named the units, or is followed: two may differ in nothing but what is cut away.
        common: dict[str, Any] = {"size": size, "batch_seconds": seconds, "known": fingerprint(Encoder(model))}
        if clusters is None:
            refuse_other_inputs(model)
            teacher = copy.deepcopy(model).requires_grad_(False).eval()
            yield Purpose("states", learnt, teacher=teacher, **common)
            return
        units = named(model, learnt, clusters.head(), folder / "units")
        yield Purpose("units", learnt, units=units, clusters=clusters, **common)


def own_task(model: Any, data: Sequence[Utterance], name: str | None) -> Task | None:
    """The task of a model's own head; None where it has none for this data."""
    if name is not None and name not in TASKS:
        raise unknown("task", name, TASKS)
    some = [TASKS[name]] if name is not None else list(TASKS.values())
    found = next((task for task in some if speaks_for(task, model, data)), None)
    if found is None and name is not None:
        raise SottovoceError(f"this model has no head for {name} that fits this data; fine-tune it first.")
    return found


def heal(
    model: Any, purpose: Purpose, settings: Training, *, freeze: Sequence[str] = ("front_end",), name: str = "heal"
) -> Any:
    """The same model, trained on with its purpose for so many updates; its checkpoints have a folder by this name.

    Example:
        >>> heal(tuned, purpose, Training(steps=100, lr=1e-5))
    """
    place = work_folder()
    with (
        working_in(place / name) if place is not None else nullcontext(),
        exact_padding(model),
        only(model, freeze),
        nullcontext() if purpose.teacher is None else plainly(model),
    ):
        # What takes no gradients in the model as it was given stays so.
        objective = purpose.objective(model)
        about = [purpose.name, data_stamp(purpose.utterances), purpose.size, purpose.known]
        train(objective, purpose.source(model, seed=settings.seed), settings, about=about, name="heal")
    if isinstance(objective, MaskedUnits) and purpose.clusters is not None:
        keep_beside(model, objective.head, purpose.clusters)
    return model.eval()


def heal_logged(model: Any, purpose: Purpose, settings: Training, name: str) -> list[float]:
    """Train a model on in place, and tell the loss of every update; there must be a folder of a run under way.

    Example:
        >>> with working_in("work"), purpose_of(tuned, data) as purpose:
        ...     losses = heal_logged(tuned, purpose, Training(steps=100, lr=1e-5), "round-1")
    """
    place = work_folder()
    assert place is not None
    heal(model, purpose, replace(settings, log_every=1), name=name)
    lines = (place / name / "heal" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]
