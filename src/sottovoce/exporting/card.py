"""The model card of an exported folder: what it is, how it is run, what was measured; with Hugging Face's metadata."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.exporting.order import Order
from sottovoce.exporting.target import Target
from sottovoce.files import dump_yaml, load_yaml
from sottovoce.measurement import Measurement, select
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.heads import TASK
from sottovoce.models.processors import processor_file
from sottovoce.models.teachers import teacher_folder
from sottovoce.runtimes.graph import Graph

PIPELINES = {
    "tokens": "automatic-speech-recognition",
    "classes": "audio-classification",
    "frame classes": "audio-classification",
    "embedding": "feature-extraction",
    "states": "feature-extraction",
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
    name = Path(order.name).name if Path(order.name).exists() else order.name  # no path of this machine
    asked = f"sottovoce export {name} --to {target.name}"
    length = "Any batch and any length."
    if order.seconds is not None or order.longest is not None:
        length = f"One utterance of {order.seconds or f'up to {order.longest:g}'} s."
    stamp = f"ONNX opset {order.opset}" if target.library == "onnx" else f"{target.library} {version(target.library)}"
    text = [
        f"# {Path(name).name} for {target.name}",
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
    return f"---\n{dump_yaml(metadata(order, target, graph, rows))}---\n" + "\n".join(text) + "\n"


def metadata(order: Order, target: Target, graph: Graph, rows: Sequence[Measurement]) -> dict[str, Any]:
    """The block that Hugging Face reads at the head of a card.

    Example:
        >>> metadata(order, TARGETS["onnx"], graph, rows)["pipeline_tag"]
        'feature-extraction'
    """
    block: dict[str, Any] = {"library_name": target.library, "pipeline_tag": PIPELINES[graph.gives]}
    block |= {"tags": ["speech", "sottovoce", Anatomy(order.model).name, order.precision]}
    teacher = teacher_folder(order.name)
    if teacher is not None or "/" in order.name.strip("/") and not Path(order.name).exists():
        block["base_model"] = order.name
    if (licence := licence_of(order, teacher)) is not None:
        block["license"] = licence
    if order.data_name is not None:
        block["datasets"] = [Path(part.partition("@")[0].strip()).name for part in order.data_name.split("+")]
    if found := sorted({row.metric for row in rows if row.n > 1 and row.error is not None and row.unit == ""}):
        block["metrics"] = found
    return block


def licence_of(order: Order, teacher: Path | None) -> str | None:
    """What the card beside the model's weights says."""
    place = teacher / "README.md" if teacher is not None else processor_file(order.name, "README.md")
    if place is None or not place.is_file():
        return None
    head = place.read_text(encoding="utf-8", errors="replace").split("---")
    try:
        found = load_yaml(head[1], name="its card") if len(head) > 2 else None
    except SottovoceError:
        return None
    licence = found.get("license") if isinstance(found, dict) else None
    return licence if isinstance(licence, str) else None


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
