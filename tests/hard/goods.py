"""Good files of every kind that the program reads, small, and the same at every call."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

import sottovoce as sv
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Phone, Utterance, write_manifest
from sottovoce.models.teachers import write_difference
from sottovoce.runs import Run
from sottovoce.training.settings import Training
from sottovoce.training.state import Keeper, Position, identity

SHAPE: dict[str, Any] = {
    "conv_dim": (8, 8, 12),
    "conv_stride": (5, 8, 8),
    "conv_kernel": (10, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "classifier_proj_size": 8,
    "vocab_size": 12,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}
RATE = 16_000
RECIPE = """\
model: MODEL
data: DATA
seed: 3
steps:
- drop_layers: {keep: 1, by: backward}
- low_rank: {rank: 4, parts: [attention, feed_forward], by: svd}
measures:
- size
- macs: {seconds: 1.5, convention: total}
vary:
  seed: [0, 1]
  steps.low_rank.rank: [2, 4]
"""
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "wavex.wav": ("WAVEX", "PCM_24"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "sph": ("NIST", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
}


def make(folder: Path) -> Path:
    """Everything, below one folder."""
    torch.set_num_threads(1)
    models(folder)
    audio(folder / "audio")
    speech(folder / "speech")
    (folder / "recipe.yaml").write_text(RECIPE)
    run(folder / "runs")
    training(folder / "training")
    shelf(folder / "shelf")
    (folder / "words.arpa").write_text(arpa())
    return folder


def models(folder: Path) -> None:
    """A plain model, a cut one, a packed one, one with a head and its processor, a difference."""
    plain = sv.new("hubert", **SHAPE)
    sv.save(plain, folder / "plain")
    sv.save(sv.new("wavlm", **SHAPE, num_buckets=8, max_bucket_distance=20), folder / "wavlm")
    cut = sv.new("hubert", **{**SHAPE, "num_hidden_layers": 3})
    sv.edits.keep_heads(cut, 0, [1])
    sv.edits.keep_feed_forward(cut, 1, range(7))
    sv.edits.set_order(cut, [1, 0, 2, 0])
    sv.edits.factor(cut, "encoder.layers.2.attention.q_proj", 3)
    sv.edits.use_log_mel(cut, bins=10)
    sv.keep_hidden(cut, range(12))
    sv.save(cut, folder / "cut")
    sv.save(sv.prune_weights(plain, sparsity=0.7), folder / "packed", packed=True)
    head = sv.new("hubert", head="ForCTC", **SHAPE)
    letters = {"<pad>": 0, "<unk>": 1, "|": 2, **{letter: number for number, letter in enumerate("abcdefghi", 3)}}
    head.processor_files = {
        "vocab.json": json.dumps(letters),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": "<pad>"}),
    }
    sv.save(head, folder / "head")
    plain.save_pretrained(folder / "shards", max_shard_size="10KB")
    shutil.copy(folder / "plain" / "preprocessor_config.json", folder / "shards")
    for name, zipped in (("pickled", True), ("pickled-long-ago", False)):
        shutil.copytree(folder / "plain", folder / name, ignore=shutil.ignore_patterns("*.safetensors"))
        path = folder / name / "pytorch_model.bin"
        torch.save(plain.state_dict(), path, _use_new_zipfile_serialization=zipped)
    tuned = sv.load("small-melhubert")
    with torch.no_grad():
        next(tuned.parameters())[:1] += 0.01
    sv.save(tuned, folder / "difference", check=False)
    write_difference(folder / "difference", tuned.state_dict(), "small-melhubert")


def sound(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """A voice, nearly."""
    times = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(times))
    return (0.3 * np.sin(2 * np.pi * (200 + 100 * seed) * times) + 0.02 * noise).astype("float32")


def audio(folder: Path) -> None:
    """The same voice in every format."""
    folder.mkdir(parents=True)
    for name, (kind, subtype) in FORMATS.items():
        path = folder / (f"a.{name}")
        soundfile.write(str(path), sound(0.15, 1), RATE, format=kind, subtype=subtype)


def speech(folder: Path) -> None:
    """A manifest of ten utterances with all labels."""
    folder.mkdir(parents=True)
    listed = []
    for number in range(10):
        path = folder / f"u{number}.wav"
        soundfile.write(str(path), sound(0.3, number), RATE, subtype="PCM_16")
        phones = (Phone("SIL", 0.0, 0.1), Phone("AH" if number % 2 else "B", 0.1, 0.3))
        split = ("train", "train", "train", "dev", "test")[number % 5]
        label, who = ("yes", "no")[number % 2], f"s{number % 3}"
        listed.append(
            Utterance(f"u{number}", path, 0.3, "ab cd", phones, speaker=who, label=label, split=split, license="CC0")
        )
    write_manifest(folder / "manifest.jsonl", listed)


def run(folder: Path) -> None:
    """A run of a recipe, finished, with measurements and a log."""
    made = Run.create(folder, sv.Recipe("small-hubert", measures=(("size", {}),)), {"data": "0123"})
    made.add(sv.size(sv.new("hubert", **SHAPE))[:6])
    made.log("measured")
    made.finish()
    made.folder.rename(folder / "run")


def objective() -> torch.nn.Module:
    """What is trained: three numbers, more or less."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def trained() -> tuple[torch.nn.Module, list[torch.optim.Optimizer], Keeper]:
    """An objective with its optimiser after a step, and who keeps it."""
    model = objective()
    known = identity(model, Training(steps=5), "goods")
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(model.parameters())]
    return model, optimizers, Keeper(None, known)


def training(folder: Path) -> None:
    """The checkpoint of a training between two runs, the best weights and the log."""
    model, optimizers, keeper = trained()
    keeper.folder = folder
    folder.mkdir(parents=True)
    model(torch.ones(4, 3)).sum().backward()
    optimizers[0].step()
    keeper.save(model, optimizers, Position(step=2, best=0.5, best_step=1, judged=2, loss=1.25))
    keeper.save_best(model)
    for step in (1, 2):
        keeper.log({"step": step, "loss": 0.5})


def shelf(folder: Path) -> None:
    """Arrays in a mapped file."""
    folder.mkdir(parents=True)
    made = Shelf(folder, identity="goods", row=(2,), dtype="float32")
    made.add({"a": np.zeros((3, 2), "float32"), "b": np.ones((1, 2), "float32")})
    made.add({"c": np.ones((2, 2), "float32")})


def arpa() -> str:
    """A language model of two words."""
    from sottovoce.tasks.decoding import NGrams

    return NGrams.from_texts(["ab cd", "cd ab ab"], order=2).to_arpa()
