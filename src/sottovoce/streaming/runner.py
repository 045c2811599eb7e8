"""What hears a window: a model in PyTorch, or a folder that was exported for ONNX Runtime or OpenVINO."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.errors import SottovoceError
from sottovoce.exporting.onnx import CONFIG, FORMAT, LABELS, unit_of
from sottovoce.exporting.openvino import FILE
from sottovoce.files import parse_json, read_json, read_text
from sottovoce.models.encoder import Encoder
from sottovoce.models.heads import head_labels
from sottovoce.models.modes import evaluating
from sottovoce.runtimes.graph import gives
from sottovoce.runtimes.pytorch import in_pytorch
from sottovoce.runtimes.session import OpenVinoSession, Session, batch_of
from sottovoce.tasks.kinds import BLANK, DELIMITER
from sottovoce.timing import thread_count


@dataclass(frozen=True)
class Runner:
    """Something that says what it hears in a piece of audio.

    Args:
        run: samples at 16 kHz to outputs by name; of those over time only its own frames.
        gives: what these are (`runtimes.graph.Gives`).
        labels: of its head.
        field: the samples that a frame sees.
        shift: the samples between two frames.
        unit: windows begin at multiples of so many frames.

    Example:
        >>> runner_of(model).shift
        320
    """

    run: Callable[[np.ndarray], dict[str, np.ndarray]]
    gives: str
    labels: tuple[str, ...]
    field: int
    shift: int
    unit: int = 1


def runner_of(model: Any, *, threads: int | None = None) -> Runner:
    """A model, or the path of an exported folder, as something that hears windows.

    Example:
        >>> runner_of("keywords-onnx").gives  # doctest: +SKIP
        'classes'
    """
    if isinstance(model, str | Path):
        return in_folder(Path(model), threads=threads)
    encoder = Encoder(model, outputs=True)
    if encoder.body is None or encoder.body.family.mel_input:
        what = "log-mel features say nothing" if encoder.body is None else "Whisper hears windows of 30 s of its own"
        raise SottovoceError(f"{what}; give a model with a head for text, classes or frames, or an encoder.")
    if gives(model) == "states" and unit_of(model) > 1:
        raise SottovoceError("SEW's layers run at half the rate of its frames; give a model with a head.")
    field, shift = encoder.field()
    run = in_pytorch(model)

    def heard(piece: np.ndarray) -> dict[str, np.ndarray]:
        with evaluating(model), thread_count(threads):
            return run(piece)

    labels = head_labels(model, blank=BLANK, delimiter=DELIMITER)
    if gives(model) == "tokens" and BLANK not in labels:
        raise SottovoceError("the tokens of this model's CTC head are not known; load it with its tokenizer's files.")
    return Runner(heard, gives(model), labels, field, shift, unit_of(model))


def is_exported(place: str | Path) -> bool:
    """Whether a folder was exported for a runtime that this module can run.

    Example:
        >>> is_exported("small-hubert")
        False
    """
    config = Path(place, CONFIG)
    if not config.is_file():
        return False
    try:
        found = parse_json(read_text(config), str(config))
    except SottovoceError:
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def in_folder(folder: Path, *, threads: int | None = None) -> Runner:
    """An exported folder in its runtime.

    Example:
        >>> in_folder(Path("letters-onnx")).labels[0]  # doctest: +SKIP
        '<pad>'
    """
    if not is_exported(folder):
        raise SottovoceError(f"{folder} is no exported folder; make one with `sottovoce export MODEL --to onnx`.")
    about: dict[str, Any] = read_json(folder / CONFIG)
    if about.get("inputs") != ["waveform", "lengths"] or about.get("seconds") is not None:
        raise SottovoceError(
            f"{folder} was exported for one length, or for a program that prepares the audio itself; export the model "
            "with --to onnx."
        )
    frame = about.get("frame")
    if not isinstance(frame, dict) or not all(isinstance(frame.get(key), int) for key in ("field", "shift", "unit")):
        raise SottovoceError(f"{folder / CONFIG} says nothing of frames; export the model again.")
    labels = read_json(folder / LABELS) if (folder / LABELS).is_file() else []
    graph, kind = (folder / FILE, OpenVinoSession) if (folder / FILE).is_file() else (folder / "model.onnx", Session)
    if not graph.is_file():
        raise SottovoceError(f"{graph} is not there; export the model again.")
    session: Any = kind(graph, threads=threads or 0)
    run = partial(in_session, session, int(about.get("shortest", 1)))
    return Runner(run, about["gives"], tuple(labels), frame["field"], frame["shift"], frame["unit"])


def in_session(session: Any, shortest: int, piece: np.ndarray) -> dict[str, np.ndarray]:
    """One piece in a runtime, without the batch.

    Example:
        >>> in_session(Session(Path("model.onnx")), 400, samples)["log_probs"].shape  # doctest: +SKIP
        (49, 32)
    """
    found = session.run(batch_of([piece], shortest=shortest))
    frames = found.pop("frames", None)
    if frames is None:
        return {name: value[0] for name, value in found.items()}
    return {name: value[0, : int(frames[0])] for name, value in found.items()}
