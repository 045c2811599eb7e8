"""Inner units of the feed-forward parts out: what paper 5's code does under the name of low rank."""

from typing import Any, Literal

import numpy as np
import torch

from sottovoce.analysis.importance import lowest_of_all, lowest_of_each, over_layer, unit_norms
from sottovoce.errors import SottovoceError
from sottovoce.healing import Heal, Objective, check_task, in_rounds
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_feed_forward
from sottovoce.models.widths import round_width
from sottovoce.registry import register_method
from sottovoce.studies.effects import Extent, activity_of_units, check_share, effects_of_units, feed_forwards

By = Literal["l1", "taylor", "activation", "random"]


def outlined(
    model: Any,
    *,
    keep: int | None = None,
    drop: int | None = None,
    per: Literal["layer", "model"] = "layer",
    round_to: int = 1,
    rounds: int = 1,
    heal: Heal = Heal(),
    **rest: Any,
) -> bool:
    """Narrower feed-forward parts; over the whole model, how wide each is depends on scores."""
    heal.check(rounds)
    start = unit_widths(model)
    end = wanted_widths(start, keep, drop, round_to, per)
    for (layer, which), before, width in zip(parts_of(model), start, end, strict=True) if per == "layer" else ():
        keep_feed_forward(model, layer, range(round_width(width, round_to, before)), which=which)
    return per == "layer"


@register_method(paper="arXiv 2211.09949", outline=outlined)
def prune_ffn(
    model: Any,
    data: Any = None,
    *,
    keep: int | None = None,
    drop: int | None = None,
    by: By = "l1",
    per: Literal["layer", "model"] = "layer",
    round_to: int = 1,
    rounds: int = 1,
    heal: Heal = Heal(),
    task: str | None = None,
    speech: Extent = Extent(),
    seed: int = 0,
) -> Any:
    """Drop inner units of the feed-forward parts, the least important first; `keep` is the width that is left.

    By the L1 norm of their row, bias and column (`l1`); by what the loss would change by without them, over
    `speech.share` of the training speech (`taylor`); by how active they are, times the L1 norm of their column, on
    `speech.limit` recordings (`activation`); or at random. With `per=model`, `keep` is the mean width, scores are
    divided by the L2 norm of their part's, and each part keeps at least one unit. `round_to` makes widths multiples,
    for kernels' sake. `heal.steps` updates follow each of the `rounds`.

    Example:
        >>> small = prune_ffn(model, keep=2048)
        >>> small = prune_ffn(tuned, data, keep=384, by="taylor", per="model", round_to=16)
    """
    start = unit_widths(model)
    end = wanted_widths(start, keep, drop, round_to, per)
    check_task(task)
    if by == "taylor":
        check_share(speech.share)

    def cut(model: Any, objective: Objective | None, number: int) -> None:
        scores = unit_scores(model, data, objective, by, speech, seed + number)
        # Along a straight line from where the widths began to where they end, for each part or for their sum.
        left = [round(a + (b - a) * number / rounds) for a, b in zip(start, end, strict=True)]
        if per == "model":
            gone = lowest_of_all([over_layer(row) for row in scores], sum(map(len, scores)) - sum(left), protected=1)
            left = [len(row) - len(lost) for row, lost in zip(scores, gone, strict=True)]
        for (layer, which), row, width in zip(parts_of(model), scores, left, strict=True):
            # Not below where it ends, or the last round could not round up.
            width = round_width(width, round_to, len(row)) if number == rounds else min(len(row), width + round_to - 1)
            lost = set(lowest_of_each([row], len(row) - width)[0])  # of equal ones the lower, as in the paper's code
            keep_feed_forward(model, layer, [unit for unit in range(len(row)) if unit not in lost], which=which)

    return in_rounds(model, data, rounds, cut, heal, task=task, looks=by == "taylor", seed=seed)


def parts_of(model: Any) -> list[tuple[int, int]]:
    """Each stored layer with each of its feed-forward parts."""
    body = Anatomy(model)
    return [(layer, which) for layer in range(len(body.layers)) for which in range(len(body.family.feed_forwards))]


def unit_widths(model: Any) -> list[int]:
    """The width of each part; a model without any is refused."""
    body = Anatomy(model)
    if body.mimics or not body.layers:
        raise SottovoceError("mimic layers stand where this model's feed-forward parts were; there are none to prune.")
    return [up.out_features for up, _ in feed_forwards(model)]


def wanted_widths(
    widths: list[int], keep: int | None, drop: int | None, round_to: int, per: Literal["layer", "model"]
) -> list[int]:
    """The width that each part is to be left with; over the whole model, only their sum counts."""
    if (keep is None) == (drop is None):
        raise SottovoceError("prune_ffn needs either keep or drop: give keep=2048, or drop=1024.")
    most, given = max(widths), f"keep={keep}" if keep is not None else f"drop={drop}"
    value = keep if keep is not None else drop or 0
    if not (1 if keep is not None else 0) <= value <= (most if keep is not None else most - 1):
        raise SottovoceError(f"{given}, but this model's feed-forward parts have up to {most} units; leave 1-{most}.")
    if not 1 <= round_to <= most:
        raise SottovoceError(f"round_to={round_to}, but a multiple from 1 to {most}, the largest width, is wanted.")
    if per == "model" and keep is not None:
        if keep * len(widths) > sum(widths):
            mean = sum(widths) / len(widths)
            raise SottovoceError(f"keep={keep}, but the mean width of this model's parts is {mean:.0f}; keep no more.")
        return [keep] * len(widths)
    return [min(width, keep) if keep is not None else max(1, width - value) for width in widths]


def unit_scores(
    model: Any, data: Any, objective: Objective | None, by: By, speech: Extent, seed: int
) -> list[torch.Tensor]:
    """The importance of each inner unit of each part; small is unimportant."""
    if by == "l1":
        return [unit_norms((up.weight, up.bias), (down.weight, down.bias)) for up, down in feed_forwards(model)]
    if by == "random":
        rng = np.random.default_rng(seed)
        return [torch.from_numpy(rng.random(width)) for width in unit_widths(model)]
    if by == "activation":
        return activity_of_units(model, data, limit=speech.limit, seed=seed)
    assert objective is not None
    return effects_of_units(model, objective, share=speech.share, seed=seed)
