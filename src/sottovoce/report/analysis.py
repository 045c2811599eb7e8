"""The page of an analysis, made from a run's measurements alone."""

from collections.abc import Iterator, Sequence

from sottovoce.measurement import Measurement
from sottovoce.report.cuts import cuts
from sottovoce.report.page import Section, heading, page, paragraph, table
from sottovoce.report.views import draw, measured, numbers
from sottovoce.views import Numbers, Rows, Shown


def analysis_page(title: str, about: str, rows: Sequence[Measurement]) -> str:
    """The page: the cuts that could be made, then each measure as it registered to be shown.

    Example:
        >>> analysis_page("small-hubert", "speech: espeak", run.measurements())[:15]
        '<!doctype html>'
    """
    return page(title, paragraph(about, note=True), [*cut_section(rows), *sections(rows)])


def cut_section(rows: Rows) -> Iterator[Section]:
    """The cuts that the rest of the page speaks for."""
    found = cuts(rows)
    if found:
        intro = paragraph(
            "What the measurements below speak for, each by itself; none has been tried. The step is one of "
            "`sottovoce compress`."
        )
        lines = [(cut.step, cut.reason) for cut in found]
        yield Section("Suggested cuts", intro + table(["step", "why"], lines, code=0))


def sections(rows: Rows) -> Iterator[Section]:
    """A section a title; measures that register the same one stand in it together."""
    by_title: dict[str, list[tuple[Shown, Rows]]] = {}
    for shown, own in measured(rows):
        by_title.setdefault(shown.title, []).append((shown, own))
    for title, members in by_title.items():
        yield Section(title, section_body(members))


def section_body(members: Sequence[tuple[Shown, Rows]]) -> str:
    """All views of a section, divided by its coordinate if it has one; a table, where they draw nothing."""
    shown = members[0][0]
    views = [view for one, _ in members for view in one.views]
    views = [view for index, view in enumerate(views) if view not in views[:index]]
    everything = [row for _, own in members for row in own]
    parts = dict.fromkeys(row.where.get(shown.each) for row in everything) if shown.each else [None]
    body = ""
    for part in parts:
        drawn = ""
        for view in views:
            of_view = [row for one, own in members if view in one.views for row in own]
            some = [row for row in of_view if not shown.each or row.where.get(shown.each) == part]
            drawn += draw(view, some, title=shown.title, each=shown.each)
        if drawn and part is not None:
            name = str(part)
            body += heading(name) + (paragraph(shown.notes[name]) if name in shown.notes else "")
        body += drawn
    return body or numbers(Numbers(), everything)
