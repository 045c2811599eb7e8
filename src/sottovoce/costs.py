"""What a model costs: parameters, multiply-accumulates, latency, memory and bytes, whole and by part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sottovoce.data.utterance import Utterance
from sottovoce.measurement import Measurement, Where, select
from sottovoce.measures.macs import macs
from sottovoce.measures.memory import peak_bytes
from sottovoce.measures.size import size
from sottovoce.measures.speed import compare, noise, speed
from sottovoce.tasks import TASKS
from sottovoce.tasks.finetune import can_score, score_head
from sottovoce.tasks.kinds import Decoding, Score
from sottovoce.timing import thread_count

Convention = Literal["total", "per_second", "superb"]
FASTER = 0.97  # of the time: what is above is no gain that anybody would notice


@dataclass(frozen=True)
class Cost:
    """The measurements of one model's cost.

    Example:
        >>> cost(sv.new("wav2vec2-base"), time=False)["parameters"]
        94371712
    """

    measurements: tuple[Measurement, ...]

    def __getitem__(self, metric: str) -> float | int:
        """The value of a metric for the whole model."""
        return self.part(metric)

    def part(self, metric: str, **where: str | int) -> float | int:
        """The value of a metric for one part, or the sum over the parts that share these coordinates.

        Example:
            >>> cost.part("macs", layer=3, part="feed_forward") < cost.part("macs", layer=3) < cost["macs"]
            True
        """
        found = [row.value for row in select(self.measurements, metric, **where) if where or not row.where]
        if not found:
            place = Where(where) if where else "the whole model"
            raise KeyError(f"no {metric} of {place}; there are: {', '.join(self.metrics)}")
        return sum(found) if where else found[0]

    def parts(self, metric: str) -> dict[Where, float | int]:
        """A metric by part of the model."""
        return {Where(row.where): row.value for row in select(self.measurements, metric) if row.where}

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are here for the whole model."""
        return tuple(dict.fromkeys(row.metric for row in self.measurements if not row.where))


def cost(
    model: Any,
    *,
    seconds: float = 10.0,
    convention: Convention = "total",
    time: bool = True,
    batch: int = 1,
    repeats: int = 9,
    threads: int | None = None,
) -> Cost:
    """What a model costs on audio of this length: `size`, `macs` and, unless `time=False`, `speed`.

    Example:
        >>> cost(sv.new("wav2vec2-base"), seconds=10, time=False)["macs"] / 1e9
        74.06...
    """
    rows = size(model) + macs(model, seconds=seconds, convention=convention)
    if time:
        rows += speed(model, seconds=seconds, batch=batch, repeats=repeats, threads=threads)
    return Cost(tuple(rows))


def cost_of_two(
    first: Any,
    second: Any,
    *,
    seconds: float = 10.0,
    convention: Convention = "total",
    batch: int = 1,
    repeats: int = 9,
    threads: int | None = None,
    runtime: Literal["pytorch", "onnxruntime", "openvino", "executorch"] = "pytorch",
    tick: Callable[[], None] = lambda: None,
) -> tuple[Cost, Cost]:
    """The costs of two models, their times taken in turns, in PyTorch or in the runtime that they are for.

    Example:
        >>> before, after = cost_of_two(model, small, seconds=1, repeats=3)
        >>> after["parameters"] < before["parameters"]
        True
    """
    timing: dict[str, Any] = {"repeats": repeats, "threads": threads, "runtime": runtime, "tick": tick}
    times = compare([first, second], seconds=seconds, batch=batch, **timing)
    costs = []
    for model, rows in zip((first, second), times, strict=True):
        with thread_count(threads):
            peak = peak_bytes(model, noise(model, seconds, batch))
        memory = Measurement("speed", "peak_bytes", peak, "bytes", "lower")
        rest = size(model) + macs(model, seconds=seconds, convention=convention)
        costs.append(Cost((*rest, *rows, memory)))
    return costs[0], costs[1]


def gain(before: Any, after: Any, data: Sequence[Utterance] | None = None, *, seconds: float = 5.0) -> str:
    """What a step brought on this machine, in a sentence: time in turns, memory, the score of the model's own head.

    Example:
        >>> gain(model, sv.quantize(model), data)  # doctest: +SKIP
        '0.61 of the time before (5 s of audio, 2 threads), 0.31 of the memory; keywords: accuracy 95.6 % before, ...'
    """
    rows = compare([before, after], seconds=seconds)
    was, now = (row[0].value for row in rows)
    threads = next(row.value for row in rows[0] if row.metric == "threads")
    sizes = [Cost(tuple(size(model)))["bytes"] for model in (before, after)]
    parts = [
        f"{now / was:.2f} of the time before ({seconds:g} s of audio, {threads:g} threads), "
        f"{sizes[1] / sizes[0]:.2f} of the memory"
    ]
    for name, first, second in scores_of_two(before, after, data):
        values = f"{100 * first.value:.1f} % before, {100 * second.value:.1f} % after (n = {second.n})"
        parts.append(f"{name}: {first.metric.replace('_', ' ')} {values}")
    if now > FASTER * was:
        parts.append("it is no faster on this machine, so it is of use for its memory alone")
    return "; ".join(parts)


def scores_of_two(before: Any, after: Any, data: Sequence[Utterance] | None) -> list[tuple[str, Score, Score]]:
    """What the own heads of two models score on the test split, by the tasks that both have a head and answers for.

    Example:
        >>> [name for name, _, _ in scores_of_two(tuned, sv.drop_layers(tuned, drop=1), data)]
        ['keywords']
    """
    found = []
    for task in TASKS.values() if data else ():
        if all(can_score(task, model, data) for model in (before, after)):
            first, second = (score_head(task, model, data or (), how=Decoding())[0] for model in (before, after))
            found.append((task.name, first, second))
    return found
