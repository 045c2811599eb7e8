"""Measurements as the views that their measures registered: drawings, tables, words."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sottovoce.measurement import Measurement, Where, select
from sottovoce.plots import bars_plot, line_plot, matrix_plot, small_lines
from sottovoce.registry import sections_of
from sottovoce.report.page import captioned, drawings, folded, heading, paragraph, table
from sottovoce.tables import grouped, number, plain, short
from sottovoce.views import HeatMap, Lines, Numbers, Profiles, Rows, Shares, Shown, View, Words

MANY = 40  # lines of a table: more are shown on request
WIDEST = 200  # rows or columns of a map


def measured(rows: Rows) -> list[tuple[Shown, Rows]]:
    """Each measure's rows with each way in which it registered to show them, in the order of a page.

    Example:
        >>> [shown.title for shown, _ in measured([Measurement("tilt", "slope", 1.0)])]
        ['tilt']
    """
    by_measure: dict[str, list[Measurement]] = {}
    for row in rows:
        by_measure.setdefault(row.measure, []).append(row)
    pairs = [(shown, own) for name, own in by_measure.items() for shown in sections_of(name)]
    return sorted(pairs, key=lambda pair: pair[0].place)


def draw(view: View, rows: Rows, *, title: str, each: str = "") -> str:
    """A view as HTML; empty, where the rows have nothing for it.

    Args:
        title: what the section is called.
        each: the coordinate by which the section is divided: all rows have the same.

    Example:
        >>> draw(Words(lambda rows: "Nothing."), [], title="Tilt")
        '<p>Nothing.</p>'
    """
    match view:
        case Lines():
            return lines(view, rows, title=title, each=each)
        case HeatMap():
            return maps(view, rows, each=each)
        case Profiles():
            return profiles(view, rows)
        case Shares():
            return shares(view, rows)
        case Numbers():
            return numbers(view, rows)
        case Words():
            words = view.text(rows)
            return paragraph(words) if words else ""


def of_metrics(rows: Rows, metrics: Mapping[str, str] | tuple[str, ...]) -> Rows:
    """The rows of some metrics, in the order of these; all rows, if none is named."""
    return [row for metric in metrics for row in select(rows, metric)] if metrics else rows


def others(row: Measurement, *names: str) -> Where:
    """What tells a row apart beside some coordinates."""
    return Where({name: value for name, value in row.where.items() if name not in names})


def spelled(where: Mapping[str, Any]) -> str:
    """Coordinates as a name: texts as they are, numbers with what they number."""
    return " ".join(
        value if isinstance(value, str) else f"{name} {value}".replace("_", " ") for name, value in where.items()
    )


def lines(view: Lines, rows: Rows, *, title: str, each: str) -> str:
    """Curves, each named by what tells it apart from the others."""
    own = of_metrics(rows, view.metrics)
    if view.main:
        main = {row.measure: row.metric for row in reversed(rows)}
        own = [row for row in own if row.metric == main[row.measure]]
    over = [row for row in own if view.x in row.where]
    if not over or any(isinstance(row.at(view.x), str) for row in over):
        return ""
    shared = [{getattr(row, field) for row in own} for field in ("measure", "metric")]
    curves: dict[str, list[tuple[float, float]]] = {}
    edges: dict[str, list[tuple[float, float]]] = {}
    for row in own:
        name = line_name(view, row, each, several=len(shared[0]) > 1, metrics=len(shared[1]) > 1)
        place = float(row.at(view.x)) if row in over else 0.0
        name += "" if row in over else ", whole model"
        kept = edges if view.band in row.where else curves
        kept.setdefault(name, []).append((place, 1 - row.value if turned(view, row) else row.value))
    found = {row.better for row in own}
    better = next(iter(found)) if len(found) == 1 and not view.upward else "neither"
    y = view.y if better == "neither" else f"{view.y} ({better} is better)"
    told = ", ".join([view.title or title, *(str(row.at(each)) for row in own[:1] if each)])
    x = view.x_label or view.x.replace("_", " ")
    drawn = {name: sorted(curve) for name, curve in curves.items()}
    return drawings([line_plot(drawn, title=told, x=x, y=y, percent=view.percent, bands=edges)])


def turned(view: Lines, row: Measurement) -> bool:
    """Whether a value is drawn as 1 less it."""
    return view.upward and row.better == "lower"


def line_name(view: Lines, row: Measurement, each: str, *, several: bool, metrics: bool) -> str:
    """The measure where there are several, the coordinates beside the axis, the metric where nothing else tells."""
    parts = [row.measure] if several else []
    parts += [text] if (text := spelled(others(row, view.x, each, view.band))) else []
    metric = view.metrics.get(row.metric) or row.metric.replace("_", " ")
    if turned(view, row):
        return " ".join([*parts, f"(1 - {metric})"]) if parts else f"1 - {metric}"
    return " ".join(parts if parts and (several or not metrics) else [*parts, metric])


def whole(rows: Rows, *names: str) -> bool:
    """Whether some coordinates are whole numbers that a grid can have a row or column for."""
    for name in names:
        found = [row.at(name) for row in rows]
        if not all(isinstance(value, int) for value in found) or max(found) - min(found) >= WIDEST:
            return False
    return True


def maps(view: HeatMap, rows: Rows, *, each: str) -> str:
    """A map a metric and whatever else tells rows apart; a table, where the coordinates are no whole numbers."""
    own = [row for row in of_metrics(rows, view.metrics) if view.x in row.where and view.y in row.where]
    pictures = []
    groups: dict[tuple[str, Where], list[Measurement]] = {}
    for row in own:
        groups.setdefault((row.metric, others(row, view.x, view.y, each)), []).append(row)
    for (metric, rest), some in groups.items():
        told = [metric, *([spelled(rest)] if rest else []), *([str(some[0].at(each))] if each else [])]
        if not whole(some, view.x, view.y):
            pictures.append(heading(", ".join(told)) + cross(some, view.y, view.x))
            continue
        starts = [int(row.value) for row in select(rows, view.blocks)] if view.blocks else []
        drawn = one_map(view, some, ", ".join(told), view.diagonal.get(metric), starts)
        note = view.metrics.get(metric)
        pictures.append(captioned(drawn, note) if note else drawn)
    return drawings(pictures) if pictures else ""


def one_map(view: HeatMap, rows: Rows, title: str, diagonal: float | None, starts: list[int]) -> str:
    """A map, of which rows tell one half where it has a diagonal."""
    values = {(int(row.at(view.y)), int(row.at(view.x))): row.value for row in rows}
    downs, acrosses = ({pair[side] for pair in values} for side in (0, 1))
    if diagonal is not None:
        downs = acrosses = downs | acrosses
        values |= {(x, y): value for (y, x), value in values.items()} | {(at, at): diagonal for at in downs}
    down, across = (range(min(side), max(side) + 1) for side in (downs, acrosses))
    return matrix_plot(
        [[values.get((y, x), math.nan) for x in across] for y in down],
        title=title,
        x=view.x_label or view.x.replace("_", " "),
        y=view.y_label or view.y.replace("_", " "),
        first=(down[0], across[0]),
        blocks=[start - down[0] for start in starts],
    )


def profiles(view: Profiles, rows: Rows) -> str:
    """A curve in each cell of a grid."""
    own = [row for row in select(rows, view.metric) if {view.x, view.across, view.down} <= set(row.where)]
    if not own or not whole(own, view.across, view.down):
        return ""
    most = [1 + max(int(row.at(name)) for row in own) for name in (view.down, view.across)]
    grid: list[list[list[tuple[float, float]]]] = [[[] for _ in range(most[1])] for _ in range(most[0])]
    for row in own:
        grid[int(row.at(view.down))][int(row.at(view.across))].append((float(row.at(view.x)), row.value))
    body = heading(view.title) if view.title else ""
    body += paragraph(view.note, note=True) if view.note else ""
    return body + drawings([small_lines(grid, title="Profiles", x=view.across, y=view.down)])


def shares(view: Shares, rows: Rows) -> str:
    """Where each metric sits among the parts, as bars and as a table."""
    bars, cells, told = {}, {}, []
    for metric in view.metrics:
        parts = {Where(row.where): row.value for row in select(rows, metric) if "part" in row.where}
        total = sum(parts.values())
        if not total:
            continue
        bars[metric] = {name: value / total for name, value in grouped(parts, False).items() if value}
        for name, value in grouped(parts, True).items():
            cells.setdefault(name, {})[metric] = f"{100 * value / total:.1f} %"
        units = [row for row in select(rows, metric) if not row.where]
        told += [f"{metric} {short(row.value, row.unit if row.unit in ('s', 'bytes') else '')}" for row in units]
    if not bars:
        return ""
    lines = [[name, *(values.get(metric, "") for metric in bars)] for name, values in cells.items()]
    return (
        (paragraph("The whole model: " + "; ".join(told) + ".") if told else "")
        + drawings([bars_plot(bars, title=view.title)])
        + folded("by part", table(["part", *bars], lines))
    )


def numbers(view: Numbers, rows: Rows) -> str:
    """A table of rows, or a table over two coordinates for whatever else tells rows apart, on request."""
    own = of_metrics(rows, view.metrics)
    if not (view.down and view.across):
        if not own:
            return ""
        header, cells = plain(own)
        drawn = table(header, cells)
        drawn = folded(f"{len(cells):,} numbers", drawn) if len(cells) > MANY else drawn
        return (heading(view.title) if view.title else "") + drawn
    groups: dict[Where, list[Measurement]] = {}
    for row in own:
        if view.down in row.where and view.across in row.where:
            groups.setdefault(others(row, view.down, view.across), []).append(row)
    return "".join(
        folded(f"{view.title or view.metrics[0]}: {spelled(rest) or 'all'}", cross(some, view.down, view.across))
        for rest, some in groups.items()
    )


def cross(rows: Rows, down: str, across: str) -> str:
    """A table over two coordinates."""
    names, columns = (list(in_order(row.at(name) for row in rows)) for name in (down, across))
    values = {(row.at(down), row.at(across)): row.value for row in rows}
    lines = [[str(n), *(number(values[n, c]) if (n, c) in values else "" for c in columns)] for n in names]
    return table([down.replace("_", " "), *map(str, columns)], lines)


def in_order(values: Iterator[Any]) -> list[Any]:
    """Each value once: numbers by size, then texts by the alphabet."""
    return sorted(set(values), key=lambda value: (isinstance(value, str), value))
