"""What methods and measures there are, at once: their description is kept until a file of the package changes."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import sottovoce as sv
from sottovoce.cli.common import out, print_json, show
from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write, cache_folder, read_text

PACKAGE = Path(sv.__file__).parent
Kind = Literal["methods", "measures"]


def entries(kind: Kind) -> list[dict[str, Any]]:
    """Every method or measure with its options, as `--json` prints it.

    Importing them takes seconds, for they import torch. What was seen last is kept in the user's cache folder with the
    state of the package's files, and is believed for as long as these are the same.

    Example:
        >>> entries("methods")[0]["name"]
        'cut_at_convexity'
    """
    place, state = cache_file(), package_state()
    with contextlib.suppress(SottovoceError, OSError, ValueError, KeyError, TypeError):
        kept = json.loads(read_text(place, "the listing"))
        if kept["state"] == state and all(isinstance(row["options"], list) for row in kept[kind]):
            return kept[kind]
    from sottovoce.registry import describe

    found = {
        "methods": [describe(entry) for entry in sv.METHODS.values()],
        "measures": [describe(entry) for entry in sv.MEASURES.values()],
    }
    with contextlib.suppress(SottovoceError, OSError):
        atomic_write(place, json.dumps({"state": state, **found}))
    return found[kind]


def cache_file() -> Path:
    """Where the description of this installation is kept."""
    which = hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:12]
    return cache_folder() / f"listing-{which}.json"


def package_state() -> str:
    """What changes when a file of the package does."""
    files = sorted(PACKAGE.rglob("*.py"))
    rows = [(str(path.relative_to(PACKAGE)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((sys.version, rows)).encode()).hexdigest()


def list_entries(kind: Kind, as_json: bool) -> None:
    """Show every method or measure."""
    records = entries(kind)
    if as_json:
        print_json(records)
        return
    for record in records:
        out.print(f"[bold]{record['name']}[/bold]  {record['summary']}")
        if record["paper"]:
            show(f"    paper: {record['paper']}")
        for line in option_lines(record["options"]):
            show(f"    {line}")


def option_lines(options: Iterable[dict[str, Any]], group: str = "") -> Iterator[str]:
    """A line for each option that `describe` tells of; those of a group have its name before them.

    Example:
        >>> list(option_lines([{"name": "keep", "type": "int", "default": None, "required": True}]))
        ['keep: int, needed']
    """
    for option in options:
        name = f"{group}{option['name']}"
        default = "needed" if option["required"] else f"{option['default']!r} if not given"
        if "options" not in option:
            yield f"{name}: {option['type']}, {default}"
            continue
        if option["type"].endswith("None"):
            yield f"{name}: null leaves it out"
        yield from option_lines(option["options"], f"{name}.")


def complete_method(start: str) -> list[str]:
    """The methods whose names begin so, for the shell."""
    return [record["name"] for record in entries("methods") if record["name"].startswith(start)]


def complete_measure(start: str) -> list[str]:
    """The measures whose names begin so, for the shell."""
    return [record["name"] for record in entries("measures") if record["name"].startswith(start)]
