"""What `docs/results.md` shows of learned pruning."""

import re
import statistics
from collections.abc import Iterator
from typing import Any

from scipy.stats import spearmanr

from lib import gate_words as words
from lib.tables import about, interval, percent, read, table, there
from sottovoce.plots import line_plot

KINDS = {
    "stack alone": "layers alone, MACs",
    "size": "all, size",
    "separate": "all, size of each",
    "macs": "all, MACs",
    "latency": "all, time",
}
# Units that are left in wav2vec2-base at a target of 40 % by figure 5 of arXiv 2302.14132, read off the vector graphic.
PUBLISHED = {
    "channels": ([297, 241, 407, 502, 511, 506, 510], 512),
    "heads": ([4, 9, 8, 11, 12, 10, 11, 12, 10, 7, 4, 4], 12),
    "units": ([2141, 1863, 2052, 2194, 2424, 2494, 2691, 2825, 2450, 1673, 934, 765], 3072),
}
TEXT = """
## Learned pruning

{about}

`small-hubert-wide` is `small-hubert` behind a front end of 144 channels, which has a third of its multiply-accumulates,
as wav2vec2-base's has. It was fine-tuned for a task and pruned by `prune_jointly` for
{updates} updates with gates and after the cut,
far fewer than the paper's: what differs between kinds of targets is to be seen here, not how far pruning can go.
"Layers alone" gates heads, feed-forward units and the hidden size, "all" the channels of the convolutions too; widths
are multiples of 16. Where there are several seeds, the score is their mean and their standard deviation; else its
interval is that of the test recordings. Times are one thread's own seconds for a pass of 1 s of audio (keywords) or 4 s
(phones) over the whole model's, in turns.

{keywords}

At equal operations, and at equal time, along straight lines between the points:

{equal_macs}

{equal_time}

{words}

{phones}

![gates-keywords-macs](images/gates-keywords-macs.svg)

![gates-keywords-time](images/gates-keywords-time.svg)

### The latency model

{latency_about}

Parts of a model are timed at several widths and a monotone function is fitted: its median relative error on shapes that
it had not seen, and of ten models cut at random to any widths the median error and the rank correlation of predicted
and measured time, beside what multiply-accumulates alone say.

{latency}

The last row is off in one direction: its passes take longer than foretold, by {slower} on the mean, while their order
is right. It came out alike when this was repeated on a quiet machine. The convolutions of 144 channels write the
longest arrays here, of up to 18 MB. That the system fetches their memory anew in every pass would explain it, and is
not shown.

Of the models above that were pruned for a time, `prune_jointly` told what it had predicted and what it measured then.
Their median error is {missed}, the largest {missed_most}; the latency models' own were {stated} (medians over whole
models that they had not seen, one of each seed and task), and {within} of {pruned} runs were within it. The machine was
busy with other work when they were made.

{kept}

### A step with gates

{step_about}

The time of training steps with gates on channels, heads, feed-forward units and the hidden size over that of the same
steps without, in turns; the first column times the steps without gates twice.

{step}

{base_steps} steps with gates of HuBERT-base's shape with random weights, batches of {base_batch}, took
{base_seconds} on one thread and {base_memory} of memory at most.

{dphubert}

### What is left where

Shares of the units of each layer that stay at a target of {shape_target}, here (seed 0) and as read off figure 5 of
arXiv 2302.14132 for wav2vec2-base at 40 % (ASR).

{shapes}

Convolutions go from the first two on and heads from the top, here as there. Feed-forward units do not: there the top
layers lose most, here all but the first lose about as much.
"""

DPHUBERT = """
### DPHuBERT's two stages

{about}

`small-hubert-wide` loses three quarters of its parameters: by `prune_jointly` with `loss=distill`
({updates} updates with gates and after the cut), against three baselines of equal size that learn from the same
teacher, with the same loss, as many updates: the same final shape with weights drawn anew, one-shot pruning of heads
and feed-forward units by Taylor scores, and the lowest two layers. Linear probes of frozen models; means over
{seeds} seeds, ± half of their range.

{table}

{words}
"""


