"""How long methods take on a base model (95 M parameters, random weights), beside a forward and backward pass.

python benchmarks/methods.py

What a method does beside the passes that it needs: copying the model, scoring weights, cutting. One pass is of ten
seconds of audio, forward and backward, as every update of a healing takes at least.
"""

import time
from typing import Any

import torch
from lib.records import ratio, record

import sottovoce as sv
from sottovoce.timing import in_turns

NEEDS = {"nothing": ""}
METHODS: dict[str, dict[str, Any]] = {
    "drop_layers": {"keep": 9},
    "prune_heads": {"keep": 6},
    "prune_ffn": {"keep": 2048},
    "prune_weights": {"sparsity": 0.5},
    "quantize": {},
}


def main() -> None:
    """Each in turns with a pass; factoring once, for it is long."""
    model = sv.new("hubert", seed=0).eval()
    inputs = sv.Anatomy(model).dummy_inputs(10.0)

    def passed() -> None:
        model(**inputs)[0].square().mean().backward()
        model.zero_grad(set_to_none=True)

    rows: dict[str, Any] = {}
    for name, options in METHODS.items():
        ways = {"method": lambda n=name, o=options: sv.METHODS[n](model, **o), "pass": passed}
        rows[name] = ratio(in_turns(ways, rounds=3, warm_up=1), "method", "pass")
    begin = time.perf_counter()
    sv.low_rank(model, rank=256)
    rows["low_rank, rank 256, once"] = {"method_median_s": time.perf_counter() - begin}
    record("methods", rows, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
