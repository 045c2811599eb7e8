"""Pretraining of shared stacks: a killed one draws the same depths again, and frames are learnt as well as units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny
from safetensors.torch import load_file
from speech import toys
from torch import nn

import sottovoce as sv
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.pretraining.plan import Round, Units
from sottovoce.pretraining.pseudo_labels import UnitNamer
from sottovoce.pretraining.targets import masked_source, targets_of

DATA = toys(18, 6, 3)
TRAIN = {"steps": 5, "lr": 2e-3, "save_seconds": 0.0}
OPTIONS: dict[str, Any] = {"train": TRAIN, "batch_seconds": 3, "mask": {"share": 0.5, "span": 3}, "dropout": 0.0}
STACK = {"groups": 1, "depth": "uniform:1..4"}


class Killed(Exception):
    """As if the process had ended."""


def mel_model(family: str = "hubert", **settings: Any) -> Any:
    """A tiny model that hears log-mel frames."""
    torch.manual_seed(0)
    model = tiny(family, **settings)
    sv.edits.use_log_mel(model, bins=20)
    return model


@pytest.mark.parametrize("kind", ["clusters", "frames"])
def test_a_killed_training_draws_the_same_depths(kind: str, tmp_path: Path) -> None:
    model, left = mel_model(), [10**9]
    depths: list[int] = []
    units = {"kind": kind, "clusters": 5}

    def count(module: nn.Module, *given: Any) -> None:
        left[0] -= module.training
        if module.training:
            depths.append(len(Anatomy(module).order))  # pyright: ignore[reportArgumentType]
        if left[0] < 0:
            raise Killed

    Anatomy(model).base.register_forward_pre_hook(count)

    def run(name: str) -> dict[str, torch.Tensor]:
        with working_in(tmp_path / name):
            return sv.pretrain(model, DATA, units=units, stack=STACK, **OPTIONS).state_dict()

    undisturbed = run("whole")
    assert len(set(depths)) > 1 and max(depths) <= 4
    left[0] = 3
    with pytest.raises(Killed):
        run("killed")
    left[0] = 10**9
    again = run("killed")
    assert all(torch.equal(tensor, again[name]) for name, tensor in undisturbed.items())


@pytest.mark.parametrize("family", ["hubert", "wav2vec2-conformer"])
@pytest.mark.parametrize("front_end", ["log-mel", "convolutions"])
def test_every_front_end_and_layer_learns_frames(family: str, front_end: str, tmp_path: Path) -> None:
    """The distance of hidden frames falls, on Transformer and Conformer layers that are shared."""
    torch.manual_seed(0)
    model = mel_model(family) if front_end == "log-mel" else tiny(family, mask_time_prob=0.1)
    steps = len(Anatomy(model).order)
    options: dict[str, Any] = {**OPTIONS, "train": {"steps": 60, "lr": 5e-3, "validate_every": 10}}
    with working_in(tmp_path):
        made = sv.pretrain(
            model, DATA, units={"kind": "frames"}, stack={"groups": 1, "depth": f"uniform:1..{steps}"}, **options
        )
    assert Anatomy(made).order == (0,) * steps
    lines = (next(tmp_path.rglob("log.jsonl"))).read_text(encoding="utf-8").splitlines()
    losses = [
        float(line.split('"validation_loss": ')[1].split(",")[0].rstrip("}"))
        for line in lines
        if "validation_loss" in line
    ]
    assert len(losses) == 6 and losses[-1] < 0.95 * losses[0], losses


def test_frames_are_those_of_the_filter_bank(tmp_path: Path) -> None:
    """In standard deviations of the corpus, as often as the encoder has frames, whatever part of it is heard."""
    model = tiny("hubert", mask_time_prob=0.1)
    plan = Round(Units(kind="frames"), batch_seconds=5.0)
    targets = targets_of(plan, UnitNamer(model, plan), DATA, [], place=tmp_path, seed=0)
    encoder = Encoder(model, outputs=True)
    whole = LogMel(bins=40, stack=targets.outputs // 40)
    batch = masked_source(targets, DATA[:3], plan).load([0, 1, 2])

    def heard(utterance: Utterance) -> torch.Tensor:
        return whole(encoder.inputs([np.asarray(utterance.audio)])["input_values"])[0].T

    flat = torch.cat([heard(utterance) for utterance in DATA]).reshape(-1, 40)
    for utterance, found, count in zip(DATA[:3], batch.targets, batch.frames.tolist(), strict=True):
        assert (
            found.shape
            == (count, targets.outputs)
            == (encoder.frames(len(np.asarray(utterance.audio))), whole.bins * whole.stack)
        )
        wanted = (heard(utterance).reshape(-1, 40) - flat.mean(0)) / flat.std(0).clamp(min=1e-3)
        size = min(len(found), len(wanted.reshape(-1, targets.outputs)))
        torch.testing.assert_close(found[:size], wanted.reshape(-1, targets.outputs)[:size], rtol=1e-4, atol=1e-4)


def test_what_no_stack_can_be_is_refused_before_work() -> None:
    model = mel_model()
    steps = len(Anatomy(model).order)
    for stack, message in (
        ({"depth": f"uniform:2..{steps + 1}"}, f"this stack holds {steps} steps"),
        ({"groups": steps + 1}, f"makes 1 to {steps} groups"),
        ({"groups": [[0, 1]]}, "in no group is layer"),
    ):
        with pytest.raises(SottovoceError, match=message):
            sv.pretrain(model, DATA, stack=stack, **OPTIONS)
    shared = sv.share_layers(model, groups=1)
    with pytest.raises(SottovoceError, match="shares layers already"):
        sv.pretrain(shared, DATA, stack={"groups": 2}, **OPTIONS)
    for units, message in (
        ({"kind": "pixels"}, "'clusters', 'frames' is wanted"),
        ({"kind": "frames", "layer": 1}, "has no clusters"),
    ):
        with pytest.raises(SottovoceError, match=message):
            sv.pretrain(model, DATA, units=units, **OPTIONS)


def test_a_checkpoint_has_shared_layers_once(tmp_path: Path) -> None:
    model = sv.pretrain(mel_model(), DATA, units={"clusters": 5}, stack={"groups": 2}, **OPTIONS)
    sv.save(model, tmp_path / "m")
    names = load_file(tmp_path / "m" / "model.safetensors")
    assert {name.split("layers.")[1].split(".")[0] for name in names if "layers." in name} == {"0", "1"}
    assert Anatomy(sv.load(tmp_path / "m")).order == Anatomy(model).order
