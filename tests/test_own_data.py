"""One's own data: each format as the tool that it comes from writes it, read, prepared, split, and refused."""

import csv
import gzip
import json
import os
import re
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from speech import RATE, toys
from test_cli import run

import sottovoce as sv
from sottovoce.data.audio import read_audio
from sottovoce.data.own.detect import detect
from sottovoce.data.own.read import prepare_own
from sottovoce.data.own.splits import divide
from sottovoce.data.utterance import Phone, Utterance, manifest_hash, parse_own, read_manifest, write_manifest
from sottovoce.errors import SottovoceError
from sottovoce.progress import told_to
from sottovoce.tasks.task import material

TOYS = toys(6, 3, 3)


def wav(path: Path, samples: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), samples, RATE, **options)
    return path


def sound(index: int = 0) -> np.ndarray:
    return np.asarray(TOYS[index].audio)


def jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def table(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def nemo(folder: Path) -> Path:
    for split in ("train", "dev", "test"):
        rows = [toy for toy in TOYS if toy.split == split]
        records = [
            {
                "audio_filepath": str(wav(folder.absolute() / "wavs" / f"{toy.id}.wav", np.asarray(toy.audio))),
                "duration": round(toy.seconds, 3),
                "text": toy.text,
                "speaker": toy.speaker,
                "command": toy.label,
                "lang": "en",
            }
            for toy in rows
        ]
        jsonl(folder / f"{split}_manifest.json", records)
    return folder


def long_recording(folder: Path) -> list[float]:
    """All toys in one file, and where each begins."""
    wav(folder / "long.wav", np.concatenate([np.asarray(toy.audio) for toy in TOYS]), subtype="FLOAT")
    return [sum(toy.seconds for toy in TOYS[:index]) for index in range(len(TOYS))]


def nemo_pieces(folder: Path) -> Path:
    starts = long_recording(folder)
    records = [
        {
            "audio_filepath": "long.wav",
            "offset": start,
            "duration": toy.seconds,
            "text": toy.text,
            "speaker": toy.speaker,
        }
        for toy, start in zip(TOYS, starts, strict=True)
    ]
    jsonl(folder / "all.jsonl", records)
    return folder


def kaldi(folder: Path) -> Path:
    for split in ("train", "dev", "test"):
        rows = [toy for toy in TOYS if toy.split == split]
        place = folder / split
        for toy in rows:
            wav(place / "wav" / f"{toy.id}.wav", np.asarray(toy.audio))
        (place / "wav.scp").write_text("".join(f"{toy.id} wav/{toy.id}.wav\n" for toy in rows))
        (place / "text").write_text("".join(f"{toy.id} {toy.text}\n" for toy in rows))
        (place / "utt2spk").write_text("".join(f"{toy.id} {toy.speaker}\n" for toy in rows))
        (place / "spk2utt").write_text("ignored\n")
    return folder


def kaldi_pieces(folder: Path) -> Path:
    starts = long_recording(folder)
    (folder / "wav.scp").write_text("long long.wav\n")
    rows = list(zip(TOYS, starts, strict=True))
    (folder / "segments").write_text("".join(f"{t.id} long {s:.4f} {s + t.seconds:.4f}\n" for t, s in rows))
    (folder / "text").write_text("".join(f"{toy.id} {toy.text}\n" for toy in TOYS))
    (folder / "utt2spk").write_text("".join(f"{toy.id} {toy.speaker}\n" for toy in TOYS))
    return folder


def recording(name: str, source: str, seconds: float, **other: Any) -> dict[str, Any]:
    sources = [{"type": "file", "channels": [0], "source": source}]
    count = round(seconds * RATE)
    return {"id": name, "sources": sources, "sampling_rate": RATE, "num_samples": count, "duration": seconds, **other}


def lhotse(folder: Path) -> Path:
    for split in ("train", "dev", "test"):
        rows = [toy for toy in TOYS if toy.split == split]
        for toy in rows:
            wav(folder / "wav" / f"{toy.id}.wav", np.asarray(toy.audio))
        recordings = [recording(f"rec-{toy.id}", f"wav/{toy.id}.wav", toy.seconds) for toy in rows]
        said = [
            {
                **{"id": toy.id, "recording_id": f"rec-{toy.id}", "start": 0.0, "duration": toy.seconds, "channel": 0},
                **{"text": toy.text, "language": "English", "speaker": toy.speaker, "custom": {"command": toy.label}},
            }
            for toy in rows
        ]
        jsonl(folder / f"toy_recordings_{split}-clean.jsonl.gz", recordings)
        jsonl(folder / f"toy_supervisions_{split}-clean.jsonl.gz", said)
    return folder


def cuts(folder: Path) -> Path:
    starts = long_recording(folder)
    whole = recording("long", "long.wav", starts[-1] + TOYS[-1].seconds)
    records = [
        {
            **{"id": toy.id, "start": start, "duration": toy.seconds, "channel": 0, "type": "MonoCut"},
            "recording": whole,
            "supervisions": [{"id": f"s-{toy.id}", "start": 0.0, "text": toy.text, "speaker": toy.speaker}],
        }
        for toy, start in zip(TOYS[:-2], starts[:-2], strict=True)
    ]
    both = [
        {"id": toy.id, "start": start - starts[-2], "duration": toy.seconds, "text": toy.text, "speaker": toy.speaker}
        for toy, start in zip(TOYS[-2:], starts[-2:], strict=True)
    ]
    last = {"id": "both", "start": starts[-2], "duration": TOYS[-2].seconds + TOYS[-1].seconds, "channel": 0}
    jsonl(folder / "cuts.jsonl.gz", [*records, {**last, "recording": whole, "supervisions": both}])
    return folder


def audiofolder(folder: Path) -> Path:
    for split, name in (("train", "train"), ("dev", "validation"), ("test", "test")):
        rows = [toy for toy in TOYS if toy.split == split]
        for toy in rows:
            wav(folder / name / f"{toy.id}.wav", np.asarray(toy.audio))
        said = [
            {"file_name": f"{toy.id}.wav", "transcription": toy.text, "speaker_id": toy.speaker, "label": toy.label}
            for toy in rows
        ]
        if split == "dev":
            jsonl(folder / name / "metadata.jsonl", said)
        else:
            table(folder / name / "metadata.csv", said)
    return folder


def audiofolder_one_list(folder: Path) -> Path:
    names = {"train": "train", "dev": "validation", "test": "test"}
    said: list[dict[str, Any]] = []
    for toy in TOYS:
        name = f"{names[str(toy.split)]}/{toy.id}.wav"
        wav(folder / name, np.asarray(toy.audio))
        said.append({"file_name": name, "text": toy.text, "speaker": toy.speaker, "label": toy.label})
    jsonl(folder / "metadata.jsonl", said)
    return folder


def class_folders(folder: Path) -> Path:
    for toy in TOYS:
        name = "validation" if toy.split == "dev" else str(toy.split)
        wav(folder / name / str(toy.label) / f"{toy.id}.wav", np.asarray(toy.audio))
    return folder


def common_voice(folder: Path) -> Path:
    for split in ("train", "dev", "test"):
        rows = [toy for toy in TOYS if toy.split == split]
        said: list[dict[str, Any]] = []
        for toy in rows:
            wav(folder / "clips" / f"{toy.id}.mp3", np.asarray(toy.audio), format="MP3")
            said.append({"client_id": toy.speaker, "path": f"{toy.id}.mp3", "sentence": f'"{toy.text}', "age": ""})
        lines = ["\t".join(said[0]), *("\t".join(str(value) for value in row.values()) for row in said)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "validated.tsv").write_text("client_id\tpath\tsentence\tage\n")
    (folder / "reported.tsv").write_text("sentence\treason\n")
    return folder


def semicolons(folder: Path) -> Path:
    rows = [
        {"File": f"wavs/{toy.id}.wav", "Transcript": f"{toy.text}; twice", "Class": toy.label, "speaker": toy.speaker}
        | {"Split": {"dev": "valid"}.get(str(toy.split), toy.split), "seconds": f"{toy.seconds:.2f}"}
        for toy in TOYS
    ]
    for toy in TOYS:
        wav(folder / "wavs" / f"{toy.id}.wav", np.asarray(toy.audio))
    table(folder / "list.csv", rows, ";")
    (folder / "list.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "list.csv").read_bytes())
    return folder


def hand_written(folder: Path) -> Path:
    records: list[dict[str, Any]] = [
        {"id": toy.id, "path": f"{toy.id}.wav", "text": toy.text, "speaker": toy.speaker, "split": toy.split}
        | {"label": toy.label, "room": "hall"}
        for toy in TOYS
    ]
    records[1] = {"audio_filepath": records[1].pop("path"), "duration": TOYS[1].seconds, **records[1]}
    for toy in TOYS:
        wav(folder / f"{toy.id}.wav", np.asarray(toy.audio))
    jsonl(folder / "manifest.jsonl", records)
    return folder


WHOLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nemo": (nemo, "nemo"),
    "kaldi": (kaldi, "kaldi"),
    "lhotse": (lhotse, "lhotse"),
    "audiofolder": (audiofolder, "audiofolder"),
    "audiofolder of one list": (audiofolder_one_list, "audiofolder"),
    "class folders": (class_folders, "folders"),
    "common voice": (common_voice, "table"),
    "semicolons": (semicolons, "table"),
    "hand-written": (hand_written, "manifest"),
}
PIECES = {"nemo": nemo_pieces, "kaldi": kaldi_pieces, "cuts": cuts}


def key(utterance: Utterance) -> str:
    """The toy of an utterance, whatever a format makes of its id."""
    return Path(utterance.id).name


@pytest.mark.parametrize("name", WHOLE)
def test_every_format_is_read_and_prepared(tmp_path: Path, name: str) -> None:
    make, format = WHOLE[name]
    folder = make(tmp_path / "data")
    assert detect(folder).format == format
    found = sv.read_data(folder)
    known = {toy.id: toy for toy in TOYS}
    assert sorted(key(one) for one in found) == sorted(known)
    for one in found:
        toy = known[key(one)]
        assert one.split == toy.split and one.seconds == pytest.approx(toy.seconds, abs=0.05)
        if name != "class folders":
            assert one.text is not None and str(toy.text) in one.text and one.speaker == toy.speaker
        if name not in ("kaldi", "common voice"):
            assert one.label == toy.label
        audio = read_audio(Path(str(one.audio)))
        assert np.corrcoef(audio[: len(sound())], np.asarray(toy.audio)[: len(audio)][: len(sound())])[0, 1] > 0.9
    told = prepare_own(folder, overwrite=True)
    assert (told.utterances, told.splits, told.pieces) == (12, {"dev": 3, "test": 3, "train": 6}, 0)
    again = sv.read_data(folder)
    assert [replace(one, audio=Path()) for one in again] == [replace(one, audio=Path()) for one in found]
    assert [one.meta for one in again] == [one.meta for one in found]
    assert read_manifest(folder / "manifest.jsonl") == again, "what was prepared is a strict manifest"
    assert prepare_own(folder).utterances == 12, "the same again needs no --overwrite"


def test_what_no_column_is_for_is_kept(tmp_path: Path) -> None:
    assert {json.dumps(dict(one.meta or {})) for one in sv.read_data(nemo(tmp_path / "nemo"))} == {'{"lang": "en"}'}
    assert sv.read_data(lhotse(tmp_path / "lhotse"))[0].meta == {"language": "English"}
    folder = hand_written(tmp_path / "ours")
    assert sv.read_data(folder)[1].meta == {"room": "hall"}
    prepare_own(folder, overwrite=True)
    assert json.loads((folder / "manifest.jsonl").read_text().splitlines()[1])["meta"] == {"room": "hall"}
    assert "room" in (folder / "manifest.jsonl.original").read_text(), "what somebody wrote is not lost"


def test_runs_of_data_that_was_there_before_keep_their_hashes() -> None:
    first = Utterance("a", Path("a.wav"), 1.0, text="x", speaker="s", label="yes", split="train")
    phones = (Phone("AH", 0.0, 0.5),)
    second = Utterance("b", Path("b.wav"), 2.5, phones=phones, task="keywords", license="CC0-1.0")
    assert manifest_hash([first, second]) == "ef699c43d17c", "as it was before utterances had meta"
    noted = replace(first, meta={"room": "hall"})
    assert noted == first and hash(noted) == hash(first) and manifest_hash([noted, second]) == "ef699c43d17c"


def test_meta_is_an_object(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [Utterance("a", tmp_path / "a.wav", 1.0, meta={"room": "hall"})])
    assert read_manifest(tmp_path / "m.jsonl")[0].meta == {"room": "hall"}
    with pytest.raises(SottovoceError, match=r"'meta' is 'hall', but an object is wanted"):
        parse_own('{"id": "a", "path": "a.wav", "meta": "hall"}', tmp_path)
    wav(tmp_path / "a.wav", sound())
    line = {"id": "a", "path": "a.wav", "seconds": 3.0}
    jsonl(tmp_path / "manifest.jsonl", [line])
    with pytest.raises(SottovoceError, match=r"several lists, and none is named as a split: m\.jsonl, manifest\.jsonl"):
        prepare_own(tmp_path)
    (tmp_path / "m.jsonl").unlink()
    assert sv.read_data(tmp_path)[0].seconds == 3.0, "no header is opened where a length is given"
    with pytest.raises(SottovoceError, match=r"'a' of .* is 0.40 s long, but the list says 3.00 s; correct it"):
        prepare_own(tmp_path)
    with pytest.raises(SottovoceError, match="'duration' and 'seconds' say the same"):
        parse_own('{"id": "a", "path": "a.wav", "duration": 1.0, "seconds": 1.0}', tmp_path)


@pytest.mark.parametrize("name", PIECES)
def test_pieces_are_cut_once(tmp_path: Path, name: str) -> None:
    folder = PIECES[name](tmp_path / "data")
    with pytest.raises(
        SottovoceError, match=r"is a piece of a longer recording; run `sottovoce corpus prepare .*data`"
    ):
        sv.read_data(folder)
    told = prepare_own(folder)
    assert (told.utterances, told.pieces, told.speakers) == (12, 12, 3) and "80/10/10 by speaker" in told.made_splits
    found = sv.read_data(folder)
    for one, toy in zip(found, TOYS, strict=True):
        assert (one.text, one.speaker) == (toy.text, toy.speaker)
        info = soundfile.info(str(one.audio))
        assert (info.format, info.subtype) == ("FLAC", "PCM_16") and Path(str(one.audio)).parent.name == "pieces"
        assert np.abs(read_audio(Path(str(one.audio))) - np.asarray(toy.audio)).max() < 2**-15
    first, second, third = (Path(str(one.audio)) for one in found[:3])
    times = first.stat().st_mtime_ns
    second.unlink()
    third.write_bytes(third.read_bytes()[:2000])
    assert prepare_own(folder).pieces == 12 and first.stat().st_mtime_ns == times
    assert np.abs(read_audio(third) - sound(2)).max() < 2**-15 and second.is_file()


def test_a_channel_is_a_piece(tmp_path: Path) -> None:
    wav(tmp_path / "two.wav", np.stack([sound(0), -0.5 * sound(0)], axis=1))
    one = recording("two", "two.wav", TOYS[0].seconds)
    one["sources"][0]["channels"] = [0, 1]
    said = [
        {"id": f"side-{side}", "recording_id": "two", "start": 0.0, "duration": TOYS[0].seconds, "channel": side}
        for side in (0, 1)
    ]
    jsonl(tmp_path / "recordings.jsonl", [one])
    jsonl(tmp_path / "supervisions.jsonl", said)
    assert prepare_own(tmp_path).pieces == 2
    first, second = (read_audio(Path(str(found.audio))) for found in sv.read_data(tmp_path))
    assert np.abs(first - sound(0)).max() < 2**-14 and np.abs(second + 0.5 * sound(0)).max() < 2**-14


def test_splits_are_drawn_by_speaker_and_seed_alone() -> None:
    groups: list[tuple[str | None, str]] = [(f"s{n % 20}", f"{n}.wav") for n in range(100)]
    splits, how = divide(groups, 3)
    of = {speaker: split for (speaker, _), split in zip(groups, splits, strict=True)}
    assert [of[speaker] for speaker, _ in groups] == splits, "each speaker is in one split"
    assert [sorted(of.values()).count(name) for name in ("train", "dev", "test")] == [16, 2, 2]
    assert how == "80/10/10 by speaker, with the seed 3"
    back = divide(groups[::-1], 3)[0]
    assert back[::-1] == splits and divide(groups, 4)[0] != splits
    assert sorted(set(divide([("a", "1"), ("b", "2")])[0])) == ["test", "train"]
    alone = divide([("a", f"{n}") for n in range(10)])
    assert "by recording, because there is one speaker alone" in alone[1] and alone[0].count("train") == 8
    some = divide([("a", "1"), ("b", "2"), (None, "3"), (None, "3")])
    assert "by recording for the 1 whose speaker is not known" in some[1] and some[0][2] == some[0][3]


def unsplit(folder: Path, names: Iterator[str] | None = None) -> Path:
    for index, name in enumerate(names or (f"{n}" for n in range(10))):
        wav(folder / ("yes" if index % 2 else "no") / f"{name}.wav", sound(index))
    return folder


def test_data_without_splits_gets_the_same_ones_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = unsplit(tmp_path / "data")
    said: list[str] = []
    with told_to(said.append):
        found = sv.read_data(folder)
    assert len(said) == 1 and "has no splits, so they are made: 80/10/10 by recording, because speakers are" in said[0]
    assert {name: len(part) for name, part in material(sv.TASKS["keywords"], found).items()} == {
        "train": 8,
        "dev": 1,
        "test": 1,
    }
    monkeypatch.chdir(tmp_path)
    assert [one.split for one in sv.read_data("data")] == [one.split for one in found]
    code, out, err = run(capsys, "corpus", "prepare", "data", "--seed", "1", "--json")
    told = json.loads(out)
    assert code == 0 and told["labels"] == {"no": 5, "yes": 5} and told["bad"] == [], err
    assert told["made_splits"].endswith("with the seed 1")
    assert [one.split for one in sv.read_data("data")] != [one.split for one in found]
    with pytest.raises(SottovoceError, match=r"--seed is of no use for 'data': it has splits"):
        prepare_own(Path("data"), seed=2)


def test_the_command_says_what_it_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    common_voice(tmp_path / "voice")
    code, out, err = run(capsys, "corpus", "prepare", "voice")
    for words in (
        "voice is a table with a header: 12 utterances, 0.00 hours",
        "splits: dev 3, test 3, train 6",
        "speakers: 3; with text: 12; labels: none",
        "left out: reported.tsv, which lists no audio",
        "left out: validated.tsv, whose name tells no split",
        "wrote voice/manifest.jsonl; use it as --data voice",
    ):
        assert words in out, (out, err)
    unsplit(tmp_path / "classes")
    wav(tmp_path / "classes/_background_noise_/a.wav", sound())
    (tmp_path / "classes/no/0.wav").write_bytes(b"RIFF")
    (tmp_path / "classes/no/9.m4a").write_bytes(b"ftyp")
    code, _, err = run(capsys, "corpus", "prepare", "classes")
    assert code == 2 and "classes/no/0.wav" in err
    code, out, err = run(capsys, "corpus", "prepare", "classes", "--skip-bad")
    assert (
        code == 0
        and "labels: yes 5, no 4" in out
        and "_background_noise_/" in out
        and "(.m4a)" in out
        and "1 left out as bad" in err
    )
    for arguments, words in (
        (["classes", "--size", "2"], "--size is of no use for classes: it is data of your own"),
        (["classes", "--download"], "--download is of no use for classes"),
        (["fsdd"], "'fsdd' is a corpus, but where it lies is not said; give CORPUS and FOLDER"),
        (["nothing"], "there is no file or folder 'nothing'"),
        (["fsdd", "x", "--follow-links"], "--follow-links is of no use for fsdd"),
        (["voice@nothing"], "'nothing' is no folder, but the audio of voice is looked for in it"),
    ):
        code, _, err = run(capsys, "corpus", "prepare", *arguments)
        assert code == 2 and words in err and len(err.splitlines()) == 1, err


def test_single_lists_and_roots(tmp_path: Path) -> None:
    folder = nemo(tmp_path / "data")
    found = sv.read_data(f"{folder / 'train_manifest.json'} + {folder / 'test_manifest.json'}")
    assert {one.split for one in found} == {"train", "test"} and len(found) == 9
    lists = tmp_path / "lists"
    lists.mkdir()
    (folder / "train_manifest.json").rename(lists / "train_manifest.json")
    with pytest.raises(SottovoceError, match=r"is absolute and not below .*lists; give the folder above .* DATA@ROOT"):
        sv.read_data(lists)
    assert len(sv.read_data(f"{lists}@{folder}")) == 6
    told = prepare_own(lists, root=folder)
    assert told.manifest == str(folder / "manifest.jsonl") and len(sv.read_data(folder)) == 6


def test_links_that_lead_out_are_followed_on_request_alone(tmp_path: Path) -> None:
    outside = unsplit(tmp_path / "outside")
    (tmp_path / "data").mkdir()
    for name in ("yes", "no"):
        (tmp_path / "data" / name).symlink_to(outside / name)
    with pytest.raises(SottovoceError, match=r"over a link; give one that stays in it \(--follow-links"):
        sv.read_data(tmp_path / "data")
    found = sv.read_data(tmp_path / "data", follow_links=True)
    assert len(found) == 10 and {one.label for one in found} == {"yes", "no"}
    told = prepare_own(tmp_path / "data", follow_links=True)
    assert told.pieces == 10
    again = sv.read_data(tmp_path / "data")
    assert [one.split for one in again] == [one.split for one in found], "copies stay below the folder"


def test_commands_of_lists_never_run(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", sound())
    (tmp_path / "wav.scp").write_text(f"a a.wav\nb touch {tmp_path / 'ran'} |\n")
    with pytest.raises(SottovoceError, match=r"wav.scp, line 2: .* is the output of a command, .* are not run"):
        sv.read_data(tmp_path)
    told: list[str] = []
    assert [one.id for one in sv.read_data(tmp_path, on_bad=told.append)] == ["a"]
    assert len(told) == 1 and not (tmp_path / "ran").exists()


def wrote(name: str, content: str | bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return write


GOOD = '{"audio_filepath": "a/1.wav", "duration": 0.4}\n'
SCP = "u1 a/1.wav\nu2 a/2.wav\n"
CUT = {"id": "c", "start": 0.0, "duration": 0.2, "recording": recording("r", "a/1.wav", 0.4)}
FAULTS: dict[str, tuple[list[Callable[[Path], None]], str, bool]] = {
    "missing audio": (
        [wrote("l.jsonl", GOOD + GOOD.replace("1.wav", "3.wav"))],
        "line 2: there is no audio file",
        True,
    ),
    "duplicate": ([wrote("l.jsonl", GOOD + GOOD)], r"line 2: the id 'a/1' stands there already, in .*line 1", True),
    "bad JSON": ([wrote("l.jsonl", GOOD + "{oops\n")], r"l\.jsonl, line 2: the line is not JSON", True),
    "bad JSON at first": ([wrote("l.jsonl", "{oops\n" + GOOD)], r"l\.jsonl, line 1: the line is not JSON", True),
    "nothing but bad JSON": ([wrote("l.jsonl", "{oops\n")], r"l\.jsonl, line 1: the line is not JSON", False),
    "no UTF-8": ([wrote("l.jsonl", GOOD.encode() + b'{"audio_filepath": "\xff"}\n')], "line 2: it is not UTF-8", True),
    "no path": ([wrote("l.jsonl", GOOD + '{"duration": 1}\n')], "line 2: it has no path of an audio file", True),
    "duration": (
        [wrote("l.jsonl", GOOD + GOOD.replace("1.wav", "2.wav").replace("0.4", "3"))],
        r"line 2: .*0\.40 s",
        True,
    ),
    "duration is text": ([wrote("l.jsonl", GOOD + GOOD.replace("0.4", '"x"'))], "line 2: 'duration' is 'x'", True),
    "leads out": ([wrote("l.jsonl", GOOD + GOOD.replace("a/1", "../a/1"))], "line 2: .*leads out of", True),
    "piece too far": (
        [wrote("l.jsonl", GOOD + GOOD.replace("}", ', "offset": 3}'))],
        r"line 2: .* has no 3\.00 to 3\.40 s",
        True,
    ),
    "columns": (
        [wrote("l.csv", "path,text\na/1.wav,x\na/2.wav\n")],
        r"l\.csv, line 3: it has 1 columns, but .* has 2",
        True,
    ),
    "a name of 300 letters": (
        [wrote("l.csv", f"path\na/1.wav\n{'x' * 300}\n"), wrote("clips/x", "")],
        r"line 3: .*File name too long",
        True,
    ),
    "quotes": ([wrote("l.csv", 'path,text\na/1.wav,"x\n')], r"l\.csv, line 2: it is no line of a table", False),
    "two columns of a name": ([wrote("l.csv", "path,path\na,b\n")], r"line 1: two columns are called 'path'", False),
    "no column of audio": (
        [wrote("l.csv", "name,text\na,b\n"), lambda folder: os.rename(folder / "a/1.wav", folder / "1.wav")],
        r"mixes class folders",
        False,
    ),
    "a table in UTF-16": (
        [wrote("l.csv", "path,text\na/1.wav,x\n".encode("utf-16"))],
        "line 1: it is not UTF-8",
        False,
    ),
    "an empty line of text": (
        [wrote("wav.scp", SCP), wrote("text", "u1 x\n\nu2 y\n")],
        r"text, line 2: it is empty",
        True,
    ),
    "a text of nothing": ([wrote("wav.scp", SCP), wrote("text", "u1 x\nu2\n")], r"text, line 2: .*what is said", True),
    "a text too many": (
        [wrote("wav.scp", SCP), wrote("text", "u1 x\nu2 y\nu3 z\n")],
        "text, line 3: the utterance 'u3' is not in wav.scp",
        True,
    ),
    "an id of Kaldi twice": (
        [wrote("wav.scp", SCP + "u1 a/1.wav\n")],
        "wav.scp, line 3: the id 'u1' stands in line 1",
        True,
    ),
    "a segment of nothing": (
        [wrote("wav.scp", SCP), wrote("segments", "s u1 0 -1\nt u9 0 1\n")],
        r"segments, line 2: the recording 'u9' is not in wav.scp",
        True,
    ),
    "segments of two columns": (
        [wrote("wav.scp", SCP), wrote("segments", "s u1 0 -1\nt u1\n")],
        r"segments, line 2: it has 2 columns",
        True,
    ),
    "several lists": ([wrote("l.csv", "path\na/1.wav\n"), wrote("m.csv", "path\na/2.wav\n")], "several lists", False),
    "several formats": (
        [wrote("l.csv", "path\na/1.wav\n"), wrote("wav.scp", SCP)],
        r"several formats: .*Kaldi \(wav\.scp\), a table .*l\.csv",
        False,
    ),
    "several formats in splits": (
        [wrote("train/wav.scp", "u ../a/1.wav\n"), wrote("test/metadata.csv", "file_name\nb.wav\n")],
        "several formats",
        False,
    ),
    "both lists of audiofolder": ([wrote("metadata.csv", "file_name\n"), wrote("metadata.jsonl", "")], "both", False),
    "no supervisions' recordings": ([wrote("supervisions.jsonl", '{"recording_id": "a"}\n')], "one of a pair", False),
    "recordings on the web": (
        [wrote("recordings.jsonl", json.dumps(recording("r", "x", 1.0)).replace('"file"', '"url"'))],
        r"recordings\.jsonl, line 1: its recording has the sources 'url', but one of type file",
        False,
    ),
    "mixed cuts": (
        [wrote("cuts.jsonl", '{"id": "a", "type": "MixedCut", "tracks": []}')],
        "line 1: it is 'MixedCut'",
        False,
    ),
    "changed cuts": (
        [
            wrote(
                "cuts.jsonl", json.dumps({**CUT, "recording": {**CUT["recording"], "transforms": [{"name": "Speed"}]}})
            )
        ],
        "line 1: its recording is changed by 'transforms'",
        False,
    ),
    "not packed": ([wrote("cuts.jsonl.gz", b"\x1f\x8b\x08junk")], "cannot be unpacked", False),
    "a class without audio": (
        [wrote("b/c.wav", b""), wrote("z/README", "")],
        r"the class folder '.*z' has no audio",
        True,
    ),
    "classes in classes": (
        [wrote("b/c/d.wav", b"")],
        r"b/c' is a folder in a class folder, whose audio has no class",
        True,
    ),
    "a list in a class": (
        [wrote("b/l.jsonl", GOOD)],
        r"has no list, but '.*b' is a manifest .*; give that folder",
        False,
    ),
    "splits and classes": (
        [wrote("train/yes/a.wav", b"")],
        r"mixes folders of splits \(train\) with other audio",
        False,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_one_sentence_with_their_place(tmp_path: Path, name: str) -> None:
    made, words, skips = FAULTS[name]
    for index in (1, 2):
        wav(tmp_path / f"a/{index}.wav", sound(0))
    for make in made:
        make(tmp_path)
    for attempt in (sv.read_data, prepare_own):
        with pytest.raises(SottovoceError, match=words) as caught:
            attempt(tmp_path)
        assert "\n" not in str(caught.value) and str(caught.value).endswith("."), caught.value
    told: list[str] = []
    if skips:
        assert sv.read_data(tmp_path, on_bad=told.append)
        assert any(re.search(words, message) for message in told), told
        told.clear()
        kept = prepare_own(tmp_path, on_bad=told.append)
        assert kept.utterances and any(re.search(words, message) for message in told), told
    else:
        with pytest.raises(SottovoceError):
            sv.read_data(tmp_path, on_bad=told.append)


def test_lines_of_tables_are_counted_as_editors_count_them(tmp_path: Path) -> None:
    wav(tmp_path / "1.wav", sound())
    (tmp_path / "l.csv").write_bytes(b'path,text\n1.wav,"x\ny"\n1.wav,\xff\n\n2.wav\n3.wav,"a\nb"\n')
    told: list[str] = []
    assert [one.text for one in sv.read_data(tmp_path, on_bad=told.append)] == ["x\ny"]
    assert [re.findall(r"l\.csv, line (\d+)", message)[0] for message in told] == ["4", "6", "7"], told


def test_folders_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        SottovoceError, match=r"it is empty, and a saved dataset .*wav\.scp.* were looked for; .*CORPUS@"
    ):
        sv.read_data(tmp_path)
    (tmp_path / "yes").mkdir()
    (tmp_path / "notes.docx").touch()
    with pytest.raises(SottovoceError, match=r"there are only yes/, notes\.docx, and"):
        prepare_own(tmp_path)
    wav(tmp_path / "speech" / "a.wav", sound())
    assert [(one.id, one.label) for one in sv.read_data(tmp_path / "speech")] == [("a", None)], "without classes"


class FakeRows:
    """What of `datasets.Dataset` is used."""

    def __init__(self, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
        self.rows, self.features, self.column_names = rows, features, list(features)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def cast_column(self, column: str, feature: Any) -> "FakeRows":
        assert not feature.decode
        return FakeRows(self.rows, {**self.features, column: feature})

    def remove_columns(self, columns: list[str]) -> "FakeRows":
        rows = [{name: value for name, value in row.items() if name not in columns} for row in self.rows]
        return FakeRows(rows, {name: one for name, one in self.features.items() if name not in columns})


class Audio:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


def test_saved_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the library, which the tests do not install; `test_saved_by_the_library` has the real one."""
    (tmp_path / "dataset_dict.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SottovoceError, match=r"needs the package datasets; run pip install sottovoce\[datasets\]"):
        sv.read_data(tmp_path)
    content = wav(tmp_path / "x.wav", sound(0)).read_bytes()
    features = {"audio": Audio(), "label": types.SimpleNamespace(names=["no", "yes"]), "note": None}
    rows = [{"audio": {"bytes": content, "path": "x.wav"}, "label": n - 1, "note": "n"} for n in range(3)]
    fake, arrow = types.ModuleType("datasets"), types.ModuleType("pyarrow")
    sets = {"train": FakeRows(rows, features), "validation": FakeRows(rows[:1], features)}
    fake.__dict__.update(Audio=Audio, load_from_disk=lambda place: sets)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setitem(sys.modules, "pyarrow", arrow)
    arrow.__dict__["__version__"] = "14.0.0"
    with pytest.raises(SottovoceError, match="pyarrow 14.0.0 runs code that a file holds"):
        sv.read_data(tmp_path)
    arrow.__dict__["__version__"] = "21.0.0"
    check_saved(tmp_path, [None, "no", "yes", None])


def test_saved_by_the_library(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    paths = [str(wav(tmp_path / "from" / f"{n}.wav", sound(0))) for n in range(4)]
    saved = datasets.Dataset.from_dict({"audio": paths, "label": [-1, 0, 1, -1], "note": ["n"] * 4})
    saved = saved.cast_column("audio", datasets.Audio()).cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
    parts = {"train": saved.select(range(3)), "validation": saved.select(range(3, 4))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    check_saved(tmp_path / "saved", [None, "no", "yes", None])


def check_saved(folder: Path, labels: list[str | None]) -> None:
    found = sv.read_data(folder)
    assert [one.label for one in found] == labels
    assert [one.split for one in found] == ["train", "train", "train", "dev"] and found[0].meta == {"note": "n"}
    assert np.abs(np.asarray(found[0].audio) / 32768 - sound(0)).max() < 2**-14
    assert prepare_own(folder).pieces == 4
    again = sv.read_data(folder)
    assert [replace(one, audio=Path()) for one in again] == [replace(one, audio=Path()) for one in found]
