"""Measurements as tables in a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from sottovoce.costs import Cost
from sottovoce.measurement import Measurement, Where
from sottovoce.registry import sections_of

UNITS = {"bytes": (1024.0, ("B", "KiB", "MiB", "GiB")), "": (1000.0, ("", "k", "M", "G", "T"))}


def short(value: float | int | None, unit: str = "") -> str:
    """A number with three digits and a prefix.

    Example:
        >>> short(94_371_712), short(0.0123, "s"), short(377_486_848, "bytes")
        ('94.4 M', '12.3 ms', '360 MiB')
    """
    if value is None:
        return ""
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    step, names = UNITS.get(unit, UNITS[""])
    size, index = float(value), 0
    while abs(size) >= step and index < len(names) - 1:
        size, index = size / step, index + 1
    digits = f"{size:.0f}" if abs(size) >= 100 or size == int(size) else f"{size:.3g}"
    return f"{digits} {names[index]}".strip()


def lasting(seconds: float) -> str:
    """A time that people wait for.

    Example:
        >>> lasting(41.23), lasting(812), lasting(33_000)
        ('41.2 s', '13.5 min', '9.17 h')
    """
    for most, size, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min")):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 3600:.3g} h"


def grouped(values: Mapping[Where, float], detail: bool) -> dict[str, float]:
    """Values by part under readable names; without detail, convolutions and layers are summed up.

    Example:
        >>> grouped({Where(part="norms", layer=0): 2.0, Where(part="norms", layer=1): 3.0}, False)
        {'layers: norms': 5.0}
    """
    sums: dict[str, float] = {}
    for where, value in values.items():
        name = str(where.get("part", where))
        if "layer" in where:
            name = f"layer {where['layer']} {name}" if detail else f"layers: {name}"
        elif "index" in where and detail:
            name = f"{name}, convolution {where['index']}"
        name = name.replace("_", " ")
        sums[name] = sums.get(name, 0) + value
    return sums


def number(value: float | int) -> str:
    """A measured value in a table; nothing, where a measure found none.

    Example:
        >>> number(0.5), number(94_371_712), number(1234.5), number(float("nan"))
        ('0.5000', '94,371,712', '1,234.5', '')
    """
    if value != value:
        return ""
    return f"{value:.4f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,}"


def plain(rows: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """The header and lines of a table of measurements: a column a coordinate; those with nothing in them are left out.

    Example:
        >>> plain([Measurement("m", "bi", 0.25, where={"layer": 3}, n=8)])
        (['metric', 'layer', 'value', 'n'], [['bi', '3', '0.2500', '8']])
    """
    coordinates = list(dict.fromkeys(name for row in rows for name in row.where))
    header = ["metric", *(name.replace("_", " ") for name in coordinates), "value", "± 95 %", "unit", "better", "n"]
    lines = [
        [
            row.metric,
            *(str(row.where.get(name, "")) for name in coordinates),
            number(row.value),
            "" if row.error is None or row.error != row.error else f"{row.error:.2g}",
            row.unit,
            "" if row.better == "neither" else row.better,
            str(row.n),
        ]
        for row in rows
    ]
    kept = [index for index, name in enumerate(header) if name == "value" or any(line[index] for line in lines)]
    return [header[index] for index in kept], [[line[index] for index in kept] for line in lines]


def by_measure(rows: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """The rows of each measure, in the order in which they come.

    Example:
        >>> list(by_measure([Measurement("size", "parameters", 1), Measurement("macs", "macs", 2)]))
        ['size', 'macs']
    """
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        found.setdefault(row.measure, []).append(row)
    return found


def markdown(rows: Iterable[Measurement], *, most: int = 12) -> list[str]:
    """Measurements as Markdown, a table a measure, of which the first `most` rows are shown.

    Example:
        >>> markdown([Measurement("size", "parameters", 94_371_712)])[2:]
        ['| metric | value | n |', '|---|---|---|', '| parameters | 94,371,712 | 1 |']
    """
    text: list[str] = []
    for name, own in by_measure(rows).items():
        header, lines = plain(own[:most])
        left = f", the first {most} of {len(own)} rows" if len(own) > most else ""
        text += [*([""] if text else []), f"`{name}`{left}", ""]
        text += [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
        text += [f"| {' | '.join(line)} |" for line in lines]
    return text


def measurement_tables(rows: Iterable[Measurement]) -> list[Table]:
    """Measurements as a table a measure, under the title that it registered.

    Example:
        >>> measurement_tables(sv.size(model))[0].title
        'size: Cost'
    """
    tables = []
    for name, own in by_measure(rows).items():
        header, lines = plain(own)
        title = sections_of(name)[0].title
        alike = title.lower() == name.lower()
        table = Table(*map(escape, header), title=escape(title if alike else f"{name}: {title}"), title_justify="left")
        for line in lines:
            table.add_row(*map(escape, line))
        tables.append(table)
    return tables


def cost_table(title: str, cost: Cost, *, detail: bool = False) -> Table:
    """One model's cost by part; a share is of the whole.

    Example:
        >>> cost_table("hubert", sv.cost(model)).row_count > 5
        True
    """
    metrics = [name for name in ("parameters", "macs", "latency") if cost.parts(name)]
    units = {"latency": "s"}
    columns = {metric: grouped(cost.parts(metric), detail) for metric in metrics}
    table = Table(title=title, title_justify="left")
    table.add_column("part")
    for metric in metrics:
        table.add_column(metric, justify="right")
        table.add_column("%", justify="right")
    names = dict.fromkeys(name for metric in ("macs", *metrics) for name in columns.get(metric, {}))
    for name in names:
        row = [name]
        for metric in metrics:
            value, whole = columns[metric].get(name), sum(columns[metric].values()) or 1
            row += [short(value, units.get(metric, "")), "" if value is None else f"{100 * value / whole:.1f}"]
        if any(cell not in ("", "0", "0.0", "0 ms") for cell in row[1:]):
            table.add_row(*row)
    table.add_section()
    table.add_row("all", *(cell for metric in metrics for cell in (short(cost[metric], units.get(metric, "")), "")))
    return table


def summary_table(names: Sequence[str], costs: Sequence[Cost]) -> Table:
    """The whole-model numbers of one or more models side by side, with the ratio of the first to the second.

    Example:
        >>> summary_table(["before", "after"], [a, b]).row_count
        8
    """
    table = Table()
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    if len(costs) == 2:
        table.add_column("saving", justify="right")
    units = {row.metric: row.unit for row in costs[0].measurements if not row.where}
    for metric in costs[0].metrics:
        if metric == "latency_third_quartile":
            continue
        unit = units[metric]
        cells = [short(cost[metric], unit if unit in ("s", "bytes") else "") for cost in costs]
        if metric == "latency_first_quartile":
            cells = [
                f"{cell} - {short(cost['latency_third_quartile'], 's')}"
                for cell, cost in zip(cells, costs, strict=True)
            ]
        if metric == "real_time_factor":
            cells = [f"{cost[metric]:.4f}" for cost in costs]
        labels = {"macs": f"macs ({unit})", "latency_first_quartile": "middle half of the passes"}
        label = labels.get(metric, metric)
        row = [label.replace("_", " "), *cells]
        if len(costs) == 2:
            keeps = metric in ("threads", "batch", "latency_first_quartile") or not costs[1][metric]
            row.append("" if keeps else f"{costs[0][metric] / costs[1][metric]:.2f} x")
        table.add_row(*row)
    return table
