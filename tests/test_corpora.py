"""Corpora in the layouts in which they are published: what is read from each, and how it is made ready."""

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import types
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sottovoce.data.audio import read_audio
from sottovoce.data.corpora import CORPORA
from sottovoce.data.corpora.corpus import Archive
from sottovoce.data.corpora.hub_dataset import from_hub_dataset
from sottovoce.data.corpora.prepare import Part, check, prepare
from sottovoce.data.sources import read_data
from sottovoce.data.utterance import Utterance, read_manifest
from sottovoce.errors import SottovoceError

# The columns that the tests compare, by id.
Fact = tuple[str | None, str | None, str | None, str | None]
Facts = dict[str, Fact]


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def wav(path: Path, seconds: float = 0.1, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".sph": "NIST", ".flac": "FLAC"}.get(path.suffix, "WAV")
    soundfile.write(path, noise(seconds, rate, zlib.crc32(path.name.encode())), rate, format=kind)
    return path


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def librispeech(folder: Path) -> None:
    for part, speaker in (("dev-clean", "84"), ("test-other", "367"), ("train-clean-100", "103")):
        chapter = folder / "LibriSpeech" / part / speaker / "7"
        write(chapter / f"{speaker}-7.trans.txt", f"{speaker}-7-0000 GO HOME", f"{speaker}-7-0001 IT'S {part.upper()}")
        for number in range(2):
            wav(chapter / f"{speaker}-7-000{number}.flac")
    write(folder / "LibriSpeech" / "SPEAKERS.TXT", "84 | F | dev-clean | 8.02 | Christie Nowak")


def speech_commands(folder: Path, version: str = "v0.01") -> None:
    place = folder / f"speech_commands_{version}"
    for word in ("yes", "bed"):
        for speaker in ("0a7c2a8d", "1b2c3d4e", "5f6a7b8c"):
            wav(place / word / f"{speaker}_nohash_0.wav")
    write(place / "validation_list.txt", "yes/1b2c3d4e_nohash_0.wav", "bed/1b2c3d4e_nohash_0.wav")
    write(place / "testing_list.txt", "yes/5f6a7b8c_nohash_0.wav", "bed/5f6a7b8c_nohash_0.wav")
    wav(place / "_background_noise_" / "white_noise.wav", 11.5)
    write(place / "_background_noise_" / "README.md", "noise")


def speakers_commands(folder: Path) -> None:
    """Two people with fifty words, and one with a word less."""
    place = folder / "speech_commands_v0.02"
    for speaker, count in (("0a7c2a8d", 50), ("1b2c3d4e", 50), ("5f6a7b8c", 49)):
        for number in range(count):
            wav(place / ("yes" if number % 2 else "bed") / f"{speaker}_nohash_{number}.wav", 0.02)
    write(place / "testing_list.txt", "yes/5f6a7b8c_nohash_99.wav")
    write(place / "validation_list.txt", "yes/5f6a7b8c_nohash_98.wav")


def superb_commands(folder: Path) -> None:
    speech_commands(folder)
    place = folder / "speech_commands_test_set_v0.01"
    for word in ("yes", "_unknown_"):
        wav(place / word / "9a8b7c6d_nohash_1.wav")
    wav(place / "_silence_" / "12.wav")


def voxceleb1(folder: Path) -> None:
    paths = ["id10001/1zcIwhmdeo4/00001.wav", "id10001/7gWzIy6yIIk/00002.wav", "id10270/5r0dWxy17C8/00003.wav"]
    write(folder / "iden_split.txt", f"1 {paths[0]}", f"2 {paths[1]}", f"3 {paths[2]}")
    for path, half in zip(paths, ("dev", "dev", "test"), strict=True):
        wav(folder / half / "wav" / path)


def fluent(folder: Path) -> None:
    place = folder / "fluent_speech_commands_dataset"
    for listed, text in (("train", '"Heat, please"'), ("valid", "Warmer"), ("test", "Turn it up")):
        path = f"wavs/speakers/2BqVo8kVB2Skwgyb/{listed}.wav"
        header = ",path,speakerId,transcription,action,object,location"
        row = f"0,{path},2BqVo8kVB2Skwgyb,{text},increase,heat,washroom"
        write(place / "data" / f"{listed}_data.csv", header, row)
        wav(place / path)


def slurp(folder: Path) -> None:
    for listed, name in (("train", "audio-1"), ("devel", "audio--2"), ("test", "audio-3")):
        files = [f"{name}-headset.flac", f"{name}.flac"]
        row = {"slurp_id": 7, "sentence": "wake me up", "intent": "alarm_set", "action": "set", "scenario": "alarm"}
        row["recordings"] = [{"file": file, "wer": 0.0, "ent_wer": None, "status": "correct"} for file in files]
        row["slurp_id"] = 7 + len(listed)
        write(folder / "dataset" / "slurp" / f"{listed}.jsonl", json.dumps(row))
        for file in files:
            wav(folder / "audio" / "slurp_real" / file)
    recordings = {"audio-1.flac": {"usrid": "FO-488", "status": "correct"}, "audio-3.flac": {"status": "correct"}}
    write(folder / "dataset" / "slurp" / "metadata.json", json.dumps({"7": {"nlub_id": 1, "recordings": recordings}}))


def iemocap(folder: Path) -> None:
    for session in range(1, 6):
        place = folder / "IEMOCAP_full_release" / f"Session{session}"
        dialogue = f"Ses0{session}F_impro01"
        rows = [("F000", "neu"), ("M000", "exc"), ("F001", "ang"), ("M001", "xxx"), ("M002", "fru")]
        turns = [f"[6.29 - 8.23]\t{dialogue}_{turn}\t{label}\t[2.5, 2.5, 2.5]" for turn, label in rows]
        votes = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", "", turns[0], "C-E2:\tNeutral;\t()"]
        write(place / "dialog" / "EmoEvaluation" / f"{dialogue}.txt", *votes, *turns[1:])
        (place / "dialog" / "EmoEvaluation" / "Categorical").mkdir()
        said = f"{dialogue}_F000 [006.2901-008.2357]: Excuse me."
        write(place / "dialog" / "transcriptions" / f"{dialogue}.txt", said)
        for turn, _ in rows:
            wav(place / "sentences" / "wav" / dialogue / f"{dialogue}_{turn}.wav")


