"""The command that does a grid of recipes by several processes."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.cli.common import PATH, Data, SkipBad, app, runs_models, tell
from sottovoce.cli.models import told_of_runs, values_of


@app.command()
@runs_models
def sweep(
    recipe: Annotated[Path, typer.Argument(help="A recipe in YAML, with what it varies.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where runs go.", **PATH)],
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 1,
    threads: Annotated[
        int | None, typer.Option(help="Threads of each worker; all cores divided among them if not given.", min=1)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another model than the recipe's.")] = None,
    data: Data = None,
    skip_bad: SkipBad = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another value in the recipe: steps.finetune.train.steps=10. Repeat for more."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="So many utterances of each split and task, by chance.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and tell every point, and stop.")] = False,
) -> None:
    """Do every point of a recipe's grid, by several processes; may be killed and started again at any moment."""
    from sottovoce.sweeping import sweep as do_all

    runs = do_all(
        recipe,
        output,
        workers=workers,
        threads=threads,
        model=model,
        data=data,
        changes=values_of(changes or []),
        limit=limit,
        dry=dry_run,
        skip_bad=skip_bad,
        log=tell,
    )
    told_of_runs(runs)
