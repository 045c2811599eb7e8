"""Loading and saving: what plain Hugging Face code can load, and what every fault says."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import venv
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import EDITS, edited, possible, tiny
from safetensors.torch import load_file, save_file
from zygote import Zygote

import sottovoce as sv
from sottovoce.files import load_yaml
from sottovoce.models import hub
from sottovoce.models.bundle import FILE, bundle

HEADS = ["", "ForCTC", "ForSequenceClassification", "ForAudioFrameClassification", "ForXVector", "ForPreTraining"]
HEAD_SETTINGS: dict[str, dict[str, Any]] = {
    "ForXVector": {
        "tdnn_dim": (16, 16, 24),
        "tdnn_kernel": (5, 3, 1),
        "tdnn_dilation": (1, 2, 1),
        "xvector_output_dim": 12,
    },
    "ForPreTraining": {"num_codevectors_per_group": 8, "codevector_dim": 16, "proj_codevector_dim": 16},
}


@pytest.mark.parametrize("head", HEADS)
def test_every_head_comes_back(head: str, folder: Path) -> None:
    model = tiny("wav2vec2", head=head, **HEAD_SETTINGS.get(head, {}))
    sv.save(sv.drop_layers(model, keep=2), folder)
    assert type(sv.load(folder)).__name__ == f"Wav2Vec2{head or 'Model'}"
    assert len(sv.Anatomy(sv.load(folder)).layers) == 2


@pytest.mark.parametrize("edit", ["keep_layers", "uniform_feed_forward", "keep_channels"])
@pytest.mark.parametrize("family", ["wav2vec2", "hubert-large", "wavlm", "data2vec-audio", "sew", "wav2vec2-conformer"])
def test_plain_hugging_face_loads_what_a_configuration_can_say(family: str, edit: str, folder: Path) -> None:
    model = edited(family, edit)
    sv.save(model, folder)
    assert not (folder / FILE).exists()
    plain, found = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"] and not found["mismatched_keys"]
    inputs = sv.Anatomy(model).dummy_inputs(0.5)
    with torch.no_grad():
        torch.testing.assert_close(plain(**inputs)[0], model(**inputs)[0], rtol=1e-4, atol=1e-5)


def test_plain_hugging_face_stops_at_what_it_would_get_wrong(folder: Path) -> None:
    sv.save(edited("hubert", "share_layers"), folder)
    with pytest.raises(ValueError, match="trust_remote_code"):
        transformers.AutoModel.from_pretrained(folder, trust_remote_code=False)


@pytest.fixture(scope="session")
def lonely_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with torch and transformers and without sottovoce."""
    place = tmp_path_factory.mktemp("lonely")
    venv.create(place, with_pip=False, symlinks=True)
    libraries = Path(torch.__file__).parents[1]
    packages = next(place.glob("lib/python*/site-packages"))
    # A path file adds the folder, but does not read the path files in it, such as that of an editable install.
    (packages / "libraries.pth").write_text(f"{libraries}\n")
    python = place / "bin" / "python"
    missing = subprocess.run([python, "-c", "import sottovoce"], capture_output=True, text=True, cwd=place)
    assert "No module named 'sottovoce'" in missing.stderr
    return python


ALONE = """
import functools, importlib.util, json, sys, torch, transformers
from transformers import dynamic_module_utils
assert importlib.util.find_spec("sottovoce") is None
# It would parse each modelling file at each of five loads.
dynamic_module_utils.get_imports = functools.cache(dynamic_module_utils.get_imports)
transformers.logging.set_verbosity_error()

def owned(model):
    # Tensors that lie crookedly in a mapped file are the same numbers, but kernels round their last bit differently.
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model

for folder in sys.argv[1:]:
    inputs = {name: torch.tensor(values) for name, values in json.load(open(folder + "/inputs.json")).items()}
    for auto in (transformers.AutoModel, transformers.AutoModelForAudioClassification):
        model, found = auto.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
        assert not found["missing_keys"] and not found["mismatched_keys"], found
        with torch.no_grad():
            output = owned(model.eval())(**inputs)[0]
    wanted = torch.tensor(json.load(open(folder + "/output.json")))
    assert torch.equal(output, wanted), (folder, (output - wanted).abs().max())
    model.save_pretrained(folder + "/again")
    again = transformers.AutoModelForAudioClassification.from_pretrained(folder + "/again", trust_remote_code=True)
    with torch.no_grad():
        assert torch.equal(owned(again.eval())(**inputs)[0], wanted), folder
    print("same", folder)
"""


