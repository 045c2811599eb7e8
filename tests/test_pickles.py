"""Weights that torch.save wrote are read as tensors by name, and nothing else in such a file is ever read or run."""

import io
import json
import logging
import os
import pickle
import shlex
import shutil
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import tiny
from hub_files import PUBLISHED, published, write, write_weights
from huggingface_hub import constants
from safetensors.torch import load_file
from test_trust import refuse, refused
from torch._utils import _rebuild_tensor_v2
from zygote import Zygote

import sottovoce as sv
from sottovoce.models import loading, pickles
from sottovoce.models.weights import PICKLE, PICKLE_INDEX


@pytest.fixture
def pickled(folder: Path) -> Path:
    sv.save(tiny("hubert"), folder)
    (folder / "model.safetensors").unlink()
    torch.save(tiny("hubert").state_dict(), folder / PICKLE)
    return folder


def same(folder: Path, wanted: Any) -> None:
    tensors = wanted.state_dict()
    found = sv.load(folder).state_dict()
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


# What is read.


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_both_formats_of_torch_and_every_kind_of_number(kind: torch.dtype, zipped: bool, pickled: Path) -> None:
    model = tiny("hubert").to(kind)
    torch.save(model.state_dict(), pickled / PICKLE, _use_new_zipfile_serialization=zipped)
    path = pickled / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dtype": str(kind).removeprefix("torch.")}))
    same(pickled, model)


def test_parameters_and_tensors_that_share_their_numbers(pickled: Path) -> None:
    model = tiny("hubert")
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    row = torch.cat([tensors["encoder.layer_norm.weight"], tensors["encoder.layer_norm.bias"]]).detach()
    tensors |= {"encoder.layer_norm.weight": row[:32], "encoder.layer_norm.bias": row[32:]}
    name = "encoder.layers.0.attention.q_proj.weight"
    tensors[name] = tensors[name].detach().T.contiguous().T  # lies crosswise
    torch.save(tensors, pickled / PICKLE)
    same(pickled, model)


def test_numbers_of_a_zip_file_are_mapped_and_never_written(pickled: Path) -> None:
    before = (pickled / PICKLE).read_bytes()
    model = sv.load(pickled)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    assert (pickled / PICKLE).read_bytes() == before


def test_safetensors_come_first(pickled: Path) -> None:
    other = tiny("hubert", seed=3)
    other.save_pretrained(pickled)
    same(pickled, other)


# What is refused, and never run.


def calling(function: Any, *arguments: Any) -> Any:
    return type("Calling", (), {"__reduce__": lambda self: (function, arguments)})()


