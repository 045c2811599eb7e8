"""What `docs/results.md` shows of shared layers."""

import statistics
from collections.abc import Iterator
from typing import Any

from lib import sharing_words as words
from lib.tables import about, interval, percent, read, table, there
from sottovoce.plots import line_plot

STEPS = 12
BEFORE = "units, one update"
WAYS = ("shared, depth drawn", "separate, all steps", "shared, all steps")
SHOWN = (1, 2, 3, 4, 6, 8, 10, 12)
NAMES = {"phones": "phones, accuracy", "keywords": "keywords, accuracy", "pr": "phone error rate"}
TEXT = """
## Shared layers, drawn depths

Paper 4 (*Layer Consistency*, arXiv 2105.00812) is public to us by its abstract alone. What follows is our
reconstruction of its method on small-melhubert's shape, twelve layers and log-mel frames; its own three numbers are
of other models, data and trainings.

{parts}
"""
PRETRAINING = """
### Pretraining

{about}

Models with random weights learn to name units of the bundled teacher for {updates} updates of {batch:g} s of audio:
with one layer for all twelve steps and a depth drawn from 2 to 12 for each update, with twelve layers and all steps,
and with one layer and all steps. Training time is the processor's own, on one thread; {before} of it go before the
first update, for the teacher's states and their clusters (measured once). Consistency is the mean over all
pairs of depths, before the training and behind it: CKA, and the squared Frechet distance over the variance.

{table}

Linear probes behind each number of steps; of several seeds the mean, ± half of their range. The phone error rate is of
the first seed alone, for its probes take longer than the training.

{curves}

![sharing-phones](images/sharing-phones.svg)

{words}
"""
STEP = """
### What depth costs

{about}

The time of an update's two passes (4 recordings of 4 s) at each fixed depth over that at twelve steps, in turns, and
the time of an inference pass.

{table}

An update of the mean depth of 7 takes {seven} of one of 12 steps, which is the ceiling for what drawing the depth can
save in training; one layer for twelve leaves {times:.1f} times fewer parameters.
"""
TYING = """
### Sharing the layers of a trained model

{about}

`share_layers` on `small-melhubert`, whose states it learns to have again for {updates} updates, beside `drop_layers`
with the same healing. With "own parts", every step keeps its norms and differences of rank 8. Probes of phones on the
learned sum of all states.

{table}

{words}
"""
EXITS = """
### Leaving early

{about}

The model with one layer and a drawn depth (seed 0), fine-tuned for keywords; on the test split, every fixed number of
steps, and exits of single utterances at thresholds from the dev split. Times are of 60 single recordings on one thread,
over all twelve steps, in turns.

{table}

![sharing-exits](images/sharing-exits.svg)

{words}
"""


def of_way(way: str) -> list[dict[str, Any]]:
    """The rows of a way to pretrain, a row a seed."""
    return [row for name, row in read("sharing_pretraining")["rows"].items() if name.startswith(f"{way}, seed")]


def spread(values: list[float], form: str = "{:.1f} %", scale: float = 100.0) -> str:
    """The mean, and half of the range where there are several."""
    shown = form.format(scale * statistics.mean(values))
    return shown if len(values) == 1 else f"{shown} ± {scale * (max(values) - min(values)) / 2:.1f}"


def at_depth(rows: list[dict[str, Any]], task: str, depth: int) -> list[float]:
    """The scores of all seeds that have them, behind so many steps."""
    return [row["scores"][task]["each"][str(depth)][0] for row in rows if task in row["scores"]]


