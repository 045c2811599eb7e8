"""What `docs/results.md` shows of exported models and of long recordings."""

from typing import Any

from lib.tables import about, interval, percent, read, table, there

SECONDS = ("1 s", "10 s")
HEAD = """
## Deployed

What is gained where models run, front end included: from samples to outputs, one utterance. Models are exported as in
[Export](export.md).
"""
DEPLOYED = """
### End to end

{about}

Mimics of `small-melhubert-keywords` (one Transformer layer, width 192) with what stands in front of them: its own
positional convolution (True), or a filter over so many frames of each unit alone. Accuracy of keywords is that of the
exported file on the test split. Times as fast as `small-hubert` in plain Hugging Face, feature extractor included: one
thread, in turns, the median over {rounds} rounds with its 95 % interval.

{small}

The same at the base size, whose weights are random: `hubert-base` in plain Hugging Face against log-mel features and
one Transformer layer of 768.

{base}
"""
EXPORT = """
### Runtimes against PyTorch

{about}

The time in a runtime over that in PyTorch of the same model, in turns, the median over {rounds} rounds with its 95 %
interval; below 1 the runtime is faster.

{table}
"""
STREAMING = """
### Long recordings in windows

{about}

Recordings of {seconds:g} s heard in windows, against the same recordings heard whole: the share of phones that differ
for the model of `recipes/small-melhubert-pr.yaml` ({recordings} recordings), how far the last states are off in parts
of their spread for two encoders ({few} recordings), and the time over that of the whole.

{table}

The default is a window of {chunk:g} s with {context:g} s before it and behind it.
"""


def speedups(rows: dict[str, Any], scores: dict[str, Any]) -> str:
    """A line for each way to run each model."""
    lines: list[list[str]] = []
    for name, found in rows.items():
        model, _, way = name.partition(", ") if name.count(", ") == 1 else name.rpartition(", ")
        score = scores.get(model, {})
        shown = percent(score["accuracy"], score["error"]) if score else ""
        times = [interval(found[seconds]) for seconds in SECONDS]
        milliseconds = [f"{1000 * found[seconds][f'{name}_median_s']:.1f} ms" for seconds in SECONDS]
        lines.append(
            [
                model,
                way,
                *([shown] if scores else []),
                *(x for pair in zip(times, milliseconds, strict=True) for x in pair),
            ]
        )
    header = ["model", "in", *(["accuracy"] if scores else [])]
    return table(
        [*header, *(x for seconds in SECONDS for x in (f"times faster, {seconds}", f"time, {seconds}"))], lines
    )


def render() -> str:
    """The section, as far as there are records."""
    parts: list[str] = []
    if there("deployed"):
        record = read("deployed")
        rows, scores = record["rows"], record["rows"]["scores"]
        tables = {"small": speedups(rows["small"], scores), "base": speedups(rows["base"], {})}
        parts.append(DEPLOYED.format(about=about(record), rounds=record["rounds"], **tables))
    if there("export"):
        record = read("export")
        lines = [[*name.split(", "), interval(row["own model"])] for name, row in record["rows"].items()]
        header = ["model", "in", "audio", "threads", "time over PyTorch's"]
        lines = [line for line in lines if line[1] != "pytorch"]
        parts.append(EXPORT.format(about=about(record), rounds=record["rounds"], table=table(header, lines)))
    if there("streaming"):
        record = read("streaming")
        models = list(record["rows"])
        lines = [
            [f"{first['chunk']:g} s", f"{first['context']:g} s"]
            + [
                cell
                for model in models
                for row in record["rows"][model]
                if (row["chunk"], row["context"]) == (first["chunk"], first["context"])
                for cell in (percent(row["value"], row.get("error")), f"{row['time']:.2f}")
            ]
            for first in record["rows"][models[0]]
        ]
        header = ["window", "context", *(cell for model in models for cell in (model, "time"))]
        more = {key: record[key] for key in ("seconds", "recordings", "few")}
        parts.append(STREAMING.format(about=about(record), table=table(header, lines), **more, **record["default"]))
    return HEAD + "".join(parts) if parts else ""
