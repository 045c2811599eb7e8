"""Commands about models: what they cost, what is wrong with them, smaller ones, what they score."""

from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

import sottovoce as sv
from sottovoce.cli.common import (
    PATH,
    AsJson,
    Data,
    Model,
    OptionalModel,
    Output,
    Overwrite,
    SkipBad,
    Work,
    app,
    out,
    print_json,
    print_measurements,
    runs_models,
    show,
    tell,
    with_dtype,
)
from sottovoce.cli.listing import complete_measure, complete_method, list_entries
from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write, leads, load_yaml
from sottovoce.progress import bar

Seconds = Annotated[float, typer.Option(help="The length of the audio.")]
Convention = Annotated[
    Literal["total", "per_second", "superb"],
    typer.Option(help="MACs of one utterance, of a second of it, or of SUPERB's 32 utterances (224.86 s)."),
]
Step = Annotated[
    list[str] | None,
    typer.Option(
        "--step",
        help="A method with options: drop_layers:keep=9. Repeat for more.",
        autocompletion=complete_method,
    ),
]


TIMED = 5  # passes of each model, at the end of compress


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write.", **PATH)] = Path("sottovoce-demo"),
    overwrite: Overwrite = False,
) -> None:
    """The whole story, offline: what the layers of a teacher know, what it costs, a smaller one, what that saves."""
    from sottovoce.demo import run_demo

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
        show(f"{finding.check}: {finding.what}")
        if finding.do:
            show(f"         -> {finding.do}")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


@app.command()
def convert(model: Model, output: Output, overwrite: Overwrite = False) -> None:
    """Write a model as safetensors, with its head, its feature extractor and its tokenizer, and load it again."""
    from sottovoce.models.hub import check_target

    check_target(output, overwrite=overwrite)
    with bar("loading, saving and loading again"):
        loaded = sv.load(model)
        sv.save(loaded, output, overwrite=overwrite)
    show(f"wrote {output}: {type(loaded).__name__}")


@app.command()
@with_dtype
def cost(
    model: Model,
    versus: Annotated[str | None, typer.Option(help="A second model, timed in turns with the first.")] = None,
    seconds: Seconds = 10.0,
    convention: Convention = "total",
    time: Annotated[bool, typer.Option(help="Measure latency and memory too.")] = True,
    batch: Annotated[int, typer.Option(help="Utterances at a time.")] = 1,
    repeats: Annotated[int, typer.Option(help="Timed passes.")] = 9,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    runtime: Annotated[
        Literal["pytorch", "onnxruntime", "openvino", "executorch"],
        typer.Option(help="What the time is of; with --versus, of both models."),
    ] = "pytorch",
    parts: Annotated[bool, typer.Option("--parts", help="Every convolution and layer on a line of its own.")] = False,
    as_json: AsJson = False,
) -> None:
    """Parameters, MACs, latency, memory and bytes, whole and by part."""
    from sottovoce.names import get_model
    from sottovoce.tables import cost_table, summary_table

    names = [model, *([versus] if versus is not None else [])]
    models = [get_model(name) for name in names]
    if runtime != "pytorch" and versus is None:
        raise SottovoceError(f"--runtime {runtime} compares two models; name the second with --versus.")
    timing: dict[str, Any] = {"batch": batch, "repeats": repeats, "threads": threads}
    common: dict[str, Any] = {"seconds": seconds, "convention": convention}
    if versus is not None and time:
        with bar("timing in turns", 2 * (repeats + 2)) as tick:
            costs = list(sv.cost_of_two(models[0], models[1], runtime=runtime, tick=tick, **common, **timing))
    else:
        with bar("measuring"):
            costs = [sv.cost(m, time=time, **common, **timing) for m in models]
    if as_json:
        print_json(
            {"model": name, **row.record()} for name, c in zip(names, costs, strict=True) for row in c.measurements
        )
        return
    for name, one in zip(names, costs, strict=True):
        if versus is None or parts:
            out.print(cost_table(name, one, detail=parts))
    out.print(summary_table(names, costs))


