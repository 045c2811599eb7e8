"""Manifests of JSON lines that name their audio by `audio_filepath`, as NeMo writes them, or in a similar way."""

from collections.abc import Iterator
from dataclasses import replace

from sottovoce.data.own.columns import row_of
from sottovoce.data.own.lines import objects
from sottovoce.data.own.row import Bad, Row, Source
from sottovoce.errors import SottovoceError


def read_nemo(source: Source, bad: Bad) -> Iterator[Row]:
    """The lines of a manifest of JSON objects.

    Example:
        >>> [row.text for row in read_nemo(Source(Path("nemo/train_manifest.json")), print)]
        ['yes', 'no']
    """
    for where, record in objects(source.place, bad):
        try:
            row = row_of(record, where, source.folder)
        except SottovoceError as error:
            bad(f"{where}: {error}")
            continue
        yield replace(row, split=row.split or source.split)
