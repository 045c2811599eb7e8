"""Exporting: folders that say what the model says, a check that catches what does not, and nothing half-written."""

import copy
import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch
from conftest import EDITS, edited
from speech import toys

import sottovoce as sv
from sottovoce.cli import main
from sottovoce.exporting import check, run, target
from sottovoce.exporting.card import card
from sottovoce.exporting.check import Judge, distance
from sottovoce.exporting.hearing import speech_for, wanted_of
from sottovoce.exporting.order import Order, Precision
from sottovoce.exporting.precision import groups_of, halve, quantize_file, quantize_nodes
from sottovoce.exporting.target import TARGETS, open_onnx
from sottovoce.files import load_yaml
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.models.heads import head_labels, with_head
from sottovoce.runtimes.graph import Graph
from sottovoce.runtimes.onnx_file import SCOPES, write_onnx
from sottovoce.runtimes.session import Session, batch_of
from sottovoce.tasks.kinds import GREEDY, Transcribe

LABELS = ["high", "low", "middle"]
ONNX = TARGETS["onnx"]


def classifier(edit: str = "mimic_linear") -> Any:
    """A model of keywords on few layers, which exports in seconds."""
    return with_head(edited("hubert", edit), "ForSequenceClassification", LABELS, task="keywords")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> sv.Exported:
    """A checked folder of a classifier, on toy speech with labels."""
    place = tmp_path_factory.mktemp("exported") / "words"
    return sv.export(classifier(), "onnx", place, data=toys(), name="words", data_name="toys")


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Judge, Path]:
    """A log-mel classifier with its ONNX file, and PyTorch's outputs to judge others by."""
    encoder = edited("hubert", "use_log_mel")
    sv.edits.use_mimic(encoder, layers=1, kind="transformer", width=48)
    model = with_head(encoder, "ForSequenceClassification", LABELS)
    order = Order(model, "log-mel", data=toys(test=6))
    graph, path = Graph(model), tmp_path_factory.mktemp("heard") / "model.onnx"
    write_onnx(graph, path)
    return Judge.of(order, graph, speech_for(order)), path


def opened(judge: Judge, path: Path) -> Any:
    return open_onnx(ONNX, judge.graph, path, 1)


def test_a_folder_has_what_its_reader_needs(exported: sv.Exported) -> None:
    names = sorted(path.name for path in exported.folder.iterdir())
    assert names == ["README.md", "config.json", "labels.json", "measurements.jsonl", "model.onnx"]
    about = json.loads((exported.folder / "config.json").read_text())
    assert about["gives"] == "classes" and about["task"] == "keywords" and about["sampling_rate"] == 16_000
    assert json.loads((exported.folder / "labels.json").read_text()) == LABELS
    head = load_yaml((exported.folder / "README.md").read_text().split("---")[1])
    assert head["pipeline_tag"] == "audio-classification" and head["datasets"] == ["toys"]
    assert head["metrics"] == ["accuracy"] and "hubert" in head["tags"]
    lines = (exported.folder / "measurements.jsonl").read_text().splitlines()
    assert [sv.Measurement.from_json(line) for line in lines] == list(exported.measurements)


def test_a_file_tells_nothing_of_the_machine_that_made_it(exported: sv.Exported) -> None:
    for path in exported.folder.iterdir():
        content = path.read_bytes()
        assert b".py" not in content and str(Path(sv.__file__).parent).encode() not in content


def test_the_check_measures_outputs_scores_times_and_bytes(exported: sv.Exported) -> None:
    rows = exported.measurements
    assert all(row.value < 1e-5 for row in rows if row.metric == "distance")
    scores = {row.where["runtime"]: row.value for row in rows if row.metric == "accuracy"}
    assert scores["pytorch"] == scores["onnx"] and all(row.n == 18 for row in rows if row.metric == "accuracy")
    told = {(row.where["runtime"], row.where["seconds"]) for row in rows if row.metric == "latency"}
    assert told == {(name, seconds) for name in ("pytorch", "onnx") for seconds in (1.0, 10.0)}
    size = next(row.value for row in rows if row.metric == "bytes" and row.where["runtime"] == "onnx")
    assert size >= (exported.folder / "model.onnx").stat().st_size


