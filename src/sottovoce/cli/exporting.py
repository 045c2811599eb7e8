"""Commands about models for other programs: exporting them, and which programs there are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import sottovoce as sv
from sottovoce.cli.common import (
    PATH,
    AsJson,
    Data,
    Model,
    Overwrite,
    SkipBad,
    app,
    grouped,
    out,
    print_json,
    show,
    tell,
)
from sottovoce.errors import SottovoceError


@dataclass(frozen=True)
class Kind:
    """What kind of file is written, and whether it is compared."""

    int8: Annotated[bool, typer.Option("--int8", help="Bytes for the weights of Linears.")] = False
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision for all weights.")] = False
    seconds: Annotated[
        float | None, typer.Option(help="One utterance of just this length; any batch and length if not given.")
    ] = None
    opset: Annotated[int | None, typer.Option(help="The version of ONNX's operations.")] = None
    check: Annotated[bool, typer.Option("--check/--no-check", help="Compare with PyTorch what was written.")] = True


@app.command()
@grouped
def export(
    model: Model,
    to: Annotated[str, typer.Option("--to", help="The program or format: `sottovoce targets` lists them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder that is written.", **PATH)],
    kind: Kind,
    versus: Annotated[
        str | None, typer.Option(metavar="ORIGINAL", help="A model that the page of --to web shows beside it.")
    ] = None,
    data: Data = None,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Write a model for another program, and prove that it says there what it says here. Exit code 1 if it does not."""
    if kind.int8 and kind.fp16:
        raise SottovoceError("--int8 and --fp16 are two precisions; give one of them.")
    from sottovoce.exporting import Disagreement
    from sottovoce.exporting.card import measured
    from sottovoce.exporting.order import Order, Precision
    from sottovoce.exporting.run import check_order, check_place, with_original
    from sottovoce.exporting.target import find_target
    from sottovoce.names import get_data, get_model
    from sottovoce.runtimes.onnx_file import OPSET

    precision: Precision = "int8" if kind.int8 else "fp16" if kind.fp16 else "fp32"
    opset = OPSET if kind.opset is None else kind.opset
    target = find_target(to)
    check_place(output, overwrite=overwrite)
    loaded = get_model(model)
    check_order(target, loaded, precision, opset)
    original = with_original(target, Order(loaded, model, precision), versus).original
    known = get_data(data, skip_bad=skip_bad, tell=tell) if data is not None else None
    try:
        made = sv.export(
            loaded,
            to,
            output,
            precision=precision,
            data=known,
            seconds=kind.seconds,
            opset=opset,
            check=kind.check,
            overwrite=overwrite,
            name=model,
            data_name=data,
            versus=original and original.model,
        )
    except Disagreement as fault:
        tell(f"sottovoce: {fault}")
        raise typer.Exit(1) from None
    if as_json:
        print_json(row.record() for row in made.measurements)
        return
    for line in measured(made.measurements):
        show(line)
    for part in made.left_out:
        show(f"{part}: in fp32, for rounding changes it too much")
    show(f"wrote {made.folder}")


@app.command()
def targets(as_json: AsJson = False) -> None:
    """The programs and formats that models are exported for."""
    from sottovoce.exporting import TARGETS

    if as_json:
        print_json({"target": target.name, "about": target.about} for target in TARGETS.values())
        return
    table = Table("target", "what loads it")
    for target in TARGETS.values():
        table.add_row(target.name, target.about)
    out.print(table)
