"""Recordings of any length: frames tile, seams lose and double nothing, memory stays, and commands read what comes."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY, edited, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from speech import toys

import sottovoce as sv
from sottovoce.cli import main
from sottovoce.data.audio import read_audio
from sottovoce.models.heads import with_head
from sottovoce.streaming import Token
from sottovoce.streaming.runner import Runner, runner_of
from sottovoce.streaming.sources import blocks_of, raw
from sottovoce.streaming.tokens import Greedy
from sottovoce.streaming.transcript import Transcript, Word, words_of
from sottovoce.streaming.windows import Cut, windows
from sottovoce.tasks.decoding import greedy

LETTERS = ["<pad>", "A", "B", "C", "|"]
RATE = 16_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def recogniser(model: Any) -> Any:
    return with_head(model, "ForCTC", LETTERS, task="asr", blank="<pad>").eval()


def local() -> Any:
    """Log-mel features and a head: what a frame says depends on the samples that it sees, and on no others."""
    model = edited("hubert", "use_log_mel")
    sv.edits.use_mimic(model, layers=0)
    return recogniser(model)


def heard(stream: sv.Stream, audio: Any) -> np.ndarray:
    return np.concatenate([part.outputs["log_probs"] for part in stream(audio)])


@given(st.lists(st.integers(1, 90), min_size=1, max_size=30), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_windows_hold_every_frame_once(sizes: list[int], chunk: int, left: int, right: int) -> None:
    shift, field = 4, 7
    audio = np.arange(sum(sizes), dtype=np.float32)
    blocks = np.split(audio, np.cumsum(sizes)[:-1])
    total = max(0, (len(audio) - field) // shift + 1)
    at = 0
    for window in windows(blocks, Cut(chunk, left, right, shift, field)):
        frames = max(1, (len(window.audio) - field) // shift + 1)
        assert np.array_equal(window.audio, audio[window.first * shift :][: len(window.audio)])
        assert window.start == at and window.first == max(0, at - left)
        if window.end is None:
            at = window.first + frames
            assert window.first * shift + len(window.audio) == len(audio)
        else:
            assert window.end == at + chunk and frames == window.end - window.first + right
            at = window.end
    # What is too short for a frame is padded to one.
    assert at == max(1, total)


@pytest.mark.parametrize("family", [name for name in TINY if not name.startswith("whisper")])
def test_frames_are_those_of_the_whole_recording(family: str) -> None:
    try:
        model = recogniser(tiny(family))
    except sv.SottovoceError:
        model = tiny(family)
    audio = noise(2.513)
    name = "log_probs" if type(model).__name__.endswith("ForCTC") else "state_0"
    if family.startswith("sew") and name != "log_probs":
        pytest.skip("its states run at half the rate")
    (whole,) = list(sv.stream(model)(audio))
    parts = list(sv.stream(model, chunk=0.5, left=0.2, right=0.3)(audio))
    assert len(parts) == 5
    assert sum(len(part.outputs[name]) for part in parts) == len(whole.outputs[name])
    ends = [part.end for part in parts]
    assert [part.start for part in parts[1:]] == ends[:-1] and ends[-1] == whole.end


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_local_model_hears_the_same_in_windows(dtype: torch.dtype, tmp_path: Path) -> None:
    sv.save(local(), tmp_path / "model")
    # A waveform is brought to mean 0 and variance 1 by window, which is not what the whole has.
    (tmp_path / "model" / "preprocessor_config.json").write_text('{"do_normalize": false}')
    model, audio = sv.load(str(tmp_path / "model")).to(dtype), noise(5.217)
    whole = heard(sv.stream(model), audio)
    blocks = np.split(audio, range(700, len(audio), 700))
    for chunk, left, right in ((0.5, 0.2, 0.1), (0.7, 0.0, 0.0)):
        found = heard(sv.stream(model, chunk=chunk, left=left, right=right), blocks)
        assert np.abs(found - whole).max() < (1e-4 if dtype == torch.float32 else 0.05)


def test_what_fits_one_window_is_heard_as_the_model_hears_it() -> None:
    model, audio = recogniser(tiny("hubert")), noise(3.0)
    normalised = torch.from_numpy((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7))[None]
    with torch.inference_mode():
        wanted = model(normalised).logits[0].log_softmax(-1).numpy()
    found = heard(sv.stream(model, chunk=2.5, right=0.5), audio)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def spoken(answers: list[tuple[int, int]], jitter: int, seed: int) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A model that hears where it is in `np.arange`, and is off by some frames, by others in every window."""
    rng = np.random.default_rng(seed)

    def run(piece: np.ndarray) -> dict[str, np.ndarray]:
        first, moved = int(piece[0]), int(rng.integers(-jitter, jitter + 1))
        log_probs = np.full((len(piece), 3), -5.0)
        log_probs[:, 0] = -1.0
        for frame, label in answers:
            if 0 <= frame + moved - first < len(piece):
                log_probs[frame + moved - first, label] = 0.0
        return {"log_probs": log_probs}

    return run


