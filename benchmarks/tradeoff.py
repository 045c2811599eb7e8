"""What each technique of paper 5 costs and saves, on a pretrained teacher: size, operations, time, phones and speakers.

python benchmarks/tradeoff.py CORPUS [POINT ...]

The stored record is of speech-mini@FOLDER. Each point begins where the one that it names ended, cuts, and trains on
with the units that the model named before the cut; updates are some tens or hundreds, where the paper has 25 000 a
round. A point that is in the record is not made again; models lie in `runs/tradeoff` between two points. With points
named, only these are made: several processes can share the work. Times are taken in the end, all in one run.
"""

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.corpora import shown
from lib.records import made, record, times_over

import sottovoce as sv
from sottovoce.files import working_in
from sottovoce.models.anatomy import Anatomy
from sottovoce.pretraining.run import train_and_dev

NEEDS = {"speech": "speech-mini@FOLDER"}
TEACHER = "small-melhubert"
MODELS = Path("runs/tradeoff")
RECORDINGS = 1000  # to train on with: each is heard once, and naming the units of all would take longer than training
HEAL: dict[str, Any] = {"heal": {"steps": 80, "lr": 2e-4, "batch": 12}}
DISTIL: dict[str, Any] = {
    "loss": "cluster_kl",
    "train": {"steps": 250, "lr": 1e-3},
    "batch_seconds": 40,
    "dropout": 0.0,
}
# A name, the point that it goes on from, a method and its options.
POINTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("first 6 layers", "whole", "drop_layers", {"keep": 6}),
    ("first 2 layers", "whole", "drop_layers", {"keep": 2}),
    ("distilled, 6 layers", "whole", "distill", {**DISTIL, "student": {"layers": 6}}),
    ("distilled, 2 layers", "whole", "distill", {**DISTIL, "student": {"layers": 2}}),
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
            row = sv.MEASURES[task](model, data, mode="probe", train={"steps": 400, "lr": 5e-3}, limit=limit)[0]
        found |= {task: row.value, f"{task}_error": row.error or 0.0, f"{task}_n": float(row.n or 0)}
    found["parameters"] = float(sum(int((p != 0).sum()) for p in model.parameters()))
    found["macs"] = sv.macs(model, seconds=1.0)[0].value
    return found


def times_of(names: Iterable[str]) -> dict[str, float]:
    """Time of each of these points over the whole model's, on 5 s of audio, all in turns."""
    models = {name: sv.load(TEACHER if name == "whole" else place_of(name)) for name in names}
    return times_over(models, "whole", Anatomy(models["whole"]).dummy_inputs(5.0), rounds=40)


def place_of(name: str) -> Path:
    """Where the model of a point lies."""
    return MODELS / name.replace(", ", "-").replace(" ", "-")


def main(corpus: str, *chosen: str) -> None:
    """One row a point."""
    data = sv.read_data(corpus)
    learnt, _ = train_and_dev(data)
    few = random.Random(0).sample(learnt, min(RECORDINGS, len(learnt)))
    about = {
        "teacher": TEACHER,
        "heal": HEAL["heal"]["steps"],
        "distil": DISTIL["train"]["steps"],
        "recordings": RECORDINGS,
    }

    def keep(new: dict[str, dict[str, float]]) -> None:
        rows = {**made("tradeoff", teacher=TEACHER), **new}
        ordered = {point: rows[point] for point in ["whole", *(each[0] for each in POINTS)] if point in rows}
        record("tradeoff", ordered, command=f"python benchmarks/tradeoff.py {shown(corpus)}", **about)

    if "whole" not in made("tradeoff", teacher=TEACHER):
        keep({"whole": scores(sv.load(TEACHER), data)})
    for name, before, method, options in POINTS:
        place = place_of(name)
        needed = any(start == name for _, start, _, _ in POINTS)
        if (chosen and name not in chosen) or (
            name in made("tradeoff", teacher=TEACHER) and (place.is_dir() or not needed)
        ):
            continue
        begin = time.perf_counter()
        model = sv.load(TEACHER if before == "whole" else place_of(before))
        with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
            model = sv.METHODS[method](model, few if "heal" in options else data, **options)
        shutil.rmtree(place, ignore_errors=True)
        sv.save(model, place)
        keep({name: {**scores(model, data), "seconds": time.perf_counter() - begin}})
    if not chosen and all(place_of(name).is_dir() for name in made("tradeoff", teacher=TEACHER) if name != "whole"):
        rows = made("tradeoff", teacher=TEACHER)
        keep({name: {**rows[name], "time": taken} for name, taken in times_of(rows).items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
