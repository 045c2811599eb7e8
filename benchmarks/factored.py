"""Low rank by SVD and by activations, and int8, on keywords: accuracy, bytes and time, nothing trained afterwards.

python benchmarks/factored.py CORPUS

The stored record is of speech-mini@FOLDER.
"""

import sys
from typing import Any

import torch
from lib.corpora import of_task, shown
from lib.records import ratio, record

import sottovoce as sv
from sottovoce.models.anatomy import Anatomy
from sottovoce.timing import in_turns

NEEDS = {"speech": "speech-mini@FOLDER"}
MODEL = "small-melhubert-keywords"
STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    f"{name}, {share:g} of the weights": ("low_rank", {"ratio": share, "by": by})
    for share in (0.7, 0.5, 0.3)
    for name, by in (("SVD", "svd"), ("activation-aware", "activation-aware"))
}
STEPS |= {"int8": ("quantize", {}), "int8, static": ("quantize", {"to": "int8-static"})}


def main(corpus: str) -> None:
    """One row a model."""
    data = of_task(corpus, "keywords")
    whole = sv.load(MODEL)
    inputs = Anatomy(whole).dummy_inputs(2.0)
    rows: dict[str, Any] = {}
    for name, (method, options) in {"whole": ("", {}), **STEPS}.items():
        model = sv.METHODS[method](whole, data, **options) if method else whole
        score = sv.MEASURES["keywords"](model, data, mode="head")[0]
        size = next(row.value for row in sv.size(model) if row.metric == "bytes" and not row.where)
        with torch.no_grad():
            ways = {"small": lambda m=model: m(**inputs), "whole": lambda: whole(**inputs)}
            time = ratio(in_turns(ways, rounds=21), "small", "whole")
        rows[name] = {"value": score.value, "error": score.error, "n": score.n, "bytes": size, "time": time}
    record("factored", rows, command=f"python benchmarks/factored.py {shown(corpus)}", model=MODEL)


if __name__ == "__main__":
    main(sys.argv[1])
