"""Zeros in a bit each: what is loaded is what was saved, bit for bit, and what is damaged is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, edited, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import sottovoce as sv
from sottovoce.checkup import doctor
from sottovoce.errors import SottovoceError
from sottovoce.models.packed import PACKED, pack, pack_tensor, unpack

KINDS = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8]


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[first.element_size()]
    a, b = (tensor.contiguous().view(integers) for tensor in (first, second))
    return first.dtype == second.dtype and first.shape == second.shape and torch.equal(a, b)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from(KINDS), st.lists(st.integers(0, 5), max_size=3))
def test_tensors_come_back_bit_for_bit(seed: int, share: float, kind: torch.dtype, shape: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = (3 * torch.randn(shape, generator=generator)).to(kind)
    tensor[torch.rand(shape, generator=generator) < share] = 0
    odd = torch.rand(shape, generator=generator)
    if kind.is_floating_point:
        tensor[odd < 0.1], tensor[odd > 0.9] = -0.0, float("nan")
    packed = pack_tensor(tensor)
    if packed is not None:
        places, values = packed
        assert len(places) == -(-tensor.numel() // 8) and places.nbytes + values.nbytes < tensor.nbytes
        assert same_bits(values, tensor.flatten()[values_there(tensor)])


def values_there(tensor: torch.Tensor) -> torch.Tensor:
    """True at all but zeros without a sign, the slow way."""
    return torch.tensor([value != 0 or str(value) == "-0.0" for value in tensor.flatten().tolist()], dtype=torch.bool)


@pytest.mark.parametrize("family", TINY)
def test_a_packed_model_is_the_same_model(family: str, tmp_path: Path) -> None:
    sparse = sv.prune_weights(tiny(family), sparsity=0.8, packed=True)
    folder, plain = sv.save(sparse, tmp_path / "packed"), sv.save(sparse, tmp_path / "plain", packed=False)
    assert [path.name for path in folder.glob("*.safetensors")] == [PACKED]
    loaded, before = sv.load(folder).state_dict(), sv.load(plain).state_dict()
    assert loaded.keys() == before.keys() and all(same_bits(loaded[name], before[name]) for name in before)
    sizes = [sum(path.stat().st_size for path in each.glob("*.safetensors")) for each in (folder, plain)]
    assert sizes[0] < sizes[1]
    # It stays packed where it came packed, and is laid open on request; either replaces the other.
    sv.save(sv.load(folder), folder, overwrite=True)
    assert (folder / PACKED).is_file() and not (folder / "model.safetensors").exists()
    sv.save(sv.load(folder), folder, packed=False, overwrite=True)
    assert not (folder / PACKED).exists()
    assert not sv.load(folder).packed


def test_what_is_cut_and_sparse_is_packed_too(tmp_path: Path) -> None:
    model = sv.prune_weights(edited("hubert", "everything"), sparsity=0.9, packed=True)
    again = sv.load(sv.save(model.half(), tmp_path / "model"), dtype=torch.float16)
    assert all(same_bits(tensor, model.state_dict()[name]) for name, tensor in again.state_dict().items())
    found = {finding.what for finding in doctor(str(tmp_path / "model")) if finding.level == "error"}
    assert not found
    path = tmp_path / "model" / PACKED
    with safe_open(str(path), framework="pt") as opened:
        notes = opened.metadata()
    kept = load_file(path)
    kept[next(name for name in kept if name.startswith("values."))][0] = float("nan")
    save_file(kept, path, metadata=notes)
    assert any("hold NaN" in finding.what for finding in doctor(str(tmp_path / "model")))


def damage_places(kept: dict[str, torch.Tensor]) -> None:
    name = next(name for name in kept if name.startswith("places."))
    kept[name] = torch.zeros_like(kept[name])


def drop_places(kept: dict[str, torch.Tensor]) -> None:
    del kept[next(name for name in kept if name.startswith("places."))]


@pytest.mark.parametrize("damage", [damage_places, drop_places, None])
def test_a_damaged_folder_is_refused(damage: Any, tmp_path: Path) -> None:
    folder = sv.save(sv.prune_weights(tiny("hubert"), sparsity=0.9), tmp_path / "model", packed=True)
    path = folder / PACKED
    if damage is None:
        path.write_bytes(path.read_bytes()[:-50])
    else:
        kept = load_file(path)
        damage(kept)
        shapes = {name: list(tensor.shape) for name, tensor in unpack(folder).items()}
        save_file(kept, path, metadata={"sottovoce": json.dumps({"shapes": shapes})})
    with pytest.raises(SottovoceError, match=r"cut off or damaged|no packed model that sottovoce wrote"):
        sv.load(folder)


def test_packing_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = sv.prune_weights(tiny("hubert"), sparsity=0.9)
    folder = sv.save(sparse, tmp_path / "model")
    before = (folder / "model.safetensors").read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sottovoce.models.packed.save_file", full)
    with pytest.raises(SottovoceError, match="the disk is full"):
        sv.save(sparse, folder, packed=True, overwrite=True)
    assert (folder / "model.safetensors").read_bytes() == before and not list(tmp_path.glob("*tmp*"))


def test_half_of_the_weights_of_a_base_model_in_half_the_bytes(tmp_path: Path) -> None:
    tensor = torch.randn(1000, 1000)
    tensor.view(-1)[torch.randperm(1_000_000, generator=torch.Generator().manual_seed(0))[:500_000]] = 0.0
    (tmp_path / "model").mkdir()
    save_file({"weight": tensor}, tmp_path / "model" / "model.safetensors")
    pack(tmp_path / "model")
    # 500 000 numbers of four bytes and a million bits.
    assert (tmp_path / "model" / PACKED).stat().st_size == pytest.approx(2_125_000, rel=1e-3)
    assert same_bits(unpack(tmp_path / "model")["weight"], tensor)
