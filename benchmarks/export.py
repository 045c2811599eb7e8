"""How long exported models take, against the same models in PyTorch and against a plain small-hubert: all in turns.

From samples to outputs, one utterance of noise, on one thread and on two. Of PyTorch the models run as sottovoce loads
them, without a mask; an exported graph normalises, and heeds the lengths that come in. `python benchmarks/export.py 3`
takes three rounds.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.records import ratio, record

import sottovoce as sv
from sottovoce.exporting.precision import groups_of, quantize_nodes
from sottovoce.runtimes.graph import Graph
from sottovoce.runtimes.onnx_file import write_onnx
from sottovoce.runtimes.pytorch import in_pytorch
from sottovoce.runtimes.session import OpenVinoSession, Session, batch_of
from sottovoce.timing import in_turns, thread_count

NEEDS = {"nothing": ""}
ROUNDS = 25
SECONDS, THREADS = (1.0, 10.0), (1, 2)
WHOLE = "small-hubert, pytorch"


def mimic(positional: bool | int) -> Any:
    """The shape of a mimic of the keyword teacher; its numbers take as long as trained ones."""
    model = sv.load("small-melhubert-keywords")
    sv.edits.use_mimic(model, layers=1, kind="transformer", width=192, positional=positional)
    return model.eval()


def models() -> dict[str, Any]:
    """What is exported."""
    teachers = {name: sv.load(name) for name in ("small-hubert", "small-melhubert-keywords")}
    mimics = {"mimic": mimic(False), "mimic with positions": mimic(True), "mimic with a filter of 9": mimic(9)}
    return teachers | mimics | {"hubert-base": sv.new("hubert-base").eval()}


def written(model: Any, folder: Path) -> dict[str, Path]:
    """A model's graph in single precision, and with bytes in its Linears."""
    graph, paths = Graph(model), {name: folder / f"{name}.onnx" for name in ("fp32", "int8")}
    write_onnx(graph, paths["fp32"])
    quantize_nodes(paths["fp32"], paths["int8"], sum(groups_of(graph, paths["fp32"]).values(), []), [])
    return paths


def passes(name: str, model: Any, paths: dict[str, Path], seconds: float, threads: int) -> dict[str, Callable[[], Any]]:
    """Each way to run a model on one utterance."""
    piece = np.random.default_rng(0).standard_normal(round(seconds * 16_000)).astype(np.float32)
    batch = batch_of([piece])
    sessions: dict[str, Any] = {
        "onnxruntime": Session(paths["fp32"], threads=threads),
        "onnxruntime int8": Session(paths["int8"], threads=threads),
        "openvino": OpenVinoSession(paths["fp32"], threads=threads),
    }
    found: dict[str, Callable[[], Any]] = {f"{name}, pytorch": partial(in_pytorch(model), piece)}
    return found | {f"{name}, {kind}": lambda one=one: one.run(batch) for kind, one in sessions.items()}


def main() -> None:
    """Time everything in turns, and store the ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    made = models()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        files = {}
        for number, (name, model) in enumerate(made.items()):
            (folder := Path(place, str(number))).mkdir()
            with torch.inference_mode(False):
                files[name] = written(model, folder)
        for seconds in SECONDS:
            for threads in THREADS:
                ways: dict[str, Callable[[], Any]] = {}
                for name, model in made.items():
                    ways |= passes(name, model, files[name], seconds, threads)
                with thread_count(threads):
                    times = in_turns(ways, rounds=rounds)
                for way in ways:
                    own = f"{way.partition(',')[0]}, pytorch"
                    against = {"own model": ratio(times, way, own), "small-hubert": ratio(times, way, WHOLE)}
                    rows[f"{way}, {seconds:g} s, {threads} threads"] = against
    record("export", rows, rounds=rounds)


if __name__ == "__main__":
    main()
