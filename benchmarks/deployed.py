"""End to end: models that keep the score, in ONNX Runtime and OpenVINO, against their originals in plain Hugging Face.

python benchmarks/deployed.py CORPUS [FOLDER [ROUNDS]]

Mimics of the keyword teacher with what stands in front of them (the positional convolution, or a filter over some
frames of each unit alone) are trained, and kept in FOLDER; their accuracy is that of the exported file on the test
split. Times are from samples to outputs, one utterance, one thread, all in turns; the original is small-hubert with
Hugging Face's own class and feature extractor. The same of the base size, with random weights, which take as long:
hubert-base against log-mel features and a mimic of its width. The stored record is of speech-mini@FOLDER.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from lib.corpora import of_task, shown
from lib.records import made, ratio, record

import sottovoce as sv
from sottovoce.exporting.precision import groups_of, quantize_nodes
from sottovoce.files import working_in
from sottovoce.measurement import select
from sottovoce.models.heads import with_head
from sottovoce.models.teachers import teacher_folder
from sottovoce.runtimes.graph import Graph
from sottovoce.runtimes.onnx_file import write_onnx
from sottovoce.runtimes.session import OpenVinoSession, Session, batch_of
from sottovoce.timing import in_turns, thread_count

NEEDS = {"speech": "speech-mini@FOLDER"}
MODEL, ORIGINAL, BASE = "small-melhubert-keywords", "small-hubert", "hubert-base"
POSITIONS: tuple[bool | int, ...] = (31, True, 9)
STEPS, TASK_STEPS, BATCH, WIDTH = 1500, 600, 32, 192
SECONDS, ROUNDS = (1.0, 10.0), 25


def mimic_of(positional: bool | int, data: Any, folder: Path) -> Any:
    """A trained mimic, from the folder where it is there."""
    place = folder / f"mimic-{positional}"
    if not place.is_dir():
        shape = {"kind": "transformer", "layers": 1, "width": WIDTH, "positional": positional}
        options: dict[str, Any] = {"train": {"steps": STEPS}, "task_train": {"steps": TASK_STEPS}, "batch": BATCH}
        with working_in(folder / f"work-{positional}"):
            sv.save(sv.mimic(sv.load(MODEL), data, shape=shape, task="keywords", **options), place)
    return sv.load(str(place))


def accuracy(model: Any, data: Any) -> dict[str, float]:
    """What the exported file says of the test split."""
    with tempfile.TemporaryDirectory() as place:
        rows = sv.export(model, "onnx", Path(place, "onnx"), data=data).measurements
    (row,) = [row for row in select(rows, "accuracy") if row.where["runtime"] == "onnx"]
    return {"accuracy": row.value, "error": row.error or 0.0, "n": float(row.n)}


def plain(model: Any) -> Callable[[np.ndarray], Any]:
    """A pass as Hugging Face's users make it."""
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)

    def run(piece: np.ndarray) -> Any:
        with torch.inference_mode():
            return model(extractor(piece, sampling_rate=16_000, return_tensors="pt").input_values)

    return run


def ways_of(name: str, model: Any, folder: Path, *, int8: bool) -> dict[str, Callable[[np.ndarray], Any]]:
    """A model in every runtime."""
    (place := folder / name.replace(" ", "-")).mkdir()
    graph, path = Graph(model), place / "fp32.onnx"
    write_onnx(graph, path)
    sessions: dict[str, Any] = {"onnxruntime": Session(path, threads=1), "openvino": OpenVinoSession(path, threads=1)}
    if int8:
        quantize_nodes(path, place / "int8.onnx", sum(groups_of(graph, path).values(), []), [])
        sessions["onnxruntime int8"] = Session(place / "int8.onnx", threads=1)
    return {f"{name}, {kind}": lambda piece, one=one: one.run(batch_of([piece])) for kind, one in sessions.items()}


def base_chain(positional: bool | int) -> Any:
    """Log-mel features and a mimic where hubert-base has seven convolutions and twelve layers."""
    model = sv.new(BASE)
    sv.edits.use_log_mel(model)
    sv.edits.use_mimic(model, layers=1, kind="transformer", width=768, positional=positional)
    return with_head(model, "ForSequenceClassification", [str(label) for label in range(35)]).eval()


def times(ways: dict[str, Callable[[np.ndarray], Any]], whole: str, rounds: int) -> dict[str, Any]:
    """How many times as fast as the original each way is."""
    found: dict[str, Any] = {}
    for seconds in SECONDS:
        piece = np.random.default_rng(0).standard_normal(round(seconds * 16_000)).astype(np.float32)
        runs = {name: lambda way=way, piece=piece: way(piece) for name, way in ways.items()}
        with thread_count(1):
            taken = in_turns(runs, rounds=rounds)
        for name in ways:
            found.setdefault(name, {})[f"{seconds:g} s"] = ratio(taken, whole, name)
    return found


def main(corpus: str, folder: str = "runs/deployed", rounds: int = ROUNDS) -> None:
    """Scores of the small ones, and times of all."""
    data, rows = of_task(corpus, "keywords"), made("deployed", teacher=MODEL)
    Path(folder).mkdir(parents=True, exist_ok=True)
    small = {f"mimic, {positional}": mimic_of(positional, data, Path(folder)) for positional in POSITIONS}
    small["teacher"] = sv.load(MODEL)
    for name, model in small.items():
        if name not in rows.get("scores", {}):
            cost = {"macs": sv.macs(model, seconds=1.0)[0].value, "parameters": sv.size(model)[0].value}
            rows.setdefault("scores", {})[name] = {**accuracy(model, data), **cost}
    with tempfile.TemporaryDirectory() as place:
        original = plain(transformers.HubertModel.from_pretrained(teacher_folder(ORIGINAL)).eval())
        ways = {f"{ORIGINAL}, Hugging Face": original}
        for name, model in small.items():
            ways |= ways_of(name, model, Path(place), int8=False)
        rows["small"] = times(ways, f"{ORIGINAL}, Hugging Face", rounds)
        ways = {f"{BASE}, Hugging Face": plain(sv.new(BASE).eval())}
        for positional in (True, 31):
            ways |= ways_of(f"base mimic, {positional}", base_chain(positional), Path(place), int8=True)
        rows["base"] = times(ways, f"{BASE}, Hugging Face", rounds)
    command = f"python benchmarks/deployed.py {shown(corpus)}"
    record("deployed", rows, command=command, teacher=MODEL, rounds=rounds, steps=STEPS, task_steps=TASK_STEPS)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:4]))
