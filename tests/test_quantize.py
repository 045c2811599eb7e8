"""Quantising: exact products on every path, small errors in every family, folders that reload bit for bit."""

import copy
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import EDITS, edited, tiny
from speech import toys
from torch import nn

import sottovoce as sv
from sottovoce.measurement import WHOLE, Where
from sottovoce.measures.memory import peak_bytes
from sottovoce.methods.quantize import best_range, count_magnitudes, quantize
from sottovoce.models import int8
from sottovoce.models.bundle import FILE
from sottovoce.models.int8 import LARGEST, Int8Linear, product, product_by_bytes, product_by_floats, quantized

# Relative errors of what a model puts out; the worst that is measured lies at two thirds of these.
BOUNDS = {"int8": 0.02, "int8-static": 0.04}
FAMILIES = [
    *("wav2vec2", "wavlm", "hubert-large", "data2vec-audio", "sew"),
    *("wav2vec2-conformer", "wav2vec2-conformer-rotary", "wav2vec2-bert", "whisper"),
]
SPEECH = toys(6, 0, 0)
SHAPES = [(5, 1, 7), (3, 7, 2), (1, 8, 1), (33, 63, 12), (17, 768, 30), (2, 1025, 5), (9, 3072, 4)]


def run(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs)[0]


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def whole_numbers(shape: tuple[int, int], seed: int, *, extreme: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(-LARGEST, LARGEST + 1, shape, generator=generator)
    return (torch.where(numbers < 0, -LARGEST, LARGEST) if extreme else numbers).to(torch.int8)


def int8_paths(model: Any) -> dict[str, str]:
    return model.config.sottovoce["int8"]


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_products_are_exact_on_every_path(rows: int, inputs: int, outputs: int, extreme: bool) -> None:
    first = whole_numbers((rows, inputs), 0, extreme=extreme)
    second = first[:1].repeat(outputs, 1) if extreme else whole_numbers((outputs, inputs), 1, extreme=False)
    wanted = first.double() @ second.double().t()
    assert wanted.abs().max() == inputs * LARGEST**2 or not extreme  # the largest sums that there can be
    paths = [product, product_by_floats]
    if int8.has_fast_product() and inputs >= int8.NARROWEST:
        paths.append(product_by_bytes)
    for path in paths:
        found = path(first, second)
        assert found.dtype == torch.int32 and torch.equal(found.double(), wanted), path.__name__


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("largest", [None, 2.5])
@pytest.mark.parametrize("inputs", [5, 96, 2000])
def test_linear_is_its_definition(inputs: int, largest: float | None, bias: bool, monkeypatch: Any) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(inputs, 40, bias=bias), 2 * torch.randn(2, 30, inputs)
    small = quantized(linear, largest)
    weight, scale = linear.weight.detach().double(), small.scale.double()
    assert ((small.levels.double() * scale[:, None] - weight).abs() <= 0.5001 * scale[:, None]).all()
    assert torch.equal(small.levels.abs().amax(1), torch.full((40,), LARGEST, dtype=torch.int8))
    # In float64, input for input: round to the nearest level, multiply, add up.
    step = x.double().abs().amax(-1, keepdim=True) / LARGEST if largest is None else torch.tensor(largest / LARGEST)
    levels = (x.double() / step).round().clamp(-LARGEST, LARGEST)
    wanted = torch.einsum("bti,oi->bto", levels * step, small.levels.double() * scale[:, None])
    wanted = wanted + (linear.bias.detach().double() if bias else 0.0)
    with torch.no_grad():
        found = small(x)
        # A number halfway between two levels may go to either of them.
        assert (found.double() - wanted).abs().max() <= 2.1 * float(step.max()) * float(small.weight.abs().max())
        assert error(found.double(), wanted) < 1e-4
        monkeypatch.setattr(int8, "has_fast_product", lambda: False)
        assert torch.equal(small(x), found)  # on a machine without the instruction, the same numbers


def test_a_frame_is_rounded_by_itself() -> None:
    torch.manual_seed(0)
    small, x = quantized(nn.Linear(64, 48)), torch.randn(4, 50, 64)
    x[1] *= 100
    x[2, 3], x[3, 4, 5] = 0.0, float("nan")
    with torch.no_grad():
        together = small(x)
        assert torch.equal(small(x[:1]), together[:1]) and torch.equal(small(x[2, 7]), together[2, 7])
        assert torch.equal(together[2, 3], small.bias)  # silence
        assert together[3, 4].isnan().all() and together.isnan().sum() == 48  # what is no number stays to be seen
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(small(x[:1]), together[:1])
        assert small(x[:, :0]).shape == (4, 0, 48)
        assert error(copy.deepcopy(small).half()(x[:1].half()).float(), together[:1]) < 0.01


@pytest.mark.parametrize("head", ["", "ForSequenceClassification"])
@pytest.mark.parametrize("to", BOUNDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_small_error_and_bit_for_bit_again(family: str, to: Any, head: str, folder: Path) -> None:
    model = tiny(family, head=head)
    tensors = copy.deepcopy(model.state_dict())
    inputs = sv.Anatomy(model).dummy_inputs(0.6, batch=2)
    before = run(model, **inputs)
    small = quantize(model, SPEECH, to=to)
    after = run(small, **inputs)
    assert 1e-4 < error(after, before) < BOUNDS[to]
    # The input is left alone, and the same again gives the same.
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(run(model, **inputs), before)
    again = quantize(model, SPEECH, to=to).state_dict() if head else small.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in small.state_dict().items())
    assert set(int8_paths(small).values()) == {"dynamic" if to == "int8" else "static"}
    sv.save(small, folder)  # which also compares every tensor
    reloaded = sv.load(folder)
    assert torch.equal(run(reloaded, **inputs), after)
    assert int8_paths(reloaded) == int8_paths(small)
    assert type(reloaded) is type(model)


@pytest.mark.parametrize(
    "edit", ["everything", "factor", "mimic_transformer", "mimic_linear", "share_layers", "no_heads"]
)
def test_after_any_edit(edit: str, folder: Path) -> None:
    model = edited("wavlm", edit, head="ForSequenceClassification")
    inputs = sv.Anatomy(model).dummy_inputs(0.6)
    small = quantize(model)
    assert error(run(small, **inputs), run(model, **inputs)) < BOUNDS["int8"]
    if edit == "factor":
        assert "encoder.layers.0.attention.q_proj.second" in int8_paths(small)
    left = {name for name, module in small.named_modules() if type(module) is nn.Linear and module.weight.numel()}
    assert all("gru_rel_pos_linear" in name for name in left)  # WavLM's gates read weights themselves
    sv.save(small, folder)
    reloaded = sv.load(folder)
    assert torch.equal(run(reloaded, **inputs), run(small, **inputs))
    sv.save(reloaded, folder.with_name("again"))
    assert (folder / "config.json").read_text() == (folder.with_name("again") / "config.json").read_text()


ALONE = """
import json, sys, torch, transformers
sys.modules["sottovoce"] = None  # no import of it can succeed
transformers.logging.set_verbosity_error()
folder = sys.argv[1]
inputs = {name: torch.tensor(values) for name, values in json.load(open(folder + "/inputs.json")).items()}
model, found = transformers.AutoModelForAudioClassification.from_pretrained(
    folder, trust_remote_code=True, output_loading_info=True
)
assert not found["missing_keys"] and not found["mismatched_keys"] and not found["unexpected_keys"], found
with torch.no_grad():
    output = model.eval()(**inputs)[0]
torch.testing.assert_close(output, torch.tensor(json.load(open(folder + "/output.json"))), rtol=1e-3, atol=1e-5)
print("levels", sum(tensor.dtype == torch.int8 for tensor in model.state_dict().values()))
"""


def test_its_folder_loads_without_sottovoce(folder: Path, tmp_path: Path) -> None:
    model = quantize(edited("hubert", "factor", head="ForSequenceClassification"), SPEECH, to="int8-static")
    sv.save(model, folder, check=False)
    inputs = sv.Anatomy(model).dummy_inputs(0.3)
    (folder / "inputs.json").write_text(json.dumps({name: value.tolist() for name, value in inputs.items()}))
    (folder / "output.json").write_text(json.dumps(run(model, **inputs).tolist()))
    place = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    command = [sys.executable, "-c", textwrap.dedent(ALONE), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=place, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["levels", str(len(int8_paths(model)))]


def test_the_bundled_model(folder: Path) -> None:
    model = sv.load("small-melhubert-keywords")
    small = quantize(model)
    inputs = sv.Anatomy(model).dummy_inputs(1.5, batch=2, seed=4)
    with torch.no_grad():
        before, after = (sv.states(one, input_values=inputs["input_values"]) for one in (model, small))
    errors = [error(found, wanted) for found, wanted in zip(after.hidden[1:], before.hidden[1:], strict=True)]
    assert 1e-4 < max(errors) < 0.06
    assert error(after.output[0], before.output[0]) < 0.1
    assert sv.size(small)[2].value < 0.31 * sv.size(model)[2].value
    sv.save(small, folder)
    assert torch.equal(run(sv.load(folder), **inputs), after.output[0])
    assert not [finding for finding in sv.doctor(folder) if finding.level == "error"]


def test_cost_counts_bytes_as_parameters() -> None:
    model = tiny("wav2vec2", head="ForCTC")
    sv.fold_weight_norm(model)
    small = quantize(model)
    assert sv.macs(small) == sv.macs(model)
    before, after = ({(row.metric, row.where): row.value for row in sv.size(one)} for one in (model, small))
    assert {key: value for key, value in after.items() if key[0] == "parameters"} == {
        key: value for key, value in before.items() if key[0] == "parameters"
    }
    linears = [module for module in small.modules() if isinstance(module, Int8Linear)]
    weights = sum(module.levels.numel() for module in linears)
    scales = sum(module.scale.numel() for module in linears)
    assert after["bytes", WHOLE] == before["bytes", WHOLE] - 3 * weights + 4 * scales
    place = Where(layer=1, part="feed_forward")
    assert before["bytes", place] - after["bytes", place] == 3 * 2 * 32 * 48
    assert after["nonzero", place] < before["nonzero", place]  # some are rounded to zero
    inputs = sv.Anatomy(model).dummy_inputs(0.5)
    assert peak_bytes(small, inputs) < peak_bytes(model, inputs)
    assert sv.speed(small, seconds=0.3, repeats=1, warm_up=0)[0].value > 0


def test_padded_batch_equals_single_utterances() -> None:
    model = quantize(tiny("hubert-large"))
    torch.manual_seed(0)
    first, second = torch.randn(9_000), torch.randn(5_000)
    batch = torch.stack([first, nn.functional.pad(second, (0, 4_000))])
    mask = (torch.arange(9_000)[None] < torch.tensor([9_000, 5_000])[:, None]).long()
    alone = run(model, input_values=second[None])[0]
    with sv.exact_padding(model):
        together = run(model, input_values=batch, attention_mask=mask)[1, : len(alone)]
    # Apart from rare inputs that the last bit of float32 takes to the next level.
    assert error(together, alone) < 2e-3


@pytest.mark.parametrize("edit", sorted(set(EDITS) - {"nothing", "factor"}))
def test_no_edit_can_follow(edit: str) -> None:
    small = quantize(tiny("hubert"))
    tensors = copy.deepcopy(small.state_dict())
    with pytest.raises(sv.SottovoceError, match="quantise last"):
        EDITS[edit](small)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in small.state_dict().items())


def test_no_method_can_follow() -> None:
    small = quantize(tiny("hubert"))
    for to in ("int8", "fp16"):
        with pytest.raises(sv.SottovoceError, match="quantize: this model is quantised to int8"):
            quantize(small, to=to)
    with pytest.raises(sv.SottovoceError, match="quantise last"):
        sv.drop_layers(small, keep=2)
    with pytest.raises(sv.SottovoceError, match="factor: this model is quantised"):
        sv.edits.factor(small, "encoder.layers.0.attention.q_proj", 4)
    with pytest.raises(sv.SottovoceError, match="'lm_head' is not a Linear"):
        sv.edits.use_int8(small, {"lm_head": None})


def test_gradients_stop_with_a_sentence() -> None:
    small = quantize(tiny("wav2vec2", head="ForSequenceClassification"), parts=["attention", "feed_forward"])
    inputs, labels = sv.Anatomy(small).dummy_inputs(0.5, batch=2), torch.tensor([0, 1])
    assert torch.isfinite(small(**inputs).logits).all()  # a pass alone is fine
    with pytest.raises(sv.SottovoceError, match="quantise last, or train only the head"):
        small.train()(**inputs, labels=labels).loss.backward()
    with pytest.raises(sv.SottovoceError, match="quantise last"):
        sv.finetune(small, toys(9, 3, 3), task="keywords", train={"steps": 1})
    # A head on top may still learn.
    frozen = ["front_end", "projection", "positional", "layers"]
    tuned = sv.finetune(small, toys(9, 3, 3), task="keywords", train={"steps": 1}, freeze=frozen)
    assert int8_paths(tuned) == int8_paths(small)


def test_parts_and_what_is_left_out() -> None:
    model = tiny("wav2vec2-conformer", head="ForXVector")
    expected = {"attention": 4 * 5, "feed_forward": 4 * 4, "projection": 1}
    for part, count in expected.items():
        assert len(int8_paths(quantize(model, parts=[part]))) == count
    # The time-delay layers read their weights themselves, and "feature_extractor" names two modules of this model.
    assert set(int8_paths(quantize(model, parts=["head"]))) == {"projector", "classifier"}
    config = tiny("whisper").config
    speaker = transformers.WhisperForConditionalGeneration(config).eval()
    small: Any = quantize(speaker, SPEECH, to="int8-static")
    assert small.proj_out.weight is small.model.decoder.embed_tokens.weight
    assert int8_paths(small)["model.decoder.layers.0.fc1"] == "dynamic"
    assert int8_paths(small)["layers.0.fc1"] == "static"


def test_static_scales_follow_the_data_and_need_some(folder: Path) -> None:
    model = tiny("hubert")
    with pytest.raises(sv.SottovoceError, match="int8-static needs data"):
        quantize(model, to="int8-static")
    with pytest.raises(sv.SottovoceError, match="limit=0"):
        quantize(model, SPEECH, to="int8-static", limit=0)
    one, other = (quantize(model, SPEECH, to="int8-static", limit=1, seed=seed) for seed in (0, 3))
    assert any(not torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    names = {name for name, tensor in one.state_dict().items() if not torch.equal(tensor, other.state_dict()[name])}
    assert all(name.endswith("input_scale") for name in names)
    # The train split chooses them, whatever else is there.
    mixed = quantize(model, [*toys(0, 0, 4), *SPEECH], to="int8-static")
    wanted = quantize(model, SPEECH, to="int8-static").state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in mixed.state_dict().items())


@pytest.mark.parametrize("kind", ["normal", "gelu", "one far out", "zeros"])
def test_best_range_errs_least(kind: str) -> None:
    values = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    if kind == "gelu":
        values = nn.functional.gelu(3 * values)
    elif kind == "one far out":
        values[0] = 80.0
    elif kind == "zeros":
        values = torch.zeros(9)

    def squares(largest: float) -> float:
        step = largest / LARGEST
        return float(((values / step).round().clamp(-LARGEST, LARGEST) * step - values).square().mean())

    found, most = best_range(count_magnitudes(values)), float(values.abs().max())
    least = min((squares(most * share / 100) for share in range(2, 105)), default=0.0) if most else 0.0
    assert squares(found) <= 1.05 * least
    if kind == "one far out":
        assert squares(found) < squares(most) / 1.2


def test_fp16_halves_and_plain_hugging_face_loads_it(folder: Path) -> None:
    model = tiny("hubert", head="ForSequenceClassification")
    small = quantize(model, to="fp16")
    assert model.dtype == torch.float32 and small.dtype == torch.float16
    inputs = sv.Anatomy(model).dummy_inputs(0.5)
    before, after = run(model, **inputs), run(small, **sv.Anatomy(small).dummy_inputs(0.5))
    assert 0 < error(after.float(), before) < 0.01
    assert 2 * sv.size(small)[2].value == sv.size(model)[2].value
    sv.save(small, folder)
    assert not (folder / FILE).exists()
    plain, found = transformers.AutoModelForAudioClassification.from_pretrained(folder, output_loading_info=True)
    assert plain.dtype == torch.float16 and not found["missing_keys"]
    assert sv.load(folder).dtype == torch.float16
    wide = sv.load(folder, dtype=torch.float32)
    assert 0 < error(run(wide, **inputs), before) < 0.01
    # Bytes out of a model in half precision: what is not rounded is float32.
    both = quantize(small)
    assert both.dtype == torch.float32 and error(run(both, **inputs), before) < BOUNDS["int8"]


def test_fp16_keeps_the_positions_of_a_conformer(folder: Path) -> None:
    config = tiny("wav2vec2-conformer-rotary").config
    model = transformers.Wav2Vec2ConformerModel(config).eval()  # as Hugging Face makes it
    run(model, **sv.Anatomy(model).dummy_inputs(1.0))
    small = quantize(model, to="fp16")
    sv.save(small, folder)
    for seconds in (0.4, 1.0):
        inputs, halves = (sv.Anatomy(each).dummy_inputs(seconds) for each in (model, small))
        assert 0 < error(run(small, **halves).float(), run(model, **inputs)) < 0.01
        assert torch.equal(run(sv.load(folder), **halves), run(small, **halves))


def test_what_cannot_be_asked_for() -> None:
    model = tiny("hubert")
    for options, message in [
        ({"parts": ["atention"]}, "attention"),
        ({"parts": []}, "no Linear in no part"),
        ({"parts": ["head"]}, "no Linear in head"),
        ({"to": "fp16", "parts": ["head"]}, "leave out parts"),
        ({"to": "int4"}, "int4"),
    ]:
        with pytest.raises(sv.SottovoceError, match=message):
            quantize(model, **options)
    with pytest.raises(sv.SottovoceError, match="in float16 already"):
        quantize(model.half(), to="fp16")
    model = tiny("hubert")
    with torch.no_grad():
        model.encoder.layer_norm.weight[3] = 1e6
    with pytest.raises(sv.SottovoceError, match="beyond 65504"):
        quantize(model, to="fp16")


def test_a_config_that_does_not_fit_is_refused(folder: Path) -> None:
    sv.save(quantize(tiny("hubert")), folder, check=False)
    path = folder / "config.json"
    record = json.loads(path.read_text())
    linear = "encoder.layers.0.attention.q_proj"
    for wrong, message in (({linear: "often"}, "dynamic or static"), ({linear: "dynamic"}, "tensors")):
        path.write_text(json.dumps({**record, "sottovoce": {**record["sottovoce"], "int8": wrong}}))
        with pytest.raises(sv.SottovoceError, match=message):
            sv.load(folder)
    changed = {**record["sottovoce"]["int8"], linear: "static"}
    path.write_text(json.dumps({**record, "sottovoce": {**record["sottovoce"], "int8": changed}}))
    with pytest.raises(sv.SottovoceError, match=r"q_proj\.input_scale"):
        sv.load(folder)


def test_a_linear_without_units_is_refused(folder: Path) -> None:
    model = tiny("hubert")
    sv.edits.keep_heads(model, 1, [])
    sv.edits.keep_feed_forward(model, 1, [])
    path = "encoder.layers.1.feed_forward.output_dense"
    with pytest.raises(
        sv.SottovoceError, match=f"'{path}' has no weights, for all of its units are gone; leave it out"
    ):
        sv.edits.use_int8(model, {path: None})
    assert "int8" in str(sv.quantize(model).config.to_dict())  # which passes over it
