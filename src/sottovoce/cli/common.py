"""What every command shares: the two consoles, common options, progress, JSON; nothing here imports torch."""

import dataclasses
import functools
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sottovoce.files import local_path
from sottovoce.measurement import Measurement
from sottovoce.progress import Advance

app = typer.Typer(
    help="Makes self-supervised speech models small and fast, and shows what each saving costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
EVERY = 30.0  # seconds between lines of progress
out = Console(soft_wrap=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say_versions(wanted: bool) -> None:
    """The three versions that a report of a fault must have."""
    if wanted:
        out.print(", ".join(f"{name} {version(name)}" for name in ("sottovoce", "torch", "transformers")))
        raise typer.Exit


VERSION = typer.Option("--version", callback=say_versions, is_eager=True, help="Print the versions, and end.")
MODEL = typer.Argument(help="A Hub id, a folder, small-hubert or small-melhubert, or a shape's random weights.")
Model = Annotated[str, MODEL]
OptionalModel = Annotated[str | None, MODEL]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of tables.")]
Data = Annotated[
    str | None,
    typer.Option(
        help="espeak, a manifest, a folder (prepared, or your own), or CORPUS@FOLDER; `sottovoce corpus list`."
    ),
]


def a_path(text: str) -> Path:
    """A path from the line; an empty one, which would be the current folder, is a slip."""
    return local_path(text, "the path")


PATH: dict[str, Any] = {"parser": a_path, "metavar": "PATH"}
Output = Annotated[Path, typer.Option("-o", "--output", help="The new model's folder.", **PATH)]
Work = Annotated[
    Path | None, typer.Option(help="Checkpoints, logs and caches; beside the output if not given.", **PATH)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there already.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot be read or decoded, and list it.")]


DEVICE = typer.Option(help="cpu, cuda, mps; a GPU where there is one if not given.")
DTYPE = typer.Option(help="Load models in float32, float16 or bfloat16.")


def runs_models(command: Callable[..., None], *, dtype: bool = False) -> Callable[..., None]:
    """A command that takes --device too, and with `dtype` --dtype, and does all of its work there and in it."""
    options = {"device": Annotated[str | None, DEVICE]} | ({"dtype": Annotated[str | None, DTYPE]} if dtype else {})

    @functools.wraps(command)
    def told(**given: Any) -> None:
        wanted = {name: given.pop(name, None) for name in options}
        if all(value is None for value in wanted.values()):
            command(**given)
            return
        from sottovoce.names import chosen  # with torch, which --help does without

        with chosen(wanted["device"], wanted.get("dtype")):
            command(**given)

    whole = inspect.signature(command)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=of)
        for name, of in options.items()
    ]
    places = [place.replace(kind=inspect.Parameter.KEYWORD_ONLY) for place in whole.parameters.values()]
    told.__signature__ = whole.replace(parameters=[*places, *more])  # pyright: ignore[reportAttributeAccessIssue]
    told.__annotations__ = {**command.__annotations__, **options}
    return told


with_dtype = functools.partial(runs_models, dtype=True)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter of a frozen dataclass stands on the line as the options that are its fields."""
    whole = inspect.signature(command)
    (group,) = (place for place in whole.parameters.values() if dataclasses.is_dataclass(place.annotation))
    kinds = get_type_hints(group.annotation, include_extras=True)
    fields: Any = dataclasses.fields(group.annotation)  # pyright: ignore[reportArgumentType]

    @functools.wraps(command)
    def told(**given: Any) -> None:
        made = group.annotation(**{field.name: given.pop(field.name) for field in fields})
        command(**given, **{group.name: made})

    places = []
    for place in whole.parameters.values():
        inner = [(f.name, f.default, kinds[f.name]) for f in fields]
        for name, default, of in inner if place is group else [(place.name, place.default, place.annotation)]:
            places.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=of))
    told.__signature__ = whole.replace(parameters=places)  # pyright: ignore[reportAttributeAccessIssue]
    told.__annotations__ = {place.name: place.annotation for place in places} | {"return": None}
    return told


@app.callback()
def every_command(version: Annotated[bool, VERSION] = False) -> None:
    """What stands before a command; Typer's own text for the app is in `help` above."""


_SCREEN: ContextVar[Progress | None] = ContextVar("screen", default=None)


@contextmanager
def bars(text: str, total: float | None) -> Iterator[Advance]:
    """A bar on the error stream, gone when done; bars that run at the same time stand below one another.

    Where that is no terminal, a line every half a minute instead.
    """
    if not err.is_terminal:
        yield Lines(text, total).advance
        return
    with one_screen() as screen:
        task = screen.add_task(text, total=total, note="")

        def advance(amount: float = 1, note: str = "") -> None:
            screen.update(task, advance=amount, note=note)

        try:
            yield advance
        finally:
            screen.remove_task(task)


class Lines:
    """Progress as plain lines, for logs: what of how much is done, and since when."""

    def __init__(self, text: str, total: float | None) -> None:
        self.text, self.total, self.done = text, total, 0.0
        self.begun = self.told = time.monotonic()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count, and tell now and then."""
        self.done += amount
        now = time.monotonic()
        if now - self.told < EVERY:
            return
        self.told = now
        whole = "" if self.total is None else f" of {self.total:g}"
        tell(f"{self.text}: {self.done:g}{whole} in {now - self.begun:.0f} s{f', {note}' if note else ''}")


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


def show(text: str) -> None:
    """A line on the output, as it is."""
    out.print(text, markup=False, highlight=False)


def tell(text: str) -> None:
    """A line on the error stream, as it is."""
    err.print(text, markup=False)


def print_json(records: Iterable[Any]) -> None:
    """One JSON object a line."""
    for record in records:
        sys.stdout.write(json.dumps(record) + "\n")


def print_measurements(rows: Iterable[Measurement], *, as_json: bool) -> None:
    """Measurements as a table a measure, or as JSON lines."""
    if as_json:
        print_json(row.record() for row in rows)
        return
    from sottovoce.tables import measurement_tables  # with torch, which only what measures needs

    for table in measurement_tables(rows):
        out.print(table)