def render_pretraining() -> str:
    """Three ways to pretrain."""
    if not there("sharing_pretraining"):
        return ""
    record = read("sharing_pretraining")
    lines, curves = [], []
    for way in [way for way in WAYS if of_way(way)]:
        rows = of_way(way)
        cells = [f"{rows[0]['parameters'] / 1e6:.2f} M", spread([r["cpu_seconds"] for r in rows], "{:.0f} s", 1.0)]
        for metric in ("cka", "frechet"):
            for when in ("consistency_before", "consistency"):
                cells.append(f"{statistics.mean(row[when][metric] for row in rows):.2f}")
        lines.append([f"{way} ({len(rows)} seed{'s' * (len(rows) > 1)})", *cells])
    header = ["", "parameters", "training", "CKA before", "CKA", "Frechet before", "Frechet"]
    for task, name in NAMES.items():
        cells = [[way, *(spread(at_depth(of_way(way), task, n)) for n in SHOWN)] for way in WAYS if of_way(way)]
        curves.append(table([f"{name}, steps", *map(str, SHOWN)], cells))
    return PRETRAINING.format(
        about=about(record),
        updates=record["updates"],
        batch=record["batch_seconds"],
        before=f"{record['rows'][BEFORE]['cpu_seconds']:.0f} s",
        table=table(header, lines),
        curves="\n\n".join(curves),
        words=words.PRETRAINING.strip(),
    )


def render_steps() -> str:
    """The time of updates and passes by their depth."""
    if not there("sharing_steps", "sharing_depths", "sharing_tying"):
        return ""
    updates, passes = read("sharing_steps")["rows"], read("sharing_depths")["rows"]
    lines = [
        [name, *(f"{rows[key.format(n)]['ratio']:.2f}" for n in range(2, STEPS + 1, 2))]
        for name, rows, key in (
            ("an update", updates, "{}"),
            ("a pass of 1 s", passes, "1 s, {}"),
            ("a pass of 10 s", passes, "10 s, {}"),
        )
    ]
    seven = (updates["6"]["ratio"] + updates["8"]["ratio"]) / 2
    sizes = [read("sharing_tying")["rows"][name]["parameters"] for name in ("whole", "shared, 1")]
    return STEP.format(
        about=about(read("sharing_steps")),
        table=table(["steps", *map(str, range(2, STEPS + 1, 2))], lines),
        seven=percent(seven),
        times=sizes[0] / sizes[1],
    )


def render_tying() -> str:
    """Shared layers of a trained model beside fewer layers."""
    if not there("sharing_tying"):
        return ""
    record = read("sharing_tying")
    lines = []
    for name, row in record["rows"].items():
        value, error = row["scores"]["phones"]["each"]["sum"]
        lines.append([name, f"{row['parameters'] / 1e6:.2f} M", f"{row['macs'] / 1e9:.2f} G", percent(value, error)])
    return TYING.format(
        about=about(record),
        updates=record["updates"],
        table=table(["layers", "parameters", "MACs of 10 s", "phones"], lines),
        words=words.TYING.strip(),
    )


def render_exits() -> str:
    """Fixed depths and exits."""
    if not there("sharing_exits"):
        return ""
    record = read("sharing_exits")
    lines = [
        [name, f"{row['steps']:.2f}", interval(row), percent(row["score"], row["error"])]
        for name, row in record["rows"].items()
    ]
    return EXITS.format(
        about=about(record), table=table(["", "steps", "time", "accuracy"], lines), words=words.EXITS.strip()
    )


def render_sharing() -> str:
    """The section; nothing where there is no record."""
    if not any(there(f"sharing_{part}") for part in ("pretraining", "tying", "exits")):
        return ""
    parts = [render_pretraining(), render_steps(), render_tying(), render_exits()]
    return TEXT.format(parts="\n\n".join(part.strip() for part in parts if part))


def pictures() -> Iterator[tuple[str, str]]:
    """Phones by the number of steps, and keywords by time."""
    if there("sharing_pretraining"):
        lines = {
            way: [(float(n), statistics.mean(at_depth(of_way(way), "phones", n))) for n in range(1, STEPS + 1)]
            for way in WAYS
            if of_way(way)
        }
        yield "sharing-phones.svg", line_plot(lines, title="Phones by steps", x="steps", y="accuracy", percent=True)
    if there("sharing_exits"):
        rows = read("sharing_exits")["rows"]
        lines = {
            kind: sorted((row["ratio"], row["score"]) for name, row in rows.items() if name.startswith(kind))
            for kind in ("fixed", "exit")
        }
        yield "sharing-exits.svg", line_plot(lines, title="Keywords by time", x="time", y="accuracy", percent=True)
