"""What a target is: a layout of files that some program loads, and how it is made and run."""

import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.data.batches import samples
from sottovoce.errors import SottovoceError, unknown
from sottovoce.exporting.check import Judge, thread_counts
from sottovoce.exporting.order import Order, Precision, Run, Said
from sottovoce.exporting.precision import halve, quantize_file
from sottovoce.files import scratch
from sottovoce.models.front_end import SAMPLE_RATE
from sottovoce.models.heads import head_labels
from sottovoce.runtimes.graph import Graph, gives
from sottovoce.runtimes.onnx_file import write_onnx
from sottovoce.runtimes.session import Session, batch_of
from sottovoce.studies.speech import not_tested, recordings
from sottovoce.tasks.kinds import BLANK, DELIMITER

EXAMPLES = 32  # utterances that choose the ranges of inputs
ONNX = {"onnx": "export", "onnxscript": "export", "onnxruntime": "export"}
ORIGINAL = "original.onnx"  # the file of the model that a target shows beside the exported one


@dataclass(frozen=True)
class Target:
    """A layout: the graph that it wants, the files beside it, and how what was written is run.

    Args:
        name: as users write it.
        about: one line of what loads it.
        dress: writes what lies beside the graph (or makes something else of it), from an order, a graph, a folder.
        usage: how a program runs the folder, in Markdown, for the card.
        suits: refuses a model that the layout is not for, before any work.
        open: runs what lies in a folder with so many threads.
        write: writes the graph's file in the precision that was asked for, and says which parts int8 left out.
        library: what the file is for, by the name of its package.
        needs: modules that writing and checking need, and the extra of each.
        refuses: precisions that there are none of, each with the reason.
        longest: the most seconds of audio that it takes at once, if there is a most.
        threads: with how many threads it is timed.
        files: where the graph's file of a precision lies, if not in `model.onnx`.
        lengths: whether the graph takes the lengths of utterances.
        normalizes: whether it normalises the waveform; None as the model wants it.
        names: other names for inputs and outputs.
        prepare: what the program does to a waveform before the graph sees it.
        compares: whether it shows another model beside the exported one.

    Example:
        >>> TARGETS["onnx"].file("int8")
        'model.onnx'
    """

    name: str
    about: str
    dress: Callable[[Order, Graph, Path], None]
    usage: Callable[[Order, Graph], str]
    suits: Callable[[Any], object]
    open: Callable[["Target", Graph, Path, int], Run]
    write: Callable[["Target", Order, Graph, Path, Judge | None], list[str]]
    library: str = "onnx"
    needs: Mapping[str, str] = field(default_factory=lambda: ONNX)
    refuses: Mapping[str, str] = field(default_factory=dict)
    longest: float | None = None
    threads: Callable[[], tuple[int, ...]] = thread_counts
    files: Mapping[str, str] = field(default_factory=dict)
    lengths: bool = True
    normalizes: bool | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[np.ndarray], np.ndarray] = lambda piece: piece
    compares: bool = False

    def file(self, precision: Precision) -> str:
        """Where the graph's file lies in the folder."""
        return self.files.get(precision, "model.onnx")


TARGETS: dict[str, Target] = {}


def register_target(
    name: str,
    *,
    usage: Callable[[Order, Graph], str],
    suits: Callable[[Any], object] = lambda model: None,
    **more: Any,
) -> Callable[[Callable[[Order, Graph, Path], None]], Callable[[Order, Graph, Path], None]]:
    """Register a function `(order, graph, folder)` that writes what lies beside a graph; its docstring tells of it.

    Example:
        >>> @register_target("mine", usage=lambda order, graph: "Run it.")  # doctest: +SKIP
        ... def mine(order: Order, graph: Graph, folder: Path) -> None:
        ...     "What my own program loads."
    """

    def decorate(dress: Callable[[Order, Graph, Path], None]) -> Callable[[Order, Graph, Path], None]:
        if name in TARGETS:
            raise SottovoceError(f"two targets are named '{name}'; rename one of them.")
        about = (inspect.getdoc(dress) or "").partition("\n")[0]
        options: dict[str, Any] = {"open": open_onnx, "write": write_graph, **more}
        TARGETS[name] = Target(name, about, dress, usage, suits, **options)
        return dress

    return decorate


