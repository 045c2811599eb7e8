"""What Hugging Face's own saving writes of an irregular model loads where there is no sottovoce."""

import copy
import gc
import json
import pickle
import weakref
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
import transformers
from conftest import edited, tiny
from elsewhere import WAVLM, elsewhere, write_case
from huggingface_hub import HfApi

import sottovoce as sv
from sottovoce.models.bundle import FILE

HEAD = "ForSequenceClassification"


def trainer(model: Any, folder: Path, **options: Any) -> transformers.Trainer:
    rows: Any = [{"input_values": torch.randn(4_000), "labels": torch.tensor(i % 2)} for i in range(4)]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        save_strategy="steps", save_steps=1, disable_tqdm=True, dataloader_pin_memory=False, **options,
    )  # fmt: skip
    return transformers.Trainer(model=model, args=arguments, train_dataset=rows)


def test_all_ways_of_saving_load_elsewhere(tmp_path: Path) -> None:
    cases, models = dict[Path, Path](), dict[Path, Any]()

    def check(model: Any, folder: Path) -> None:
        models[folder], cases[folder] = model, write_case(model, tmp_path / f"{len(cases)}.safetensors")

    model = edited("wavlm", "everything", head=HEAD)
    model.save_pretrained(tmp_path / "plain")
    check(model, tmp_path / "plain")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.classifier.bias.add_(1.0)
    other.save_pretrained(tmp_path / "copied")
    check(other, tmp_path / "copied")
    check(sv.load(tmp_path / "plain").half(), tmp_path / "half")
    models[tmp_path / "half"].save_pretrained(tmp_path / "half")
    check(pickle.loads(pickle.dumps(edited("hubert", "everything", head=HEAD))), tmp_path / "pickled")
    models[tmp_path / "pickled"].save_pretrained(tmp_path / "pickled")
    wrapped = accelerate.Accelerator(cpu=True).prepare(torch.nn.Sequential(model))
    accelerate.Accelerator(cpu=True).unwrap_model(wrapped)[0].save_pretrained(tmp_path / "unwrapped")
    check(model, tmp_path / "unwrapped")
    trained = edited("hubert", "everything", head=HEAD)
    training = trainer(trained, tmp_path / "out")
    training.train()
    training.save_model(str(tmp_path / "final"))
    for folder in (tmp_path / "out" / "checkpoint-1", tmp_path / "final"):
        check(trained, folder)
    for folder, saved in models.items():
        assert type(saved).__module__.startswith("transformers.")
        reloaded = sv.load(folder)
        inputs = sv.Anatomy(saved).dummy_inputs(0.5)
        with torch.no_grad():
            assert torch.equal(reloaded(**inputs)[0], saved(**inputs)[0]), folder
    for folder, seen in elsewhere(cases, tmp_path).items():
        assert seen["stops"] and not seen["missing"] and seen["same"], (folder, seen)


def test_what_goes_to_the_hub_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two ways there, with the upload itself alone left out."""
    sent: dict[str, Any] = {}

    def upload(self: Any, *, repo_id: str, operations: Any, **options: Any) -> None:
        sent.update({operation.path_in_repo: operation.path_or_fileobj for operation in operations})
        sent["config"] = json.loads(Path(sent["config.json"]).read_text())

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **options: type("", (), {"repo_id": repo_id}))
    monkeypatch.setattr(HfApi, "create_commit", upload)
    model = edited("hubert", "everything")
    for send in (
        lambda: model.save_pretrained(tmp_path / "model", push_to_hub=True, repo_id="me/small"),
        lambda: model.push_to_hub("me/small"),
    ):
        sent.clear()
        send()
        assert {"config.json", "model.safetensors", FILE} <= set(sent)
        assert sent["config"]["model_type"] == "sottovoce_hubert" and "AutoModel" in sent["config"]["auto_map"]


def test_the_encoder_of_a_model_with_a_head_is_saved_whole(tmp_path: Path) -> None:
    model = edited("hubert", "keep_heads", head=HEAD)
    model.hubert.save_pretrained(tmp_path / "encoder")
    assert (tmp_path / "encoder" / FILE).is_file()
    assert sv.Anatomy(sv.load(tmp_path / "encoder")).heads(1) == 2


def test_a_regular_model_is_saved_as_ever(tmp_path: Path) -> None:
    model = tiny("hubert")
    model.save_pretrained(tmp_path / "before")
    sv.edits.set_order(model, [0, 0, 1, 2])
    sv.edits.set_order(model, [0, 1, 2])
    assert "save_pretrained" not in vars(model)
    model.save_pretrained(tmp_path / "after")
    assert {path.name for path in (tmp_path / "after").iterdir()} == {"config.json", "model.safetensors"}
    assert json.loads((tmp_path / "after" / "config.json").read_text())["model_type"] == "hubert"


def test_a_saved_model_is_as_it_was(tmp_path: Path) -> None:
    model = edited("hubert", "everything")
    model.save_pretrained(tmp_path / "first")
    assert type(model.config) is transformers.HubertConfig and model.config.to_dict()["model_type"] == "hubert"
    with pytest.raises(AttributeError):
        model.save_pretrained(tmp_path / "second", state_dict=3)
    assert type(model.config) is transformers.HubertConfig


def test_a_model_is_freed_at_once() -> None:
    model = edited("hubert", "everything")
    alive = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert alive() is None
    finally:
        gc.enable()


def test_a_shallow_copy_of_a_model_that_is_gone_says_so(tmp_path: Path) -> None:
    model = edited("hubert", "everything")
    shallow = copy.copy(model)
    del model
    with pytest.raises(sv.SottovoceError, match="deepcopy"):
        shallow.save_pretrained(tmp_path / "model")


def test_bits_elsewhere_in_each_dtype(tmp_path: Path) -> None:
    """What docs/models.md promises of plain Hugging Face code."""
    cases, dtypes = dict[Path, Path](), dict[Path, torch.dtype]()
    for dtype in WAVLM:
        for family, edit in (("hubert", "keep_layers"), ("wavlm", "everything"), ("wavlm-large", "keep_layers")):
            model, folder = edited(family, edit).to(dtype), tmp_path / f"{family}-{edit}-{dtype}"
            sv.save(model, folder)
            cases[folder], dtypes[folder] = write_case(model, tmp_path / f"{len(cases)}.safetensors"), dtype
    for folder, seen in elsewhere(cases, tmp_path).items():
        assert seen["dtype"] == str(dtypes[folder]) and not seen["missing"]
        regular_wavlm = folder.name.startswith("wavlm") and not (folder / FILE).exists()
        assert seen["error"] <= WAVLM[dtypes[folder]] if regular_wavlm else seen["same"], (folder, seen)


@pytest.mark.slow
def test_wavlm_of_full_size_elsewhere_in_each_dtype(tmp_path: Path) -> None:
    cases, dtypes = dict[Path, Path](), dict[Path, torch.dtype]()
    for dtype in WAVLM:
        model, folder = sv.new("wavlm", num_hidden_layers=9).to(dtype), tmp_path / str(dtype)
        sv.save(model, folder)
        cases[folder], dtypes[folder] = write_case(model, tmp_path / f"{dtype}.safetensors", seconds=2.0), dtype
    for folder, seen in elsewhere(cases, tmp_path).items():
        assert not (folder / FILE).exists() and 0.0 < seen["error"] <= WAVLM[dtypes[folder]], (folder, seen)
