"""Folders that Hugging Face's `Dataset.save_to_disk` wrote, through its library."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sottovoce.data.own.columns import ROLES, roles_of, row_of
from sottovoce.data.own.row import Bad, Row, Source, split_named
from sottovoce.errors import SottovoceError, reason_of

MARKS = ("dataset_dict.json", "state.json")
_OLDEST_ARROW = 15  # earlier ones unpickle what a file calls an extension type


def read_disk(source: Source, bad: Bad) -> Iterator[Row]:
    """The rows of a saved dataset, split by split; audio that is in the dataset itself is read when it is wanted.

    Example:
        >>> next(read_disk(Source(Path("saved")), print)).split
        'train'
    """
    for name, rows, undecoded in _loaded(source.place):
        roles = roles_of(rows.column_names)
        audio = undecoded[0] if undecoded else roles.get("path")
        if audio is None:
            there = ", ".join(rows.column_names)
            raise SottovoceError(f"'{source.place}' has no column of audio (there are {there}).")
        classes = {column: getattr(feature, "names", None) for column, feature in rows.features.items()}
        others = rows.remove_columns([audio])
        for number, record in enumerate(others):
            where = f"{source.place}, {name or 'row'} {number}"
            try:
                yield _row(_named(record, classes), rows, audio, number, where, source, name)
            except SottovoceError as error:
                bad(f"{where}: {error}")


def _loaded(place: Path) -> Iterator[tuple[str, Any, list[str]]]:
    """The rows of each split, their audio undecoded, with the names of the columns of audio."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        message = f"the saved dataset '{place}' needs the package datasets; run pip install sottovoce[datasets]."
        raise SottovoceError(message) from error
    arrow = importlib.import_module("pyarrow").__version__
    if int(arrow.split(".")[0]) < _OLDEST_ARROW:
        raise SottovoceError(f"pyarrow {arrow} runs code that a file holds; run pip install -U pyarrow.")
    try:
        loaded = datasets.load_from_disk(str(place))
    except Exception as error:
        why = reason_of(error)
        raise SottovoceError(f"the saved dataset '{place}' cannot be loaded ({why}); save it again.") from error
    for name, rows in loaded.items() if isinstance(loaded, dict) else [("", loaded)]:
        found = [column for column, feature in rows.features.items() if isinstance(feature, datasets.Audio)]
        for column in found:
            rows = rows.cast_column(column, datasets.Audio(decode=False))
        yield name, rows, found


def _named(record: dict[str, Any], classes: dict[str, list[str] | None]) -> dict[str, Any]:
    """A row with the names of its classes instead of their numbers; -1 is a label that is not told."""
    named: dict[str, Any] = {}
    for column, value in record.items():
        names = classes[column]
        if names and isinstance(value, int):
            value = names[value] if 0 <= value < len(names) else None
        if isinstance(value, str | int | float | bool) or value is None:
            named[column] = value
    return named


def _row(record: dict[str, Any], rows: Any, audio: str, number: int, where: str, source: Source, split: str) -> Row:
    """One row; of its audio, the path if there is a file of it, and otherwise what reads its bytes."""
    spare = {name: value for name, value in record.items() if name.lower() not in ROLES["path"]}
    found = rows[number][audio]
    path = found.get("path") if isinstance(found, dict) else found
    content = _reader(rows, number, audio) if isinstance(found, dict) and found.get("bytes") else None
    name = f"{split or 'rows'}/{number:07d}"
    row = row_of({**spare, "path": str(path or name)}, where, source.folder)
    chosen = row.split or split_named(split) or source.split
    return replace(row, id=row.id or name, split=chosen, content=content)


def _reader(rows: Any, number: int, audio: str) -> Callable[[], bytes]:
    return lambda: rows[number][audio]["bytes"]
