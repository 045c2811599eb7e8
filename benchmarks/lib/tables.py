"""Stored records, and how `docs/results.md` shows what is in them."""

import json
from pathlib import Path
from typing import Any

from sottovoce.models.teachers import weights_of

RECORDS = Path(__file__).parents[1] / "records"
Table = tuple[list[str], list[list[str]]]


def path_of(name: str) -> Path:
    """Where a record lies."""
    return RECORDS / f"{name.replace('-', '_')}.json"


def there(*names: str) -> bool:
    """Whether all of these records are there."""
    return all(path_of(name).exists() for name in names)


def read(name: str) -> dict[str, Any]:
    """A stored record."""
    return json.loads(path_of(name).read_text(encoding="utf-8"))


def about(record: dict[str, Any]) -> str:
    """How and on what a record was made, and whether on other weights of a teacher than there are now."""
    made = (
        f"Made by `{record['command']}` on {record['date']} ({record['machine']}, torch {record['torch']}, "
        f"transformers {record['transformers']})."
    )
    for teacher, weights in record.get("weights", {}).items():
        if weights != weights_of(teacher):
            made += f" **`{teacher}` was trained on after that: these are its weights {weights}, not those of today.**"
    return made


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """A count in full, a measured value in four digits."""
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:.4g}"


def percent(value: float, error: float | None = None) -> str:
    """A share, with its interval if there is one."""
    return f"{100 * value:.1f} %" + (f" ± {100 * error:.1f}" if error is not None else "")


def interval(row: dict[str, float]) -> str:
    """A ratio with its interval."""
    return f"{row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
