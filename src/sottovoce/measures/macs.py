"""Multiply-accumulates of a model, by the formulas of `models/counting.py`."""

import math
from typing import Any, Literal

from sottovoce.errors import SottovoceError
from sottovoce.measurement import Measurement
from sottovoce.measures.places import COST, place
from sottovoce.models import counting
from sottovoce.models.counting import Part, log_mel_macs
from sottovoce.models.front_end import SAMPLE_RATE, SHIFT, WINDOW, LogMel
from sottovoce.models.widths import widths_of
from sottovoce.registry import register_measure

# SUPERB's cost is the sum over 32 utterances of LibriSpeech test-clean (every 82nd by length); these are their samples.
SUPERB_SAMPLES = (
    *(20560, 34560, 38480, 42560, 45600, 48720, 52000, 55120, 59120, 62720, 66400, 71200, 75200, 78640, 82800, 87520),
    *(92720, 98560, 104400, 111120, 118480, 125040, 132720, 142640, 154000, 166720, 180880, 197920, 217920, 239280),
    *(268160, 326000),
)


@register_measure(
    "macs", paper="arXiv 2302.14132 (formulas), 2211.09949 (per second), SUPERB (32 utterances)", shown=COST
)
def macs(
    model: Any,
    data: Any = None,
    *,
    seconds: float = 10.0,
    convention: Literal["total", "per_second", "superb"] = "total",
) -> list[Measurement]:
    """Multiply-accumulates of one forward pass, whole and by part.

    `total` is for one utterance of `seconds`, `per_second` that divided by `seconds`, and `superb` the sum over the 32
    utterances (224.86 s) of the SUPERB profile, whatever `seconds` says. They are never mixed: the unit tells which.

    Example:
        >>> macs(sv.new("wav2vec2-base"), seconds=10)[0].value / 1e9
        74.06...
    """
    if not 0 < seconds < math.inf:
        raise SottovoceError(f"seconds={seconds}, but audio has a finite length above 0; give one.")
    if convention == "superb":
        each = [macs_by_part(model, samples) for samples in SUPERB_SAMPLES]
        parts = {where: sum(one[where] for one in each) for where in each[0]}
        unit = "MAC/superb"
    else:
        parts = macs_by_part(model, round(seconds * SAMPLE_RATE))
        unit = f"MAC/{seconds:g}s" if convention == "total" else "MAC/s"
    scale = seconds if convention == "per_second" else 1
    rows = {(): sum(parts.values()), **parts}
    return [
        Measurement("macs", "macs", count / scale if scale != 1 else count, unit, "lower", place(where))
        for where, count in rows.items()
    ]


def macs_by_part(model: Any, samples: int) -> dict[Part, int]:
    """The multiply-accumulates of one utterance of so many samples, by part of the model.

    Example:
        >>> sum(macs_by_part(sv.new("wav2vec2-base"), 160_000).values()) / 1e9
        74.06...
    """
    if isinstance(model, LogMel):
        if samples < WINDOW + (model.stack - 1) * SHIFT:
            raise SottovoceError(f"{samples} samples make no frame of log-mel features; give longer audio.")
        return {("front_end", 0): log_mel_macs(model.bins, samples)}
    return counting.macs_by_part(widths_of(model), samples)
