"""What every command shares: the two consoles, common options, models and data by name, progress, JSON."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import sottovoce as sv
from sottovoce.data.batches import only_sound
from sottovoce.data.sources import read_data
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.measurement import Measurement
from sottovoce.models.anatomy import FAMILIES
from sottovoce.models.checkpoint import loader_reason
from sottovoce.models.front_end import LogMel
from sottovoce.models.shapes import SHAPES
from sottovoce.models.teachers import teacher_folder
from sottovoce.progress import Advance
from sottovoce.registry import Registry, describe

app = typer.Typer(
    help="Makes self-supervised speech models small and fast, and shows what each saving costs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say_versions(wanted: bool) -> None:
    """The three versions that a report of a fault must have."""
    if wanted:
        out.print(f"sottovoce {sv.__version__}, torch {torch.__version__}, transformers {transformers.__version__}")
        raise typer.Exit


VERSION = typer.Option("--version", callback=say_versions, is_eager=True, help="Print the versions, and end.")
BASELINE = "log-mel"
RANDOM = "random:"  # before a shape: its random weights, also where a model of this name comes with the package
MODEL = typer.Argument(help="A Hub id, a folder, small-hubert or small-melhubert, or a shape's random weights.")
Model = Annotated[str, MODEL]
OptionalModel = Annotated[str | None, MODEL]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of tables.")]
Data = Annotated[
    str | None, typer.Option(help="espeak, a manifest, a prepared folder, or CORPUS@FOLDER; `sottovoce corpus list`.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot be read or decoded, and list it.")]


@app.callback()
def every_command(version: Annotated[bool, VERSION] = False) -> None:
    """What stands before a command; Typer's own text for the app is in `help` above."""


def get_model(name: str) -> Any:
    """A model from a folder, the package or the Hub, a random one of a named shape, or the log-mel baseline."""
    if name.startswith(RANDOM) and not Path(name).exists():
        return sv.new(name.removeprefix(RANDOM))
    if Path(name).exists() or teacher_folder(name) is not None:
        return sv.load(name)
    if name == BASELINE:
        return LogMel()
    return sv.new(name) if name in SHAPES or name in FAMILIES else sv.load(name)


def get_data(name: str, *, skip_bad: bool = False) -> list[Utterance]:
    """Utterances by name; with `skip_bad`, only those that can be decoded, the others counted and listed."""
    bad: list[str] = []
    utterances = read_data(name, on_bad=bad.append if skip_bad else None)
    if skip_bad:
        utterances = only_sound(utterances, bad.append)
        err.print(f"{len(bad)} left out as bad, {len(utterances)} kept", markup=False)
        for message in bad:
            err.print(f"  {message}", markup=False)
    return utterances


def folder_stamp(name: str) -> str:
    """What tells one state of a local model's folder from the next: a run of another state is another run."""
    files = sorted(Path(name).glob("*")) if Path(name).is_dir() else []
    return " ".join(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files if path.is_file())


def on_device(model: Any, device: str) -> Any:
    """The model on a device that is there."""
    try:
        place = torch.device(device)
        if place.type not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError("no model runs there")
        return model.to(place)
    except (RuntimeError, AssertionError) as error:
        raise SottovoceError(
            f"there is no device '{device}' here ({loader_reason(error)}); give cpu, cuda or mps."
        ) from error


_SCREEN: ContextVar[Progress | None] = ContextVar("screen", default=None)


@contextmanager
def bars(text: str, total: float | None) -> Iterator[Advance]:
    """A bar on the error stream, gone when done; bars that run at the same time stand below one another."""
    with one_screen() as screen:
        task = screen.add_task(text, total=total, note="")

        def advance(amount: float = 1, note: str = "") -> None:
            screen.update(task, advance=amount, note=note)

        try:
            yield advance
        finally:
            screen.remove_task(task)


@contextmanager
def one_screen() -> Iterator[Progress]:
    """The block of bars that is shown, or a new one."""
    shown = _SCREEN.get()
    if shown is not None:
        yield shown
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as new:
        token = _SCREEN.set(new)
        try:
            yield new
        finally:
            _SCREEN.reset(token)


def print_json(records: Iterable[Any]) -> None:
    """One JSON object a line."""
    for record in records:
        sys.stdout.write(json.dumps(record) + "\n")


def print_measurements(rows: Iterable[Measurement], *, as_json: bool) -> None:
    """Measurements as a table, or as JSON lines."""
    if as_json:
        print_json(asdict(row) for row in rows)
        return
    table = Table("measure", "metric", "where", "value", "± 95 %", "unit", "n")
    for row in rows:
        where = " ".join(str(part) for part in row.where)
        value = f"{row.value:.4f}" if isinstance(row.value, float) and abs(row.value) < 100 else f"{row.value:,}"
        error = "" if row.error is None else f"{row.error:.2g}"
        table.add_row(row.measure, row.metric, where, value, error, row.unit, str(row.n))
    out.print(table)


def list_entries(registry: Registry, as_json: bool) -> None:
    """What a registry holds."""
    records = [describe(registry[name]) for name in registry]
    if as_json:
        print_json(records)
        return
    for record in records:
        out.print(f"[bold]{record['name']}[/bold]  {record['summary']}")
        if record["paper"]:
            out.print(f"    paper: {record['paper']}", markup=False, highlight=False)
        for option in record["options"]:
            default = "needed" if option["required"] else f"{option['default']!r} if not given"
            out.print(f"    {option['name']}: {option['type']}, {default}", markup=False, highlight=False)