def tedlium3(folder: Path) -> None:
    place = folder / "TEDLIUM_release-3"
    rows = [
        (0.0, 0.4, "<NA> i 'm <unk> here rock 'n' roll(2)"),
        (0.4, 0.7, "<o,f0,male> ignore_time_segment_in_scoring"),
        (0.7, 1.01, "<o,f0,female> {NOISE} it 's over"),
    ]
    for split, talk in (("train", "AlGore_2009"), ("dev", "BillGates_2010"), ("test", "JaneMcGonigal_2010")):
        lines = [f"{talk} 1 {talk} {start} {end} {text}" for start, end, text in rows]
        write(place / "legacy" / split / "stm" / f"{talk}.stm", ";; LABEL", *lines)
        wav(place / "data" / "sph" / f"{talk}.sph", 1.0)
        (place / "legacy" / split / "sph").mkdir()
        (place / "legacy" / split / "sph" / f"{talk}.sph").symlink_to(f"../../../data/sph/{talk}.sph")


def speechocean762(folder: Path) -> None:
    place = folder / "speechocean762"
    for split, name, speaker in (("train", "000010011", "0001"), ("test", "000030012", "0003")):
        write(place / split / "wav.scp", f"{name}\tWAVE/SPEAKER{speaker}/{name}.WAV")
        write(place / split / "text", f"{name}\tWE CALL IT BEAR")
        write(place / split / "utt2spk", f"{name}\t{speaker}")
        write(place / split / "spk2utt", f"{speaker}\t{name}")
        wav(place / "WAVE" / f"SPEAKER{speaker}" / f"{name}.WAV")


def fsdd(folder: Path) -> None:
    for number in (0, 4, 5, 9, 10, 49):
        wav(folder / "free-spoken-digit-dataset-1.0.10" / "recordings" / f"7_jackson_{number}.wav", rate=8_000)
    write(folder / "free-spoken-digit-dataset-1.0.10" / "metadata.py", "metadata = {}")


def emodb(folder: Path) -> None:
    for name in ("03a01Fa", "12a02Wc", "14b01Lb", "15a04Ea", "16a05Ab", "08a07Ta", "09b02Na"):
        wav(folder / "wav" / f"{name}.wav")
    (folder / "lablaut").mkdir()


def speech_mini(folder: Path) -> None:
    place = folder / "speech-mini"
    row = {"id": "so762-1", "path": "audio/so762/1.opus", "duration": 0.3, "text": "A", "speaker": "so762-0001"}
    row |= {"label": None, "split": "dev", "source": "speechocean762", "licence": "CC-BY-4.0", "gender": "m"}
    names = ("sid", "kws", "digits", "emotion", "slu", "unlabelled")
    write(place / "manifests" / "asr.jsonl", json.dumps(row))
    write(place / "manifests" / "phone.jsonl", json.dumps(row | {"label": "AH"}))
    for name in names:
        own = {"id": "so762-1"} if name == "sid" else {"id": f"{name}-1"}
        write(place / "manifests" / f"{name}.jsonl", json.dumps(row | own | {"label": name, "split": "train"}))
    phones = [["SIL", 0, 10], ["AH", 10, 20]]
    aligned = {"id": "so762-1", "path": "audio/so762/1.opus", "phones": phones, "frame_ms": 10}
    write(place / "alignments" / "english_pocketsphinx.jsonl", json.dumps(aligned))
    (place / "audio" / "so762").mkdir(parents=True)
    soundfile.write(place / "audio" / "so762" / "1.opus", noise(0.3), 16_000, format="OGG", subtype="OPUS")


def words(split: str, speaker: str) -> Facts:
    return {f"{word}/{speaker}_nohash_0": (split, speaker, word, None) for word in ("yes", "bed")}


def heard_much(speaker: str) -> Facts:
    """The first two of ten, in the order of the hashes of their names, are held out."""
    names = [f"{'yes' if number % 2 else 'bed'}/{speaker}_nohash_{number}" for number in range(50)]
    mixed = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    splits = ["test", "dev", *["train"] * 8] * 5
    return {name: (split, speaker, speaker, None) for name, split in zip(mixed, splits, strict=True)}


