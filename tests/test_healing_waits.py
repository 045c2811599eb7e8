"""When models are trained on: before the first cut, and after each round as many updates as it asks for."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny
from speech import toys

import sottovoce as sv
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in

DATA = toys()


def test_updates_before_the_first_cut_and_a_number_for_each_round(tmp_path: Path) -> None:
    model = sv.finetune(tiny("hubert"), DATA, task="keywords", train={"steps": 1, "lr": 1e-9})

    def updates(method: Any, name: str, **options: Any) -> dict[str, int]:
        with working_in(tmp_path / name):
            method(model, DATA, **options)
        logs = {path.parent.parent.name: path for path in (tmp_path / name).glob("*/heal/log.jsonl")}
        return {
            name: json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["step"]
            for name, log in sorted(logs.items())
        }

    waits = {"before": 3, "steps": [2, 1], "batch": 36.0}
    found = updates(sv.prune_heads, "heads", drop=2, rounds=2, heal=waits)
    assert found == {"round-0": 3, "round-1": 2, "round-2": 1}
    assert updates(sv.drop_layers, "layers", keep=1, heal={"before": 2, "steps": 0, "batch": 36.0}) == {"whole": 2}
    paper = {"sparsity": 0.3, "schedule": "paper", "heal": {"steps": 2, "batch": 36.0}}
    assert updates(sv.prune_weights, "weights", **paper) == {"step-0": 2, "step-1-1": 2, "step-2-1": 2}
    cubic = {"sparsity": 0.3, "schedule": "cubic", "rounds": 1, "heal": {"steps": 2, "batch": 36.0}}
    assert updates(sv.prune_weights, "cubic", **cubic) == {"step-1-1": 2}


@pytest.mark.parametrize(
    ("heal", "says"),
    [
        ({"steps": [1, 2, 3]}, r"heal\.steps has 3 numbers, but there are 2 rounds"),
        ({"steps": []}, "a number of updates"),
        ({"steps": [1, -1]}, "a number of updates"),
        ({"before": -1}, "before=-1"),
    ],
)
def test_rounds_that_cannot_be_healed_so(heal: dict[str, Any], says: str) -> None:
    for method in (sv.prune_heads, sv.prune_ffn):
        with pytest.raises(SottovoceError, match=says):
            method(tiny("hubert"), DATA, drop=2, rounds=2, heal=heal)
