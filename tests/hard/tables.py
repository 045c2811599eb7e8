"""All bad inputs that were made by hand, table by table."""

from collections.abc import Iterator

import cases_models
import cases_paths
import cases_speech
import cases_texts
from cases import Case

TABLES = (cases_paths, cases_models, cases_texts, cases_speech)


def everything() -> Iterator[Case]:
    """Every case of every table."""
    for table in TABLES:
        yield from table.cases()
