"""The page of an analysis, made from a run's measurements alone."""

import math
from collections.abc import Sequence

from sottovoce.measurement import Measurement
from sottovoce.plots import bars_plot, line_plot, matrix_plot, small_lines
from sottovoce.report.cuts import cuts
from sottovoce.report.page import Section, drawings, folded, page, paragraph, table
from sottovoce.tables import grouped, short

Rows = Sequence[Measurement]
READINGS = {
    "flatten": "An utterance, cut or padded to one length, flattened over time and numbers (as in the paper).",
    "mean": "The mean of an utterance over time.",
    "frames": "A frame.",
}
PATTERNS = {
    "diagonality": "1: looks at its own frame; 0: as far as equal weights would",
    "verticality": "1: all frames look at the same one",
    "globality": "1: looks at all frames alike (entropy over its largest value)",
    "blockness": "high: stands still for a while and then jumps",
    "l1": "L1 norm of its query, key and value weights",
    "effect": "first-order effect on the task's loss, over the layer's norm",
}


def analysis_page(title: str, about: str, rows: Rows) -> str:
    """The page: what is alike, where concepts lie, what heads do, what it costs, and what could go.

    Example:
        >>> analysis_page("small-hubert", "speech: espeak", run.measurements())[:15]
        '<!doctype html>'
    """
    makers = (cut_section, similarity, influence, convexity, probes, ablation, attention, cost)
    sections = [section for maker in makers if (section := maker(rows)) is not None]
    return page(title, paragraph(about, note=True), sections)


def cut_section(rows: Rows) -> Section | None:
    """The cuts that the rest of the page speaks for."""
    found = cuts(rows)
    if not found:
        return None
    intro = paragraph(
        "What the measurements below speak for, each by itself; none has been tried. The step is one of "
        "`sottovoce compress`."
    )
    lines = [(cut.step, cut.reason) for cut in found]
    return Section("Suggested cuts", intro + table(["step", "why"], lines, code=0))


def matrix(rows: Rows, metric: str, reading: str) -> tuple[list[list[float]], int]:
    """A symmetric matrix of states, and the number of the first."""
    found = {(int(r.where[1]), int(r.where[2])): r.value for r in rows if r.metric == metric and r.where[0] == reading}
    first, last = min(min(pair) for pair in found), max(max(pair) for pair in found)
    states = range(first, last + 1)
    own = 0.0 if metric == "angle" else 1.0
    square = [[own if i == j else found.get((min(i, j), max(i, j)), math.nan) for j in states] for i in states]
    return square, first


def similarity(rows: Rows) -> Section | None:
    """The matrices of each reading with the blocks found."""
    own = [row for row in rows if row.measure == "similarity"]
    parts = []
    for reading in dict.fromkeys(str(row.where[0]) for row in own):
        some = [row for row in own if row.where[0] == reading]
        value = {row.metric: row.value for row in some if row.where == (reading,)}
        starts = [int(row.value) for row in some if row.metric == "block_start"]
        parts.append(f"<h3>{reading}</h3>" + paragraph(f"A sample: {READINGS[reading]}"))
        pictures = []
        for metric in ("cka", "knn", "cosine", "cka_unbiased"):
            if any(row.metric == metric for row in some):
                square, first = matrix(some, metric, reading)
                pictures.append(
                    matrix_plot(
                        square,
                        title=f"{metric}, {reading}",
                        x="state",
                        y="state",
                        first=(first, first),
                        blocks=[start - first for start in starts],
                    )
                )
        parts.append(drawings(pictures))
        if value:
            last = max(int(row.where[2]) for row in some if row.metric == "cka")
            names = [f"{a}-{b - 1}" for a, b in zip(starts, [*starts[1:], last + 1], strict=True)]
            cut = f"the best cut in two begins at state {value['boundary']:.0f}"
            parts.append(
                paragraph(
                    f"Blocks of states: {', '.join(names)}; {cut}. "
                    f"Gain {value['block_gain']:.2f}; where pairs of equal distance are shuffled "
                    f"{value['block_gain_shuffled']:.2f}, and as much in {value['block_chance']:.1%} of all cases."
                )
            )
    return Section("Similarity of layers", "\n".join(parts)) if parts else None


def influence(rows: Rows) -> Section | None:
    """How much each layer changes what enters it."""
    names = {"bi": "cosine", "knn_bi": "8 neighbours", "knn_bi_averaged": "2-64 neighbours", "cka_bi": "CKA"}
    pictures = []
    for reading in READINGS:
        lines = {
            name: [(float(r.where[2]), r.value) for r in rows if r.metric == metric and r.where[0] == reading]
            for metric, name in names.items()
        }
        if any(lines.values()):
            title = f"Influence of layers, {reading}"
            pictures.append(line_plot(lines, title=title, x="layer", y="1 - similarity to its input"))
    return Section("Influence of layers", drawings(pictures)) if pictures else None


def convexity(rows: Rows) -> Section | None:
    """A curve a concept, and the classes on request."""
    parts = []
    for measure, name in (("convexity", "graph"), ("euclidean_convexity", "Euclidean")):
        own = [row for row in rows if row.measure == measure]
        means = [row for row in own if row.metric == "by_class"]
        if not means:
            continue
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in means:
            lines.setdefault(str(row.where[0]), []).append((float(row.where[2]), row.value))
        title = f"Convexity of concepts ({name})"
        parts.append(drawings([line_plot(lines, title=title, x="state", y="mean over classes")]))
        for concept in lines:
            parts.append(folded(f"classes of {concept}", classes([r for r in own if r.where[0] == concept])))
    return Section("Convexity", "\n".join(parts)) if parts else None