SPLITS = {1: "test", 2: "dev", 3: "train", 4: "train", 5: "train"}
# Makes the folder, and what must be read from it: split, speaker, label, text.
LAYOUTS: dict[str, tuple[Callable[[Path], None], Mapping[str, Fact]]] = {
    "emodb": (
        emodb,
        {
            "03a01Fa": ("train", "03", "happiness", None),
            "12a02Wc": ("dev", "12", "anger", None),
            "14b01Lb": ("dev", "14", "boredom", None),
            "15a04Ea": ("test", "15", "disgust", None),
            "16a05Ab": ("test", "16", "fear", None),
            "08a07Ta": ("train", "08", "sadness", None),
            "09b02Na": ("train", "09", "neutral", None),
        },
    ),
    "fluent": (
        fluent,
        {
            f"wavs/speakers/2BqVo8kVB2Skwgyb/{listed}": (split, "2BqVo8kVB2Skwgyb", "increase/heat/washroom", text)
            for listed, split, text in (
                ("train", "train", "Heat, please"),
                ("valid", "dev", "Warmer"),
                ("test", "test", "Turn it up"),
            )
        },
    ),
    "fsdd": (
        fsdd,
        {
            f"7_jackson_{number}": (split, "jackson", "seven", "seven")
            for number, split in ((0, "test"), (4, "test"), (5, "dev"), (9, "dev"), (10, "train"), (49, "train"))
        },
    ),
    "iemocap": (
        iemocap,
        {
            f"Ses0{session}F_impro01_{turn}": (split, f"Ses0{session}{turn[0]}", label, text)
            for session, split in SPLITS.items()
            for turn, label, text in (
                ("F000", "neutral", "Excuse me."),
                ("M000", "happy", None),
                ("F001", "angry", None),
            )
        },
    ),
    "librispeech": (
        librispeech,
        {
            f"{speaker}-7-000{number}": (split, speaker, None, text)
            for split, speaker, part in (
                ("dev", "84", "DEV-CLEAN"),
                ("test", "367", "TEST-OTHER"),
                ("train", "103", "TRAIN-CLEAN-100"),
            )
            for number, text in enumerate(("GO HOME", f"IT'S {part}"))
        },
    ),
    "slurp": (
        slurp,
        {
            f"{number}/{name}{place}": (split, who if not place else None, "alarm_set", "wake me up")
            for number, name, split, who in (
                (12, "audio-1", "train", "FO-488"),
                (12, "audio--2", "dev", None),
                (11, "audio-3", "test", None),
            )
            for place in ("", "-headset")
        },
    ),
    "speech-commands-v0.01": (
        speech_commands,
        words("train", "0a7c2a8d") | words("dev", "1b2c3d4e") | words("test", "5f6a7b8c"),
    ),
    "speech-commands-v0.02": (
        partial(speech_commands, version="v0.02"),
        words("train", "0a7c2a8d") | words("dev", "1b2c3d4e") | words("test", "5f6a7b8c"),
    ),
    "speech-commands-superb": (
        superb_commands,
        {
            f"{word}/{speaker}_nohash_0": (split, speaker, label, None)
            for word, label in (("yes", "yes"), ("bed", "_unknown_"))
            for split, speaker in (("train", "0a7c2a8d"), ("dev", "1b2c3d4e"))
        }
        | {
            f"_silence_/white_noise-{second:03d}": ("train" if second % 10 else "dev", None, "_silence_", None)
            for second in range(11)
        }
        | {
            "test/yes/9a8b7c6d_nohash_1": ("test", "9a8b7c6d", "yes", None),
            "test/_unknown_/9a8b7c6d_nohash_1": ("test", "9a8b7c6d", "_unknown_", None),
            "test/_silence_/12": ("test", None, "_silence_", None),
        },
    ),
    "speech-commands-speakers": (speakers_commands, heard_much("0a7c2a8d") | heard_much("1b2c3d4e")),
    "speech-mini": (
        speech_mini,
        {"so762-1": ("dev", "so762-0001", None, "A"), "speakers/so762-1": ("train", "so762-0001", "sid", "A")}
        | {
            f"{name}-1": ("train", "so762-0001", name, "A")
            for name in ("kws", "digits", "emotion", "slu", "unlabelled")
        },
    ),
    "speechocean762": (
        speechocean762,
        {
            "000010011": ("train", "0001", None, "WE CALL IT BEAR"),
            "000030012": ("test", "0003", None, "WE CALL IT BEAR"),
        },
    ),
    "tedlium3": (
        tedlium3,
        {
            f"{talk}-{span}": (split, talk, None, text)
            for split, talk in (("train", "AlGore_2009"), ("dev", "BillGates_2010"), ("test", "JaneMcGonigal_2010"))
            for span, text in (("0000000-0000400", "i'm here rock 'n' roll"), ("0000700-0001010", "it's over"))
        },
    ),
    "voxceleb1": (
        voxceleb1,
        {
            "id10001/1zcIwhmdeo4/00001": ("train", "id10001", "id10001", None),
            "id10001/7gWzIy6yIIk/00002": ("dev", "id10001", "id10001", None),
            "id10270/5r0dWxy17C8/00003": ("test", "id10270", "id10270", None),
        },
    ),
}
TASKS = {
    "emodb": "emotion",
    "fluent": "intents",
    "fsdd": "keywords",
    "iemocap": "emotion",
    "slurp": "intents",
    "speech-commands-v0.01": "keywords",
    "speech-commands-v0.02": "keywords",
    "speech-commands-superb": "keywords",
    "speech-commands-speakers": "speakers",
    "voxceleb1": "speakers",
}
MINI = {"sid": "speakers", "kws": "keywords", "slu": "intents"} | {
    name: name for name in ("digits", "emotion", "unlabelled")
}


def facts(utterances: list[Utterance]) -> Facts:
    return {row.id: (row.split, row.speaker, row.label, row.text) for row in utterances}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """The address and the folder of a web server on this machine, and what it was asked for."""
    folder, asked = tmp_path / "web", list[str]()
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", folder, asked
    http.shutdown()
    http.server_close()
    thread.join()


def test_every_corpus_is_tested_and_described() -> None:
    assert LAYOUTS.keys() == CORPORA.keys() and list(CORPORA) == sorted(CORPORA)
    for name, corpus in CORPORA.items():
        assert corpus.name == name and corpus.about and corpus.license and corpus.layout
        assert bool(corpus.archives) != bool(corpus.terms)
        for archive in (one for part in (corpus.archives or {}).values() for one in part):
            length = {"": 0, "md5": 32, "sha256": 64}[archive.checksum.partition(":")[0]]
            assert len(archive.checksum.partition(":")[2]) == length


