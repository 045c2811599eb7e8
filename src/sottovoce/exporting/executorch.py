"""The target `executorch`: a program for phones and boards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from sottovoce.exporting.check import Judge, Judgement
from sottovoce.exporting.onnx import LABELS, READING, describe
from sottovoce.exporting.order import Order, Run, Said
from sottovoce.exporting.precision import left_out_of, linears_by_part
from sottovoce.exporting.target import Target, cut_at_ends, graph_inputs, register_target
from sottovoce.runtimes.graph import Graph
from sottovoce.runtimes.pte_file import EXTRA, LONGEST, PteSession, captured, lowering, rounded, write_pte

FILE, FORMAT = "model.pte", "sottovoce-executorch"
USAGE = """
```python
import json
import soundfile
import torch
from executorch.runtime import Runtime

program = Runtime.get().load_program("model.pte")
model = program.load_method("forward")
{labels}
audio, rate = soundfile.read("speech.wav", dtype="float32")
assert rate == 16_000 and audio.ndim == 1
found = [value.numpy() for value in model.execute([torch.from_numpy(audio)[None]])]
{reading}
```
"""
OTHERS = {
    "embedding": "print(found[0][0] / (found[0][0] ** 2).sum() ** 0.5)",
    "states": """print({name: value.shape for name, value in zip(json.load(open("config.json"))["outputs"], found)})""",
}


def usage(order: Order, graph: Graph) -> str:
    """Fifteen lines that run the folder."""
    text = USAGE.replace("{reading}", {**READING, **OTHERS}[graph.gives])
    text = text.replace("{labels}\n", f'labels = json.load(open("{LABELS}"))\n' if order.labels else "")
    return text if "json.load" in text else text.replace("import json\n", "")


def open_executorch(target: Target, graph: Graph, file: Path, threads: int) -> Run:
    """What was written, in ExecuTorch's runtime, one utterance after another.

    Example:
        >>> open_executorch(TARGETS["executorch"], graph, Path("model.pte"), 1)([samples])[0]["log_probs"].shape
        (49, 32)
    """
    return one_by_one(target, graph, PteSession(file, graph.outputs).run)


def one_by_one(target: Target, graph: Graph, one: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]) -> Run:
    """What hears one utterance, for many."""

    def run(audio: Sequence[np.ndarray]) -> Said:
        return [cut_at_ends(graph, one(graph_inputs(target, graph, [piece])), [len(piece)])[0] for piece in audio]

    return run


def write(target: Target, order: Order, graph: Graph, file: Path, judge: Judge | None) -> list[str]:
    """The file in the precision that was asked for; the parts that int8 left out, as PyTorch rounds them."""
    if order.precision == "fp32":
        write_pte(graph, file)
        return []
    assert judge is not None
    parts = linears_by_part(graph)
    with lowering(graph):
        program = captured(graph)

    def rounding(kept: Iterable[str], limit: int | None) -> Judgement:
        with lowering(graph):
            module = rounded(graph, program, [path for part in kept for path in parts[part]])

            def one(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
                found = module(*(torch.from_numpy(value) for value in inputs.values()))
                return {name: value.numpy() for name, value in found.items()}

            return judge(one_by_one(target, graph, one), limit=limit)

    left_out = left_out_of(parts, rounding)
    write_pte(graph, file, [path for part, paths in parts.items() if part not in left_out for path in paths])
    return left_out


@register_target(
    "executorch",
    usage=usage,
    open=open_executorch,
    write=write,
    library="executorch",
    needs={"executorch": EXTRA},
    refuses={"fp16": "its kernels for the CPU compute in single precision, so the file would only be smaller"},
    longest=LONGEST,
    threads=lambda: (1,),
    files=dict.fromkeys(("fp32", "fp16", "int8"), FILE),
    lengths=False,
)
def executorch(order: Order, graph: Graph, folder: Path) -> None:
    """ExecuTorch, with XNNPACK's kernels: phones, and boards with Arm's or Intel's processors."""
    longest = None if order.seconds is not None else order.longest
    describe(folder, order, graph, FORMAT, longest=longest, executorch=version("executorch"))
