"""What a student is trained with: the same audio heard by both models, and what is between their states."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn
from torch.nn import functional as F

from sottovoce.distillation import losses
from sottovoce.distillation.maps import map_places, start_map
from sottovoce.distillation.plan import Distillation, Pair
from sottovoce.distillation.student import student_head
from sottovoce.models.encoder import Encoder, Inputs, frame_mask
from sottovoce.models.record import states
from sottovoce.pretraining.objective import hidden_frames, span_mask
from sottovoce.pretraining.unit_head import UnitHead


@dataclass(frozen=True)
class PairedBatch:
    """Utterances as both models hear them.

    Args:
        inputs, frames: the student's input, and how many frames it makes of each utterance.
        teacher_inputs, teacher_frames: the same of the teacher; empty where its states are there already.
        kept: the teacher's states at the student's frames, (batch, frames, states, width), where they are kept.

    Example:
        >>> batch.to("cuda").frames.device.type
        'cuda'
    """

    inputs: Inputs
    frames: torch.Tensor
    teacher_inputs: Inputs
    teacher_frames: torch.Tensor
    kept: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> "PairedBatch":
        """The same on a device."""
        first, second = (
            {name: value.to(device) for name, value in inputs.items()} for inputs in (self.inputs, self.teacher_inputs)
        )
        kept = None if self.kept is None else self.kept.to(device)
        return PairedBatch(first, self.frames.to(device), second, self.teacher_frames.to(device), kept)


def layer_states(
    encoder: Encoder, inputs: Inputs, *, outputs: bool = False, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    """Every state of a batch as what follows it reads it; with `outputs`, what the model puts out and nothing else.

    Where layers begin with a norm (`do_stable_layer_norm`), what lies between them is far larger than what they read
    (in the small teachers some fifty times), and a few of its numbers are most of it: each state is taken behind the
    next layer's norm. The last one is taken behind the norm at the end of the stack, if there is one, which a student
    must learn as well.

    Example:
        >>> len(layer_states(Encoder(model), inputs))
        13
    """
    body = encoder.body
    assert body is not None
    hiding = nullcontext({}) if mask is None else hidden_frames(encoder.model, whole_mask(encoder, inputs, mask))
    with hiding as more:
        placed: dict[str, Any] = {**encoder.placed(inputs), **more}
        seen = states(body.base, **placed)
    return (seen.output[0],) if outputs else as_read(encoder, seen.hidden, seen.output[0])


def as_read(encoder: Encoder, hidden: Sequence[torch.Tensor], output: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The states before and behind every layer, as `layer_states` has them.

    Example:
        >>> as_read(Encoder(model), seen.hidden, seen.output[0])
    """
    body = encoder.body
    assert body is not None
    if body.family.squeezes:  # it puts out frames at another rate than that of its layers
        return tuple(hidden)
    inner = tuple(hidden[:-1])
    if body.norms_first and not body.mimics:
        steps: Any = body.layers
        inner = tuple(step.layer_norm(state) for step, state in zip(steps, inner, strict=True))
    return (*inner, output)


def whole_mask(encoder: Encoder, inputs: Inputs, mask: torch.Tensor) -> torch.Tensor:
    """A mask of an encoder's frames as one of the frames that its front end makes."""
    assert encoder.body is not None
    wanted = encoder.body.frames(inputs["input_values"].shape[1])
    mask = mask.repeat_interleave(encoder.squeeze, dim=1)
    return F.pad(mask, (0, max(0, wanted - mask.shape[1])))[:, :wanted]


@contextmanager
def without_masks(model: Any) -> Iterator[None]:
    """No layer is skipped and nothing is masked by chance inside: the states of a step are those of all layers."""
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    names = {"layerdrop": 0.0, "apply_spec_augment": False}
    before = [
        (config, name, getattr(config, name)) for config in configs.values() for name in names if name in vars(config)
    ]
    for config, name, _ in before:
        setattr(config, name, names[name])
    try:
        yield
    finally:
        for config, name, value in before:
            setattr(config, name, value)


