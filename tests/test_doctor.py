"""The doctor finds each fault in a folder that has it, and none in one that has not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, edited, tiny
from safetensors.torch import load_file, save_file

import sottovoce as sv


def found(folder: Path, level: str) -> dict[str, str]:
    return {finding.check: finding.what for finding in sv.doctor(folder) if finding.level == level}


def config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    stored = load_file(folder / "model.safetensors")
    change(stored)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("family", sorted(TINY))
def test_a_sound_model_has_no_errors(family: str, folder: Path) -> None:
    sv.save(tiny(family), folder)
    findings = sv.doctor(folder)
    assert [finding for finding in findings if finding.level == "error"] == []
    assert all(finding.do for finding in findings if finding.level == "warning")


def test_an_irregular_model_has_no_errors(folder: Path) -> None:
    sv.save(edited("wavlm", "everything"), folder)
    assert not found(folder, "error")


def test_padding_and_weight_norm_of_a_base_model(folder: Path) -> None:
    model = sv.save(tiny("hubert"), folder)
    warnings = found(model, "warning")
    assert "differs from single utterances by" in warnings["padding"] and "weight norm" in warnings
    plain, exact = float(warnings["padding"].split("by ")[1].split("%")[0]), warnings["padding"].split(": ")[1]
    assert plain > 1 and float(exact.rstrip(")")) < 1e-4


def test_large_models_pad_well_and_fold_well(folder: Path) -> None:
    model = tiny("hubert-large")
    sv.fold_weight_norm(model)
    sv.save(model, folder)
    warnings = found(folder, "warning")
    assert "padding" not in warnings and "weight norm" not in warnings
    assert "hidden states" in warnings and "equals single utterances" in found(folder, "fine")["padding"]


def test_layers_that_a_reload_filled_with_random_numbers(folder: Path) -> None:
    import transformers

    model = tiny("hubert")
    del model.encoder.layers[1]
    model.save_pretrained(folder)
    assert "config.json speaks of 4 layers, the tensors are of layers 0, 1, 2" in found(folder, "error")["layers"]
    # What most users do next: load it with Hugging Face, which fills in the last layer, and save that.
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)
    assert "layers 3 look freshly initialised" in found(folder, "error")["random"]


def test_a_model_of_random_numbers_is_told_so(folder: Path) -> None:
    sv.save(sv.new("hubert", hidden_size=48, num_hidden_layers=2, intermediate_size=8), folder)
    assert "every layer looks freshly initialised" in found(folder, "warning")["random"]


@pytest.mark.parametrize(
    ("break_it", "check", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "config", "holds no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config", "Expecting"),
        (lambda f: config(f, model_type="bert"), "config", "unknown family"),
        (lambda f: config(f, sottovoce={"version": 1, "heads": {"0": "0"}}), "modelling file", "AutoModel cannot load"),
        (lambda f: config(f, intermediate_size=50), "load", "50"),
        (lambda f: config(f, num_hidden_layers=5), "layers", "speaks of 5 layers"),
        (lambda f: (f / "model.safetensors").write_bytes(b"xx"), "weights", "cut off or damaged"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "weights", "pickle"),
        (lambda f: tensors(f, lambda t: t["encoder.layer_norm.bias"].fill_(float("nan"))), "numbers", "NaN"),
        (lambda f: (f / "preprocessor_config.json").write_text("{"), "processor", "is not JSON"),
    ],
)
def test_errors(break_it: Callable[[Path], Any], check: str, words: str, folder: Path) -> None:
    sv.save(tiny("hubert"), folder)
    break_it(folder)
    assert words in found(folder, "error")[check]


@pytest.mark.parametrize(
    ("disturb", "check", "words"),
    [
        (lambda f: (f / "optimizer.pt").write_bytes(b""), "pickle", "optimizer.pt"),
        (lambda f: (f / "modeling_mine.py").write_text(""), "code", "modeling_mine.py"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "processor", "pipelines cannot load"),
        (lambda f: (f / "preprocessor_config.json").write_text('{"sampling_rate": 8000}'), "processor", "8000"),
    ],
)
def test_warnings(disturb: Callable[[Path], Any], check: str, words: str, folder: Path) -> None:
    sv.save(tiny("hubert"), folder)
    disturb(folder)
    assert words in found(folder, "warning")[check] and not found(folder, "error")


def test_masks_switched_off_for_a_model_that_was_trained_with_them(folder: Path) -> None:
    sv.save(tiny("wav2vec2-large"), folder)
    (folder / "preprocessor_config.json").write_text('{"return_attention_mask": false}')
    assert "trained with masks" in found(folder, "warning")["processor"]
