"""How fast a model runs here: latency, real-time factor, and where the time goes."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.measurement import Measurement
from sottovoce.measures.memory import peak_bytes
from sottovoce.measures.parts import Part, modules_by_part
from sottovoce.measures.places import COST, place
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.front_end import SAMPLE_RATE, SHIFT, WINDOW, LogMel
from sottovoce.models.modes import evaluating
from sottovoce.registry import register_measure
from sottovoce.runtimes.session import opened
from sottovoce.timing import CPU, in_turns, quartiles, synchronize, thread_count

MOST = 10_000  # passes


@register_measure("speed", shown=COST, alone=lambda options: True)
def speed(
    model: Any,
    data: Any = None,
    *,
    seconds: float = 10.0,
    batch: int = 1,
    repeats: int = 9,
    warm_up: int = 2,
    threads: int | None = None,
    runtime: Literal["pytorch", "onnxruntime", "openvino", "executorch"] = "pytorch",
) -> list[Measurement]:
    """Latency (median, and quartiles), real-time factor and peak bytes, and the median time of each part.

    `n` is the number of timed passes; `error` is half the distance between the quartiles. In another `runtime` than
    PyTorch it is the model as `sottovoce export` writes it, its front end inside, and nothing is told of parts.

    Example:
        >>> speed(model, seconds=2, repeats=5)[0].metric
        'latency'
    """
    timing: dict[str, Any] = {"repeats": repeats, "warm_up": warm_up, "threads": threads, "runtime": runtime}
    rows = compare([model], seconds=seconds, batch=batch, **timing)[0]
    if runtime != "pytorch":
        return [replace(row, where={"runtime": runtime}) for row in rows]
    with thread_count(threads):
        inputs = noise(model, seconds, batch)
        rows.append(Measurement("speed", "peak_bytes", peak_bytes(model, inputs), "bytes", "lower"))
        for where, value in time_parts(model, inputs, repeats=max(1, repeats // 3)).items():
            rows.append(Measurement("speed", "latency", value, "s", "lower", place(where), n=max(1, repeats // 3)))
    return rows


def compare(
    models: Sequence[Any],
    *,
    seconds: float = 10.0,
    batch: int = 1,
    repeats: int = 9,
    warm_up: int = 2,
    threads: int | None = None,
    runtime: Literal["pytorch", "onnxruntime", "openvino", "executorch"] = "pytorch",
    tick: Callable[[], None] = lambda: None,
) -> list[list[Measurement]]:
    """Time several models in turns, so that what else the machine does falls on all of them alike.

    Example:
        >>> before, after = compare([model, small], seconds=2)
    """
    if not seconds > 0 or batch < 1 or not 1 <= repeats <= MOST or not 0 <= warm_up <= MOST:
        raise SottovoceError(
            f"seconds={seconds}, batch={batch}, repeats={repeats}, warm_up={warm_up}: give a length above 0, a batch "
            f"of 1 or more, repeats from 1 and a warm-up from 0, both to {MOST}."
        )
    devices = {index: place_of(model) for index, model in enumerate(models)}
    passes: dict[int, Callable[[], Any]] = {}
    with thread_count(threads):
        for index, model in enumerate(models):
            given = noise(model, seconds, batch)
            passes[index] = partial(model, **given)
            if runtime != "pytorch":
                passes[index] = opened(model, runtime, seconds, batch, torch.get_num_threads())
                devices[index] = CPU
    with thread_count(threads), evaluating(*models), torch.inference_mode():
        times = in_turns(passes, rounds=repeats, warm_up=warm_up, devices=devices, tick=tick)
        used = torch.get_num_threads()
    audio = seconds * batch
    return [list(summary(taken, audio, used, batch)) for taken in times.values()]


def noise(model: Any, seconds: float, batch: int) -> dict[str, torch.Tensor]:
    """Random inputs of a model's kind, or of log-mel features', on its device.

    Example:
        >>> noise(LogMel(), 1.0, 2)["input_values"].shape
        torch.Size([2, 16000])
    """
    if not isinstance(model, LogMel):
        return Anatomy(model).dummy_inputs(seconds, batch=batch)
    samples = round(seconds * SAMPLE_RATE) if seconds < float("inf") else 0
    if samples < WINDOW + (model.stack - 1) * SHIFT:
        raise SottovoceError(f"{seconds:g} s make no frame of log-mel features; give another length.")
    made = torch.randn((batch, samples), generator=torch.Generator().manual_seed(0))
    return {"input_values": made.to(place_of(model))}


def place_of(model: nn.Module) -> torch.device:
    """The device of a model; log-mel features have buffers alone."""
    return next(iter((*model.parameters(), *model.buffers()))).device


def summary(times: list[float], audio: float, threads: int, batch: int) -> Iterator[Measurement]:
    """The measurements of one model's passes."""
    median = statistics.median(times)
    low, high = quartiles(times)
    n = len(times)
    common: dict[str, Any] = {"better": "lower", "n": n}
    yield Measurement("speed", "latency", median, "s", error=(high - low) / 2, **common)
    yield Measurement("speed", "latency_first_quartile", low, "s", **common)
    yield Measurement("speed", "latency_third_quartile", high, "s", **common)
    yield Measurement("speed", "real_time_factor", median / audio, "s/s", error=(high - low) / 2 / audio, **common)
    yield Measurement("speed", "threads", threads, "threads")
    yield Measurement("speed", "batch", batch, "utterances")


def time_parts(model: Any, inputs: dict[str, torch.Tensor], *, repeats: int = 3) -> dict[Part, float]:
    """The median seconds of each part, from passes with a clock around every module.

    What one part holds of another is taken off: attention without its projections is its products.
    """
    device = place_of(model)
    parts: dict[int, tuple[Any, list[Part]]] = {}
    for where, module in modules_by_part(model):
        parts.setdefault(id(module), (module, []))[1].append(where)
    passes = []
    with evaluating(model), torch.inference_mode():
        model(**inputs)
        for _ in range(repeats):
            passes.append(one_pass(model, inputs, parts, device))
    return {where: statistics.median(times[where] for times in passes) for where in passes[0]}


def one_pass(model: Any, inputs: Any, parts: dict[int, tuple[Any, list[Part]]], device: Any) -> dict[Part, float]:
    """The seconds of each part in one pass."""
    spent: dict[Part, float] = {where: 0.0 for _, places in parts.values() for where in places}
    calls = dict.fromkeys(parts, 0)
    open_parts: list[list[float]] = []  # for each module that runs: when it began, and what its parts took

    def begin(module: Any, args: Any) -> None:
        synchronize(device)
        open_parts.append([time.perf_counter(), 0.0])

    def end(module: Any, args: Any, result: Any) -> None:
        synchronize(device)
        began, inner = open_parts.pop()
        whole = time.perf_counter() - began
        places = parts[id(module)][1]
        # A module that several steps share is met once a step, in order.
        spent[places[calls[id(module)] % len(places)]] += whole - inner
        calls[id(module)] += 1
        if open_parts:
            open_parts[-1][1] += whole

    handles = []
    for module, _ in parts.values():
        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        start = time.perf_counter()
        model(**inputs)
        synchronize(device)
        spent[("other",)] = max(0.0, time.perf_counter() - start - sum(spent.values()))
    finally:
        for handle in handles:
            handle.remove()
    return spent
