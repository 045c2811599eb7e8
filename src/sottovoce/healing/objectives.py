"""What a model was trained for, and so what it goes on with after a cut: a task, its units, or what it was.

The papers go on with the loss of pretraining, whose targets are clusters of a model that is seldom at hand. Where a
head over units lies beside the model, the unit of a frame is here what that head names when the model hears everything,
before any cut. Where there is neither, the model follows the states that it had before the cut.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from sottovoce.data.batches import Source, data_stamp, decoded
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.distillation.maps import Learned, same_units
from sottovoce.distillation.objective import Distiller, without_masks
from sottovoce.distillation.plan import Distillation, Match, Student, matched, usual_layers
from sottovoce.distillation.source import speech_of_both
from sottovoce.distillation.student import find_teacher
from sottovoce.errors import SottovoceError
from sottovoce.files import place_for
from sottovoce.models.encoder import Encoder, fingerprint
from sottovoce.models.heads import head_labels
from sottovoce.pretraining.objective import Masked
from sottovoce.pretraining.plan import Round
from sottovoce.pretraining.run import train_and_dev
from sottovoce.pretraining.targets import units_source
from sottovoce.pretraining.unit_head import UnitHead, keep_unit_head, named_units, unit_head_of
from sottovoce.tasks import TASKS, find_task
from sottovoce.tasks.batch import Questions
from sottovoce.tasks.finetune import Headed, can_score, in_memory
from sottovoce.tasks.probe import check_answers
from sottovoce.tasks.task import Material, Task, material, require


class Objective(Protocol):
    """What a model is trained for, with the speech for it. A new kind is a new class of this form.

    Example:
        >>> with objective_of(tuned, data) as objective:
        ...     objective.name
        'keywords'
    """

    @property
    def name(self) -> str:
        """What it is called in messages and checkpoints."""
        ...

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """The speech to train on."""
        ...

    @property
    def about(self) -> list[Any]:
        """What decides the outcome of a training beside the model, the batches and the settings."""
        ...

    def module(self, model: Any) -> nn.Module:
        """The module whose loss the model is trained with: of a batch the sum, and over how many."""
        ...

    def source(self, model: Any, *, seed: int, limit: int | None = None) -> Source:
        """Batches for it, in an order of chance; `limit` takes so many utterances."""
        ...

    def training(self, model: Any) -> AbstractContextManager[None]:
        """How the model must be switched while it is trained."""
        ...

    def keep(self, model: Any, module: nn.Module) -> None:
        """Keep with the model what the module learned beside it."""
        ...


@dataclass(frozen=True)
class TaskObjective:
    """The task of the model's own head; `batch` utterances at a time."""

    task: Task
    material: Material
    batch: float = 16

    @property
    def name(self) -> str:
        """The task's."""
        return self.task.name

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """The speech to train on."""
        return self.material.utterances

    @property
    def about(self) -> list[Any]:
        """The task and the batch: the answers come with the utterances."""
        return [self.name, data_stamp(self.utterances), self.batch]

    def module(self, model: Any) -> nn.Module:
        """The model, its head asked the task's questions."""
        return Headed(self.task, model)

    def source(self, model: Any, *, seed: int, limit: int | None = None) -> Source:
        """Batches of utterances with their answers."""
        chosen = some(len(self.utterances), limit, seed)
        part = Material(
            tuple(self.utterances[index] for index in chosen), tuple(self.material.answers[index] for index in chosen)
        )
        return Questions(self.task, part, Encoder(model, outputs=True), head_labels(model), self.batch, seed)

    def training(self, model: Any) -> AbstractContextManager[None]:
        """As it is."""
        return nullcontext()

    def keep(self, model: Any, module: nn.Module) -> None:
        """The head is a part of the model."""


