"""The page of `--to web`: what lies in its folder, what is refused, and what it says in a browser."""

import base64
import copy
import gzip
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile
from browser import BROWSER, MICROPHONE, Tab, browser, served
from conftest import edited, tiny
from speech import toys
from test_cli import run
from test_export import LABELS, classifier, recogniser, transcript

import sottovoce as sv
from sottovoce.data.espeak import Voice, speak
from sottovoce.exporting.hearing import wanted_of
from sottovoce.exporting.order import Order
from sottovoce.exporting.ort_web import FOLDER, VERSION, runtime
from sottovoce.exporting.run import fault_of_original
from sottovoce.exporting.target import TARGETS
from sottovoce.models.heads import with_head
from sottovoce.runtimes.graph import Graph

MODULE = sys.modules["sottovoce.exporting.web"]  # beside it the function has that name
OURS = ("index.html", "engine.js", "audio.js", "reading.js", "page.js", "worker.js", "recorder.js", "page.css")
GRAPHS = ("model.onnx", "original.onnx")
FILES = {*OURS, *GRAPHS, "page.json", "ort.js", "ort.wasm", "single.html", "README.md"}
READY = "document.querySelector('#status').textContent.startsWith('Ready')"
HEARD = "document.querySelector('#status').textContent.startsWith('Heard NAME')"
BARS = "[...document.querySelectorAll('article:nth-child(N) li')]"
SHARES = f"Object.fromEntries({BARS}.map(one => [one.dataset.label, +one.dataset.value]))"
needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """onnxruntime-web from npm, in a cache of the tests' own."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm on this machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv(FOLDER, raising=False)
        try:
            yield runtime().folder
        except sv.SottovoceError as error:
            pytest.skip(f"npm fetches nothing here: {error}")


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    """A classifier, and one that is larger."""
    return classifier(), classifier("nothing")


@pytest.fixture(scope="module")
def shown(package: Path, models: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the one beside the other."""
    place = tmp_path_factory.mktemp("shown") / "words"
    return sv.export(models[0], "web", place, check=False, name="words", versus=models[1]).folder


def test_the_folder_has_everything_and_the_single_file_too(shown: Path, package: Path) -> None:
    assert {path.name for path in shown.iterdir()} == FILES
    page = json.loads((shown / "page.json").read_text())
    assert page["gives"] == "classes" and page["runtime"] == f"onnxruntime-web {VERSION}"
    assert [model["file"] for model in page["models"]] == list(GRAPHS)
    for model in page["models"]:
        assert model["labels"] == LABELS and model["bytes"] == (shown / model["file"]).stat().st_size
    assert (shown / "ort.wasm").read_bytes() == (package / "dist" / "ort-wasm-simd-threaded.wasm").read_bytes()
    text = (shown / "single.html").read_text(encoding="utf-8")
    inside = dict(re.findall(r'<script type="application/gzip" data-file="([\w.]+)">([^<]*)</script>', text))
    loaded = {"page.json", "worker.js", "recorder.js", "ort.js", "ort.wasm", *GRAPHS}
    assert set(inside) == loaded
    for name, packed in inside.items():
        assert gzip.decompress(base64.b64decode(packed)) == (shown / name).read_bytes()
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,"]
    for name in ("page.css", "engine.js", "audio.js", "reading.js", "page.js"):
        assert (shown / name).read_text(encoding="utf-8") in text
    assert len(re.findall("</script", text)) == len(inside) + 4


