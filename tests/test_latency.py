"""The latency model: exact where times are a sum of its features, never falling, and kept for the same question."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import EDITS, tiny
from torch import nn

from sottovoce import SottovoceError
from sottovoce.gates import latency_design
from sottovoce.gates.latency import LatencyModel, Setting, digest, latency_model, question
from sottovoce.models.counting import macs_by_part
from sottovoce.models.edits import keep_feed_forward, keep_heads, use_int8
from sottovoce.models.front_end import LogMel
from sottovoce.models.narrow import fold_weight_norm
from sottovoce.models.parts import GroupedConv
from sottovoce.models.widths import Widths, narrowed, widths_of

SETTING = Setting(seconds=0.5, threads=1)
CALLS: list[int] = []


def by_shape(parts: Mapping[Any, tuple[nn.Module, tuple[torch.Tensor, ...]]]) -> dict[Any, list[float]]:
    """A timer that is a function of shapes: of weights, of what goes in and out, of how many modules there are."""
    CALLS.append(torch.get_num_threads())
    return {key: [seconds_by_shape(module)] for key, (module, _) in parts.items()}


def seconds_by_shape(module: nn.Module) -> float:
    seconds = 0.0
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Linear):
            seconds += 1e-9 * part.weight.numel() + 1e-8 * part.weight.shape[0]
        # Groups of different widths are convolutions of their own, but how many is no width.
        seconds += 1e-6 * isinstance(part, nn.Conv1d | nn.Linear | GroupedConv | LogMel)
        seconds -= 1e-6 * len(part.groups) if isinstance(part, GroupedConv) else 0
    return seconds


def by_noise(parts: Mapping[Any, tuple[nn.Module, tuple[torch.Tensor, ...]]]) -> dict[Any, list[float]]:
    """The same with errors of up to half a time, as the busiest machine has them."""
    source = random.Random(0)
    return {key: [seconds[0] * source.uniform(0.5, 1.5)] for key, seconds in by_shape(parts).items()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    CALLS.clear()
    return tmp_path / "cache" / "sottovoce" / "latency"


def some_widths(widths: Widths, numbers: Callable[[float], Any] = lambda width: width) -> Widths:
    """The same widths, each handed through a function."""
    return replace(
        widths,
        hidden=numbers(widths.hidden),
        channels=tuple(map(numbers, widths.channels)),
        heads=tuple(map(numbers, widths.heads)),
        feed_forward=tuple(tuple(map(numbers, row)) for row in widths.feed_forward),
        present=tuple(map(numbers, widths.present)),
    )


def test_times_that_are_sums_of_the_features_are_found_exactly(family: str) -> None:
    model = tiny(family)
    found = latency_model(model, replace(SETTING, timer=by_shape))
    assert found.held_out < 1e-6 and found.held_out_whole < 1e-6
    assert found.scale == pytest.approx(1, abs=1e-6) or found.rest["one"] > 0
    small = latency_design.cut(model, random.Random(7))
    assert found(widths_of(small)) == pytest.approx(seconds_by_shape(small), rel=1e-6)
    parts = found.parts(widths_of(model))
    counted = {part for part, macs in macs_by_part(widths_of(model), SETTING.samples).items() if macs}
    assert counted - {("head",)} <= parts.keys(), "every part that multiplies has a time"
    assert sum(parts.values()) == found(widths_of(model)) and all(type(seconds) is float for seconds in parts.values())


def test_a_layer_that_is_half_there_takes_half_its_time() -> None:
    model = tiny("hubert")
    found = latency_model(model, replace(SETTING, timer=by_shape))
    fold_weight_norm(model)
    widths = widths_of(model)
    layer = sum(seconds for part, seconds in found.parts(widths).items() if part[:2] == ("layer", 2))
    assert layer == pytest.approx(seconds_by_shape(model.encoder.layers[2]), rel=1e-6)
    assert found(widths) - found(replace(widths, present=(1, 1, 0.5, 1))) == pytest.approx(layer / 2)
    assert found(replace(widths, order=(0, 1, 2, 2, 2, 3))) - found(widths) == pytest.approx(2 * layer)


def test_no_width_makes_it_faster_however_wrong_the_times_are(family: str) -> None:
    model = tiny(family)
    found = latency_model(model, replace(SETTING, timer=by_noise))
    leaves: list[torch.Tensor] = []

    def leaf(width: float) -> torch.Tensor:
        leaves.append(torch.tensor(float(width), requires_grad=True))
        return leaves[-1]

    seconds = found(some_widths(widths_of(model), leaf))
    assert seconds.dtype == torch.float64 and seconds.item() == pytest.approx(found(widths_of(model)))
    gradients = torch.autograd.grad(seconds, leaves, allow_unused=True)
    assert all(slope is None or slope >= 0 for slope in gradients)
    assert sum(slope is not None and slope.item() > 0 for slope in gradients) > len(leaves) / 2


def test_its_gradients_are_those_of_its_values() -> None:
    widths = widths_of(tiny("wavlm-large"))
    found = latency_model(tiny("wavlm-large"), replace(SETTING, timer=by_noise))
    flat: list[float] = []
    some_widths(widths, flat.append)

    def seconds(values: torch.Tensor) -> torch.Tensor:
        left = iter(values)
        return found(some_widths(widths, lambda _: next(left))) * 1e4

    start = torch.tensor(flat, dtype=torch.float64) * 0.7
    assert torch.autograd.gradcheck(seconds, start.requires_grad_())


def test_uneven_groups_cost_what_they_hold() -> None:
    model = tiny("hubert")
    found = latency_model(model, replace(SETTING, timer=by_shape))
    even, uneven = (narrowed(widths_of(model), units) for units in (range(0, 32, 2), range(16)))
    assert len(set(even.groups or ())) == 1 and uneven.groups == (8, 8)
    assert found.parts(uneven)["positional",] > found.parts(even)["positional",]


def test_what_was_measured_is_read_again(cache: Path) -> None:
    model, threads = tiny("hubert"), torch.get_num_threads()
    first = latency_model(model, replace(SETTING, timer=by_shape))
    assert latency_model(tiny("hubert"), replace(SETTING, timer=by_shape)) == first and CALLS == [1]
    (file,) = cache.iterdir()
    assert LatencyModel.from_dict(json.loads(file.read_text())["model"]) == first
    assert torch.get_num_threads() == threads
    latency_model(model, replace(SETTING, threads=2, timer=by_shape))
    assert CALLS == [1, 2] and len(list(cache.iterdir())) == 2, "another setting has a file of its own"


def test_another_question_has_another_name() -> None:
    smaller, model = tiny("hubert"), tiny("hubert")
    keep_heads(smaller, 0, [0, 1])
    named = {
        digest(question(*asked))
        for asked in (
            (model, SETTING, by_shape, 0),
            (model, replace(SETTING, seconds=1.0), by_shape, 0),
            (model, replace(SETTING, batch=2), by_shape, 0),
            (model, SETTING, by_noise, 0),
            (model, SETTING, by_shape, 1),
            (smaller, SETTING, by_shape, 0),
            (tiny("hubert", hidden_act="relu"), SETTING, by_shape, 0),
            (tiny("hubert", head="ForCTC"), SETTING, by_shape, 0),
            (tiny("hubert").double(), SETTING, by_shape, 0),
        )
    }
    assert len(named) == 9
    assert digest(question(tiny("hubert", seed=3), SETTING, by_shape, 0)) in named, "weights take no time"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-40],
        lambda text: "[1]",
        lambda text: text.replace('"scale": ', '"scale": -'),
        lambda text: text.replace('"seed": 0', '"seed": 1'),
        lambda text: text.replace('"costs"', '"prices"'),
        lambda text: text.replace('"seconds"', '"second"'),
    ],
)
def test_a_damaged_file_is_made_anew(damage: Callable[[str], str], tmp_path: Path) -> None:
    first = latency_model(tiny("hubert"), replace(SETTING, timer=by_shape), folder=tmp_path / "own")
    (file,) = (tmp_path / "own").iterdir()
    whole = file.read_text()
    file.write_text(damage(whole))
    assert latency_model(tiny("hubert"), replace(SETTING, timer=by_shape), folder=tmp_path / "own") == first
    assert file.read_text() == whole


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(cache: Path, tmp_path: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    assert latency_model(tiny("hubert"), replace(SETTING, timer=by_shape)).scale > 0
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SottovoceError, match="cannot write"):
        latency_model(tiny("hubert"), replace(SETTING, timer=by_shape), folder=tmp_path / "file")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (Setting(seconds=0.0), "seconds=0.0"),
        (Setting(seconds=float("nan")), "seconds=nan"),
        (Setting(seconds=0.001), "make no frame"),
        (Setting(batch=0), "batch=0"),
        (Setting(threads=0), "threads=0"),
        (Setting(threads=10**6), "threads=1000000"),
    ],
)
def test_bad_settings_are_refused(setting: Setting, said: str) -> None:
    with pytest.raises(SottovoceError, match=said):
        latency_model(tiny("hubert"), replace(setting, timer=by_shape))
    assert not CALLS


def test_what_has_nothing_to_cut_is_refused() -> None:
    bytes_alone, mimic = tiny("hubert"), tiny("hubert")
    use_int8(bytes_alone, {"encoder.layers.0.feed_forward.intermediate_dense": None})
    EDITS["mimic_linear"](mimic)
    with pytest.raises(SottovoceError, match="int8"):
        latency_model(bytes_alone, replace(SETTING, timer=by_shape))
    with pytest.raises(SottovoceError, match="mimic"):
        latency_model(mimic, replace(SETTING, timer=by_shape))
    found = latency_model(tiny("hubert"), replace(SETTING, timer=by_shape))
    with pytest.raises(SottovoceError, match="no time for upsampling"):
        found(widths_of(tiny("sew")))


@pytest.mark.parametrize("edit", ["use_log_mel", "set_order", "factor", "everything"])
def test_models_that_were_edited_before_are_cut_further(edit: str) -> None:
    model = tiny("hubert", head="ForCTC")
    EDITS[edit](model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    found = latency_model(model, replace(SETTING, timer=by_shape))
    assert found(widths_of(model)) == pytest.approx(seconds_by_shape(model), rel=0.25)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_on_pytorch_the_times_are_those_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_design, "MOST", 3)
    model = tiny("wavlm").train()
    found = latency_model(model, SETTING)
    assert model.training and 1e-4 < found(widths_of(model)) < 1
    half = tiny("wavlm")
    for layer in range(4):
        keep_heads(half, layer, [0])
        keep_feed_forward(half, layer, range(4))
    assert 0 < found(widths_of(half)) < found(widths_of(model))