@pytest.mark.parametrize("deeper", ["", "unpacked"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_becomes_a_manifest(tmp_path: Path, name: str, deeper: str) -> None:
    make, expected = LAYOUTS[name]
    make(tmp_path / deeper)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"what macOS leaves behind\xff")
    manifest = prepare(name, tmp_path)
    rows = read_manifest(manifest)
    assert manifest == tmp_path / "manifest.jsonl" and facts(rows) == expected
    for row in rows:
        if name != "speech-mini":
            assert row.task == TASKS.get(name) and row.license == CORPORA[name].license
        assert len(read_audio(Path(str(row.audio)))) / 16_000 == pytest.approx(row.seconds, abs=2e-3)
    before = manifest.read_bytes()
    prepare(name, tmp_path)
    assert manifest.read_bytes() == before
    assert check(manifest).bad == ()


def test_lists_of_people_are_read_without_audio(tmp_path: Path) -> None:
    """A reader opens no recording: it says what the lists say."""
    fluent(tmp_path)
    for path in tmp_path.rglob("*.wav"):
        path.write_bytes(b"")
    assert facts(list(CORPORA["fluent"].read(tmp_path))) == LAYOUTS["fluent"][1]


def test_speech_commands_lie_flat_as_well(tmp_path: Path) -> None:
    """Each version's reader takes its own folder, or the one that it is given itself."""
    speech_commands(tmp_path, "v0.02")
    assert list(CORPORA["speech-commands-v0.01"].read(tmp_path)) == []
    rows = list(CORPORA["speech-commands-v0.02"].read(tmp_path / "speech_commands_v0.02"))
    assert facts(rows) == LAYOUTS["speech-commands-v0.02"][1]


def test_voxceleb_lies_in_one_folder_as_well(tmp_path: Path) -> None:
    voxceleb1(tmp_path)
    (tmp_path / "wav").mkdir()
    (tmp_path / "dev" / "wav" / "id10001").rename(tmp_path / "wav" / "id10001")
    (tmp_path / "test" / "wav" / "id10270").rename(tmp_path / "wav" / "id10270")
    assert facts(read_manifest(prepare("voxceleb1", tmp_path))) == LAYOUTS["voxceleb1"][1]


def test_speech_mini_has_tasks_and_phones(tmp_path: Path) -> None:
    speech_mini(tmp_path)
    rows = {row.id: row for row in CORPORA["speech-mini"].read(tmp_path)}
    assert rows["so762-1"].task is None and rows["speakers/so762-1"].task == "speakers"
    assert {row.label: row.task for row in rows.values() if row.label} == MINI
    # The last frame would end at 0.3078 s.
    assert rows["so762-1"].phones == (("SIL", 0.0078, 0.1078), ("AH", 0.1078, 0.3))
    assert all(row.phones is None for row in rows.values() if row.task)


def test_segments_are_cut_at_their_times(tmp_path: Path) -> None:
    tedlium3(tmp_path)
    manifest = prepare("tedlium3", tmp_path)
    talk, _ = soundfile.read(tmp_path / "TEDLIUM_release-3" / "data" / "sph" / "AlGore_2009.sph", dtype="int16")
    first, last = (row for row in read_manifest(manifest, split="train"))
    assert (soundfile.read(str(first.audio), dtype="int16")[0] == talk[:6_400]).all()
    # The list's last segment ends 10 ms after the talk.
    assert (soundfile.read(str(last.audio), dtype="int16")[0] == talk[11_200:]).all()
    stamp = Path(str(first.audio)).stat().st_mtime_ns
    Path(str(last.audio)).unlink()
    prepare("tedlium3", tmp_path)
    assert Path(str(last.audio)).is_file() and Path(str(first.audio)).stat().st_mtime_ns == stamp


def test_segments_that_cannot_be_cut(tmp_path: Path) -> None:
    tedlium3(tmp_path)
    place = tmp_path / "TEDLIUM_release-3"
    (place / "data" / "sph" / "AlGore_2009.sph").write_bytes(b"no audio")
    write(place / "legacy" / "dev" / "stm" / "BillGates_2010.stm", "BillGates_2010 1 BillGates_2010 0.5 3.5 <NA> a")
    with pytest.raises(SottovoceError, match=r"AlGore_2009.sph cannot be cut"):
        prepare("tedlium3", tmp_path)
    told: list[str] = []
    rows = read_manifest(prepare("tedlium3", tmp_path, on_bad=told.append))
    assert {row.split for row in rows} == {"test"}
    # Two segments of the talk that is no audio, and one that ends after its talk.
    assert len(told) == 3 and any("BillGates_2010.sph has no 0.5-3.5 s" in message for message in told)
    assert not list(place.rglob("*.part"))


def test_files_that_are_bad(tmp_path: Path) -> None:
    fsdd(tmp_path)
    place = tmp_path / "free-spoken-digit-dataset-1.0.10" / "recordings"
    (place / "7_jackson_0.wav").write_bytes(b"no audio")
    soundfile.write(place / "7_jackson_4.wav", np.zeros(0), 8_000)
    with pytest.raises(SottovoceError, match=r"7_jackson_0.wav is no audio"):
        prepare("fsdd", tmp_path)
    assert not (tmp_path / "manifest.jsonl").exists()
    told: list[str] = []
    rows = read_manifest(prepare("fsdd", tmp_path, on_bad=told.append))
    assert len(rows) == 4 and [message.split("recordings/")[1].split()[0] for message in told] == [
        "7_jackson_0.wav",
        "7_jackson_4.wav",
    ]
    # What a list names and the folder lacks.
    fluent(tmp_path / "fluent")
    next((tmp_path / "fluent").rglob("test.wav")).unlink()
    with pytest.raises(SottovoceError, match=r"there is no audio file .*test.wav"):
        prepare("fluent", tmp_path / "fluent")


@pytest.mark.parametrize("name", sorted(CORPORA.keys() - {"librispeech", "emodb"}))
def test_lists_that_are_not_as_published(tmp_path: Path, name: str) -> None:
    LAYOUTS[name][0](tmp_path)
    if name == "fsdd":
        wav(next(tmp_path.rglob("recordings")) / "7-jackson-1.wav")
    lists = [path for path in tmp_path.rglob("*") if path.suffix in (".txt", ".jsonl", ".stm", ".csv", ".scp")]
    for path in lists:
        path.write_bytes(b"\xff\xfe what is this\n")
    with pytest.raises(SottovoceError, match=f"the lists of {name} in .* cannot be read"):
        prepare(name, tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SottovoceError, match="unknown corpus 'librispech'; did you mean 'librispeech'"):
        prepare("librispech", tmp_path)
    with pytest.raises(SottovoceError, match="there is no folder"):
        prepare("fsdd", tmp_path / "none")
    for name, corpus in CORPORA.items():
        with pytest.raises(SottovoceError, match="nothing in .* that can be used") as caught:
            prepare(name, tmp_path)
        assert corpus.layout in str(caught.value) and (corpus.terms or "download=True") in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(SottovoceError, match="unknown part of librispeech 'dev-claen'; did you mean 'dev-clean'"):
        prepare("librispeech", tmp_path, parts=["dev-claen"])
    for name in ("voxceleb1", "fluent", "iemocap"):
        with pytest.raises(SottovoceError, match="cannot be downloaded without its licence"):
            prepare(name, tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_parts_are_a_choice(tmp_path: Path) -> None:
    """Only by what lies below the folder, whatever the folder itself is called."""
    librispeech(tmp_path / "dev-clean")
    for parts, splits in ((["dev-clean"], {"dev"}), (["test-other", "train-clean-100"], {"test", "train"})):
        manifest = prepare("librispeech", tmp_path / "dev-clean", parts=parts, overwrite=True)
        assert {row.split for row in read_manifest(manifest)} == splits


def archived(source: Path, target: Path) -> None:
    """Pack the content of a folder."""
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as packed:
            for path in sorted(source.rglob("*")):
                packed.write(path, path.relative_to(source))
    else:
        with tarfile.open(target, "w:gz") as packed:
            packed.add(source, ".")


DOWNLOADS: dict[str, list[tuple[str, str]]] = {
    "emodb": [("download.zip", "")],
    "fsdd": [("v1.0.10.tar.gz", "")],
    "speech-commands-v0.02": [("speech_commands_v0.02.tar.gz", "speech_commands_v0.02")],
    "speech-commands-superb": [
        ("speech_commands_v0.01.tar.gz", "speech_commands_v0.01"),
        ("speech_commands_test_set_v0.01.tar.gz", "speech_commands_test_set_v0.01"),
    ],
    "speechocean762": [("speechocean762.tar.gz", "")],
    "tedlium3": [("TEDLIUM_release-3.tgz", "")],
}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_download_unpack_and_list(tmp_path: Path, server: tuple[str, Path, list[str]], name: str) -> None:
    url, web, asked = server
    make, expected = LAYOUTS[name]
    make(tmp_path / "made")
    published = [archive.url.rpartition("/")[2] for archive in (CORPORA[name].archives or {})["all"]]
    assert published == [file for file, _ in DOWNLOADS[name]]
    for file, top in DOWNLOADS[name]:
        archived(tmp_path / "made" / top, web / file)
    archives = {"all": tuple(Archive(f"{url}/{file}") for file, _ in DOWNLOADS[name])}
    corpus = replace(CORPORA[name], archives=archives)
    manifest = prepare(corpus, tmp_path / "corpus", download=True)
    assert facts(read_manifest(manifest)) == expected and check(manifest).bad == ()
    assert [path for path in (tmp_path / "corpus").iterdir() if path.is_file()] == [manifest]
    assert len(asked) == len(DOWNLOADS[name])
    prepare(corpus, tmp_path / "corpus", download=True)
    assert len(asked) == len(DOWNLOADS[name])


def test_download_of_slurp(tmp_path: Path, server: tuple[str, Path, list[str]]) -> None:
    """Its lists and its audio come from two places."""
    url, web, _ = server
    slurp(tmp_path / "made" / "slurp-8eb1654")
    (tmp_path / "made" / "slurp-8eb1654" / "audio").rename(tmp_path / "audio")
    archived(tmp_path / "made", web / "8eb1654.tar.gz")
    archived(tmp_path / "audio", web / "slurp_real.tar.gz")
    archives = {"all": (Archive(f"{url}/8eb1654.tar.gz"), Archive(f"{url}/slurp_real.tar.gz"))}
    corpus = replace(CORPORA["slurp"], archives=archives)
    rows = read_manifest(prepare(corpus, tmp_path / "corpus", download=True))
    assert facts(rows) == LAYOUTS["slurp"][1]


def test_download_of_missing_parts(tmp_path: Path, server: tuple[str, Path, list[str]]) -> None:
    url, web, asked = server
    librispeech(tmp_path / "made")
    names = ("dev-clean", "test-other", "train-clean-100")
    for part in names:
        place = tmp_path / part / "LibriSpeech" / part
        place.parent.mkdir(parents=True)
        (tmp_path / "made" / "LibriSpeech" / part).rename(place)
        archived(tmp_path / part, web / f"{part}.tar.gz")
    corpus = replace(CORPORA["librispeech"], archives={part: (Archive(f"{url}/{part}.tar.gz"),) for part in names})
    # One part has been unpacked by hand, in another place than this program would.
    (tmp_path / "corpus").mkdir()
    (tmp_path / "test-other" / "LibriSpeech").rename(tmp_path / "corpus" / "LibriSpeech")
    manifest = prepare(corpus, tmp_path / "corpus", parts=["dev-clean", "test-other"], download=True)
    assert {row.split for row in read_manifest(manifest)} == {"dev", "test"} and asked == ["/dev-clean.tar.gz"]
    before = manifest.read_bytes()
    with pytest.raises(SottovoceError, match=r"would change with what is to be fetched \(train-clean-100\); give"):
        prepare(corpus, tmp_path / "corpus", download=True)
    assert manifest.read_bytes() == before and len(asked) == 1, "refused before an hour of downloading"
    prepare(corpus, tmp_path / "corpus", download=True, overwrite=True)
    assert facts(read_manifest(manifest)) == LAYOUTS["librispeech"][1] and asked[1:] == ["/train-clean-100.tar.gz"]


def test_an_archive_that_was_there_before_stays(tmp_path: Path, server: tuple[str, Path, list[str]]) -> None:
    url, _, asked = server
    fsdd(tmp_path / "made")
    (tmp_path / "corpus").mkdir()
    mine = tmp_path / "corpus" / "v1.0.10.tar.gz"
    archived(tmp_path / "made", mine)
    content = mine.read_bytes()
    right = f"sha256:{hashlib.sha256(content).hexdigest()}"
    for checksum in (f"sha256:{'0' * 64}", right):
        corpus = replace(CORPORA["fsdd"], archives={"all": (Archive(f"{url}/v1.0.10.tar.gz", checksum),)})
        if checksum != right:
            with pytest.raises(SottovoceError, match="v1.0.10.tar.gz' is not the archive that .* move it away"):
                prepare(corpus, tmp_path / "corpus", download=True)
            assert list((tmp_path / "corpus").iterdir()) == [mine]
        else:
            prepare(corpus, tmp_path / "corpus", download=True)
    assert mine.read_bytes() == content and not asked


def test_a_manifest_that_is_there_is_not_changed_unasked(tmp_path: Path) -> None:
    emodb(tmp_path)
    manifest = prepare("emodb", tmp_path)
    before = manifest.stat().st_mtime_ns
    assert prepare("emodb", tmp_path) == manifest and manifest.stat().st_mtime_ns == before, "the same is left alone"
    with open(manifest, "a") as file:
        file.write("\n")
    with pytest.raises(SottovoceError, match=r"manifest.jsonl' is there with other content; give another folder, or"):
        prepare("emodb", tmp_path)
    assert manifest.read_bytes().endswith(b"\n\n")
    prepare("emodb", tmp_path, overwrite=True)
    assert not manifest.read_bytes().endswith(b"\n\n")


def test_a_preparation_that_was_killed_leaves_nothing(tmp_path: Path) -> None:
    tedlium3(tmp_path)
    place = tmp_path / "TEDLIUM_release-3" / "segments" / "train" / "AlGore_2009"
    place.mkdir(parents=True)
    script = (
        "from pathlib import Path; from sottovoce.files.leftovers import sibling\n"
        f"for name in ({str(tmp_path / 'manifest.jsonl')!r}, {str(place / 'x.flac')!r}):\n"
        "    sibling(Path(name), 'part').write_text('half')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert len(list(tmp_path.rglob("*.part"))) == 2
    prepare("tedlium3", tmp_path)
    assert not list(tmp_path.rglob("*.part")) and len(list(place.iterdir())) == 2


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("id", 3, "'id' is 3, but a string is wanted"),
        ("speaker", ["a"], "'speaker' is ['a'], but a string is wanted"),
        ("duration", 1e300, "has 1e+300 seconds"),
        ("duration", "long", "has 'long' seconds, but up to 1e+06 are wanted"),
        ("path", "../../secret.wav", "leads out of"),
        ("path", "/etc/passwd", "cannot be read"),
        ("path", "a\0b", "null character"),
        ("id", "\ud800", "lone surrogate"),
        ("text", [[[[]]] * 2] * 9, "'text' is"),
    ],
)
def test_lists_of_other_things(tmp_path: Path, column: str, value: object, words: str) -> None:
    """What a list says must be fit for a manifest, also where none is written."""
    speech_mini(tmp_path)
    path = tmp_path / "speech-mini" / "manifests" / "slu.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | {column: value}))
    with pytest.raises(SottovoceError) as caught:
        read_data(f"speech-mini@{tmp_path}")
    assert words in str(caught.value) and "the lists of speech-mini" in str(caught.value)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5000, b"\xff", b"null", b"[]"])