def test_no_code_of_the_page_names_another_address(shown: Path) -> None:
    for name in OURS:
        text = (shown / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|//\w+\.|\bwss?:", text), name
        assert "default-src 'none'" in text or name != "index.html"


def test_the_original_is_checked_too(shown: Path, models: tuple[Any, Any], tmp_path: Path) -> None:
    order = Order(models[1], "large", data=toys(test=3))
    order = Order(models[0], "small", data=toys(test=3), original=order)
    assert fault_of_original(order, TARGETS["web"], shown) is None
    shutil.copyfile(shown / "model.onnx", tmp_path / "original.onnx")
    assert "large: logits is off by" in str(fault_of_original(order, TARGETS["web"], tmp_path))


@pytest.mark.slow
def test_both_models_are_checked(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MODULE.write_onnx

    def damaged(graph: Graph, path: Path, **options: Any) -> None:
        """The original's file, in which one number is not the model's."""
        other = copy.deepcopy(graph)
        other.model.classifier.bias.data[0] += 0.01
        whole(other, path, **options)

    monkeypatch.setattr(MODULE, "write_onnx", damaged)
    with pytest.raises(sv.Disagreement, match="web: HubertFor.*: logits is off by"):
        sv.export(classifier(), "web", tmp_path / "words", data=toys(test=3), versus=classifier("nothing"))
    assert [path.name for path in tmp_path.iterdir()] == ["words.failed"]


def test_a_single_file_that_would_be_too_large_is_left_out(
    shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shown, tmp_path, dirs_exist_ok=True)
    (tmp_path / "single.html").unlink()
    whole = (shown / "single.html").stat().st_size
    for largest, there in ((whole - 1, False), (whole, True)):
        monkeypatch.setattr(MODULE, "LARGEST", largest)
        MODULE.write_single(tmp_path, ["page.json", "worker.js", "recorder.js", "ort.js", "ort.wasm", *GRAPHS])
        assert (tmp_path / "single.html").exists() == there


def other_labels() -> Any:
    return with_head(edited("hubert", "nothing"), "ForSequenceClassification", ["a", "b", "c"], task="keywords")


def writes_text() -> Any:
    return with_head(edited("hubert", "nothing"), "ForCTC", ["<pad>", "A", "|"], task="asr", blank="<pad>")


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "states": (lambda: tiny("hubert"), {}, "gives states"),
    "embedding": (lambda: tiny("wav2vec2", head="ForXVector"), {}, "gives embedding"),
    "another target": (classifier, {"to": "onnx", "versus": "small-melhubert-keywords"}, "leave out versus"),
    "another head": (classifier, {"versus": "small-hubert"}, "gives states"),
    "another kind": (classifier, {"versus": writes_text}, "gives tokens, but"),
    "other labels": (classifier, {"versus": other_labels}, r"the same labels \(a, b, c\)"),
    "no model": (classifier, {"versus": "no-such/model"}, "no-such/model"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_a_page_cannot_show_is_refused_at_once(name: str, package: Path, tmp_path: Path) -> None:
    make, more, words = REFUSED[name]
    more = {key: value() if callable(value) else value for key, value in more.items()}
    with pytest.raises(sv.SottovoceError, match=words):
        sv.export(make(), output=tmp_path / "out", **{"to": "web", **more})
    assert list(tmp_path.iterdir()) == []


def test_without_npm_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(sv.SottovoceError, match=f"no npm here.*{FOLDER}"):
        sv.export(classifier(), "web", tmp_path / "out")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(sv.SottovoceError, match="has no package.json"):
        sv.export(classifier(), "web", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_unpacked_package_is_taken_as_it_is(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(package, tmp_path / "own")
    about = json.loads((tmp_path / "own" / "package.json").read_text())
    (tmp_path / "own" / "package.json").write_text(json.dumps({**about, "version": "1.99.0"}))
    monkeypatch.setenv(FOLDER, str(tmp_path / "own"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runtime().version == "1.99.0"
    (tmp_path / "own" / "package.json").write_text('{"name": "left-pad", "version": "1.0.0"}')
    with pytest.raises(sv.SottovoceError, match="not the package onnxruntime-web"):
        runtime()


def test_versus_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    begin = ["export", "small-melhubert-keywords", "-o", str(tmp_path / "out"), "--versus", "small-hubert"]
    code, _, err = run(capsys, *begin, "--to", "onnx")
    assert code == 2 and "export for web" in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    """A browser whose microphone hears the word `stop`, with pauses, again and again."""
    word = speak("stop", Voice("en-us"))[0]
    pause = np.zeros(4000, np.float32)
    soundfile.write(str(tmp_path / "microphone.wav"), np.concatenate([pause, word, pause]), 16_000)
    with browser(
        tmp_path / "profile", *MICROPHONE, f"--use-file-for-fake-audio-capture={tmp_path / 'microphone.wav'}"
    ) as made:
        yield made


def hear(tab: Tab, path: Path, audio: np.ndarray) -> None:
    """Give the page a file, and wait until it has heard it."""
    soundfile.write(str(path), audio, 16_000, subtype="FLOAT")
    tab.give("#file", path)
    tab.wait(HEARD.replace("NAME", path.name))


def shares(model: Any, audio: np.ndarray) -> dict[str, float]:
    """The probabilities that PyTorch finds."""
    logits = wanted_of(model)([audio])[0]["logits"]
    return dict(zip(LABELS, (np.exp(logits) / np.exp(logits).sum()).tolist(), strict=True))


def is_quiet(tab: Tab, address: str) -> None:
    """Nothing was complained of, and nothing was asked of anybody else."""
    assert tab.faults() == []
    assert {sent for sent in tab.asked() if not sent.startswith((address, "data:", "blob:"))} == set()


@needs_browser
def test_a_browser_says_what_pytorch_says(shown: Path, models: tuple[Any, Any], tab: Tab, tmp_path: Path) -> None:
    audio = np.asarray(toys()[-1].audio)
    with served(shown) as address, served(tmp_path) as elsewhere:
        tab.open(address, width=390)
        tab.wait(READY)
        hear(tab, tmp_path / "toy.wav", audio)
        for number, model in enumerate(models, start=1):
            wanted = shares(model, audio)
            assert tab.ask(SHARES.replace("N", str(number))) == pytest.approx(wanted, abs=1e-5)
            assert tab.text(f"article:nth-child({number}) .best") == max(wanted, key=wanted.__getitem__)
            assert tab.ask(f"+document.querySelector('article:nth-child({number}) .factor').dataset.value") > 0
        assert "times as fast" in tab.text("#comparison")
        assert tab.ask("document.documentElement.scrollWidth") == 390
        tab.ask("document.querySelector('#microphone').click()")
        tab.wait("page.cards[1].passes.filter(one => one.seconds === 1).length >= 2")
        assert tab.text("#status") == "Listening."
        tab.ask("document.querySelector('#microphone').click()")
        tab.wait("document.querySelector('#status').textContent === 'The microphone is off.'")
        # A piece is cut where it is quiet.
        noisy = "Float32Array.from({length: 320000}, (_, i) => i > 300000 && i < 303000 ? 0 : Math.sin(i))"
        assert 300_000 < tab.ask(f"quietest({noisy}, 320000)") < 303_000
        is_quiet(tab, address)
        assert tab.ask(f"fetch('{elsewhere}toy.wav').then(() => 'came', () => 'refused')") == "refused"


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("single", [False, True])
def test_keywords_from_files_and_from_the_microphone(package: Path, tab: Tab, tmp_path: Path, single: bool) -> None:
    made = sv.export(sv.load("small-melhubert-keywords"), "web", tmp_path / "page", check=False, precision="fp16")
    with served(made.folder) as address:
        address = (made.folder / "single.html").as_uri() if single else address
        tab.open(address)
        tab.wait(READY)
        hear(tab, tmp_path / "left.wav", speak("left", Voice("en-gb"))[0])
        assert tab.text(".best") == "left"
        tab.ask("document.querySelector('#microphone').click()")
        tab.wait("document.querySelector('.best').textContent === 'stop'")
        tab.ask("document.querySelector('#microphone').click()")
        (tmp_path / "broken.wav").write_bytes(b"no audio")
        tab.give("#file", tmp_path / "broken.wav")
        tab.wait("document.querySelector('#status').textContent.startsWith('That did not work')")
        hear(tab, tmp_path / "stop.wav", speak("stop", Voice("en-us"))[0])
        assert tab.text(".best") == "stop" and not tab.ask("document.querySelector('.fault')")
        is_quiet(tab, address)


@pytest.mark.slow
@needs_browser
def test_texts_are_ours(package: Path, tab: Tab, tmp_path: Path) -> None:
    model = recogniser()
    made = sv.export(model, "web", tmp_path / "page", check=False)
    with served(made.folder) as address:
        tab.open(address)
        tab.wait(READY)
        for toy in toys(test=4)[-4:]:
            audio = np.asarray(toy.audio)
            hear(tab, tmp_path / f"{toy.id}.wav", audio)
            assert tab.text(".text").split() == transcript(model, audio).split() != []
        whole = np.concatenate([np.asarray(toy.audio) for toy in toys(train=80)])
        hear(tab, tmp_path / "long.wav", whole)
        lengths = [round(16_000 * seconds) for seconds in tab.ask("page.cards[0].passes.map(one => one.seconds)")]
        assert sum(lengths) == len(whole) and len(lengths) == 3 and max(lengths) <= 20 * 16_000
        wanted = [transcript(model, piece) for piece in np.split(whole, np.cumsum(lengths)[:-1])]
        assert jiwer.cer(" ".join(wanted), tab.text(".text")) < 0.005  # of thousands of frames, one may be a tie
        tab.ask("document.querySelector('#microphone').click()")
        tab.wait("page.cards[0].said.length > 0 && page.cards[0].unsure.textContent !== ''")
        assert set(tab.text(".text")) <= set("ABCDEF' ")
        is_quiet(tab, address)


@pytest.mark.slow
@needs_browser
def test_classes_of_frames_and_one_length(package: Path, tab: Tab, tmp_path: Path) -> None:
    names = ["HIGH", "LOW", "MIDDLE", "SIL"]
    model = with_head(edited("hubert", "mimic_linear"), "ForCTC", names, task="phones")
    made = sv.export(model, "web", tmp_path / "page", check=False, seconds=0.5)
    audio = np.asarray(toys()[0].audio)[:8000]
    log_probs = wanted_of(model)([audio])[0]["log_probs"]
    best = [names[index] for index in log_probs.argmax(-1)]
    wanted = [now for before, now in zip(["", *best], best, strict=False) if now != before]
    with served(made.folder) as address:
        tab.open(address)
        tab.wait(READY)
        hear(tab, tmp_path / "toy.wav", audio)
        found = "[...document.querySelectorAll('.stretch')].map(one => one.firstChild.textContent)"
        assert tab.ask(found) == wanted
        is_quiet(tab, address)