@app.command()
@runs_models
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
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another value in the recipe: steps.finetune.train.steps=10. Repeat for more."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="For a recipe: so many utterances of each split and task, by chance.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="For a recipe: check and tell every point, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a smaller model by steps on the line, or by a recipe, and say what that saved and what it cost."""
    if (recipe is None) == (not step):
        raise SottovoceError(
            "compress needs either --step drop_layers:keep=9 or --recipe FILE; `sottovoce methods` lists."
        )
    if recipe is not None:
        more: dict[str, Any] = {"changes": values_of(changes or []), "limit": limit, "dry": dry_run}
        told_of_runs(sv.run(recipe, output, model=model, data=data, skip_bad=skip_bad, log=tell, **more))
        return
    if changes or limit is not None or dry_run:
        raise SottovoceError("--set, --limit and --dry-run are for --recipe; give steps their options with --step.")
    if model is None:
        raise SottovoceError("compress by steps needs a model: a Hub id, a folder, or small-hubert or small-melhubert.")
    from sottovoce.cli.outputs import new_model
    from sottovoce.names import get_data, get_model
    from sottovoce.preflight import check_run
    from sottovoce.registry import parse_step
    from sottovoce.steps import take_steps
    from sottovoce.tables import short

    steps = [parse_step(text, sv.METHODS) for text in step or ()]
    with new_model(output, overwrite, work, model=model, data=data) as made:
        read = cache(partial(get_data, skip_bad=skip_bad, tell=tell))
        known = read(data) if data is not None else None
        check_run(sv.Recipe(model, data, 0, tuple(steps)), output, methods=sv.METHODS, measures=sv.MEASURES, read=read)
        whole, times = get_model(model), list[sv.Measurement]()
        hear: dict[str, Any] = {"report": tell if as_json else show, "timed": times.append}
        small = take_steps(whole, known, steps, work=made.work, read=read, **hear)
        if not leads():
            return
        with bar("saving and loading again"):
            made.save(small)
    if not as_json:
        show(f"wrote {output}: {short(sv.size(small)[0].value)} parameters")
    compared(whole, small, known, times, as_json=as_json)


def told_of_runs(runs: list[sv.Run]) -> None:
    """Where each run is, and how long its steps were trained."""
    from sottovoce.tables import lasting

    for run in runs:
        seconds = sum(row.value for row in run.trainings)
        show(f"wrote {run.folder}{f', trained for {lasting(seconds)}' * bool(seconds)}")


def values_of(changes: list[str]) -> dict[str, Any]:
    """Places of a recipe with their new values, each read as YAML."""
    found: dict[str, Any] = {}
    for text in changes:
        key, equals, value = text.partition("=")
        if not (equals and key.strip()) or key.strip() in found:
            raise SottovoceError(f"--set {text}: a place and a value are wanted, each place once: seed=1.")
        found[key.strip()] = load_yaml(value, name=f"--set {key}")
    return found


def compared(whole: Any, small: Any, data: Any, times: list[sv.Measurement], *, as_json: bool) -> None:
    """What a model costs and scores beside the one that was made of it, what that took, and which of its parts went."""
    from sottovoce.costs import scores_of_two
    from sottovoce.models.differences import differences
    from sottovoce.tables import number, summary_table

    with bar("timing in turns", 2 * (TIMED + 2)) as tick:
        costs = sv.cost_of_two(whole, small, repeats=TIMED, tick=tick)
    scores = scores_of_two(whole, small, data)
    if as_json:
        for place, name in enumerate(("before", "after")):
            found = [(task, first if place == 0 else second) for task, first, second in scores]
            rows = [*costs[place].measurements, *(score.measured(task) for task, score in found)]
            print_json({"model": name, **row.record()} for row in rows if not row.where)
        print_json({"model": "after", **row.record()} for row in times)
        return
    out.print(summary_table(["before", "after"], costs))
    for name, first, second in scores:
        told = [f"{number(score.value)} ± {score.error:.2g}" for score in (first, second)]
        show(f"{name}, {first.metric.replace('_', ' ')}: {told[0]} before, {told[1]} after (n = {second.n})")
    for line in differences(whole, small):
        show(line)


@app.command()
@with_dtype
def measure(
    model: Model,
    measures: Annotated[
        list[str],
        typer.Option(
            "--measure",
            help="phones,keywords or one with options: phones:layer=each. Repeatable.",
            autocompletion=complete_measure,
        ),
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
    from sottovoce.cli.outputs import kept_in, new_file
    from sottovoce.execution import measured, steps_named
    from sottovoce.names import get_data, get_model

    steps = steps_named(measures)
    target = new_file(output, overwrite)
    rows: list[sv.Measurement] = []
    try:
        with kept_in(work):
            known = get_data(data, skip_bad=skip_bad, tell=tell) if data is not None else None
            for row in measured(get_model(model), known, steps):
                rows.append(row)
        if target is not None and leads():
            atomic_write(target, "".join(row.to_json() + "\n" for row in rows))
    finally:
        # What was measured before a fault is told all the same; the file has all of it, or is not there.
        if rows and leads():
            print_measurements(rows, as_json=as_json)


@app.command()
def methods(as_json: AsJson = False) -> None:
    """The methods, their options and papers."""
    list_entries("methods", as_json)


@app.command("measures")
def list_measures(as_json: AsJson = False) -> None:
    """The measures, their options and papers."""
    list_entries("measures", as_json)


@app.command()
def families(as_json: AsJson = False) -> None:
    """The families of encoders, and the named shapes that `cost` and `sv.new` know."""
    from sottovoce.models.families import FAMILIES
    from sottovoce.models.shapes import SHAPES

    shapes = {name: [shape for shape, row in SHAPES.items() if row["model_type"] == name] for name in FAMILIES}
    if as_json:
        print_json({"family": name, "shapes": known} for name, known in shapes.items())
        return
    table = Table("family", "named shapes")
    for name, known in shapes.items():
        table.add_row(name, ", ".join(known))
    out.print(table)
