"""How fast pretraining is: seconds of audio a second, and the share of what the processor can do.

python benchmarks/pretraining.py [SHAPE ...]

One step of masked prediction (forward, backward, optimiser) on a batch of noise, in ways that are run in turns. The
operations of a step are counted by torch; what the processor can do is the rate of one product of large matrices in the
same precision, measured in the same turns.
"""

import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lib.records import ratio, record
from torch.utils.flop_counter import FlopCounterMode

import sottovoce as sv
from sottovoce.models.encoder import Encoder
from sottovoce.pretraining.objective import Masked
from sottovoce.tasks.batch import Batch
from sottovoce.timing import in_turns
from sottovoce.training import Training, best_device
from sottovoce.training.optimizers import make_optimizers
from sottovoce.training.precision import DTYPES, half_precision

NEEDS = {"nothing": ""}
SECONDS, UTTERANCES, UNITS = 4.0, 12, 500
SIZE = 2048  # of the matrices that show the processor's rate
# Precision, optimiser, and whether attention runs as the loop has it (`half`) or as the precision alone would.
WAYS = {
    "fp32, AdamW": ("fp32", "adamw", True),
    "bf16, AdamW, fused attention": ("bf16", "adamw", False),
    "bf16, AdamW": ("bf16", "adamw", True),
    "bf16, Muon": ("bf16", "muon", True),
}


def step_of(shape: str, precision: Any, optimizer: Any, loops: bool, device: torch.device) -> Callable[[], None]:
    """One update as the training loop does it."""
    model = sv.new(shape, **{f"{name}_dropout": 0.0 for name in ("hidden", "attention", "activation", "feat_proj")})
    encoder = Encoder(model, outputs=True)
    rng = np.random.default_rng(0)
    audio = [rng.standard_normal(int(16_000 * SECONDS)).astype(np.float32) for _ in range(UTTERANCES)]
    frames = encoder.frames(len(audio[0]))
    targets = tuple(torch.from_numpy(rng.integers(0, UNITS, frames)) for _ in audio)
    batch = Batch(encoder.inputs(audio), torch.full((UTTERANCES,), frames), targets).to(device)
    objective = Masked(model, UNITS, share=0.8, span=10).to(device).train()
    optimizers = make_optimizers(objective, Training(optimizer=optimizer, lr=1e-4))

    def step() -> None:
        if loops:
            with half_precision(objective, device, precision):
                loss, count = objective(batch)
        else:
            with torch.autocast(device.type, DTYPES[precision]):
                loss, count = objective(batch)
        (loss / count).backward()
        for each in optimizers:
            each.step()
            each.zero_grad(set_to_none=True)
        wait(device)

    return step


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def product(precision: str, device: torch.device) -> Callable[[], None]:
    """A product of large matrices."""
    first, second = (torch.randn(SIZE, SIZE, device=device).to(DTYPES.get(precision)) for _ in range(2))

    def run() -> None:
        first @ second
        wait(device)

    return run


def main(shapes: list[str]) -> None:
    """Every way, in turns."""
    device = best_device()
    rows: dict[str, Any] = {}
    for shape in shapes:
        steps = {name: step_of(shape, *way, device) for name, way in WAYS.items()}
        operations = {}
        for name in steps:
            # Plain products are counted; of the fused kernel on a CPU, torch counts nothing.
            counted = name if "fused" not in name and "fp32" not in name else "bf16, AdamW"
            with FlopCounterMode(display=False) as counter:
                steps[counted]()
            operations[name] = counter.get_total_flops()
        products = {f"product {precision}": product(precision, device) for precision in ("fp32", "bf16")}
        times = in_turns({**steps, **products}, rounds=15)
        rates = {name: 2 * SIZE**3 / statistics.median(times[name]) for name in products}
        for name, (precision, _, _) in WAYS.items():
            middle = statistics.median(times[name])
            rows[f"{shape}, {name}"] = {
                **ratio(times, name, "fp32, AdamW"),
                "audio_s_per_s": UTTERANCES * SECONDS / middle,
                "operations_per_step": operations[name],
                "operations_per_s": operations[name] / middle,
                "matrix_rate": rates[f"product {precision}"],
                "share": operations[name] / middle / rates[f"product {precision}"],
            }
    about = {"device": device.type, "batch": f"{UTTERANCES} x {SECONDS:g} s"}
    record("pretraining" + ("" if device.type == "cpu" else f"_{device.type}"), rows, **about)


if __name__ == "__main__":
    main(sys.argv[1:] or ["small-melhubert", "small-hubert"])
