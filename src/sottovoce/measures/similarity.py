"""How alike a model's layers are, which blocks they form, and how little each of them changes."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from sottovoce.analysis.blocks import blocks
from sottovoce.analysis.similarity import NEIGHBORS
from sottovoce.measurement import Coordinate, Measurement, select
from sottovoce.models.hub import load
from sottovoce.registry import register_measure
from sottovoce.studies.similarity import Likeness, Reading, influences, likeness, spans
from sottovoce.views import Cut, HeatMap, Lines, Rows, Shown, Words

VERSION = 1
SHARE = 0.25  # of the layers that a cut of layers takes
SAMPLES = {
    "flatten": "A sample: an utterance, cut or padded to one length, flat over time and numbers (as in the paper).",
    "mean": "A sample: the mean of an utterance over time.",
    "frames": "A sample: a frame.",
}


def blocks_told(rows: Rows) -> str:
    """The blocks of states of one reading, with what says whether they are there."""
    starts = [int(row.value) for row in select(rows, "block_start")]
    last = max((int(row.at("second_state")) for row in rows if "second_state" in row.where), default=None)
    value = {row.metric: row.value for row in rows if set(row.where) == {"reading"}}
    wanted = {"boundary", "block_gain", "block_gain_shuffled", "block_chance"}
    if not starts or last is None or not wanted <= value.keys():
        return ""
    names = [f"{a}-{b - 1}" for a, b in zip(starts, [*starts[1:], last + 1], strict=True)]
    return (
        f"Blocks of states: {', '.join(names)}; the best cut in two begins at state {value['boundary']:.0f}. "
        f"Gain {value['block_gain']:.2f}; where pairs of equal distance are shuffled "
        f"{value['block_gain_shuffled']:.2f}, and as much in {value['block_chance']:.1%} of all cases."
    )


def redundant(rows: Rows) -> Iterator[Cut]:
    """The layers that change their input least, then the run of as many with the smallest angle between its ends.

    Never the first one, as in the paper.
    """
    layers = 1 + max((int(row.at("layer")) for row in select(rows, "bi")), default=-1)
    wanted = round(SHARE * layers)
    flat = [row for row in select(rows, reading="flatten") if row.where.get("layer", row.where.get("first_layer"))]
    for metric, name in (("knn_bi_averaged", "the neighbours of utterances"), ("bi", "the direction of states")):
        scores = {int(row.at("layer")): row.value for row in select(flat, metric)}
        if wanted and len(scores) > wanted:
            gone = sorted(sorted(scores, key=scores.__getitem__)[:wanted])
            listed = ", ".join(f"{layer} ({scores[layer]:.3f})" for layer in gone)
            kept = min(value for layer, value in scores.items() if layer not in gone)
            reason = f"Layers {listed} change {name} least ({metric}); the next one changes it by {kept:.3f}."
            yield Cut(f"drop_layers:drop={gone}", reason)
    wanted = max(1, wanted)
    ends = [(int(row.at("first_layer")), int(row.at("last_layer")), row.value) for row in select(flat, "span_angle")]
    runs = [(first, last, angle) for first, last, angle in ends if last - first + 1 == wanted]
    if runs and layers > wanted:
        first, last, angle = min(runs, key=lambda run: run[2])
        reason = f"What enters layer {first} and what leaves layer {last} are {180 * angle:.0f} degrees apart"
        reason += f", less than over any other {wanted} layers." if len(runs) > 1 else "."
        yield Cut(f"drop_layers:drop={list(range(first, last + 1))}", reason)


ALIKE = ("cka", "knn", "cosine", "cka_unbiased")
INFLUENCE = {"bi": "cosine", "knn_bi": "8 neighbours", "knn_bi_averaged": "2-64 neighbours", "cka_bi": "CKA"}
STATES: dict[str, Any] = {"x": "second_state", "y": "first_state", "y_label": "state"}
OWN = HeatMap(
    **STATES,
    x_label="state",
    metrics=dict.fromkeys(ALIKE, ""),
    diagonal=dict.fromkeys(ALIKE, 1.0),
    blocks="block_start",
)
ACROSS = HeatMap(**STATES, x_label="state of the other model", metrics={f"{metric}_to_other": "" for metric in ALIKE})
SHOWN = (
    Shown("Similarity of layers", (OWN, ACROSS, Words(blocks_told)), each="reading", notes=SAMPLES, place=10),
    Shown(
        "Influence of layers",
        (Lines("layer", y="1 - similarity to its input", metrics=INFLUENCE),),
        recommends=redundant,
        each="reading",
        place=20,
    ),
)


@register_measure(
    paper="How Redundant Is the Transformer Stack (arXiv 2409.16302)", version=VERSION, shares=True, shown=SHOWN
)
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
        {'reading': 'mean', 'first_state': 0, 'second_state': 1}
    """
    options: dict[str, Any] = {"batch": batch, "seconds": seconds, "frames": frames, "limit": limit, "seed": seed}
    models = [model] if other is None else [model, load(other)]
    found = likeness(models, data, reading=reading, embedding=embedding, ks=sorted({k, *NEIGHBORS}), **options)
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
            where = {"reading": reading, "first_state": int(names[0]), "second_state": int(names[1].rstrip("'"))}
            name = f"{metric}_to_other" if two else metric
            yield row(name, value, where, found, error)


def row(
    metric: str,
    value: float,
    where: Mapping[str, Coordinate],
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
        yield row("block_start", state + start, {"reading": reading, "block": number}, found)
    yield row("boundary", state + shape.boundary, {"reading": reading}, found)
    yield row("block_gain", shape.gain, {"reading": reading}, found)
    yield row("block_gain_shuffled", shape.shuffled, {"reading": reading}, found)
    yield row("block_chance", shape.chance, {"reading": reading}, found)


def scores_of(found: Likeness, reading: str, k: int) -> Iterator[Measurement]:
    """The influence of every layer, and the angle over every run of layers."""
    if f"knn_{k}" in found.matrices:
        for layer in influences(found, k=k):
            for metric in ("bi", "knn_bi", "knn_bi_averaged", "cka_bi"):
                yield row(metric, getattr(layer, metric), {"reading": reading, "layer": layer.layer}, found)
    for first, count, angle in spans(found):
        run = {"reading": reading, "first_layer": first, "last_layer": first + count - 1}
        yield row("span_angle", angle, run, found)
