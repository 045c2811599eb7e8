"""The command line: each command is a thin line to a public function."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import sottovoce as sv
from sottovoce.demo import run_demo
from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write
from sottovoce.models.anatomy import FAMILIES
from sottovoce.models.checkpoint import first_line
from sottovoce.models.shapes import SHAPES
from sottovoce.recipe import Recipe
from sottovoce.registry import Registry, describe, parse_step
from sottovoce.runs import Run, execute
from sottovoce.tables import cost_table, short, summary_table

app = typer.Typer(
    help="Makes self-supervised speech models small and fast, and shows what each saving costs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

Model = Annotated[str, typer.Argument(help="A Hub id, a model's folder, a run's folder, or for costs a named shape.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of tables.")]
Seconds = Annotated[float, typer.Option(help="The length of the audio.")]
Convention = Annotated[
    Literal["total", "per_second", "superb"],
    typer.Option(help="MACs of one utterance, of a second of it, or of SUPERB's 32 utterances (224.86 s)."),
]
Step = Annotated[
    list[str] | None, typer.Option("--step", help="A method with options: drop_layers:keep=9. Repeat for more.")
]


def get_model(name: str) -> Any:
    """A model from a folder or the Hub, or a random one of a named shape."""
    if not Path(name).exists() and (name in SHAPES or name in FAMILIES):
        return sv.new(name)
    return sv.load(name)


def on_device(model: Any, device: str) -> Any:
    """The model on a device that is there."""
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise SottovoceError(
            f"there is no device '{device}' here ({first_line(error)}); give cpu, cuda or mps."
        ) from error


@contextmanager
def progress(text: str, total: int | None, *, quiet: bool) -> Iterator[Any]:
    """A bar on the error stream, gone when done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)


def print_json(records: Iterable[Any]) -> None:
    """One JSON object a line."""
    for record in records:
        sys.stdout.write(json.dumps(record) + "\n")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write.")] = Path("sottovoce-demo"),
) -> None:
    """The whole story, offline: a model, what it costs, a smaller one, what that saves."""
    run_demo(output, out)


@app.command()
def doctor(model: Model, as_json: AsJson = False) -> None:
    """Find what is wrong with a checkpoint, and say what to do. Exit code 1 if something is."""
    findings = sv.doctor(model)
    if as_json:
        print_json(asdict(finding) for finding in findings)
    marks = {"error": "[red]wrong  [/red]", "warning": "[yellow]beware [/yellow]", "fine": "[green]fine   [/green]"}
    for finding in findings if not as_json else ():
        out.print(marks[finding.level], end="")
        out.print(f"{finding.check}: {finding.what}", markup=False, highlight=False)
        if finding.do:
            out.print(f"         -> {finding.do}", markup=False, highlight=False)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


@app.command()
def cost(
    model: Model,
    versus: Annotated[str | None, typer.Option(help="A second model, timed in turns with the first.")] = None,
    seconds: Seconds = 10.0,
    convention: Convention = "total",
    time: Annotated[bool, typer.Option(help="Measure latency and memory too.")] = True,
    batch: Annotated[int, typer.Option(help="Utterances at a time.")] = 1,
    repeats: Annotated[int, typer.Option(help="Timed passes.")] = 9,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps.")] = None,
    parts: Annotated[bool, typer.Option("--parts", help="Every convolution and layer on a line of its own.")] = False,
    as_json: AsJson = False,
) -> None:
    """Parameters, MACs, latency, memory and bytes, whole and by part."""
    names = [model, *([versus] if versus else [])]
    models = [get_model(name) for name in names]
    models = [on_device(m, device) for m in models] if device else models
    timing: dict[str, Any] = {"batch": batch, "repeats": repeats, "threads": threads}
    common: dict[str, Any] = {"seconds": seconds, "convention": convention}
    if versus and time:
        with progress("timing in turns", 2 * (repeats + 2), quiet=as_json) as tick:
            costs = list(sv.cost_of_two(models[0], models[1], tick=tick, **common, **timing))
    else:
        with progress("measuring", None, quiet=as_json):
            costs = [sv.cost(m, time=time, **common, **timing) for m in models]
    if as_json:
        print_json(
            {"model": name, **asdict(row)} for name, c in zip(names, costs, strict=True) for row in c.measurements
        )
        return
    for name, one in zip(names, costs, strict=True):
        if not versus or parts:
            out.print(cost_table(name, one, detail=parts))
    out.print(summary_table(names, costs))


