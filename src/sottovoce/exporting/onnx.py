"""The target `onnx`: a file for ONNX Runtime, and what its numbers mean."""

import json
from pathlib import Path
from typing import Any

from sottovoce.exporting.order import Order
from sottovoce.exporting.target import register_target
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import SAMPLE_RATE
from sottovoce.models.heads import TASK
from sottovoce.runtimes.graph import Graph
from sottovoce.tasks.kinds import BLANK, DELIMITER

CONFIG, LABELS = "config.json", "labels.json"
FORMAT = "sottovoce-onnx"
USAGE = """
```python
import json
import numpy as np
import onnxruntime
import soundfile

session = onnxruntime.InferenceSession("model.onnx")
labels = json.load(open("labels.json"))
audio, rate = soundfile.read("speech.wav", dtype="float32")
assert rate == 16_000 and audio.ndim == 1
found = session.run(None, {"waveform": audio[None], "lengths": np.array([len(audio)])})
{reading}
```
"""
READING = {
    "tokens": """best = found[0][0].argmax(-1)
text = [labels[now] for before, now in zip([-1, *best], best) if now != before]
print("".join(token for token in text if token != "<pad>").replace("|", " "))""",
    "frame classes": """print([labels[index] for index in found[0][0].argmax(-1)])""",
    "classes": """print(labels[found[1][0].argmax()], found[1][0].max())""",
    "embedding": """print(found[0][0] / np.linalg.norm(found[0][0]))""",
    "states": """print({output.name: value.shape for output, value in zip(session.get_outputs(), found)})""",
}


def usage(order: Order, graph: Graph) -> str:
    """Fifteen lines that run the folder."""
    text = USAGE.replace("{reading}", READING[graph.gives])
    if not order.labels:
        text = text.replace('labels = json.load(open("labels.json"))\n', "").replace("import json\n", "")
    return text


def about(order: Order, graph: Graph, form: str, **more: Any) -> dict[str, Any]:
    """What a program has to know of a file of some format.

    Example:
        >>> about(Order(model, "small-hubert"), Graph(model), "sottovoce-onnx", opset=20)["gives"]
        'states'
    """
    labels = order.labels
    field, shift = Encoder(order.model, outputs=True).field()
    found: dict[str, Any] = {
        "format": form,
        "version": 1,
        "family": Anatomy(order.model).name,
        "gives": graph.gives,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "sampling_rate": SAMPLE_RATE,
        "shortest": graph.shortest,
        # Samples that a frame sees, samples between two frames, frames that layers see together.
        "frame": {"field": field, "shift": shift, "unit": unit_of(order.model)},
        "seconds": order.seconds,
        "precision": order.precision,
        **more,
    }
    if task := getattr(order.model.config, TASK, None):
        found["task"] = task
    if graph.gives == "tokens":
        found |= {"blank": labels.index(BLANK) if BLANK in labels else None, "delimiter": DELIMITER}
    return found


def unit_of(model: Any) -> int:
    """How many frames layers see together: in SEW, whose layers run at half the rate, two.

    Example:
        >>> unit_of(sv.new("sew"))
        2
    """
    body = Anatomy(model)
    return body.config.squeeze_factor if body.family.squeezes else 1


def describe(folder: Path, order: Order, graph: Graph, form: str, **more: Any) -> None:
    """Write what a program has to know of a file, and the labels, beside it.

    Example:
        >>> describe(Path("keywords-onnx"), order, graph, "sottovoce-onnx", opset=20)
    """
    write_json(folder / CONFIG, about(order, graph, form, **more))
    if order.labels:
        write_json(folder / LABELS, list(order.labels))


def write_json(path: Path, value: Any) -> None:
    """A JSON file for people too."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@register_target("onnx", usage=usage)
def onnx(order: Order, graph: Graph, folder: Path) -> None:
    """ONNX Runtime, which runs it on servers, phones and in browsers."""
    describe(folder, order, graph, FORMAT, opset=order.opset)
