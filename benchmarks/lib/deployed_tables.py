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
positional convolution (True), or a filter over so many frames of each unit alone. Accuracy of keywords is on the test
split; outputs of exported files differ from the models' by less than a millionth. Times as fast as `small-hubert` in
plain Hugging Face, feature extractor included: one thread, in turns, the median over {rounds} rounds with its 95 %
interval.

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

Recordings of {seconds:g} s heard in windows, against the same recordings heard whole. Text is that of two models of
`recipes/small-melhubert-pr.yaml`: trained and heard on speech-mini ({own} recordings), where it knows little, and on
espeak's speech ({espeak} recordings), where it knows most. "Differ" is the share of phones that differ from those of
the whole, "wrong" of those that are not what was said. Of encoders ({few} recordings) it is how far the last states are
off, in parts of their spread. Times are over that of the whole.

{table}

The default is a window of {chunk:g} s with {context:g} s before it and behind it.

**Not met**: text in windows differs from that of the whole in far more than 1 % of phones, whatever the context. It is
not the seams: where a model has a bounded field of view, windows say the same as the whole, within rounding
(`tests/test_streaming.py`). These models were trained on utterances of some seconds, and attention over a minute is
what they have never seen: of what was said, the whole gets no more right than windows do.
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


def windows(models: dict[str, list[dict[str, Any]]]) -> str:
    """A line for each window and context, columns for each model."""
    lines: list[list[str]] = []
    for rows in zip(*models.values(), strict=True):
        chunk, context = rows[0]["chunk"], rows[0]["context"]
        line = ["whole", ""] if chunk is None else [f"{chunk:g} s", f"{context:g} s"]
        for row in rows:
            line.append(percent(row["value"], row.get("error")))
            line += [percent(row["wrong"], row["wrong_error"])] if "wrong" in row else []
            line.append(f"{row['time']:.2f}")
        lines.append(line)
    header = ["window", "context"]
    for name, rows in models.items():
        texts = ["differ", "wrong", "time"] if "wrong" in rows[0] else ["off", "time"]
        header += [f"{name}: {texts[0]}", *texts[1:]]
    return table(header, lines)


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
        own = {key: record["recordings"][key] for key in ("own", "espeak")}
        more = {"seconds": record["seconds"], "few": record["few"], **own, **record["default"]}
        parts.append(STREAMING.format(about=about(record), table=windows(record["rows"]), **more))
    return HEAD + "".join(parts) if parts else ""
