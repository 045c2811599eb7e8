"""Shared layers on small-melhubert's shape: pretraining with a drawn depth, sharing what is trained, leaving early.

python benchmarks/sharing.py CORPUS [PART ...]

The stored records are of speech-mini@FOLDER. Parts: `pretraining` (three ways, the two main ones with three seeds, and
probes of every depth), `steps` (the time of an update by its depth), `depths` (the time of a pass by its depth),
`tying` (share_layers on small-melhubert beside drop_layers, healed for as many updates) and `exits` (a shared model
that was fine-tuned for keywords: fixed depths and exits of single utterances). Training times are a single thread's
own seconds. What is in a record is not made again; models lie in `runs/sharing`.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lib.corpora import of_task, shown
from lib.records import made, probe_options, ratio, ratios_over, record

import sottovoce as sv
from sottovoce.data.batches import samples
from sottovoce.files import working_in
from sottovoce.healing import heal
from sottovoce.healing.losses import objective_for
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import tie_layers, use_exit
from sottovoce.models.encoder import Encoder
from sottovoce.pretraining.objective import Masked
from sottovoce.sharing.depth import Depth
from sottovoce.studies.cuts import scores_of_cuts
from sottovoce.studies.exits import scores_of_exits
from sottovoce.tasks import TASKS
from sottovoce.tasks.batch import Batch
from sottovoce.timing import in_turns
from sottovoce.training import Training

NEEDS = {"speech": "speech-mini@FOLDER"}
SHAPE = "small-melhubert"
STEPS = 12
FOLDER = Path("runs/sharing")
DRAWN = "uniform:2..12"
WAYS: dict[str, dict[str, Any]] = {
    "shared, depth drawn": {"groups": 1, "depth": DRAWN},
    "separate, all steps": {},
    "shared, all steps": {"groups": 1},
}
BEFORE = "units, one update"  # what every pretraining takes before it learns
MAIN = ("shared, depth drawn", "separate, all steps")
SEEDS = (0, 1, 2)
PRETRAIN: dict[str, Any] = {
    "units": {"clusters": 200, "layer": 9, "teacher": SHAPE},
    "mask": {"unmasked_weight": 1.0},
    "train": {"steps": 250, "lr": 2e-3, "warmup": 0.1, "optimizer": "muon", "precision": "bf16"},
    "batch_seconds": 48.0,
    "dropout": 0.0,
}
PROBES: dict[str, dict[str, Any]] = {
    "phones": {"steps": 500, "lr": 5e-3, "limit": 400},
    "keywords": {"steps": 300},
    "pr": {"limit": 200, "steps": 150, "batch": 16, "lr": 1e-2},
}
FAST = ("phones", "keywords")  # of all seeds; CTC learns slowly
HEALING = Training(steps=120, lr=1e-3, precision="bf16", weight_decay=0.0)
HEALED = {"phones": {"steps": 1000, "lr": 5e-3, "limit": 600}}
COUNTS = (1, 2, 3, 4, 6)
OWN = {"norms": True, "rank": 8}


def keep(name: str, key: str, row: dict[str, Any], corpus: str, **told: Any) -> None:
    """Add a row to a record."""
    rows = made(name, teacher=SHAPE) | {key: row}
    record(name, rows, command=f"python benchmarks/sharing.py {shown(corpus)}", teacher=SHAPE, **told)


def pretrained(stack: dict[str, Any], data: Any, seed: int, **more: Any) -> Any:
    """A model with random weights behind a round of pretraining."""
    with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
        options = {**PRETRAIN, **more}
        return sv.METHODS["pretrain"](sv.new(SHAPE, seed=seed), data, stack=stack, seed=seed, **options)


def scores(model: Any, corpus: str, probes: dict[str, dict[str, Any]], layer: str = "each") -> dict[str, Any]:
    """What probes find, behind each number of steps or in the sum of all states."""
    found: dict[str, Any] = {}
    for task, options in probes.items():
        chosen = {"mode": "probe", "layer": layer, **probe_options(options)}
        rows = [
            row for row in sv.MEASURES[task](model, of_task(corpus, task), **chosen) if row.metric != "layer_weight"
        ]
        first = rows[0].metric
        each = {str(row.where.get("state", "sum")): [row.value, row.error] for row in rows if row.metric == first}
        found[task] = {"metric": first, "n": rows[0].n, "each": each}
    return found


def consistent(model: Any, corpus: str) -> dict[str, float]:
    """The mean of each distance over all pairs of depths."""
    rows = sv.MEASURES["consistency"](model, of_task(corpus, "phones"), limit=256, frames=2048)
    metrics = sorted({row.metric for row in rows if "first_state" in row.where})
    values = {metric: [row.value for row in rows if row.metric == metric] for metric in metrics}
    return {metric: sum(each) / len(each) for metric, each in values.items()}


def pretraining(corpus: str) -> None:
    """Three ways to pretrain."""
    data = sv.read_data(corpus)[::3]
    options = {"updates": PRETRAIN["train"]["steps"], "batch_seconds": PRETRAIN["batch_seconds"], "probes": PROBES}
    if BEFORE not in made("sharing_pretraining", teacher=SHAPE):
        begin = time.process_time()
        pretrained({}, data, 0, train={**PRETRAIN["train"], "steps": 1, "warmup": 0.0})
        keep("sharing_pretraining", BEFORE, {"cpu_seconds": time.process_time() - begin}, corpus, **options)
    for seed in SEEDS:
        for way, stack in WAYS.items():
            key, place = f"{way}, seed {seed}", FOLDER / f"{way.replace(', ', '-').replace(' ', '-')}-{seed}"
            if (way not in MAIN and seed) or (key in made("sharing_pretraining", teacher=SHAPE) and place.is_dir()):
                continue
            untrained = sv.new(SHAPE, seed=seed)
            if stack:
                tie_layers(untrained)
            begin = time.process_time()
            model = pretrained(stack, data, seed)
            seconds = time.process_time() - begin
            sv.save(model, place)
            row = {
                "parameters": sv.size(model)[0].value,
                "cpu_seconds": seconds,
                "scores": scores(model, corpus, PROBES if not seed else {task: PROBES[task] for task in FAST}),
                "consistency": consistent(model, corpus),
                "consistency_before": consistent(untrained, corpus),
            }
            keep("sharing_pretraining", key, row, corpus, **options)


def batch_of(model: Any, seconds: float, count: int) -> Batch:
    """Noise with units."""
    generator = torch.Generator().manual_seed(0)
    audio = [torch.randn(int(16_000 * seconds), generator=generator).numpy() for _ in range(count)]
    encoder = Encoder(model, outputs=True)
    frames = encoder.counts(audio)
    return Batch(encoder.inputs(audio), torch.tensor(frames), tuple(torch.zeros(n, dtype=torch.long) for n in frames))


def steps(corpus: str) -> None:
    """An update's forward and backward pass at each depth, in turns."""
    model = sv.new(SHAPE).train()
    tie_layers(model)
    batch, ways = batch_of(model, 4.0, 4), {}
    for count in range(2, STEPS + 1, 2):
        objective = Masked(model, 200, share=0.8, span=10, depth=Depth(count, count)).train()

        def step(objective: Masked = objective) -> None:
            loss, weight = objective(batch)
            (loss / weight).backward()

        ways[str(count)] = step
    torch.set_num_threads(1)
    times = in_turns(ways, rounds=15, clock=time.thread_time)
    for count in ways:
        keep("sharing_steps", count, ratio(times, count, str(STEPS)), corpus)


