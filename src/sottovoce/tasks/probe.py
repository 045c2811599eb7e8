"""What a frozen encoder knows: heads on its states."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import nn

from sottovoce.data.batches import ahead, data_stamp
from sottovoce.errors import SottovoceError
from sottovoce.models.encoder import Encoder
from sottovoce.progress import bar
from sottovoce.tasks.batch import Batch, Questions
from sottovoce.tasks.kinds import GREEDY, Decoding, Score, refuse_strangers
from sottovoce.tasks.states import Keeping, Layer, States, chosen, states_for
from sottovoce.tasks.task import Material, Task, material, require
from sottovoce.training import Training, train

DRAWS = 1000  # of a bootstrap


@dataclass(frozen=True)
class Probed:
    """A head's scores: on one layer, or (None) on the learned sum of all, whose weights are then there too.

    Example:
        >>> Probed(3, (Score("accuracy", 0.9, 0.02, "higher", 500),), ()).layer
        3
    """

    layer: int | None
    scores: tuple[Score, ...]
    weights: tuple[float, ...] = ()


@final
class Probe(nn.Module):
    """Heads on standardised states: one a layer, or one on a softmax-weighted sum of the layers.

    Each number of a state is shifted and scaled to mean 0 and variance 1 over the training split, so that the size of
    a layer's numbers, which says nothing about what it knows, plays no part.
    """

    def __init__(self, task: Task, labels: Sequence[str], states: States, *, summed: bool, inner: int) -> None:
        super().__init__()
        self.task, self.summed, self.states = task, summed, states.of
        self.mean, self.std = nn.Buffer(states.mean), nn.Buffer(states.std)
        depth, width = states.mean.shape
        self.mix = nn.Parameter(torch.zeros(depth)) if summed else None
        count = 1 if summed else depth
        self.heads = nn.ModuleList(task.kind.probe(width, len(labels), inner) for _ in range(count))

    def each(self, batch: Batch) -> Iterator[tuple[Any, torch.Tensor]]:
        """Every head with the states that it reads."""
        states = (self.states(batch).float() - self.mean) / self.std
        if self.mix is not None:
            yield self.heads[0], torch.einsum("btlw,l->btw", states, self.mix.softmax(0))
            return
        for index, head in enumerate(self.heads):
            yield head, states[:, :, index]

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of all heads together; none has a part in another's gradient."""
        losses = [
            self.task.kind.loss(h(state, batch.frames), batch.frames, batch.targets) for h, state in self.each(batch)
        ]
        return torch.stack([loss for loss, _ in losses]).sum(), losses[0][1]

    def outputs(self, batch: Batch) -> list[torch.Tensor]:
        """What each head says, or for verification its embeddings."""
        verifies = self.task.kind.verifies
        return [(h.embed if verifies else h)(state, batch.frames) for h, state in self.each(batch)]


def probe(
    task: Task,
    model: Any,
    data: Any,
    *,
    layer: Layer = "sum",
    settings: Training,
    size: float = 32,
    inner: int = 256,
    limit: int | None = None,
    how: Decoding = GREEDY,
    final_norm: bool = False,
    keeping: Keeping = "auto",
) -> list[Probed]:
    """Scores of heads on a frozen encoder: on the learned sum of its layers, on one of them, or on each.

    The last state is what the last layer adds up to, or with `final_norm` what the norm at the end of the stack makes
    of it, where layers begin with a norm: SUPERB's last state. States are kept on the disk, or, where they do not
    fit on it or `keeping` says so, made anew for every batch.

    Example:
        >>> [probed.scores[0].value for probed in probe(KEYWORDS, model, data, layer="each", settings=Training())]
    """
    encoder = Encoder(model, final_norm=final_norm)
    layers = chosen(layer, encoder.depth)
    splits = material(task, data, limit=limit, seed=settings.seed)
    require(task, splits, "train", "test")
    labels = task.kind.labels(splits["train"].answers)
    check_answers(task, splits, labels, "test")
    if inner < 1:
        raise SottovoceError(f"inner={inner}, but a head of at least 1 number is wanted.")
    how_kept: dict[str, Any] = {"keeping": keeping, "pooled": task.kind.pooled, "name": task.name}
    with states_for(encoder, splits, layers, seed=settings.seed, **how_kept) as states:
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            heads = Probe(task, labels, states, summed=layer == "sum", inner=inner)
        source = Questions(task, splits["train"], encoder, labels, size, settings.seed, states.shelf)
        about = [data_stamp(splits["train"].utterances), splits["train"].answers, size, final_norm, *states.about]
        train(heads, source, settings, about=about, name=f"probe {task.name} {layer}")
        heads.eval()
        test = Questions(task, splits["test"], encoder, size=size, shelf=states.shelf)
        found = judge(
            lambda batch: [said.cpu() for said in heads.outputs(batch.to(heads.mean.device))], test, labels, how
        )
    weights = () if heads.mix is None else tuple(heads.mix.detach().softmax(0).tolist())
    names: list[int | None] = [None] if layer == "sum" else list(layers)
    return [Probed(name, tuple(scores), weights) for name, scores in zip(names, found, strict=True)]


def check_answers(task: Task, splits: dict[str, Material], labels: Sequence[str], *scored: str) -> None:
    """Refuse splits to be scored with classes that the head cannot say; a training split of one class."""
    if task.kind.head != "ForSequenceClassification":
        return
    if not labels:
        raise SottovoceError(f"{task.name}: this model's head names no labels; fine-tune it first, or probe it.")
    if len(labels) < 2:
        raise SottovoceError(f"{task.name}: the train split has one label only ({labels[0]}); give at least two.")
    for split in scored if not task.kind.verifies else ():
        refuse_strangers(task.name, splits[split].answers, labels, split)


def judge(
    outputs: Any, source: Questions, labels: Sequence[str], how: Decoding, *, draws: int = DRAWS
) -> list[list[Score]]:
    """The scores of each of some heads on a split; `outputs` gives their outputs for a batch."""
    assert source.task is not None
    plan = source.plan(0)
    said: list[list[Any]] = []
    kind, encoder = source.task.kind, source.encoder
    centers: list[np.ndarray] = []
    with (
        torch.no_grad(),
        bar(f"scoring {source.task.name}", len(source.material)) as advance,
        closing(ahead(source.load, plan)) as loads,
    ):
        for items, batch in zip(plan, loads, strict=True):
            results = outputs(batch)
            said = said or [[] for _ in results]
            for answers, output in zip(said, results, strict=True):
                answers += kind.read(output, batch.frames, how, labels)
            centers += [encoder.centers(count) for count in batch.frames.tolist()]
            advance(len(items))
    order = [item for items in plan for item in items]
    wanted = [source.material.answers[item] for item in order]
    return [kind.score(answers, wanted, centers, draws=draws) for answers in said]
