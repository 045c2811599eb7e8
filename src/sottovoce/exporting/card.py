"""The model card of an exported folder: what it is, how it is run, what was measured; with Hugging Face's metadata."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sottovoce.exporting.order import Order
from sottovoce.exporting.target import Target
from sottovoce.files import dump_yaml
from sottovoce.measurement import Measurement, select
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.card import FEATURES, metadata
from sottovoce.models.heads import TASK
from sottovoce.runtimes.graph import Graph

PIPELINES = {
    "tokens": "automatic-speech-recognition",
    "classes": "audio-classification",
    "frame classes": "audio-classification",
    "embedding": FEATURES,
    "states": FEATURES,
}
WORDS = {
    "tokens": "log-probabilities of letters or phones in each frame, for CTC",
    "frame classes": "log-probabilities of the classes of each frame",
    "classes": "a probability for each class",
    "embedding": "one embedding an utterance",
    "states": "the hidden states before and behind every layer",
}


def card(order: Order, target: Target, graph: Graph, rows: Sequence[Measurement], left_out: Sequence[str]) -> str:
    """The text of `README.md`.

    Example:
        >>> card(order, TARGETS["onnx"], graph, rows, []).splitlines()[0]
        '---'
    """
    body = Anatomy(order.model)
    task = getattr(order.model.config, TASK, None)
    asked = f"sottovoce export {order.title} --to {target.name}"
    if order.original is not None:
        asked += f" --versus {order.original.title}"
    length = "Any batch and any length."
    if order.seconds is not None or order.longest is not None:
        length = f"One utterance of {order.seconds or f'up to {order.longest:g}'} s."
    stamp = f"ONNX opset {order.opset}" if target.library == "onnx" else f"{target.library} {version(target.library)}"
    text = [
        f"# {Path(order.title).name} for {target.name}",
        "",
        f"A {body.name} model ({type(order.model).__name__}) in {order.precision}. What loads it: {target.about}",
        f"It takes audio at 16 kHz and gives {WORDS[graph.gives]}. {length}",
        f"Its task is `{task}`." if task else "",
        "",
        f"Made by sottovoce {version('sottovoce')} with `{asked}`; {stamp}.",
        "",
        "## How to run it",
        "",
        target.usage(order, graph).strip(),
        "",
        "## What was measured",
        "",
        *measured(rows),
    ]
    if order.precision == "int8":
        kept = ", ".join(f"`{name}`" for name in left_out) or "none"
        text += ["", f"Weights of Linears are bytes. Parts that rounding changes too much are in fp32: {kept}."]
    return f"---\n{dump_yaml(head_of(order, target, graph, rows))}---\n" + "\n".join(text) + "\n"


def head_of(order: Order, target: Target, graph: Graph, rows: Sequence[Measurement]) -> dict[str, Any]:
    """The block that Hugging Face reads at the head of a card.

    Example:
        >>> head_of(order, TARGETS["onnx"], graph, rows)["pipeline_tag"]
        'feature-extraction'
    """
    about: dict[str, Any] = {"pipeline": PIPELINES[graph.gives], "library": target.library, "more": [order.precision]}
    block = metadata(order.name, Anatomy(order.model).name, **about)
    if order.data_name is not None:
        block["datasets"] = [Path(part.partition("@")[0].strip()).name for part in order.data_name.split("+")]
    if found := sorted({row.metric for row in rows if row.n > 1 and row.error is not None and row.unit == ""}):
        block["metrics"] = found
    return block


def measured(rows: Sequence[Measurement]) -> list[str]:
    """Tables of the outputs against PyTorch's, of the scores, the times and the sizes."""
    lines = []
    checked = [row for row in rows if row.metric in ("distance", "agreement") or row.unit == ""]
    if checked:
        lines += ["| against PyTorch | value |", "|---|---|"]
        for row in checked:
            name = ", ".join(str(row.where[key]) for key in ("output", "runtime") if key in row.where)
            error = "" if row.error is None else f" ± {row.error:.2g} (n = {row.n})"
            lines.append(f"| {row.metric.replace('_', ' ')}, {name} | {row.value:.3g}{error} |")
        lines += ["", "A distance is in parts of the spread of PyTorch's outputs about their mean.", ""]
    if latencies := select(rows, "latency"):
        lines += ["| seconds of audio | threads | runtime | median of the time |", "|---|---|---|---|"]
        for row in latencies:
            place = row.where
            lines.append(
                f"| {place['seconds']} | {place['threads']} | {place['runtime']} | {1000 * row.value:.1f} ms |"
            )
        lines += ["", "From samples to outputs, in turns, on the machine that made this folder.", ""]
    for row in select(rows, "bytes"):
        lines.append(f"{'This folder' if row.where.get('runtime') != 'pytorch' else 'The model'}: {row.value:,} bytes.")
    return lines or ["Nothing: the check was left out (`--no-check`)."]
