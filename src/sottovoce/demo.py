"""What sottovoce does, on this machine and without a network."""

import json
from pathlib import Path
from typing import Any

import transformers
from rich.console import Console
from rich.table import Table

from sottovoce.costs import cost_of_two
from sottovoce.data.sources import read_data
from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write
from sottovoce.measurement import Measurement
from sottovoce.measures.tasks import TASK_MEASURES
from sottovoce.methods import drop_layers
from sottovoce.models.checkpoint import quiet
from sottovoce.models.front_end import LogMel
from sottovoce.models.hub import check_target, load, save
from sottovoce.models.teachers import TEACHERS
from sottovoce.plots import line_plot
from sottovoce.tables import cost_table, summary_table

TEACHER = "small-hubert"
# The metric of each task that the demo shows.
SHOWN = {"phones": "accuracy_without_silence", "keywords": "accuracy"}


def run_demo(
    folder: Path, console: Console, *, speech: str = "espeak", steps: int = 300, overwrite: bool = False
) -> None:
    """Probe every layer of a teacher; drop a half of its layers, save, load with plain Hugging Face code, compare.

    Example:
        >>> run_demo(Path("sottovoce-demo"), Console())
    """
    check_folder(folder, overwrite)
    model = load(TEACHERS / TEACHER)
    show_layers(model, folder, console, speech=speech, steps=steps)
    show_cost(model, folder, console)


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse, before the minutes that the demo takes, to replace what is there."""
    for name in ("layers.svg", "layers.json"):
        if (folder / name).exists() and not overwrite:
            raise SottovoceError(
                f"{folder / name} is there already; give another folder, or --overwrite to replace it."
            )
    check_target(folder / f"{TEACHER}-6-layers", overwrite=overwrite)


def show_layers(model: Any, folder: Path, console: Console, *, speech: str, steps: int) -> None:
    """What each layer knows of phones and of words, against log-mel features: a table, its numbers, and a plot."""
    console.print(
        f"What does each layer of {TEACHER}, which comes with sottovoce, know? Probes on synthetic speech, "
        "made here; the voices of the test are new to the probes.\n"
    )
    data = read_data(speech)
    measured: dict[str, list[Measurement]] = {}
    for name, encoder in {TEACHER: model, "log-mel": LogMel()}.items():
        for task, metric in SHOWN.items():
            rows = TASK_MEASURES[task](encoder, data, mode="probe", layer="each", train={"steps": steps})
            measured[f"{task}, {name}"] = [row for row in rows if row.metric == metric]
    table = Table("layer", *(f"{task}, %" for task in SHOWN))
    levels = [measured[f"{task}, log-mel"][0] for task in SHOWN]
    table.add_row("log-mel", *map(percent, levels), end_section=True)
    for index, row in enumerate(zip(*(measured[f"{task}, {TEACHER}"] for task in SHOWN), strict=True)):
        table.add_row(str(index), *map(percent, row))
    console.print(table)
    console.print("Accuracy; phones are of frames, without silence. State 0 is what enters the first layer.")
    lines = {name: [(float(number), float(row.value)) for number, row in enumerate(m)] for name, m in measured.items()}
    picture = line_plot(
        lines, title=f"What each layer of {TEACHER} knows", x="layer", y="accuracy of a probe", percent=True
    )
    atomic_write(folder / "layers.svg", picture.encode())
    record = {name: [row.record() for row in rows] for name, rows in measured.items()}
    atomic_write(folder / "layers.json", (json.dumps(record, indent=2) + "\n").encode())
    console.print(f"The numbers are in {folder / 'layers.json'}, a plot in {folder / 'layers.svg'}.\n", soft_wrap=True)


def percent(row: Measurement) -> str:
    """A share with half of its interval."""
    return f"{100 * row.value:.1f} ± {100 * (row.error or 0):.1f}"


def show_cost(model: Any, folder: Path, console: Console) -> None:
    """What half of the layers cost, and that plain Hugging Face code loads what is left."""
    small = drop_layers(model, keep=6)
    target = save(small, folder / f"{TEACHER}-6-layers", overwrite=True)  # looked at before
    with quiet():
        plain = transformers.AutoModel.from_pretrained(target)
    if sum(p.numel() for p in plain.parameters()) != sum(p.numel() for p in small.parameters()):
        raise SottovoceError(f"{target} came back from AutoModel with other tensors; please report it.")
    before, after = cost_of_two(model, load(target), seconds=5.0, repeats=5)
    console.print(cost_table(f"{TEACHER}, 5 s of audio", before))
    console.print(summary_table(["12 layers", "6 layers"], [before, after]))
    saved = {metric: 1 - after[metric] / before[metric] for metric in ("parameters", "macs", "latency")}
    front = before.part("macs", part="front_end") / before["macs"]
    console.print(
        f"\nHalf of the layers are gone, and with them {saved['parameters']:.0%} of the parameters, "
        f"{saved['macs']:.0%} of the multiply-accumulates and {saved['latency']:.0%} of the time; "
        f"the front end, which stays, has {front:.0%} of the multiply-accumulates."
    )
    console.print(f"{target} loads with plain transformers.AutoModel.from_pretrained.", soft_wrap=True)