HOSTILE: dict[str, Callable[[str], Any]] = {
    "os.system": lambda mark: calling(os.system, f"touch {mark}"),
    "open": lambda mark: calling(open, mark, "w"),
    "eval": lambda mark: calling(eval, f"open({mark!r}, 'w')"),
    "exec": lambda mark: calling(exec, f"open({mark!r}, 'w')"),
    "Popen": lambda mark: calling(subprocess.Popen, ["touch", mark]),
    "a module": lambda mark: torch.nn.Linear(2, 2),
    "much memory": lambda mark: calling(bytearray, 1 << 40),
    "a large tensor": lambda mark: calling(torch.FloatTensor, 1 << 40),
    "a class of ours": lambda mark: sv.Finding("fine", "a", "b"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("hostile", sorted(HOSTILE))
def test_code_in_a_pickle_is_refused_and_never_run(hostile: str, zipped: bool, pickled: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    tensors = {"encoder.extra": HOSTILE[hostile](str(mark)), **tiny("hubert").state_dict()}
    torch.save(tensors, pickled / PICKLE, _use_new_zipfile_serialization=zipped)
    refuse(pickled, PICKLE, "is a pickle that names", "none of it was run")
    assert not mark.exists()


def test_code_outside_the_pickle_of_tensors_is_not_run_either(pickled: Path, tmp_path: Path) -> None:
    """The old format has four more pickles."""
    mark = tmp_path / "was-run"
    content = io.BytesIO()
    pickle.dump(calling(os.system, f"touch {mark}"), content, protocol=2)
    (pickled / PICKLE).write_bytes(content.getvalue())
    refuse(pickled, "none of it was run")
    content = io.BytesIO()
    for part in (pickles.FIRST, pickles.SECOND, calling(os.system, f"touch {mark}")):
        pickle.dump(part, content, protocol=2)
    (pickled / PICKLE).write_bytes(content.getvalue())
    refuse(pickled, "none of it was run")
    assert not mark.exists()


def test_torch_itself_would_refuse_it_too(pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second wall: what the first one lets through by mistake meets the restricted unpickler."""
    mark = tmp_path / "was-run"
    torch.save({"a": calling(os.system, f"touch {mark}")}, pickled / PICKLE)
    monkeypatch.setattr(pickles, "pickled_headers", lambda path: {})
    message = refused(lambda: pickles.read_pickled(pickled / PICKLE), "is a pickle that is cut off or damaged")
    assert not mark.exists() and "weights_only" not in message


OTHERS: dict[str, tuple[Any, str]] = {
    "a training's state": ({"model": {"a": torch.zeros(2)}, "epoch": 3}, "'model' in"),
    "a number": ({"a": torch.zeros(2), "epoch": 3}, "'epoch' in"),
    "a list": ([torch.zeros(2)], "something else than tensors by name"),
    "a tensor": (torch.zeros(2), "something else than tensors by name"),
    "numbers as names": ({1: torch.zeros(2)}, "other things than texts"),
    "tuples as names": ({(1, 2): torch.zeros(2)}, "other things than texts"),
    "sparse tensors": ({"a": torch.eye(3).to_sparse()}, "is a pickle that names 'torch._utils._rebuild_sparse_tensor'"),
    "nothing": ({}, "speaks of"),
    "no tensor of the model": (OrderedDict(a=torch.zeros(2)), "speaks of"),
    "nine dimensions": ({"a": torch.zeros([1] * 9)}, "9 dimensions"),
    "bytes": ({"a": torch.zeros(2, dtype=torch.uint8)}, "a is of U8"),
    "complex numbers": ({"a": torch.zeros(2, dtype=torch.complex64)}, "ComplexFloatStorage"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("other", sorted(OTHERS))
def test_anything_but_tensors_by_name_is_refused(other: str, zipped: bool, pickled: Path) -> None:
    content, words = OTHERS[other]
    torch.save(content, pickled / PICKLE, _use_new_zipfile_serialization=zipped)
    refuse(pickled, words)


def rezip(path: Path, change: Callable[[str, bytes], bytes], **options: Any) -> None:
    """The same zip file with other parts."""
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in parts.items():
            archive.writestr(name, change(name, content))


def test_zip_files_that_torch_did_not_write(pickled: Path) -> None:
    path = pickled / PICKLE
    whole = path.read_bytes()
    rezip(path, lambda name, content: content, compression=zipfile.ZIP_DEFLATED)
    refuse(pickled, "it is compressed")
    path.write_bytes(whole)
    rezip(path, lambda name, content: content[:-4] if "/data/7" in name else content)
    refuse(pickled, "but they are not there")
    path.write_bytes(whole)
    rezip(path, lambda name, content: content + bytes(pickles.LONGEST_PICKLE) if name.endswith("data.pkl") else content)
    refuse(pickled, "a list of tensors of")
    path.write_bytes(whole)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"")
    refuse(pickled, "one name stands for two of its parts")
    path.write_bytes(whole[: len(whole) // 2])
    refuse(pickled, "cut off or damaged")


def test_an_old_file_that_is_cut_off(pickled: Path) -> None:
    path = pickled / PICKLE
    torch.save(tiny("hubert").state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-100])
    refuse(pickled, "its numbers are not all there")


def instructions(*, numbers: int = 4, offset: int = 0, shape: tuple[int, ...] = (4,), strides: Any = (1,)) -> bytes:
    """The pickle of one tensor with sizes that torch would not write; the numbers of a file are four."""
    content = io.BytesIO()

    class Pickler(pickle._Pickler):  # type: ignore[name-defined]
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", numbers) if obj == "numbers" else None

    made = calling(_rebuild_tensor_v2, "numbers", offset, shape, strides, False, OrderedDict())
    Pickler(content, protocol=2).dump({"a": made})
    return content.getvalue()


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"numbers": 1 << 38}, "bytes by the pickle, but they are not there"),
        ({"numbers": 1 << 50}, "numbers in a row"),
        ({"numbers": -4}, "numbers in a row"),
        ({"shape": (5,)}, "a tensor of 5 numbers is cut from 4"),
        ({"offset": 1}, "a tensor of 4 numbers is cut from 4"),
        ({"offset": -1}, "no list of sizes"),
        ({"strides": (-1,)}, "no list of sizes"),
        ({"strides": (2,)}, "a tensor of 4 numbers is cut from 4"),
        ({"shape": (1 << 30,), "strides": (0,)}, "a tensor of 1073741824 numbers is cut from 4"),
        ({"shape": (2, 2)}, "2 dimensions and 1 strides"),
        ({"shape": (True,)}, "no list of sizes"),
    ],
)
def test_sizes_are_looked_at_before_memory_is_taken(sizes: Any, words: str, pickled: Path) -> None:
    torch.save({"a": torch.arange(4.0)}, pickled / PICKLE)
    rezip(pickled / PICKLE, lambda name, content: instructions(**sizes) if name.endswith("data.pkl") else content)
    refuse(pickled, words)


def test_many_names_for_the_same_numbers(pickled: Path) -> None:
    row = torch.zeros(10_000)
    torch.save({f"encoder.{number}": row for number in range(1_000)}, pickled / PICKLE)
    refuse(pickled, "its tensors would have 40000000 bytes")


def test_a_flood_of_instructions(pickled: Path) -> None:
    (pickled / PICKLE).write_bytes(b"\x80\x02" + b"N" * (3 << 20))
    refuse(pickled, "cut off or damaged")


@pytest.mark.slow
def test_whatever_is_changed_in_a_file_it_is_a_model_or_a_sentence(pickled: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for zipped in (True, False):
        torch.save(tiny("hubert").state_dict(), pickled / PICKLE, _use_new_zipfile_serialization=zipped)
        whole = (pickled / PICKLE).read_bytes()
        start = whole.index(b"ctorch._utils")
        for _ in range(400):
            place, byte = (int(torch.randint(n, (1,), generator=generator)) for n in (6_000, 256))
            (pickled / PICKLE).write_bytes(whole[: start + place] + bytes([byte]) + whole[start + place + 1 :])
            try:
                pickles.read_pickled(pickled / PICKLE)
            except sv.SottovoceError as error:
                assert len(str(error)) < 1_000 and "\n" not in str(error)


# Several files.


@pytest.fixture
def sharded(pickled: Path) -> Path:
    (pickled / PICKLE).unlink()
    write_weights(pickled, tiny("hubert").state_dict(), "shards")
    return pickled


def test_a_model_in_several_pickles(sharded: Path) -> None:
    same(sharded, tiny("hubert"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../secret.bin", "is not the plain name of a file"),
        ("/etc/secret.bin", "is not the plain name of a file"),
        ("config.json", "tensors are in .bin files"),
        ("model.safetensors", "tensors are in .bin files"),
        ("pytorch_model-00009-of-00002.bin", "which is not there"),
        ("out.bin", "is a link that leads out of it"),
        (7, "maps no tensors to files"),
    ],
)
def test_an_index_of_pickles_names_files_of_its_own_folder(
    name: Any, words: str, sharded: Path, tmp_path: Path
) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "secret.bin")
    (sharded / "out.bin").symlink_to(tmp_path / "secret.bin")
    index = json.loads((sharded / PICKLE_INDEX).read_text())
    index["weight_map"][sorted(index["weight_map"])[0]] = name
    (sharded / PICKLE_INDEX).write_text(json.dumps(index))
    refuse(sharded, words)


def test_a_pickle_that_is_linked_or_a_pipe(pickled: Path, tmp_path: Path) -> None:
    (pickled / PICKLE).rename(tmp_path / "outside.bin")
    (pickled / PICKLE).symlink_to(tmp_path / "outside.bin")
    refuse(pickled, "is a link that leads out of it")
    (pickled / PICKLE).unlink()
    os.mkfifo(pickled / PICKLE)
    refuse(pickled, "is a pipe")


# What users are told, and what they can do.


def test_the_log_says_it_once(pickled: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="sottovoce"):
        for _ in range(2):
            sv.load(pickled)
        sv.doctor(pickled)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "sottovoce"]
    assert "a pickle" in line and "sv.save writes safetensors" in line and loading.conversion(str(pickled)) in line


@pytest.mark.parametrize("name", ["hubert-large-ls960-ft", "mms-1b-all", "wav2vec2-large-xlsr-53"])
def test_the_advice_of_the_doctor_works(zygote: Zygote, name: str, tmp_path: Path) -> None:
    """The line that he gives keeps the head, the tokenizer and the feature extractor."""
    place, wanted = published(name)
    if PUBLISHED[name].weights == "safetensors":
        line = loading.conversion(str(place))
    else:
        (line,) = [finding.do for finding in sv.doctor(place) if finding.check == "pickle"]
    program, *words = shlex.split(line)
    told = zygote.run(words, cwd=tmp_path)
    made = tmp_path / f"{name}-safetensors"
    assert program == "sottovoce" and f"wrote {made.name}: {type(wanted).__name__}" in told, told
    same(made, wanted)
    assert load_file(made / "model.safetensors") and not list(made.glob("*.bin*"))
    assert not [finding for finding in sv.doctor(made) if finding.check == "pickle"]
    for path in place.glob("*.json"):
        if not path.name.startswith(("config", "pytorch")):
            assert (made / path.name).read_bytes() == path.read_bytes(), path.name
    plain, found = getattr(transformers, type(wanted).__name__).from_pretrained(made, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"] and plain.config.architectures


def test_other_pickles_are_no_weights(pickled: Path) -> None:
    (pickled / PICKLE).rename(pickled / "checkpoint_best.pt")
    refuse(pickled, "holds a pickle (checkpoint_best.pt), but weights are in model.safetensors or pytorch_model.bin")


def test_a_folder_with_a_pickle_is_not_saved_over(pickled: Path) -> None:
    with pytest.raises(sv.SottovoceError, match="which is no part of a model"):
        sv.save(sv.load(pickled), pickled, overwrite=True)


# The Hub.


@pytest.mark.parametrize("name", ["hubert-base-ls960", "hubert-large-ls960-ft", "wavlm-base-plus-sd"])
def test_of_a_revision_safetensors_are_fetched_or_else_pickles(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is asked for comes, as with the Hub's own client."""
    offered, asked = tmp_path / "offered", []
    wanted = write(offered, PUBLISHED[name])
    (offered / "training_args.bin").write_bytes(b"")
    snapshot = tmp_path / "cache" / "models--some--body" / "snapshots" / ("b" * 40)
    snapshot.mkdir(parents=True)

    def fetch(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert repo == "some/body" and revision == ("v1" if not asked else "b" * 40)
        asked.append(allow_patterns)
        for path in offered.iterdir():
            if path.name in allow_patterns:
                shutil.copyfile(path, snapshot / path.name)
        return str(snapshot)

    monkeypatch.setattr(loading, "snapshot_download", fetch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    model = sv.load("some/body", revision="v1")
    assert all(torch.equal(tensor, wanted.state_dict()[key]) for key, tensor in model.state_dict().items())
    there = {path.name for path in snapshot.iterdir()}
    assert "training_args.bin" not in there
    assert bool([file for file in there if ".bin" in file]) == (PUBLISHED[name].weights in ("bin", "shards"))
    assert not [finding for finding in sv.doctor(snapshot) if finding.level == "error"]