def test_irregular_folders_load_without_sottovoce(lonely_python: Path, tmp_path: Path) -> None:
    """Every family with every edit that a plain configuration cannot express, bit for bit, in one other process."""
    folders = []
    wide = ("everything", "use_log_mel", "mimic_transformer")
    for family, edits_of in {
        "hubert": sorted(EDITS),
        **dict.fromkeys(["wavlm", "sew", "wav2vec2-bert", "whisper"], wide),
    }.items():
        for edit in edits_of:
            if not possible(family, edit):
                continue
            model = edited(family, edit, head="ForSequenceClassification")
            folder = tmp_path / f"{family}-{edit}"
            sv.save(model, folder, check=False)
            if not (folder / FILE).exists():
                continue
            inputs = sv.Anatomy(model).dummy_inputs(0.3)
            with torch.no_grad():
                output = model(**inputs)[0]
            (folder / "inputs.json").write_text(json.dumps({name: value.tolist() for name, value in inputs.items()}))
            (folder / "output.json").write_text(json.dumps(output.tolist()))
            folders.append(str(folder))
    assert len(folders) > 15
    place = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    place.pop("PYTHONPATH", None)
    command = [str(lonely_python), "-c", textwrap.dedent(ALONE), *folders]
    done = subprocess.run(command, capture_output=True, text=True, env=place, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("same") == len(folders)


def test_modelling_file_is_sound(tmp_path: Path) -> None:
    """No name in it is undefined, unused or defined twice."""
    path = tmp_path / FILE
    path.write_text(bundle(config_class="WavLMConfig", model_type="sottovoce_wavlm", classes={"WavLMModel"}))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F,E9", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "sottovoce." not in path.read_text().replace("sottovoce.errors.SottovoceError:", "")


def test_pipelines_run_on_a_compressed_folder(folder: Path) -> None:
    model = edited("hubert", "everything", head="ForSequenceClassification")
    sv.save(model, folder)
    classify = transformers.pipeline("audio-classification", model=str(folder), trust_remote_code=True)
    speech = torch.randn(16_000).numpy()
    first = classify(speech)
    assert {entry["label"] for entry in first} == {"LABEL_0", "LABEL_1"}
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    again = transformers.pipeline("audio-classification", model=sv.load(folder), feature_extractor=extractor)(speech)
    assert [entry["score"] for entry in again] == pytest.approx([entry["score"] for entry in first], rel=1e-5)


def test_speech_recognition_pipeline_runs_on_a_compressed_folder(folder: Path, tmp_path: Path) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "vocab.json").write_text(
        json.dumps({"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "a": 5, "b": 6})
    )
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(letters / "vocab.json"))
    model = edited("wav2vec2", "no_heads", head="ForCTC", vocab_size=7)
    sv.save(model, folder)
    tokenizer.save_pretrained(folder)
    recognise: Any = transformers.pipeline("automatic-speech-recognition", model=str(folder), trust_remote_code=True)
    assert isinstance(recognise(torch.randn(16_000).numpy())["text"], str)


def test_trainer_trains_a_compressed_model(tmp_path: Path) -> None:
    model = edited("wavlm", "everything", head="ForSequenceClassification")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    rows = [{"input_values": torch.randn(4_000), "labels": torch.tensor(i % 2)} for i in range(8)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=4, report_to=[], use_cpu=True,
        save_strategy="steps", save_steps=2, learning_rate=0.01, disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    transformers.Trainer(model=model, args=arguments, train_dataset=rows).train()  # pyright: ignore[reportArgumentType]
    assert any(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    # sottovoce loads what the Trainer wrote; tests/test_whole.py sees who else does.
    reloaded = sv.load(tmp_path / "out" / "checkpoint-2")
    inputs = sv.Anatomy(model).dummy_inputs(0.5)
    with torch.no_grad():
        assert torch.equal(reloaded(**inputs)[0], model.eval()(**inputs)[0])


def test_processor_files_travel(folder: Path) -> None:
    sv.save(tiny("hubert"), folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_normalize": False}))
    sv.save(sv.drop_layers(sv.load(folder), keep=2), folder.with_name("small"))
    assert json.loads((folder.with_name("small") / path.name).read_text())["do_normalize"] is False


def test_new_is_deterministic_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = tiny("wavlm", seed=4)
    assert torch.equal(torch.rand(3), expected)
    second, other = tiny("wavlm", seed=4), tiny("wavlm", seed=5)
    name = "encoder.layers.2.attention.q_proj.weight"
    assert torch.equal(first.state_dict()[name], second.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_whisper_with_its_decoder(folder: Path) -> None:
    """Its encoder can be cut; what it costs as a whole has no one answer."""
    names = dict.fromkeys(["pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"], 0)
    sizes = {"d_model": 32, "encoder_layers": 3, "decoder_layers": 1, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_mel_bins": 16, "max_source_positions": 50}
    settings: dict[str, Any] = {**sizes, **heads, **names, "vocab_size": 60}
    whisper: Any = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**settings)).eval()
    sv.edits.keep_heads(whisper, 1, [0, 3])
    sv.save(sv.drop_layers(whisper, keep=2), folder)
    assert type(sv.load(folder)).__name__ == "WhisperForConditionalGeneration"
    assert sv.Anatomy(sv.load(folder)).heads(1) == 2
    assert "AutoModelForSpeechSeq2Seq" in json.loads((folder / "config.json").read_text())["auto_map"]
    with pytest.raises(sv.SottovoceError, match="decoder"):
        sv.macs(whisper)


def test_a_run_folder_is_a_model(folder: Path) -> None:
    sv.save(tiny("hubert"), folder / "model")
    (folder / "run.json").write_text("{}")
    assert type(sv.load(folder)).__name__ == "HubertModel"


# Faults. Each is one sentence, and nothing is written.


@pytest.fixture
def saved(folder: Path) -> Path:
    return sv.save(edited("hubert", "keep_heads", head="ForCTC"), folder)


def refuse(folder: Path, *words: str) -> None:
    listing = sorted(path.name for path in folder.parent.rglob("*"))
    with pytest.raises(sv.SottovoceError) as caught:
        sv.load(folder)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert listing == sorted(path.name for path in folder.parent.rglob("*"))


def test_missing_folder(tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere", "there is no folder", "give a model's folder or a Hub id")


def test_unreachable_hub_model() -> None:
    with pytest.raises(sv.SottovoceError, match="no such model could be had from the Hub"):
        sv.load("nobody/has-this-model")


def test_file_instead_of_folder(saved: Path) -> None:
    refuse(saved / "config.json", "is a file, but a model is a folder")


def test_no_config(saved: Path) -> None:
    (saved / "config.json").unlink()
    refuse(saved, "holds no config.json")


@pytest.mark.parametrize("text", ["{", "[]", '"x"', ""])
def test_broken_config(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    refuse(saved, "config.json", "save or download the model anew")


def change(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_unknown_family(saved: Path) -> None:
    change(saved, model_type="hubrt")
    refuse(saved, "unknown family", "'hubrt'; did you mean 'hubert'?")


def test_unknown_class(saved: Path) -> None:
    change(saved, architectures=["HubertForNothing"])
    refuse(saved, "HubertForNothing", "has not")


def test_wrong_type_in_config(saved: Path) -> None:
    change(saved, hidden_size="many")
    refuse(saved, "hidden_size is 'many', but a whole number")


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        ({"version": 1, "heads": {"1": "0,9"}}, ["there is no head 9", "give 0-3"]),
        ({"version": 1, "heads": {"7": "0"}}, ["there is no layer 7"]),
        ({"version": 1, "heads": {"1": "x"}}, ["damaged", "save the model anew"]),
        ({"version": 1, "heds": {}}, ["'heds'; did you mean 'heads'?"]),
        ({"version": 9}, ["version 9", "update"]),
        ("yes", ["a mapping is wanted"]),
        ({"version": 1, "heads": {"1": "0-1"}, "ranks": {"encoder.layers.0.attention.q_proj": 2}}, ["tensors"]),
        ({"version": 1, "order": "0,1,1,2"}, ["tensors"]),
        ({"version": 1, "heads": {"1": "0"}}, ["config.json"]),
        ({"version": 1, "hidden": "0-7", "hidden_of": 32}, ["config.json"]),
        (None, ["config.json"]),
    ],
)
def test_structure_that_does_not_fit(saved: Path, structure: Any, words: list[str]) -> None:
    change(saved, sottovoce=structure)
    refuse(saved, *words)


def test_layers_deleted_without_changing_the_configuration(folder: Path) -> None:
    """Hugging Face loads this with one random layer, and only a log line says so."""
    model = tiny("hubert")
    del model.encoder.layers[1]
    model.save_pretrained(folder)
    refuse(folder, "lacks 16 tensors", "encoder.layers.3", "random")


def test_more_layers_than_the_configuration_says(folder: Path) -> None:
    sv.save(tiny("hubert"), folder)
    change(folder, num_hidden_layers=3)
    refuse(folder, "holds 16 tensors that its config.json does not speak of")


def test_mask_embedding_may_be_missing(folder: Path) -> None:
    sv.save(tiny("hubert", mask_time_prob=0.05), folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["masked_spec_embed"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert sv.load(folder).masked_spec_embed.shape == (32,)


def test_truncated_tensors(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1_000])
    refuse(saved, "cut off or damaged", "copy or download it again")


def test_no_tensors(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    refuse(saved, "holds no model.safetensors")


def test_unknown_names_in_new() -> None:
    for call, words in (
        (lambda: sv.new("hubrt"), "did you mean 'hubert'"),
        (lambda: sv.new("hubert", head="ForCTV"), "did you mean 'ForCTC'"),
        (lambda: sv.new("hubert", hiden_size=3), "did you mean 'hidden_size'"),
        (lambda: sv.new("hubert", head="ForXVector"), "has no ForXVector"),
    ):
        with pytest.raises(sv.SottovoceError, match=words):
            call()


def test_a_failed_save_leaves_the_old_folder(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def broken(model: Any, folder: Path) -> None:
        raise RuntimeError("the power is off")

    monkeypatch.setattr(hub, "check_reload", broken)
    with pytest.raises(RuntimeError, match="power"):
        sv.save(tiny("hubert"), saved, overwrite=True)
    assert before == {path.name: path.read_bytes() for path in saved.iterdir()}
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_model_that_would_not_reload_is_not_saved(folder: Path) -> None:
    model = tiny("hubert")
    model.encoder.layers[0].attention.out_proj = torch.nn.Sequential(torch.nn.Linear(32, 32))
    with pytest.raises(sv.SottovoceError):
        sv.save(model, folder)
    assert not folder.exists()


KILLED = """
import sys, time
import sottovoce as sv
from sottovoce.models import hub

def slow(model, folder):
    print("written", flush=True)
    time.sleep(60)

hub.check_reload = slow
model = sv.new("hubert", hidden_size=48, num_hidden_layers=1, intermediate_size=8, conv_dim=[8] * 7)
sv.save(model, sys.argv[1], overwrite=True)
"""


def test_a_killed_save_leaves_the_old_folder(zygote: Zygote, saved: Path) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    process = zygote.start([str(saved)], cwd=saved.parent, python=KILLED)
    while process.said != "written\n":
        assert process.poll() is None, process.said
        time.sleep(0.01)
    process.kill(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert before == {path.name: path.read_bytes() for path in saved.iterdir()}
    sv.save(tiny("wavlm"), saved, overwrite=True)
    assert type(sv.load(saved)).__name__ == "WavLMModel"


def test_saving_to_a_full_or_wrong_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(sv.SottovoceError, match="is a file; give the name of a folder"):
        sv.save(tiny("hubert"), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "beside", ["notes.txt", "checkpoint-100/model.safetensors", "optimizer.pt", "adapter.eng.safetensors", ".git/HEAD"]
)
def test_saving_never_deletes_what_is_no_model(saved: Path, beside: str) -> None:
    path = saved / beside
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(sv.SottovoceError, match="which is no part of a model"):
        sv.save(tiny("hubert"), saved, overwrite=True)
    assert path.read_text() == "mine" and "HubertForCTC" in (saved / "config.json").read_text()


def test_saving_into_an_empty_folder(tmp_path: Path) -> None:
    sv.save(tiny("hubert"), tmp_path / "x")
    (tmp_path / "empty").mkdir()
    assert type(sv.load(sv.save(tiny("wavlm"), tmp_path / "empty"))).__name__ == "WavLMModel"


def test_half_precision_saves_and_reloads(folder: Path) -> None:
    model = edited("hubert", "everything").to(torch.bfloat16)
    sv.save(model, folder)
    assert sv.load(folder).dtype == torch.bfloat16
    assert sv.load(folder, dtype=torch.float32).dtype == torch.float32


def test_processor_files_of_the_replaced_folder_stay(folder: Path) -> None:
    """`processor.save_pretrained(folder)` comes before `sv.save(model, folder)` as often as after it."""
    folder.mkdir()
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    (folder / "vocab.json").write_text('{"a": 0}')
    sv.save(tiny("hubert"), folder)
    assert json.loads((folder / "preprocessor_config.json").read_text()) == {"do_normalize": False}
    assert (folder / "vocab.json").read_text() == '{"a": 0}'


def test_a_model_of_a_modelling_file_is_sent_to_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sv.save(edited("hubert", "share_layers"), folder)
    remote = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)
    with pytest.raises(sv.SottovoceError, match=r"load it with sv\.load"):
        sv.macs(remote)


def test_settings_go_by_the_common_names_too() -> None:
    model = sv.new("whisper", num_hidden_layers=1, hidden_size=32, num_attention_heads=2, vocab_size=20, pad_token_id=0)
    assert (len(model.encoder.layers), model.config.encoder_layers, model.config.d_model) == (1, 1, 32)


def test_steps_with_own_parts_behind_log_mel_load_again(tmp_path: Path) -> None:
    model = edited("hubert", "use_log_mel")
    sv.edits.set_order(model, [0, 0, 1, 1])
    sv.edits.use_own(model, norms=True, rank=2)
    sv.save(model, tmp_path / "shared")
    assert sv.load(tmp_path / "shared").config.sottovoce == model.config.sottovoce


def test_a_saved_model_has_a_card_that_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\nMine.\n")
    model = edited("hubert", "keep_heads", head="ForSequenceClassification")
    model.name_or_path = str(tmp_path / "original")
    sv.save(model, tmp_path / "small")
    text = (tmp_path / "small" / "README.md").read_text()
    head = load_yaml(text.split("---")[1])
    assert head["pipeline_tag"] == "audio-classification" and head["license"] == "cc-by-4.0"
    assert head["library_name"] == "sottovoce" and "base_model" not in head
    assert str(tmp_path) not in text and "made of `original`" in text and "heads:" in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    said: dict[str, Any] = {}
    exec(code[1], said)  # noqa: S102 (the lines of the card)
    assert type(said["model"]).__name__.endswith("ForSequenceClassification")


def test_a_card_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    sv.save(tiny("hubert"), tmp_path / "model")
    sv.save(tiny("hubert"), tmp_path / "model", overwrite=True)
    (tmp_path / "model" / "README.md").write_text("what I know of it")
    with pytest.raises(sv.SottovoceError, match=r"holds README\.md"):
        sv.save(tiny("hubert"), tmp_path / "model", overwrite=True)
