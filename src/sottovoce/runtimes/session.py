"""Sessions that share a machine with others: a number of threads, and none that spins while it waits."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from sottovoce.errors import SottovoceError
from sottovoce.files import scratch
from sottovoce.runtimes.graph import Graph, dummy
from sottovoce.runtimes.onnx_file import needed, write_onnx
from sottovoce.runtimes.pte_file import PteSession, write_pte

Runtime = Literal["onnxruntime", "openvino", "executorch"]


@final
class Session:
    """An ONNX file in ONNX Runtime on the CPU, with so many threads (all cores if 0).

    Threads that wait spin by default, and take the cores of everything else in the process: PyTorch beside such a
    session is ten times slower with two threads. Here they sleep.

    Example:
        >>> Session(Path("model.onnx"), threads=1).run({"waveform": audio, "lengths": lengths})["log_probs"].shape
        (1, 49, 32)
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        runtime = needed("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for which in ("intra", "inter"):
            options.add_session_config_entry(f"session.{which}_op.allow_spinning", "0")
        self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = tuple(value.name for value in self.session.get_inputs())
        self.outputs = tuple(value.name for value in self.session.get_outputs())

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name."""
        return dict(zip(self.outputs, self.session.run(None, dict(inputs)), strict=True))


@final
class OpenVinoSession:
    """An ONNX file, or what OpenVINO made of it, in OpenVINO on the CPU in single precision.

    Example:
        >>> OpenVinoSession(Path("model.onnx"), threads=1).run({"waveform": audio, "lengths": lengths})["frames"]
        array([49])
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        program = needed("openvino", "openvino")
        options = {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        self.model = program.Core().compile_model(str(path), "CPU", options)
        self.outputs = tuple(output.get_any_name() for output in self.model.outputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name."""
        found = self.model(dict(inputs))
        return {name: np.array(found[place]) for place, name in enumerate(self.outputs)}


def opened(model: Any, runtime: Runtime, seconds: float, batch: int, threads: int) -> Callable[[], Any]:
    """A pass of a model in another runtime, on noise: what an exported folder of it takes as long for.

    Example:
        >>> opened(model, "onnxruntime", 1.0, 1, 1)()["frames"]
        array([49])
    """
    needed(runtime, "export" if runtime == "onnxruntime" else runtime)
    if runtime == "executorch" and (batch != 1 or threads != 1):
        raise SottovoceError(
            f"batch={batch}, threads={threads}, but ExecuTorch's Python package runs one utterance in one thread; give "
            "1 for both."
        )
    session: Any
    with scratch() as folder:
        if runtime == "executorch":
            graph = Graph(model, lengths=False, seconds=seconds)
            write_pte(graph, folder / "model.pte")
            session = PteSession(folder / "model.pte", graph.outputs)
        else:
            graph = Graph(model)
            write_onnx(graph, folder / "model.onnx")
            kind: Any = Session if runtime == "onnxruntime" else OpenVinoSession
            session = kind(folder / "model.onnx", threads=threads)
    return partial(session.run, tensors(dummy(graph, seconds, batch=batch), graph.inputs))


def batch_of(audio: Sequence[np.ndarray], *, shortest: int = 1) -> dict[str, np.ndarray]:
    """Pieces of audio as a padded batch with its lengths, as exported graphs take it.

    Example:
        >>> batch_of([np.ones(3, np.float32), np.ones(2, np.float32)])["lengths"]
        array([3, 2])
    """
    lengths = np.array([len(piece) for piece in audio], dtype=np.int64)
    waveform = np.zeros((len(audio), max(shortest, int(lengths.max()))), dtype=np.float32)
    for row, piece in zip(waveform, audio, strict=True):
        row[: len(piece)] = piece
    return {"waveform": waveform, "lengths": lengths}


def tensors(inputs: Sequence[Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    """PyTorch's inputs of a graph, as a session takes them.

    Example:
        >>> tensors(dummy(graph, 1.0), graph.inputs)["lengths"]
        array([16000])
    """
    return {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
