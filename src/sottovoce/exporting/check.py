"""The check of what was exported: the same outputs as in PyTorch, the same score, and how fast and how large it is."""

import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.errors import SottovoceError
from sottovoce.exporting.hearing import Speech, scored, wanted_of
from sottovoce.exporting.order import Order, Precision, Run, Said
from sottovoce.measurement import Measurement
from sottovoce.progress import bar
from sottovoce.runtimes.graph import Graph
from sottovoce.runtimes.pytorch import in_pytorch
from sottovoce.tasks.kinds import Score
from sottovoce.timing import in_turns, quartiles, thread_count

# How far outputs may be from PyTorch's: the root of the summed squares of what is between them, in parts of PyTorch's
# own about their mean. Rounding is far below, a wrong front end or a cut weight far above.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.25}
HOLDS = 0.01  # of a score: what may be lost
TOGETHER = 4  # utterances in a padded batch
LENGTHS = (1.0, 10.0)
ROUNDS = 7
TORCH = "pytorch"


class Disagreement(SottovoceError):
    """What was exported does not say what the model says.

    Example:
        >>> raise Disagreement("its outputs are off by 0.3; 0.001 is allowed.")
        Traceback (most recent call last):
        sottovoce.exporting.check.Disagreement: its outputs are off by 0.3; 0.001 is allowed.
    """


@dataclass(frozen=True)
class Judgement:
    """How an exported model compares with PyTorch on the same speech.

    Args:
        distances: for each output, how far the two are apart.
        agreement: the share of frames, or of utterances, of which both say the same first.
        scores: the task's score of PyTorch and of the export, where the speech has answers.

    Example:
        >>> Judgement({"logits": 0.5}, 1.0, None).worst
        0.5
    """

    distances: dict[str, float]
    agreement: float | None
    scores: tuple[Score, Score] | None

    @property
    def worst(self) -> float:
        """The largest distance; infinite where an output holds NaN."""
        return max(value if value == value else float("inf") for value in self.distances.values())

    @property
    def lost(self) -> float:
        """How much of the score was lost; 0 without one."""
        if self.scores is None:
            return 0.0
        ours, theirs = self.scores
        return (ours.value - theirs.value) * (1 if ours.better == "higher" else -1)

    def fault(self, precision: Precision) -> str | None:
        """What is wrong, if something is."""
        if not self.worst <= TOLERANCE[precision]:
            name = max(self.distances, key=lambda key: np.nan_to_num(self.distances[key], nan=np.inf))
            return f"{name} is off by {self.worst:.2g} of its spread, and {TOLERANCE[precision]:g} is allowed"
        if self.lost > HOLDS:
            ours, theirs = self.scores or (None, None)
            assert ours is not None and theirs is not None
            return f"{ours.metric.replace('_', ' ')} goes from {ours.value:.4g} to {theirs.value:.4g}"
        return None


@dataclass(frozen=True)
class Judge:
    """PyTorch's outputs on some speech, to compare exports with.

    Example:
        >>> judge = Judge.of(order, graph, speech_for(order))
        >>> judge(run).worst < 1e-3
        True
    """

    order: Order
    graph: Graph
    speech: Speech
    wanted: Said
    score: Score | None

    @classmethod
    def of(cls, order: Order, graph: Graph, speech: Speech) -> "Judge":
        """Hear the speech in PyTorch."""
        wanted = wanted_of(order.model)(speech.audio)
        return cls(order, graph, speech, wanted, scored(order, graph, speech, wanted))

    def __call__(self, run: Run, *, limit: int | None = None) -> Judgement:
        """Hear the same speech in a runtime, in padded batches, and compare."""
        said: Said = []
        audio = self.speech.audio[:limit]
        for start in range(0, len(audio), TOGETHER):
            said += run(audio[start : start + TOGETHER])
        wanted = self.wanted[: len(audio)]
        distances = {name: distance(said, wanted, name) for name in wanted[0]}
        agreement = None if self.graph.gives in ("states", "embedding") else agreed(said, wanted)
        whole = self.score is not None and limit is None
        found = scored(self.order, self.graph, self.speech, said) if whole else None
        scores = (self.score, found) if self.score is not None and found is not None else None
        return Judgement(distances, agreement, scores)


