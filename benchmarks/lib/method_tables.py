"""The part of `docs/results.md` about methods: layers dropped, mimics, cuts at convexity, trade-offs."""

from collections.abc import Iterator
from typing import Any

from lib import method_text
from lib.tables import Table, about, interval, number, percent, read, table, there
from sottovoce.analysis.fronts import Better, dominates, lead
from sottovoce.plots import line_plot

TASKS = ("keywords", "speakers")
DRAWN = ("forward", "backward", "alternate", "bi", "knn_bi_averaged")  # all of them would hide one another
SHARE = 0.95  # of the whole model's score: the line that paper 1 draws
# Which points of the trade-off belong to a technique: what their names begin or end with.
TECHNIQUES = {
    "first layers": ("first 6 layers", "first 2 layers"),
    "distillation": ("distilled, 6 layers", "distilled, 2 layers"),
    "heads": ("3 heads", "2 heads", "1 head"),
    "feed-forward units": ("512 units", "256 units", "128 units"),
    "weights": ("half of the weights", "a fifth of the weights"),
    "combination": ("6 layers, 2 heads", "6 layers, 2 heads, 384 units", "6 layers, 2 heads, 128 units"),
}
COSTS = {"parameters": 1e6, "macs": 1e6, "time": 1.0}
BETTER: tuple[Better, ...] = ("higher", "lower", "lower", "lower")  # of a task, and of the costs
MEASURED = ("phones", "speakers")


def orders(task: str) -> Table:
    """Accuracy by how many layers are gone, a row an order; the last column is how many may go for 95 %."""
    record = read(f"orders_{task}")
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
    record = read("healed")
    plain = [cell["value"] for cell in read("orders_keywords")["rows"][record["by"]]]
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
    for name, row in read("factored")["rows"].items():
        time = f"{row['time']['ratio']:.2f} [{row['time']['low']:.2f}, {row['time']['high']:.2f}]"
        lines.append([name, percent(row["value"], row["error"]), f"{row['bytes'] / 1e6:.1f} MB", time])
    return ["", "accuracy", "in memory", "time over the whole's"], lines


def mimics() -> Table:
    """A row a network."""
    rows = read("mimics")["rows"]
    whole = rows["whole"]
    lines = []
    for name, row in rows.items():
        gone = 1 - row["stack"] / whole["stack"]
        lines.append(
            [
                name,
                percent(row["accuracy"], row["error"]),
                percent(row["accuracy"] / whole["accuracy"]),
                f"{row['parameters'] / 1e6:.2f} M",
                percent(gone),
                f"{row['macs'] / 1e6:.0f} M",
                f"{row['time']:.2f}" if "time" in row else "1",
            ]
        )
    head = ["", "accuracy", "of the whole's", "parameters", "of the stack gone", "MACs of 1 s", "time"]
    return head, lines


def convexity_cut() -> Table:
    """A row a task and cut."""
    rows = read("convexity_cut")["rows"]
    lines = []
    for name, row in rows.items():
        whole = rows[f"{name.partition(',')[0]}, whole"]
        lines.append(
            [
                name.replace(",", ":"),
                str(row["layers"]),
                percent(row["accuracy"], row["error"]),
                f"{100 * (row['accuracy'] - whole['accuracy']):+.1f}",
                f"{row['parameters'] / 1e6:.2f} M",
                f"{row['training_time']:.2f}",
                f"{row['time']:.2f}",
            ]
        )
    return ["", "layers", "accuracy", "points", "parameters", "time of a step of training", "time"], lines


def tradeoff() -> Table:
    """A row a point, technique by technique."""
    rows = read("tradeoff")["rows"]
    lines = []
    for name in ("whole", *(name for names in TECHNIQUES.values() for name in names)):
        row = rows[name]
        cells = [percent(row[task], row[f"{task}_error"]) for task in MEASURED]
        costs = [f"{row['parameters'] / 1e6:.2f} M", f"{row['macs'] / 1e6:.0f} M", f"{row['time']:.2f}"]
        lines.append([name, *costs, *cells])
    return ["", "parameters", "MACs of 1 s", "time", "phones", "speakers"], lines


def ahead(technique: str, cost: str, task: str) -> str:
    """By how many points the combination is above a technique's front where that is most."""
    rows = read("tradeoff")["rows"]
    first, second = (
        [(rows[name][cost], rows[name][task]) for name in names]
        for names in (TECHNIQUES["combination"], ("whole", *TECHNIQUES[technique]))
    )
    found = lead(first, second)
    return "nothing as small" if found is None else f"{100 * found:+.1f}"


def dominated(task: str) -> Table:
    """How far the combination is above the front of each technique, by cost; and how many of its points it dominates,
    being no worse in the task and in all three costs.
    """
    rows = read("tradeoff")["rows"]
    points = {name: [row[task], *(row[cost] for cost in COSTS)] for name, row in rows.items()}
    lines = []
    for technique, names in TECHNIQUES.items():
        if technique != "combination":
            found = sum(
                any(dominates(points[each], points[name], BETTER) for each in TECHNIQUES["combination"])
                for name in names
            )
            cells = [ahead(technique, cost, task) for cost in COSTS]
            lines.append([technique, *cells, f"{found} of {len(names)}"])
    return [task, *(f"by {cost}" for cost in COSTS), "points dominated"], lines


