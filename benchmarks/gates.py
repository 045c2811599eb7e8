"""Learned pruning of small-hubert-wide: score over operations and over measured time, for five kinds of targets.

python benchmarks/gates.py CORPUS [KIND ...]

The stored record is of speech-mini@FOLDER. The teacher is fine-tuned once for each task by the recipes
small-hubert-wide-keywords and -phones, then pruned once for each point. What is in the record is not made again; models
lie in `runs/gates`. With kinds named (`macs`, `latency`, ...), only their points are made: several processes can share
the work. Without any, times are taken in the end, all in turns.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lib.corpora import of_task, shown
from lib.records import made, ratios_over, record

import sottovoce as sv
from sottovoce.files import load_yaml, working_in
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.widths import widths_of
from sottovoce.progress import told_to

NEEDS = {"speech": "speech-mini@FOLDER"}
TEACHER = "small-hubert-wide"
MODELS = Path("runs/gates")
RECIPES = Path(__file__).parents[1] / "recipes"
JOINT, STACK = ["conv", "heads", "ffn", "hidden"], ["heads", "ffn", "hidden"]
GATES = {"lr": 0.3, "multiplier_lr": 0.05, "stiffness": 100.0, "ramp": 0.5, "round_to": 16}
LEARNING: dict[str, dict[str, Any]] = {
    "keywords": {
        "train": {"steps": 200, "lr": 3e-4, "precision": "bf16"},
        "finish": {"steps": 50, "lr": 2e-4, "precision": "bf16"},
        "batch": 16.0,
    },
    "phones": {
        "train": {"steps": 140, "lr": 3e-4, "precision": "bf16"},
        "finish": {"steps": 40, "lr": 2e-4, "precision": "bf16"},
        "batch": 6.0,
    },
}
SECONDS = {"keywords": 1.0, "phones": 4.0}
LIMIT = {"keywords": None, "phones": 600}


class Point(NamedTuple):
    """One pruning."""

    task: str
    kind: str
    target: Any
    units: list[str]
    seed: int = 0

    @property
    def name(self) -> str:
        """Its key in the record."""
        target = self.target
        text = target if isinstance(target, str) else ", ".join(f"{part}:{value}" for part, value in target.items())
        return f"{self.task}, {self.kind}, {text}, seed {self.seed}"


def points() -> list[Point]:
    """All points: five of a kind for keywords, two of them with three seeds, and three for phones."""
    found = []
    for task, kinds in {
        "keywords": ("stack alone", "macs", "latency", "size", "separate"),
        "phones": ("macs", "latency"),
    }.items():
        for kind in kinds:
            for number, (target, units) in enumerate(targets(kind)):
                if task == "phones" and number not in (0, 2, 4):
                    continue
                seeded = task == "keywords" and kind in ("stack alone", "macs", "latency")
                seeds = (0, 1, 2) if seeded and number in (1, 3) else (0,)
                found += [Point(task, kind, target, units, seed) for seed in seeds]
    return found


def targets(kind: str) -> list[tuple[Any, list[str]]]:
    """The targets of a kind, and what is gated."""
    if kind == "separate":
        return [({"conv": f"-{conv}%", "transformer": f"-{stack}%"}, JOINT) for conv in (40, 80) for stack in (30, 60)]
    amounts = {
        "stack alone": (15, 25, 35, 45, 55),
        "macs": (20, 40, 55, 70, 80),
        "latency": (20, 40, 50, 60, 70),
        "size": (20, 40, 60, 75, 85),
    }[kind]
    cost = "macs" if kind == "stack alone" else kind
    return [(f"{cost}:-{amount}%", STACK if kind == "stack alone" else JOINT) for amount in amounts]


def whole(task: str, corpus: str) -> Any:
    """The teacher, fine-tuned for a task by its recipe."""
    place = MODELS / task
    if not place.is_dir():
        recipe = load_yaml((RECIPES / f"{TEACHER}-{task}.yaml").read_text(encoding="utf-8"), name="recipe")
        options = dict(recipe["steps"][0]["finetune"])
        with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
            sv.save(
                sv.METHODS["finetune"](sv.load(TEACHER), of_task(corpus, task), seed=recipe["seed"], **options), place
            )
    return sv.load(place)


def about(model: Any, task: str, data: Any) -> dict[str, Any]:
    """What a model scores and costs, and its shape."""
    score, widths = sv.MEASURES[task](model, data, mode="head", limit=LIMIT[task])[0], widths_of(model)
    return {
        "score": score.value,
        "error": score.error or 0.0,
        "n": float(score.n or 0),
        "parameters": sv.size(model)[0].value,
        "macs": sv.macs(model, seconds=10.0)[0].value,
        "channels": widths.channels,
        "heads": widths.heads,
        "units": [each[0] for each in widths.feed_forward],
        "hidden": widths.hidden,
    }


def place_of(point: Point) -> Path:
    """Where the model of a point lies."""
    return MODELS / "".join(letter if letter.isalnum() else "-" for letter in point.name)


def timed(task: str, names: dict[str, Path]) -> dict[str, float]:
    """Time of each model's pass over the whole one's, all in turns."""
    models = {name: sv.load(place) for name, place in names.items()}
    inputs = Anatomy(models[f"{task}, whole"]).dummy_inputs(SECONDS[task])
    # The thread's own time: what else the machine does costs long passes more than short ones.
    torch.set_num_threads(1)
    found = ratios_over(models, f"{task}, whole", inputs, rounds=25, clock=time.thread_time)
    return {name: row["ratio"] for name, row in found.items()}


def main(corpus: str, *kinds: str) -> None:
    """One row a point."""
    told = {"updates": {task: [each["train"]["steps"], each["finish"]["steps"]] for task, each in LEARNING.items()}}

    def keep(new: dict[str, dict[str, Any]]) -> None:
        rows = made("gates", teacher=TEACHER)
        rows |= {name: {**rows.get(name, {}), **row} for name, row in new.items()}
        order = [f"{task}, whole" for task in LEARNING] + [point.name for point in points()]
        ordered = {name: rows[name] for name in order if name in rows}
        record("gates", ordered, command=f"python benchmarks/gates.py {shown(corpus)}", teacher=TEACHER, **told)

    for task in LEARNING:
        if f"{task}, whole" not in made("gates", teacher=TEACHER):
            keep({f"{task}, whole": about(whole(task, corpus), task, of_task(corpus, task))})
    for point in points():
        known = made("gates", teacher=TEACHER)
        if (kinds and point.kind not in kinds) or (point.name in known and place_of(point).is_dir()):
            continue
        data, begin, words = of_task(corpus, point.task), time.perf_counter(), []
        options = {
            **LEARNING[point.task],
            "gates": GATES,
            "units": point.units,
            "target": point.target,
        }
        options["latency"] = {"seconds": SECONDS[point.task], "threads": 1}
        with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)), told_to(words.append):
            small = sv.METHODS["prune_jointly"](whole(point.task, corpus), data, seed=point.seed, **options)
        shutil.rmtree(place_of(point), ignore_errors=True)
        sv.save(small, place_of(point))
        row = {**about(small, point.task, data), "said": words, "seconds": time.perf_counter() - begin}
        keep({point.name: row})
    if not kinds:
        for task in LEARNING:
            names = {
                point.name: place_of(point) for point in points() if point.task == task and place_of(point).is_dir()
            }
            found = timed(task, {f"{task}, whole": MODELS / task} | names)
            keep({name: {"time": value} for name, value in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
