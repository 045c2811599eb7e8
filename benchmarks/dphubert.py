"""DPHuBERT's two stages on small-hubert-wide at a quarter of its size, against three baselines of equal size.

python benchmarks/dphubert.py CORPUS [SEED ...]

The stored record is of speech-mini@FOLDER. All of them learn to keep the states of small-hubert-wide, from the same
batches (of every third recording), for the same number of updates: DPHuBERT prunes in the first of them. `scratch` has
the shape that DPHuBERT found and weights drawn anew; `taylor` loses heads and feed-forward units in one step, those
first that change the loss least against the states of small-hubert, which small-hubert-wide was distilled from;
`layers` keeps the lowest two layers, which is the number nearest to that size. Speakers are 40. What is in the record
is not made again; with seeds named, only theirs are made.
"""

import copy
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.corpora import of_task, shown
from lib.records import made, probe_options, record

import sottovoce as sv
from sottovoce.analysis.importance import lowest_of_all, over_layer
from sottovoce.distillation.maps import Learned
from sottovoce.distillation.student import find_teacher
from sottovoce.files import working_in
from sottovoce.healing import heal
from sottovoce.healing.losses import AS_DPHUBERT, objective_for
from sottovoce.healing.objectives import state_objective
from sottovoce.models.build import compressed
from sottovoce.models.edits import keep_feed_forward, keep_heads
from sottovoce.progress import told_to
from sottovoce.studies.effects import effects_of_heads, effects_of_units
from sottovoce.training import Training

NEEDS = {"speech": "speech-mini@FOLDER"}
TEACHER = "small-hubert-wide"
LEFT = 0.25
BATCH = 12.0
GATES = {"lr": 0.3, "multiplier_lr": 0.05, "stiffness": 100.0, "ramp": 0.5}
PRUNE = {"steps": 160, "lr": 1e-3, "precision": "bf16", "clip": 10.0}
FINISH = {"steps": 80, "lr": 5e-4, "precision": "bf16", "clip": 10.0}
# One training instead of two: as long as both, at the rate of the first.
ALONE = Training(steps=PRUNE["steps"] + FINISH["steps"], lr=1e-3, weight_decay=0.0, precision="bf16", clip=10.0)
LOOKED_AT = 0.1  # the share of the training speech that scores are taken from
LAYERS = 2
SEEDS = (0, 1)
SPEAKERS = 40
PROBES: dict[str, dict[str, Any]] = {
    "phones": {"steps": 500, "lr": 5e-3, "limit": 400},
    "keywords": {"steps": 300},
    "speakers": {"steps": 300},
}


def pruned(model: Any, data: Any, seed: int) -> Any:
    """DPHuBERT's two stages."""
    options = {"units": ["conv", "heads", "ffn"], "loss": "distill", "gates": GATES, "train": PRUNE, "finish": FINISH}
    method = sv.METHODS["prune_jointly"]
    return method(model, data, target=f"size:-{100 * (1 - LEFT):g}%", batch=BATCH, seed=seed, **options)


def taught(student: Any, data: Any, seed: int) -> Any:
    """A student behind as many updates as both stages have, the front end included."""
    with objective_for(sv.load(TEACHER), data, "distill", size=BATCH, match=AS_DPHUBERT) as objective:
        return heal(student, objective, replace(ALONE, seed=seed), freeze=())


def redrawn(model: Any) -> Any:
    """The shape of a model, with weights drawn anew."""
    return compressed(type(model), plain=True)(copy.deepcopy(model.config))


def one_shot(data: Any, seed: int) -> Any:
    """The teacher without the heads and units that change the loss least: an equal share of both, of all layers."""
    model = sv.load(TEACHER)
    with tempfile.TemporaryDirectory() as folder:
        target = replace(
            state_objective(model, data, BATCH, Path(folder)),
            teacher=find_teacher(model, "small-hubert"),
            learned=Learned(),
        )
        heads, units = (
            [over_layer(row) for row in found(model, target, share=LOOKED_AT, seed=seed)]
            for found in (effects_of_heads, effects_of_units)
        )
    wanted = LEFT * sv.size(model)[0].value

    def cut(share: float) -> Any:
        made = copy.deepcopy(model)
        kinds: list[tuple[Any, Callable[[Any, int, list[int]], Any]]] = [
            (heads, keep_heads),
            (units, keep_feed_forward),
        ]
        for scores, keep in kinds:
            total = sum(map(len, scores))
            gone = lowest_of_all(scores, min(round(share * total), total - len(scores)), protected=1)
            for layer, (row, lost) in enumerate(zip(scores, gone, strict=True)):
                keep(made, layer, [unit for unit in range(len(row)) if unit not in set(lost)])
        return made

    low, high = 0.0, 1.0
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if sv.size(cut(middle))[0].value > wanted else (low, middle)
    return cut(high)


def student(way: str, data: Any, seed: int, found: Any) -> Any:
    """What a way begins with; `found` is what DPHuBERT came to."""
    if way == "taylor":
        return one_shot(data, seed)
    return redrawn(found) if way == "scratch" else sv.drop_layers(sv.load(TEACHER), keep=LAYERS)


def answered(corpus: str, task: str) -> list[Any]:
    """The lines of a task; of speakers, the first of them."""
    data = of_task(corpus, task)
    first = sorted({utterance.speaker or "" for utterance in data})[:SPEAKERS]
    return [utterance for utterance in data if utterance.speaker in first] if task == "speakers" else data


def about(model: Any, corpus: str, limits: dict[str, Any]) -> dict[str, Any]:
    """What probes find in a model, and what it costs."""
    row: dict[str, Any] = {"parameters": sv.size(model)[0].value, "macs": sv.macs(model, seconds=10.0)[0].value}
    for task, options in limits.items():
        score = sv.MEASURES[task](model, answered(corpus, task), mode="probe", **probe_options(options))[0]
        row[task] = {"score": score.value, "error": score.error, "n": score.n}
    return row


def main(corpus: str, *seeds: str) -> None:
    """One row a way and seed."""
    data, folder = sv.read_data(corpus)[::3], Path("runs/dphubert")
    told = {"updates": [PRUNE["steps"], FINISH["steps"]], "batch": BATCH, "probes": PROBES}

    def keep(name: str, row: dict[str, Any]) -> None:
        rows = made("dphubert", teacher=TEACHER) | {name: row}
        command = f"python benchmarks/dphubert.py {shown(corpus)}"
        record("dphubert", dict(sorted(rows.items())), command=command, teacher=TEACHER, **told)

    for seed in map(int, seeds or SEEDS):
        place = folder / str(seed)
        for way in ("dphubert", "scratch", "taylor", "layers"):
            name = f"{way}, seed {seed}"
            if name in made("dphubert", teacher=TEACHER) and (way != "dphubert" or place.is_dir()):
                continue
            begin, words = time.perf_counter(), []
            with tempfile.TemporaryDirectory() as work, working_in(Path(work)), told_to(words.append):
                if way == "dphubert":
                    model = pruned(sv.load(TEACHER), data, seed)
                else:
                    model = taught(student(way, data, seed, sv.load(place)), data, seed)
            if way == "dphubert":
                sv.save(model, place)
            seconds = time.perf_counter() - begin
            keep(name, {**about(model, corpus, PROBES), "said": words, "seconds": seconds})
    if not seeds and "whole" not in made("dphubert", teacher=TEACHER):
        keep("whole", about(sv.load(TEACHER), corpus, PROBES))


if __name__ == "__main__":
    main(*sys.argv[1:])