@final
class Distiller(nn.Module):
    """A student and its frozen teacher, or the student alone where the teacher's states are kept.

    Example:
        >>> loss, frames = Distiller(student, teacher, plan, matched(plan, 2, 12), 192)(batch)
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        plan: Distillation,
        pairs: Sequence[Pair],
        width: int,
        clusters: UnitHead | None = None,
    ) -> None:
        super().__init__()
        # The student first: of two models, the optimizers take the matrices of the first.
        self.student, self.teacher = student, teacher
        self.plan, self.pairs = plan, tuple(pairs)
        encoder = Encoder(student, outputs=plan.outputs)
        own = encoder.width
        projected = plan.loss in ("hidden", "distilhubert", "arm")
        made = start_head if plan.loss == "distilhubert" else start_map
        self.places = map_places(pairs, plan.match)
        self.maps = nn.ModuleList(made(own, width) for _ in range(max(self.places, default=-1) + 1) if projected)
        self.head = None if clusters is None else student_head(clusters, own)
        self.teacher_head = None if clusters is None else clusters.head()
        # In a dictionary: a view is no part of the module.
        self._keep = {"student": encoder}
        if teacher is not None:
            self._keep["teacher"] = Encoder(teacher, outputs=plan.outputs)

    def train(self, mode: bool = True) -> "Distiller":
        """As usual, but the teacher stays as it is."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def forward(
        self, batch: PairedBatch, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, summed over the student's frames, and their number."""
        plan, time = self.plan, int(batch.frames.max())
        mask = None
        if plan.loss == "arm":
            mask = span_mask(batch.frames, time, share=plan.match.share, span=plan.match.span, generator=generator)
            mask = mask.to(batch.frames.device)
        wanted = self.teacher_states(batch, time, mask)
        found = layer_states(self._keep["student"], batch.inputs, outputs=plan.outputs, mask=mask)
        found = found if plan.outputs else tuple(found[pair.student] for pair in self.pairs)
        if self.maps:
            found = tuple(self.maps[place](state) for place, state in zip(self.places, found, strict=True))
        if self.head is not None and self.teacher_head is not None:
            found = tuple(self.head(state) for state in found)
            wanted = [tuple(self.teacher_head(state) for state in states) for states in wanted]
        mine = [state[:, :time].float() for state in found]
        theirs = [[state.float() for state in some] for some in wanted]
        inside = frame_mask(batch.frames, time)
        with torch.autocast(inside.device.type, enabled=False):
            return self.loss(mine, theirs, inside, mask), inside.sum().float()

    def loss(
        self,
        mine: list[torch.Tensor],
        theirs: list[list[torch.Tensor]],
        inside: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """The sum over frames that exist; of `theirs`, the states of clean audio, and for `arm` those of masked.

        Over pairs of states the mean, but for `arm` the weighted sum: each as its authors do it.
        """
        plan, weights = self.plan, [pair.weight for pair in self.pairs]
        if plan.loss == "cluster_kl":
            return losses.cluster_kl(mine[0][inside], theirs[0][0][inside], temperature=plan.match.temperature)
        if plan.loss == "star":
            rows = list(enumerate(inside.sum(1).tolist()))
            each = [[[state[row, :count] for state in some] for some in (mine, theirs[0])] for row, count in rows]
            return torch.stack([losses.star(first, second) for first, second in each]).sum()
        if plan.loss == "arm":
            assert mask is not None
            found = [
                losses.arm(first[inside], clean[inside], masked[inside], mask[inside])
                for first, clean, masked in zip(mine, *theirs, strict=True)
            ]
        else:
            between = {"hidden": losses.hidden, "distilhubert": losses.distilhubert}[plan.loss]
            found = [between(first[inside], second[inside]) for first, second in zip(mine, theirs[0], strict=True)]
        weighted = torch.stack([weight * loss for weight, loss in zip(weights, found, strict=True)])
        return weighted.sum() if plan.loss == "arm" else weighted.mean()

    @torch.no_grad()
    def teacher_states(
        self, batch: PairedBatch, time: int, mask: torch.Tensor | None
    ) -> list[tuple[torch.Tensor, ...]]:
        """The teacher's states at the student's frames: those of clean audio, and with a mask those of masked."""
        if batch.kept is not None:
            return [batch.kept.float().unbind(2)]
        student, teacher = self._keep["student"], self._keep["teacher"]
        places = torch.from_numpy(teacher.nearest(student.centers(time))).to(batch.frames.device)
        places = places.clamp(min=0)[None, :].minimum(batch.teacher_frames[:, None] - 1)
        masks: list[torch.Tensor | None] = [None]
        if mask is not None:
            count = int(batch.teacher_frames.max())
            back = torch.from_numpy(student.nearest(teacher.centers(count))).to(batch.frames.device)
            masks.append(mask[:, back.clamp(0, time - 1)])
        made = []
        for hide in masks:
            seen = layer_states(teacher, batch.teacher_inputs, outputs=self.plan.outputs, mask=hide)
            chosen = seen if self.plan.outputs else [seen[pair.teacher] for pair in self.pairs]
            made.append(tuple(state.gather(1, places[:, :, None].expand(-1, -1, state.shape[2])) for state in chosen))
        return made


def start_head(own: int, wanted: int) -> nn.Sequential:
    """A head from the student's last state to one of the teacher's, as DistilHuBERT's, drawn anew.

    Example:
        >>> len(start_head(2, 3))
        3
    """
    return nn.Sequential(nn.Linear(own, own), nn.GELU(), nn.Linear(own, wanted))
