"""Positions of Conformers: exact in any precision, and the same after saving."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import EDITS, edited, possible, tiny

import sottovoce as sv
from sottovoce.models.hub import compute_alike
from sottovoce.models.positions import RelativePositions, RotaryPositions, adopt_positions

CONFORMERS = ["wav2vec2-conformer", "wav2vec2-conformer-rotary"]
HALVES = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}  # and what rounding a number below 1 costs at most


def huggingface(kind: str) -> Any:
    """A model as Hugging Face makes it, with its own positions."""
    config = transformers.Wav2Vec2ConformerConfig(**tiny(kind).config.to_dict())
    return transformers.Wav2Vec2ConformerModel(config).eval()


def rotary_reference(time: int, size: int) -> torch.Tensor:
    angles = torch.arange(time).double()[:, None] / 10_000.0 ** (torch.arange(0, size, 2).double() / size)
    angles = torch.cat([angles, angles], dim=1)
    return torch.stack([angles.cos(), angles.sin()])[:, :, None, None]


def relative_reference(time: int, width: int) -> torch.Tensor:
    distances = torch.arange(time - 1, -time, -1).double()[:, None]
    angles = distances / 10_000.0 ** (torch.arange(0, width, 2).double() / width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[None]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("kind", CONFORMERS)
def test_positions_in_half_precision_are_those_of_float64(kind: str, dtype: torch.dtype) -> None:
    model = tiny(kind).to(dtype)
    for time in (1, 49, 3_000):
        found = model.encoder.embed_positions(torch.zeros(1, time, 32, dtype=dtype))
        wanted = rotary_reference(time, 8) if kind.endswith("rotary") else relative_reference(time, 32)
        assert found.dtype == dtype
        # In single precision an angle of so many radians is good to half of its last place.
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=HALVES[dtype] + 2 * time * 2.0**-24)


@pytest.mark.parametrize("kind", CONFORMERS)
def test_they_are_hugging_faces_in_single_precision(kind: str) -> None:
    model = huggingface(kind)
    inputs = sv.Anatomy(model).dummy_inputs(1.0)
    with torch.no_grad():
        before = model(**inputs)[0]
        adopt_positions(model)
        assert isinstance(model.encoder.embed_positions, RotaryPositions | RelativePositions)
        assert torch.equal(model(**inputs)[0], before)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("kind", CONFORMERS)
def test_a_change_of_precision_leaves_nothing_behind(kind: str, dtype: torch.dtype) -> None:
    model, times = tiny(kind), (16_000, 5_000, 16_000)
    fresh = copy.deepcopy(model).to(dtype)
    for time in times:
        with torch.no_grad():
            model(torch.randn(1, time))
    model.to(dtype)
    assert compute_alike(model, fresh)
    with torch.no_grad():
        wanted = tiny(kind).encoder.embed_positions(torch.zeros(1, 49, 32))
        assert torch.equal(model.float().encoder.embed_positions(torch.zeros(1, 49, 32)), wanted)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize(("kind", "edit"), [(a, b) for a in CONFORMERS for b in sorted(EDITS) if possible(a, b)])
def test_every_edit_comes_back_in_half_precision(kind: str, edit: str, dtype: torch.dtype, folder: Path) -> None:
    model = edited(kind, edit).to(dtype)
    sv.save(model, folder)
    again = sv.load(folder)
    for seconds in (sv.Anatomy(model).shortest / 16_000, 0.31, 2.3):
        inputs = sv.Anatomy(model).dummy_inputs(seconds, batch=2, seed=7)
        with torch.no_grad():
            assert torch.equal(model(**inputs)[0], again(**inputs)[0])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("kind", CONFORMERS)
def test_what_hugging_face_made_is_mended_when_it_is_saved(kind: str, dtype: torch.dtype, folder: Path) -> None:
    model = huggingface(kind)
    with torch.no_grad():
        model(**sv.Anatomy(model).dummy_inputs(1.0))
    sv.save(model.to(dtype), folder)
    inputs = sv.Anatomy(model).dummy_inputs(0.7)
    plain = transformers.Wav2Vec2ConformerModel.from_pretrained(folder, dtype=dtype).eval()
    with torch.no_grad():
        assert torch.equal(sv.load(folder)(**inputs)[0], model(**inputs)[0])
        assert torch.equal(plain(**inputs)[0], model(**inputs)[0])


def test_rotary_positions_of_the_other_family_come_back_too(folder: Path) -> None:
    model = tiny("wav2vec2-bert", position_embeddings_type="rotary").half()
    sv.save(model, folder)
    assert "encoder.embed_positions.inv_freq" not in sv.load(folder).state_dict()


@pytest.mark.parametrize("frames", [1, 73, 199])
def test_a_difference_at_any_length_is_seen(frames: int) -> None:
    model, other = tiny("wav2vec2"), tiny("wav2vec2")
    assert compute_alike(model, other)
    lengths: list[int] = []

    def change(module: Any, args: Any, result: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        lengths.append(result[0].shape[1])
        return (result[0] + 1, *result[1:]) if result[0].shape[1] == frames else result

    other.feature_projection.register_forward_hook(change)
    assert not compute_alike(model, other)
    assert lengths[-1] == frames
