"""A checkpoint is a stranger's: whatever is in its files, it is refused in a sentence, soon and in little memory."""

import ast
import importlib
import inspect
import json
import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import edited, tiny
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import sottovoce as sv
from sottovoce.cli import main
from sottovoce.models import heads
from sottovoce.models.bundle import MODULES
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.models.packed import PACKED
from sottovoce.models.teachers import DIFFERENCE, write_difference
from sottovoce.models.weights import LONGEST_HEADER
from sottovoce.pretraining.unit_head import UNITS_FILE, unit_head_of

INDEX = "model.safetensors.index.json"


@pytest.fixture
def saved(folder: Path) -> Path:
    return sv.save(tiny("hubert"), folder)


def refused(call: Callable[[], Any], *words: str) -> str:
    """The one sentence that a call ends in."""
    start = time.monotonic()
    with pytest.raises(sv.SottovoceError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1_000 and all(word in message for word in words), message
    assert time.monotonic() - start < 3, message
    return message


def refuse(folder: Path, *words: str) -> None:
    """Neither is it loaded, nor does the doctor find nothing or fail."""
    refused(lambda: sv.load(folder), *words)
    assert [finding for finding in sv.doctor(folder) if finding.level == "error"]


def change(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object], name: str = "model.safetensors") -> None:
    with safe_open(str(folder / name), framework="pt") as opened:
        notes = opened.metadata()
    stored = load_file(folder / name)
    change(stored)
    save_file(stored, folder / name, metadata=notes)


# Links, pipes, and files of other names.


@pytest.fixture
def sharded(saved: Path) -> Path:
    stored = load_file(saved / "model.safetensors")
    (saved / "model.safetensors").unlink()
    names = sorted(stored)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, of in shards.items():
        save_file({name: stored[name] for name in of}, saved / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, of in shards.items() for name in of}}
    (saved / INDEX).write_text(json.dumps(index))
    return saved


def test_a_model_in_several_files_is_loaded(sharded: Path) -> None:
    wanted = tiny("hubert").state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in sv.load(sharded).state_dict().items())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../secret.safetensors", "is not the plain name of a file"),
        ("/etc/secret.safetensors", "is not the plain name of a file"),
        ("..", "is not the plain name of a file"),
        ("config.json", "tensors are in .safetensors files"),
        ("model-00009-of-00002.safetensors", "which is not there"),
        ("out.safetensors", "is a link that leads out of it"),
        ("loop.safetensors", "cannot be reached"),
        (7, "maps no tensors to files"),
    ],
)
def test_an_index_names_files_of_its_own_folder(name: Any, words: str, sharded: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "secret.safetensors")
    (sharded / "out.safetensors").symlink_to(tmp_path / "secret.safetensors")
    (sharded / "loop.safetensors").symlink_to("loop.safetensors")
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"][sorted(index["weight_map"])[0]] = name
    (sharded / INDEX).write_text(json.dumps(index))
    refuse(sharded, words)


@pytest.mark.parametrize("text", ["[]", '{"weight_map": []}', '{"weight_map": {}}', "{}", "3"])
def test_an_index_that_is_none(text: str, sharded: Path) -> None:
    (sharded / INDEX).write_text(text)
    refuse(sharded, "maps no tensors to files")


def test_an_index_against_its_files(sharded: Path) -> None:
    index = json.loads((sharded / INDEX).read_text())
    first, second = sorted(index["weight_map"])[:2]
    index["weight_map"][first] = index["weight_map"][second]
    (sharded / INDEX).write_text(json.dumps(index))
    refuse(sharded, f"says that {first} is in model-00002", "where it is not")
    shutil.copyfile(sharded / "model-00001-of-00002.safetensors", sharded / "model-00002-of-00002.safetensors")
    refuse(sharded, "is in both")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json", "vocab.json"])