@pytest.mark.parametrize("seed", range(20))
def test_seams_neither_double_nor_lose_labels(seed: int) -> None:
    """Labels every 9 to 15 frames, of which each window is off by up to two frames."""
    rng = np.random.default_rng(seed)
    frames = np.cumsum(rng.integers(9, 16, 80)) + 5
    answers = [(int(frame), int(rng.integers(1, 3))) for frame in frames]
    runner = Runner(spoken(answers, 2, seed), "tokens", ("<pad>", "A", "B"), 1, 1)
    stream = sv.Stream(runner, 100 / RATE, 30 / RATE, 30 / RATE)
    audio = np.arange(frames[-1] + 10, dtype=np.float32)
    said = [token.label for part in stream(audio) for token in part.tokens]
    assert said == ["-AB"[label] for _, label in answers]
    hard = sv.Stream(runner, 100 / RATE, 0.0, 0.0)
    assert sum(len(part.outputs["log_probs"]) for part in hard(audio)) == len(audio)


def test_tokens_are_those_of_greedy_decoding_with_times_that_hold_them() -> None:
    rng = np.random.default_rng(0)
    log_probs = torch.from_numpy(rng.standard_normal((400, 5))).log_softmax(-1)
    piece_by_piece = Greedy(LETTERS, {"<pad>", ""}, 0.0025, 0.02)
    found = [token for piece in log_probs.split(7) for token in piece_by_piece(piece.numpy())] + piece_by_piece.end()
    assert [token.label for token in found] == [LETTERS[index] for index in greedy(log_probs, blank=0)]
    best = log_probs.argmax(-1)
    for token in found:
        frames = slice(round((token.start - 0.0025) / 0.02), round((token.end - 0.0025) / 0.02))
        assert {LETTERS[int(index)] for index in best[frames]} == {token.label}
        top = log_probs[frames].max().exp()
        assert token.probability == pytest.approx(float(top), abs=1e-4)


def test_words_lines_and_subtitles() -> None:
    tokens = [Token(letter, 0.1 * n, 0.1 * n + 0.05, 0.5) for n, letter in enumerate("WE|CALL|")]
    words = tuple(words_of(tokens, "|"))
    assert [(word.text, round(word.start, 3), round(word.end, 3)) for word in words] == [
        ("WE", 0.0, 0.15),
        ("CALL", 0.3, 0.65),
    ]
    made = Transcript((*words, Word("IT", 61.5, 61.7, 0.9), Word("A<B", 61.8, 62.0, 0.9)), 63.0)
    assert made.text == "WE CALL IT A<B"
    assert made.srt() == ("1\n00:00:00,000 --> 00:00:00,650\nWE CALL\n\n2\n00:01:01,500 --> 00:01:02,000\nIT A<B\n")
    assert made.vtt() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.650\nWE CALL\n\n00:01:01.500 --> 00:01:02.000\nIT A&lt;B\n"
    )
    long = Transcript(tuple(Word("LONG", float(n), n + 0.9, 1.0) for n in range(30)), 30.0).lines()
    assert len(long) == 5 and all(line.end - line.start <= 6.0 for line in long)
    assert [word.text for word in words_of(tokens[:2], None)] == ["W", "E"]


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 2), (44_100, 1), (16_000, 1)])
def test_files_come_in_blocks_as_they_come_whole(rate: int, channels: int, tmp_path: Path) -> None:
    times = np.arange(int(23.3 * rate)) / rate
    tones = np.stack([0.3 * np.sin(2 * np.pi * (200 + 50 * n) * times) for n in range(channels)], 1)
    soundfile.write(tmp_path / "a.wav", tones, rate, subtype="FLOAT")
    whole, found = read_audio(tmp_path / "a.wav"), np.concatenate(list(blocks_of(tmp_path / "a.wav")))
    assert len(found) == len(whole)
    assert np.abs(found - whole).max() < 1e-4


