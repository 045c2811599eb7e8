"""In which order layers go: by where they are, or by how little they do."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.healing.objectives import own_task
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_layers
from sottovoce.studies.cuts import scores_of_cuts
from sottovoce.studies.jacobians import jacobian_shares
from sottovoce.studies.similarity import Likeness, first_block, influences, likeness, spans
from sottovoce.studies.speech import not_tested
from sottovoce.studies.targets import higher_is_better

By = Literal[
    "forward",
    "backward",
    "alternate",
    "bi",
    "knn_bi",
    "knn_bi_averaged",
    "cka_bi",
    "multi_bi",
    "core_first",
    "jacobian_rank",
    "angular",
    "ablation",
]
Cut = list[int]
PLACES = ("forward", "backward", "alternate")  # orders that hang on nothing but where layers are
FEWER = 4  # batches of Jacobians are so many times smaller, as in the paper's code


def cuts_by(
    model: Any,
    data: Sequence[Utterance] | None,
    by: By,
    *,
    batch: int = 128,
    limit: int | None = 640,
    task: str | None = None,
    seed: int = 0,
    alike: Callable[[], Likeness] | None = None,
) -> list[Cut]:
    """For every number of layers that can go, the steps that stay; the first layer always stays, except at the very end
    of `backward`.

    Scores are taken once, of the whole model, as in the paper: similarities (`alike`, if somebody has them already) on
    recordings that are in no test split, flattened over time, in batches; `ablation` by the model's own head on the dev
    split.

    Example:
        >>> cuts_by(model, None, "forward")[2]
        [0, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    """
    steps = len(Anatomy(model).order)
    if Anatomy(model).mimics:
        raise SottovoceError("mimic layers stand in for this model's stack; there are no layers to drop.")
    if by == "angular":
        return longest_spans(alike() if alike else seen(model, data, batch=batch, limit=limit, seed=seed), steps)
    order = leaving(model, data, by, batch=batch, limit=limit, task=task, seed=seed, alike=alike)
    return [[step for step in range(steps) if step not in order[:gone]] for gone in range(len(order) + 1)]


def leaving(
    model: Any,
    data: Sequence[Utterance] | None,
    by: By,
    *,
    batch: int = 128,
    limit: int | None = 640,
    task: str | None = None,
    seed: int = 0,
    alike: Callable[[], Likeness] | None = None,
) -> list[int]:
    """The steps of a stack in the order in which they go; of equal scores the lower goes first.

    Example:
        >>> leaving(model, None, "alternate")[:4]
        [1, 11, 2, 10]
    """
    steps = len(Anatomy(model).order)
    later = list(range(1, steps))
    if by == "forward":
        return later
    if by == "backward":
        return [*reversed(later), 0]
    if by == "alternate":
        # Published code has such an order, which begins at the bottom, and no text does.
        return [later[i // 2] if i % 2 == 0 else later[-1 - i // 2] for i in range(len(later))]
    if by == "ablation":
        scores = without_each(model, data, task, limit=limit, seed=seed)
    elif by == "jacobian_rank":
        heard = not_tested(data, what="an order of layers")
        fewer = None if limit is None else max(2, limit // FEWER)
        shares = jacobian_shares(model, heard, batch=max(2, batch // FEWER), limit=fewer, seed=seed)
        scores = {step: -float(share) for step, share in enumerate(shares)}
    else:
        found = alike() if alike else seen(model, data, batch=batch, limit=limit, seed=seed)
        score = "bi" if by == "core_first" else by
        scores = {row.layer: float(getattr(row, score)) for row in influences(found)}
        if by == "core_first" and later:
            # Of the code only the name is known: the layers of the core are given there by hand.
            core = range(first_block(found))
            return sorted(later, key=lambda step: (step not in core, scores[step], step))
    return sorted(later, key=lambda step: (scores[step], step))


def seen(model: Any, data: Sequence[Utterance] | None, *, batch: int, limit: int | None, seed: int) -> Likeness:
    """The similarities of the states on speech that no test is made of.

    Example:
        >>> seen(model, data, batch=128, limit=640, seed=0).matrices["cka"].shape
        (13, 13)
    """
    heard = not_tested(data, what="an order of layers")
    return likeness([model], heard, reading="flatten", batch=batch, limit=limit, seed=seed)


def without_each(
    model: Any, data: Sequence[Utterance] | None, task: str | None, *, limit: int | None, seed: int
) -> dict[int, float]:
    """How good the model's own head is without each layer, on the dev split, less being better off without: the
    negative of what is left."""
    chosen = own_task(model, data or (), task)
    if chosen is None:
        raise SottovoceError("ablation needs a model with a head for a task of this data; fine-tune it first.")
    steps = range(len(Anatomy(model).order))
    cuts = [[step for step in steps if step != gone] for gone in steps]
    found = scores_of_cuts(chosen, model, data, cuts, split="dev", limit=limit, seed=seed, draws=5)
    return {gone: -higher_is_better(scores[0]) for gone, scores in zip(steps, found, strict=True)}


def longest_spans(found: Likeness, steps: int) -> list[Cut]:
    """For each number of layers, the run of so many whose ends are least apart in angle; never the first layer."""
    angles = {(first, count): angle for first, count, angle in spans(found) if first > 0}
    cuts = [list(range(steps))]
    for count in range(1, steps):
        first = min(range(1, steps - count + 1), key=lambda start: angles[start, count])
        cuts.append([step for step in range(steps) if not first <= step < first + count])
    return cuts


def cut_copy(model: Any, cut: Sequence[int]) -> Any:
    """A copy of a model with some steps of its stack.

    Example:
        >>> small = cut_copy(model, [0, 1, 2])
    """
    small = copy.deepcopy(model)
    keep_layers(small, cut)
    return small
