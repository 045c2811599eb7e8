"""Writing a model's graph as an ONNX file."""

import contextlib
import importlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from sottovoce.errors import SottovoceError, reason_of
from sottovoce.runtimes.graph import Graph, dummy

OPSET, LEAST_OPSET = 20, 18
LIMIT = 1 << 31  # bytes in one file of ONNX; what is larger keeps its weights beside it
SECONDS = 0.5
SCOPES = "pkg.torch.onnx.name_scopes"


def needed(module: str, extra: str = "export") -> ModuleType:
    """A module of an extra, or a sentence that says how it is installed.

    Example:
        >>> needed("onnxruntime").__name__
        'onnxruntime'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise SottovoceError(
            f"{package} is not installed, which this needs; run pip install 'sottovoce[{extra}]'."
        ) from error


def write_onnx(graph: Graph, path: Path, *, opset: int = OPSET, names: Mapping[str, str] | None = None) -> None:
    """Write a graph for any batch and any length, or for one utterance of its seconds; `names` renames what it takes
    and gives.

    Example:
        >>> write_onnx(Graph(model), Path("model.onnx"))
    """
    needed("onnx")
    needed("onnxscript")
    from torch.export import Dim

    if opset < LEAST_OPSET:
        raise SottovoceError(f"opset={opset}, but {LEAST_OPSET} or more is wanted, as torch's exporter writes.")
    names = names or {}
    inputs = dummy(graph, SECONDS, batch=2)
    batch = Dim("batch", min=1, max=1 << 16)
    free = ({0: batch, 1: Dim("samples", min=graph.shortest)}, {0: batch})[: len(inputs)]
    options: dict[str, Any] = {} if graph.seconds is not None else {"dynamic_shapes": free}
    with quietly(), torch.no_grad():
        try:
            program = torch.onnx.export(
                graph.eval(),
                inputs,
                dynamo=True,
                opset_version=opset,
                input_names=[names.get(name, name) for name in graph.inputs],
                output_names=[names.get(name, name) for name in graph.outputs],
                verbose=False,
                **options,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            cause = error.__cause__ or error
            raise SottovoceError(
                f"torch's ONNX exporter stops at this {type(graph.model).__name__} ({reason_of(cause, 200)}); please "
                "report it."
            ) from error
    assert program is not None
    forget(program.model)
    weights = sum(tensor.nbytes for tensor in graph.state_dict().values())
    program.save(str(path), external_data=weights > LIMIT - (1 << 27))


def forget(model: Any) -> None:
    """Take out what the exporter noted of this machine's files; of nodes, whose they are stays.

    Example:
        >>> forget(program.model)
    """
    graph = model.graph
    for part in (model, graph, *graph.initializers.values(), *graph.inputs, *graph.outputs):
        part.metadata_props.clear()
    for node in graph.all_nodes():
        scopes = node.metadata_props.get(SCOPES)
        node.metadata_props.clear()
        node.doc_string = None
        if scopes is not None:
            node.metadata_props[SCOPES] = scopes
        for value in node.outputs:
            value.metadata_props.clear()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What exporters say about themselves is not said inside."""
    names = ("torch.onnx", "torch.export", "torch.__trace", "onnxscript", "onnx_ir")
    # By the root's speaks ONNX Runtime's quantiser.
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in names)]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
