"""Manifests and audio: what comes back is what was written, and every fault has its sentence."""

import json
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.data.audio import as_speech, read_audio
from sottovoce.data.sources import local_places, read_data
from sottovoce.data.utterance import Phone, Utterance, manifest_hash, read_manifest, write_manifest
from sottovoce.errors import SottovoceError

TONE = (0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)).astype(np.float32)
GOOD = '{"id": "a", "path": "a.wav", "seconds": 1.0}'
LAST = '{"id": "z", "path": "z.wav", "seconds": 1.0}'


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    phones = (Phone("AH", 0.0, 0.1), Phone("T", 0.1, 0.25))
    written = [
        Utterance("a", tmp_path / "x" / "a.wav", 1.5, text="ärger 你好", phones=phones, speaker="s", license="CC0-1.0"),
        Utterance("b", tmp_path / "b.flac", 2.0, label="yes", split="test"),
    ]
    write_manifest(tmp_path / "m.jsonl", written)
    assert read_manifest(tmp_path / "m.jsonl") == written
    assert read_manifest(tmp_path / "m.jsonl", split="test") == written[1:]
    assert str(tmp_path) not in (tmp_path / "m.jsonl").read_text()


@given(st.text(min_size=1), st.floats(min_value=1e-3, max_value=1e6), st.none() | st.text())
def test_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory, name: str, seconds: float, text: str | None
) -> None:
    place = tmp_path_factory.mktemp("m")
    written = [Utterance(name, place / "a.wav", seconds, text=text)]
    write_manifest(place / "m.jsonl", written)
    assert read_manifest(place / "m.jsonl") == written


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "the line is not JSON (Expecting property name"),
        ("[]", "the line holds a list, but a JSON object is wanted"),
        ('{"id": "b", "pth": "a.wav", "seconds": 1}', "did you mean 'path'"),
        ('{"path": "a.wav", "seconds": 1}', "'id' is None"),
        ('{"id": "b", "path": "a.wav"}', "'seconds' is None"),
        ('{"id": "b", "path": "a.wav", "seconds": -1}', "a length above 0"),
        ('{"id": "b", "path": "a.wav", "seconds": NaN}', "NaN is no number"),
        ('{"id": "b", "path": "a.wav", "seconds": 1e999}', "'seconds' is inf, but a length above 0 and up to 1e+06"),
        ('{"id": "b", "path": "a.wav", "seconds": 1e7}', "a length above 0 and up to 1e+06 is wanted"),
        ('{"id": "b", "path": "a.wav", "seconds": "1"}', "'seconds' is '1'"),
        ('{"id": "b", "path": "a.wav", "seconds": ' + "9" * 5000 + "}", "a whole number of 5000 digits"),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "text": "\\ud800"}', "holds a lone surrogate"),
        ('{"id": "b", "path": "a\\u0000.wav", "seconds": 1}', "holds a null character"),
        ('{"id": "b", "path": "' + "a" * 300 + '", "seconds": 1}', "cannot be reached (File name too long)"),
        ('{"id": "b", "path": "' + "a/" * 3000 + '", "seconds": 1}', "has 6000 characters, more than a path can have"),
        ('{"id": "b", "path": "loop/a.wav", "seconds": 1}', "cannot be reached (Too many levels of symbolic links)"),
        ('{"id": "b", "path": ' + "[" * 100_000 + "1}", "more than 64 brackets deep"),
        (
            '{"id": "b", "path": "a.wav", "seconds": 1, "text": "' + "a" * (1 << 20) + '"}',
            "it has more than 1048576 bytes; give a JSONL file",
        ),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "phones": [["AH", "0", "0.1"]]}', "is no [name, start, end]"),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "phones": [["AH", 0, NaN]]}', "NaN is no number"),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "phones": [["AH", 0, 1e999]]}', "ends before it starts"),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "phones": [[7, 0, 1]]}', "the phone [7, 0, 1] is no"),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "phones": ["abc"]}', "the phone 'abc' is no"),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "phones": {"AH": [0, 1]}}', "but a list of [name, start, end]"),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "phones": "abc"}', "'phones' is 'abc'"),
        ('{"id": "b", "path": "a.wav", "seconds": true}', "a length above 0"),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "speaker": 3}', "'speaker' is 3"),
        ('{"id": "b", "path": "../a.wav", "seconds": 1}', "leads out of"),
        ('{"id": "b", "path": "/etc/passwd", "seconds": 1}', "leads out of"),
        ('{"id": "b", "path": "link/a.wav", "seconds": 1}', "over a link"),
        ('{"id": "a", "path": "b.wav", "seconds": 1}', "'a' stands in line 1 already"),
        (
            '{"id": "b", "path": "a.wav", "seconds": 1, "phones": [["AH", 1]]}',
            "the phone ['AH', 1] is no [name, start, end]",
        ),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "phones": [["AH", 0.3, 0.1]]}', "ends before it starts"),
        ('{"id": "b", "path": "a.wav", "seconds": 1, "phones": [["A", 0, 0.5], ["B", 0.2, 0.6]]}', "begins before 0.5"),
    ],
)
def test_a_bad_line_has_a_number_and_a_reason(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join([GOOD, "", line, LAST, ""]))
    with pytest.raises(SottovoceError) as caught:
        read_manifest(path)
    said = str(caught.value)
    assert "line 3" in said and words in said and "\n" not in said and len(said) < 700
    told: list[str] = []
    assert [utterance.id for utterance in read_manifest(path, on_bad=told.append)] == ["a", "z"]
    assert len(told) == 1 and words in told[0]


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SottovoceError, match="there is no file '.*none.jsonl'; give the path of the manifest"):
        read_manifest(tmp_path / "none.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(SottovoceError, match="is a pipe, but the manifest is an ordinary file"):
        read_manifest(tmp_path / "pipe.jsonl")
    with pytest.raises(SottovoceError, match="is a folder, but the manifest is a file"):
        read_manifest(tmp_path)


def test_lines_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(f"{GOOD}\n".encode() + b'{"id": "\xff"}\n\0\0\n' + f"{LAST}\n".encode())
    with pytest.raises(SottovoceError, match=r"m.jsonl, line 2: the line is not UTF-8 text \(byte 8\)\.$"):
        read_manifest(path)
    told: list[str] = []
    assert [utterance.id for utterance in read_manifest(path, on_bad=told.append)] == ["a", "z"]
    assert len(told) == 2 and "line 2: " in told[0] and "line 3: the line is not JSON" in told[1]


def test_a_manifest_of_one_endless_line_takes_little_memory(tmp_path: Path) -> None:
    with open(tmp_path / "m.jsonl", "wb") as file:
        file.write(b'{"id": "a')
        file.truncate(40 << 30)
    begun, told = time.monotonic(), list[str]()
    tracemalloc.start()
    for on_bad in (None, told.append):
        with pytest.raises(SottovoceError, match="line 1: it has more than 1048576 bytes; give a JSONL file"):
            read_manifest(tmp_path / "m.jsonl", on_bad=on_bad)
    assert tracemalloc.get_traced_memory()[1] < 200 << 20 and time.monotonic() - begun < 5 and not told
    tracemalloc.stop()


def test_writing_refuses_what_could_not_be_read(tmp_path: Path) -> None:
    twice = [Utterance("a", tmp_path / "a.wav", 1.0)] * 2
    with pytest.raises(SottovoceError, match="two utterances have the id"):
        write_manifest(tmp_path / "m.jsonl", twice)
    with pytest.raises(SottovoceError, match="in memory"):
        write_manifest(tmp_path / "m.jsonl", [Utterance("a", TONE, 1.0)])
    with pytest.raises(SottovoceError, match="not below"):
        write_manifest(tmp_path / "m.jsonl", [Utterance("a", Path("/elsewhere/a.wav"), 1.0)])
    assert not (tmp_path / "m.jsonl").exists()


def test_the_hash_names_the_content() -> None:
    first, second = Utterance("a", TONE, 1.0), Utterance("a", TONE * 0.5, 1.0)
    assert manifest_hash([first]) == manifest_hash([Utterance("a", TONE.copy(), 1.0)])
    assert len({manifest_hash(rows) for rows in ([first], [second], [first, second], [])}) == 4


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", None), ("ogg", "OPUS")])
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_files_of_all_kinds_become_speech(
    tmp_path: Path, suffix: str, subtype: str | None, rate: int, channels: int
) -> None:
    tone = 0.5 * np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate, subtype=subtype)
    speech = read_audio(path)
    assert speech.dtype == np.float32 and speech.ndim == 1 and abs(len(speech) - 16_000) <= 8
    middle = slice(2_000, 14_000)
    spectrum = np.abs(np.fft.rfft(speech[middle] * np.hanning(12_000)))
    assert abs(spectrum.argmax() * 16_000 / 12_000 - 440) < 2
    assert np.abs(speech[middle]).max() == pytest.approx(0.5, rel=0.1 if subtype == "OPUS" else 0.05)


