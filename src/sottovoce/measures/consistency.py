"""How far the distributions of a model's states are apart: layer consistency."""

import itertools
from typing import Any

from sottovoce.analysis.consistency import consistencies
from sottovoce.measurement import Measurement
from sottovoce.registry import register_measure
from sottovoce.studies.similarity import likeness
from sottovoce.views import HeatMap, Lines, Shown

METRICS = {
    "cka": "CKA of the states of the same frames: 1 where they are equal.",
    "cosine": "The mean cosine of the states of the same frames.",
    "mean": "Distance of the means of each dimension, in its standard deviations.",
    "variance": "Distance of the standard deviations of each dimension, as the logarithm of their ratio.",
    "frechet": "Squared Frechet distance of Gaussians, over their mean variance.",
    "wasserstein": "Sliced 2-Wasserstein distance, in standard deviations.",
}
ALIKE = {"cka": 1.0, "cosine": 1.0}
MAP = HeatMap(
    x="second_state",
    y="first_state",
    x_label="state",
    y_label="state",
    metrics=METRICS,
    diagonal={metric: ALIKE.get(metric, 0.0) for metric in METRICS},
)
CURVES = Lines("state", y="to the last state", metrics={f"{metric}_to_last": metric for metric in METRICS})
SHOWN = (Shown("Layer consistency", (MAP, CURVES), place=30),)


@register_measure(paper="Layer Consistency (arXiv 2105.00812)", shares=True, shown=SHOWN)
def consistency(
    model: Any,
    data: Any = None,
    *,
    batch: int = 128,
    frames: int = 4096,
    limit: int | None = 1024,
    seed: int = 0,
) -> list[Measurement]:
    """How far the distributions of all pairs of states are apart, whichever frame has which state.

    Of the states behind each layer, on `frames` frames of each batch of utterances; means over batches, with half of
    their 95 % interval. `mean` and `variance` are of each dimension, `frechet` of Gaussians, `wasserstein` of 128
    random directions, all relative to the spread of the states; `cka` and `cosine` compare the states of the same
    frame. How arXiv 2105.00812 measures layer consistency is not public to us: these are our own.

    Example:
        >>> consistency(model, data)[0].where
        {'first_state': 1, 'second_state': 2}
    """
    found = likeness(
        [model],
        data,
        reading="frames",
        batch=batch,
        frames=frames,
        limit=limit,
        embedding=False,
        metrics=consistencies,
        seed=seed,
    )
    states, count = [int(name) for name in found.names], found.samples * found.batches
    rows = []
    for metric, matrix in found.matrices.items():
        errors = None if found.errors is None else found.errors[metric]
        for i, j in itertools.combinations(range(len(states)), 2):
            error = None if errors is None else float(errors[i, j])
            places = [(metric, {"first_state": states[i], "second_state": states[j]})]
            if j == len(states) - 1:
                places.append((f"{metric}_to_last", {"state": states[i]}))
            rows += [
                Measurement("consistency", name, float(matrix[i, j]), where=where, n=count, error=error)
                for name, where in places
            ]
    return rows
