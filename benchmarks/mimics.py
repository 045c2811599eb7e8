"""Mimics of a stack, beside the same small layers without a teacher (paper 1's tables), on keywords.

python benchmarks/mimics.py CORPUS

The stored record is of speech-mini@FOLDER. Widths are the paper's over four, as the model is a quarter as wide; updates
and batches are far fewer than the paper's 33 150 and 19 890 of 128. Some keep the positional convolution in front,
which the paper takes away. What is there already is not made again.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from corpora import of_task, shown
from turns import RECORDS, in_turns, ratio, record

import sottovoce as sv
from sottovoce.files import working_in
from sottovoce.models.anatomy import Anatomy

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
        **{"kind": kind, "layers": layers, "width": width, "positional": positional, "teacher": teacher}
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


def time_of(small: Any, whole: Any) -> float:
    """Time of one network over that of the other, on a second of audio."""
    inputs = Anatomy(whole).dummy_inputs(1.0)
    with torch.no_grad():
        times = in_turns({"small": lambda: small(**inputs), "whole": lambda: whole(**inputs)}, rounds=15)
    return ratio(times, "small", "whole")["ratio"]


def main(corpus: str) -> None:
    """One row a network."""
    data = of_task(corpus, "keywords")
    whole = sv.load(MODEL)
    path = RECORDS / "mimics.json"
    rows: dict[str, Any] = json.loads(path.read_text())["rows"] if path.is_file() else {}
    rows.setdefault("whole", scores(whole, data))
    for name, options in ROWS.items():
        if name in rows:
            continue
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
            small = sv.mimic(whole, data, **options, steps=STEPS, task_steps=TASK_STEPS, batch=BATCH, task="keywords")
        rows[name] = {**scores(small, data), "seconds": time.perf_counter() - begin}
        rows[name]["time"] = time_of(small, whole)
        about = {"model": MODEL, "steps": STEPS, "task_steps": TASK_STEPS, "batch": BATCH}
        record("mimics", rows, command=f"python benchmarks/mimics.py {shown(corpus)}", **about)


if __name__ == "__main__":
    main(sys.argv[1])
