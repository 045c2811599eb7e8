"""All bad inputs that were made by hand, table by table."""

from collections.abc import Iterator

import cases_paths
from cases import Case


def everything() -> Iterator[Case]:
    """Every case of every table."""
    for table in (cases_paths,):
        yield from table.cases()
