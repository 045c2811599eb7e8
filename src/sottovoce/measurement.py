"""One measured number, with what it takes to believe it."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal


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
        record = json.loads(line)
        known = {field.name for field in fields(cls)}
        record = {key: value for key, value in record.items() if key in known}
        return cls(**{**record, "where": tuple(record.get("where", ()))})
