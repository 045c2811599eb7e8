"""ExecuTorch: files that say in its own runtime what the model says, for phones and boards."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import EDITS, TINY, edited, possible, tiny
from speech import toys
from test_graph import HEADS, SMALL_HEADS, compare, speech

import sottovoce as sv
from sottovoce.cli import main
from sottovoce.exporting import check
from sottovoce.exporting.hearing import wanted_of
from sottovoce.exporting.order import Order
from sottovoce.models.heads import with_head
from sottovoce.runtimes.graph import Graph
from sottovoce.runtimes.pte_file import LONGEST, PteSession, write_pte

LABELS = ["high", "low", "middle"]
DOCS = Path(__file__).resolve().parents[1] / "docs" / "export.md"
POSITIONS = {"max_source_positions": 6001}  # thirty seconds of the short strides of tiny models


def one_layer(family: str, head: str) -> Any:
    """A model that exports sooner."""
    layers = {"encoder_layers": 1} if family == "whisper" else {"num_hidden_layers": 1}
    more = SMALL_HEADS if head == "ForXVector" else {}
    return tiny(family, head=head, **layers, **more, **(POSITIONS if "conformer" in family else {}))


@pytest.fixture
def executorch() -> None:
    """Needs the program."""
    pytest.importorskip("executorch", reason="executorch is not installed: pip install 'sottovoce[executorch]'")


def classifier(edit: str = "mimic_linear") -> Any:
    """A model of keywords on few layers, which exports in seconds."""
    return with_head(edited("hubert", edit), "ForSequenceClassification", LABELS, task="keywords")


def in_executorch(model: Any, path: Path, seconds: float | None = None) -> tuple[Graph, Any]:
    """A graph without lengths, and what runs it in ExecuTorch, one utterance at a time."""
    graph = Graph(model, lengths=False, seconds=seconds)
    write_pte(graph, path)
    session = PteSession(path, graph.outputs)

    def run(audio: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        (piece,) = audio
        return session.run({"waveform": np.pad(piece, (0, max(0, graph.shortest - len(piece))))[None]})

    return graph, run


def agrees(
    model: Any, path: Path, lengths: Sequence[int], *, seconds: float | None = None, bound: float = 2e-5
) -> None:
    """The same as in PyTorch, by the model's own feature extractor, one utterance after another."""
    graph, run = in_executorch(model, path, seconds)
    for piece in speech(lengths):
        compare(model, lambda audio: with_frames(graph, run(audio), len(audio[0])), graph.gives, [piece], bound=bound)


def with_frames(graph: Graph, found: dict[str, np.ndarray], samples: int) -> dict[str, np.ndarray]:
    """A graph without lengths counts no frames."""
    return {**found, "frames": np.array([graph.frames_of(samples, "log_probs")])}


def test_a_checked_folder_whose_lines_run_it(executorch: None, tmp_path: Path) -> None:
    model = classifier()
    made = sv.export(model, "executorch", tmp_path / "words", data=toys(), name="words", data_name="toys")
    names = sorted(path.name for path in made.folder.iterdir())
    assert names == ["README.md", "config.json", "labels.json", "measurements.jsonl", "model.pte"]
    assert all(row.value < 1e-5 for row in made.measurements if row.metric == "distance")
    told = {row.where["threads"] for row in made.measurements if row.metric == "latency"}
    assert told == {1}
    about = json.loads((made.folder / "config.json").read_text())
    assert about["longest"] == LONGEST == 30 and about["inputs"] == ["waveform"] and "opset" not in about
    text = (made.folder / "README.md").read_text()
    assert "up to 30 s" in text and "library_name: executorch" in text and "ONNX" not in text
    assert str(Path(sv.__file__).parent).encode() not in (made.folder / "model.pte").read_bytes()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None and len(code[1].strip().splitlines()) <= 15
    assert code[1] in DOCS.read_text(encoding="utf-8")
    place = tmp_path / "lines"
    shutil.copytree(made.folder, place)
    piece = np.resize(np.asarray(toys()[0].audio), round(LONGEST * 16_000))
    soundfile.write(str(place / "speech.wav"), piece, 16_000, subtype="FLOAT")
    said = subprocess.run([sys.executable, "-c", code[1]], cwd=place, capture_output=True, text=True, check=True)
    shares = wanted_of(model)([piece])[0]["logits"]
    shares = np.exp(shares) / np.exp(shares).sum()
    assert said.stdout.split()[0] == LABELS[int(shares.argmax())]
    assert float(said.stdout.split()[1]) == pytest.approx(float(shares.max()), rel=1e-4)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "fp16": ({"precision": "fp16"}, "single precision"),
    "opset": ({"opset": 18}, "writes no ONNX"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_executorch_has_not_is_refused_at_once(name: str, tmp_path: Path) -> None:
    given, words = BAD[name]
    with pytest.raises(sv.SottovoceError, match=words):
        sv.export(classifier(), "executorch", tmp_path / "out", **given)
    assert list(tmp_path.iterdir()) == []


def test_longer_audio_is_cut_for_the_check() -> None:
    order = Order(None, "", longest=LONGEST)
    assert len(order.fitted(np.ones(500_000, np.float32))) == 480_000 and len(order.fitted(np.ones(7))) == 7
    assert len(Order(None, "", seconds=1.0, longest=LONGEST).fitted(np.ones(7))) == 16_000


def test_without_the_program_it_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(SystemExit) as ended:
        main(["export", "small-hubert", "--to", "executorch", "-o", str(tmp_path / "out")])
    assert ended.value.code == 2 and "sottovoce[executorch]" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(TINY))
