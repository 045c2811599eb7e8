"""One measured number, with what it takes to believe it."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, final

from sottovoce.errors import SottovoceError, shown
from sottovoce.files import is_number, json_object
from sottovoce.measurement_old import Coordinate, named

Better = Literal["higher", "lower", "neither"]


@final
class Where(Mapping[str, Coordinate]):
    """Named coordinates that do not change: equal to any mapping of the same, and a key of dictionaries.

    Example:
        >>> Where({"layer": 3}, head=2) == {"head": 2, "layer": 3}
        True
    """

    __slots__ = ("_named",)

    def __init__(self, coordinates: Mapping[str, Coordinate] | None = None, /, **more: Coordinate) -> None:
        self._named = {**(coordinates or {}), **more}

    def __getitem__(self, name: str) -> Coordinate:
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def __hash__(self) -> int:
        return hash(frozenset(self._named.items()))

    def __repr__(self) -> str:
        return repr(self._named)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}".replace("_", " ") for name, value in self._named.items())


WHOLE = Where()


@dataclass(frozen=True)
class Measurement:
    """One number: what was measured, where, on how much, with which spread.

    `where` names coordinates, each text or a number: `{}` for the whole model, `{"layer": 4, "head": 2}` for a head.
    Layers count from 0, and so do states, of which 0 enters the first layer. `error` is half the width of the interval
    that `unit` and the measure's docstring name.

    Example:
        >>> Measurement("size", "parameters", 94_371_712, "parameters", better="lower").value
        94371712
        >>> Measurement("flatness", "kurtosis", 2.9, where={"layer": 4}).at("layer")
        4
    """

    measure: str
    metric: str
    value: float | int
    unit: str = ""
    better: Better = "neither"
    where: Mapping[str, Coordinate] = WHOLE
    n: int = 1
    error: float | None = None
    version: int = 1

    def __post_init__(self) -> None:
        if not _is_place(self.where):
            raise TypeError(
                f"{self.measure}: where is {shown(self.where)}, but a mapping of names to text and finite numbers is "
                "wanted, such as {'layer': 4}."
            )
        object.__setattr__(self, "where", Where(self.where))

    def at(self, coordinate: str) -> Any:
        """A coordinate of `where`, text or a number.

        Example:
            >>> Measurement("size", "bytes", 3, where={"part": "head"}).at("layer")
            Traceback (most recent call last):
            KeyError: "bytes of size is told at part, not at 'layer'"
        """
        if coordinate not in self.where:
            told = ", ".join(self.where) or "the whole model"
            raise KeyError(f"{self.metric} of {self.measure} is told at {told}, not at {coordinate!r}")
        return self.where[coordinate]

    def record(self) -> dict[str, Any]:
        """What JSON says of it."""
        return {**{field.name: getattr(self, field.name) for field in fields(self)}, "where": dict(self.where)}

    def to_json(self) -> str:
        """One line of `measurements.jsonl`."""
        return json.dumps(self.record())

    @classmethod
    def from_json(cls, line: str) -> "Measurement":
        """The inverse of `to_json`; lines of earlier versions are read as well."""
        return cls.from_record(json_object(line, "the line", nan=True))  # a score may be no number, and says so

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Measurement":
        """The inverse of `record`; in records of earlier versions, `where` is a list.

        Example:
            >>> old = {"measure": "ablation", "metric": "accuracy", "value": 0.5, "where": ["layer", 4]}
            >>> Measurement.from_record(old).where
            {'layer': 4}
        """
        known = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        for name, value in known.items():
            if not _FITS[name](value):
                raise SottovoceError(f"its {name} is {shown(value)}, which no measure writes")
        for name in ("measure", "metric", "value"):
            if name not in known:
                raise SottovoceError(f"it has no {name}")
        if isinstance(known.get("where"), list):
            known["where"] = named(known["measure"], known["where"])
        return cls(**known)


def select(rows: Iterable[Measurement], metric: str | None = None, /, **coordinates: Coordinate) -> list[Measurement]:
    """The measurements of a metric (of all, if none is named) that are at some coordinates; they may have others too.

    Example:
        >>> rows = [Measurement("m", "bi", layer / 10, where={"layer": layer, "reading": "mean"}) for layer in (0, 1)]
        >>> select(rows, "bi", layer=1)[0].value
        0.1
    """
    found = [row for row in rows if metric in (None, row.metric)]
    return [row for row in found if all(row.where.get(name) == value for name, value in coordinates.items())]


def _is_coordinate(value: object) -> bool:
    return isinstance(value, str) or (is_number(value) and not (isinstance(value, float) and not math.isfinite(value)))


def _is_place(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and _is_coordinate(v) for k, v in value.items())


_FITS: dict[str, Callable[[Any], bool]] = {
    "measure": lambda value: isinstance(value, str),
    "metric": lambda value: isinstance(value, str),
    "value": is_number,
    "unit": lambda value: isinstance(value, str),
    "better": lambda value: value in ("higher", "lower", "neither"),
    "where": lambda value: _is_place(value) or (isinstance(value, list) and all(map(_is_coordinate, value))),
    "n": lambda value: type(value) is int and value >= 0,
    "error": lambda value: value is None or is_number(value),
    "version": lambda value: type(value) is int,
}
