"""Writing a model's graph as a file for ExecuTorch, and running it there."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch._dynamo.exc import UserError

from sottovoce.errors import SottovoceError, reason_of
from sottovoce.models.front_end import SAMPLE_RATE
from sottovoce.models.record import eager
from sottovoce.runtimes.graph import Graph, dummy
from sottovoce.runtimes.onnx_file import needed, quietly

EXTRA = "executorch"
LONGEST = 30.0  # seconds: ExecuTorch plans memory before it runs
SECONDS = 1.0


@contextmanager
def lowering(graph: Graph) -> Iterator[None]:
    """What ExecuTorch's tools want of a graph, inside.

    Attention is in plain products: ExecuTorch has no fused one, and takes torch's apart into more than these.

    Example:
        >>> with lowering(graph):
        ...     program = captured(graph)
    """
    config: Any = importlib.import_module("torch.fx.experimental._config")
    # Else the exporter asks for two frames and more, and memory is planned for another length than the longest.
    with quietly(), torch.no_grad(), eager(graph.model), config.patch(backed_size_oblivious=True):
        yield


def write_pte(graph: Graph, path: Path, linears: Sequence[str] = ()) -> None:
    """Write a graph without lengths for one utterance of any length to the longest, or of its seconds.

    What XNNPACK has kernels for runs there; the weights of some Linears are bytes.

    Example:
        >>> write_pte(Graph(model, lengths=False), Path("model.pte"))
    """
    with lowering(graph):
        exir = needed("executorch.exir", EXTRA)
        xnnpack = needed("executorch.backends.xnnpack.partition.xnnpack_partitioner", EXTRA)
        kernels: Any = needed("executorch.backends.xnnpack.partition.config", EXTRA)
        # It takes this operation for its own where two lengths are free, and then stops at it.
        taken = [kind for kind in kernels.ALL_PARTITIONER_CONFIGS if kind is not kernels.UnsqueezeCopyConfig]
        program = captured(graph)
        if linears:
            program = captured(graph, rounded(graph, program, linears))
        lowered = exir.to_edge_transform_and_lower(
            program,
            partitioner=[xnnpack.XnnpackPartitioner(taken)],
            # The check takes the smaller of two lengths for an operation that it does not know.
            compile_config=exir.EdgeCompileConfig(_check_ir_validity=False),
        )
        path.write_bytes(lowered.to_executorch().buffer)


def captured(graph: Graph, module: torch.nn.Module | None = None) -> torch.export.ExportedProgram:
    """A graph, or what was made of it, in torch's own operations; or a sentence.

    Example:
        >>> len(captured(Graph(model, lengths=False)).graph.nodes)
        412
    """

    free = {1: torch.export.Dim("samples", min=graph.shortest, max=round(LONGEST * SAMPLE_RATE))}
    try:
        return torch.export.export(
            graph.eval() if module is None else module,
            dummy(graph, SECONDS),
            dynamic_shapes=None if graph.seconds is not None else (free,),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    except UserError as error:
        advice = "please report it" if graph.seconds is not None else "give the length of one utterance (--seconds)"
        raise SottovoceError(
            f"torch's exporter stops at this {type(graph.model).__name__} ({reason_of(error, 200)}); {advice}."
        ) from error


def rounded(graph: Graph, program: torch.export.ExportedProgram, linears: Sequence[str]) -> torch.nn.Module:
    """A graph that was captured with bytes for the weights of some Linears, a scale for each output. Inputs are rounded
    by the range that they have in each pass.

    Example:
        >>> rounded(graph, captured(graph), ["model.encoder.layers.0.attention.q_proj"])(waveform)["log_probs"].shape
        torch.Size([1, 49, 32])
    """
    pt2e = needed("torchao.quantization.pt2e.quantize_pt2e", EXTRA)
    xnnpack = needed("executorch.backends.xnnpack.quantizer.xnnpack_quantizer", EXTRA)
    config = xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    quantizer = xnnpack.XNNPACKQuantizer()
    quantizer.transform_for_annotation = lambda module: module  # else it makes floats of the numbers that index
    for path in linears:
        quantizer.set_module_name(path, config)
    watched = pt2e.prepare_pt2e(program.module(), quantizer)
    watched(*dummy(graph, SECONDS))
    return pt2e.convert_pt2e(watched)


@final
class PteSession:
    """An ExecuTorch file in ExecuTorch's own runtime, on the CPU.

    As its Python package has it, XNNPACK computes in one thread, however many there are.

    Example:
        >>> PteSession(Path("model.pte"), ["log_probs"]).run({"waveform": audio})["log_probs"].shape
        (1, 49, 32)
    """

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        with quietly():
            runtime = needed("executorch.runtime", EXTRA)
            self.program = runtime.Runtime.get().load_program(path)  # the method reads its memory
            self.method = self.program.load_method("forward")
        self.outputs = tuple(outputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name."""
        found = self.method.execute([torch.from_numpy(value) for value in inputs.values()])
        return {name: value.numpy() for name, value in zip(self.outputs, found, strict=True)}
