"""Measurements as tables in a terminal."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from sottovoce.costs import Cost

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


def grouped(values: Mapping[tuple[str | int, ...], float], detail: bool) -> dict[str, float]:
    """Values by part under readable names; without detail, convolutions and layers are summed up."""
    sums: dict[str, float] = {}
    for where, value in values.items():
        if where[0] == "layer":
            name = f"layer {where[1]} {where[2]}" if detail else f"layers: {where[2]}"
        elif where[0] == "front_end":
            name = f"front end, convolution {where[1]}" if detail else "front end"
        else:
            name = str(where[0])
        name = name.replace("_", " ")
        sums[name] = sums.get(name, 0) + value
    return sums


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