@pytest.mark.parametrize("listed", ["dataset/slurp/train.jsonl", "dataset/slurp/metadata.json"])
def test_json_that_is_damaged(tmp_path: Path, listed: str, content: bytes) -> None:
    slurp(tmp_path)
    (tmp_path / listed).write_bytes(content)
    with pytest.raises(SottovoceError, match="the lists of slurp in .* cannot be read") as caught:
        prepare("slurp", tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize(("name", "pattern"), [("fluent", "*.csv"), ("librispeech", "*.txt"), ("slurp", "devel.jsonl")])
def test_a_pipe_for_a_list(tmp_path: Path, name: str, pattern: str) -> None:
    LAYOUTS[name][0](tmp_path)
    found = next(tmp_path.rglob(f"*/{pattern}"))
    found.unlink()
    os.mkfifo(found)
    with pytest.raises(SottovoceError, match="is a pipe, but the list is an ordinary file"):
        prepare(name, tmp_path)


def test_a_csv_list_with_an_endless_field(tmp_path: Path) -> None:
    fluent(tmp_path)
    path = next(tmp_path.rglob("test_data.csv"))
    path.write_text(path.read_text() + '"' + "a" * 200_000)
    with pytest.raises(SottovoceError, match="the lists of fluent in .* field larger than field limit"):
        prepare("fluent", tmp_path)


def test_a_folder_that_may_not_be_read_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    librispeech(tmp_path)
    real = os.listdir

    def closed(path: Path) -> list[str]:
        if Path(path).name == "test-other":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", closed)
    said = r"^librispeech cannot be read: the system refused '.*test-other': Permission denied; ask for the right"
    with pytest.raises(SottovoceError, match=said):
        prepare("librispeech", tmp_path)


def test_an_id_that_comes_twice(tmp_path: Path) -> None:
    emodb(tmp_path)
    (tmp_path / "wav" / "03a01Fa.wav").rename(tmp_path / "x.wav")
    speech_mini(tmp_path)
    path = tmp_path / "speech-mini" / "manifests" / "slu.jsonl"
    path.write_text(path.read_text() * 2)
    with pytest.raises(SottovoceError, match="the id 'slu-1' stands twice in the lists"):
        prepare("speech-mini", tmp_path)
    told: list[str] = []
    assert len(read_manifest(prepare("speech-mini", tmp_path, on_bad=told.append))) == 7 and len(told) == 1


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SottovoceError, match="file' is a file, but a folder with free-spoken"):
        read_data(f"fsdd@{tmp_path / 'file'}")
    with pytest.raises(SottovoceError, match="cannot write '.*file/manifest.jsonl': '.*file' is no folder"):
        prepare("fsdd", tmp_path / "file")
    with pytest.raises(SottovoceError, match="the folder of fsdd is empty; give a path"):
        prepare("fsdd", "")
    with pytest.raises(SottovoceError, match="voxceleb1 has no parts, but 'dev' is wanted; leave it out"):
        prepare("voxceleb1", tmp_path, parts=["dev"])


