"""What a round of pretraining hears and learns from: cepstra in context, crops, other speeds, another model's units."""

import json
import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny
from hypothesis import given
from hypothesis import strategies as st
from speech import toys
from zygote import Child, Zygote

import sottovoce as sv
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in
from sottovoce.methods import pretrain
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.pretraining.augment import disturbed, sped
from sottovoce.pretraining.objective import Masked
from sottovoce.pretraining.plan import Round, Units
from sottovoce.pretraining.pseudo_labels import UnitNamer, at_other_speeds, codebook
from sottovoce.pretraining.targets import units_source
from sottovoce.pretraining.units import mfcc, stack_context
from sottovoce.training import Training
from sottovoce.training.optimizers import make_optimizers
from sottovoce.training.precision import autocast_to, half_precision

DATA = toys()
SMALL: dict[str, Any] = {
    "train": {"steps": 12, "lr": 3e-3},
    "batch_seconds": 4,
    "dropout": 0.0,
    "mask": {"share": 0.5, "span": 3},
}


def small(**settings: Any) -> Any:
    """A log-mel encoder of two layers."""
    model = tiny("hubert-large", num_hidden_layers=2, **settings)
    sv.edits.use_log_mel(model, bins=20)
    return model


@given(st.integers(1, 12), st.integers(0, 4))
def test_rows_stand_beside_their_neighbours(rows: int, context: int) -> None:
    values = torch.arange(2.0 * rows).view(rows, 2)
    wanted = [
        [float(values[min(max(row + step, 0), rows - 1), k]) for step in range(-context, context + 1) for k in range(2)]
        for row in range(rows)
    ]
    assert stack_context(values, context).tolist() == wanted


def test_cepstra_in_context_forget_level_and_channel() -> None:
    audio = np.asarray(DATA[0].audio)
    centers = Encoder(tiny("hubert")).centers(19)
    plain = mfcc(audio, centers).double()
    found = mfcc(audio, centers, context=1)
    own = (plain - plain.mean(0)) / plain.std(0, correction=0).clamp(min=1e-3)
    for row in range(19):
        around = [own[min(max(row + step, 0), 18), :26] for step in (-1, 0, 1)]
        torch.testing.assert_close(found[row].double(), torch.cat(around), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mfcc(0.5 * audio, centers, context=1), found, rtol=1e-2, atol=2e-2)
    assert float((mfcc(0.5 * audio, centers) - mfcc(audio, centers)).abs().max()) > 1.0
    assert torch.isfinite(mfcc(np.zeros(400, np.float32), centers[:1], context=2)).all(), "one frame of silence"


@pytest.mark.parametrize("family", ["hubert", "log-mel", "sew"])
def test_training_batches_are_crops_of_one_length_with_their_own_units(family: str) -> None:
    model = small() if family == "log-mel" else tiny(family)
    inputs = Encoder(model, outputs=True)
    field, shift = inputs.field()
    data = [u for u in DATA if u.split == "train"]
    shelf: Any = {
        u.id: np.arange(max(1, inputs.frames(len(np.asarray(u.audio))))) + 100 * n for n, u in enumerate(data)
    }
    source = units_source(inputs, data, shelf, Round(batch_seconds=20), seed=0)
    begins = set()
    for items in source.plan(0):
        batch = source.load(items)
        assert len(set(batch.frames.tolist())) == 1
        for item, row, count in zip(items, batch.targets, batch.frames.tolist(), strict=True):
            begin = int(row[0]) - 100 * item
            begins.add(begin)
            assert row.tolist() == list(range(100 * item + begin, 100 * item + begin + count)), "one stretch of its own"
        if family == "log-mel":
            begin, count = int(batch.targets[0][0]) - 100 * items[0], len(batch.targets[0])
            cut = np.asarray(data[items[0]].audio)[begin * shift : begin * shift + field + shift * (count - 1)]
            with inputs.exact(), torch.no_grad():
                alone = model.feature_extractor(inputs.inputs([cut])["input_values"])
                among = model.feature_extractor(batch.inputs["input_values"])[:1]
            torch.testing.assert_close(alone, among, rtol=1e-4, atol=1e-4)
    assert len(begins) > 1, "crops begin anywhere"
    epochs = [
        {
            item: int(row[0])
            for items in source.plan(n)
            for item, row in zip(items, source.load(items).targets, strict=True)
        }
        for n in range(4)
    ]
    assert any(epoch != epochs[0] for epoch in epochs), "elsewhere in each epoch"
    again = units_source(inputs, data, shelf, Round(batch_seconds=20), seed=0)
    first, second = source.load(source.plan(0)[0]), again.load(again.plan(0)[0])
    assert all(torch.equal(a, b) for a, b in zip(first.targets, second.targets, strict=True))


