"""ONNX files with smaller weights: in half precision, or as bytes in the products of Linears alone."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.errors import SottovoceError
from sottovoce.exporting.check import HOLDS, TOLERANCE, Judge, Judgement
from sottovoce.methods.quantize import PARTS, linears_of
from sottovoce.progress import bar
from sottovoce.runtimes.graph import Graph
from sottovoce.runtimes.onnx_file import SCOPES, needed, quietly

HALVED = 1024  # numbers: smaller tensors stay as they are
ALONE = 8  # utterances on which each part's rounding is judged
FRONT = ("front.", "log_mel")


def halve(source: Path, target: Path) -> None:
    """The weights in half precision, computed with in single precision: a runtime widens them when it loads.

    Example:
        >>> halve(Path("model.onnx"), Path("model-fp16.onnx"))
    """
    onnx = needed("onnx")
    model = onnx.load(str(source))
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or any(part in tensor.name for part in FRONT):
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size < HALVED:
            continue
        if not np.abs(values).max() <= np.finfo(np.float16).max:
            raise SottovoceError(f"fp16: {tensor.name} has numbers beyond 65504, the largest one; leave out --fp16.")
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    onnx.save(model, str(target))


def groups_of(graph: Graph, source: Path) -> dict[str, list[str]]:
    """The nodes that multiply by the weights of Linears, by the layer and part that they are of.

    The front end is in none of them: rounded, a transform's sines make garbage of everything behind it.

    Example:
        >>> list(groups_of(graph, Path("model.onnx")))[:2]
        ['feature_projection', 'encoder.layers.0.attention']
    """
    onnx = needed("onnx")
    wanted = {path: part for part, paths in linears_by_part(graph).items() for path in paths}
    model = onnx.load(str(source), load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    found: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in weights:
            continue
        scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
        path = next(
            (name for name in reversed(scopes.strip("[]").replace("'", "").split(", ")) if name in wanted), None
        )
        if path is not None:
            found.setdefault(wanted[path], []).append(node.name)
    return found


def linears_by_part(graph: Graph) -> dict[str, list[str]]:
    """The paths of a graph's Linears, by the layer and part that they are of.

    Example:
        >>> linears_by_part(graph)["encoder.layers.0.feed_forward"][0]
        'model.encoder.layers.0.feed_forward.intermediate_dense'
    """
    found: dict[str, list[str]] = {}
    for path in (path for part in PARTS for path in linears_of(graph.model, part)):
        found.setdefault(path.rpartition(".")[0] or f"model.{path}", []).append(f"model.{path}")
    return found


def quantize_nodes(source: Path, target: Path, nodes: Sequence[str], examples: Iterable[dict[str, np.ndarray]]) -> None:
    """Bytes for the weights of some products, a scale for each output; inputs are rounded by the range of each pass,
    or where there are examples, by the range of these.

    Weights are unsigned: on CPUs without an instruction for such products, signed ones overflow.

    Example:
        >>> quantize_nodes(Path("model.onnx"), Path("model-int8.onnx"), ["node_MatMul_243"], [])
    """
    quantization: Any = needed("onnxruntime.quantization")
    common: dict[str, Any] = {
        "nodes_to_quantize": list(nodes),
        "op_types_to_quantize": ["MatMul", "Gemm"],
        "per_channel": True,
        "weight_type": quantization.QuantType.QUInt8,
    }
    if not nodes:
        shutil.copyfile(source, target)
        return
    given = list(examples)
    with quietly():
        if not given:
            quantization.quantize_dynamic(str(source), str(target), **common)
            return
        reader = Examples(quantization.CalibrationDataReader, given)
        quantization.quantize_static(
            str(source),
            str(target),
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            **common,
        )


def Examples(reader: type, given: Sequence[dict[str, np.ndarray]]) -> Any:  # noqa: N802 (it makes an object)
    """What ONNX Runtime's calibration reads from."""
    left = iter(given)
    return type("Given", (reader,), {"get_next": lambda self: next(left, None)})()


def quantize_file(
    graph: Graph,
    source: Path,
    target: Path,
    judge: Judge,
    run: Callable[[Path], Any],
    examples: Sequence[dict[str, np.ndarray]],
) -> list[str]:
    """Write a graph with bytes in as many Linears as the outputs and the score allow; which were left out.

    Example:
        >>> quantize_file(graph, Path("model.onnx"), Path("model-int8.onnx"), judge, run, [])
        ['encoder.layers.11.feed_forward']
    """
    groups = groups_of(graph, source)

    def write(kept: Iterable[str], limit: int | None) -> Judgement:
        quantize_nodes(source, target, [node for group in kept for node in groups[group]], examples)
        return judge(run(target), limit=limit)

    return left_out_of(groups, write)


def left_out_of(groups: Iterable[str], write: Callable[[Iterable[str], int | None], Judgement]) -> list[str]:
    """Which parts of a model must stay in fp32. `write` rounds some parts, and judges that on so many utterances.

    Where all of them are too many, each part is rounded alone and judged, and the worst are left out: one, two, four of
    them and so on, until what is left holds; that was written last.

    Example:
        >>> left_out_of(groups, write)
        ['encoder.layers.11.feed_forward']
    """
    groups = tuple(groups)
    if not groups:
        raise SottovoceError("int8: this model has no Linear whose weights could be bytes; leave out --int8.")
    if holds(write(groups, None)):
        return []
    worst = sensitive(groups, write)
    count = 1
    while count < len(worst):
        left_out = worst[:count]
        if holds(write([group for group in groups if group not in left_out], None)):
            return sorted(left_out)
        count *= 2
    raise SottovoceError(
        "int8: with bytes in any part of this model its outputs or its score are off by too much "
        f"({TOLERANCE['int8']:g} of the spread, {HOLDS:g} of the score); leave out --int8."
    )


def holds(judgement: Judgement) -> bool:
    """Whether an int8 model says what it should."""
    return judgement.fault("int8") is None


def sensitive(groups: Sequence[str], write: Callable[[Iterable[str], int | None], Judgement]) -> list[str]:
    """The parts of a model by how much rounding each of them alone changes what comes out, the worst first.

    Example:
        >>> sensitive(groups, write)[0]
        'encoder.layers.11.feed_forward'
    """
    errors: dict[str, float] = {}
    with bar("rounding each part alone", len(groups)) as tick:
        for group in groups:
            errors[group] = write([group], ALONE).worst
            tick()
    return sorted(groups, key=lambda group: -errors[group])
