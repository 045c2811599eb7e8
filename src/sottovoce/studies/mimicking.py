"""The first step of a mimic: to say what the stack said, frame by frame."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import nn

from sottovoce.data.batches import data_stamp
from sottovoce.data.utterance import Utterance
from sottovoce.distillation.objective import layer_states
from sottovoce.distillation.source import worth_keeping
from sottovoce.errors import SottovoceError
from sottovoce.files import place_for
from sottovoce.hearing import shelved
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, Inputs, fingerprint, frame_mask
from sottovoce.models.padding import exact_padding
from sottovoce.models.record import states
from sottovoce.pretraining.run import train_and_dev
from sottovoce.studies.similarity import first_block, likeness
from sottovoce.studies.speech import not_tested
from sottovoce.tasks.batch import Batch, Questions
from sottovoce.tasks.finetune import frozen_parts, in_memory
from sottovoce.tasks.task import Material
from sottovoce.training import Training, train
from sottovoce.training.validation import totals

JUDGED = 1024  # recordings of the dev split, as in the paper's code


@dataclass(frozen=True)
class Shape:
    """What stands in the place of the stack.

    Args:
        layers: one, two, or none: then the head reads the projection.
        at: the layer up to which the first of two mimic layers stands; the last of the first block of similar layers,
            found in the data, if not given.
        positional: true keeps the positional convolution in front; an odd number puts a filter over so many frames of
            each unit alone there, at a small part of its work.
        paper_attention: attention over the utterances of a batch, not over time.

    Example:
        >>> Shape(kind="transformer", width=192).layers
        1
    """

    layers: int = 1
    at: int | None = None
    kind: Literal["linear", "transformer"] = "linear"
    width: int = 768
    positional: bool | int = False
    paper_attention: bool = False


@final
class Mimicking(nn.Module):
    """Mimic layers beside the stack that they learn from; both hear what one projection makes of the audio.

    A batch holds audio, or under the name `states` what `stack_states` made of it before.

    Example:
        >>> loss, frames = Mimicking(student, teacher, [8, 12])(batch)
    """

    def __init__(self, student: Any, teacher: Any, targets: Sequence[int], *, before_norm: bool = False) -> None:
        super().__init__()
        self.student = student
        self.targets = tuple(targets)
        self.before_norm = before_norm
        # In a dictionary: the teacher is no part of what is trained, or moved, or kept.
        self._keep: dict[str, Any] = {"teacher": teacher}

    def stack_states(self, inputs: Inputs) -> list[torch.Tensor]:
        """What the projection gives the stack, and then the states to match."""
        teacher: Any = self._keep["teacher"].eval()
        view = Encoder(teacher)
        placed: dict[str, Any] = view.placed(inputs)
        entered: list[torch.Tensor] = []
        base = Anatomy(teacher).base
        handle = base.feature_projection.register_forward_hook(lambda module, args, result: entered.append(result))
        try:
            with torch.no_grad(), exact_padding(teacher):
                # Where layers begin with a norm, states are far larger than what anybody reads of them.
                hidden = states(base, **placed).hidden if self.before_norm else layer_states(view, inputs)
        finally:
            handle.remove()
        found = entered[0]
        projected = found[0] if isinstance(found, tuple) else found
        return [projected.detach(), *(hidden[target] for target in self.targets)]

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean squared errors over the width, of each mimic layer against its target, summed over frames."""
        kept = batch.inputs.get("states")
        if kept is None:
            self._keep["teacher"].to(batch.frames.device)
        projected, *wanted = self.stack_states(batch.inputs) if kept is None else kept.float().unbind(2)
        inside = frame_mask(batch.frames, projected.shape[1])
        loss = projected.new_zeros(())
        stack: Any = Anatomy(self.student).base.encoder
        for target, result in zip(wanted, stack.each(projected, inside), strict=True):
            loss = loss + (result - target).square().mean(-1)[inside].float().sum()
        return loss, inside.sum().float()


def check_mimic(model: Any, layers: int, at: int | None) -> None:
    """Refuse what cannot be mimicked, before any work."""
    body = Anatomy(model)
    depth = len(body.order)
    if body.mimics:
        raise SottovoceError("mimic layers stand in for this model's stack already; give the model they were made of.")
    if at is not None and (layers != 2 or not 1 <= at < depth):
        raise SottovoceError(
            f"shape.at={at} with shape.layers={layers}: the first of two mimic layers stands for the layers up to at, "
            f"which is 1-{depth - 1} here."
        )


def boundary_of(model: Any, data: Sequence[Utterance] | None, *, limit: int | None, seed: int) -> int:
    """How many layers the first block of similar layers has, by CKA of states flattened over time.

    Example:
        >>> boundary_of(model, data, limit=640, seed=0)
        8
    """
    stack_states = not_tested(data, what="the boundary of the first block")
    return first_block(likeness([model], stack_states, reading="flatten", embedding=False, limit=limit, seed=seed))


def teach(
    student: Any,
    teacher: Any,
    data: Sequence[Utterance] | None,
    *,
    at: int | None,
    settings: Training,
    size: float = 128,
    limit: int | None = None,
    before_norm: bool = False,
) -> None:
    """Train a student's mimic layers, in place, to say what the teacher's layers say; one layer the last state, two
    also that behind layer `at`.

    Example:
        >>> teach(student, teacher, data, at=8, settings=Training(steps=2000, lr=1e-3))
    """
    depth = len(Anatomy(teacher).order)
    targets = [depth] if at is None else [at, depth]
    learnt, judged = train_and_dev(data)
    rng = random.Random(settings.seed)
    learnt = rng.sample(learnt, limit) if limit is not None and limit < len(learnt) else learnt
    judged = rng.sample(judged, JUDGED) if len(judged) > JUDGED else judged
    view = Encoder(teacher)
    with place_for("mimic") as folder, frozen_parts(student, ["front_end", "projection", "head"]):
        parts = {
            name: in_memory(Material(tuple(rows), ()), folder / name)
            for name, rows in (("train", learnt), ("dev", judged))
            if rows
        }
        objective = Mimicking(student, teacher, targets, before_norm=before_norm)
        asked = [utterance for part in parts.values() for utterance in part.utterances]
        mean = sum(utterance.seconds for utterance in learnt) / len(learnt)
        keep = worth_keeping(view, asked, 1 + len(targets), settings.steps * settings.accumulate * size * mean)
        about = f"mimic {before_norm}"
        shelf = None
        if keep:
            named, place = [0, *targets], folder / "states"
            shelf = shelved(view, objective.stack_states, named, asked, place, of=about, doing="asking the teacher")

        def questions(name: str, seed: int | None = None) -> Questions:
            # Of a student no more is asked than how audio becomes its input, and that is as with the teacher.
            return Questions(None, parts[name], view, size=size, seed=seed, shelf=shelf)

        def validate(module: nn.Module) -> float:
            loss, count = totals(objective, questions("dev"), objective)
            return -loss / count

        home = next(teacher.parameters()).device
        train(
            objective,
            questions("train", settings.seed),
            settings,
            validate=validate if "dev" in parts else None,
            about=[data_stamp(part.utterances) for part in parts.values()]
            + [targets, size, before_norm, fingerprint(view), keep],
            name="mimic",
        )
        teacher.to(home)
    student.eval()