def rows_of(task: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The rows of each kind and target, a row a seed."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, row in read("gates")["rows"].items():
        first, *rest = name.split(", ")
        if first == task and rest != ["whole"]:
            found.setdefault((rest[0], ", ".join(rest[1:-1])), []).append(row)
    return found


def mean(rows: list[dict[str, Any]], key: str) -> float:
    """The mean over seeds."""
    return statistics.mean(row[key] for row in rows)


def score(rows: list[dict[str, Any]]) -> str:
    """A score with what it spreads."""
    if len(rows) == 1:
        return percent(rows[0]["score"], rows[0]["error"])
    return f"{percent(mean(rows, 'score'), statistics.stdev(row['score'] for row in rows))} ({len(rows)} seeds)"


def curve(task: str) -> str:
    """A row a target."""
    whole = read("gates")["rows"][f"{task}, whole"]
    found = rows_of(task)
    lines = [["whole", "", *costs([whole]), percent(whole["score"], whole["error"])]]
    for kind, name in KINDS.items():
        for (each, target), rows in found.items():
            if each == kind:
                lines.append([name, target, *costs(rows), score(rows)])
    return table([f"gated, {task}", "target", "MACs of 10 s", "parameters", "time", "accuracy"], lines)


def costs(rows: list[dict[str, Any]]) -> list[str]:
    """MACs, parameters and time."""
    time = f"{mean(rows, 'time'):.2f}" if all("time" in row for row in rows) else ""
    return [f"{mean(rows, 'macs') / 1e9:.2f} G", f"{mean(rows, 'parameters') / 1e6:.2f} M", time]


def shapes(name: str) -> str:
    """What is left of each convolution and layer, beside the paper's."""
    rows = read("gates")["rows"]
    own, whole = rows[name], rows[f"{name.split(', ')[0]}, whole"]
    lines = []
    for kind, (published, full) in PUBLISHED.items():
        kept = [f"{100 * now / all_:.0f}" for now, all_ in zip(own[kind], whole[kind], strict=True)]
        blank = [""] * (12 - len(kept))
        lines.append([f"{kind}, here", *kept, *blank])
        lines.append([f"{kind}, published", *(f"{100 * count / full:.0f}" for count in published), *blank])
    return table(["% of", *map(str, range(1, 13))], lines)


def pictures() -> Iterator[tuple[str, str]]:
    """Keywords over operations and over time: a line a kind of target."""
    if not there("gates"):
        return
    whole = read("gates")["rows"]["keywords, whole"]
    for cost, unit, label in (("macs", 1e9, "GMACs of 10 s"), ("time", 1.0, "time over the whole model's")):
        if cost == "time" and "time" not in whole:
            continue
        lines = {}
        for kind, name in KINDS.items():
            points = [
                (mean(rows, cost) / unit, mean(rows, "score"))
                for (each, _), rows in rows_of("keywords").items()
                if each == kind and all(cost in row for row in rows)
            ]
            if points:
                lines[name] = sorted([*points, (whole[cost] / unit, whole["score"])])
        title = f"Keywords by {'operations' if cost == 'macs' else 'time'}"
        yield f"gates-keywords-{cost}.svg", line_plot(lines, title=title, x=label, y="accuracy", percent=True)


def latency_table() -> str:
    """Errors and rank correlations of the latency model."""
    lines = []
    for name, row in read("latency")["rows"].items():
        found = [row["models"][each] for each in ("latency model", "multiply-accumulates")]
        cells = [f"{100 * value:.1f} %" for value in (row["parts"], row["wholes"])]
        cells += [f"{100 * one['median error']:.1f} %, {one['spearman']:.2f}" for one in found]
        lines.append([name, f"{row['made in, s']:.0f} s", *cells])
    return table(["latency model of", "made in", "unseen parts", "unseen wholes", "ten models", "by MACs"], lines)


def last_signed() -> float:
    """The mean of the signed errors of the last latency model on ten models."""
    return list(read("latency")["rows"].values())[-1]["models"]["latency model"]["mean of signed errors"]


def said() -> dict[str, str]:
    """The numbers in the words below the tables."""
    found = rows_of("keywords")
    alone, joint = found["stack alone", "macs:-55%"], found["macs", "macs:-55%"]
    least = found["macs", "macs:-70%"]
    rows = [row for name, row in read("gates")["rows"].items() if name.startswith("keywords") and "time" in row]
    fast = [line.split(" | ")[-1].removesuffix(" |") for line in at_equal("keywords", "time", [0.4]).splitlines()]
    follows = spearmanr([row["macs"] for row in rows], [row["time"] for row in rows]).statistic
    return {
        "small": costs(joint)[0],
        "alone": score(alone),
        "joint": score(joint),
        "smaller": costs(least)[0],
        "least": score(least),
        "fast_macs": next(cell for cell, kind in zip(fast[2:], KINDS, strict=True) if kind == "macs"),
        "fast_time": next(cell for cell, kind in zip(fast[2:], KINDS, strict=True) if kind == "latency"),
        "follows": f"{follows:.2f}",
    }


def told(row: dict[str, Any]) -> tuple[float, float, float]:
    """What a run for a time measured, what it had predicted, and the latency model's own error, as shares."""
    found = re.search(r"\((-?[\d.]+)%, (-?[\d.]+)% was predicted; .* by ([\d.]+)%\)", " ".join(row["said"]))
    assert found is not None
    measured, predicted, stated = (float(number) / 100 for number in found.groups())
    return measured, predicted, stated


def timed_runs() -> dict[str, tuple[float, float, float]]:
    """The runs for a time, with what they told."""
    rows = read("gates")["rows"]
    return {name: told(row) for name, row in rows.items() if ", latency, " in name}


def miss(measured: float, predicted: float) -> float:
    """How far the time that is left is from what was predicted, relative."""
    return abs((1 + predicted) / (1 + measured) - 1)


def at_equal(task: str, cost: str, places: list[float]) -> str:
    """The mean score of each kind of target at equal cost, along straight lines between its points."""
    whole = read("gates")["rows"][f"{task}, whole"]
    lines = []
    for kind, name in KINDS.items():
        found = [rows for (each, _), rows in rows_of(task).items() if each == kind and all(cost in r for r in rows)]
        curve = sorted([(mean(rows, cost), mean(rows, "score")) for rows in found] + [(whole[cost], whole["score"])])
        if len(curve) > 2:
            lines.append([name, *(between(curve, place * whole[cost]) for place in places)])
    title = "time" if cost == "time" else "MACs"
    return table([f"{task}, share of the {title}", *(f"{place:.0%}".replace("%", " %") for place in places)], lines)


def between(curve: list[tuple[float, float]], place: float) -> str:
    """The score of a curve at a cost, along the straight line between its neighbours; nothing beyond its ends."""
    for (first, low), (second, high) in zip(curve[:-1], curve[1:], strict=True):
        if first <= place <= second:
            return percent(low + (high - low) * (place - first) / (second - first))
    return ""


def kept_times() -> str:
    """What was predicted and measured, a line a run."""
    lines = [
        [name, f"{100 * predicted:.1f} %", f"{100 * measured:.1f} %", percent(miss(measured, predicted))]
        for name, (measured, predicted, _) in timed_runs().items()
    ]
    return table(["run", "predicted", "measured", "error"], lines)


def step_tables() -> dict[str, str]:
    """What a step with gates costs."""
    rows = dict(read("gated_step")["rows"])
    base = rows.pop("hubert-base, random weights")
    lines = [[name, interval(row["plain_again"]), interval(row["gated"])] for name, row in rows.items()]
    return {
        "step_about": about(read("gated_step")),
        "step": table(["model, batch", "without gates twice", "with gates"], lines),
        "base_steps": str(base["steps"]),
        "base_batch": base["batch"],
        "base_seconds": f"{base['seconds']:.0f} s",
        "base_memory": f"{base['peak_gb']:.1f} GB",
    }


WAYS = {
    "dphubert": "DPHuBERT, two stages",
    "scratch": "the same shape, from scratch",
    "taylor": "one shot, Taylor",
    "layers": "two layers",
}


def probed(way: str) -> list[dict[str, Any]]:
    """The rows of a way, a row a seed."""
    return [row for name, row in read("dphubert")["rows"].items() if name.split(", ")[0] == way]


def render_dphubert() -> str:
    """The part about DPHuBERT; nothing where there is no record."""
    if not there("dphubert"):
        return ""
    record = read("dphubert")
    tasks = list(record["probes"])
    lines = []
    for way, name in {"whole": "whole", **WAYS}.items():
        rows = probed(way)
        cells = [f"{mean(rows, 'parameters') / 1e6:.2f} M", f"{mean(rows, 'macs') / 1e9:.2f} G"]
        for task in tasks:
            values = [row[task]["score"] for row in rows]
            spread = (max(values) - min(values)) / 2 if len(rows) > 1 else rows[0][task]["error"]
            cells.append(percent(statistics.mean(values), spread))
        lines.append([name, *cells])
    first, second = record["updates"]
    return DPHUBERT.format(
        about=about(record),
        updates=f"{first} + {second}",
        seeds=len(probed("dphubert")),
        table=table(["", "parameters", "MACs of 10 s", *tasks], lines),
        words=words.DPHUBERT.format(first=first).strip(),
    )


def render_gates() -> str:
    """The section; nothing where there is no record."""
    if not there("gates"):
        return ""
    record = read("gates")
    updates = {task: f"{first} + {second} ({task})" for task, (first, second) in record["updates"].items()}
    runs = timed_runs().values()
    missed = sorted(miss(measured, predicted) for measured, predicted, _ in runs)
    stated = {own for _, _, own in runs}
    return TEXT.format(
        about=about(record),
        updates=" or ".join(updates.values()),
        keywords=curve("keywords"),
        equal_macs=at_equal("keywords", "macs", [0.8, 0.6, 0.5, 0.4, 0.3]),
        equal_time=at_equal("keywords", "time", [0.8, 0.7, 0.6, 0.5, 0.4]),
        words=words.GATES.format(**said()).strip(),
        latency_about=about(read("latency")),
        latency=latency_table(),
        slower=percent(-last_signed()),
        missed=percent(statistics.median(missed)),
        missed_most=percent(missed[-1]),
        stated=f"{percent(min(stated))} to {percent(max(stated))}",
        within=str(sum(miss(measured, predicted) <= own for measured, predicted, own in runs)),
        pruned=str(len(missed)),
        kept=kept_times(),
        phones=curve("phones"),
        shape_target="-40% of MACs",
        shapes=shapes("keywords, macs, macs:-40%, seed 0"),
        dphubert=render_dphubert(),
        **step_tables(),
    )