def test_the_lines_on_the_card_run_the_folder(exported: sv.Exported) -> None:
    code = re.search(r"```python\n(.*?)```", (exported.folder / "README.md").read_text(), re.DOTALL)
    assert code is not None and len(code[1].strip().splitlines()) <= 15
    place = exported.folder.with_name("lines")
    shutil.copytree(exported.folder, place)
    piece = toys()[0].audio
    soundfile.write(str(place / "speech.wav"), np.asarray(piece), 16_000, subtype="FLOAT")
    said = subprocess.run([sys.executable, "-c", code[1]], cwd=place, capture_output=True, text=True, check=True)
    run_it = open_onnx(ONNX, Graph(classifier()), place / "model.onnx", 1)
    shares = run_it([np.asarray(piece)])[0]["probabilities"]
    assert said.stdout.split()[0] == LABELS[int(shares.argmax())]
    assert float(said.stdout.split()[1]) == pytest.approx(float(shares.max()), rel=1e-4)


def test_a_graph_that_says_something_else_is_caught_and_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sv.save(classifier(), tmp_path / "model")

    def damaged(model: Any, **options: Any) -> Graph:
        """A graph in which one number is not the model's."""
        other = copy.deepcopy(model)
        other.classifier.bias.data[0] += 0.01
        return Graph(other, **options)

    monkeypatch.setattr(run, "Graph", damaged)
    target = tmp_path / "words"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "model"), "--to", "onnx", "-o", str(target)])
    assert ended.value.code == 1
    assert not target.exists() and (tmp_path / "words.failed" / "model.onnx").is_file()
    rows = (tmp_path / "words.failed" / "measurements.jsonl").read_text()
    assert any(sv.Measurement.from_json(line).value > 1e-3 for line in rows.splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "words.failed"]


