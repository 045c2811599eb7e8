"""Checkpoints in the files that the Hub has of them: every tensor in its place, and the features they were made for."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hub_files import LETTERS, PUBLISHED, published

import sottovoce as sv
from sottovoce.models.encoder import Encoder
from sottovoce.models.heads import head_labels

AUDIO = np.random.default_rng(0).standard_normal(7_201).astype("float32") * 3 + 1


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_tensor_is_that_of_the_model_that_was_published(name: str) -> None:
    place, wanted = published(name)
    model = sv.load(place)
    assert type(model) is type(wanted)
    found, tensors = model.state_dict(), wanted.state_dict()
    assert found.keys() == tensors.keys()
    assert all(
        torch.equal(tensor, tensors[key]) and tensor.dtype == tensors[key].dtype for key, tensor in found.items()
    )
    inputs = sv.Anatomy(model).dummy_inputs(0.5)
    with torch.no_grad():
        assert torch.equal(model(**inputs)[0], wanted(**inputs)[0])


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_features_are_those_of_the_published_feature_extractor(name: str) -> None:
    place, _ = published(name)
    model = sv.load(place)
    made = transformers.AutoFeatureExtractor.from_pretrained(place)
    wanted = made(AUDIO, sampling_rate=16_000, return_tensors="pt")[model.main_input_name]
    found = Encoder(model).inputs([AUDIO])[model.main_input_name]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_doctor_finds_nothing_wrong(name: str) -> None:
    place, _ = published(name)
    findings = sv.doctor(place)
    assert not [finding for finding in findings if finding.level == "error"], findings
    told = {finding.do for finding in findings if finding.check == "pickle"}
    weights = PUBLISHED[name].weights
    assert weights.startswith("safetensors") or told == {f"sottovoce convert {place} -o {name}-safetensors"}
    masks = {finding.what for finding in findings if finding.check == "processor"}
    assert not masks, masks


@pytest.mark.parametrize("name", sorted(name for name, about in PUBLISHED.items() if about.letters))
def test_letters_of_a_ctc_head(name: str) -> None:
    place, _ = published(name)
    assert head_labels(sv.load(place)) == ("<pad>", "", "", "", *list(LETTERS)[4:])


def test_settings_of_their_day_change_nothing() -> None:
    """A field that this version does not know is left out; one that it knows is as in the model that was published."""
    place, wanted = published("wavlm-base-plus-sv")
    record = json.loads((place / "config.json").read_text())
    model = sv.load(place)
    assert record["transformers_version"].startswith("4.") and not hasattr(model.config, "mask_channel_selection")
    ours, theirs = model.config.to_dict(), wanted.config.to_dict()
    noted = {"_name_or_path", "architectures", "dtype"}  # of a file, and not of a model that was made on the spot
    assert {key: ours[key] for key in theirs.keys() - noted} == {key: theirs[key] for key in theirs.keys() - noted}


@pytest.mark.parametrize("name", ["mms-1b-all"])
def test_adapters_of_other_languages_are_no_weights(name: str, tmp_path: Path) -> None:
    place, wanted = published(name)
    model = sv.load(place)
    assert (place / "adapter.fra.bin").is_file() and torch.equal(model.lm_head.weight, wanted.lm_head.weight)
    saved = sv.save(sv.drop_layers(model, keep=2), tmp_path / "small")
    assert not list(saved.glob("adapter*")), "adapters of the layers that are gone would not fit"
    again = sv.load(saved)
    assert all(layer.adapter_layer is not None for layer in sv.Anatomy(again).layers)
