"""What a task's head says of many cuts of the stack in one pass: beginnings that cuts have in common run once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, final

import torch
from torch import nn

from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import hand_on_position_bias
from sottovoce.models.encoder import Encoder
from sottovoce.models.wavlm import adopt_attention
from sottovoce.studies.speech import ready
from sottovoce.tasks.batch import Questions
from sottovoce.tasks.finetune import Headed, head_labels
from sottovoce.tasks.kinds import GREEDY, Score
from sottovoce.tasks.probe import check_answers, judge
from sottovoce.tasks.task import Task, material, require

R = TypeVar("R")


@final
class Replayed(nn.Module):
    """A layer that says again what the last of several layers said."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The result, whatever comes in."""
        return self.result


@final
class Kept(nn.Module):
    """A layer whose results are kept, with the number of its step."""

    def __init__(self, layer: nn.Module, step: int, kept: list[tuple[int, Any]]) -> None:
        super().__init__()
        self.layer = layer
        self.step, self.kept = step, kept

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer says."""
        result = self.layer(*args, **kwargs)
        self.kept.append((self.step, result))
        return result


def each_cut(model: Any, cuts: Sequence[Sequence[int]], run: Callable[[], R]) -> list[R]:
    """What `run`, a forward pass of the model, returns for each cut: ascending steps of the stack that stay.

    The front end and every beginning that cuts share are computed once. The model is behind it what it was.

    Example:
        >>> whole, cut = each_cut(model, [range(12), [0, 1, 2, 10, 11]], lambda: model(**inputs).logits)
    """
    body = Anatomy(model)
    check_cuts(body, cuts)
    adopt_attention(model)
    parent, _, name = body.family.layers.rpartition(".")
    home, whole = body.base.get_submodule(parent), body.layers
    order, stored = body.order, list(whole)
    by_step = [stored[step] for step in range(len(order))]
    kept: list[tuple[int, Any]] = []
    found: dict[int, R] = {}
    with remembered(before_stack(body)):
        try:
            # In this order a cut that begins like another one comes right behind it.
            for index in sorted(range(len(cuts)), key=lambda number: tuple(cuts[number])):
                cut = list(cuts[index])
                shared = beginning([step for step, _ in kept], cut)
                del kept[shared:]
                again = [Replayed(kept[-1][1])] if kept else []
                rest = [Kept(by_step[step], step, kept) for step in cut[shared:]]
                setattr(home, name, whole)
                if cut and body.family.gated_position_bias:
                    hand_on_position_bias(body, order[cut[0]])
                setattr(home, name, nn.ModuleList([*again, *rest]))
                found[index] = run()
        finally:
            setattr(home, name, whole)
            if order and body.family.gated_position_bias:
                hand_on_position_bias(body, order[0])
    return [found[index] for index in range(len(cuts))]


def check_cuts(body: Anatomy, cuts: Sequence[Sequence[int]]) -> None:
    """Refuse what is no cut of this stack."""
    steps = len(body.order)
    if body.mimics:
        raise SottovoceError("mimic layers stand in for this model's stack; there are no layers to leave out.")
    if getattr(body.config, "use_weighted_layer_sum", False):
        raise SottovoceError("this model's head reads a weighted sum of all layers; fine-tune one that reads the last.")
    for cut in cuts:
        if list(cut) != sorted(set(cut)) or any(not 0 <= step < steps for step in cut):
            raise SottovoceError(f"the cut {list(cut)} is no ascending list of layers from 0 to {steps - 1}.")


def beginning(first: Sequence[int], second: Sequence[int]) -> int:
    """How many numbers two lists have in common at their beginning.

    Example:
        >>> beginning([0, 1, 2], [0, 1, 5, 6])
        2
    """
    same = [a == b for a, b in zip(first, second, strict=False)]
    return same.index(False) if False in same else len(same)


def before_stack(body: Anatomy) -> list[nn.Module]:
    """The modules whose results enter the first layer."""
    names = ["feature_extractor", "feature_projection", "conv1", "conv2"]
    found = [getattr(body.base, name, None) for name in names]
    if body.family.positional_runs:
        found.append(body.positional)
    return [module for module in found if isinstance(module, nn.Module)]


@contextmanager
def remembered(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, each module computes once and then says the same again, whatever comes in."""

    def once(module: nn.Module) -> Callable[..., Any]:
        plain, said = module.forward, list[Any]()

        def forward(*args: Any, **kwargs: Any) -> Any:
            if not said:
                said.append(plain(*args, **kwargs))
            return said[0]

        return forward

    for module in modules:
        object.__setattr__(module, "forward", once(module))
    try:
        yield
    finally:
        for module in modules:
            object.__delattr__(module, "forward")


def scores_of_cuts(
    task: Task,
    model: Any,
    data: Sequence[Utterance] | None,
    cuts: Sequence[Sequence[int]],
    *,
    split: str = "test",
    size: float = 16,
    limit: int | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> list[list[Score]]:
    """What the model's own head scores on a split, for each cut of its stack.

    Example:
        >>> whole, cut = scores_of_cuts(KEYWORDS, tuned, data, [range(12), range(9)])
    """
    splits = material(task, data, limit=limit, seed=seed)
    require(task, splits, split)
    labels = head_labels(model)
    check_answers(task, splits, labels, split)
    headed, encoder = Headed(task, model), Encoder(model, outputs=True)

    def outputs(batch: Any) -> list[torch.Tensor]:
        return [found[0] for found in each_cut(model, cuts, lambda: headed.outputs(batch))]

    with ready(Encoder(model)):
        return judge(outputs, Questions(task, splits[split], encoder, size=size), labels, GREEDY, draws=draws)
