"""Put the model of a run into the package, with its model card, and its curves into the records.

python tools/bundle.py RUN NAME
python tools/bundle.py RUN NAME --base TEACHER     what was fine-tuned, as a difference to a teacher
"""

import argparse
import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import sottovoce as sv
from sottovoce.files import load_yaml
from sottovoce.models.bundle import FILE
from sottovoce.models.processors import UNITS_FILE
from sottovoce.models.teachers import DIFFERENCE, TEACHERS, WHOLE, write_difference

RECORDS = Path(__file__).parents[1] / "benchmarks" / "records"
CARD = """---
license: apache-2.0
library_name: sottovoce
tags: [speech, self-supervised, feature-extraction]
---
# {name}

{what}
It is small, made to show and test what compression does; it is no rival of large models. What its layers know is in
sottovoce's `docs/results.md`.

Made by sottovoce {version} with `recipes/{recipe}.yaml`{before}; the curves are in `benchmarks/records/{record}.json`.
Load it with `sottovoce.load("{name}")`; `sottovoce.save(model, folder)` makes a folder that Hugging Face code
loads, with `trust_remote_code=True` where the front end is log-mel.

## What it learned from

Recordings in no test split of:

| corpus | what | licence |
|---|---|---|
| speechocean762 (Zhang et al. 2021, OpenSLR 101) | English of Chinese speakers, half of them children | CC BY 4.0 |
| LibriSpeech train-clean-100 (Panayotov et al. 2015, OpenSLR 12), one recording a speaker | read English | CC BY 4.0 |
| Arabic Speech Commands (Ghandoura et al. 2021) | Arabic keywords | CC BY 4.0 |
| Speech-to-intent benchmark (Picovoice) | orders of coffee in English | Apache 2.0 |
| Berlin Database of Emotional Speech (Burkhardt et al. 2005), two seconds of each file | acted German | CC0 |
| Free Spoken Digit Dataset (Jackson et al.) | English digits | CC BY-SA 4.0 |
| sentences and words spoken by espeak-ng {languages} | synthetic speech, made by sottovoce | CC0 |

The recordings were cut, sped up, and mixed with noise. No corpus's authors endorse this model.
"""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--base", help="a teacher in the package that the model was fine-tuned from")
    given = parser.parse_args()
    recipe = load_yaml((given.run / "recipe.yaml").read_text(encoding="utf-8"), name="recipe")
    model = sv.load(given.run)
    target = TEACHERS / given.name
    heads = tuned_from(given.name)
    shutil.rmtree(target, ignore_errors=True)
    if given.base is None:
        shrink(model, target)
        for place, tensors in heads.items():  # they stay what they were, whatever the teacher is now
            write_difference(place, tensors, given.name)
        rounds = {f"round {n + 1}": curves(path) for n, path in enumerate(logs(given.run))}
        write_record(given.name, json.loads((given.run / "run.json").read_text(encoding="utf-8")), recipe, rounds)
    else:
        sv.save(model, target)
        write_difference(target, model.state_dict(), given.base)
        (target / UNITS_FILE).unlink(missing_ok=True)  # the teacher's
    (target / FILE).unlink(missing_ok=True)
    clean(target / "config.json")
    card(target, model, given.name, given.base, recipe)
    sizes = {path.name: path.stat().st_size for path in target.iterdir()}
    print(json.dumps({"files": sizes, "parameters": sv.load(target).num_parameters()}))


def tuned_from(name: str) -> dict[Path, dict[str, torch.Tensor]]:
    """The tensors of the models in the package that are stored as a difference to a teacher."""
    found = {}
    for path in TEACHERS.glob(f"*/{DIFFERENCE}"):
        with safe_open(str(path), framework="pt") as opened:
            base = json.loads(opened.metadata()["sottovoce"])["base"]
        if base == name:
            found[path.parent] = sv.load(path.parent).state_dict()
    return found


