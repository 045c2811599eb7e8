"""How alike a model's layers are, which blocks they form, and how little each of them changes."""

import itertools
from collections.abc import Iterator
from typing import Any, Literal

from sottovoce.analysis.blocks import blocks
from sottovoce.analysis.similarity import NEIGHBOURS
from sottovoce.measurement import Measurement
from sottovoce.models.hub import load
from sottovoce.registry import measure
from sottovoce.studies.similarity import Likeness, Reading, influences, likeness, spans

VERSION = 1


@measure(paper="How Redundant Is the Transformer Stack (arXiv 2409.16302)", version=VERSION, shares=True)
def similarity(
    model: Any,
    data: Any = None,
    *,
    reading: Reading = "flatten",
    other: str | None = None,
    k: int = 8,
    batch: int = 128,
    seconds: float = 1.0,
    frames: int = 1024,
    limit: int | None = 1024,
    embedding: bool = True,
    blocks_of: Literal["cka", "cka_unbiased", "cosine", "knn"] = "cka",
    seed: int = 0,
) -> list[Measurement]:
    """Cosine, angle, CKA and mutual kNN of all pairs of states; blocks; the influence of layers; angles of spans.

    Each metric is the mean over batches of `batch` samples, with half of its 95 % interval. A sample is, by `reading`,
    an utterance of `seconds` flattened over time (the paper's), its mean over time, or a frame. States count from 0,
    which enters the first layer; layers count from 0. With `other`, a model, the pairs are of a state of the one and a
    state of the other.

    Example:
        >>> similarity(model, data, reading="mean")[0].where
        ('mean', 0, 1)
    """
    options: dict[str, Any] = {"batch": batch, "seconds": seconds, "frames": frames, "limit": limit, "seed": seed}
    models = [model] if other is None else [model, load(other)]
    found = likeness(models, data, reading=reading, embedding=embedding, ks=sorted({k, *NEIGHBOURS}), **options)
    rows = list(pairs_of(found, reading, k))
    if other is None:
        rows += blocks_in(found, reading, f"knn_{k}" if blocks_of == "knn" else blocks_of, seed)
        rows += scores_of(found, reading, k)
    return rows


def pairs_of(found: Likeness, reading: str, k: int) -> Iterator[Measurement]:
    """Every pair once; of two models, only pairs across them."""
    shown = {"cosine": "cosine", "angle": "angle", "cka": "cka", "cka_unbiased": "cka_unbiased", f"knn_{k}": "knn"}
    two = any(name.endswith("'") for name in found.names)
    count = len(found.names)
    for key, metric in shown.items():
        if key not in found.matrices:
            continue
        for i, j in itertools.combinations(range(count), 2):
            value, names = float(found.matrices[key][i, j]), (found.names[i], found.names[j])
            if value != value or (two and names[0].endswith("'") == names[1].endswith("'")):
                continue  # cosines of layers of different widths are not there
            error = None if found.errors is None or key not in found.errors else float(found.errors[key][i, j])
            where = (reading, int(names[0]), int(names[1].rstrip("'")))
            name = f"{metric}_to_other" if two else metric
            yield row(name, value, where, found, error)


def row(
    metric: str,
    value: float,
    where: tuple[str | int, ...],
    found: Likeness,
    error: float | None = None,
) -> Measurement:
    """One number of this measure; `n` counts samples."""
    count = found.samples * found.batches
    return Measurement("similarity", metric, value, where=where, n=count, error=error, version=VERSION)


def blocks_in(found: Likeness, reading: str, metric: str, seed: int) -> Iterator[Measurement]:
    """The first state of each block of layers' outputs, the best cut in two, the gain of both, and chance's.

    What enters the first layer is no layer's output, and in most models unlike all of them, so it has no part.
    """
    first = 1 if found.names[0] == "0" else 0
    if metric not in found.matrices or len(found.names) - first < 3:
        return
    shape, state = blocks(found.matrices[metric][first:, first:], seed=seed), int(found.names[first])
    for number, start in enumerate(shape.starts):
        yield row("block_start", state + start, (reading, "block", number), found)
    yield row("boundary", state + shape.boundary, (reading,), found)
    yield row("block_gain", shape.gain, (reading,), found)
    yield row("block_gain_shuffled", shape.shuffled, (reading,), found)
    yield row("block_chance", shape.chance, (reading,), found)


def scores_of(found: Likeness, reading: str, k: int) -> Iterator[Measurement]:
    """The influence of every layer, and the angle over every run of layers."""
    if f"knn_{k}" in found.matrices:
        for layer in influences(found, k=k):
            for metric in ("bi", "knn_bi", "knn_bi_averaged", "cka_bi"):
                yield row(metric, getattr(layer, metric), (reading, "layer", layer.layer), found)
    for first, count, angle in spans(found):
        yield row("span_angle", angle, (reading, "layers", first, first + count), found)
