"""The target `openvino`: Intel's runtime for CPUs, GPUs and NPUs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sottovoce.exporting.onnx import FORMAT, describe
from sottovoce.exporting.order import Order, Run, Said
from sottovoce.exporting.target import ONNX, Target, cut_at_ends, graph_inputs, register_target
from sottovoce.runtimes.graph import Graph
from sottovoce.runtimes.onnx_file import needed, quietly
from sottovoce.runtimes.session import OpenVinoSession

FILE = "model.xml"
USAGE = """
```python
import numpy as np
import openvino
import soundfile

model = openvino.Core().compile_model("model.xml", "CPU")
audio, rate = soundfile.read("speech.wav", dtype="float32")
assert rate == 16_000 and audio.ndim == 1
found = model({"waveform": audio[None], "lengths": np.array([len(audio)])})
print({output.get_any_name(): value.shape for output, value in found.items()})
```
"""


def open_openvino(target: Target, graph: Graph, file: Path, threads: int) -> Run:
    """What was converted, or the ONNX file before it is, in OpenVINO on the CPU.

    Example:
        >>> open_openvino(TARGETS["openvino"], graph, Path("model.onnx"), 1)([samples])[0]["log_probs"].shape
        (49, 32)
    """
    session = OpenVinoSession(file if file.is_file() else file.with_name(FILE), threads=threads)

    def run(audio: Sequence[np.ndarray]) -> Said:
        return cut_at_ends(graph, session.run(graph_inputs(target, graph, audio)), [len(piece) for piece in audio])

    return run


@register_target(
    "openvino", usage=lambda order, graph: USAGE, open=open_openvino, needs={**ONNX, "openvino": "openvino"}
)
def openvino(order: Order, graph: Graph, folder: Path) -> None:
    """OpenVINO: Intel's runtime for CPUs, GPUs and NPUs."""
    program = needed("openvino", "openvino")
    with quietly():
        program.save_model(
            program.convert_model(str(folder / "model.onnx")),
            str(folder / FILE),
            compress_to_fp16=order.precision == "fp16",
        )
    (folder / "model.onnx").unlink()
    describe(folder, order, graph, FORMAT, opset=order.opset)
