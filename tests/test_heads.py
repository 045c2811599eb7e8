"""Heads made elsewhere and heads made here: what they say, when they are used, and what training leaves alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, tiny
from speech import toys
from torch import nn

import sottovoce as sv
from sottovoce import Anatomy
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in
from sottovoce.models.encoder import Encoder
from sottovoce.models.heads import head_labels, with_head
from sottovoce.tasks import TASKS
from sottovoce.tasks.batch import Questions
from sottovoce.tasks.finetune import Headed, can_score, finetune_model, frozen_parts
from sottovoce.tasks.kinds import GREEDY, Transcribe
from sottovoce.tasks.task import material
from sottovoce.training import Training

DATA = toys()
SETTINGS = Training(steps=2, lr=1e-3)
LETTERS = list("'ABDEGHIKLMNOPRSTUVW")


def foreign(folder: Path, tokens: list[str], *, pad: str, added: list[str] = [], **about: Any) -> Any:  # noqa: B006
    """A CTC model as others publish it: a vocabulary, sometimes tokens added to it, and how they are used."""
    folder.mkdir()
    names = [*tokens, *added]
    model = tiny("wav2vec2", head="ForCTC", vocab_size=len(names), pad_token_id=names.index(pad))
    files = {
        "vocab": dict(zip(tokens, range(len(tokens)), strict=True)),
        "tokenizer_config": {"pad_token": pad, **about},
    }
    if added:
        files["added_tokens"] = {token: len(tokens) + index for index, token in enumerate(added)}
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    model.name_or_path = str(folder)
    return model


def test_vocabularies_of_others(tmp_path: Path) -> None:
    blog = foreign(
        tmp_path / "blog", ["|", *LETTERS, "[UNK]", "[PAD]"], pad="[PAD]", added=["<s>", "</s>"], unk_token="[UNK]"
    )
    labels = head_labels(blog)
    assert (
        len(labels) == 25
        and labels[0] == "|"
        and labels[22] == "<pad>"
        and labels[21] == labels[23] == labels[24] == ""
    )
    fair = foreign(tmp_path / "fair", ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS], pad="<pad>")
    assert head_labels(fair)[:6] == ("<pad>", "", "", "", "|", "'")
    for model in (blog, fair):
        assert can_score(TASKS["asr"], model, DATA)
        assert not can_score(TASKS["phones"], model, DATA) and not can_score(TASKS["pr"], model, DATA)
        assert sv.MEASURES["asr"](model, DATA)[0].metric == "word_error_rate"
    small = foreign(tmp_path / "small", ["<pad>", " ", *map(str.lower, LETTERS)], pad="<pad>", word_delimiter_token=" ")
    labels = head_labels(small)
    said = [labels.index(letter) for letter in ("l", "o", "w", "|")]
    logits = nn.functional.one_hot(torch.tensor([said]), len(labels)).float() * 9
    assert Transcribe(words=True).read(logits, torch.tensor([4]), GREEDY, labels) == [["L", "O", "W", "|"]]
    assert can_score(TASKS["asr"], small, DATA)
    nested = foreign(tmp_path / "nested", ["<pad>", "a"], pad="<pad>")
    (tmp_path / "nested" / "vocab.json").write_text(json.dumps({"eng": {"a": 1}}))
    with pytest.raises(SottovoceError, match="a part for each language"):
        head_labels(nested)


def test_a_classifier_of_others_is_asked_only_what_it_knows() -> None:
    labels = {0: "high", 1: "low", 2: "middle"}
    model = tiny("hubert", head="ForSequenceClassification", num_labels=3)
    model.config.id2label = labels
    assert can_score(TASKS["keywords"], model, DATA) and not can_score(TASKS["verification"], model, DATA)
    model.config.id2label = {number: label.upper() for number, label in labels.items()}
    assert not can_score(TASKS["keywords"], model, DATA)
    rows = sv.MEASURES["keywords"](model, DATA, train={"steps": 2})
    assert any(row.metric == "layer_weight" for row in rows), "another head's labels: the encoder is probed"


@pytest.mark.parametrize("family", sorted(set(TINY) - {"whisper"}))
def test_every_family_gets_every_head_and_keeps_it(family: str, tmp_path: Path) -> None:
    for task, blank in (("phones", None), ("asr", "<pad>")):
        labels = ("A", "B", "SIL") if blank is None else (blank, "A", "B", "|")
        model = with_head(tiny(family), "ForCTC", labels, task=task, blank=blank)
        again = sv.load(sv.save(model, tmp_path / task))
        assert head_labels(again) == head_labels(model) == labels
        assert (tmp_path / task / "vocab.json").exists() == (blank is not None)
    model = with_head(tiny(family), "ForSequenceClassification", ["no", "yes"], task="keywords")
    again = sv.load(sv.save(model, tmp_path / "words"))
    assert head_labels(again) == ("no", "yes")


def test_embeddings_are_what_the_classifier_reads() -> None:
    model = tiny("hubert", head="ForSequenceClassification", use_weighted_layer_sum=True)
    with torch.no_grad():
        model.layer_weights.copy_(torch.tensor([5.0, -2.0, 1.0, 0.5, -9.0]))
    headed = Headed(TASKS["verification"], model)
    test = material(TASKS["verification"], DATA)["test"]
    source = Questions(TASKS["verification"], test, Encoder(model, outputs=True))
    batch = source.load([0, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(model.classifier(headed.outputs(batch)[0]), headed.logits(batch))


def test_masking_in_time_can_be_set_either_way(tmp_path: Path) -> None:
    never = tiny("hubert")
    masking = tiny("hubert", mask_time_prob=0.05)
    assert not hasattr(never, "masked_spec_embed") and hasattr(masking, "masked_spec_embed")
    for number, (model, share) in enumerate([(never, 0.3), (masking, 0.0), (masking, 0.3), (never, 0.0)]):
        tuned = finetune_model(TASKS["keywords"], model, DATA, settings=SETTINGS, mask_time=share)
        assert tuned.config.apply_spec_augment == (share > 0)
        sv.save(tuned, tmp_path / str(number))
    for share in (-0.1, 1.0, 2.0):
        with pytest.raises(SottovoceError, match="mask_time="):
            finetune_model(TASKS["keywords"], never, DATA, settings=SETTINGS, mask_time=share)
        with pytest.raises(SottovoceError, match="dropout="):
            finetune_model(TASKS["keywords"], never, DATA, settings=SETTINGS, dropout=share)


def test_a_frozen_front_end_costs_no_backward_pass() -> None:
    model = tiny("hubert", head="ForSequenceClassification")
    model.train()
    inputs = torch.randn(1, 4000)
    with frozen_parts(model, ["front_end"]):
        assert not model.hubert.feature_extractor(inputs).requires_grad
        assert model(inputs).logits.requires_grad
    assert model.hubert.feature_extractor(inputs).requires_grad
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_is_frozen_works_as_in_evaluation() -> None:
    model = tiny("wav2vec2-conformer", head="ForSequenceClassification", num_labels=3)
    headed, base = Headed(TASKS["keywords"], model), model.wav2vec2_conformer
    with frozen_parts(model, ["front_end", "projection", "layers.0"]):
        headed.train()
        frozen = [base.feature_extractor, base.feature_projection, base.encoder.layers[0]]
        assert not any(module.training for part in frozen for module in part.modules())
        others = [model, base, base.encoder, model.projector, *base.encoder.layers[1:], base.encoder.dropout]
        assert all(module.training for module in others)
        assert not any(module.training for module in headed.eval().modules())
    headed.train()
    assert all(module.training for module in headed.modules())


def test_frozen_means_frozen() -> None:
    model = tiny("wav2vec2-conformer")
    everything = ["front_end", "projection", "positional", "layers"]
    tuned = finetune_model(TASKS["keywords"], model, DATA, settings=replace(SETTINGS, lr=0.1), freeze=everything)
    before, after = model.state_dict(), Anatomy(tuned).base.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items() if name != "masked_spec_embed")
    with pytest.raises(SottovoceError, match="nothing in this model takes gradients"):
        finetune_model(TASKS["keywords"], model, DATA, settings=SETTINGS, freeze=[*everything, "head"])


def test_another_model_data_or_option_is_another_training(tmp_path: Path) -> None:
    def tune(seed: int = 0, data: Any = DATA, **options: Any) -> Any:
        with working_in(tmp_path):
            model = tiny("hubert", seed=seed)
            return finetune_model(TASKS["keywords"], model, data, settings=SETTINGS, **options)

    first = tune()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), tune().parameters(), strict=True))
    turned = {"low": "high", "high": "middle", "middle": "low"}
    relabelled = [replace(u, label=turned[str(u.label)]) for u in DATA]
    for change in ({"seed": 1}, {"data": relabelled}, {"dropout": 0.3}, {"freeze": []}, {"size": 5}):
        with pytest.raises(SottovoceError, match="other settings, data or model"):
            tune(**change)  # type: ignore[arg-type]


def test_two_layers_probed_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    model = tiny("hubert")
    alone = [sv.MEASURES["keywords"](model, DATA, layer=layer, train={"steps": 20})[0].value for layer in (0, 3)]
    with working_in(tmp_path):
        assert [
            sv.MEASURES["keywords"](model, DATA, layer=layer, train={"steps": 20})[0].value for layer in (0, 3)
        ] == alone


def test_one_id_for_two_recordings_is_refused() -> None:
    twice = [replace(u, id=u.id.partition("-")[2]) for u in DATA]
    with pytest.raises(SottovoceError, match="stands for several utterances"):
        sv.MEASURES["keywords"](tiny("hubert"), twice)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"limit": 0}, "limit=0"),
        ({"limit": -1}, "limit=-1"),
        ({"batch": 0}, "batch=0"),
        ({"inner": 0}, "inner=0"),
        ({"decode": {"beam": 0}}, "beam=0"),
        ({"train": {"steps": 0}}, "steps=0"),
        ({"train": {"lr": 0.0}}, "lr=0"),
        ({"layer": -1}, "layer=-1"),
    ],
)
def test_senseless_options_are_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SottovoceError, match=sentence):
        sv.MEASURES["keywords"](tiny("hubert"), DATA, **options)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    for family in ("hubert", "wavlm", "wav2vec2-conformer"):
        settings = replace(SETTINGS, checkpoint_gradients=True)
        if family == "wav2vec2-conformer":
            with pytest.raises(SottovoceError, match="batch norms"):
                finetune_model(TASKS["pr"], tiny(family), DATA, settings=settings, dropout=0.1)
            continue
        results = [
            finetune_model(TASKS["pr"], tiny(family), DATA, settings=kind, dropout=0.1) for kind in (SETTINGS, settings)
        ]
        for first, second in zip(*(result.parameters() for result in results), strict=True):
            torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
