"""The part of `docs/results.md` about analyses: how fast they are, and what they find in the bundled teachers."""

import math
from collections.abc import Iterator

from lib.layer_text import LAYERS, NO_LAYERS, TEXT
from lib.tables import Table, about, read, table, there
from sottovoce.measurement import Measurement, select
from sottovoce.plots import line_plot, matrix_plot

MODELS = ("small-melhubert", "small-hubert", "small-melhubert-keywords")
CONCEPTS = ("keywords", "speakers", "phones", "emotion", "intents", "predictions")
PATTERNS = ("diagonality", "verticality", "globality", "blockness")


def rows_of(name: str) -> list[Measurement]:
    """What was measured in a model."""
    return [
        Measurement.from_record(dict(zip(("measure", "metric", "where", "value", "error", "n"), row, strict=True)))
        for row in read(f"layers-{name}")["rows"]
    ]


def analysed() -> list[str]:
    """The models whose records are there."""
    return [name for name in MODELS if there(f"layers-{name}")]


def speed() -> Table:
    """How much faster than the straightforward way."""
    lines = []
    for name, row in read("analysis")["rows"].items():
        if "ratio" in row:
            ratio = f"{row['ratio']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
            lines.append([name, ratio, f"{row['seconds_of_all']:.1f}"])
    return ["", "the papers' way over ours", "s for all, ours"], lines


def value_of(rows: list[Measurement], metric: str, **where: str | int) -> float:
    """One number."""
    return next((row.value for row in select(rows, metric, **where)), math.nan)


def blocks() -> Table:
    """The blocks of each model in each reading."""
    lines = []
    for name in analysed():
        rows = rows_of(name)
        for reading in ("flatten", "mean", "frames"):
            starts = [int(row.value) for row in select(rows, "block_start", reading=reading)]
            shown = ", ".join(f"{a}-{b - 1}" for a, b in zip(starts, [*starts[1:], 13], strict=True))
            gains = [value_of(rows, metric, reading=reading) for metric in ("block_gain", "block_gain_shuffled")]
            chance = value_of(rows, "block_chance", reading=reading)
            cut = f"{value_of(rows, 'boundary', reading=reading):.0f}"
            lines.append(
                [f"{name}, {reading}", shown, cut, *(f"{gain:.2f}" for gain in gains), f"{100 * chance:.1f} %"]
            )
    return ["", "blocks of states", "second of two begins", "gain", "gain, shuffled", "shuffled gain as much"], lines


def peaks() -> Table:
    """Where each concept lies most convex."""
    lines = []
    for name in analysed():
        rows = [row for row in rows_of(name) if row.metric == "by_class"]
        line = [name]
        for concept in CONCEPTS:
            values = [row.value for row in select(rows, concept=concept)]
            top = max(values, default=math.nan)
            line.append(f"{top:.2f} ({values.index(top)}; {values[-1]:.2f} in the last)" if values else "")
        lines.append(line)
    return ["", *CONCEPTS], lines


def relations() -> Table:
    """How patterns of heads go with their importance."""
    lines = []
    for name in analysed():
        rows = [row for row in rows_of(name) if row.metric == "rank_correlation"]
        for importance in dict.fromkeys(str(row.at("importance")) for row in rows):
            cells = [value_of(rows, "rank_correlation", pattern=name, importance=importance) for name in PATTERNS]
            lines.append([f"{name}, {importance}", *(f"{cell:.2f}" for cell in cells)])
    return ["", *PATTERNS], lines


def least(metric: str, count: int = 4) -> list[list[str]]:
    """The layers of each model that change their input least, the first left out as in the paper."""
    lines = []
    for name in analysed():
        found = [row for row in select(rows_of(name), metric, reading="flatten") if row.at("layer") != 0]
        some = sorted(found, key=lambda row: row.value)[:count]
        lines.append([name, ", ".join(f"{row.at('layer')} ({row.value:.3f})" for row in some)])
    return lines


def influence() -> Table:
    """By cosine and by neighbours."""
    pairs = zip(least("bi"), least("knn_bi_averaged"), strict=True)
    return ["", "BI", "kNN-BI"], [[first[0], first[1], second[1]] for first, second in pairs]


def layer_pictures() -> Iterator[tuple[str, str]]:
    """Names and contents of the drawings."""
    for name in analysed():
        rows = rows_of(name)
        starts = [int(row.value) - 1 for row in select(rows, "block_start", reading="flatten")]
        for metric in ("cka", "knn"):
            found = select(rows, metric, reading="flatten")
            values = {(row.at("first_state"), row.at("second_state")): row.value for row in found}
            states = range(1, 13)
            grid = [[values.get((min(i, j), max(i, j)), 1.0) for j in states] for i in states]
            title = f"{metric} of {name}"
            plot = matrix_plot(grid, title=title, x="state", y="state", first=(1, 1), blocks=starts)
            yield f"{name}-{metric}.svg", plot
        lines = {
            concept: [(float(row.at("state")), row.value) for row in select(rows, "by_class", concept=concept)]
            for concept in CONCEPTS
        }
        plot = line_plot(lines, title=f"Graph convexity in {name}", x="state", y="mean over classes")
        yield f"{name}-convexity.svg", plot
        shown = ("diagonality", "effect") if any(row.metric == "effect" for row in rows) else ("diagonality", "l1")
        for pattern in shown:
            heads = {(row.at("layer"), row.at("head")): row.value for row in select(rows, pattern)}
            grid = [[heads[layer, head] for head in range(4)] for layer in range(12)]
            yield f"{name}-{pattern}.svg", matrix_plot(grid, title=f"{pattern} of {name}", x="head", y="layer")


def render_analysis() -> str:
    """The whole part."""
    speeds = read("analysis")
    memory = speeds["rows"]["memory"]["peak_bytes"] / 2**30
    similarity = speeds["rows"]["similarity, k = 8"]
    text = TEXT.format(
        speed_about=about(speeds),
        speed=table(*speed()),
        share=f"{100 * similarity['share_of_matrix_rate']:.0f}",
        growth=f"{similarity['time_of_4_times_as_much']:.2f}",
        operations=f"{similarity['operations'] / 1e9:.1f}",
        plain_operations=f"{similarity['operations_of_paper'] / 1e9:.0f}",
        times=f"{similarity['operations_of_paper'] / similarity['operations']:.0f}",
        megabytes=f"{similarity['bytes'] / 1e6:.0f}",
        memory=f"{memory:.1f}",
    )
    if len(analysed()) < len(MODELS):
        return text + NO_LAYERS
    pictures = "\n\n".join(f"![{name.removesuffix('.svg')}](images/{name})" for name, _ in layer_pictures())
    return text + LAYERS.format(
        layers_about=" ".join(about(read(f"layers-{name}")) for name in MODELS),
        blocks=table(*blocks()),
        influence=table(*influence()),
        peaks=table(*peaks()),
        relations=table(*relations()),
        pictures=pictures,
    )