@dataclass(frozen=True)
class UnitObjective:
    """Masked prediction of the units that the model named before any cut, with the head that is kept beside it."""

    utterances: tuple[Utterance, ...]
    units: Shelf
    clusters: UnitHead
    batch_seconds: float
    named_by: str  # the fingerprint of the model that named the units: two may differ in nothing but what is cut away
    name: str = "units"

    @property
    def about(self) -> list[Any]:
        """The speech, the batches and the model that named the units."""
        return [self.name, data_stamp(self.utterances), self.batch_seconds, self.named_by]

    def module(self, model: Any) -> nn.Module:
        """The model, and the head as it is now: it goes on learning, while the units stay what they are."""
        found = unit_head_of(model) or self.clusters
        module = Masked(model, self.clusters.count, **asdict(self.clusters.asked))
        module.head.load_state_dict(found.head().state_dict())
        return module.to(next(model.parameters()).device)

    def source(self, model: Any, *, seed: int, limit: int | None = None) -> Source:
        """Batches of utterances with the units of their frames."""
        utterances = tuple(self.utterances[index] for index in some(len(self.utterances), limit, seed))
        plan = Round(batch_seconds=self.batch_seconds)
        return units_source(Encoder(model), utterances, self.units, plan, seed=seed)

    def training(self, model: Any) -> AbstractContextManager[None]:
        """As it is."""
        return nullcontext()

    def keep(self, model: Any, module: nn.Module) -> None:
        """Keep the head over units beside the model."""
        assert isinstance(module, Masked)
        keep_unit_head(model, module.head, self.clusters)


@dataclass(frozen=True)
class StateObjective:
    """The hidden states that the model had before any cut."""

    utterances: tuple[Utterance, ...]
    teacher: Any
    batch_seconds: float
    known: str  # the teacher's fingerprint
    match: Match = Match()
    learned: Learned | None = None  # the maps between the states, if they learn
    name: str = "states"

    @property
    def about(self) -> list[Any]:
        """The speech, the batches, the teacher, and what is matched how."""
        how = [asdict(self.match), self.learned is not None]
        return [self.name, data_stamp(self.utterances), self.batch_seconds, self.known, *how]

    @property
    def following(self) -> Distillation:
        """How states follow a teacher's."""
        return following(self.teacher, self.match, batch_seconds=self.batch_seconds)

    def module(self, model: Any) -> nn.Module:
        """The model beside its teacher."""
        pairs = matched(self.following, Encoder(model).depth - 1, Encoder(self.teacher).depth - 1)
        follower = Distiller(model, self.teacher, self.following, pairs, Encoder(self.teacher).width)
        if self.learned is None:  # states are to be what they were, and not what a Linear makes of them
            same_units(follower.maps.requires_grad_(False), model, self.teacher)
        else:
            self.learned.give(model, follower.maps)
        return follower

    def source(self, model: Any, *, seed: int, limit: int | None = None) -> Source:
        """Batches for both models."""
        utterances = tuple(self.utterances[index] for index in some(len(self.utterances), limit, seed))
        return speech_of_both(Encoder(model), Encoder(self.teacher), utterances, self.following, seed=seed)

    def training(self, model: Any) -> AbstractContextManager[None]:
        """Without masks, and no layer is skipped; dropout stays, as in distillation."""
        return without_masks(model)

    def keep(self, model: Any, module: nn.Module) -> None:
        """Of what was learned beside the model, the maps, for a training that follows."""
        if self.learned is not None and isinstance(module, Distiller):
            self.learned.take(model, module.maps)


def following(teacher: Any, match: Match, **more: Any) -> Distillation:
    """How the states of a model that loses units and layers follow those of its teacher: the same ones all the time.

    Example:
        >>> following(teacher, Match()).match.layers
        (0, 4, 8, 12)
    """
    depth = Encoder(teacher).depth - 1
    layers = tuple(usual_layers("hidden", depth, depth)) if match.layers is None else match.layers
    # With a number of layers, which nobody takes off here, the plan knows that the two are not one model.
    return Distillation("hidden", student=Student(depth), match=replace(match, layers=layers), **more)


