"""Cost: parts add up to the whole, conventions stay apart, memory and time are measured."""

import copy
from typing import Any

import pytest
import torch
from conftest import edited, tiny
from transformers import WavLMConfig, WavLMModel

import sottovoce as sv
from sottovoce.measures.memory import peak_bytes
from sottovoce.measures.speed import time_parts
from sottovoce.models.record import eager


def test_parts_add_up(family: str) -> None:
    model = edited(family, "set_order", head="ForSequenceClassification")
    cost = sv.cost(model, seconds=1.0, repeats=1)
    for metric in ("parameters", "macs", "nonzero"):
        assert sum(cost.parts(metric).values()) == cost[metric]
    spent = cost.parts("latency")
    assert all(value >= 0 for value in spent.values())
    assert {where for where in cost.parts("macs")} <= set(spent)


def test_conventions_are_told_apart() -> None:
    model = tiny("hubert")
    total, second, superb = (sv.macs(model, convention=name)[0] for name in ("total", "per_second", "superb"))
    assert (total.unit, second.unit, superb.unit) == ("MAC/10s", "MAC/s", "MAC/superb")
    assert second.value == pytest.approx(total.value / 10)
    assert superb.value > 20 * total.value


def test_zeroed_weights_are_stored_and_not_counted_as_nonzero() -> None:
    model = edited("hubert", "zero_weights")
    cost = sv.cost(model, time=False)
    assert cost["parameters"] == sv.cost(tiny("hubert"), time=False)["parameters"]
    zeros = sum(int((parameter == 0).sum()) for parameter in model.parameters())
    assert zeros > 5_000 and cost["nonzero"] == cost["parameters"] - zeros


def test_shared_layers_count_once_in_size_and_each_time_in_macs() -> None:
    whole, shared = tiny("hubert"), edited("hubert", "share_layers")
    before, after = sv.cost(whole, time=False), sv.cost(shared, time=False)
    assert after["macs"] == before["macs"]
    layer = before.part("parameters", layer=1)
    assert before["parameters"] - after["parameters"] == 3 * layer


def test_hugging_faces_own_wavlm_is_left_as_it_is() -> None:
    model: Any = WavLMModel(
        WavLMConfig(num_hidden_layers=1, hidden_size=48, intermediate_size=8, conv_dim=[8] * 7)
    ).eval()
    kinds = [type(module) for module in model.modules()]
    assert sv.macs(model, seconds=1.0)[0].value > 0
    assert kinds == [type(module) for module in model.modules()]


def test_peak_memory_counts_what_is_alive() -> None:
    """Two Linears without a bias: known to the byte."""

    class Chain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(10, 1000, bias=False)
            self.second = torch.nn.Linear(1000, 10, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x))

    held = 4 * (10 * 1000 + 1000 * 10)
    assert peak_bytes(Chain(), {"x": torch.zeros(3, 10)}) == held + 4 * 3 * (1000 + 10)


def test_peak_memory_grows_with_the_audio() -> None:
    model = tiny("hubert")
    body = sv.Anatomy(model)
    short, long = (peak_bytes(model, body.dummy_inputs(seconds)) for seconds in (1.0, 4.0))
    assert long > 2 * short


def test_parts_take_most_of_the_time() -> None:
    model = sv.new("hubert-base", num_hidden_layers=2)
    spent = time_parts(model, sv.Anatomy(model).dummy_inputs(2.0))
    whole = sum(spent.values())
    named = whole - spent[("other",)]
    assert named > 0.8 * whole
    convs = sum(value for where, value in spent.items() if where[0] == "front_end")
    assert convs > spent[("feature_projection",)]


def test_a_smaller_model_is_faster() -> None:
    model = sv.new("hubert-base", num_hidden_layers=8)
    before, after = sv.cost_of_two(model, sv.drop_layers(model, keep=1), seconds=1.0, repeats=5)
    assert after["latency"] < before["latency"]
    assert after["real_time_factor"] == pytest.approx(after["latency"])
    assert before["latency_first_quartile"] <= before["latency"] <= before["latency_third_quartile"]
    row = next(row for row in before.measurements if row.metric == "latency")
    assert row.n == 5 and row.better == "lower" and row.error is not None


def test_threads_are_used_and_given_back() -> None:
    before = torch.get_num_threads()
    cost = sv.cost(tiny("hubert"), seconds=0.5, repeats=1, threads=1)
    assert cost["threads"] == 1 and torch.get_num_threads() == before


def test_cost_leaves_the_model_alone() -> None:
    model = tiny("wavlm").train()
    tensors, names = copy.deepcopy(model.state_dict()), [name for name, _ in model.named_modules()]
    sv.cost(model, seconds=0.5, repeats=1)
    with eager(model):
        pass
    assert model.training and names == [name for name, _ in model.named_modules()]
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


def test_unknown_metric_names_what_there_is() -> None:
    with pytest.raises(KeyError, match="parameters, nonzero, bytes, macs"):
        _ = sv.cost(tiny("hubert"), time=False)["speed"]


def test_cost_of_unknown_length() -> None:
    with pytest.raises(sv.SottovoceError, match="give longer audio"):
        sv.macs(tiny("hubert"), seconds=0.0001)
    with pytest.raises(sv.SottovoceError, match="has no option 'second'"):
        sv.macs(tiny("hubert"), second=3)  # pyright: ignore[reportCallIssue]


def test_measuring_a_model_in_training_changes_nothing() -> None:
    model = tiny("wav2vec2-conformer").train()
    model.encoder.layers[1].eval()
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    sv.cost(model, seconds=0.5, repeats=1)
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_factored_head_counts_once() -> None:
    model = tiny("hubert", head="ForCTC")
    before = sv.macs(model, seconds=1.0)[0].value
    frames = sv.Anatomy(model).frames(16_000)
    sv.edits.factor(model, "lm_head", 3)
    assert sv.macs(model, seconds=1.0)[0].value == before - frames * (32 * 20 - 3 * (32 + 20))
