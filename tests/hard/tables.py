"""All bad inputs that were made by hand, table by table."""

from collections.abc import Iterator

import cases_models
import cases_options
import cases_paths
import cases_ranges
import cases_recipes
import cases_runs
import cases_speech
import cases_texts
from cases import Case

TABLES = (cases_paths, cases_models, cases_texts, cases_speech, cases_recipes, cases_options, cases_ranges, cases_runs)


def everything() -> Iterator[Case]:
    """Every case of every table."""
    for table in TABLES:
        yield from table.cases()
