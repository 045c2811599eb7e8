"""Tables with a header: CSV and TSV, Common Voice's among them."""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sottovoce.data.own.columns import ROLES, roles_of, row_of
from sottovoce.data.own.lines import numbered
from sottovoce.data.own.row import Bad, Row, Source
from sottovoce.errors import SottovoceError

CLIPS = "clips"  # where Common Voice has the audio of its tables


def records(path: Path, bad: Bad) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of a table below its header, each with where it stands.

    A `.tsv` has no quotes, as Common Voice writes it; a `.csv` has, and its columns end at commas, semicolons or tabs,
    whichever its header has most of.

    Example:
        >>> next(records(Path("voice/train.tsv"), print))[1]["sentence"]
        'we call it bear'
    """
    at = [0]  # the number of the line that was read last

    def texts() -> Iterator[str]:
        for at[0], line in numbered(path, bad):
            yield f"{line}\n"

    lines = texts()
    first = next(lines, "")
    if not first.strip():
        raise SottovoceError(f"{path}, line 1: it is empty, but the names of the columns are wanted.")
    try:
        names, rows = _begun(path, first, lines)
    except csv.Error as error:
        raise SottovoceError(f"{path}, line 1: it is no header of a table ({error}); mend it.") from None
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise SottovoceError(f"{path}, line 1: two columns are called '{twice[0]}'; rename one.")
    while True:
        before = rows.line_num
        try:
            cells = next(rows, None)
        except csv.Error as error:
            where = f"{path}, line {at[0] - (rows.line_num - before) + 1}"
            raise SottovoceError(f"{where}: it is no line of a table ({error}); mend it.") from None
        if cells is None:
            return
        if not cells:
            continue
        where = f"{path}, line {at[0] - (rows.line_num - before) + 1}"
        if len(cells) != len(names):
            bad(f"{where}: it has {len(cells)} columns, but the header has {len(names)}")
            continue
        yield where, dict(zip(names, cells, strict=True))


def _begun(path: Path, first: str, lines: Iterator[str]) -> tuple[list[str], Any]:
    """The names of the columns, and what reads the lines below them."""
    if path.suffix.lower() == ".tsv":
        names, rows = first.rstrip("\n").split("\t"), csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        mark = max(",;\t", key=first.count)
        names, rows = next(csv.reader([first], delimiter=mark)), csv.reader(lines, delimiter=mark, strict=True)
    return [name.strip() for name in names], rows


def read_table(source: Source, bad: Bad) -> Iterator[Row]:
    """The rows of a table, with paths below its folder or below the `clips` beside it.

    Example:
        >>> next(read_table(Source(Path("voice/train.tsv"), split="train"), print)).split
        'train'
    """
    clips = source.folder / CLIPS
    checked = False
    for where, record in records(source.place, bad):
        if not checked and "path" not in roles_of(record):
            wanted = ", ".join(ROLES["path"])
            raise SottovoceError(
                f"{source.place}, line 1: no column names the audio (there are {', '.join(record)}); call it one of "
                f"{wanted}."
            )
        checked = True
        try:
            row = row_of(record, where, source.folder)
        except SottovoceError as error:
            bad(f"{where}: {error}")
            continue
        if "/" not in row.path and clips.is_dir() and not os.path.lexists(source.folder / row.path):
            row = replace(row, base=clips)
        yield replace(row, split=row.split or source.split)
