"""docs/trial.md is run as it stands, on fine-tuned models as Hugging Face's Trainer leaves them."""

import json
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers
from safetensors.torch import load_file
from speech import RATE, toy_folder, toys
from test_cli import run
from zygote import Child, Zygote

import sottovoce as sv

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TINY: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 16, "layerdrop": 0.0, "final_dropout": 0.0,
}  # fmt: skip
LETTERS = {
    name: index for index, name in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"])
}
WORDS = ["low", "middle", "high"]


def settings(folder: Path) -> Any:
    """A training of one update, as short as one can be."""
    return transformers.TrainingArguments(
        output_dir=str(folder), max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip


def rows(head: str) -> Any:
    labels = [torch.tensor([5, 6]) if head == "ForCTC" else torch.tensor(index % 3) for index in range(4)]
    return [{"input_values": torch.randn(8_000), "labels": label} for label in labels]


def processor(head: str, folder: Path) -> Any:
    """The feature extractor, and the tokenizer where there is one."""
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    if head != "ForCTC":
        return extractor
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(LETTERS))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    return transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)


def left_by_trainer(head: str, folder: Path, *, old: bool, **shape: Any) -> None:
    """A model that Trainer fine-tuned and saved, its files those of this version of transformers or of version 4."""
    more: dict[str, Any] = {"vocab_size": len(LETTERS), "pad_token_id": 0} if head == "ForCTC" else {"num_labels": 3}
    config = transformers.Wav2Vec2Config(**shape, **more)
    if head != "ForCTC":
        config.id2label, config.label2id = dict(enumerate(WORDS)), {word: index for index, word in enumerate(WORDS)}
    torch.manual_seed(0)
    model = getattr(transformers, f"Wav2Vec2{head}")(config)
    owner = processor(head, folder.with_name(f"{folder.name}-letters"))
    data = rows(head)
    trainer = transformers.Trainer(model=model, args=settings(folder), train_dataset=data, processing_class=owner)
    trainer.train()
    trainer.save_model(str(folder))
    if not old:
        return
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    record = (owner.feature_extractor if head == "ForCTC" else owner).to_dict()
    (folder / "processor_config.json").unlink(missing_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(record, indent=2))


def follow(folder: Path, capsys: Any, head: str, *, keep: int) -> None:
    """Type what the page says, and look for what it shows."""
    words = {"TASK": "asr" if head == "ForCTC" else "keywords", "keep=9": f"keep={keep}", "steps=200": "steps=2"}
    words["PIPELINE"] = "automatic-speech-recognition" if head == "ForCTC" else "audio-classification"
    page = (ROOT / "docs" / "trial.md").read_text(encoding="utf-8")
    world: dict[str, Any] = {"arguments": settings(folder), "rows": rows(head), "audio": torch.randn(1, 16_000)}
    for kind, text in BLOCK.findall(page):
        for name, value in words.items():
            text = text.replace(name, value)
        if kind == "python":
            exec(compile(text, "trial.md", "exec"), world)
            continue
        for command, seen in re.findall(r"^\$ sottovoce (.*)\n((?:[^$].*\n)*)", text, re.MULTILINE):
            code, out, err = run(capsys, *command.split())
            assert code == 0, (command, err)
            assert all(" ".join(line.split()) in " ".join(out.split()) for line in seen.splitlines()), (command, out)
    assert world["same"] and world["answer"]
    assert np.isfinite(world["answer"][0]["score"]) if head != "ForCTC" else isinstance(world["answer"]["text"], str)


@pytest.fixture(params=["safetensors", "bin"])
def old(request: pytest.FixtureRequest) -> bool:
    """Whether the files are those of version 4."""
    return request.param == "bin"


@pytest.fixture(params=["ForCTC", "ForSequenceClassification"])
def head(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the page is followed, with speech in it."""
    monkeypatch.chdir(tmp_path)
    toy_folder(tmp_path / "speech")
    lines = []
    for toy in toys():
        name = f"{'validation' if toy.split == 'dev' else toy.split}/{toy.id}.wav"
        (tmp_path / "my-recordings" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(str(tmp_path / "my-recordings" / name), np.asarray(toy.audio), RATE)
        lines.append(json.dumps({"file_name": name, "text": toy.text, "label": toy.label, "speaker": toy.speaker}))
    (tmp_path / "my-recordings" / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def killed_twice(zygote: Zygote, place: Path, head: str, *, keep: int, steps: int) -> None:
    """Healing on one's own audiofolder: killed in the middle twice, it ends with the weights of one that was not."""
    step = f"drop_layers:keep={keep},heal.steps={steps},heal.lr=1e-4,heal.batch=2"

    def start(output: str) -> Child:
        command = ["compress", "my-model", "--step", step, "--data", "my-recordings", "-o", output]
        return zygote.start(command, cwd=place)

    undisturbed = start("a").wait()
    codes, reached = [], []
    for kill in (1, 2):
        process, log = start("b"), None
        while process.poll() is None and (log is None or f'"step": {kill * steps // 3}' not in log.read_text()):
            time.sleep(0.01)
            log = next((place / "b-training").rglob("log.jsonl"), None)
        process.kill(signal.SIGKILL)
        codes.append(process.wait())
        reached.append(len(log.read_text().splitlines()) if log is not None else 0)
    codes += [start("b").wait(), undisturbed]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0, 0] and 0 < reached[0] <= reached[1], (codes, reached)
    one, other = (sv.load(place / name).state_dict() for name in "ab")
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert sv.load(place / "b").config.num_hidden_layers == keep


def test_the_page_on_a_tiny_model(head: str, old: bool, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left_by_trainer(head, place / "my-model", old=old, **TINY)
    follow(place, capsys, head, keep=2)
    kept = {path.name for path in (place / "smaller").iterdir()}
    assert "model.safetensors" in kept and ("vocab.json" in kept) == (head == "ForCTC")
    code, _, err = run(capsys, "convert", "my-model", "-o", "my-model-safe")
    assert code == 0 and (place / "my-model-safe" / "model.safetensors").is_file(), err


def test_healing_on_ones_own_recordings_is_killed_twice(head: str, place: Path, zygote: Zygote) -> None:
    left_by_trainer(head, place / "my-model", old=False, **TINY)
    killed_twice(zygote, place, head, keep=2, steps=30)


@pytest.mark.slow
def test_healing_on_ones_own_recordings_at_the_base_size(head: str, place: Path, zygote: Zygote) -> None:
    left_by_trainer(head, place / "my-model", old=False, layerdrop=0.0)
    killed_twice(zygote, place, head, keep=9, steps=30)
    for name in ("my-model", "a", "b"):
        shutil.rmtree(place / name)


@pytest.mark.slow
def test_the_page_at_the_base_size(head: str, old: bool, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left_by_trainer(head, place / "my-model", old=old, layerdrop=0.0)  # one update moves every layer
    follow(place, capsys, head, keep=9)
    shutil.rmtree(place / "my-model")  # gigabytes
