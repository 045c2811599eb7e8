"""Published counts, exactly: parameters and multiply-accumulates of the papers and of the checkpoints."""

from typing import Any

import pytest
import torch

import sottovoce as sv
from sottovoce import edits
from sottovoce.measurement import Where


def parameters(model: Any) -> int:
    return int(sv.size(model)[0].value)


def gigamacs(model: Any, **options: Any) -> float:
    return sv.macs(model, **options)[0].value / 1e9


@pytest.fixture(scope="module")
def base() -> Any:
    return sv.new("wav2vec2-base")


def test_wav2vec2_base(base: Any) -> None:
    parts = sv.cost(base, time=False)
    assert parts["parameters"] == 94_371_712
    blocks = [parts.part("parameters", layer=layer) for layer in range(12)]
    assert blocks == [7_087_872] * 12
    assert parts.part("parameters", part="front_end") == 4_200_448
    assert parts.part("parameters", part="feature_projection") == 395_008
    assert parts.part("parameters", part="positional") == 4_719_488
    assert parts["bytes"] == 4 * 94_371_712


def test_wav2vec2_base_macs_at_ten_seconds(base: Any) -> None:
    parts = sv.cost(base, time=False).parts("macs")
    assert sum(parts.values()) / 1e9 == pytest.approx(74.07, abs=0.005)
    convs = [value / 1e9 for where, value in parts.items() if where["part"] == "front_end"]
    assert convs == pytest.approx([0.16, 12.58, 6.29, 3.14, 1.57, 0.52, 0.26], abs=0.005)
    assert sum(convs) == pytest.approx(24.54, abs=0.005)
    layer = sum(value for where, value in parts.items() if where.get("layer") == 0)
    assert layer / 1e9 == pytest.approx(3.914, abs=0.0005)
    assert parts[Where(part="positional")] / 1e9 == pytest.approx(2.36, abs=0.005)
    assert gigamacs(base, seconds=1.0) == pytest.approx(6.91, abs=0.005)


def test_classifier_of_paper_one(base: Any) -> None:
    """Appendix of arXiv 2409.16302: 35 words on the four models."""
    published = {
        "wav2vec2-base": 94_577_571,
        "wav2vec2-large": 315_700_387,
        "wavlm-base": 94_587_795,
        "wavlm-large": 315_724_515,
    }
    for shape, count in published.items():
        assert parameters(sv.new(shape, head="ForSequenceClassification", num_labels=35)) == count, shape


def test_large_block() -> None:
    cost = sv.cost(sv.new("wav2vec2-large", num_hidden_layers=1), time=False).parts("parameters")
    assert sum(value for where, value in cost.items() if "layer" in where) == 12_596_224


def test_distilhubert() -> None:
    assert gigamacs(sv.new("distilhubert")) == pytest.approx(34.92, abs=0.005)
    assert parameters(sv.new("distilhubert")) / 1e6 == pytest.approx(23.49, abs=0.005)


def test_hubert_base_on_the_superb_lengths() -> None:
    hubert = sv.new("hubert-base")
    total = gigamacs(hubert, convention="superb")
    assert total / 224.86 == pytest.approx(7.42, rel=0.01)
    assert total == pytest.approx(1669, rel=0.01)


def test_superb_buckets_of_hubert_base() -> None:
    from sottovoce.measures.macs import SUPERB_SAMPLES, macs_by_part

    assert sum(SUPERB_SAMPLES) / 16_000 == pytest.approx(224.86, abs=0.005)
    hubert = sv.new("hubert-base")
    sums = [sum(sum(macs_by_part(hubert, n).values()) for n in SUPERB_SAMPLES[i : i + 8]) / 1e9 for i in (0, 8, 16, 24)]
    assert sums == pytest.approx([149.26, 261.28, 422.37, 836.25], rel=0.01)


def test_one_head_and_one_inner_unit(base: Any) -> None:
    model = sv.new("wav2vec2-base")
    edits.keep_heads(model, 5, range(11))
    assert parameters(base) - parameters(model) == 196_800
    edits.keep_feed_forward(model, 5, range(3071))
    assert parameters(base) - parameters(model) == 196_800 + 1_537


@pytest.mark.parametrize(("layers", "count"), [(12, 90.23), (6, 47.70), (2, 19.35)])
def test_melhubert(layers: int, count: float) -> None:
    """The published counts include the head over 512 clusters."""
    model = sv.new("melhubert", head="ForCTC", vocab_size=512, num_hidden_layers=layers)
    assert parameters(model) / 1e6 == pytest.approx(count, abs=0.005)


@pytest.mark.parametrize(("layers", "rate"), [(12, 4.94), (6, 2.58), (2, 1.02)])
def test_melhubert_macs_a_second(layers: int, rate: float) -> None:
    """The figure counts on SUPERB's lengths; the head over 512 clusters is no part of the encoder."""
    model = sv.new("melhubert", num_hidden_layers=layers)
    assert gigamacs(model, convention="superb") / 224.86 == pytest.approx(rate, rel=0.01)


def test_melhubert_of_ten_milliseconds_has_twice_the_frames_of_half_the_width() -> None:
    usual, quick = (sv.new(name, num_hidden_layers=1) for name in ("melhubert", "melhubert-10ms"))
    assert parameters(usual) - parameters(quick) == 40 * 768
    with torch.no_grad():
        frames = [model.eval()(torch.zeros(1, 160_240)).last_hidden_state.shape[1] for model in (usual, quick)]
    assert frames == [500, 1000]


def test_a_log_mel_hubert_is_melhubert() -> None:
    """Editing a HuBERT gives the shape that the name gives, but for the mask embedding."""
    model = sv.new("hubert-base", mask_time_prob=0.0)
    edits.use_log_mel(model)
    assert parameters(model) == parameters(sv.new("melhubert"))
