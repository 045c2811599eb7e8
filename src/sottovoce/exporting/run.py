"""Exporting: the graph, its file, the files beside it, the check, the card; the folder is there when all of it is."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.exporting.card import card
from sottovoce.exporting.check import TORCH, Disagreement, Judge, Judgement, bytes_in, rows_of, times
from sottovoce.exporting.hearing import speech_for
from sottovoce.exporting.order import Order, Precision
from sottovoce.exporting.target import ORIGINAL, TARGETS, Target, find_target
from sottovoce.files import atomic_folder, check_writable, local_path
from sottovoce.measurement import Measurement
from sottovoce.measures.size import size
from sottovoce.models.card import CARD
from sottovoce.names import get_model
from sottovoce.progress import bar
from sottovoce.runtimes.graph import Graph, check_graph, gives
from sottovoce.runtimes.onnx_file import LEAST_OPSET, OPSET, needed

ROWS = "measurements.jsonl"
FAILED = ".failed"


@dataclass(frozen=True)
class Exported:
    """A folder that was written, what was measured of it, and which parts int8 left in fp32.

    Example:
        >>> Exported(Path("keywords-onnx"), ()).left_out
        ()
    """

    folder: Path
    measurements: tuple[Measurement, ...]
    left_out: tuple[str, ...] = ()


def export(
    model: Any,
    to: str,
    output: str | Path,
    *,
    precision: Precision = "fp32",
    data: Sequence[Utterance] | None = None,
    seconds: float | None = None,
    opset: int = OPSET,
    check: bool = True,
    overwrite: bool = False,
    name: str | None = None,
    data_name: str | None = None,
    versus: Any = None,
) -> Exported:
    """Write a model for another program, with its front end inside, and prove that it says there what it says here.

    The check hears the test utterances of `data`, or speech of espeak's, in padded batches in the other runtime and one
    by one in PyTorch. Outputs must be near, and where `data` has the answers that the model's head is for, the score
    must hold: else a `Disagreement` is raised, and what was written lies in a folder whose name ends in `.failed`.

    `precision` fp16 stores weights in half precision; int8 stores those of Linears as bytes, and rounds inputs by
    ranges that other utterances of `data` choose, or without data by those of each pass. Parts of the model that
    rounding changes too much stay in fp32. With `seconds`, the file takes one utterance of that length alone. `versus`,
    a model or a name of one, is shown beside the model by targets that do that.

    Example:
        >>> export(sv.load("small-melhubert-keywords"), "onnx", "keywords-onnx").folder
        PosixPath('keywords-onnx')
    """
    target = find_target(to)
    folder = check_place(output, overwrite=overwrite)
    failed = check_place(folder.with_name(folder.name + FAILED), overwrite=True)
    check_order(target, model, precision, opset)
    order = Order(model, name or source_of(model), precision, seconds, opset, data, data_name, target.longest)
    order = with_original(target, order, versus)
    graph = Graph(model, lengths=target.lengths, normalizes=target.normalizes, seconds=seconds)
    judge = None
    if check or precision == "int8":
        with bar("hearing the speech in PyTorch"):
            judge = Judge.of(order, graph, speech_for(order))
    with atomic_folder(folder, replace=overwrite) as made:
        file = made / target.file(precision)
        file.parent.mkdir(parents=True, exist_ok=True)
        with bar("exporting the graph"):
            left_out = target.write(target, order, graph, file, judge)
        target.dress(order, graph, made)
        rows: list[Measurement] = []
        fault = None
        if check and judge is not None:
            rows, fault = checked(order, target, graph, made, judge)
            fault = fault or fault_of_original(order, target, made)
            (made / ROWS).write_text("".join(row.to_json() + "\n" for row in rows), encoding="utf-8")
        (made / CARD).write_text(card(order, target, graph, rows, left_out), encoding="utf-8")
        if fault is not None:
            with atomic_folder(failed) as kept:
                shutil.copytree(made, kept, dirs_exist_ok=True)
            raise Disagreement(f"{to}: {fault}; what was written is in '{failed}'.")
    return Exported(folder, tuple(rows), tuple(left_out))


def check_place(output: str | Path, *, overwrite: bool) -> Path:
    """Where a folder can be written, refused now if it could not be.

    Example:
        >>> check_place("exported", overwrite=False)
        PosixPath('exported')
    """
    folder = local_path(output, "the output folder")
    if folder.exists() and not folder.is_dir():
        raise SottovoceError(f"{folder} is a file; give the name of a folder.")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if there and not overwrite:
        raise SottovoceError(
            f"{folder} holds {there[0]} already; give a new folder, or overwrite it (--overwrite, overwrite=True)."
        )
    if there and CARD not in there:
        raise SottovoceError(
            f"{folder} holds {there[0]}, but it is no exported folder, and exporting replaces the whole folder; give "
            "a new one."
        )
    check_writable(folder)
    return folder


def check_order(target: Target, model: Any, precision: str, opset: int) -> None:
    """Refuse what cannot come out well, before any work."""
    if precision not in ("fp32", "fp16", "int8"):
        raise SottovoceError(f"precision={precision!r}, but fp32, fp16 or int8 is wanted.")
    if not LEAST_OPSET <= opset <= 99:
        raise SottovoceError(f"opset={opset}, but {LEAST_OPSET} or more is wanted, as torch's exporter writes.")
    if target.library != "onnx" and opset != OPSET:
        raise SottovoceError(f"opset={opset}, but {target.name} writes no ONNX; leave it out.")
    if precision in target.refuses:
        raise SottovoceError(f"{target.name} has no {precision} here: {target.refuses[precision]}; leave it out.")
    for module, extra in target.needs.items():
        needed(module, extra)
    check_graph(model)
    target.suits(model)


def with_original(target: Target, order: Order, versus: Any) -> Order:
    """An order with the model that is shown beside its own, by name or as it is; refused where the two do not compare.

    Example:
        >>> with_original(TARGETS["web"], order, "small-melhubert-keywords").original.precision
        'fp32'
    """
    if versus is None:
        return order
    if not target.compares:
        known = ", ".join(name for name, one in TARGETS.items() if one.compares)
        raise SottovoceError(f"{target.name} shows no other model; leave out versus (--versus), or export for {known}.")
    other = get_model(versus) if isinstance(versus, str) else versus
    name = versus if isinstance(versus, str) else source_of(other)
    check_order(target, other, "fp32", order.opset)
    original = Order(other, name, "fp32", order.seconds, order.opset, order.data, order.data_name)
    ours, theirs = gives(order.model), gives(other)
    if ours != theirs:
        raise SottovoceError(f"versus: {name} gives {theirs}, but {order.name} gives {ours}; give two of a kind.")
    if strange := set(order.labels) ^ set(original.labels):
        raise SottovoceError(
            f"versus: {name} and {order.name} do not know the same labels ({', '.join(sorted(strange)[:3])}); give two "
            "models for one task."
        )
    return replace(order, original=original)


def source_of(model: Any) -> str:
    """What a model is called: where it was loaded from, or its class."""
    return getattr(model, "name_or_path", "") or type(model).__name__


def fault_of_original(order: Order, target: Target, folder: Path) -> str | None:
    """What is wrong with the file of the model that is shown beside, if there is one and something is."""
    if order.original is None:
        return None
    graph = Graph(order.original.model, lengths=target.lengths, normalizes=target.normalizes, seconds=order.seconds)
    with bar("checking the original"):
        judge = Judge.of(order.original, graph, speech_for(order.original))
        fault = judge(target.open(target, graph, folder / ORIGINAL, 1)).fault("fp32")
    return None if fault is None else f"{order.original.name}: {fault}"


def checked(
    order: Order, target: Target, graph: Graph, folder: Path, judge: Judge
) -> tuple[list[Measurement], str | None]:
    """What was measured of a folder, and what is wrong with it, if something is."""
    runs = {
        threads: target.open(target, graph, folder / target.file(order.precision), threads)
        for threads in target.threads()
    }
    with bar("checking"):
        judgement: Judgement = judge(runs[1])
    rows = list(rows_of(judgement, order, target.name))
    fault = judgement.fault(order.precision)
    if fault is None:
        rows += times(order, graph, judge.speech, runs, target.name)
        stored = next(row.value for row in size(order.model) if row.metric == "bytes" and not row.where)
        for runtime, count in ((TORCH, int(stored)), (target.name, bytes_in(folder))):
            rows.append(Measurement("export", "bytes", count, "bytes", "lower", {"runtime": runtime}))
    return rows, fault