def test_raw_samples_come_with_odd_bytes() -> None:
    samples = (3000 * np.sin(np.arange(8_000) / 9)).astype("<i2")
    found = np.concatenate(list(raw(io.BytesIO(samples.tobytes() + b"\x01"), RATE)))
    np.testing.assert_allclose(found, samples / 32768.0, atol=1e-7)


def test_an_exported_folder_hears_what_the_model_hears(tmp_path: Path) -> None:
    model = recogniser(edited("hubert", "use_log_mel"))
    made = sv.export(model, "onnx", tmp_path / "letters", check=False)
    audio = noise(3.3)
    options: dict[str, Any] = {"chunk": 1.0, "left": 0.2, "right": 0.2}
    ours, theirs = (heard(sv.stream(each, **options), audio) for each in (model, str(made.folder)))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    runners = runner_of(model), runner_of(made.folder)
    assert [(one.field, one.shift, one.unit, one.labels) for one in runners] == 2 * [(560, 320, 1, tuple(LETTERS))]
    about = json.loads((made.folder / "config.json").read_text())
    del about["frame"]
    (made.folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(sv.SottovoceError, match="export the model again"):
        runner_of(made.folder)


MEMORY = """
import resource, sys
import numpy as np
import sottovoce as sv
model, seconds = sv.load(sys.argv[1]), float(sys.argv[2])
if len(sys.argv) > 3:
    model = sys.argv[3]
count = sum(len(part.outputs["log_probs"]) for part in sv.stream(model)(
    np.random.default_rng(n).standard_normal(16_000).astype(np.float32) for n in range(int(seconds))))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(*arguments: object) -> tuple[int, int]:
    """Frames, and the largest memory of a process that hears so many seconds."""
    command = [sys.executable, "-c", MEMORY, *map(str, arguments)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(said[0]), int(said[1])


@pytest.mark.parametrize(("short", "long"), [(60, 900), pytest.param(600, 7200, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_recording(short: int, long: int, tmp_path: Path) -> None:
    sv.save(local(), tmp_path / "model")
    (few, small), (many, large) = peak(tmp_path / "model", short), peak(tmp_path / "model", long)
    assert many == pytest.approx(few * long / short, rel=0.01)
    assert large < 1.1 * small


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listening")
    sv.save(recogniser(tiny("hubert")), folder / "letters")
    labels = ["high", "low", "middle"]
    sv.save(with_head(tiny("hubert"), "ForSequenceClassification", labels, task="keywords"), folder / "words")
    sv.save(tiny("hubert"), folder / "encoder")
    (folder / "audio" / "in").mkdir(parents=True)
    for number, toy in enumerate(toys(train=3, dev=0, test=0)):
        path = folder / "audio" / ("in" if number else ".") / f"{number}.flac"
        soundfile.write(path, np.asarray(toy.audio), RATE)
    (folder / "audio" / "notes.txt").write_text("no audio")
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    found = capsys.readouterr()
    assert not ended.value.code, found.err
    return found.out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_transcribe_writes_what_the_model_says(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, file = place / "letters", place / "audio" / "0.flac"
    wanted = sv.transcribe(sv.load(str(model)), str(file))
    assert said(capsys, "transcribe", model, file).rstrip("\n") == wanted.text
    several = said(capsys, "transcribe", model, place / "audio").splitlines()
    assert [Path(line.split("\t")[0]).name for line in several] == ["0.flac", "1.flac", "2.flac"]
    assert several[0].split("\t")[1] == wanted.text
    rows = [json.loads(line) for line in said(capsys, "transcribe", model, place / "audio", "--json").splitlines()]
    assert rows[0]["text"] == wanted.text and rows[0]["words"] == [vars(word) for word in wanted.words]
    assert said(capsys, "transcribe", model, file, "--srt") == wanted.srt().rstrip() + "\n"
    said(capsys, "transcribe", model, place / "audio", "--vtt", "-o", tmp_path / "out")
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.vtt"))
    assert names == ["0.vtt", "in/1.vtt", "in/2.vtt"]
    assert (tmp_path / "out" / "0.vtt").read_text() == wanted.vtt()


def test_transcribe_goes_on_where_it_stopped(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("transcribe", place / "letters", place / "audio", "-o", tmp_path)
    (tmp_path / "0.txt").write_text("as it was")
    with pytest.raises(SystemExit):
        main([str(word) for word in words])
    assert "1 of 3 are there already" in capsys.readouterr().err
    assert (tmp_path / "0.txt").read_text() == "as it was" and (tmp_path / "in" / "2.txt").exists()
    said(capsys, *words, "--overwrite")
    assert (tmp_path / "0.txt").read_text() != "as it was"


def test_standard_input_is_a_file_or_raw_samples(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = place / "letters", place / "audio" / "0.flac"
    wanted = said(capsys, "transcribe", model, file)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    assert said(capsys, "transcribe", model, "-") == wanted
    samples, _ = soundfile.read(file, dtype="int16")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(samples.astype("<i2").tobytes())))
    assert said(capsys, "transcribe", model, "-", "--raw", RATE) == wanted


def test_classify_says_what_the_model_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, file = place / "words", place / "audio" / "0.flac"
    loaded, audio = sv.load(str(model)), soundfile.read(file, dtype="float32")[0]
    normalised = torch.from_numpy((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7))[None]
    with torch.inference_mode():
        shares = loaded(normalised).logits[0].softmax(-1).tolist()
    (row,) = [json.loads(line) for line in said(capsys, "classify", model, file, "--json").splitlines()]
    assert row["probabilities"] == pytest.approx(
        dict(zip(loaded.config.id2label.values(), shares, strict=True)), abs=1e-4
    )
    assert list(row["probabilities"]) == [
        label for label, _ in sorted(row["probabilities"].items(), key=lambda p: -p[1])
    ]
    table = said(capsys, "classify", model, file, "--top", 1, "--window", 0.2)
    assert len(re.findall(r"0\.\d{3}", table)) >= 1 and "from s" in table
    rows = said(capsys, "classify", model, file, "--window", 0.1, "--json").splitlines()
    times = [(json.loads(line)["start"], json.loads(line)["end"]) for line in rows]
    assert times[0] == (0.0, 0.1) and times[-1][1] == pytest.approx(len(audio) / RATE, abs=1e-3)
    assert all(end - start < 0.1501 for start, end in times)


def test_what_cannot_be_heard_is_refused_in_a_sentence(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / "audio" / "0.flac"
    assert "CTC head is wanted" in refused(capsys, "transcribe", place / "encoder", file)
    assert "CTC head is wanted" in refused(capsys, "transcribe", place / "words", file)
    assert "head for classes is wanted" in refused(capsys, "classify", place / "letters", file)
    assert "no audio file" in refused(capsys, "transcribe", place / "letters", tmp_path / "none.wav")
    assert "no audio file in" in refused(capsys, "transcribe", place / "letters", tmp_path)
    assert "2 formats" in refused(capsys, "transcribe", place / "letters", file, "--srt", "--vtt")
    assert "one file of subtitles" in refused(capsys, "transcribe", place / "letters", place / "audio", "--srt")
    assert "--raw is for standard input" in refused(capsys, "transcribe", place / "letters", file, "--raw", 8000)
    assert "0 to 600 s" in refused(capsys, "transcribe", place / "letters", file, "--chunk", -1)
    assert "at least one frame" in refused(capsys, "transcribe", place / "letters", file, "--chunk", 0)
    soundfile.write(tmp_path / "a.wav", noise(0.2), RATE)
    soundfile.write(tmp_path / "a.flac", noise(0.2), RATE)
    assert "would both be written" in refused(capsys, "transcribe", place / "letters", tmp_path, "-o", tmp_path / "out")
    soundfile.write(tmp_path / "long.flac", np.zeros(95 * RATE, np.float32), RATE)
    assert "longer than 60 s" in refused(capsys, "classify", place / "words", tmp_path / "long.flac")
    cut = (tmp_path / "a.flac").read_bytes()[:400]
    (tmp_path / "a.flac").write_bytes(cut)
    assert "decoder lost sync" in refused(capsys, "transcribe", place / "letters", tmp_path / "a.flac")
    left = ("transcribe", place / "letters", tmp_path / "a.flac", tmp_path / "a.wav", "--skip-bad")
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in left])
    assert not ended.value.code and "left out" in capsys.readouterr().err
    with pytest.raises(sv.SottovoceError, match="NaN"):
        sv.transcribe(sv.load(str(place / "letters")), np.full(RATE, np.nan, np.float32))
    with pytest.raises(sv.SottovoceError, match="windows of 30 s"):
        sv.stream(tiny("whisper"))