@app.command()
def compress(
    model: Model,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The new model's folder; for a recipe, where runs go.")
    ],
    step: Step = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe in YAML; its own model is replaced by MODEL.")] = None,
) -> None:
    """Make a smaller model by steps on the line, or by a recipe."""
    if (recipe is None) == (not step):
        raise SottovoceError(
            "compress needs either --step drop_layers:keep=9 or --recipe FILE; `sottovoce methods` lists."
        )
    if recipe is not None:
        for run in run_points(Recipe.from_yaml(recipe), output, model=model):
            out.print(f"wrote {run.folder}", markup=False, highlight=False)
        return
    steps = [parse_step(text, sv.METHODS) for text in step or ()]
    small = get_model(model)
    for name, options in steps:
        small = sv.METHODS[name](small, **options)
    with progress("saving and loading again", None, quiet=False):
        sv.save(small, output)
    out.print(f"wrote {output}: {short(sv.size(small)[0].value)} parameters", markup=False, highlight=False)


def run_points(recipe: Recipe, root: Path, *, model: str | None = None) -> list[Run]:
    """Every point of a recipe's grid, finished ones skipped."""
    points = recipe.points()
    if model is not None:
        points = [Recipe.from_dict({**point.to_dict(), "model": model}) for point in points]
    for point in points:
        point.check(sv.METHODS, sv.MEASURES)
    extra = {"sottovoce": sv.__version__} | {name: folder_stamp(name) for name in {point.model for point in points}}
    tools: dict[str, Any] = {"load": get_model, "save": sv.save, "methods": sv.METHODS, "measures": sv.MEASURES}
    log = lambda text: err.print(text, markup=False)  # noqa: E731
    return [execute(point, root, extra_hash=extra, log=log, **tools) for point in points]


def folder_stamp(name: str) -> str:
    """What tells one state of a local model's folder from the next: a run of another state is another run."""
    files = sorted(Path(name).glob("*")) if Path(name).is_dir() else []
    return " ".join(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files if path.is_file())


@app.command()
def measure(
    model: Model,
    measures: Annotated[list[str], typer.Option("--measure", help="A measure with options: macs:seconds=5.")],
    as_json: AsJson = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write the measurements here (JSON lines).")
    ] = None,
) -> None:
    """Measure a model: size, macs, speed."""
    names = [parse_step(text, sv.MEASURES) for text in measures]
    loaded = get_model(model)
    with progress("measuring", None, quiet=as_json):
        rows = [row for name, options in names for row in sv.MEASURES[name](loaded, **options)]
    if output is not None:
        atomic_write(output, "".join(row.to_json() + "\n" for row in rows))
    if as_json:
        print_json(asdict(row) for row in rows)
        return
    table = Table("measure", "metric", "where", "value", "unit", "n")
    for row in rows:
        where = " ".join(str(part) for part in row.where)
        table.add_row(row.measure, row.metric, where, f"{row.value:,}", row.unit, str(row.n))
    out.print(table)


@app.command()
def methods(as_json: AsJson = False) -> None:
    """The methods, their options and papers."""
    list_entries(sv.METHODS, as_json)


@app.command("measures")
def list_measures(as_json: AsJson = False) -> None:
    """The measures, their options and papers."""
    list_entries(sv.MEASURES, as_json)


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


@app.command()
def families(as_json: AsJson = False) -> None:
    """The families of encoders, and the named shapes that `cost` and `sv.new` know."""
    shapes = {name: [shape for shape, row in SHAPES.items() if row["model_type"] == name] for name in FAMILIES}
    if as_json:
        print_json({"family": name, "shapes": known} for name, known in shapes.items())
        return
    table = Table("family", "named shapes")
    for name, known in shapes.items():
        table.add_row(name, ", ".join(known))
    out.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: faults of the user's end in one line and exit code 2.

    Example:
        >>> main(["families"])  # doctest: +SKIP
    """
    try:
        app(arguments, standalone_mode=True)
    except SottovoceError as error:
        err.print(f"sottovoce: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("sottovoce: stopped; what was finished is kept.")
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone; writing more would only fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
