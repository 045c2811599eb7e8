"""Timing any callables in turns, and comparing them pairwise: what else the machine does falls on all alike."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

K = TypeVar("K")
CPU = torch.device("cpu")


def in_turns(
    functions: Mapping[K, Callable[[], Any]],
    *,
    rounds: int,
    warm_up: int = 3,
    devices: Mapping[K, torch.device] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> dict[K, list[float]]:
    """Seconds of each function in each round; every second round runs them in the opposite order.

    `devices` says which functions work on an accelerator; `tick` is called after every run, warm-up included.

    Example:
        >>> times = in_turns({"sum": lambda: sum(range(9)), "max": lambda: max(range(9))}, rounds=5)
        >>> len(times["sum"])
        5
    """
    times: dict[K, list[float]] = {name: [] for name in functions}
    for number in range(warm_up + rounds):
        names = list(functions) if number % 2 else list(functions)[::-1]
        for name in names:
            taken = seconds_of(functions[name], (devices or {}).get(name, CPU))
            if number >= warm_up:
                times[name].append(taken)
            tick()
    return times


def seconds_of(function: Callable[[], Any], device: torch.device = CPU) -> float:
    """Seconds of one call, by events on a GPU and by the clock elsewhere.

    Example:
        >>> seconds_of(lambda: None) < 1.0
        True
    """
    if device.type == "cuda":
        with torch.cuda.device(device):  # events are of the current device's stream
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            function()
            end.record()
            torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1000.0
    begin = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - begin


def synchronize(device: torch.device) -> None:
    """Wait for what was sent to an accelerator.

    Example:
        >>> synchronize(torch.device("cpu"))
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass(frozen=True)
class Ratio:
    """The median over rounds of one time over another, with its 95 % interval.

    Example:
        >>> Ratio(0.5, 0.4, 0.6, rounds=9).high
        0.6
    """

    median: float
    low: float
    high: float
    rounds: int


def ratio(new: Sequence[float], old: Sequence[float], *, draws: int = 2000) -> Ratio:
    """The median over rounds of `new / old`, with the 95 % interval of a bootstrap over rounds.

    Example:
        >>> ratio([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
        Ratio(median=0.5, low=0.5, high=0.5, rounds=3)
    """
    pairs = [a / b for a, b in zip(new, old, strict=True)]
    source = random.Random(0)
    medians = sorted(statistics.median(source.choices(pairs, k=len(pairs))) for _ in range(draws))
    low, high = medians[int(0.025 * draws)], medians[int(0.975 * draws)]
    return Ratio(statistics.median(pairs), low, high, len(pairs))


def quartiles(times: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile; of a single time, that time.

    Example:
        >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
        (2.0, 4.0)
    """
    if len(times) == 1:
        return times[0], times[0]
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, high
