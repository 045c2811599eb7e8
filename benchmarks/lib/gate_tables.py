"""What `docs/results.md` shows of learned pruning."""

import re
import statistics
from collections.abc import Iterator
from typing import Any

from lib.tables import about, percent, read, table, there
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
"Layers alone" gates heads, feed-forward units and the hidden size, "all" the channels of the convolutions too. Where
there are several seeds, the score is their mean and their standard deviation; else its interval is that of the test
recordings. Times are one thread's own seconds for a pass of 1 s of audio over the whole model's, in turns.

{keywords}

All units together keep {least} at {smaller}, which the layers alone cannot reach; these keep
{tied} at {more}: a tie, at well over half again the operations. At {small}, with one seed
each, the layers alone keep {alone} and all units {joint}. So joint pruning is ahead at equal operations, as
in the paper. Targets of size leave the convolutions nearly whole, which have few parameters: also as in the paper. All
rows were made before a fault was mended that gave every seed the same noise of the gates; batches and the first values
of the gates did differ.

That a target in time is ahead of one in operations at equal time does **not** show. Asked for half of the time, the
gates expected {latency_expected} when training with them ended, and the rest was cut by moving all of them at once,
unlearned; between -50% and -60% that loses most. In so few updates the multipliers do not get there: much of the time
is no unit's. With a longer training with gates this is to be measured again, and so are phones by time.

{phones}

![gates-keywords-macs](images/gates-keywords-macs.svg)

![gates-keywords-time](images/gates-keywords-time.svg)

### The latency model

{latency_about}

Parts of a model are timed at several widths and a monotone function is fitted: its median relative error on shapes that
it had not seen, and of ten models cut at random to any widths the median error and the rank correlation of predicted
and measured time, beside what multiply-accumulates alone say.

{latency}

The large error of the last row is probably one of memory and not of shapes: in some processes and not in others, the
whole model's pass returned its memory to the system and fetched it anew.

### What is left where

Shares of the units of each layer that stay at a target of {shape_target}, here (seed 0) and as read off figure 5 of
arXiv 2302.14132 for wav2vec2-base at 40 % (ASR).

{shapes}
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
    for cost, unit, words in (("macs", 1e9, "GMACs of 10 s"), ("time", 1.0, "time over the whole model's")):
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
        yield f"gates-keywords-{cost}.svg", line_plot(lines, title=title, x=words, y="accuracy", percent=True)


def latency_table() -> str:
    """Errors and rank correlations of the latency model."""
    lines = []
    for name, row in read("latency")["rows"].items():
        found = [row["models"][each] for each in ("latency model", "multiply-accumulates")]
        cells = [f"{100 * value:.1f} %" for value in (row["parts"], row["wholes"])]
        cells += [f"{100 * one['median error']:.1f} %, {one['spearman']:.2f}" for one in found]
        lines.append([name, f"{row['made in, s']:.0f} s", *cells])
    return table(["latency model of", "made in", "unseen parts", "unseen wholes", "ten models", "by MACs"], lines)


def said() -> dict[str, str]:
    """The numbers in the words below the table."""
    found = rows_of("keywords")
    alone, joint = found["stack alone", "macs:-55%"], found["macs", "macs:-55%"]
    tied = found["stack alone", "macs:-45%"]
    least, latency = found["macs", "macs:-70%"], found["latency", "latency:-50%"][0]
    expected = re.search(r"expected (-\d+\.\d)%", latency["said"][0])
    assert expected is not None
    return {
        "small": costs(joint)[0],
        "alone": score(alone),
        "joint": score(joint),
        "smaller": costs(least)[0],
        "tied": score(tied),
        "more": costs(tied)[0],
        "least": score(least),
        "latency_expected": f"{expected[1]} %",
    }


def render_gates() -> str:
    """The section; nothing where there is no record."""
    if not there("gates"):
        return ""
    record = read("gates")
    updates = {task: f"{first} + {second} ({task})" for task, (first, second) in record["updates"].items()}
    return TEXT.format(
        about=about(record),
        updates=" or ".join(updates.values()),
        keywords=curve("keywords"),
        **said(),
        latency_about=about(read("latency")),
        latency=latency_table(),
        phones=curve("phones"),
        shape_target="-40% of MACs",
        shapes=shapes("keywords, macs, macs:-40%, seed 0"),
    )
