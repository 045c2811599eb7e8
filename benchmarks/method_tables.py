"""The part of `docs/results.md` about methods: layers dropped in orders, healed, and mimics."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sottovoce.plots import line_plot

RECORDS = Path(__file__).parent / "records"
TASKS = ("keywords", "speakers")
DRAWN = ("forward", "backward", "alternate", "bi", "knn_bi_averaged")  # all of them would hide one another
SHARE = 0.95  # of the whole model's score: the line that paper 1 draws
Table = tuple[list[str], list[list[str]]]


def there(name: str) -> bool:
    """Whether a record is there."""
    return (RECORDS / f"{name}.json").exists()


def record_of(name: str) -> dict[str, Any]:
    """A stored record."""
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def orders(task: str) -> Table:
    """Accuracy by how many layers are gone, a row an order; the last column is how many may go for 95 %."""
    record = record_of(f"orders_{task}")
    most = max(map(len, record["rows"].values()))
    lines = []
    for by, row in record["rows"].items():
        values = [100 * cell["value"] for cell in row]
        cells = [f"{value:.1f}" for value in values] + [""] * (most - len(values))
        lines.append([by, *cells, str(allowed([cell["value"] for cell in row]))])
    return ["order", *map(str, range(most)), "95 %"], lines


def allowed(values: list[float]) -> int:
    """The most layers that may go for 95 % of the whole model's score, as `until` takes them."""
    return max(gone for gone, value in enumerate(values) if value >= SHARE * values[0])


def healed() -> Table:
    """Accuracy by how many layers are gone, one at a time, scored anew."""
    record = record_of("healed")
    plain = [cell["value"] for cell in record_of("orders_keywords")["rows"][record["by"]]]
    rows = {"scored once": plain, **{name: [cell["value"] for cell in row] for name, row in record["rows"].items()}}
    most = max(len(row) for name, row in rows.items() if name != "scored once")
    lines = [
        [name, *(f"{100 * value:.1f}" for value in values[:most]), str(allowed(values))]
        for name, values in rows.items()
    ]
    return [record["by"], *map(str, range(most)), "95 %"], lines


def factored() -> Table:
    """A row a model."""
    lines = []
    for name, row in record_of("factored")["rows"].items():
        score = f"{100 * row['value']:.1f} % ± {100 * row['error']:.1f}"
        time = f"{row['time']['ratio']:.2f} [{row['time']['low']:.2f}, {row['time']['high']:.2f}]"
        lines.append([name, score, f"{row['bytes'] / 1e6:.1f} MB", time])
    return ["", "accuracy", "in memory", "time over the whole's"], lines


def mimics() -> Table:
    """A row a network."""
    rows = record_of("mimics")["rows"]
    whole = rows["whole"]
    lines = []
    for name, row in rows.items():
        gone = 1 - row["stack"] / whole["stack"]
        lines.append(
            [
                name,
                f"{100 * row['accuracy']:.1f} % ± {100 * row['error']:.1f}",
                f"{100 * row['accuracy'] / whole['accuracy']:.1f} %",
                f"{row['parameters'] / 1e6:.2f} M",
                f"{100 * gone:.1f} %",
                f"{row['macs'] / 1e6:.0f} M",
                f"{row['time']:.2f}" if "time" in row else "1",
            ]
        )
    head = ["", "accuracy", "of the whole's", "parameters", "of the stack gone", "MACs of 1 s", "time"]
    return head, lines


def method_pictures() -> Iterator[tuple[str, str]]:
    """Names and contents of the plots."""
    for task in TASKS:
        if there(f"orders_{task}"):
            record = record_of(f"orders_{task}")
            lines = {by: [(n, cell["value"]) for n, cell in enumerate(record["rows"][by])] for by in DRAWN}
            whole = next(iter(lines.values()))[0][1]
            lines["95 %"] = [(0, SHARE * whole)]
            title = f"{task.capitalize()} by layers dropped"
            yield f"orders-{task}.svg", line_plot(lines, title=title, x="layers gone", y=record["metric"], percent=True)