def test_faster_is_shorter_and_higher(tmp_path: Path) -> None:
    times = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * 400 * times).astype(np.float32)
    fast = sped(tone, 1.25)
    assert abs(len(fast) - 12_800) <= 1 and fast.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(fast))
    assert abs(spectrum.argmax() * 16_000 / len(fast) - 500) < 3
    made = at_other_speeds(DATA[:3], [0.9, 1.25], tmp_path)
    assert [u.id for u in made][:4] == [f"{u.id} x0.9" for u in DATA[:3]] + [f"{DATA[0].id} x1.25"]
    assert all(u.phones is None for u in made) and made[3].seconds == pytest.approx(DATA[0].seconds / 1.25, abs=1e-3)


@pytest.mark.parametrize("length", [1, 160, 4001, 16_007])
def test_noise_fits_speech_of_any_length(length: int) -> None:
    audio = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    for occasion in map(str, range(8)):
        heard = disturbed(audio, "a", occasion, 0, 1.0)
        assert heard.shape == audio.shape and heard.dtype == np.float32 and np.isfinite(heard).all()


def test_units_may_be_those_of_another_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = tiny("hubert", num_hidden_layers=3)
    sv.save(teacher, tmp_path / "teacher")
    student = small()
    rows = UnitNamer(student, Round(Units(layer=2, teacher=str(tmp_path / "teacher")))).frames(DATA[:2])
    own = UnitNamer(teacher, Round(Units(layer=2))).frames(DATA[:2])
    inputs = Encoder(student)
    for utterance, found, theirs in zip(DATA[:2], rows, own, strict=True):
        times = inputs.centers(inputs.frames(len(np.asarray(utterance.audio))))
        nearest = [int(np.abs(Encoder(teacher).centers(len(theirs)) - time).argmin()) for time in times]
        torch.testing.assert_close(found, theirs[nearest])
    learnt = pretrain(student, DATA, units={"clusters": 4, "layer": 2, "teacher": str(tmp_path / "teacher")}, **SMALL)
    assert learnt.config.num_hidden_layers == 2
    with pytest.raises(SottovoceError, match=r"layer=9, but this model's states are 0-3\."):
        pretrain(student, DATA, units={"clusters": 4, "layer": 9, "teacher": str(tmp_path / "teacher")}, **SMALL)
    with pytest.raises(SottovoceError, match="needs a layer="):
        pretrain(student, DATA, units={"clusters": 4, "teacher": str(tmp_path / "teacher")}, **SMALL)


def test_frames_that_are_heard_count_by_their_weight() -> None:
    torch.manual_seed(0)
    model = small().eval()
    inputs = Encoder(model, outputs=True)
    shelf: Any = {u.id: np.arange(inputs.frames(len(np.asarray(u.audio)))) % 5 for u in DATA[:3]}
    batch = units_source(inputs, DATA[:3], shelf, Round()).load([0, 1, 2])
    objective = Masked(model, 5, share=0.5, span=3, unmasked_weight=0.25)
    torch.manual_seed(1)
    loss, weight = objective(batch)
    torch.manual_seed(1)
    mask, _ = objective.drawn(batch)
    with torch.no_grad():
        logits = objective.head(objective.states(batch, mask)).double()
    total = count = 0.0
    for row in range(3):
        for frame in range(int(batch.frames[row])):
            share = 1.0 if mask[row, frame] else 0.25
            unit = int(batch.targets[row][frame])
            total -= share * float(logits[row, frame, unit] - logits[row, frame].logsumexp(-1))
            count += share
    assert loss.item() == pytest.approx(total, rel=1e-5) and weight.item() == pytest.approx(count)