def test_a_download_that_is_not_what_was_expected(tmp_path: Path, server: tuple[str, Path, list[str]]) -> None:
    url, web, _ = server
    fsdd(tmp_path / "made")
    archived(tmp_path / "made", web / "v1.0.10.tar.gz")
    archive = Archive(f"{url}/v1.0.10.tar.gz", f"sha256:{'0' * 64}")
    with pytest.raises(SottovoceError, match="not the file that was expected"):
        prepare(replace(CORPORA["fsdd"], archives={"all": (archive,)}), tmp_path / "corpus", download=True)
    assert list((tmp_path / "corpus").iterdir()) == []


def test_check_tells_what_there_is_and_what_is_bad(tmp_path: Path) -> None:
    fsdd(tmp_path)
    manifest = prepare("fsdd", tmp_path)
    hours: Any = pytest.approx(2 * 0.1 / 3600)
    whole = tuple(Part("keywords", split, 2, hours, 1) for split in ("dev", "test", "train"))
    assert check(manifest).parts == whole
    place = tmp_path / "free-spoken-digit-dataset-1.0.10" / "recordings"
    soundfile.write(place / "7_jackson_0.wav", np.zeros(800), 8_000)
    wav(place / "7_jackson_10.wav", 0.3, 8_000)
    (place / "7_jackson_5.wav").unlink()
    with open(manifest, "a", encoding="utf-8") as file:
        file.write("{}\n")
    told: list[str] = []
    checked = check(manifest, on_bad=told.append)
    assert checked.bad == tuple(told) and len(told) == 4
    for words in ("line 7", "7_jackson_0.wav is silent", "no audio file", "is 0.30 s long, but '7_jackson_10' says"):
        assert sum(words in message for message in told) == 1
    assert [part.utterances for part in checked.parts] == [1, 1, 1]
    moved = (tmp_path / "elsewhere.jsonl").absolute()
    manifest.rename(moved)
    assert check(moved, root=tmp_path).parts == checked.parts