def test_resampling_keeps_what_fits_and_removes_what_does_not() -> None:
    time = np.arange(96_000) / 96_000
    speech = as_speech(0.4 * np.sin(2 * np.pi * 1_000 * time) + 0.4 * np.sin(2 * np.pi * 20_000 * time), 96_000)
    spectrum = np.abs(np.fft.rfft(speech * np.hanning(len(speech))))
    peak = spectrum.argmax()
    assert peak == pytest.approx(1_000, abs=1)
    assert spectrum[1_100:].max() < 1e-3 * spectrum[peak]


def test_faults_of_audio(tmp_path: Path) -> None:
    files: dict[str, str] = {}

    def write(name: str, samples: np.ndarray, words: str) -> None:
        soundfile.write(tmp_path / name, samples, 16_000, subtype="FLOAT")
        files[name] = words

    write("silent.wav", np.zeros(100), "is silent")
    write("nan.wav", np.array([0.1, np.nan, 0.2]), "NaN or infinite samples, at 1 first")
    write("infinite.wav", np.array([0.1, np.inf]), "NaN or infinite")
    write("none.wav", np.zeros(0), "holds no samples")
    write("loud.wav", np.full(100, 3e38), "holds samples up to 3e+38, where 1 is as loud as can be")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is no audio at all, though it is called so")
    soundfile.write(tmp_path / "whole.flac", TONE, 16_000)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "whole.flac").read_bytes()[:4_000])
    files |= {
        "empty.wav": "is an empty file",
        "text.wav": "no audio that can be decoded",
        "gone.wav": "there is no audio",
    }
    for name, words in files.items():
        with pytest.raises(SottovoceError) as caught:
            read_audio(tmp_path / name)
        assert words in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SottovoceError, match="cut off|no audio that can be decoded"):
        read_audio(tmp_path / "cut.flac")
    with pytest.raises(SottovoceError, match="is 1 s long, more than 0.5 s"):
        read_audio(tmp_path / "whole.flac", longest=0.5)
    with pytest.raises(SottovoceError, match="3 dimensions"):
        as_speech(np.zeros((2, 2, 2)), 16_000)