def test_every_family_at_any_length(executorch: None, family: str, tmp_path: Path) -> None:
    model = one_layer(family, "ForSequenceClassification" if family == "whisper" else "ForCTC")
    bound = 2e-3 if family == "wav2vec2-bert" else 2e-5
    shortest = Graph(model, lengths=False).shortest
    agrees(model, tmp_path / "model.pte", (16_000, 9_123, 24_321, max(400, shortest), shortest), bound=bound)


@pytest.mark.slow
@pytest.mark.parametrize("edit", sorted(EDITS))
def test_every_edit_at_one_length(executorch: None, edit: str, tmp_path: Path) -> None:
    if edit == "use_exit":
        return
    family = "wavlm" if possible("wavlm", edit) else "hubert"
    agrees(edited(family, edit, head="ForCTC"), tmp_path / "model.pte", (8_000,), seconds=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["", *HEADS[1:]])
@pytest.mark.parametrize("family", ["hubert", "sew", "wav2vec2-bert", "whisper"])
def test_every_head(executorch: None, family: str, head: str, tmp_path: Path) -> None:
    try:
        model = one_layer(family, head)
    except sv.SottovoceError:
        return  # Hugging Face has no such class
    if (family, head) == ("wav2vec2-bert", "ForXVector"):  # its shortest audio has fewer frames than the head spans
        with pytest.raises(sv.SottovoceError, match="--seconds"):
            agrees(model, tmp_path / "model.pte", (16_000,))
        agrees(model, tmp_path / "model.pte", (16_000,), seconds=1.0, bound=2e-3)
        return
    agrees(model, tmp_path / "model.pte", (16_000, 9_123), bound=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("edit", ["use_log_mel", "mimic_positional", "everything"])
def test_compressed_kinds_at_any_length(executorch: None, edit: str, tmp_path: Path) -> None:
    agrees(edited("hubert", edit, head="ForCTC"), tmp_path / "model.pte", (16_000, 9_123, 24_321))


@pytest.mark.slow
def test_bytes_in_the_parts_that_hold_it(executorch: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier("mimic_transformer")

    def written(name: str, **options: Any) -> tuple[float, int, tuple[str, ...]]:
        made = sv.export(model, "executorch", tmp_path / name, seconds=0.5, **options)
        worst = max(row.value for row in made.measurements if row.metric == "distance")
        return worst, (made.folder / "model.pte").stat().st_size, made.left_out

    exact, large, _ = written("fp32")
    whole, small, left_out = written("int8", precision="int8")
    assert exact < 1e-5 < whole < check.TOLERANCE["int8"] and small < large and left_out == ()
    monkeypatch.setitem(check.TOLERANCE, "int8", 0.8 * whole)
    partly, between, left_out = written("part", precision="int8")
    assert left_out and partly <= 0.8 * whole and small < between < large
    monkeypatch.setitem(check.TOLERANCE, "int8", 0.0)
    with pytest.raises(sv.SottovoceError, match="leave out --int8"):
        written("none", precision="int8")