def shrink(model: Any, target: Path) -> None:
    """Save with matrices and convolutions in half precision; what is small, and log-mel's filters, stay as they are."""
    matrices = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    with torch.no_grad():
        for parameter in matrices.values():
            parameter.copy_(parameter.half())
    sv.save(model, target)
    tensors = load_file(target / WHOLE)
    halved = {
        name: tensor.half() if tensor.dim() > 1 and name in matrices else tensor for name, tensor in tensors.items()
    }
    save_file(halved, target / WHOLE, metadata={"format": "pt"})


def clean(path: Path) -> None:
    """A configuration that says float32, which is what the model computes in, and names no file that is not there."""
    record = json.loads(path.read_text(encoding="utf-8"))
    for key in ("auto_map", "_name_or_path"):
        record.pop(key, None)
    record["dtype"] = "float32"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def card(target: Path, model: Any, name: str, base: str | None, recipe: dict[str, Any]) -> None:
    """The model card."""
    front = "log-mel features" if "mel" in name else "a convolutional front end"
    shape = f"{model.config.num_hidden_layers} layers of {model.config.hidden_size}"
    what = f"A HuBERT of {shape} on {front}, pretrained by masked prediction of k-means units."
    if base is not None:
        options = next(iter(recipe["steps"][0].values()))
        how = f"fine-tuned for the task `{options['task']}`" if "task" in options else "distilled into another shape"
        what = f"`{base}`, {how}, and stored as a difference to it."
    languages = recipe["data"].partition("espeak:")[2].partition(",")[2]
    made = {
        "name": name,
        "what": what,
        "version": sv.__version__,
        "recipe": name if base is not None else recipe_name(name, recipe),
        "before": f", which goes on from `recipes/{name}.yaml`" if recipe["model"] == name else "",
        "record": f"pretraining_{(base or name).replace('-', '_')}",
        "languages": f"in English and {languages}" if languages else "in English",
    }
    (target / "README.md").write_text(CARD.format(**made), encoding="utf-8")


def logs(run: Path) -> list[Path]:
    """The log of each step's training, in order."""
    return sorted((run / "work").glob("step-*/pretrain/log.jsonl"), key=lambda path: int(path.parts[-3].split("-")[1]))


def curves(path: Path) -> dict[str, Any]:
    """What a training's log says, as columns."""
    found: dict[str, Any] = {"training": [], "validation": [], "probe": []}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "loss" in row:
            found["training"].append([row["step"], round(row["loss"], 4), row["audio_rate"]])
        if "validation_loss" in row:
            found["validation"].append([row["step"], round(row["validation_loss"], 4), round(row["unit_accuracy"], 4)])
        layers = [round(value, 4) for name, value in row.items() if name.startswith("phones_")]
        if layers:
            found["probe"].append([row["step"], layers])
        for name in ("unit_information", "unit_phone_purity", "unit_unit_purity"):
            if name in row:
                found[name] = round(row[name], 4)
    return found


def write_record(name: str, run: dict[str, Any], recipe: dict[str, Any], rows: dict[str, Any]) -> None:
    """The curves, with the recipe that made them, and when and on what; behind those of the weights it began with."""
    path = RECORDS / f"pretraining_{name.replace('-', '_')}.json"
    goes_on = recipe["model"] == name
    earlier = json.loads(path.read_text(encoding="utf-8"))["runs"] if goes_on else []
    about = {
        "command": f"sottovoce compress {recipe['model']} --recipe recipes/{recipe_name(name, recipe)}.yaml -o runs",
        "date": str(run["finished"] or run["started"])[:10],
        "machine": platform.machine(),
        **{key: run[key] for key in ("torch", "transformers", "started", "finished")},
        "recipe": recipe,
    }
    text = json.dumps({"runs": [*earlier, {**about, "rows": rows}]}, separators=(",", ": "))
    path.write_text(text + "\n", encoding="utf-8")


def recipe_name(name: str, recipe: dict[str, Any]) -> str:
    """The file of a recipe: one that goes on from the bundled weights has a name of its own."""
    return f"{name}-more" if recipe["model"] == name else name


if __name__ == "__main__":
    sys.exit(main())