def test_a_full_disk_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(graph: Any, path: Path, **options: Any) -> None:
        path.write_bytes(b"a half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(target, "write_onnx", full)
    with pytest.raises(sv.SottovoceError, match="disk is full"):
        sv.export(classifier(), "onnx", tmp_path / "words", check=False)
    assert list(tmp_path.iterdir()) == []


def test_one_length(tmp_path: Path) -> None:
    made = sv.export(classifier(), "onnx", tmp_path / "words", seconds=1.0, data=toys(test=3))
    shape = onnx.load(str(made.folder / "model.onnx")).graph.input[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim] == [1, 16_000]
    assert {row.where["seconds"] for row in made.measurements if row.metric == "latency"} == {1.0}


def test_halved_weights_take_half_and_say_nearly_the_same(heard: tuple[Judge, Path], tmp_path: Path) -> None:
    judge, path = heard
    halve(path, tmp_path / "half.onnx")
    whole, half = (
        {one.name: one.data_type for one in onnx.load(str(p)).graph.initializer} for p in (path, tmp_path / "half.onnx")
    )
    small = {name.removesuffix(".half") for name, kind in half.items() if kind == onnx.TensorProto.FLOAT16}
    assert small and all("cos" not in name and "window" not in name for name in small)
    assert small <= whole.keys() and len(half) == len(whole)
    found = judge(opened(judge, tmp_path / "half.onnx"))
    assert 1e-6 < found.worst < 2e-2 and found.fault("fp16") is None


def test_bytes_are_of_linears_alone(heard: tuple[Judge, Path]) -> None:
    judge, path = heard
    groups = groups_of(judge.graph, path)
    nodes = {node.name: node for node in onnx.load(str(path)).graph.node}
    chosen = [nodes[name] for names in groups.values() for name in names]
    # Two of the attention, two of the feed-forward part, the projection behind log-mel, two of the head.
    assert len(chosen) == 7
    assert not [one for one in chosen if "log_mel" in str(one.metadata_props)]


def test_bytes_in_the_front_end_are_garbage_and_the_check_says_so(heard: tuple[Judge, Path], tmp_path: Path) -> None:
    judge, path = heard
    model = onnx.load(str(path))
    weights = {one.name for one in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    front = [
        node.name for node in products if "log_mel" in next(p.value for p in node.metadata_props if p.key == SCOPES)
    ]
    assert len(front) == 6
    quantize_nodes(path, tmp_path / "all.onnx", [node.name for node in products], [])
    assert judge(opened(judge, tmp_path / "all.onnx")).fault("int8") is not None
    quantize_nodes(path, tmp_path / "ours.onnx", sum(groups_of(judge.graph, path).values(), []), [])
    assert judge(opened(judge, tmp_path / "ours.onnx")).fault("int8") is None


@pytest.mark.parametrize("static", [False, True])
def test_parts_that_rounding_changes_too_much_are_left_out(
    static: bool, heard: tuple[Judge, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, path = heard
    given = [{"waveform": piece[None], "lengths": np.array([len(piece)])} for piece in judge.speech.audio[:3]]

    def write(name: str) -> tuple[float, list[str]]:
        def reopened(file: Path) -> Any:
            return opened(judge, file)

        left_out = quantize_file(judge.graph, path, tmp_path / name, judge, reopened, given if static else [])
        return judge(opened(judge, tmp_path / name)).worst, left_out

    monkeypatch.setitem(check.TOLERANCE, "int8", 10.0)
    whole, left_out = write("all.onnx")
    assert left_out == [] and whole > 1e-4
    assert (tmp_path / "all.onnx").stat().st_size < path.stat().st_size
    monkeypatch.setitem(check.TOLERANCE, "int8", 0.9 * whole)
    partly, left_out = write("part.onnx")
    assert left_out and partly <= 0.9 * whole
    assert set(left_out) < set(groups_of(judge.graph, path))
    monkeypatch.setitem(check.TOLERANCE, "int8", 0.0)
    with pytest.raises(sv.SottovoceError, match="leave out --int8"):
        write("none.onnx")


def test_distances_are_of_what_is_there() -> None:
    wanted = [{"x": np.array([[1.0, 3.0]])}, {"x": np.array([[2.0, 2.0]])}]
    assert distance(wanted, wanted, "x") == 0
    other = [{"x": np.array([[1.0, 3.0]])}, {"x": np.array([[2.0, 2.5]])}]
    assert distance(other, wanted, "x") == pytest.approx(0.5 / np.sqrt(2))
    assert distance([{"x": np.zeros((2, 2))}, wanted[1]], wanted, "x") == np.inf
    broken = [{"x": np.array([[np.nan, 3.0]])}, wanted[1]]
    assert check.Judgement({"x": distance(broken, wanted, "x")}, None, None).fault("int8") is not None


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "target": ({"to": "onnnx"}, "did you mean 'onnx'"),
    "precision": ({"precision": "int4"}, "fp32, fp16 or int8"),
    "opset": ({"opset": 3}, "opset=3"),
    "seconds": ({"seconds": 1e-4}, "seconds=0.0001"),
    "log-mel": ({"model": LogMel()}, "no model"),
    "exit": ({"model": "use_exit"}, "early"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_cannot_be_exported_is_refused_at_once(name: str, tmp_path: Path) -> None:
    given, words = BAD[name]
    options = {"model": "nothing", "to": "onnx", **given}
    model = options.pop("model")
    model = edited("hubert", model) if isinstance(model, str) else model
    with pytest.raises(sv.SottovoceError, match=words):
        sv.export(model, options.pop("to"), tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_card_names_no_place_on_this_machine(tmp_path: Path) -> None:
    sv.save(classifier(), tmp_path / "keywords")
    model = sv.load(tmp_path / "keywords")
    data_name = f"espeak:0.1 + speech-mini@{tmp_path / 'speech'} + {tmp_path / 'own'}"
    order = Order(model, str(tmp_path / "keywords"), data=toys(test=3), data_name=data_name)
    text = card(order, ONNX, Graph(model), [], [])
    assert str(tmp_path) not in text and "export keywords --to onnx" in text
    assert load_yaml(text.split("---")[1])["datasets"] == ["espeak:0.1", "speech-mini", "own"]


@pytest.mark.parametrize("name", ["out", "out.failed"])
def test_what_is_there_stays(name: str, tmp_path: Path) -> None:
    place = tmp_path / name
    place.mkdir()
    (place / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(sv.SottovoceError, match="no exported folder" if overwrite else "holds thesis.txt"):
            sv.export(classifier(), "onnx", tmp_path / "out", overwrite=overwrite)
    assert (place / "thesis.txt").read_text() == "mine"


def test_a_missing_extra_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(sv.SottovoceError, match=r"pip install 'sottovoce\[export\]'"):
        sv.export(classifier(), "onnx", tmp_path / "out")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["targets", "--json"])
    assert ended.value.code == 0
    assert [json.loads(line)["target"] for line in capsys.readouterr().out.splitlines()] == list(TARGETS)
    with pytest.raises(SystemExit) as ended:
        main(["export", "small-hubert", "--to", "onnx", "-o", str(tmp_path / "x"), "--int8", "--fp16"])
    assert ended.value.code == 2 and "give one of them" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["small-hubert", "small-melhubert-keywords", "small-melhubert-speakers"])
def test_the_teachers(name: str, chosen: Precision, tmp_path: Path) -> None:
    made = sv.export(sv.load(name), "onnx", tmp_path / "out", precision=chosen)
    assert (made.folder / "model.onnx").is_file() and made.left_out == ()


def recogniser(**about: Any) -> Any:
    """A model that writes letters by chance, of each about as many."""
    labels = ["<pad>", *"ABCDEF'", "|"]
    model = with_head(edited("hubert", "mimic_linear", **about), "ForCTC", labels, task="asr", blank="<pad>")
    encoder = Encoder(model, outputs=True)
    with torch.no_grad():
        heard = torch.cat(
            [model(**encoder.placed(encoder.inputs([np.asarray(toy.audio)]))).logits[0] for toy in toys()]
        )
        model.lm_head.weight.mul_(1000 / heard.std(0)[:, None])
        model.lm_head.bias.copy_(1000 * (model.lm_head.bias - heard.mean(0)) / heard.std(0))
    return model


def transcript(model: Any, piece: np.ndarray) -> str:
    """What a model writes, by its own front end."""
    encoder = Encoder(model, outputs=True)
    with torch.no_grad():
        logits = model(**encoder.placed(encoder.inputs([piece]))).logits
    said = Transcribe(words=True).read(logits, torch.tensor([logits.shape[1]]), GREEDY, head_labels(model))
    return "".join(said[0]).replace("|", " ")


def test_sherpa_onnx_writes_what_the_model_writes(tmp_path: Path) -> None:
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    model = recogniser()
    made = sv.export(model, "sherpa-onnx", tmp_path / "letters", data=toys(test=4))
    paths = [str(made.folder / name) for name in ("model.onnx", "tokens.txt")]
    program = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(*paths)
    written = set()
    for toy in toys(test=9):
        stream = program.create_stream()
        stream.accept_waveform(16_000, np.asarray(toy.audio))
        program.decode_stream(stream)
        wanted = transcript(model, np.asarray(toy.audio))
        assert stream.result.text.split() == wanted.split()
        written |= set(wanted)
    assert written == set("ABCDEF' ")


def test_layouts_for_recognition_refuse_what_they_are_not_for(tmp_path: Path) -> None:
    plain = recogniser()
    sv.save(plain, tmp_path / "plain")
    (tmp_path / "plain" / "preprocessor_config.json").write_text('{"do_normalize": false}')
    for model, words in ((classifier(), "write text"), (sv.load(tmp_path / "plain"), "do_normalize=false")):
        with pytest.raises(sv.SottovoceError, match=words):
            sv.export(model, "sherpa-onnx", tmp_path / "out", check=False)


@pytest.mark.slow
@pytest.mark.parametrize("edit", sorted(EDITS))
def test_every_kind_in_bytes_passes_its_check(edit: str, tmp_path: Path) -> None:
    """Parts that rounding changes too much stay as they are; what has no Linear to round says so."""
    if edit == "use_exit":
        return
    model = with_head(edited("hubert", edit), "ForSequenceClassification", LABELS, task="keywords")
    made = sv.export(model, "onnx", tmp_path / "words", data=toys(), precision="int8")
    (worst,) = [max(row.value for row in made.measurements if row.metric == "distance")]
    assert worst < 0.25
    kept = onnx.load(str(tmp_path / "words" / "model.onnx")).graph.node
    assert any(
        node.op_type in ("MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "DequantizeLinear") for node in kept
    )


def test_openvino_says_what_the_model_says(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    made = sv.export(classifier(), "openvino", tmp_path / "words", data=toys(test=5), precision="fp16")
    names = sorted(path.name for path in made.folder.iterdir())
    assert names == ["README.md", "config.json", "labels.json", "measurements.jsonl", "model.bin", "model.xml"]
    distances = [row.value for row in made.measurements if row.metric == "distance"]
    assert distances and max(distances) < check.TOLERANCE["fp16"], distances


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "executorch"])
def test_speed_in_the_runtime_that_will_be_used(runtime: Any) -> None:
    pytest.importorskip(runtime)
    whole, threads = classifier(), torch.get_num_threads()
    rows = sv.speed(whole, seconds=1.0, repeats=3, threads=1, runtime=runtime)
    assert {row.where["runtime"] for row in rows} == {runtime} and torch.get_num_threads() == threads
    values = {row.metric: row.value for row in rows}
    assert values["latency"] > 0 and values["real_time_factor"] == values["latency"] and values["threads"] == 1
    assert "peak_bytes" not in values


PIPES = """
import fs from "fs";
import { env, pipeline } from "@huggingface/transformers";
env.allowRemoteModels = false;
env.localModelPath = "./";
const said = {};
for (const [name, task] of [["letters", "automatic-speech-recognition"], ["words", "audio-classification"]]) {
    const run = await pipeline(task, name);
    said[name] = [];
    for (const piece of JSON.parse(fs.readFileSync("audio.json"))) said[name].push(await run(Float32Array.from(piece)));
}
console.log(JSON.stringify(said));
"""


@pytest.mark.slow
def test_pipelines_in_node_say_what_the_models_say(tmp_path: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node here")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "@huggingface/transformers@4.3"]
    if subprocess.run(install, cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("npm cannot install @huggingface/transformers here")
    letters, words = recogniser(), classifier()
    sv.export(letters, "transformers-js", tmp_path / "letters", data=toys(test=5))
    sv.export(words, "transformers-js", tmp_path / "words", data=toys(test=5), precision="int8")
    audio = [np.asarray(toy.audio) for toy in toys(test=6)[-6:]]
    (tmp_path / "audio.json").write_text(json.dumps([piece.tolist() for piece in audio]))
    (tmp_path / "run.mjs").write_text(PIPES)
    run_it = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = json.loads(run_it.stdout.splitlines()[-1])
    assert [row["text"] for row in said["letters"]] == [transcript(letters, piece).strip() for piece in audio]
    for row, piece in zip(said["words"], audio, strict=True):
        shares = wanted_of(words)([piece])[0]["logits"]
        shares = np.exp(shares) / np.exp(shares).sum()
        assert {one["label"]: one["score"] for one in row} == pytest.approx(
            dict(zip(LABELS, shares.tolist(), strict=True)), abs=0.02
        )


def test_what_no_pipeline_takes_is_refused(tmp_path: Path) -> None:
    for model, words in ((edited("hubert", "nothing"), "write text"), (edited("wav2vec2-bert", "nothing"), "inside")):
        with pytest.raises(sv.SottovoceError, match=words):
            sv.export(model, "transformers-js", tmp_path / "out", check=False)


def test_the_layout_of_onnx_asr_by_its_rules(tmp_path: Path) -> None:
    """In its repository: these names, frames counted as samples / factor + 1, at most all, greedy, `▁` for spaces."""
    model = recogniser()
    made = sv.export(model, "onnx-asr", tmp_path / "letters", data=toys(test=4))
    about = json.loads((made.folder / "config.json").read_text())
    assert about["model_type"] == "wav2vec2-ctc" and about["subsampling_factor"] == 5 * 4 * 4
    rows = [line.split(" ") for line in (made.folder / "vocab.txt").read_text(encoding="utf-8").splitlines()]
    vocabulary = {int(number): token.replace("▁", " ") for token, number in rows}
    audio = [np.asarray(toy.audio) for toy in toys(test=6)[-6:]]
    batch = batch_of(audio)
    session = Session(made.folder / "model.onnx")
    given = {"input_values": batch["waveform"], "input_lengths": batch["lengths"]}
    (found,) = session.session.run(["logprobs"], given)
    for row, piece in zip(found, audio, strict=True):
        count = min(len(piece) // about["subsampling_factor"] + 1, len(row))
        best = row[:count].argmax(-1)
        text = [vocabulary[now] for before, now in zip([-1, *best], best, strict=False) if now != before]
        assert "".join(token for token in text if token != "<blk>") == transcript(model, piece)
    assert TARGETS["onnx-asr"].file("int8") == "model.int8.onnx"
