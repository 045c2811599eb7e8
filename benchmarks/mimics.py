"""Mimics of a stack, beside the same small layers without a teacher (paper 1's tables), on keywords.

python benchmarks/mimics.py CORPUS

The stored record is of speech-mini@FOLDER. Widths are the paper's over four, as the model is a quarter as wide; updates
and batches are far fewer than the paper's 33 150 and 19 890 of 128. Some keep the positional convolution in front,
which the paper takes away. What is there already is not made again, but for the times, which are taken anew, all in one
run and of untrained networks: weights do not change them.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lib.corpora import of_task, shown
from lib.records import made, record, times_over

import sottovoce as sv
from sottovoce.files import working_in
from sottovoce.models.anatomy import Anatomy

NEEDS = {"speech": "speech-mini@FOLDER"}
MODEL = "small-melhubert-keywords"
STEPS, TASK_STEPS, BATCH = 1500, 600, 32
SHAPES: list[tuple[str, int, int, bool]] = [
    ("transformer", 1, 192, True),
    ("transformer", 1, 192, False),
    ("linear", 1, 192, True),
    ("linear", 1, 192, False),
    ("transformer", 2, 192, False),
    ("linear", 1, 1024, False),
    ("linear", 1, 8, False),
]
ROWS: dict[str, dict[str, Any]] = {
    f"{name}, {kind}, {layers} of {width}{', positional' * positional}": {
        "shape": {"kind": kind, "layers": layers, "width": width, "positional": positional},
        "train": {"steps": STEPS} if teacher else None,
    }
    for name, teacher in (("mimic", True), ("no teacher", False))
    for kind, layers, width, positional in SHAPES
    if teacher or layers == 1
}


def scores(model: Any, data: Any) -> dict[str, float]:
    """Accuracy on the test split, and what the model costs."""
    row = sv.MEASURES["keywords"](model, data, mode="head")[0]
    body = Anatomy(model)
    found = {"accuracy": row.value, "error": row.error or 0.0, "n": float(row.n or 0)}
    found["parameters"] = sv.size(model)[0].value
    found["stack"] = float(sum(parameter.numel() for parameter in body.base.encoder.parameters()))
    found["macs"] = sv.macs(model, seconds=1.0)[0].value
    return found


def times_of(whole: Any) -> dict[str, float]:
    """Time of each network over that of the whole one, on a second of audio, all in turns."""
    inputs = Anatomy(whole).dummy_inputs(1.0)
    models = {name: sv.mimic(whole, **{**options, "train": None}, task_train=None) for name, options in ROWS.items()}
    times = times_over({"whole": whole, **models}, "whole", inputs, rounds=100)
    return {name: times[name] for name in models}


def main(corpus: str) -> None:
    """One row a network."""
    data = of_task(corpus, "keywords")
    whole = sv.load(MODEL)
    rows = made("mimics")
    rows["whole"] = rows.get("whole") or scores(whole, data)

    def keep() -> None:
        about = {"model": MODEL, "steps": STEPS, "task_steps": TASK_STEPS, "batch": BATCH}
        record("mimics", rows, command=f"python benchmarks/mimics.py {shown(corpus)}", **about)

    for name, options in ROWS.items():
        if name in rows:
            continue
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
            small = sv.mimic(
                whole,
                data,
                task_train={"steps": TASK_STEPS},
                batch=BATCH,
                task="keywords",
                **options,
            )
        rows[name] = {**scores(small, data), "seconds": time.perf_counter() - begin}
        keep()
    for name, taken in times_of(whole).items():
        rows[name]["time"] = taken
    keep()


if __name__ == "__main__":
    main(sys.argv[1])