def depths(corpus: str) -> None:
    """A pass at each depth, in turns, over the whole stack's."""
    model = sv.new(SHAPE).eval()
    tie_layers(model)
    torch.set_num_threads(1)
    for seconds in (1.0, 10.0):
        inputs = Anatomy(model).dummy_inputs(seconds)
        models = {str(count): sv.METHODS["shallow"](model, layers=count) for count in range(1, STEPS + 1)}

        found = ratios_over(models, str(STEPS), inputs, rounds=40, clock=time.thread_time)
        for count in models:
            keep("sharing_depths", f"{seconds:g} s, {count}", found[count], corpus)


def healed(model: Any, data: Any) -> Any:
    """A model that has learnt to have the whole one's states."""
    with (
        tempfile.TemporaryDirectory() as folder,
        working_in(Path(folder)),
        objective_for(sv.load(SHAPE), data, "distill", size=12) as objective,
    ):
        return heal(model, objective, replace(HEALING, seed=0))


def tying(corpus: str) -> None:
    """Shared layers of a trained model beside fewer layers, healed alike."""
    data = sv.read_data(corpus)[::3]
    ways: dict[str, Callable[[], Any]] = {"whole": lambda: sv.load(SHAPE)}
    for count in COUNTS:
        ways[f"shared, {count}"] = lambda n=count: sv.METHODS["share_layers"](sv.load(SHAPE), groups=n)
        ways[f"shared with own parts, {count}"] = lambda n=count: sv.METHODS["share_layers"](
            sv.load(SHAPE), groups=n, own=OWN
        )
        ways[f"dropped to, {count}"] = lambda n=count: sv.drop_layers(sv.load(SHAPE), keep=n)
    for key, make in ways.items():
        if key in made("sharing_tying", teacher=SHAPE):
            continue
        model = make()
        if key != "whole":
            model = healed(model, data)
        row = {
            "parameters": sv.size(model)[0].value,
            "macs": sv.macs(model, seconds=10.0)[0].value,
            "scores": scores(model, corpus, HEALED, "sum"),
        }
        keep("sharing_tying", key, row, corpus, updates=HEALING.steps, probes=HEALED, own=OWN)