def test_nobody_is_no_speaker(tmp_path: Path) -> None:
    superb_commands(tmp_path)
    parts = check(prepare("speech-commands-superb", tmp_path)).parts
    assert [(part.split, part.utterances, part.speakers) for part in parts] == [
        ("dev", 4, 1),
        ("test", 3, 1),
        ("train", 11, 1),
    ]


def real() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared" / "speech-mini"
    if not folder.is_dir():
        pytest.skip("speech-mini is not beside the project")
    return folder


def test_the_manifest_may_lie_elsewhere(tmp_path: Path) -> None:
    emodb(tmp_path / "emodb")
    manifest = prepare("emodb", tmp_path / "emodb", manifest=tmp_path / "lists" / "emodb.jsonl")
    assert not (tmp_path / "emodb" / "manifest.jsonl").exists()
    assert facts(read_manifest(manifest, root=tmp_path / "emodb")) == LAYOUTS["emodb"][1]
    assert check(manifest, root=tmp_path / "emodb").bad == ()


def test_real_recordings_are_what_their_lists_say() -> None:
    folder = real()
    rows = list(CORPORA["speech-mini"].read(folder))
    listed: Counter[tuple[str | None, str | None]] = Counter()
    for name in ("asr", *MINI):
        for line in (folder / "manifests" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            listed[MINI.get(name), json.loads(line)["split"]] += 1
    assert Counter((row.task, row.split) for row in rows) == listed and len({row.id for row in rows}) == len(rows)
    aligned = (folder / "alignments" / "english_pocketsphinx.jsonl").read_text(encoding="utf-8").splitlines()
    with_phones = [row for row in rows if row.phones]
    assert len(with_phones) == len(aligned) and all(row.task is None and row.text for row in with_phones)
    for row in with_phones:
        ends = [(phone.start, phone.end) for phone in row.phones or ()]
        assert all(0 <= start < end <= row.seconds for start, end in ends)
        assert all(first[1] == second[0] for first, second in zip(ends, ends[1:], strict=False))
        assert ends[-1][1] > row.seconds - 0.02
    tasks = {row.task: row for row in rows}
    assert all(row.label for row in rows if row.task not in (None, "unlabelled")) and len(tasks) == 7
    for row in rows[::401]:
        assert len(read_audio(Path(str(row.audio)))) / 16_000 == pytest.approx(row.seconds, abs=0.02)


class FakeRows:
    """As much of a Hub dataset as is used here."""

    def __init__(self, rows: list[dict[str, object]], features: dict[str, object]) -> None:
        self.rows, self.features = rows, features

    @property
    def column_names(self) -> list[str]:
        return list(self.features)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, object]]:
        return iter(self.rows)

    def cast_column(self, name: str, feature: object) -> "FakeRows":
        return FakeRows(self.rows, self.features | {name: feature})


class Audio:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class ClassLabel:
    names = ("neutral", "angry")


