"""Timing any callables in turns, and comparing them pairwise: what else the machine does falls on all alike."""

import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from sottovoce.errors import SottovoceError

K = TypeVar("K")
CPU = torch.device("cpu")


def in_turns(
    functions: Mapping[K, Callable[[], Any]],
    *,
    rounds: int,
    warm_up: int = 3,
    devices: Mapping[K, torch.device] | None = None,
    tick: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[K, list[float]]:
    """Seconds of each function in each round; every second round runs them in the opposite order.

    `devices` says which functions work on an accelerator; `tick` is called after every run, warm-up included; `clock`
    is that of functions on CPU.

    Example:
        >>> times = in_turns({"sum": lambda: sum(range(9)), "max": lambda: max(range(9))}, rounds=5)
        >>> len(times["sum"])
        5
    """
    times: dict[K, list[float]] = {name: [] for name in functions}
    for number in range(warm_up + rounds):
        names = list(functions) if number % 2 else list(functions)[::-1]
        for name in names:
            taken = seconds_of(functions[name], (devices or {}).get(name, CPU), clock)
            if number >= warm_up:
                times[name].append(taken)
            tick()
    return times


def seconds_of(
    function: Callable[[], Any], device: torch.device = CPU, clock: Callable[[], float] = time.perf_counter
) -> float:
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
    begin = clock()
    function()
    synchronize(device)
    return clock() - begin


def synchronize(device: torch.device) -> None:
    """Wait for what was sent to an accelerator.

    Example:
        >>> synchronize(torch.device("cpu"))
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """So many threads inside; as many as there were if None.

    Example:
        >>> with thread_count(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    if threads is not None:
        # Far more than the machine has cores only slow it down, and some thousands end the process.
        most = max(64, 8 * (os.cpu_count() or 1))
        if not 1 <= threads <= most:
            raise SottovoceError(f"threads={threads}, but 1 to {most} are possible here; give one of these.")
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_name(device: torch.device = CPU) -> str:
    """What a device is called, for times that hold on such a one alone.

    Example:
        >>> device_name()  # doctest: +SKIP
        'AMD EPYC, AVX512'
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    # Linux says it in a file of its own.
    with suppress(OSError, StopIteration), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = f"{name}, {torch.backends.cpu.get_cpu_capability()}"
    return name if device.type == "cpu" else f"{device.type} of {name}"


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
