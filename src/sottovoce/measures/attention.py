"""What attention heads do, and which of them matter."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from sottovoce.analysis.attention import PATTERNS, REACH
from sottovoce.measurement import Measurement
from sottovoce.models.anatomy import Anatomy
from sottovoce.registry import register_measure
from sottovoce.studies.attention import Heads, norms_of, patterns_of_heads
from sottovoce.studies.effects import effects_of
from sottovoce.views import HeatMap, Numbers, Profiles, Shown

VERSION = 2
MEANINGS = {
    "diagonality": "1: looks at its own frame; 0: as far as equal weights would",
    "verticality": "1: all frames look at the same one",
    "globality": "1: looks at all frames alike (entropy over its largest value)",
    "blockness": "high: stands still for a while and then jumps",
    "l1": "L1 norm of its query, key and value weights",
    "effect": "first-order effect on the task's loss, over the layer's norm",
}
PROFILE = (-50, -25, -10, -5, -2, -1, 0, 1, 2, 5, 10, 25, 50)  # the distances of a profile that are told


SHOWN = Shown(
    "Attention heads",
    (
        HeatMap("head", "layer", metrics=MEANINGS),
        Profiles(
            "weight",
            x="distance",
            across="head",
            down="layer",
            title="How far heads look",
            note="The mean weight by distance (key less query, -50 to 50 frames), each in its own scale.",
        ),
        Numbers(("rank_correlation",), title="Patterns and importance"),
    ),
    place=70,
)


@register_measure(
    paper="Compressing Transformer-based SSL models (arXiv 2211.09949)", version=VERSION, shares=True, shown=SHOWN
)
def attention(
    model: Any,
    data: Any = None,
    *,
    limit: int | None = 128,
    seconds: float = 10.0,
    effect: str | None = None,
    seed: int = 0,
) -> list[Measurement]:
    """The patterns of every head, its weight by distance, its L1 norm, and how patterns go with importance.

    With `effect`, the name of a task that the model has a head for, also each head's first-order effect on its loss.
    The relation is Spearman's rank correlation over the heads of all layers, after each layer's scores are divided by
    their L2 norm.

    Example:
        >>> attention(model, data, limit=20)[0].where
        {'layer': 0, 'head': 0}
    """
    found = patterns_of_heads(model, data, limit=limit, seconds=seconds, seed=seed)
    importance = {"l1": [np.asarray(layer) for layer in norms_of(model)]}
    if effect is not None:
        importance["effect"] = [np.asarray(e) for e in effects_of(model, data, task=effect, limit=limit, seed=seed)]
    order = Anatomy(model).order
    scores = {name: [layers[layer] for layer in order] for name, layers in importance.items()}
    return [*patterns_of(found), *importances(scores, found.utterances), *relations(found, scores)]


def patterns_of(found: Heads) -> Iterator[Measurement]:
    """Each head's patterns and profile."""
    for step, head in zip(*np.nonzero(~np.isnan(found.values["entropy"])), strict=True):
        where = {"layer": int(step), "head": int(head)}
        for name in PATTERNS:
            value, error = float(found.values[name][step, head]), float(found.errors[name][step, head])
            yield Measurement("attention", name, value, where=where, n=found.utterances, error=error, version=VERSION)
        for distance in PROFILE:
            weight = float(found.profiles[step, head, distance + REACH])
            place = {**where, "distance": distance}
            yield Measurement("attention", "weight", weight, where=place, n=found.utterances, version=VERSION)


def importances(scores: dict[str, list[np.ndarray]], count: int) -> Iterator[Measurement]:
    """Each head's scores."""
    for name, steps in scores.items():
        for step, heads in enumerate(steps):
            for head, value in enumerate(heads):
                n, where = 1 if name == "l1" else count, {"layer": step, "head": head}
                yield Measurement("attention", name, float(value), where=where, n=n, version=VERSION)


def relations(found: Heads, scores: dict[str, list[np.ndarray]]) -> Iterator[Measurement]:
    """Rank correlations of patterns with importance over all heads."""
    there = ~np.isnan(found.values["entropy"])
    for name, steps in scores.items():
        ranked = np.concatenate([heads / (np.linalg.norm(heads) or 1.0) for heads in steps])
        for pattern in PATTERNS:
            values = found.values[pattern][there]
            if len(values) > 2 and np.ptp(values) > 0 and np.ptp(ranked) > 0:
                correlation: Any = spearmanr(values, ranked)
                value, where = float(correlation.statistic), {"pattern": pattern, "importance": name}
                yield Measurement("attention", "rank_correlation", value, where=where, n=len(values), version=VERSION)