def encoded(seconds: float, rate: int, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(seconds, rate), rate, format=kind)
    return buffer.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, FakeRows]:
    features = {"audio": Audio(), "sentence": "string", "client_id": "string", "emotion": ClassLabel()}
    path = str(wav(tmp_path / "cache" / "c.wav", 0.4))
    rows: list[dict[str, object]] = [
        {"audio": {"bytes": encoded(0.2, 48_000), "path": "a.wav"}, "sentence": "a", "client_id": 7, "emotion": 1},
        {"audio": {"bytes": b"nothing", "path": "b.wav"}, "sentence": "b", "client_id": 7, "emotion": 1},
        {"audio": {"bytes": None, "path": path}, "sentence": None, "client_id": 8, "emotion": -1},
    ]
    sets = {"train": FakeRows(rows, features), "validation": FakeRows(rows[:1], features)}

    def load_dataset(id: str, config: str | None, split: str | None) -> object:
        if id != "someone/speech":
            raise FileNotFoundError(f"no dataset\n{id}")
        return sets if split is None else sets[split]

    fake = types.ModuleType("datasets")
    fake.__dict__.update(Audio=Audio, load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return sets


def test_a_hub_dataset_becomes_files_and_a_manifest(tmp_path: Path, hub: dict[str, FakeRows]) -> None:
    told: list[str] = []
    folder = tmp_path / "out"
    manifest = from_hub_dataset("someone/speech", folder=folder, task="emotion", license="CC0-1.0", on_bad=told.append)
    rows = read_manifest(manifest)
    assert facts(rows) == {
        "train/0000000": ("train", "7", "angry", "a"),
        "train/0000002": ("train", "8", None, None),
        "validation/0000000": ("dev", "7", "angry", "a"),
    }
    assert [row.seconds for row in rows] == pytest.approx([0.2, 0.4, 0.2], abs=1e-3)
    assert {(row.task, row.license, Path(str(row.audio)).suffix) for row in rows} == {("emotion", "CC0-1.0", ".flac")}
    assert len(told) == 1 and "row 1 of someone/speech, train is no audio" in told[0] and check(manifest).bad == ()


def test_a_hub_dataset_by_its_columns(tmp_path: Path, hub: dict[str, FakeRows]) -> None:
    load = partial(from_hub_dataset, "someone/speech", folder=tmp_path / "out", split="validation")
    rows = read_manifest(load(text="client_id", label="sentence"))
    assert facts(rows) == {"validation/0000000": ("dev", "7", "a", "7")}
    files = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "out").rglob("*.*")}
    load(text="client_id", label="sentence")
    with pytest.raises(SottovoceError, match="manifest.jsonl' is there with other content"):
        load(text="client_id")
    with pytest.raises(SottovoceError, match="lists 'validation/0000000', which is no row of what is to be written"):
        from_hub_dataset("someone/speech", folder=tmp_path / "out", split="train")
    assert files == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "out").rglob("*.*")}
    other = next(path for path in files if path.suffix == ".flac")
    other.write_bytes(b"mine")
    with pytest.raises(SottovoceError, match="0000000.flac' is there with other content"):
        load(text="client_id", label="sentence", on_bad=lambda message: None)
    assert other.read_bytes() == b"mine"
    load(text="client_id", overwrite=True)
    assert other.read_bytes() == files[other][1]
    with pytest.raises(SottovoceError, match="unknown column 'sentense'; did you mean 'sentence'"):
        load(text="sentense")
    del hub["validation"].features["audio"]
    with pytest.raises(SottovoceError, match="no column of audio is among sentence"):
        load()


def test_faults_of_a_hub_dataset(tmp_path: Path, hub: dict[str, FakeRows], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SottovoceError, match="row 1 of someone/speech, train is no audio"):
        from_hub_dataset("someone/speech", split="train", folder=tmp_path / "out")
    with pytest.raises(SottovoceError, match="'someone/else' cannot be loaded .no dataset someone/else."):
        from_hub_dataset("someone/else", folder=tmp_path / "out")
    hub["validation"].rows.clear()
    with pytest.raises(SottovoceError, match="no row that can be used"):
        from_hub_dataset("someone/speech", split="validation", folder=tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SottovoceError, match=r"pip install sottovoce\[datasets\]"):
        from_hub_dataset("someone/speech", folder=tmp_path / "out")


def test_speakers_of_speech_commands_are_those_who_said_much(tmp_path: Path) -> None:
    speakers_commands(tmp_path)
    found = read_data(f"speech-commands-speakers@{tmp_path}")
    assert {u.label for u in found} == {u.speaker for u in found} == {"0a7c2a8d", "1b2c3d4e"}
    counts = Counter((u.label, u.split) for u in found)
    assert set(counts.values()) == {5, 40} and len(found) == 100 and {u.task for u in found} == {"speakers"}
    assert [u.split for u in found] == [u.split for u in read_data(f"speech-commands-speakers@{tmp_path}")]


def test_a_corpus_is_read_by_its_own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published or prepared: test-clean alone, and not with test-other, whose split has the same name."""
    librispeech(tmp_path / "librispeech")
    whole = read_data(f"librispeech@{tmp_path / 'librispeech'}")
    parts = {str(u.audio).split("LibriSpeech/")[1].split("/")[0] for u in whole}
    for part in sorted(parts):
        found = read_data(f"librispeech:{part}@{tmp_path / 'librispeech'}")
        assert found and all(f"/{part}/" in str(u.audio) for u in found)
    prepare("librispeech", tmp_path / "librispeech")
    monkeypatch.setenv("SOTTOVOCE_DATA", str(tmp_path))
    assert [u.id for u in read_data("librispeech:" + min(parts))] == [
        u.id for u in read_data(f"librispeech:{min(parts)}@{tmp_path / 'librispeech'}")
    ]
    missing = next(part for part in CORPORA["librispeech"].parts if part not in parts)
    for name, words in (
        ("librispeech:test-claen", "unknown part of librispeech 'test-claen'; did you mean 'test-clean'"),
        (f"librispeech:{missing}", f"has nothing of the part {missing}"),
        ("fsdd:test", "fsdd has none of its own"),
    ):
        with pytest.raises(SottovoceError, match=words):
            read_data(name)
