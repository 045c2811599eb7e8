"""Attention heads out, by what they weigh, do or look like."""

from typing import Any, Literal

import numpy as np
import torch

from sottovoce.analysis.importance import lowest_of_all, lowest_of_each, over_layer
from sottovoce.errors import SottovoceError
from sottovoce.healing import Heal, Objective, check_task, in_rounds, portions
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_heads
from sottovoce.registry import register_method
from sottovoce.studies.attention import norms_of, patterns_of_heads
from sottovoce.studies.effects import Extent, check_share, effects_of_heads
from sottovoce.studies.speech import not_tested

By = Literal["l1", "taylor", "diagonality", "random"]


def outlined(
    model: Any,
    *,
    keep: int | None = None,
    drop: int | None = None,
    per: str = "layer",
    rounds: int = 1,
    heal: Heal = Heal(),
    **rest: Any,
) -> bool:
    """Fewer heads in each layer; over the whole model, how many of each layer depends on scores."""
    heal.check(rounds)
    body = Anatomy(model)
    counts = head_counts(body)
    gone = to_drop(counts, keep, drop, per)
    for layer, lost in enumerate(gone if per == "layer" else ()):
        if lost:
            keep_heads(model, layer, range(counts[layer] - lost))
    return per == "layer"


@register_method(paper="arXiv 2211.09949", outline=outlined)
def prune_heads(
    model: Any,
    data: Any = None,
    *,
    keep: int | None = None,
    drop: int | None = None,
    by: By = "l1",
    per: Literal["layer", "model"] = "layer",
    rounds: int = 1,
    heal: Heal = Heal(),
    task: str | None = None,
    speech: Extent = Extent(),
    seed: int = 0,
) -> Any:
    """Drop attention heads: so many of each layer, or of the whole model, the least important first.

    By the L1 norm of their query, key and value weights and biases (`l1`); by what the loss would change by without
    them over `speech.share` of the training speech (`taylor`); the least diagonal first, on `speech.limit` recordings;
    or at random.
    Over the whole model, scores are divided by the L2 norm of their layer's, and each layer keeps its best head. With
    `rounds`, a part goes at a time, and scores are taken anew; `heal.steps` updates follow each round.

    Example:
        >>> small = prune_heads(model, drop=6)
        >>> small = prune_heads(tuned, data, by="taylor", per="model", drop=72, rounds=6, heal={"steps": 500})
    """
    body = Anatomy(model)
    counts = head_counts(body)
    gone = to_drop(counts, keep, drop, per)
    check_task(task)
    if by == "taylor":
        check_share(speech.share)
    parts = [portions(total, rounds) for total in gone] if rounds > 0 else []

    def cut(model: Any, objective: Objective | None, number: int) -> None:
        scores = head_scores(model, data, objective, by, speech, seed + number)
        portion = [part[number - 1] for part in parts]
        if per == "model":
            lost = lowest_of_all([over_layer(row) for row in scores], portion[0], protected=1)
        else:
            each = zip(scores, portion, strict=True)
            lost = [lowest_of_each([row], count)[0] for row, count in each]
        for layer, heads in enumerate(lost):
            left = [head for head in range(len(scores[layer])) if head not in heads]
            if heads:
                keep_heads(model, layer, left)

    return in_rounds(model, data, rounds, cut, heal, task=task, looks=by == "taylor", seed=seed)


def head_counts(body: Anatomy) -> list[int]:
    """The heads of each stored layer; a model without any is refused."""
    if body.mimics or not body.layers:
        raise SottovoceError("mimic layers stand where this model's attention heads were; there are none to prune.")
    return [body.heads(layer) for layer in range(len(body.layers))]


def to_drop(counts: list[int], keep: int | None, drop: int | None, per: str) -> list[int]:
    """How many heads each layer loses, or (as the only number) the whole model."""
    if (keep is None) == (drop is None):
        raise SottovoceError("prune_heads needs either keep or drop: give keep=6, or drop=6.")
    if per == "layer":
        most = max(counts)
        if not 0 <= (keep if keep is not None else drop or 0) <= most:
            given = f"keep={keep}" if keep is not None else f"drop={drop}"
            raise SottovoceError(f"{given}, but this model's layers have up to {most} heads; give 0-{most}.")
        return [max(0, count - keep) if keep is not None else min(count, drop or 0) for count in counts]
    total, floor = sum(counts), sum(count > 0 for count in counts)
    gone = total - keep if keep is not None else drop or 0
    if not 0 <= gone <= total - floor:
        given = f"keep={keep}" if keep is not None else f"drop={drop}"
        raise SottovoceError(
            f"{given}, but of this model's {total} heads one in each of {floor} layers stays: keep {floor}-{total} of "
            f"them, or drop 0-{total - floor}."
        )
    return [gone]


def head_scores(
    model: Any, data: Any, objective: Objective | None, by: By, speech: Extent, seed: int
) -> list[torch.Tensor]:
    """The importance of each head of each stored layer; small is unimportant."""
    body = Anatomy(model)
    layers = range(len(body.layers))
    if by == "l1":
        return norms_of(model)
    if by == "random":
        rng = np.random.default_rng(seed)
        return [torch.from_numpy(rng.random(body.heads(layer))) for layer in layers]
    if by == "diagonality":
        heard = not_tested(data, what="diagonality")
        seen = patterns_of_heads(model, heard, limit=speech.limit, seed=seed).values["diagonality"]
        applied = [[step for step, layer in enumerate(body.order) if layer == wanted] for wanted in layers]
        return [torch.from_numpy(seen[applied[layer]][:, : body.heads(layer)].mean(0)) for layer in layers]
    assert objective is not None
    return effects_of_heads(model, objective, share=speech.share, seed=seed)
