"""Units, masks and masked prediction, against their definitions."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import edited, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from speech import toys
from torch.nn import functional as F

import sottovoce as sv
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in
from sottovoce.methods import pretrain
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.pretraining.augment import disturbed
from sottovoce.pretraining.objective import Masked, span_mask
from sottovoce.pretraining.plan import Round
from sottovoce.pretraining.run import train_and_dev
from sottovoce.pretraining.targets import phone_fit, units_source
from sottovoce.pretraining.units import Codebook, closest, fit, mfcc

DATA = toys()


def test_k_means_finds_clusters_that_are_there() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [40.0, 40.0]])
    points = torch.cat([center + 0.3 * torch.randn(50, 2, generator=generator) for center in centers])
    book = Codebook.fit(points, 4)
    units = book.units(points).view(4, 50)
    assert (units == units[:, :1]).all() and len(set(units[:, 0].tolist())) == 4
    found = (book.centers * book.std + book.mean)[units[:, 0]]
    torch.testing.assert_close(found, points.view(4, 50, 2).mean(1), rtol=1e-4, atol=1e-4)
    with pytest.raises(SottovoceError, match="300 units from 200 frames"):
        Codebook.fit(points, 300)
    same = Codebook.fit(torch.ones(20, 3), 3)
    assert torch.isfinite(same.centers).all(), "frames that are all alike"


@given(st.integers(1, 40), st.integers(1, 9))
def test_closest_is_the_closest(points: int, centers: int) -> None:
    generator = torch.Generator().manual_seed(points * centers)
    x, c = torch.randn(points, 3, generator=generator).double(), torch.randn(centers, 3, generator=generator).double()
    assert closest(x, c).tolist() == [
        min(range(centers), key=lambda j: float((row - c[j]).square().sum())) for row in x
    ]


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 120), min_size=1, max_size=5), st.sampled_from([0.5, 0.7, 0.8]), st.sampled_from([1, 5, 10])
)
def test_masks_are_spans_inside_the_utterances(frames: list[int], share: float, span: int) -> None:
    mask = span_mask(
        torch.tensor(frames), max(frames), share=share, span=span, generator=torch.Generator().manual_seed(0)
    )
    for row, count in zip(mask, frames, strict=True):
        assert not row[count:].any() and row[:count].any()
        runs = [len(run) for run in "".join("x" if hidden else " " for hidden in row.tolist()).split()]
        assert all(run >= min(span, count) for run in runs)


def test_masks_hide_as_much_as_they_should() -> None:
    frames, span, share = 500, 10, 0.8
    mask = span_mask(
        torch.full((200,), frames), frames, share=share, span=span, generator=torch.Generator().manual_seed(0)
    )
    # Of `share x frames / span` spans that may overlap, a frame in the middle escapes each with chance 1 - span/starts.
    starts, number = frames - span + 1, share * frames / span
    assert float(mask[:, 50:450].float().mean()) == pytest.approx(1 - (1 - span / starts) ** number, abs=0.02)
    begins = Counter((mask[:, 1:] & ~mask[:, :-1]).nonzero()[:, 1].tolist())
    assert len(begins) > 400, "spans begin anywhere"


def test_fit_is_mutual_information_over_entropy() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 20, (7, 4)).astype(float)
    joint = counts / counts.sum()
    mutual = sum(
        joint[u, p] * math.log(joint[u, p] / (joint[u].sum() * joint[:, p].sum()))
        for u in range(7)
        for p in range(4)
        if joint[u, p] > 0
    )
    entropy = -sum(joint[:, p].sum() * math.log(joint[:, p].sum()) for p in range(4))
    found = fit(counts)
    assert found.information == pytest.approx(mutual / entropy)
    assert found.phone_purity == pytest.approx(joint.max(1).sum()) and found.unit_purity == pytest.approx(
        joint.max(0).sum()
    )
    assert fit(np.diag([3.0, 4.0])).information == pytest.approx(1.0) and fit(np.zeros((2, 2))).information == 0.0


def test_cepstra_are_a_cosine_transform_of_log_mel() -> None:
    audio = np.asarray(DATA[0].audio)
    centers = Encoder(tiny("hubert")).centers(20)
    rows = mfcc(audio, centers)
    mel = LogMel(bins=40, stack=1)(torch.from_numpy(audio)[None])[0].T
    frame = round((centers[7] * 16_000 - 200) / 160)
    for k in range(13):
        wanted = math.sqrt(2 / 40) * sum(
            float(mel[frame, b]) * math.cos(math.pi * k * (b + 0.5) / 40) for b in range(40)
        )
        assert float(rows[7, k]) == pytest.approx(wanted, rel=1e-4, abs=1e-3)
    assert rows.shape == (20, 39)


def test_noise_is_the_same_for_the_same_occasion_and_moves_nothing() -> None:
    audio = np.asarray(DATA[0].audio)
    first, again, later = (disturbed(audio, "a", occasion, 0, 1.0) for occasion in ("x", "x", "y"))
    assert np.array_equal(first, again) and not np.array_equal(first, later) and first.shape == audio.shape
    assert np.array_equal(disturbed(audio, "a", "x", 0, 0.0), audio)
    lag = np.argmax(np.correlate(first, audio, "same")) - np.argmax(np.correlate(audio, audio, "same"))
    assert lag == 0 and first.dtype == np.float32


@pytest.mark.parametrize("family", ["hubert", "wavlm", "use_log_mel"])
def test_hidden_frames_are_hidden_and_only_they_count(family: str) -> None:
    torch.manual_seed(0)
    model = edited("hubert", family) if family == "use_log_mel" else tiny(family, mask_time_prob=0.1)
    objective = Masked(model.eval(), 5, share=0.5, span=3)
    encoder = Encoder(model)
    shelf: Any = {u.id: np.arange(encoder.frames(len(np.asarray(u.audio)))) % 5 for u in DATA[:3]}
    batch = units_source(encoder, DATA[:3], shelf, Round()).load([0, 1, 2])
    mask = torch.zeros(3, int(batch.frames.max()), dtype=torch.bool)
    mask[:, 10:20] = True
    with torch.no_grad():
        logits = objective.states(batch, mask)[mask]
        changed = replace(batch, inputs={**batch.inputs, "input_values": batch.inputs["input_values"].clone()})
        # What lies under the middle of the hidden span may be anything: nobody hears it.
        shift = encoder.field()[1]
        changed.inputs["input_values"][:, 13 * shift : 16 * shift] += 5.0
        if family == "use_log_mel":
            torch.testing.assert_close(objective.states(changed, mask)[mask], logits)
        loss, count = objective(batch)
    hidden, wanted = objective.asked(batch, torch.Generator().manual_seed(0))
    assert hidden.shape == (len(wanted), 5) and float(loss) > 0 and float(count) > 0
    assert F.cross_entropy(hidden, wanted).isfinite()


def test_no_recording_of_a_test_split_is_learnt() -> None:
    shared = Path("same.flac")
    rows = [
        Utterance("a", Path("a.flac"), 1.0, split="train"),
        Utterance("a-again", Path("a.flac"), 1.0, split="train", task="speakers"),
        Utterance("b", shared, 1.0, split="train", task="speakers"),
        Utterance("c", shared, 1.0, split="test"),
        Utterance("d", Path("d.flac"), 1.0, split="dev"),
        Utterance("e", Path("e.flac"), 1.0, split="unlabelled"),
    ]
    learnt, judged = train_and_dev(rows)
    assert [u.id for u in learnt] == ["a", "e"] and [u.id for u in judged] == ["d"]
    with pytest.raises(SottovoceError, match="needs data"):
        train_and_dev(None)


def test_two_rounds_learn_and_leave_a_codebook(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tiny("hubert-large", num_hidden_layers=2)
    sv.edits.use_log_mel(model, bins=20)
    options: dict[str, Any] = {
        "train": {"steps": 60, "lr": 3e-3},
        "batch_seconds": 4,
        "dropout": 0.0,
        "mask": {"share": 0.5, "span": 3},
    }
    first = pretrain(model, DATA, units={"clusters": 6}, **options)
    assert not bool(model.feature_extractor.mean.any()) and bool(first.feature_extractor.mean.any()), (
        "calibrated, on a copy"
    )
    second = pretrain(first, DATA, units={"clusters": 8, "layer": 1}, noise=0.5, **options)
    sv.save(second, tmp_path / "m")
    with safe_open(str(tmp_path / "m" / "units.safetensors"), "pt") as file:
        assert file.get_tensor("centres").shape == (8, 32) and file.get_tensor("head.weight").shape == (8, 32)
        assert '"layer": 1' in file.metadata()["sottovoce"]
    again = sv.load(tmp_path / "m")
    sv.save(sv.drop_layers(again, keep=1), tmp_path / "small")
    assert (tmp_path / "small" / "units.safetensors").is_file(), "what is made of the model keeps its codebook"


def test_training_lowers_the_masked_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tiny("hubert-large", num_hidden_layers=2)
    sv.edits.use_log_mel(model, bins=20)
    with working_in(tmp_path):
        pretrain(
            model,
            DATA,
            units={"clusters": 6},
            train={"steps": 120, "lr": 3e-3, "validate_every": 60},
            batch_seconds=4,
            mask={"share": 0.4, "span": 2},
            probe_every=2,
        )
    lines = [json.loads(line) for line in (tmp_path / "pretrain" / "log.jsonl").read_text().splitlines()]
    validated = [line for line in lines if "unit_accuracy" in line]
    assert (
        len(validated) == 2 and validated[-1]["validation_loss"] < math.log(6) and validated[-1]["unit_accuracy"] > 0.4
    )
    assert {f"phones_{layer}" for layer in range(3)} <= validated[-1].keys()


def test_units_that_are_phones_fit_perfectly() -> None:
    encoder = Encoder(tiny("hubert"))
    kind: Any = sv.TASKS["phones"].kind
    shelf: Any = {}
    for utterance in DATA[:9]:
        centers = encoder.centers(encoder.frames(len(np.asarray(utterance.audio))))
        names = kind.names(utterance.phones, centers)
        shelf[utterance.id] = np.array(
            [{"SIL": 0, "LOW": 1, "MIDDLE": 2, "HIGH": 3}.get(str(name), 0) for name in names]
        )
    found = phone_fit(encoder, DATA[:9], shelf, 4)
    assert found is not None and found.information == pytest.approx(1.0) and found.phone_purity == pytest.approx(1.0)
    assert phone_fit(encoder, [replace(DATA[0], phones=None)], shelf, 4) is None