def some(count: int, limit: int | None, seed: int) -> list[int]:
    """All of so many numbers, or as many as the limit says, drawn by the seed.

    Example:
        >>> some(3, None, 0)
        [0, 1, 2]
    """
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(np.random.default_rng(seed).choice(count, limit, replace=False).tolist())


@contextmanager
def objective_of(
    model: Any, data: Sequence[Utterance] | None, *, task: str | None = None, size: float = 16, looks: bool = False
) -> Iterator[Objective]:
    """What a model as it is now was trained for: the task of its head, if it has one for this data; else its units.

    Else to have the states that it has now, unless somebody `looks` at the loss, which is 0 then.

    Audio (and units) lie in the folder of the run that is under way, or in one that vanishes.

    Example:
        >>> with objective_of(tuned, data) as objective:
        ...     tuned = heal(tuned, objective, Training(steps=100))
    """
    chosen = own_task(model, asked(data), task)
    with place_for("healing") as folder:
        if chosen is not None:
            yield task_objective(model, chosen, asked(data), size, folder)
        elif (clusters := unit_head_of(model)) is not None:
            yield unit_objective(model, clusters, asked(data), size, folder)
        elif looks:
            raise SottovoceError(
                "this model has neither a head for a task of this data nor one over units beside it, so there is no "
                "loss to look at; fine-tune it first, pretrain it with `sottovoce pretrain`, or score by weights (l1)."
            )
        else:
            yield state_objective(model, asked(data), size, folder)


def asked(data: Sequence[Utterance] | None) -> Sequence[Utterance]:
    """The data, of which there must be some."""
    if not data:
        raise SottovoceError(
            "training on, or looking at what the loss would be, needs data: speech, with answers where the model has a "
            "task; give --data."
        )
    return data


def task_objective(model: Any, task: Task, data: Sequence[Utterance], size: float, folder: Path) -> TaskObjective:
    """The task of the model's head, on the train split."""
    splits = material(task, data)
    require(task, splits, "train")
    check_answers(task, splits, head_labels(model), "train")
    return TaskObjective(task, in_memory(splits["train"], folder / "audio"), size)


def unit_objective(
    model: Any, clusters: UnitHead, data: Sequence[Utterance], size: float, folder: Path
) -> UnitObjective:
    """The units that the model names now."""
    learnt, seconds, known = speech_for(model, data, size, folder)
    units = named_units(model, learnt, clusters, folder / "units")
    return UnitObjective(learnt, units, clusters, seconds, known)


def state_objective(model: Any, data: Sequence[Utterance], size: float, folder: Path, **more: Any) -> StateObjective:
    """The states that the model has now."""
    teacher = find_teacher(model, None)
    learnt, seconds, known = speech_for(model, data, size, folder)
    return StateObjective(learnt, teacher, seconds, known, **more)


def speech_for(
    model: Any, data: Sequence[Utterance], size: float, folder: Path
) -> tuple[tuple[Utterance, ...], float, str]:
    """All speech that is in no test or dev split, the seconds of a batch, and the model's fingerprint."""
    if next(model.parameters()).dtype != torch.float32:
        raise SottovoceError(
            "this model's weights are in half precision, and it would go on training in them; load it with "
            "dtype=torch.float32."
        )
    learnt = tuple(decoded(train_and_dev(data)[0], folder / "audio"))
    seconds = size * sum(utterance.seconds for utterance in learnt) / len(learnt)
    return learnt, seconds, fingerprint(Encoder(model))


def check_task(name: str | None) -> None:
    """Refuse a name that is no task's.

    Example:
        >>> check_task("keywords")
    """
    if name is not None:
        find_task(name)


def own_task(model: Any, data: Sequence[Utterance], name: str | None) -> Task | None:
    """The task of a model's own head; None where it has none for this data."""
    check_task(name)
    some = [TASKS[name]] if name is not None else list(TASKS.values())
    found = next((task for task in some if can_score(task, model, data)), None)
    if found is None and name is not None:
        raise SottovoceError(f"this model has no head for {name} that fits this data; fine-tune it first.")
    return found
