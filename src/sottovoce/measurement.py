"""One measured number, with what it takes to believe it."""

import json
import reprlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sottovoce.errors import SottovoceError
from sottovoce.files import is_number, json_object


@dataclass(frozen=True)
class Measurement:
    """One number: what was measured, where, on how much, with which spread.

    `where` is `()` for the whole model, `("layer", 4)` for a layer, `(4, 7)` for a pair.
    `error` is half the width of the interval that `unit` and the measure's docstring name.

    Example:
        >>> Measurement("size", "parameters", 94_371_712, "parameters", better="lower").value
        94371712
    """

    measure: str
    metric: str
    value: float | int
    unit: str = ""
    better: Literal["higher", "lower", "neither"] = "neither"
    where: tuple[str | int, ...] = ()
    n: int = 1
    error: float | None = None
    version: int = 1

    def to_json(self) -> str:
        """One line of `measurements.jsonl`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Measurement":
        """The inverse of `to_json`."""
        record = json_object(line, "the line", nan=True)  # a score may be no number, and its record says so
        known = {field.name for field in fields(cls)}
        record = {key: value for key, value in record.items() if key in known}
        where = record.get("where", [])
        for name, value in {"where": where, **record}.items():
            if not _FITS[name](value):
                raise SottovoceError(f"its {name} is {reprlib.repr(value)}, which no measure writes")
        for name in ("measure", "metric", "value"):
            if name not in record:
                raise SottovoceError(f"it has no {name}")
        return cls(**{**record, "where": tuple(where)})


_FITS: dict[str, Callable[[Any], bool]] = {
    "measure": lambda value: isinstance(value, str),
    "metric": lambda value: isinstance(value, str),
    "value": is_number,
    "unit": lambda value: isinstance(value, str),
    "better": lambda value: value in ("higher", "lower", "neither"),
    "where": lambda value: isinstance(value, list) and all(isinstance(part, str) or is_number(part) for part in value),
    "n": lambda value: type(value) is int and value >= 0,
    "error": lambda value: value is None or is_number(value),
    "version": lambda value: type(value) is int,
}
