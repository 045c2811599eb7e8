"""Commands that look inside a model."""

from pathlib import Path
from typing import Annotated, Any

import typer

import sottovoce as sv
from sottovoce.cli.common import PATH, AsJson, Model, SkipBad, app, out, print_json, show, tell, with_dtype
from sottovoce.errors import SottovoceError
from sottovoce.files import leads
from sottovoce.recipe import Step

# Whose options a part takes that stands for several measures.
GROUPS = {"probes": "phones", "cost": "speed"}


@app.command("analyze")
@with_dtype
def analyze_model(
    model: Model,
    data: Annotated[str, typer.Option(help="espeak, a manifest, a folder (prepared, or your own), or CORPUS@FOLDER.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the run and its page go.", **PATH)],
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="similarity, convexity, attention, probes, cost, or any measure, with options: similarity:limit=256. "
            "Repeat for more; all but slow ones if not given."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option("--as", help="paper: the papers' own settings.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="2/8: only the second eighth of the passes over the speech.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of whatever is drawn by chance.")] = 0,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Find what is redundant, where concepts lie, what heads do: a run and one page. Goes on where it was stopped."""
    if preset not in (None, "paper"):
        raise SottovoceError(f"--as {preset}, but only 'paper' is known; leave it out for the defaults.")
    steps = [read_part(text) for text in part or ()]
    about = None if shard is None else read_shard(shard)
    more: dict[str, Any] = {"seed": seed, "shard": about, "skip_bad": skip_bad, "log": tell}
    run = sv.analyze(model, data, output, parts=steps, as_paper=preset == "paper", **more)
    if run is None or not leads():
        return
    from sottovoce.analyses import PAGE
    from sottovoce.report.cuts import cuts

    found = cuts(run.measurements())
    if as_json:
        print_json([*({"step": cut.step, "reason": cut.reason} for cut in found), {"page": str(run.folder / PAGE)}])
        return
    for cut in found:
        out.print(cut.step, style="bold", markup=False, highlight=False)
        show(f"    {cut.reason}")
    show(f"wrote {run.folder / PAGE}")


def read_part(text: str) -> Step:
    """A part with its options, checked against the measure that takes them."""
    from sottovoce.registry import parse_step

    name, colon, options = text.partition(":")
    return name, parse_step(f"{GROUPS.get(name, name)}{colon}{options}", sv.MEASURES)[1]


def read_shard(text: str) -> tuple[int, int]:
    """The number of a shard and how many there are, from `2/8`."""
    number, _, of = text.partition("/")
    fits = all(part.isascii() and part.isdigit() and len(part) < 5 for part in (number, of))
    if not (fits and 1 <= int(number) <= int(of)):
        raise SottovoceError(f"--shard {text}, but a number and how many there are is wanted: 1/8 to 8/8.")
    return int(number), int(of)