def distance(said: Said, wanted: Said, name: str) -> float:
    """How far the one is from the other, in parts of the other's spread about its mean; over all utterances.

    Example:
        >>> distance([{"x": np.array([1.0, 3.1])}], [{"x": np.array([1.0, 3.0])}], "x")
        0.0707...
    """
    shapes = {(row[name].shape, other[name].shape) for row, other in zip(said, wanted, strict=True)}
    if any(first != second for first, second in shapes):
        return float("inf")
    ours = np.concatenate([row[name].ravel() for row in wanted]).astype(np.float64)
    theirs = np.concatenate([row[name].ravel() for row in said]).astype(np.float64)
    spread = np.linalg.norm(ours - ours.mean())
    return float(np.linalg.norm(theirs - ours) / max(spread, 1e-12))


def agreed(said: Said, wanted: Said) -> float:
    """The share of frames, or of utterances, whose largest output is the same.

    Example:
        >>> agreed([{"logits": np.array([1.0, 2.0])}], [{"logits": np.array([0.0, 9.0])}])
        1.0
    """
    name = next(iter(wanted[0]))
    same = [
        np.atleast_1d(row[name].argmax(-1) == other[name].argmax(-1)) for row, other in zip(said, wanted, strict=True)
    ]
    return float(np.concatenate(same).mean())


def rows_of(judgement: Judgement, order: Order, runtime: str) -> Iterator[Measurement]:
    """What a judgement says, as measurements."""
    place = {"runtime": runtime, "precision": order.precision}
    for name, value in judgement.distances.items():
        yield Measurement("export", "distance", value, "of the spread", "lower", {**place, "output": name})
    if judgement.agreement is not None:
        yield Measurement("export", "agreement", judgement.agreement, "", "higher", place)
    for where, score in zip(({"runtime": TORCH}, place), judgement.scores or (), strict=False):
        yield Measurement("export", score.metric, score.value, "", score.better, where, score.n, score.error)


def times(order: Order, graph: Graph, speech: Speech, runs: dict[int, Run], runtime: str) -> list[Measurement]:
    """The latency of PyTorch and of the runtime, from samples to outputs, in turns; `runs` by number of threads.

    Example:
        >>> times(order, graph, speech, {1: run}, "onnxruntime")[0].metric
        'latency'
    """
    rows: list[Measurement] = []
    model = torch_pass(order.model)
    whole = np.concatenate(speech.audio)
    lengths = LENGTHS if order.seconds is None else (order.seconds,)
    functions: dict[tuple[str, int, float], Any] = {}
    for threads, run in runs.items():
        for seconds in lengths:
            piece = np.resize(whole, round(seconds * 16_000))
            functions[TORCH, threads, seconds] = partial(model, piece, threads)
            functions[runtime, threads, seconds] = partial(run, [order.fitted(piece)])
    with bar("timing in turns", len(functions) * (ROUNDS + 1)) as tick:
        taken = in_turns(functions, rounds=ROUNDS, warm_up=1, tick=tick)
    for (name, threads, seconds), spent in taken.items():
        low, high = quartiles(spent)
        where = {"runtime": name, "threads": threads, "seconds": seconds}
        rows.append(
            Measurement(
                "export", "latency", statistics.median(spent), "s", "lower", where, len(spent), (high - low) / 2
            )
        )
    return rows


def torch_pass(model: Any) -> Any:
    """A pass of a model from samples to outputs on so many threads, as sottovoce itself makes it."""
    run = in_pytorch(model)

    def one(piece: np.ndarray, threads: int) -> None:
        with thread_count(threads):
            run(piece)

    return one


def thread_counts() -> tuple[int, ...]:
    """One thread, and as many as there are cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (1,) if cores == 1 else (1, cores)


def bytes_in(folder: Path) -> int:
    """The bytes of a folder's files.

    Example:
        >>> bytes_in(Path("nothing"))
        0
    """
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