def test_links_out_of_the_folder_are_refused(name: str, saved: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("{}")
    if (saved / name).exists():
        shutil.copyfile(saved / name, outside)
        (saved / name).unlink()
    (saved / name).symlink_to(outside)
    refuse(saved, name, "is a link that leads out of it")


def test_a_linked_vocabulary_is_never_copied(saved: Path, tmp_path: Path) -> None:
    model = sv.load(saved)
    (tmp_path / "secret").write_text('{"secret": 0}')
    (saved / "vocab.json").symlink_to(tmp_path / "secret")
    refused(lambda: sv.save(model, tmp_path / "copy"), "vocab.json", "is a link that leads out of it")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.json"])
def test_pipes_are_refused_and_not_waited_for(name: str, saved: Path) -> None:
    (saved / name).unlink(missing_ok=True)
    os.mkfifo(saved / name)
    refuse(saved, "is a pipe")


def test_the_layout_of_the_hub_is_loaded(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "cache" / "models--some--body"
    snapshot, commit = place / "snapshots" / ("a" * 40), "a" * 40
    snapshot.mkdir(parents=True)
    (place / "blobs").mkdir()
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    for number, path in enumerate(sorted(saved.iterdir())):
        shutil.copyfile(path, place / "blobs" / str(number))
        (snapshot / path.name).symlink_to(Path("../../blobs", str(number)))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    model = sv.load("some/body")
    assert model.name_or_path == "some/body" and type(sv.load(snapshot)).__name__ == "HubertModel"
    tensors(saved, lambda t: t.update({"encoder.extra": torch.zeros(1)}))
    shutil.copyfile(saved / "model.safetensors", (snapshot / "model.safetensors").resolve())
    refused(lambda: sv.load("some/body"), "encoder.extra")


# A difference to a teacher.


@pytest.fixture
def difference(tmp_path: Path) -> Path:
    place = tmp_path / "difference"
    model = sv.load("small-hubert")
    sv.save(model, place)
    write_difference(place, model.state_dict(), "small-hubert")
    return place


def note(folder: Path, **changes: Any) -> None:
    path = folder / DIFFERENCE
    with safe_open(str(path), framework="pt") as opened:
        notes = json.loads(opened.metadata()["sottovoce"])
    save_file(load_file(path), path, metadata={"sottovoce": json.dumps(notes | changes)})


@pytest.mark.parametrize("base", ["/etc", "../teachers/small-hubert", "", ".", 7, ["small-hubert"]])
def test_a_difference_is_to_a_teacher(base: Any, difference: Path) -> None:
    sv.load(difference)
    note(difference, base=base)
    refuse(difference, "is no teacher that comes with this version")


def test_a_difference_of_other_shapes(difference: Path) -> None:
    name = "encoder.layer_norm.bias"
    wrong = {f"steps.{name}": torch.ones(7, dtype=torch.int8), f"scale.{name}": torch.ones(1)}
    tensors(difference, lambda t: t.update(wrong), DIFFERENCE)
    refuse(difference, "are of another shape than 'small-hubert'")


def test_a_difference_that_is_not_finite(difference: Path) -> None:
    name = "encoder.layer_norm.bias"
    broken = {f"steps.{name}": torch.ones(192, dtype=torch.int8), f"scale.{name}": torch.full((1,), float("nan"))}
    tensors(difference, lambda t: t.update(broken), DIFFERENCE)
    found = [finding for finding in sv.doctor(difference) if finding.level == "error"]
    assert "1 tensors hold NaN or infinity, encoder.layer_norm.bias first" in found[0].what


# What steers the loaders of Hugging Face.


def test_nothing_in_a_configuration_steers_the_loaders(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    original = transformers.HubertModel.from_pretrained.__func__  # type: ignore[attr-defined]

    def watched(cls: Any, *args: Any, **options: Any) -> Any:
        seen.append(options["config"])
        return original(cls, *args, **options)

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", classmethod(watched))
    steering = {
        "_attn_implementation": "somebody/kernel",
        "attn_implementation": "somebody/kernel",
        "_attn_implementation_internal": "flash_attention_2",
        "experts_implementation": "somebody/kernel",
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True},
        "auto_map": {"AutoModel": "somebody/code--modeling.Model"},
        "trust_remote_code": True,
        "custom_pipelines": {"a": {"impl": "code.Pipeline"}},
        "transformers_weights": "../secret.safetensors",
        "fusion_config": {"a": 1},
        "kernel_config": {"a": 1},
        "text_config": {"_attn_implementation": "somebody/kernel"},
        "_name_or_path": "somebody/model",
    }
    change(saved, **steering, sottovoce_task="words")
    model = sv.load(saved)
    assert model.config._attn_implementation == tiny("hubert").config._attn_implementation
    for key in steering.keys() - {"_attn_implementation", "_attn_implementation_internal", "_name_or_path"}:
        assert not hasattr(seen[0], key), key
    assert seen[0].sottovoce_task == "words"


# Numbers.

HUGE = 10**12


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000, but a whole number from 0 to 256 is wanted"),
        ({"num_hidden_layers": 200}, "speaks of 200 layers, but its files hold 78 tensors"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000"),
        ({"hidden_size": 10**6, "num_attention_heads": 1}, "these settings make a model of"),
        ({"intermediate_size": 10**6}, "makes a model of"),
        ({"intermediate_size": -1}, "intermediate_size is -1"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"hidden_size": 32.0}, "hidden_size is 32.0"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"hidden_size": "32"}, "hidden_size is '32'"),
        ({"hidden_size": [32]}, "hidden_size is [32]"),
        ({"conv_dim": [8] * 10**6}, "conv_dim is [8, 8, 8, 8, 8, 8, ...], but a list of at most 64"),
        ({"conv_dim": [12, 10]}, "no hubert configuration can be made of"),
        ({"conv_stride": [5, 0, 4]}, "conv_stride is 0"),
        ({"conv_kernel": [10, 0, 4]}, "conv_kernel is 0"),
        ({"conv_kernel": ["10", 4, 4]}, "conv_kernel is '10'"),
        ({"num_attention_heads": 5}, "embed_dim must be divisible by num_heads"),
        ({"num_conv_pos_embedding_groups": 5}, "cannot make a hubert model"),
        ({"num_conv_pos_embeddings": HUGE}, "num_conv_pos_embeddings is 1000000000000"),
        ({"vocab_size": HUGE}, "vocab_size is 1000000000000"),
        ({"num_labels": HUGE}, "num_labels is 1000000000000"),
        ({"hidden_act": "nope"}, "unknown hidden_act of the config.json of"),
        ({"hidden_dropout": -0.1}, "hidden_dropout is -0.1, but a number from 0 to 1"),
        ({"hidden_dropout": "0.1"}, "hidden_dropout is '0.1', but a finite number"),
        ({"layer_norm_eps": 1e300}, "layer_norm_eps is 1e+300"),
        ({"do_stable_layer_norm": "yes"}, "do_stable_layer_norm is 'yes', but true or false"),
        ({"id2label": ["a"]}, "id2label is ['a'], but a mapping"),
        ({"id2label": {"x": "a"}}, "id2label is 'x', but a whole number"),
        ({"dtype": "os.system"}, "dtype is 'os.system', but one of float32"),
        ({"pad_token_id": "0"}, "pad_token_id is '0'"),
        ({"architectures": []}, "architectures is [], but a list of one class name"),
        ({"architectures": [7]}, "architectures is [7]"),
        ({"architectures": [""]}, "architectures is ['']"),
        ({"architectures": "HubertModel"}, "architectures is 'HubertModel'"),
        ({"architectures": ["BertModel"]}, "has not for the hubert family; mend architectures"),
        ({"architectures": ["WavLMModel"]}, "has not for the hubert family"),
        ({"architectures": ["HubertPreTrainedModel"]}, "hubert"),
        ({"architectures": ["pipeline"]}, "has not for the hubert family"),
        ({"sottovoce_task": ["a"]}, "sottovoce_task is ['a'], but a text"),
    ],
)
def test_settings_beyond_reason(settings: dict[str, Any], words: str, saved: Path) -> None:
    change(saved, **settings)
    refuse(saved, words)


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity", "9" * 5_000])
def test_numbers_that_are_none(number: str, saved: Path) -> None:
    path = saved / "config.json"
    path.write_text(path.read_text().replace('"layer_norm_eps": 1e-05', f'"layer_norm_eps": {number}'))
    refuse(saved, "config.json")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_hidden_layers": 10**9}, "these settings: num_hidden_layers is 1000000000"),
        ({"hidden_size": 10**6, "num_attention_heads": 8}, "these settings: these settings make a model of"),
        ({"hidden_size": -8}, "these settings: hidden_size is -8"),
        ({"hidden_act": "nope"}, "unknown hidden_act of these settings: 'nope'"),
        ({"num_attention_heads": 5}, "these settings cannot make a hubert model: embed_dim must be divisible"),
        ({"conv_dim": [8, 8]}, "no hubert configuration can be made of these settings"),
        ({"conv_stride": [0] * 7}, "these settings: conv_stride is 0"),
        ({"hidden_dropout": float("nan")}, "these settings: hidden_dropout is nan"),
        ({"hidden_size": "768"}, "these settings: hidden_size is '768'"),
    ],
)
def test_settings_of_new(settings: dict[str, Any], words: str) -> None:
    message = refused(lambda: sv.new("hubert", **settings), words)
    # The reason is whole: what Hugging Face's validation says after its first line, too.
    assert not message.endswith(":.")


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        ({"heads": {"0": "0-3000000000"}}, "'3000000000' is no whole number from 0 to 1000000"),
        ({"heads": {"0": "0-100000,0-100000"}}, "numbers must go up, each once"),
        ({"heads": {"0": "0,0,1"}}, "numbers must go up, each once"),
        ({"heads": {"0": "3-1"}}, "numbers must go up"),
        ({"heads": {"-1": "0"}}, "heads are listed by layer, and '-1' is none"),
        ({"heads": {"4": "0"}}, "heads: there is no layer 4, for 4 layers have tensors"),
        ({"heads": {"0": "0,4"}}, "heads of layer 0: there is no head 4; give 0-3"),
        ({"heads": ["0"]}, "heads is ['0'], but a mapping is wanted"),
        ({"heads": {"0": 7}}, "ranges of numbers such as 0-5,8 are wanted, not 7"),
        ({"order": "0," * (4 * 10**6)}, "numbers such as 0,0,1 are wanted"),
        ({"order": "0,0,0"}, "order has 3 steps, but num_hidden_layers is 4"),
        ({"order": "0,1,3,3"}, "order '0,1,3,3' does not name its layers 0, 1, 2 and so on"),
        ({"order": "1,0,0,0"}, "does not name its layers 0, 1, 2"),
        ({"order": [0, 1, 2, 3]}, "numbers such as 0,0,1 are wanted"),
        ({"feed_forwards": ["48", "48", "40"]}, "feed_forwards has 3 rows, but 4 layers have tensors"),
        ({"feed_forwards": ["48", "48", "40", "48,48"]}, "feed_forwards of layer 3 has 2 widths, but 1 is right here"),
        ({"feed_forwards": ["48", "48", "40", "999999"]}, "feed_forwards of layer 3 has 999999 units"),
        ({"feed_forwards": ["48", "48", "40", "-1"]}, "'-1' is no whole number"),
        ({"feed_forwards": "48"}, "feed_forwards is '48', but a list"),
        ({"hidden": "0-31"}, "hidden without hidden_of"),
        ({"hidden_of": 32}, "hidden_of without hidden"),
        ({"hidden": "0-31", "hidden_of": 31}, "hidden must name units below hidden_of (31)"),
        ({"hidden": "0-30", "hidden_of": 32}, "hidden names 31 units, but hidden_size in config.json is 32"),
        ({"ranks": {"encoder.nothing": 4}}, "ranks: this model has no 'encoder.nothing'"),
        ({"ranks": {"nothing": 4}}, "ranks: this model has no 'nothing'"),
        ({"ranks": {"encoder.layers.0.attention.q_proj": -1}}, "but a whole number from 1 to 1000000 is wanted"),
        ({"ranks": {"encoder.layers.0.attention.q_proj": 10**9}}, "is 1000000000, but a whole number"),
        ({"ranks": {"encoder.layers.0.attention.q_proj": 10**6}}, "makes a model of"),
        ({"ranks": {"encoder.layers.0": 4}}, "cannot make a hubert model"),
        ({"log_mel": {"bins": 10**9, "stack": 2}}, "bins is 1000000000, but a whole number from 1 to 10000"),
        ({"log_mel": {"bins": 40}}, "log_mel is {'bins': 40}, but bins and stack are wanted"),
        ({"mimic": {"layers": 1, "kind": "linear", "width": 10**9}}, "width is 1000000000"),
        ({"mimic": {"layers": 1, "kind": "linear", "width": 10**6}}, "makes a model of"),
        ({"mimic": {"layers": 9, "kind": "linear", "width": 8}}, "mimic: layers is 9, but 0 or 1 or 2 is wanted"),
        ({"mimic": {"layers": 1, "kind": "linear", "width": 8, "device": "x"}}, "mimic is"),
        ({"int8": {"encoder.nothing": "dynamic"}}, "int8: this model has no 'encoder.nothing'"),
        ({"int8": {"encoder.layers.0.attention.q_proj": "fast"}}, "int8: scales are dynamic or static, not 'fast'"),
        ({"folded": "yes"}, "folded is 'yes', but true or false"),
    ],
)
def test_a_structure_that_contradicts_itself(structure: dict[str, Any], words: str, saved: Path) -> None:
    change(saved, sottovoce={"version": 1, **structure})
    refuse(saved, words)


