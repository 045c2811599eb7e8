"""A teacher cut where a concept lies most convex and fine-tuned, against the whole one fine-tuned (paper 2's table).

python benchmarks/convexity_cut.py CORPUS

The stored record is of speech-mini@FOLDER. Updates as for the bundled fine-tuned models. Of both times (a step of
training; a pass) the ratio to the whole model's is taken in turns. What is there already is not made again.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lib.corpora import of_task, shown
from lib.records import made, ratio, record

import sottovoce as sv
from sottovoce.files import working_in
from sottovoce.models.anatomy import Anatomy
from sottovoce.timing import in_turns

NEEDS = {"speech": "speech-mini@FOLDER"}
TEACHER = "small-melhubert"
UPDATES: dict[str, dict[str, Any]] = {
    "keywords": {"train": {"steps": 600, "lr": 5e-4, "precision": "bf16", "validate_every": 60}, "batch": 32},
    "speakers": {"train": {"steps": 500, "lr": 5e-4, "precision": "bf16", "validate_every": 100}, "batch": 24},
}
SECONDS = {"keywords": 1.0, "speakers": 3.0}
CUTS: dict[str, dict[str, Any] | None] = {
    "whole": None,
    "the paper's cut": {"rule": "per_task"},
    "most convex": {"rule": "argmax"},
}


def times_of(small: Any, whole: Any, seconds: float) -> dict[str, float]:
    """Time of a step of training (forward and backward) and of a pass over the whole model's."""
    found = {}
    inputs = Anatomy(whole).dummy_inputs(seconds, batch=4)

    def step(model: Any) -> None:
        model(**inputs).logits.square().mean().backward()
        model.zero_grad()

    def heard(model: Any) -> None:
        with torch.no_grad():
            model(**inputs)

    for name, run in (("training_time", step), ("time", heard)):
        times = in_turns({"small": lambda run=run: run(small), "whole": lambda run=run: run(whole)}, rounds=15)
        found[name] = ratio(times, "small", "whole")["ratio"]
    return found


def main(corpus: str) -> None:
    """One row a task and cut."""
    rows = made("convexity_cut", teacher=TEACHER)
    about: dict[str, Any] = {
        "teacher": TEACHER,
        "updates": {task: each["train"]["steps"] for task, each in UPDATES.items()},
    }
    for task, updates in UPDATES.items():
        data, whole = of_task(corpus, task), None
        for name, options in CUTS.items():
            if f"{task}, {name}" in rows:
                continue
            model = sv.load(TEACHER)
            small = model if options is None else sv.METHODS["cut_at_convexity"](model, data, labels=task, **options)
            kept = len(Anatomy(small).order)
            same = next((row for key, row in rows.items() if key.startswith(task) and row["layers"] == kept), None)
            if same is None:
                begin = time.perf_counter()
                with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
                    tuned = sv.METHODS["finetune"](small, data, task=task, **updates)
                seconds = time.perf_counter() - begin
                score = sv.MEASURES[task](tuned, data, mode="head")[0]
                row = {"layers": kept, "accuracy": score.value, "error": score.error or 0.0, "n": float(score.n or 0)}
                row |= {"parameters": sv.size(tuned)[0].value, "seconds": seconds}
                whole = whole or sv.load(f"{TEACHER}-{task}")
                row |= times_of(tuned, whole, SECONDS[task])
            else:
                row = same  # the same layers, the same seed: the same model
            rows[f"{task}, {name}"] = row
            record("convexity_cut", rows, command=f"python benchmarks/convexity_cut.py {shown(corpus)}", **about)


if __name__ == "__main__":
    main(sys.argv[1])