def tradeoff_pictures() -> Iterator[tuple[str, str]]:
    """A plot for each cost and task: a line a technique, from the whole model on."""
    rows = read("tradeoff")["rows"]
    for task in MEASURED:
        for cost, unit in COSTS.items():
            lines = {
                technique: sorted((rows[name][cost] / unit, rows[name][task]) for name in ("whole", *names))
                for technique, names in TECHNIQUES.items()
            }
            words = {"parameters": "millions of parameters", "macs": "millions of MACs a second of speech"}
            x = words.get(cost, "time over the whole model's")
            title = f"{task.capitalize()} by {cost}"
            yield f"tradeoff-{task}-{cost}.svg", line_plot(lines, title=title, x=x, y="accuracy", percent=True)


def complete(name: str, rows: set[str]) -> bool:
    """Whether a record is there with all of its rows: one that is still being made is not shown."""
    return there(name) and rows <= set(read(name)["rows"])


def method_pictures() -> Iterator[tuple[str, str]]:
    """Names and contents of the plots."""
    for task in TASKS:
        record = read(f"orders_{task}")
        lines = {by: [(n, cell["value"]) for n, cell in enumerate(record["rows"][by])] for by in DRAWN}
        whole = next(iter(lines.values()))[0][1]
        lines["95 %"] = [(0, SHARE * whole)]
        title = f"{task.capitalize()} by layers dropped"
        yield f"orders-{task}.svg", line_plot(lines, title=title, x="layers gone", y=record["metric"], percent=True)
    if complete("tradeoff", {name for names in TECHNIQUES.values() for name in names}):
        yield from tradeoff_pictures()


def render_costs() -> str:
    """What methods cost themselves."""
    costs = read("methods")
    timed = {name: row for name, row in costs["rows"].items() if "ratio" in row}
    lines = [[name, interval(row), f"{row['method_median_s']:.2f}"] for name, row in timed.items()]
    factoring = next(row for name, row in costs["rows"].items() if name not in timed)["method_median_s"]
    made = table(["", "over a pass", "s"], lines)
    return method_text.COSTS.format(costs_about=about(costs), costs=made, factoring=f"{factoring:.0f}")


def render_orders() -> str:
    """Layers dropped in orders."""
    found = {task: read(f"orders_{task}") for task in TASKS}
    values: dict[str, Any] = {"orders_about": " ".join(dict.fromkeys(map(about, found.values())))}
    for task, record in found.items():
        first = next(iter(record["rows"].values()))[0]
        values |= {f"{task}_n": number(record["n"]), f"{task}_error": f"{100 * first['error']:.1f}"}
        values |= {f"{task}_guess": f"{100 / record['classes']:.1f}", f"cuts_{task}": record["cuts"]}
        values[f"orders_{task}"] = table(*orders(task))
    return method_text.ORDERS.format(**values)


def render_mimics() -> str:
    """Mimics and what they are compared with."""
    record = read("mimics")
    numbers = {name: number(record[name]) for name in ("steps", "task_steps", "batch")}
    n = f"{record['rows']['whole']['n']:.0f}"
    return method_text.MIMICS.format(mimics_about=about(record), n=n, mimics=table(*mimics()), **numbers)


def render_tradeoff() -> str:
    """The techniques of paper 5."""
    record = read("tradeoff")
    pictures = "\n\n".join(f"![{name.removesuffix('.svg')}](images/{name})" for name, _ in tradeoff_pictures())
    n = {f"{task}_n": f"{record['rows']['whole'][f'{task}_n']:.0f}" for task in MEASURED}
    tables = {f"dominated_{task}": table(*dominated(task)) for task in MEASURED}
    tables |= {"tradeoff": table(*tradeoff()), "pictures": pictures}
    updates = {name: number(record[name]) for name in ("heal", "distil", "recordings")}
    return method_text.TRADEOFF.format(tradeoff_about=about(record), **tables, **updates, **n)


def render_methods() -> str:
    """What methods cost and save; of the longest runs, as far as records are there."""
    parts = [method_text.HEAD, render_costs(), render_orders()]
    record = read("healed")
    parts.append(method_text.HEALED.format(healed_about=about(record), heal=record["heal"], healed=table(*healed())))
    if complete("mimics", {"no teacher, linear, 1 of 8"}):
        parts.append(render_mimics())
    if complete("convexity_cut", {"speakers, most convex"}):
        record = read("convexity_cut")
        n = {f"{task}_n": f"{record['rows'][f'{task}, whole']['n']:.0f}" for task in TASKS}
        text = method_text.CONVEXITY.format(
            cut_about=about(record), cut=table(*convexity_cut()), **n, **record["updates"]
        )
        parts.append(text)
    if complete("tradeoff", {name for names in TECHNIQUES.values() for name in names}):
        parts.append(render_tradeoff())
    record = read("factored")
    n = next(iter(record["rows"].values()))["n"]
    parts.append(method_text.FACTORED.format(factored_about=about(record), n=n, factored=table(*factored())))
    return "".join(parts)
