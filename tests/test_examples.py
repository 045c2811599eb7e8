"""The example of every public name is run as it stands, but for what takes long, in a folder with a model."""

import doctest
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny
from speech import toy_folder
from test_house import exported
from torch import nn

import sottovoce as sv

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SHAPE: dict[str, Any] = {
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_size": 24,
    "intermediate_size": 3072,
}
NAMES = [name for name in exported() if name not in ("MEASURES", "METHODS", "TARGETS", "TASKS", "edits")]
# What an example shows that is not so everywhere; each has tests of its own.
ELSEWHERE = {
    "cut_at_convexity": "random states are most convex before the first layer, so nothing would stay",
    "gain": "the time is that of the machine",
    "read_data": "the corpora are not here",
    "load": "the model is on the Hub",
    "euclidean_convexity": "it takes a minute",
    "export": "it takes half a minute; tests/test_export.py exports",
    "transcribe": "no model here writes text; tests/test_streaming.py transcribes",
    "register_target": "a target that is registered stays",
    "register_measure": "docs/extending.md registers one, in a copy",
    "register_method": "docs/extending.md registers one, in a copy",
}


class Line(nn.Module):
    """A loss of one number, for the example of the training loop."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (self.weight - batch).square().sum(), torch.tensor(float(len(batch)))


class Numbers:
    """Batches of it."""

    def plan(self, epoch: int) -> list[list[int]]:
        return [[index] for index in range(8)]

    def load(self, items: list[int]) -> torch.Tensor:
        return torch.ones(len(items))

    def names(self, items: list[int]) -> list[str]:
        return list(map(str, items))

    def seconds(self, items: list[int]) -> float:
        return float(len(items))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user's: a model, what it was fine-tuned to, and the speech."""
    folder = tmp_path_factory.mktemp("examples")
    toy_folder(folder / "speech")
    encoder = tiny("hubert", **SHAPE)
    sv.save(encoder, folder / "my-model")
    data = sv.read_data(str(folder / "speech"))
    tuned = sv.finetune(encoder, data, task="keywords", train={"steps": 2, "lr": 3e-3}, freeze=[], batch=12)
    sv.save(tuned, folder / "tuned")
    return folder


def shortened(text: str) -> str:
    """An example with trainings of two updates, and of two layers where a model is trained from nothing."""
    text = text.replace('pretrain(sv.new("melhubert")', 'pretrain(sv.new("melhubert", num_hidden_layers=2)')
    return re.sub(r'"steps": [\d_]+|(?<=steps=)[\d_]+', lambda found: re.sub(r"[\d_]+$", "2", found[0]), text)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(ELSEWHERE)))
def test_the_example_of(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    text = inspect.getdoc(inspect.unwrap(getattr(sv, name))) or ""
    makers: dict[str, Callable[[], Any]] = {
        "model": lambda: sv.load("my-model"),
        "tuned": lambda: sv.load("tuned"),
        "data": lambda: sv.read_data("speech"),
        "small": lambda: sv.drop_layers(sv.load("my-model"), keep=9),
        "sparse": lambda: sv.prune_weights(sv.load("my-model")),
        "batch": lambda: torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)),
        "mask": lambda: torch.ones(1, 16_000, dtype=torch.long),
        "samples": lambda: np.random.default_rng(0).standard_normal(16_000).astype(np.float32),
        "objective": Line,
        "source": Numbers,
        "recipe": lambda: sv.Recipe("my-model", measures=(("size", {}),)),
    }
    world: dict[str, Any] = {"sv": sv, "Path": Path} | {other: getattr(sv, other) for other in exported()}
    world |= {word: make() for word, make in makers.items() if re.search(rf"\b{word}\b", text)}
    example = doctest.DocTestParser().get_doctest(
        text if name in ("Training", "train") else shortened(text), world, name, None, None
    )
    steps = [step for step in example.examples if not step.options.get(doctest.SKIP)]
    assert steps, f"the example of sv.{name} runs nothing"
    told: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(example, out=told.append)
    assert not failed, "".join(told)
