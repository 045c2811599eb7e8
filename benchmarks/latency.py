"""How well the latency model of learned pruning foretells times on this machine: one thread, batch 1, 1 s and 10 s.

python benchmarks/latency.py

A row for small-hubert and for the same with 144 channels in each convolution, at each length. `parts` and `wholes` are
median relative errors on held-out shapes. `models` are ten further cuts at random channels, heads, units, hidden sizes
and layers, timed in turns (lower quartiles of what the thread itself computed): the rank correlation of foretold and
measured times, their errors, and the same for times in proportion to multiply-accumulates. `odd channels` are such cuts
at channels that are no multiples.

Where one activation takes some 20 MB (144 channels at 10 s), glibc hands memory back after a pass in some processes and
keeps it in others, and the same pass takes 120 or 150 ms: errors there are mostly of that.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lib.records import record
from scipy.stats import spearmanr

import sottovoce as sv
from sottovoce.gates.latency import LatencyModel, Setting, latency_model
from sottovoce.gates.latency_design import MULTIPLE, cut, on_pytorch, typical
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.counting import macs_by_part
from sottovoce.models.widths import widths_of

NEEDS = {"nothing": ""}
CUTS, SEED = 10, 100  # the latency models draw theirs from other seeds


def main() -> None:
    """Measure and store."""
    torch.set_num_threads(1)
    wide = sv.load("small-hubert")
    sv.edits.use_channels(wide, [144] * 7)
    models = {"small-hubert": sv.load("small-hubert"), "small-hubert, 144 channels": wide}
    rows: dict[str, Any] = {}
    for name, model in models.items():
        for seconds in (1.0, 10.0):
            setting = Setting(seconds=seconds, threads=1)
            begin = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                latency = latency_model(model, setting, folder=Path(folder))
            rows[f"{name}, {seconds:g} s"] = {
                "made in, s": round(time.perf_counter() - begin, 1),
                "parts": latency.held_out,
                "wholes": latency.held_out_whole,
                "models": compared(latency, model, MULTIPLE),
                "odd channels": compared(latency, model, 1),
            }
    record("latency", rows)


def compared(latency: LatencyModel, model: Any, multiple: int) -> dict[str, Any]:
    """Foretold beside measured times of random cuts, which the latency model has not seen."""
    source, samples = random.Random(SEED), latency.setting.samples
    cuts = [cut(model, source, multiple=multiple) for _ in range(CUTS)]
    full = cut(model, source, full=True)
    inputs = tuple(Anatomy(model).dummy_inputs(latency.setting.seconds).values())
    times = on_pytorch({index: (small, inputs) for index, small in enumerate((*cuts, full))})
    measured = [typical(taken) for taken in times.values()]
    macs = [sum(macs_by_part(widths_of(small), samples).values()) for small in (*cuts, full)]
    ways = {
        "latency model": [latency(widths_of(small)) for small in cuts],
        "multiply-accumulates": [measured[-1] * count / macs[-1] for count in macs[:-1]],
    }
    rows: dict[str, Any] = {"measured, ms": [round(1e3 * seconds, 3) for seconds in measured]}
    for way, foretold in ways.items():
        misses = [guess / seconds - 1 for guess, seconds in zip(foretold, measured[:-1], strict=True)]
        correlation: Any = spearmanr(foretold, measured[:-1])
        rows[way] = {
            "spearman": float(correlation.statistic),
            "median error": statistics.median(map(abs, misses)),
            "largest error": max(map(abs, misses)),
            "mean of signed errors": statistics.mean(misses),
        }
    return rows


if __name__ == "__main__":
    main()
