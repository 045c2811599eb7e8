"""Models that come with the package: by name, in half precision, and as differences."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny
from safetensors.torch import load_file, save_file

import sottovoce as sv
from sottovoce.errors import SottovoceError
from sottovoce.models import teachers
from sottovoce.models.teachers import DIFFERENCE, TEACHERS, WHOLE, teacher_names, write_difference

LIMIT = 24_000_000  # bytes of a teacher's weights
OTHER = '{"base": "other", "weights": "0"}'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder for the package's models, with one in it."""
    monkeypatch.setattr(teachers, "TEACHERS", tmp_path)
    model = tiny("hubert")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    sv.save(model, tmp_path / "base")
    halves = {name: tensor.half() for name, tensor in load_file(tmp_path / "base" / WHOLE).items()}
    save_file(halves, tmp_path / "base" / WHOLE, metadata={"format": "pt"})
    return tmp_path


def tuned(place: Path) -> Any:
    """A head on the teacher; some of its tensors have moved."""
    model = sv.new(place / "base", head="ForSequenceClassification", num_labels=3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in sv.load("base").state_dict().items():
            move = 0.01 * torch.randn(tensor.shape, generator=generator) if "encoder" in name else 0.0
            model.state_dict()[f"hubert.{name}"].copy_(tensor + move)
    return model


def test_a_name_is_enough(place: Path) -> None:
    assert teacher_names() == ["base"]
    model = sv.load("base")
    assert model.dtype == torch.float32 and model.name_or_path == str(place / "base")
    assert sv.load("base", dtype=torch.float16).dtype == torch.float16
    with pytest.raises(SottovoceError, match=r"or base \(in the package\)"):
        sv.load("bace")


def test_a_folder_of_the_same_name_comes_first(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("base").mkdir()
    assert sv.load("base").config.model_type == "hubert"  # a folder that holds no model
    Path("base").rmdir()
    sv.save(tiny("wavlm"), "base")
    assert sv.load("base").config.model_type == "wavlm"


def test_a_difference_is_what_was_fine_tuned(place: Path) -> None:
    model = tuned(place)
    sv.save(model, place / "words")
    whole = (place / "words" / WHOLE).stat().st_size
    write_difference(place / "words", model.state_dict(), "base")
    assert not (place / "words" / WHOLE).exists() and (place / "words" / DIFFERENCE).stat().st_size < 0.4 * whole
    found = sv.load("words")
    assert type(found) is type(model) and found.name_or_path == str(place / "words")
    base = sv.load("base").state_dict()
    for name, tensor in found.state_dict().items():
        wanted, known = model.state_dict()[name], base.get(name.removeprefix("hubert."))
        if known is None:
            torch.testing.assert_close(tensor, wanted, rtol=1e-3, atol=1e-4)  # the head, in half precision
        elif torch.equal(wanted, known):
            assert torch.equal(tensor, known), f"{name} did not move"
        else:
            rows = (wanted - known).abs().flatten(1).amax(1) if wanted.dim() > 1 else (wanted - known).abs().max()
            step = rows.max() / 127
            assert float((tensor - wanted).abs().max()) <= float(0.51 * step) + 1e-7, name
    sv.save(found, place / "again")
    assert torch.equal(
        sv.load(place / "again").state_dict()["classifier.weight"], found.state_dict()["classifier.weight"]
    )


def test_a_difference_to_nothing_is_a_sentence(place: Path) -> None:
    sv.save(tuned(place), place / "words")
    save_file({"whole.x": torch.zeros(1)}, place / "words" / DIFFERENCE, metadata={"sottovoce": OTHER})
    with pytest.raises(SottovoceError, match="'other' is no teacher that comes with this version"):
        sv.load("words")
    (place / "words" / DIFFERENCE).write_bytes(b"broken")
    with pytest.raises(SottovoceError, match=r"difference.safetensors is cut off or damaged"):
        sv.load("words")


def test_a_difference_to_other_weights_is_a_sentence(place: Path) -> None:
    model = tuned(place)
    sv.save(model, place / "words")
    write_difference(place / "words", model.state_dict(), "base")
    tensors = load_file(place / "base" / WHOLE)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, place / "base" / WHOLE, metadata={"format": "pt"})
    with pytest.raises(SottovoceError, match=r"a difference to other weights of 'base' \([0-9a-f]{16}\) than come"):
        sv.load("words")


@pytest.mark.parametrize("metadata", [{}, {"sottovoce": "no JSON"}, {"sottovoce": "[]"}])
def test_a_difference_of_somebody_else_is_a_sentence(place: Path, metadata: dict[str, str]) -> None:
    sv.save(tuned(place), place / "words")
    save_file({"whole.x": torch.zeros(1)}, place / "words" / DIFFERENCE, metadata=metadata)
    with pytest.raises(SottovoceError, match="is no difference that sottovoce wrote"):
        sv.load("words")


def test_a_difference_must_fit_its_configuration(place: Path) -> None:
    model = tuned(place)
    sv.save(model, place / "words")
    write_difference(place / "words", {**model.state_dict(), "more": torch.ones(2)}, "base")
    with pytest.raises(SottovoceError, match="config.json knows nothing of, such as more"):
        sv.load("words")
    with pytest.raises(SottovoceError, match="not finite"):
        write_difference(place / "words", {"x": torch.tensor([math.nan])}, "base")
    with pytest.raises(SottovoceError, match="'nobody' is no teacher"):
        write_difference(place / "words", model.state_dict(), "nobody")


def test_the_commands_take_the_teacher_and_not_its_shape() -> None:
    from sottovoce.names import get_model

    named, random = get_model("small-hubert"), get_model("random:small-hubert")
    weights = [model.encoder.layers[3].attention.q_proj.weight for model in (named, random, sv.load("small-hubert"))]
    assert torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[1])


def test_both_teachers_are_there() -> None:
    assert {"small-hubert", "small-melhubert"} <= set(teacher_names())


@pytest.mark.parametrize("name", teacher_names())
def test_what_is_bundled_is_small_complete_and_credits_its_sources(name: str) -> None:
    folder = TEACHERS / name
    weights = [path for path in folder.iterdir() if path.suffix == ".safetensors" and path.name != "units.safetensors"]
    assert len(weights) == 1 and weights[0].stat().st_size <= LIMIT
    model = sv.load(name)
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())
    assert len(sv.Anatomy(model).layers) == 12
    card = (folder / "README.md").read_text(encoding="utf-8")
    for credit in ("speechocean762", "LibriSpeech", "Arabic Speech Commands", "Emotional Speech", "Digit", "espeak-ng"):
        assert credit in card
    for license in ("CC BY 4.0", "Apache 2.0", "CC0", "CC BY-SA 4.0"):
        assert license in card
