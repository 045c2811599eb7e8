"""Objectives by the name of their loss, where a user says which: a task, units, a teacher's states, or two at once."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final

import torch
from torch import nn

from sottovoce.data.batches import Source
from sottovoce.data.utterance import Utterance
from sottovoce.distillation import losses
from sottovoce.distillation.maps import Learned, map_places, start_map
from sottovoce.distillation.objective import as_read, layer_states, without_masks
from sottovoce.distillation.plan import Match, Pair, matched
from sottovoce.distillation.student import find_teacher
from sottovoce.errors import SottovoceError
from sottovoce.files import place_for
from sottovoce.healing.objectives import (
    Objective,
    TaskObjective,
    asked,
    following,
    objective_of,
    own_task,
    state_objective,
    task_objective,
    unit_objective,
)
from sottovoce.models.encoder import Encoder, fingerprint, frame_mask
from sottovoce.models.padding import set_exact_padding
from sottovoce.models.record import watching
from sottovoce.pretraining.unit_head import unit_head_of
from sottovoce.tasks.batch import Batch
from sottovoce.tasks.finetune import Headed

Loss = Literal["own", "task", "units", "distill", "both"]
AS_DPHUBERT = Match(maps="shared")


@contextmanager
def objective_for(
    model: Any,
    data: Sequence[Utterance] | None,
    loss: Loss,
    *,
    task: str | None = None,
    size: float = 16,
    match: Match = AS_DPHUBERT,
) -> Iterator[Objective]:
    """What a model is to learn: its `own` objective, or the one of this name, with the model as it is for a teacher.

    Example:
        >>> with objective_for(tuned, data, "both", task="keywords") as objective:
        ...     tuned = heal(tuned, objective, Training(steps=100))
    """
    if loss == "own":
        with objective_of(model, data, task=task, size=size) as objective:
            yield objective
        return
    chosen, clusters = None, None
    if loss in ("task", "both"):
        chosen = own_task(model, asked(data), task)
        if chosen is None:
            raise SottovoceError(f"loss={loss} needs a model with a head for a task of this data; fine-tune it first.")
    elif loss == "units" and (clusters := unit_head_of(model)) is None:
        raise SottovoceError(
            "loss=units needs a model with a head over units beside it, as `sottovoce pretrain` leaves it; take "
            "loss=distill for a model without one."
        )
    with place_for("healing") as folder:
        if clusters is not None:
            yield unit_objective(model, clusters, asked(data), size, folder)
        elif chosen is None:
            yield state_objective(model, asked(data), size, folder, match=match, learned=Learned())
        else:
            tasked = task_objective(model, chosen, asked(data), size, folder)
            yield tasked if loss == "task" else both(model, tasked, match)


def both(model: Any, task: TaskObjective, match: Match) -> "BothObjective":
    """The model's task, and its states as they are now."""
    teacher = find_teacher(model, None)
    set_exact_padding(teacher)  # it hears the model's batches, and the model is switched while it learns
    return BothObjective(task, teacher, fingerprint(Encoder(model)), match)


@dataclass(frozen=True)
class BothObjective:
    """The task of the model's head and the states that it had, each with the weight 1, in one pass of the model."""

    task: TaskObjective
    teacher: Any
    known: str  # the teacher's fingerprint
    match: Match
    learned: Learned = field(default_factory=Learned)

    @property
    def name(self) -> str:
        """The task's."""
        return f"{self.task.name} and states"

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """The speech to train on."""
        return self.task.utterances

    @property
    def about(self) -> list[Any]:
        """The task, the teacher and what is matched."""
        return [*self.task.about, self.known, asdict(self.match)]

    def module(self, model: Any) -> nn.Module:
        """The model with its head, beside its teacher."""
        pairs = matched(following(self.teacher, self.match), Encoder(model).depth - 1, Encoder(self.teacher).depth - 1)
        made = TaskAndStates(Headed(self.task.task, model), self.teacher, pairs, self.match)
        self.learned.give(model, made.maps)
        return made

    def source(self, model: Any, *, seed: int, limit: int | None = None) -> Source:
        """Batches of utterances with their answers: the teacher hears what the model hears."""
        return self.task.source(model, seed=seed, limit=limit)

    def training(self, model: Any) -> AbstractContextManager[None]:
        """Without masks: the states are of what the teacher hears."""
        return without_masks(model)

    def keep(self, model: Any, module: nn.Module) -> None:
        """Keep the maps for a training that follows."""
        if isinstance(module, TaskAndStates):
            self.learned.take(model, module.maps)


@final
class TaskAndStates(nn.Module):
    """A task's loss, and how far the states of the same pass are from a teacher's.

    Example:
        >>> loss, weight = TaskAndStates(Headed(task, model), teacher, pairs, Match())(batch)
    """

    def __init__(self, headed: Headed, teacher: Any, pairs: Sequence[Pair], match: Match) -> None:
        super().__init__()
        self.headed, self.teacher, self.pairs = headed, teacher, tuple(pairs)
        student, known = Encoder(headed.model), Encoder(teacher)
        self._keep = {"student": student, "teacher": known}  # in a dictionary: a view is no part of the module
        self.places = map_places(pairs, match)
        self.maps = nn.ModuleList(start_map(student.width, known.width) for _ in range(max(self.places) + 1))

    def train(self, mode: bool = True) -> "TaskAndStates":
        """As usual, but the teacher stays as it is."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Both losses, over the weight of the task's."""
        student = self._keep["student"]
        assert student.body is not None
        seen: list[torch.Tensor] = []
        handle = student.body.base.register_forward_hook(lambda module, args, result: seen.append(result[0]))
        try:
            with watching(student.body) as (hidden, _):
                loss, weight = self.headed(batch)
        finally:
            handle.remove()
        found = as_read(student, hidden, seen[0])
        with torch.no_grad():
            wanted = layer_states(self._keep["teacher"], batch.inputs)
        frames = batch.frames.clamp(max=found[0].shape[1])
        inside = frame_mask(frames, found[0].shape[1])
        apart = [
            losses.hidden(self.maps[place](found[pair.student])[inside].float(), wanted[pair.teacher][inside].float())
            for place, pair in zip(self.places, self.pairs, strict=True)
        ]
        return loss + torch.stack(apart).mean() / inside.sum() * weight, weight