def test_absurd_files_take_no_memory(saved: Path) -> None:
    """Measured by the process itself: 200 MB more than before would be seen."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for settings in (
        {"intermediate_size": 10**6},
        {"hidden_size": 10**6, "num_attention_heads": 1},
        {"sottovoce": {"version": 1, "ranks": {"encoder.layers.0.attention.q_proj": 10**6}}},
        {"sottovoce": {"version": 1, "heads": {"0": "0-3000000000"}}},
    ):
        text = (saved / "config.json").read_text()
        change(saved, **settings)
        refused(lambda: sv.load(saved))
        (saved / "config.json").write_text(text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


# Packed tensors.


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([10**6, 10**6], "bytes of places"),
        ([-1, 32], "the shape of"),
        ([True], "the shape of"),
        ("32", "the shape of"),
        ([8], "bytes of places"),
    ],
)
def test_packed_shapes_that_do_not_fit(shape: Any, words: str, tmp_path: Path) -> None:
    folder = sv.save(sv.prune_weights(tiny("hubert"), sparsity=0.9), tmp_path / "model", packed=True)
    with safe_open(str(folder / PACKED), framework="pt") as opened:
        notes = json.loads(opened.metadata()["sottovoce"])
    notes["shapes"][sorted(notes["shapes"])[0]] = shape
    save_file(load_file(folder / PACKED), folder / PACKED, metadata={"sottovoce": json.dumps(notes)})
    refuse(folder, "is no packed model that sottovoce wrote", words)


@pytest.mark.parametrize("notes", ["[]", "{", '{"shapes": 3}', "[" * 9_999])
def test_packed_notes_that_are_none(notes: str, tmp_path: Path) -> None:
    folder = sv.save(sv.prune_weights(tiny("hubert"), sparsity=0.9), tmp_path / "model", packed=True)
    save_file(load_file(folder / PACKED), folder / PACKED, metadata={"sottovoce": notes})
    refuse(folder, "is no packed model that sottovoce wrote")


# Tensors.


@pytest.mark.parametrize("length", [LONGEST_HEADER + 1, 2**62, 2**64 - 1])
def test_headers_without_end(length: int, saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{" * 100)
    refuse(saved, "is cut off or damaged", f"{length} bytes")


@pytest.mark.parametrize(
    "name", ["encoder.extra", "feature_projection.extra", "hubert.encoder.extra", "feature_extractor.extra"]
)
def test_tensors_that_nobody_asked_for(name: str, saved: Path) -> None:
    tensors(saved, lambda t: t.update({name: torch.zeros(3)}))
    refuse(saved, "holds 1 tensors that its config.json does not speak of", name.removeprefix("hubert."))


def test_tensors_of_other_heads_are_passed_over(saved: Path) -> None:
    tensors(saved, lambda t: t.update({"lm_head.weight": torch.zeros(3, 32), "projector.bias": torch.zeros(3)}))
    assert type(sv.load(saved)).__name__ == "HubertModel"


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.complex64, torch.uint8])
def test_weights_of_another_kind(kind: torch.dtype, saved: Path) -> None:
    name = "encoder.layers.0.attention.q_proj.weight"
    tensors(saved, lambda t: t.update({name: t[name].to(kind)}))
    refuse(saved, f"{name} is of", "but F64 or F32 or F16 or BF16 is wanted")


def test_bytes_of_quantised_models_are_fine(tmp_path: Path) -> None:
    model = sv.quantize(tiny("hubert"))
    assert any(name.endswith(".levels") for name in sv.load(sv.save(model, tmp_path / "model")).state_dict())


def test_a_batch_norm_counts_in_whole_numbers(tmp_path: Path) -> None:
    folder = sv.save(tiny("hubert", conv_pos_batch_norm=True), tmp_path / "model")
    assert any(name.endswith("num_batches_tracked") for name in sv.load(folder).state_dict())


# NaN.


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_nan_is_not_saved_and_never_fine(kind: torch.dtype, value: float, tmp_path: Path) -> None:
    model = tiny("hubert").to(kind)
    folder = sv.save(model, tmp_path / "model")
    name = "encoder.layers.1.final_layer_norm.bias"
    with torch.no_grad():
        model.get_parameter(name)[3] = value
    refused(lambda: sv.save(model, tmp_path / "broken"), f"{name} holds NaN or infinity")
    assert not (tmp_path / "broken").exists()
    tensors(folder, lambda t: t[name].fill_(value))
    found = [finding.what for finding in sv.doctor(folder) if finding.level == "error"]
    assert found == [f"1 tensors hold NaN or infinity, {name} first"]


def test_buffers_are_numbers_too(tmp_path: Path) -> None:
    model = edited("hubert", "use_log_mel")
    model.feature_extractor.std[0] = float("nan")
    refused(lambda: sv.save(model, tmp_path / "broken"), "feature_extractor.std holds NaN")


def test_padding_that_cannot_be_compared_is_an_error(saved: Path) -> None:
    """Finite weights, infinite outputs: no difference of NaN is below a tolerance."""
    tensors(saved, lambda t: t["feature_projection.projection.weight"].fill_(3e38))
    found = {finding.check: finding for finding in sv.doctor(saved)}
    assert found["padding"].level == "error" and "NaN or infinity" in found["padding"].what


def test_numbers_too_large_for_the_kind_they_are_loaded_in(saved: Path) -> None:
    change(saved, dtype="float16")
    tensors(saved, lambda t: t["encoder.layer_norm.bias"].fill_(1e6))
    found = {finding.check: finding for finding in sv.doctor(saved)}
    assert found["numbers"].level == "error" and "NaN or infinity when they are loaded" in found["numbers"].what


# Paths.


@pytest.mark.parametrize(
    "name",
    ["./a/b", "../a/b", "/a/b", "~/a/b", "a/b/c", "a/b/", "a\\b", "here/b", "a/model.safetensors", "a/b.bin", "."],
)
def test_what_looks_like_a_path_is_not_asked_for_at_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the Hub was asked")

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sottovoce.models.checkpoint.hf_hub_download", asked)
    monkeypatch.setattr("sottovoce.models.loading.snapshot_download", asked)
    words = "holds no config.json" if name == "." else "there is no folder"
    refused(lambda: sv.load(name), words)
    if name != ".":
        refused(lambda: sv.doctor(name), words)


def test_a_name_of_the_hub_is_asked_for_there(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []

    def asked(name: str, *args: Any, **kwargs: Any) -> Any:
        names.append(name)
        raise OSError("no network")

    monkeypatch.setattr("sottovoce.models.loading.snapshot_download", asked)
    refused(lambda: sv.load("facebook/hubert-base-ls960"), "could be had from the Hub (no network)")
    assert names == ["facebook/hubert-base-ls960"]


# Texts.

TEXTS = [b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5_000 + b"}", b'{"a": "\\ud800"}', b"[]", b"3", b"null", b""]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_that_are_no_configuration(text: bytes, saved: Path) -> None:
    (saved / "config.json").write_bytes(text)
    refuse(saved, "config.json")


@pytest.mark.parametrize("text", TEXTS)
def test_texts_that_are_no_settings_of_a_feature_extractor(text: bytes, saved: Path) -> None:
    (saved / "preprocessor_config.json").write_bytes(text)
    model = sv.load(saved)
    refused(lambda: Encoder(model), "preprocessor_config.json")
    assert "processor" in {finding.check for finding in sv.doctor(saved) if finding.level == "error"}


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [
        ({"a": -1}, "gives 'a' the number -1, but a whole number"),
        ({"a": 1.5}, "gives 'a' the number 1.5"),
        ({"a": True}, "gives 'a' the number True"),
        ({"a": "1"}, "gives 'a' the number '1'"),
        ({"a": 10**12}, "gives 'a' the number 1000000000000"),
        ({"en": {"a": 1}}, "has a part for each language"),
        (["a"], "holds a list, but a JSON object is wanted"),
    ],
)
def test_vocabularies_that_are_none(vocabulary: Any, words: str, folder: Path) -> None:
    sv.save(tiny("hubert", head="ForCTC"), folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    refused(lambda: heads.head_labels(sv.load(folder)), words)


def test_tokens_that_are_no_texts(folder: Path) -> None:
    sv.save(tiny("hubert", head="ForCTC"), folder)
    (folder / "vocab.json").write_text('{"a": 1}')
    (folder / "tokenizer_config.json").write_text('{"pad_token": {"content": ["a"]}}')
    refused(lambda: heads.head_labels(sv.load(folder)), "a token is ['a'] in tokenizer_config.json")
    change(folder, pad_token_id=1_000)
    (folder / "tokenizer_config.json").unlink()
    refused(lambda: heads.head_labels(sv.load(folder)), "pad_token_id is 1000, but the head of", "has 20 tokens")


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ({"sottovoce": "[]"}, "holds a list"),
        ({"sottovoce": '{"plan": 3}'}, "its plan is 3"),
        ({"sottovoce": '{"plan": {"span": "10"}}'}, "span of its plan is '10'"),
        ({"sottovoce": '{"plan": {"share": 7}}'}, "share of its plan is 7"),
        ({"sottovoce": "[" * 9_999}, "brackets deep"),
    ],
)
def test_notes_of_units_that_are_none(notes: dict[str, str], words: str, tmp_path: Path) -> None:
    folder = sv.save(sv.load("small-hubert"), tmp_path / "model")
    save_file(load_file(folder / UNITS_FILE), folder / UNITS_FILE, metadata=notes)
    refused(lambda: unit_head_of(sv.load(folder)), f"the {UNITS_FILE} beside this model is damaged", words)


# Folders that others replace, and systems that refuse.


def test_a_folder_that_is_replaced_while_it_is_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sottovoce.models import loading

    other = sv.save(tiny("wavlm"), saved.with_name("other"))
    original, done = loading.folder_config, []

    def replaced(folder: Any) -> Any:
        config = original(folder)
        if not done:
            done.append(1)
            saved.rename(saved.with_name("old"))
            other.rename(saved)
        return config

    monkeypatch.setattr(loading, "folder_config", replaced)
    assert type(sv.load(saved)).__name__ == "WavLMModel"


def test_a_mapping_outlives_its_folder(saved: Path) -> None:
    model, wanted = sv.load(saved), tiny("hubert").state_dict()
    sv.save(tiny("hubert", seed=5), saved, overwrite=True)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


def test_a_folder_that_a_killed_process_had_moved_aside(saved: Path) -> None:
    from sottovoce.files.leftovers import host

    saved.rename(saved.with_name(f".{saved.name}.{host()}-{2**22 + 1}-00000000-00000000.old"))
    assert type(sv.load(saved)).__name__ == "HubertModel" and saved.is_dir()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(5, "Input/output error", "model.safetensors"), "Input/output error"),
        (MemoryError(), "the memory was not enough"),
    ],
)
def test_what_the_system_refuses(error: Exception, words: str, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sottovoce.models import loading

    def failing(*args: Any) -> Any:
        raise error

    monkeypatch.setattr(loading, "read_weights", failing)
    refused(lambda: sv.load(saved), "cannot be read", words)


# Log-mel features, which stand where a model does.

OPTIONS = {"low_rank": {"ratio": 0.5}, "finetune": {"task": "asr"}, "distill": {"teacher": "small-hubert"}}
OPTIONS |= {"prune_jointly": {"target": "macs:-40%"}, "shallow": {"layers": 2}}


def command(*words: str) -> object:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    return caught.value.code


def test_log_mel_features_have_a_cost(capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--parts"], ["--versus", "small-hubert"]):
        assert command("cost", "log-mel", "--seconds", "1", "--repeats", "1", *more) == 0
    capsys.readouterr()
    assert command("cost", "log-mel", "--seconds", "1", "--repeats", "1", "--json") == 0
    rows = {
        row["metric"]: row["value"] for row in map(json.loads, capsys.readouterr().out.splitlines()) if not row["where"]
    }
    # 98 windows of 257 frequencies in 40 bins; four buffers: the window, the filters, mean and deviation.
    assert rows["parameters"] == 0 and rows["macs"] == 98 * 257 * 40
    assert rows["bytes"] == 4 * (400 + 257 * 40 + 40 + 40) and rows["latency"] > 0 and rows["peak_bytes"] > 0
    refused(lambda: sv.MEASURES["macs"](LogMel(), seconds=0.01), "make no frame of log-mel features")
    refused(lambda: sv.MEASURES["speed"](LogMel(), seconds=0.01), "make no frame of log-mel features")


@pytest.mark.parametrize("measure", sorted(sv.MEASURES))
def test_each_measure_takes_log_mel_features_or_says_why_not(measure: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = command("measure", "log-mel", "--measure", measure)
    said = capsys.readouterr().err
    assert code == 0 or (code == 2 and said.startswith("sottovoce: ")), said
    works = measure in ("size", "macs", "speed")
    assert (code == 0) == works and (works or "needs" in said or "LogMel has no layers" in said), said


@pytest.mark.parametrize("method", sorted(sv.METHODS))
def test_each_method_refuses_log_mel_features(method: str) -> None:
    words = ["LogMel has no layers"] if method not in ("finetune", "distill") else ["log-mel features have nothing to"]
    refused(lambda: sv.METHODS[method](LogMel(), **OPTIONS.get(method, {})), *words)


def test_no_constant_of_the_modelling_file_is_defined_twice() -> None:
    """Its modules share one namespace there: the later definition would silently hold for both."""
    names: list[str] = []
    for module in MODULES:
        for node in ast.parse(inspect.getsource(importlib.import_module(f"sottovoce.{module}"))).body:
            if isinstance(node, ast.Assign):
                names += [target.id for target in node.targets if isinstance(target, ast.Name) and target.id != "P"]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
