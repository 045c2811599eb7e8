"""The commands that write, on toys: what they are given, what they make, and what of it must be equal."""

import json
import os
import re
import shutil
from pathlib import Path

from conftest import tiny
from speech import toy_folder

import sottovoce as sv

RECIPE = """
model: given/encoder
data: given/toys
seed: 1
steps:
- finetune: {task: keywords, train: {steps: 12, lr: 0.001, save_seconds: 0.05}, batch: 4}
- drop_layers: {keep: 1}
measures:
- size
- keywords: {train: {steps: 12}, layer: each}
"""
GRID = """
model: given/encoder
steps:
- drop_layers: {keep: 1}
measures: [size]
vary:
  steps.0.keep: [1, 2]
  seed: [0, 1]
"""
TRAINING = "train.steps=12,train.lr=0.001,train.save_seconds=0.05,batch=4"
JOBS: dict[str, list[str]] = {
    "finetune": [
        *("finetune", "given/encoder", "--task", "keywords", "--data", "given/toys", "-o", "made/tuned"),
        *("--options", f"{TRAINING},train.validate_every=4"),
    ],
    "pretrain": [
        *("pretrain", "given/encoder", "--data", "given/toys", "-o", "made/trained"),
        *(
            "--options",
            "train={steps: 10, lr: 0.001, save_seconds: 0.05, validate_every: 5},batch_seconds=4,units.clusters=8",
        ),
    ],
    "compress": ["compress", "given/encoder", "--step", "drop_layers:keep=1", "-o", "made/small"],
    "distill": [
        *("compress", "given/encoder", "--data", "given/toys", "-o", "made/student"),
        *("--step", "distill:student.start=random,match.layers=[1],train.steps=8,train.lr=0.001"),
    ],
    "recipe": ["compress", "--recipe", "given/recipe.yaml", "-o", "made/runs"],
    "grid": ["compress", "--recipe", "given/grid.yaml", "-o", "made/grid"],
    "analyze": [
        *("analyze", "given/encoder", "--data", "given/toys", "-o", "made/analysis"),
        *("--part", "similarity:batch=6,seconds=0.4,k=2", "--part", "convexity:k=4", "--part", "attention:limit=4"),
    ],
    "measure": [
        *("measure", "given/encoder", "--data", "given/toys", "--measure", "size", "--measure"),
        *("keywords:train.steps=12,layer=each", "-o", "made/rows.jsonl", "--work", "made/kept"),
    ],
    "prepare": ["corpus", "prepare", "espeak", "made/spoken", "--size", "0.01"],
}
# What tells when and where something was done, and nothing else.
_WHEN = re.compile(r"\d{4}-\d\d-\d\dT[\d:.+-]+|\"(pid|seconds|audio_rate|platform)\": [^,}]+")
_LOOSE = re.compile(r"\.sottovoce|log\.(txt|jsonl)|events\..*|run\.json|analysis\.html")


def given(place: Path) -> None:
    """What the commands read, in `given`, and a folder for what they make."""
    (place / "made").mkdir(parents=True)
    sv.save(tiny("hubert", num_hidden_layers=2), place / "given" / "encoder")
    toy_folder(place / "given" / "toys")
    (place / "given" / "recipe.yaml").write_text(RECIPE)
    (place / "given" / "grid.yaml").write_text(GRID)


def copy_of(place: Path, target: Path) -> Path:
    """The same once more: times included, for they are part of what names a run."""
    shutil.copytree(place, target, copy_function=shutil.copy2)
    return target


def files(place: Path) -> dict[str, bytes]:
    """Every file below a place, by its path, with its content."""
    found = {}
    for parent, _, names in os.walk(place):
        for name in names:
            path = Path(parent, name)
            found[path.relative_to(place).as_posix()] = path.read_bytes()
    return found


def outcome(place: Path) -> dict[str, object]:
    """What a command made, less times; a log that may tell of stops counts as there or not."""
    found: dict[str, object] = {}
    for name, content in files(place / "made").items():
        last = name.rpartition("/")[2]
        if re.fullmatch(r"events\..*", last):
            continue
        if _LOOSE.fullmatch(last):
            found[name] = "there"
            if last == "run.json":
                found[name] = json.loads(content)["status"]
        else:
            found[name] = content if b"T" not in content else _WHEN.sub("", content.decode("latin-1"))
    return found
