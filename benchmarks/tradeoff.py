"""What each technique of paper 5 costs and saves, on a pretrained teacher: size, operations, time, phones and speakers.

python benchmarks/tradeoff.py CORPUS

The stored record is of speech-mini@FOLDER. Each point begins where the one that it names ended, cuts, and trains on
with the units that the teacher names; updates are some hundreds, where the paper has 25 000 a round. A point that is in
the record is not made again; models lie in `runs/tradeoff` between two points.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from corpora import shown
from turns import RECORDS, in_turns, ratio, record

import sottovoce as sv
from sottovoce.files import working_in
from sottovoce.models.anatomy import Anatomy

TEACHER = "small-melhubert"
MODELS = Path("runs/tradeoff")
HEAL: dict[str, Any] = {"heal": 80, "lr": 2e-4, "batch": 12}
DISTIL: dict[str, Any] = {"loss": "cluster_kl", "steps": 250, "lr": 1e-3, "batch_seconds": 40, "dropout": 0.0}
# A name, the point that it goes on from, a method and its options.
POINTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("first 6 layers", "whole", "drop_layers", {"keep": 6}),
    ("first 2 layers", "whole", "drop_layers", {"keep": 2}),
    ("distilled, 6 layers", "whole", "distill", {"student": 6, **DISTIL}),
    ("distilled, 2 layers", "whole", "distill", {"student": 2, **DISTIL}),
    ("3 heads", "whole", "prune_heads", {"keep": 3, **HEAL}),
    ("2 heads", "3 heads", "prune_heads", {"keep": 2, **HEAL}),
    ("1 head", "2 heads", "prune_heads", {"keep": 1, **HEAL}),
    ("512 units", "whole", "prune_ffn", {"keep": 512, **HEAL}),
    ("256 units", "512 units", "prune_ffn", {"keep": 256, **HEAL}),
    ("128 units", "256 units", "prune_ffn", {"keep": 128, **HEAL}),
    ("half of the weights", "whole", "prune_weights", {"sparsity": 0.5, **HEAL}),
    ("a fifth of the weights", "half of the weights", "prune_weights", {"sparsity": 0.8, **HEAL}),
    ("6 layers, 2 heads", "distilled, 6 layers", "prune_heads", {"keep": 2, **HEAL}),
    ("6 layers, 2 heads, 384 units", "6 layers, 2 heads", "prune_ffn", {"keep": 384, **HEAL}),
    ("6 layers, 2 heads, 128 units", "6 layers, 2 heads, 384 units", "prune_ffn", {"keep": 128, **HEAL}),
]


def scores(model: Any, data: Any) -> dict[str, float]:
    """Probes of the sum of the layers, and what the model costs; zeros count as no parameters."""
    found: dict[str, float] = {}
    for task in ("phones", "speakers"):
        with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
            # Of speakers no one may be left out: the test split asks for all.
            limit = 600 if task == "phones" else None
            row = sv.MEASURES[task](model, data, mode="probe", steps=400, lr=5e-3, limit=limit)[0]
        found |= {task: row.value, f"{task}_error": row.error or 0.0, f"{task}_n": float(row.n or 0)}
    found["parameters"] = float(sum(int((p != 0).sum()) for p in model.parameters()))
    found["macs"] = sv.macs(model, seconds=1.0)[0].value
    whole = sv.load(TEACHER)
    inputs = Anatomy(whole).dummy_inputs(5.0)
    with torch.no_grad():
        times = in_turns({"small": lambda: model(**inputs), "whole": lambda: whole(**inputs)}, rounds=15)
    found["time"] = ratio(times, "small", "whole")["ratio"]
    return found


def main(corpus: str) -> None:
    """One row a point."""
    data = sv.read_data(corpus)
    path = RECORDS / "tradeoff.json"
    rows: dict[str, Any] = json.loads(path.read_text())["rows"] if path.is_file() else {}
    about = {"model": TEACHER, "heal": HEAL["heal"], "distil": DISTIL["steps"]}

    def keep(name: str, row: dict[str, float]) -> None:
        rows[name] = row
        record("tradeoff", rows, command=f"python benchmarks/tradeoff.py {shown(corpus)}", **about)

    if "whole" not in rows:
        keep("whole", scores(sv.load(TEACHER), data))
    for name, before, method, options in POINTS:
        place = MODELS / name.replace(", ", "-").replace(" ", "-")
        if name in rows and (place.is_dir() or not any(start == name for _, start, _, _ in POINTS)):
            continue
        begin = time.perf_counter()
        model = sv.load(TEACHER if before == "whole" else MODELS / before.replace(", ", "-").replace(" ", "-"))
        with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
            model = sv.METHODS[method](model, data, **options)
        shutil.rmtree(place, ignore_errors=True)
        sv.save(model, place)
        keep(name, {**scores(model, data), "seconds": time.perf_counter() - begin})


if __name__ == "__main__":
    main(sys.argv[1])
