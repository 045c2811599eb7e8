"""Hugging Face's `audiofolder` with a list: `metadata.csv` or `metadata.jsonl`, whose `file_name` is a path."""

from collections.abc import Iterator
from dataclasses import replace

from sottovoce.data.own.nemo import read_nemo
from sottovoce.data.own.row import SPLITS, Bad, Row, Source
from sottovoce.data.own.table import read_table
from sottovoce.errors import SottovoceError

LISTS = ("metadata.csv", "metadata.jsonl")


def read_audiofolder(source: Source, bad: Bad) -> Iterator[Row]:
    """What the list of a folder says; a path that begins with the name of a split (`train/a.wav`) is of that split.

    Example:
        >>> next(read_audiofolder(Source(Path("voices")), print)).path
        'train/a.wav'
    """
    lists = [source.place / name for name in LISTS if (source.place / name).exists()]
    if len(lists) > 1:
        raise SottovoceError(f"'{source.place}' has both {' and '.join(LISTS)}; take one of them away.")
    inner = Source(lists[0], source.root or source.place, source.split)
    for row in (read_table if lists[0].suffix == ".csv" else read_nemo)(inner, bad):
        first, slash, _ = row.path.partition("/")
        yield replace(row, split=row.split or (SPLITS.get(first.lower()) if slash else None))