def test_muon_takes_the_matrices_inside_layers_and_nothing_else() -> None:
    model = sv.new("hubert", head="ForCTC", num_hidden_layers=2, hidden_size=32, num_attention_heads=2)
    muon, adamw = make_optimizers(model, Training(optimizer="muon"))
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    rest = {id(p) for group in adamw.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        inner = ".layers." in name and parameter.dim() == 2
        assert (id(parameter) in taken, id(parameter) in rest) == (inner, not inner), name
    assert len(taken) == 12
    assert len(make_optimizers(torch.nn.Linear(2, 2), Training(optimizer="muon"))) == 1, "no layers: all is AdamW's"


def test_a_step_of_muon_is_orthogonal() -> None:
    """Of any gradient, a step moves a matrix by nearly the same amount in every direction."""
    model = small()
    weight = model.encoder.layers[0].attention.q_proj.weight
    before = weight.detach().clone()
    muon, _ = make_optimizers(model, Training(optimizer="muon", lr=1e-2, weight_decay=0.0))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    muon.step()
    moved = torch.linalg.svdvals((weight.detach() - before) / 1e-2)
    scale = 0.2 * max(weight.shape) ** 0.5
    assert 0.5 * scale < float(moved.min()) and float(moved.max()) < 1.5 * scale


def test_half_precision_changes_attention_for_its_time_only() -> None:
    model = small()
    kinds = [model.config._attn_implementation]
    with half_precision(model, torch.device("cpu"), "bf16"):
        kinds.append(model.config._attn_implementation)
        assert torch.is_autocast_enabled("cpu")
    with half_precision(model, torch.device("cpu"), "fp32"):
        kinds.append(model.config._attn_implementation)
        assert not torch.is_autocast_enabled("cpu")
    assert kinds == ["sdpa", "eager", "sdpa"] and model.config._attn_implementation == "sdpa"


KILLED = """
import sys
from test_rounds import DATA, SMALL, pretrain, small, sv, torch
from sottovoce.files import working_in
torch.manual_seed(0)
model = small()
train = {"steps": 40, "lr": 3e-3, "optimizer": "muon", "precision": "bf16"}
options = {**SMALL, "train": {**train, "save_seconds": 0.01, "validate_every": 10}, "probe_every": 2}
options |= {"noise": 0.5, "speeds": [1.1]}
with working_in(sys.argv[1]):
    sv.save(pretrain(model, DATA, units={"clusters": 4, "context": 1}, **options), sys.argv[2])
"""


def test_killed_and_resumed_it_draws_the_same_curve(zygote: Zygote, tmp_path: Path) -> None:
    def start(name: str) -> Child:
        return zygote.start([str(tmp_path / name), str(tmp_path / f"{name}-model")], cwd=tmp_path, python=KILLED)

    undisturbed = start("a")
    process = start("b")
    log = tmp_path / "b" / "pretrain" / "log.jsonl"
    while process.poll() is None and not (log.exists() and '"step": 20' in log.read_text()):
        time.sleep(0.01)
    process.kill(signal.SIGKILL)
    codes = [process.wait(), start("b").wait(), undisturbed.wait()]
    assert codes == [-signal.SIGKILL, 0, 0], "killed in the middle, then finished; and never disturbed"
    first, second = ((tmp_path / name / "pretrain" / "log.jsonl").read_text().splitlines() for name in "ab")
    kept = [[{**json.loads(line), "audio_rate": 0} for line in lines] for lines in (first, second)]
    assert kept[0] == kept[1]
    assert [line["step"] for line in kept[0] if "phones_0" in line] == [20, 40], "every second validation has a probe"
    tensors = [sv.load(tmp_path / f"{name}-model").state_dict() for name in "ab"]
    assert all(torch.equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())


RANK = """
import sys
from test_rounds import DATA, SMALL, pretrain, small, torch
from sottovoce.files import working_in
torch.manual_seed(0)
with working_in(sys.argv[1]):
    train = {"steps": 60, "lr": 3e-3, "validate_every": 60}
    pretrain(small(), DATA, units={"clusters": 4}, **{**SMALL, "train": train})
"""


def test_two_processes_reach_the_loss_of_one(zygote: Zygote, tmp_path: Path) -> None:
    losses = []
    for count in (1, 2):
        place = tmp_path / str(count)
        zygote.run_ranks(count, [str(place)], cwd=tmp_path, python=RANK)
        lines = (place / "pretrain" / "log.jsonl").read_text().splitlines()
        losses += [row["validation_loss"] for row in map(json.loads, lines) if "validation_loss" in row]
    # The masks are drawn by each process, so that the two differ by chance; untrained, the loss is log 4 = 1.39.
    assert abs(losses[0] - losses[1]) < 0.15 and max(losses) < 1.2, losses


def test_a_codebook_is_kept_for_the_round_that_goes_on(tmp_path: Path) -> None:
    listener = UnitNamer(small(), Round(Units(clusters=4, context=1)))
    path = tmp_path / "book.safetensors"
    made = codebook(listener, DATA, path, seed=0)
    written = path.stat().st_mtime_ns
    again = codebook(listener, DATA, path, seed=0)
    assert path.stat().st_mtime_ns == written and torch.equal(again.centers, made.centers)
    other = codebook(listener, DATA, path, seed=1)
    assert path.stat().st_mtime_ns != written and not torch.equal(other.centers, made.centers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"units": {"clusters": 0}},
        {"units": {"clusters": 70_000}},
        {"units": {"context": -1}},
        {"units": {"layer": -1}},
        {"units": {"layer": 1, "context": 2}},
        {"mask": {"span": 0}},
        {"mask": {"share": 1.7}},
        {"mask": {"share": 0.0}},
        {"mask": {"unmasked_weight": -1.0}},
        {"noise": 2.0},
        {"batch_seconds": -3.0},
        {"speeds": [0.0]},
        {"speeds": [math.nan]},
        {"speeds": [1.1, 1.1]},
        {"probe_every": 0},
        {"units": {"teacher": "small-hubert"}},
        {"train": {"optimizer": "moun"}},
        {"train": {"precision": "bfloat16"}},
    ],
)
def test_nonsense_is_refused_before_any_work(wrong: dict[str, Any]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(SottovoceError, match=rf"\b{next(iter(value)) if isinstance(value, dict) else name}\b"):
        pretrain(small(), DATA, **wrong)


@pytest.mark.parametrize("family", ["whisper", "wav2vec2-bert"])
def test_models_that_hear_features_are_refused(family: str) -> None:
    with pytest.raises(SottovoceError, match=f"{family} takes features of its own"):
        pretrain(tiny(family), DATA)


def test_a_probe_needs_phones_and_says_so_at_once() -> None:
    mute = [replace(utterance, phones=None) for utterance in DATA]
    with pytest.raises(SottovoceError, match="phones"):
        pretrain(small(), mute, units={"clusters": 4}, probe_every=1, **SMALL)


def test_a_round_of_another_plan_is_not_taken_up(tmp_path: Path) -> None:
    with working_in(tmp_path):
        pretrain(small(), DATA, units={"clusters": 4}, **SMALL)
        with pytest.raises(SottovoceError, match="other settings"):
            pretrain(
                small(), DATA, units={"clusters": 4}, **SMALL | {"mask": {**SMALL["mask"], "unmasked_weight": 1.0}}
            )


def test_sew_learns_as_well() -> None:
    learnt = pretrain(tiny("sew"), DATA, units={"clusters": 4, "layer": 1}, **SMALL)
    assert learnt.config.model_type == "sew"


@pytest.mark.parametrize("samples", [100, 400, 700])
def test_very_short_recordings_have_units(samples: int) -> None:
    short = replace(DATA[0], audio=np.asarray(DATA[0].audio)[:samples], seconds=samples / 16_000)
    (rows,) = UnitNamer(small(), Round()).frames([short])
    assert len(rows) == 1 and torch.isfinite(rows).all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_features_do_not_lose_precision(precision: Any) -> None:
    mel = LogMel()
    loud = 0.5 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    with autocast_to(torch.device("cpu"), precision):
        assert torch.equal(mel(loud), LogMel()(loud)) and mel(loud).isfinite().all()
        inside = mel(loud)
    assert torch.equal(inside, mel(loud))


def test_half_precision_and_checkpointed_gradients_go_together() -> None:
    options: dict[str, Any] = {
        "task": "keywords",
        "train": {"steps": 2, "precision": "bf16", "checkpoint_gradients": True},
    }
    tuned = sv.finetune(small(), DATA, **options)
    assert tuned.config.num_labels == 3
