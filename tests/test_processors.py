"""Feature extractors and tokenizers beside a model: both layouts are read, and go where the model goes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import tiny

import sottovoce as sv
from sottovoce.models.encoder import Encoder
from sottovoce.models.heads import head_labels, with_head
from sottovoce.models.processors import EXTRACTOR, PROCESSOR, extractor_settings

LOUD = np.random.default_rng(0).standard_normal(4_001).astype("float32") * 7 + 3
LETTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "a": 5, "b": 6}


def processor(place: Path, **settings: Any) -> Any:
    """A processor of transformers' own making."""
    place.mkdir(exist_ok=True)
    (place / "vocab.json").write_text(json.dumps(LETTERS))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(place / "vocab.json"))
    extractor = transformers.Wav2Vec2FeatureExtractor(**settings)
    return transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)


@pytest.fixture(params=["version 5", "version 4"])
def beside(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Path:
    """A CTC model that does not normalise its audio, with the files of one version's processor."""
    model = tiny("wavlm", head="ForCTC", vocab_size=7, pad_token_id=0)
    model.save_pretrained(folder)
    made = processor(tmp_path / "letters", do_normalize=False, return_attention_mask=True)
    made.save_pretrained(folder)
    assert (folder / PROCESSOR).is_file() and not (folder / EXTRACTOR).exists(), "transformers 5 writes another layout"
    if request.param == "version 4":
        nested = json.loads((folder / PROCESSOR).read_text())
        (folder / EXTRACTOR).write_text(json.dumps(nested.pop("feature_extractor")))
        (folder / PROCESSOR).write_text(json.dumps(nested))
        tokens = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
        (folder / "added_tokens.json").write_text('{"<s>": 1, "</s>": 2}')
    return folder


def heard(place: Path) -> torch.Tensor:
    """What transformers' own feature extractor makes of the loud noise."""
    made = transformers.AutoFeatureExtractor.from_pretrained(place)
    return made(LOUD, sampling_rate=16_000, return_tensors="pt")["input_values"]


def test_features_are_those_of_the_feature_extractor(beside: Path) -> None:
    assert torch.equal(Encoder(sv.load(beside)).inputs([LOUD])["input_values"], heard(beside))
    assert torch.equal(heard(beside)[0], torch.from_numpy(LOUD))


def test_the_doctor_finds_either_layout(beside: Path) -> None:
    assert not [finding for finding in sv.doctor(beside) if finding.check == "processor"]


def test_every_file_of_a_processor_is_saved_again(beside: Path) -> None:
    (beside / "merges.txt").write_text("a b\n")
    (beside / "normalizer.json").write_text("{}")
    again = sv.save(sv.drop_layers(sv.load(beside), keep=2), beside.with_name("again"))
    for path in beside.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    assert {path.name for path in again.iterdir()} - {path.name for path in beside.iterdir()} == {"README.md"}
    assert head_labels(sv.load(again))[5:] == ("a", "b")
    spoken = transformers.AutoProcessor.from_pretrained(again)
    assert spoken.tokenizer.decode([5, 0, 6]) == "ab" and spoken.feature_extractor.do_normalize is False


def test_another_head_keeps_the_feature_extractor_and_not_the_letters(beside: Path) -> None:
    again = beside.with_name("again")
    sv.save(with_head(sv.load(beside), "ForSequenceClassification", ["no", "yes"]), again)
    assert torch.equal(heard(again), heard(beside)) and not (again / "vocab.json").exists()
    assert Encoder(sv.load(again)).normalizes is False


def test_the_feature_extractor_that_lies_there_already_is_the_one_that_is_meant(beside: Path) -> None:
    again = beside.with_name("again")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(again)
    before = (again / EXTRACTOR).read_bytes()
    sv.save(sv.load(beside), again)
    assert (again / EXTRACTOR).read_bytes() == before and Encoder(sv.load(again)).normalizes is True
    other = beside.with_name("other")
    processor(other, do_normalize=True).save_pretrained(other)
    sv.save(sv.load(beside), other)
    assert Encoder(sv.load(other)).normalizes is True


def test_tokens_that_lie_there_already_are_not_thrown_away(tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()
    (target / "added_tokens.json").write_text("{}")
    model = with_head(tiny("wavlm"), "ForCTC", ["<pad>", "|", "a"], blank="<pad>")
    with pytest.raises(sv.SottovoceError, match=r"holds another added_tokens\.json than this model's"):
        sv.save(model, target)


def test_the_nested_settings_are_believed_first(folder: Path) -> None:
    sv.save(tiny("hubert"), folder)
    (folder / EXTRACTOR).write_text('{"do_normalize": true}')
    (folder / PROCESSOR).write_text('{"feature_extractor": {"do_normalize": false}}')
    assert Encoder(sv.load(folder)).normalizes is False
    (folder / PROCESSOR).write_text('{"processor_class": "Wav2Vec2Processor"}')
    assert Encoder(sv.load(folder)).normalizes is True
    (folder / EXTRACTOR).unlink()
    assert extractor_settings(folder) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"feature_extractor": ["a"]}', "feature_extractor is ['a'] in"),
        ('{"feature_extractor": {"do_normalize": "no"}}', "do_normalize is 'no' in processor_config.json of"),
        ('{"feature_extractor": {"padding_value": "1"}}', "padding_value is '1' in processor_config.json of"),
        ('{"feature_extractor": {"padding_value": 1e9}}', "padding_value is 1000000000.0 in"),
        ("[]", "holds a list, but a JSON object is wanted"),
    ],
)
def test_processors_that_are_none(text: str, words: str, folder: Path) -> None:
    sv.save(tiny("hubert"), folder)
    (folder / PROCESSOR).write_text(text)
    with pytest.raises(sv.SottovoceError) as caught:
        Encoder(sv.load(folder))
    assert words in str(caught.value)
    assert [finding for finding in sv.doctor(folder) if finding.level == "error" and finding.check == "processor"]


def test_features_that_come_ready_made_are_padded_as_the_processor_says(folder: Path) -> None:
    model = tiny("wav2vec2-bert")
    sv.save(model, folder)
    bins = model.config.feature_projection_input_dim // 2
    made = transformers.SeamlessM4TFeatureExtractor(feature_size=bins, num_mel_bins=bins, padding_value=1)
    made.save_pretrained(folder)
    audio = [LOUD[:2_000], LOUD[:3_900]]
    wanted = made(audio, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
    found = Encoder(sv.load(folder)).inputs(audio)
    assert torch.equal(found["input_features"], wanted["input_features"])
    assert torch.equal(found["attention_mask"], wanted["attention_mask"])
