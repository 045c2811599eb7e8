"""The features that a part's time is a sum of, and how much of each: fits whose coefficients are zero or more."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from sottovoce.gates.latency_design import WHOLE, Row
from sottovoce.models.counting import Part, in_double, macs_by_part
from sottovoce.models.widths import Number, Widths

Features = dict[str, Number]
LAYER = ("attention_projections", "attention_products", "feed_forward", "convolution", "adapter")


class Fit(NamedTuple):
    """Seconds of a unit of each feature by kind of part, the scale of their sum, and the rest of a whole pass.

    Example:
        >>> Fit({"positional": {"macs": 2e-11}}, 1.1, {"one": 1e-4}).scale
        1.1
    """

    costs: dict[str, dict[str, float]]
    scale: float
    rest: dict[str, float]


def features(widths: Widths, samples: int) -> dict[Part, Features]:
    """What the time of each part grows with: its widths, and its multiply-accumulates.

    Example:
        >>> features(widths_of(sv.new("hubert-base")), 16_000)[("front_end", 1)]["inputs"]
        512
    """
    macs, widths = macs_by_part(widths, samples), in_double(widths)
    hidden, family = widths.hidden, widths.family
    found: dict[Part, Features] = {}
    before: Number = 1
    for index, width in enumerate(widths.channels):
        found["front_end", index] = {"one": 1.0, "inputs": before, "outputs": width}
        before = width
    for index in range(2 if family.mel_input else 1 if widths.log_mel is not None else 0):
        found["front_end", index] = {"one": 1.0}
    if not family.mel_input:
        found["feature_projection",] = {"one": 1.0, "inputs": widths.features, "hidden": hidden}
    if family.positional is not None and family.positional_runs:
        found["positional",] = {"one": 1.0, "hidden": hidden}
    for step, stored in enumerate(widths.order):
        present = widths.present[stored]
        found["layer", step, "norms"] = {"one": present, "hidden": present * hidden}
        for name in LAYER:
            if ("layer", step, name) in macs:
                found["layer", step, name] = {}
        found["layer", step, "attention_products"]["heads"] = present * widths.heads[stored]
        found["layer", step, "feed_forward"]["units"] = present * sum(widths.feed_forward[stored])
    if family.squeezes:
        found["upsampling",] = {"one": 1.0, "hidden": hidden}
    for part, row in found.items():
        row["macs"] = macs.get(part, 0)
    return found


def rest_of(widths: Widths) -> Features:
    """What the time grows with that no part takes: norms and sums between parts, the head."""
    return {"one": 1.0, "hidden": in_double(widths.hidden)}


def kind_of(part: Part) -> str:
    """The parts that one set of coefficients is for: those of all layers are alike.

    Example:
        >>> kind_of(("layer", 3, "feed_forward")), kind_of(("front_end", 3))
        ('layer feed_forward', 'front_end 3')
    """
    return " ".join(map(str, (part[0], *part[2:]) if part[0] == "layer" else part))


def price(costs: Mapping[str, float], row: Features, scale: float = 1.0) -> Number:
    """The seconds of some features: a float where these are plain numbers."""
    return sum((scale * seconds * row[name] for name, seconds in costs.items()), 0.0)


def fit(rows: Sequence[Row], samples: int) -> Fit:
    """Each kind of part by its own times, then what the sum of the parts is of a whole."""
    groups: dict[str, list[tuple[dict[Any, float], float]]] = defaultdict(list)
    for row in rows:
        if row.part != WHOLE:
            groups[kind_of((row.part[0],) if row.part[0] == "layer" else row.part)].append(
                (inside(row, samples), row.seconds)
            )
    costs: dict[str, dict[str, float]] = defaultdict(dict)
    for group in groups.values():
        for (kind, name), seconds in solved(group).items():
            costs[kind][name] = seconds
    found = Fit(dict(costs), 1.0, {})
    wholes = [
        ({"scale": predicted(found, row, samples), **rest_of(row.widths)}, row.seconds)
        for row in rows
        if row.part == WHOLE
    ]
    rest = solved(wholes)
    return Fit(found.costs, rest.pop("scale"), rest)


def inside(row: Row, samples: int) -> dict[tuple[str, str], float]:
    """The features of all that was timed with a part: a layer was timed as a whole, and an empty part is all parts."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for part, values in features(row.widths, samples).items():
        if part[: len(row.part)] == row.part:
            for name, value in values.items():
                found[kind_of(part), name] += value
    return found


def predicted(found: Fit, row: Row, samples: int) -> float:
    """What a fit says that a part takes alone; of a whole, the sum of its parts."""
    return sum(found.costs[kind].get(name, 0.0) * value for (kind, name), value in inside(row, samples).items())


def misses(found: Fit, rows: Sequence[Row], samples: int) -> tuple[list[float], list[float]]:
    """The relative errors of a fit on parts, and on wholes."""
    parts, wholes = [], []
    for row in rows:
        seconds = predicted(found, row, samples)
        if row.part == WHOLE:
            seconds = found.scale * seconds + price(found.rest, rest_of(row.widths))
        (wholes if row.part == WHOLE else parts).append(abs(seconds / row.seconds - 1))
    return parts, wholes


def solved(rows: Sequence[tuple[Mapping[Any, float], float]]) -> dict[Any, float]:
    """The coefficients, zero or more, whose relative errors have the smallest sum of squares."""
    names = list(rows[0][0])
    matrix = np.array([[row[name] / seconds for name in names] for row, seconds in rows])
    most = np.maximum(matrix.max(axis=0), np.finfo(float).tiny)
    found, _ = nnls(matrix / most, np.ones(len(rows)))
    return {name: float(value) for name, value in zip(names, found / most, strict=True)}
