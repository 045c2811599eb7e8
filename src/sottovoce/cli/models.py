"""Commands about models: what they cost, what is wrong with them, smaller ones, what they score."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

import sottovoce as sv
from sottovoce.cli.common import (
    AsJson,
    Data,
    Model,
    OptionalModel,
    SkipBad,
    app,
    err,
    folder_stamp,
    get_data,
    get_model,
    list_entries,
    on_device,
    out,
    print_json,
    print_measurements,
)
from sottovoce.cli.outputs import PATH, Overwrite, Work, kept_in, new_file, new_model, replace_model
from sottovoce.data.utterance import Utterance, manifest_hash
from sottovoce.demo import run_demo
from sottovoce.errors import SottovoceError
from sottovoce.execution import execute_all
from sottovoce.files import atomic_write, working_in
from sottovoce.models.anatomy import FAMILIES
from sottovoce.models.shapes import SHAPES
from sottovoce.progress import bar
from sottovoce.recipe import Recipe
from sottovoce.registry import parse_step
from sottovoce.runs import Run
from sottovoce.tables import cost_table, short, summary_table
from sottovoce.training import processes

Seconds = Annotated[float, typer.Option(help="The length of the audio.")]
Convention = Annotated[
    Literal["total", "per_second", "superb"],
    typer.Option(help="MACs of one utterance, of a second of it, or of SUPERB's 32 utterances (224.86 s)."),
]
Step = Annotated[
    list[str] | None, typer.Option("--step", help="A method with options: drop_layers:keep=9. Repeat for more.")
]


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write.", **PATH)] = Path("sottovoce-demo"),
    overwrite: Overwrite = False,
) -> None:
    """The whole story, offline: what the layers of a teacher know, what it costs, a smaller one, what that saves."""
    run_demo(output, out, overwrite=overwrite)


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
    names = [model, *([versus] if versus is not None else [])]
    models = [get_model(name) for name in names]
    models = [on_device(m, device) for m in models] if device is not None else models
    timing: dict[str, Any] = {"batch": batch, "repeats": repeats, "threads": threads}
    common: dict[str, Any] = {"seconds": seconds, "convention": convention}
    if versus is not None and time:
        with bar("timing in turns", 2 * (repeats + 2)) as tick:
            costs = list(sv.cost_of_two(models[0], models[1], tick=tick, **common, **timing))
    else:
        with bar("measuring"):
            costs = [sv.cost(m, time=time, **common, **timing) for m in models]
    if as_json:
        print_json(
            {"model": name, **asdict(row)} for name, c in zip(names, costs, strict=True) for row in c.measurements
        )
        return
    for name, one in zip(names, costs, strict=True):
        if versus is None or parts:
            out.print(cost_table(name, one, detail=parts))
    out.print(summary_table(names, costs))


@app.command()
def compress(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The new model's folder; for a recipe, where runs go.", **PATH)
    ],
    model: OptionalModel = None,
    step: Step = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe in YAML; MODEL, if given, replaces its own model.")
    ] = None,
    data: Data = None,
    work: Work = None,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
) -> None:
    """Make a smaller model by steps on the line, or by a recipe."""
    if (recipe is None) == (not step):
        raise SottovoceError(
            "compress needs either --step drop_layers:keep=9 or --recipe FILE; `sottovoce methods` lists."
        )
    if recipe is not None:
        for run in run_points(Recipe.from_yaml(recipe), output, model=model, data=data, skip_bad=skip_bad):
            out.print(f"wrote {run.folder}", markup=False, highlight=False)
        return
    if model is None:
        raise SottovoceError("compress by steps needs a model: a Hub id, a folder, or small-hubert or small-melhubert.")
    steps = [parse_step(text, sv.METHODS) for text in step or ()]
    with new_model(output, overwrite, work, model=model, data=data) as made:
        small, known = get_model(model), get_data(data, skip_bad=skip_bad) if data is not None else None
        for number, (name, options) in enumerate(steps, start=1):
            with working_in(made.work / f"step-{number}"):
                before, small = small, sv.METHODS[name](small, known, **options)
            if text := weigh(name, before, small, known):
                out.print(text, markup=False, highlight=False)
        if not processes().is_main_process:
            return
        with bar("saving and loading again"):
            made.save(small)
    out.print(f"wrote {output}: {short(sv.size(small)[0].value)} parameters", markup=False, highlight=False)


def weigh(name: str, before: Any, after: Any, data: Any) -> str:
    """What a step brought, of those that may bring nothing: whether int8 is faster is for the machine to say."""
    if name != "quantize":
        return ""
    with bar("measuring what quantising brings"):
        return f"quantize: {sv.gain(before, after, data)}."


def run_points(
    recipe: Recipe, root: Path, *, model: str | None = None, data: str | None = None, skip_bad: bool = False
) -> list[Run]:
    """Every point of a recipe's grid, finished ones skipped."""
    points = recipe.points()
    changes = {key: value for key, value in (("model", model), ("data", data)) if value is not None}
    if changes:
        changed = [Recipe.from_dict({**point.to_dict(), **changes}) for point in points]
        points = list({point.hash(): point for point in changed}.values())  # what varied may be replaced now
    for point in points:
        point.check(sv.METHODS, sv.MEASURES)
    extra = {"sottovoce": sv.__version__} | {name: folder_stamp(name) for name in {point.model for point in points}}
    read: dict[str, list[Utterance]] = {}
    for name in sorted({point.data for point in points if point.data is not None}):
        read[name] = get_data(name, skip_bad=skip_bad)
        extra[f"data {name}"] = manifest_hash(read[name])
    tools: dict[str, Any] = {"load": get_model, "save": replace_model, "methods": sv.METHODS, "measures": sv.MEASURES}
    tools["weigh"] = weigh
    log = lambda text: err.print(text, markup=False)  # noqa: E731
    return execute_all(points, root, read=read.__getitem__, extra_hash=extra, log=log, **tools)


@app.command()
def measure(
    model: Model,
    measures: Annotated[
        list[str], typer.Option("--measure", help="phones,keywords or one with options: phones:layer=each. Repeatable.")
    ],
    data: Data = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write the measurements here (JSON lines).", **PATH)
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Keep states and checkpoints here, to go on from.", **PATH)] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure a model, or log-mel: size, macs, speed, and with --data what it knows (`sottovoce tasks`)."""
    listed = [name for text in measures for name in ([text] if ":" in text else text.split(","))]
    names = [parse_step(text, sv.MEASURES) for text in listed]
    target = new_file(output, overwrite)
    rows: list[sv.Measurement] = []
    try:
        with kept_in(work):
            loaded, known = get_model(model), get_data(data, skip_bad=skip_bad) if data is not None else None
            with bar("measuring", len(names)) as advance:
                for name, options in names:
                    rows += sv.MEASURES[name](loaded, known, **options)
                    advance(note=name)
        if target is not None and processes().is_main_process:
            atomic_write(target, "".join(row.to_json() + "\n" for row in rows))
    finally:
        # What was measured before a fault is told all the same; the file has all of it, or is not there.
        if rows and processes().is_main_process:
            print_measurements(rows, as_json=as_json)


@app.command()
def methods(as_json: AsJson = False) -> None:
    """The methods, their options and papers."""
    list_entries(sv.METHODS, as_json)


@app.command("measures")
def list_measures(as_json: AsJson = False) -> None:
    """The measures, their options and papers."""
    list_entries(sv.MEASURES, as_json)


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