def exits(corpus: str) -> None:
    """Keywords on the test split: every fixed depth, and every threshold, with the time of single utterances."""
    data = of_task(corpus, "keywords")
    place = FOLDER / "keywords"
    if not place.is_dir():
        model = sv.load(FOLDER / "shared-depth-drawn-0")
        with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
            train = {"steps": 400, "lr": 5e-4, "precision": "bf16"}
            sv.save(sv.METHODS["finetune"](model, data, task="keywords", train=train, batch=32, freeze=[]), place)
    model = sv.load(place)
    fixed = scores_of_cuts(TASKS["keywords"], model, data, [range(n) for n in range(1, STEPS + 1)])
    dev = scores_of_exits(TASKS["keywords"], model, data)
    thresholds = [each.threshold for each in dev if each.threshold is not None]
    left = scores_of_exits(TASKS["keywords"], model, data, thresholds=thresholds, split="test")
    heard = [utterance for utterance in data if utterance.split == "test"][:60]
    encoder = Encoder(model, outputs=True)
    single = [encoder.inputs([samples(utterance)]) for utterance in heard]
    torch.set_num_threads(1)

    def passing(model: Any) -> Callable[[], Any]:
        return lambda: [model(**inputs) for inputs in single]

    models = {f"fixed, {n}": sv.METHODS["shallow"](model, layers=n) for n in range(1, STEPS + 1)}
    for each in left[1:]:
        quick = sv.load(place)
        use_exit(quick, each.threshold)
        models[f"exit, {each.threshold:.5f}"] = quick
    with torch.no_grad():
        times = in_turns({name: passing(each) for name, each in models.items()}, rounds=7, clock=time.thread_time)
    for n, (score,) in enumerate(fixed, 1):
        found = ratio(times, f"fixed, {n}", f"fixed, {STEPS}")
        keep("sharing_exits", f"fixed, {n}", {"score": score.value, "error": score.error, "steps": n, **found}, corpus)
    for each in left[1:]:
        name = f"exit, {each.threshold:.5f}"
        row = {"score": each.score.value, "error": each.score.error, "steps": each.steps}
        keep("sharing_exits", name, {**row, **ratio(times, name, f"fixed, {STEPS}")}, corpus)


PARTS: dict[str, Callable[[str], None]] = {
    "steps": steps,
    "depths": depths,
    "pretraining": pretraining,
    "tying": tying,
    "exits": exits,
}


def main(corpus: str, *parts: str) -> None:
    """All parts, or those that are named."""
    for part in parts or PARTS:
        PARTS[part](corpus)


if __name__ == "__main__":
    main(*sys.argv[1:])