@pytest.mark.parametrize("kind", ["speech-tiny", "speech-mini"])
def test_real_recordings(kind: str) -> None:
    """Lossless and Opus recordings of the shared folder decode to the length that their own list gives."""
    folder = Path(__file__).resolve().parents[2] / "shared" / kind
    if not folder.is_dir():
        pytest.skip(f"{kind} is not beside the project")
    listed = [line for path in sorted(folder.glob("manifests/*.jsonl")) for line in path.read_text().splitlines()]
    rows = [json.loads(line) for line in listed[::211]]
    assert rows
    for row in rows:
        assert len(read_audio(folder / row["path"])) / 16_000 == pytest.approx(row["duration"], abs=0.02)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "the name of the data is empty; give a manifest, a folder with a manifest.jsonl, 'espeak', or CORPUS@"),
        ("  ", "the name of the data is empty"),
        (" + ", "' + ' has nothing on one side of a +"),
        ("espeak + ", "has nothing on one side of a +"),
        ("fsdd@", "'fsdd@' has nothing on one side of its @; give CORPUS@FOLDER, or MANIFEST@FOLDER"),
        ("@speech", "'@speech' has nothing on one side of its @"),
        ("fsd@speech", "unknown corpus 'fsd'; did you mean 'fsdd'"),
        ("fsdd@nothing", "there is no folder nothing; a folder with free-spoken"),
        ("fsdd@m.jsonl", "'m.jsonl' is a file, but a folder with free-spoken"),
        ("fsdd@loop", "the folder of fsdd 'loop' cannot be reached"),
        ("loop", "the data 'loop' cannot be reached"),
        ("a\0b", "holds a null character"),
        ("x" * 300, "cannot be reached (File name too long)"),
        ("~nobody-is-called-so/x", "begins with a home folder that is not known here"),
        (
            "empty",
            "the folder 'empty' has no manifest.jsonl and is in no other format that is known: it is empty, and",
        ),
        ("nothing", "there is no data 'nothing'; give a manifest"),
        ("nothing/m.jsonl@empty", "there is no data 'nothing/m.jsonl@empty'"),
        ("m.jsonl@m.jsonl", "'m.jsonl' is no folder, but the audio of m.jsonl is looked for in it"),
        ("pipe", "'pipe' is a pipe, but the manifest is an ordinary file"),
        ("espeak:nan", "size is nan, but a number above 0 and up to 1000 is wanted"),
        ("espeak:-1", "size is -1, but a number above 0"),
        ("espeak:0", "size is 0, but a number above 0"),
        ("espeak:1e9", "size is 1e+09, but a number above 0"),
        ("espeak:" + "9" * 400, "size is inf, but a number above 0"),
        ("espeak:", "'espeak:' asks for no amount"),
        ("espeak:1,xx", "unknown language 'xx'"),
    ],
)
def test_names_of_data_that_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.jsonl").write_text(f"{GOOD}\n")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").mkdir()
    (tmp_path / "void.jsonl").touch()
    os.mkfifo("pipe")
    with pytest.raises(SottovoceError) as caught:
        read_data(name)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "bad.jsonl").write_text("bad\n")
    with pytest.raises(SottovoceError, match="the manifest 'bad.jsonl' has no utterance that can be used"):
        read_data("bad.jsonl", on_bad=lambda message: None)


def test_the_places_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, places in {
        "espeak:2,de": [],
        "speech": ["speech"],
        "speech/manifest.jsonl": ["speech/manifest.jsonl"],
        "fsdd@digits": ["digits"],
        "lists/a.jsonl@audio": ["lists/a.jsonl", "audio"],
        "espeak + fsdd@digits + speech": ["digits", "speech"],
    }.items():
        assert [str(place) for place in local_places(name)] == places
    monkeypatch.setenv("SOTTOVOCE_DATA", str(tmp_path / "corpora"))
    assert local_places("fsdd") == [tmp_path / "corpora" / "fsdd"]
    (tmp_path / "me@home").mkdir()
    (tmp_path / "me@home" / "manifest.jsonl").write_text(f"{GOOD}\n")
    assert local_places("me@home") == [Path("me@home")] and read_data("me@home")[0].id == "a"