def classes(rows: Rows) -> str:
    """A table of classes by state."""
    found = [row for row in rows if row.metric == "class"]
    states = sorted({int(row.where[2]) for row in found})
    values = {(row.where[3], int(row.where[2])): row.value for row in found}
    names = sorted({str(row.where[3]) for row in found})
    lines = [[name, *(f"{values[name, s]:.2f}" if (name, s) in values else "" for s in states)] for name in names]
    return table(["class", *map(str, states)], lines)


def probes(rows: Rows) -> Section | None:
    """A curve a task: what a linear probe of each state reaches."""
    found = [row for row in rows if len(row.where) == 2 and row.where[0] == "layer" and row.error is not None]
    found = [row for row in found if row.measure not in ("ablation", "similarity")]
    lines: dict[str, list[tuple[float, float]]] = {}
    for measure in dict.fromkeys(row.measure for row in found):
        main = next(row for row in found if row.measure == measure)
        name = measure if main.better == "higher" else f"1 - {main.metric.replace('_', ' ')}"
        for row in found:
            if (row.measure, row.metric) == (measure, main.metric):
                value = row.value if main.better == "higher" else 1 - row.value
                lines.setdefault(name, []).append((float(row.where[1]), value))
    if not lines:
        return None
    picture = line_plot(lines, title="Probes of each state", x="state", y="score", percent=True)
    return Section("What states know", drawings([picture]))


def ablation(rows: Rows) -> Section | None:
    """The task without each layer."""
    found = [row for row in rows if row.measure == "ablation"]
    if not found:
        return None
    whole = [(0.0, row.value) for row in found if not row.where]
    without = [(float(row.where[1]), row.value) for row in found if row.where]
    lines = {"without the layer": without, "whole model": whole}
    return Section("Ablation", drawings([line_plot(lines, title=found[0].metric, x="layer left out", y="score")]))


def attention(rows: Rows) -> Section | None:
    """The gallery of heads: a map a pattern, a profile a head, and what goes with importance."""
    own = [row for row in rows if row.measure == "attention"]
    if not own:
        return None
    heads = [row for row in own if row.where[0] == "head" and len(row.where) == 3]
    steps, most = 1 + max(int(row.where[1]) for row in heads), 1 + max(int(row.where[2]) for row in heads)
    parts = []
    for pattern, meaning in PATTERNS.items():
        values = {(row.where[1], row.where[2]): row.value for row in heads if row.metric == pattern}
        if values:
            grid = [[values.get((step, head), math.nan) for head in range(most)] for step in range(steps)]
            picture = matrix_plot(grid, title=pattern, x="head", y="layer")
            parts.append(f"<figure>{picture}<figcaption class='note'>{meaning}</figcaption></figure>")
    body = drawings(parts) + "<h3>How far heads look</h3>"
    body += paragraph(
        "The mean weight by distance (key less query, -50 to 50 frames), each in its own scale.", note=True
    )
    body += drawings([small_lines(profiles(own, steps, most), title="Profiles", x="head", y="layer")])
    relations = [row for row in own if row.metric == "rank_correlation"]
    lines = [[str(row.where[0]), str(row.where[1]), f"{row.value:.2f}", str(row.n)] for row in relations]
    if lines:
        body += "<h3>Patterns and importance</h3>" + table(
            ["pattern", "importance", "rank correlation", "heads"], lines
        )
    return Section("Attention heads", body)


def profiles(rows: Rows, steps: int, heads: int) -> list[list[list[tuple[float, float]]]]:
    """The weight by distance of every head of every layer."""
    found: list[list[list[tuple[float, float]]]] = [[[] for _ in range(heads)] for _ in range(steps)]
    for row in rows:
        if row.metric == "weight":
            found[int(row.where[1])][int(row.where[2])].append((float(row.where[4]), row.value))
    return found


def cost(rows: Rows) -> Section | None:
    """Where parameters, operations and time sit."""
    costs = [row for row in rows if row.measure in ("size", "macs", "speed")]
    bars, lines = {}, {}
    for metric in ("parameters", "macs", "latency"):
        parts = {row.where: row.value for row in costs if row.metric == metric and row.where}
        whole = sum(parts.values())
        if whole:
            bars[metric] = {name: value / whole for name, value in grouped(parts, False).items() if value}
            for name, value in grouped(parts, True).items():
                lines.setdefault(name, {})[metric] = f"{100 * value / whole:.1f} %"
    if not bars:
        return None
    total = {row.metric: row for row in costs if not row.where}
    told = [f"{name} {short(row.value, 's' * (name == 'latency'))}" for name, row in total.items() if name in bars]
    body = paragraph("The whole model: " + "; ".join(told) + ".") + drawings(
        [bars_plot(bars, title="Where the cost is")]
    )
    cells = [[name, *(values.get(metric, "") for metric in bars)] for name, values in lines.items()]
    return Section("Cost", body + folded("by part", table(["part", *bars], cells)))
