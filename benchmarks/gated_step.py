"""A training step with gates against the same step without, and twenty of them on a base-size model.

python benchmarks/gated_step.py

All kinds of units that `prune_jointly` gates in paper 3 are gated, and everything learns. The gated model is kept near
whole by a low rate: a step's time is to be that of the gates, and not of what they take away. The twenty steps run in a
process of their own, whose largest memory is taken.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lib.records import ratio, record
from step import PLAIN, Audio, Fixed, Mean

import sottovoce as sv
from sottovoce.gates.hooks import gated
from sottovoce.gates.objective import Gated, Gating
from sottovoce.gates.targets import Shares, targets_of
from sottovoce.gates.units import sites_of
from sottovoce.gates.vectors import Gates
from sottovoce.timing import in_turns
from sottovoce.training import Training, train

NEEDS = {"nothing": ""}
UNITS = ["conv", "heads", "ffn", "hidden"]
PASSIVE: dict[str, Any] = {"layerdrop": 0.0, "mask_time_prob": 0.0, **PLAIN}
STEPS, ROUNDS = 4, 12
BASE_STEPS, BASE_BATCH, BASE_SECONDS = 20, 4, 4
SETTINGS = Training(steps=STEPS, lr=1e-6)


def noise(count: int, seconds: int) -> Fixed:
    """A batch of as many recordings."""
    generator = torch.Generator().manual_seed(0)
    return Fixed(Audio(torch.randn(count, 16_000 * seconds, generator=generator)))


@contextmanager
def with_gates(model: Any) -> Iterator[Gated]:
    """The objective of a model with gates on it."""
    sites = sites_of(model, UNITS)
    gates = Gates(sites, seed=0)
    with gated(model, sites, gates):
        yield Gated(Mean(model), gates, Shares(model, targets_of("macs:-40%")), Gating(lr=1e-6, multiplier_lr=1e-6))


def wide() -> Any:
    """The shape of small-hubert-wide, without dropout."""
    teacher = sv.load("small-hubert-wide")
    for name, value in PASSIVE.items():
        setattr(teacher.config, name, value)
    return type(teacher)(teacher.config)


def compared(batch: Fixed) -> dict[str, Any]:
    """The time of steps with gates over that of steps without, in turns."""
    plain, other = (wide() for _ in range(2))
    with with_gates(other) as objective:
        functions = {
            "plain": lambda: train(Mean(plain), batch, SETTINGS),
            "plain_again": lambda: train(Mean(plain), batch, SETTINGS),
            "gated": lambda: train(objective, batch, SETTINGS),
        }
        times = in_turns(functions, rounds=ROUNDS, warm_up=1)
    return {new: ratio(times, new, "plain") for new in ("plain_again", "gated")}


def base() -> None:
    """Twenty gated steps of a base-size model, told on standard output."""
    with with_gates(sv.new("hubert-base", **PASSIVE)) as objective:
        begin = time.perf_counter()
        train(objective, noise(BASE_BATCH, BASE_SECONDS), Training(steps=BASE_STEPS, lr=1e-6))
        seconds = time.perf_counter() - begin
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    print(json.dumps({"seconds": seconds, "peak_gb": largest * (1 if sys.platform == "darwin" else 1024) / 1e9}))


def main() -> None:
    """Both."""
    rows: dict[str, Any] = {
        "small-hubert-wide, 16 x 1 s": compared(noise(16, 1)),
        "small-hubert-wide, 4 x 4 s": compared(noise(4, 4)),
    }
    done = subprocess.run([sys.executable, __file__, "base"], check=True, capture_output=True, text=True)
    about = {"steps": BASE_STEPS, "batch": f"{BASE_BATCH} x {BASE_SECONDS} s"}
    rows["hubert-base, random weights"] = about | json.loads(done.stdout.splitlines()[-1])
    record("gated_step", rows)


if __name__ == "__main__":
    base() if sys.argv[1:] == ["base"] else main()