def find_target(name: str) -> Target:
    """A target by its name, or an error that names the nearest.

    Example:
        >>> find_target("onx")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: unknown target 'onx'; did you mean 'onnx'? ...
    """
    if name not in TARGETS:
        raise unknown("target", name, TARGETS)
    return TARGETS[name]


def open_onnx(target: Target, graph: Graph, file: Path, threads: int) -> Run:
    """A target's ONNX file in ONNX Runtime: padded batches where it takes lengths, else one utterance after another.

    Example:
        >>> open_onnx(TARGETS["onnx"], graph, Path("model.onnx"), 1)([samples])[0]["log_probs"].shape
        (49, 32)
    """
    session = Session(file, threads=threads)
    own = {target.names.get(name, name): name for name in graph.outputs}

    def one(audio: Sequence[np.ndarray]) -> Said:
        found = session.run(graph_inputs(target, graph, audio))
        return cut_at_ends(graph, {own[name]: value for name, value in found.items()}, [len(piece) for piece in audio])

    def run(audio: Sequence[np.ndarray]) -> Said:
        if target.lengths and graph.seconds is None:
            return one(audio)
        return [said for piece in audio for said in one([piece])]

    return run


def write_graph(target: Target, order: Order, graph: Graph, file: Path, judge: Judge | None) -> list[str]:
    """The ONNX file in the precision that was asked for; the parts that int8 left out.

    Example:
        >>> write_graph(TARGETS["onnx"], order, graph, Path("model.onnx"), None)
        []
    """
    write_onnx(graph, file, opset=order.opset, names=target.names)
    if order.precision == "fp32":
        return []
    with scratch() as place:
        whole = place / "whole.onnx"
        shutil.move(file, whole)
        for beside in file.parent.glob(f"{file.name}.*"):
            shutil.move(beside, place / beside.name)
        if order.precision == "fp16":
            halve(whole, file)
            return []
        assert judge is not None
        return quantize_file(
            graph, whole, file, judge, lambda path: target.open(target, graph, path, 0), examples(target, order, graph)
        )


def examples(target: Target, order: Order, graph: Graph) -> list[dict[str, np.ndarray]]:
    """Utterances that the ranges of inputs are chosen on: of no test split; none without data.

    Example:
        >>> examples(TARGETS["onnx"], Order(model, "small-hubert"), graph)
        []
    """
    if order.data is None:
        return []
    rows = recordings(not_tested(order.data, what="int8"), what="int8", limit=EXAMPLES)
    return [graph_inputs(target, graph, [order.fitted(samples(utterance))]) for utterance in rows]


def graph_inputs(target: Target, graph: Graph, audio: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Audio as a target's graph takes it, by the names that it has there.

    Example:
        >>> list(graph_inputs(TARGETS["onnx"], graph, [samples]))
        ['waveform', 'lengths']
    """
    least = graph.shortest if graph.seconds is None else round(graph.seconds * SAMPLE_RATE)
    batch = batch_of([target.prepare(piece) for piece in audio], shortest=least)
    return {target.names.get(name, name): batch[name] for name in graph.inputs}


def cut_at_ends(graph: Graph, found: Mapping[str, np.ndarray], samples: Sequence[int]) -> Said:
    """The outputs of a padded batch as those of its utterances.

    Example:
        >>> cut_at_ends(graph, {"log_probs": np.zeros((2, 49, 32))}, [16_000, 8_000])[1]["log_probs"].shape
        (24, 32)
    """
    said: Said = []
    for row, count in enumerate(samples):
        ends = {name: graph.frames_of(count, name) for name in found if name in graph.timed}
        said.append({name: value[row][: ends[name]] if name in ends else value[row] for name, value in found.items()})
    return said


def needs_tokens(layout: str) -> Callable[[Any], None]:
    """Refuses models that write no text, for a layout that is for speech recognition.

    Example:
        >>> needs_tokens("sherpa-onnx")(sv.new("hubert"))
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: sherpa-onnx is for models that write text, ...
    """

    def suits(model: Any) -> None:
        if gives(model) != "tokens":
            raise SottovoceError(
                f"{layout} is for models that write text, but this {type(model).__name__} gives {gives(model)}; "
                "fine-tune it with a CTC head first (--task asr), or export it with --to onnx."
            )
        labels = head_labels(model, blank=BLANK, delimiter=DELIMITER)
        if BLANK not in labels:
            raise SottovoceError(
                f"{layout} needs the letters of this model's head, but there is no vocab.json beside its weights; copy "
                "the tokenizer's files there."
            )

    return suits
