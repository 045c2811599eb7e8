"""Phones of texts that nobody has aligned: lexicons, espeak, and phone recognition on them."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import tiny
from speech import toy_folder, toys

import sottovoce as sv
from sottovoce.cli import main
from sottovoce.data.pronouncing import by_espeak, lexicon, phones_of, pronounced, words_in
from sottovoce.data.utterance import Utterance, manifest_hash, read_manifest, write_manifest
from sottovoce.errors import SottovoceError
from sottovoce.tasks import TASKS
from sottovoce.tasks.task import material

CMU = ";;; the lexicon\nlow  L OW1\nmiddle M IH1 D AH0 L\nhigh HH AY1 # tall\nhigh(2) HH AY0\nit's IH1 T S\n"


def test_words_of_a_text_are_found() -> None:
    assert list(words_in("IT\u2019S over; 'bear'  2 well-known")) == ["it's", "over", "bear", "well", "known"]


def test_a_lexicon_says_each_word(tmp_path: Path) -> None:
    (tmp_path / "cmu.dict").write_text(CMU)
    known = lexicon(tmp_path / "cmu.dict")
    assert known["high"] == ("HH", "AY") and known["it's"] == ("IH", "T", "S") and len(known) == 4
    assert phones_of("Low, high!", known.get) == (["L", "OW", "HH", "AY"], None)
    assert phones_of("low bear", known.get)[1] == "bear"
    (tmp_path / "bad.dict").write_text("low L OW\nhigh\n")
    with pytest.raises(SottovoceError, match="bad.dict, line 2: 'high' has no phones"):
        lexicon(tmp_path / "bad.dict")
    (tmp_path / "empty.dict").write_text(";;; nothing\n")
    with pytest.raises(SottovoceError, match="has no words"):
        lexicon(tmp_path / "empty.dict")


def test_espeak_says_words_in_arpabet() -> None:
    pytest.importorskip("espeakng_loader")
    assert by_espeak("bear")[0] == "B" and by_espeak("we") == ("W", "IY")


def test_phone_recognition_learns_from_texts(tmp_path: Path) -> None:
    """A pronunciation is a part of the data's hash, and data without any has the hash that it always had."""
    (tmp_path / "cmu.dict").write_text(CMU)
    plain = [replace(utterance, phones=None) for utterance in toys(24, 6, 6)]
    said = pronounced(plain, tmp_path / "cmu.dict")
    assert said[0].pronunciation is not None and TASKS["pr"].answer(plain[0]) is None
    assert TASKS["pr"].answer(said[0]) == list(said[0].pronunciation)
    assert manifest_hash(said) != manifest_hash(plain)
    assert all(utterance.pronunciation is None for utterance in pronounced(toys(3, 0, 0), tmp_path / "cmu.dict"))
    rows = sv.MEASURES["pr"](tiny("hubert"), said, mode="probe", train={"steps": 3})
    assert rows[0].metric == "phone_error_rate" and rows[0].n == 6


def test_phone_recognition_pronounces_texts_where_no_utterance_has_phones() -> None:
    pytest.importorskip("espeakng_loader")
    plain = [replace(utterance, phones=None) for utterance in toys(24, 6, 6)]
    found = material(TASKS["pr"], plain)
    assert found["test"].answers[0] == phones_of(plain[-6].text or "", by_espeak)[0] and len(found["test"]) == 6
    some = material(TASKS["pr"], [*toys(1, 0, 0), *plain[1:]])
    assert {split: len(part) for split, part in some.items()} == {"train": 1, "dev": 0, "test": 0}
    rows = sv.MEASURES["pr"](tiny("hubert"), plain, mode="probe", train={"steps": 3})
    assert rows[0].metric == "phone_error_rate" and rows[0].n == 6


def test_a_manifest_keeps_pronunciations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_folder(tmp_path / "speech")
    (tmp_path / "cmu.dict").write_text(CMU)
    whole = read_manifest(tmp_path / "speech" / "manifest.jsonl")
    write_manifest(tmp_path / "speech" / "manifest.jsonl", [replace(u, phones=None) for u in whole])
    target = tmp_path / "phones.jsonl"
    command = ["corpus", "pronounce", str(tmp_path / "speech"), "-o", str(target), "--by", str(tmp_path / "cmu.dict")]
    with pytest.raises(SystemExit) as caught:
        main(command)
    told = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0 and "utterances with phones; read it as" in told
    name = told.rpartition("read it as ")[2].replace(" ", "")
    again = sv.read_data(name)
    assert again[0].pronunciation is not None and len(again) == len(whole)
    (tmp_path / "cmu.dict").write_text("low L OW\n")
    target.unlink()
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2 and "is pronounced; correct it" in " ".join(capsys.readouterr().err.split())
    assert not target.exists()


def test_a_pronunciation_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "path": "a.wav", "seconds": 1.0, "pronunciation": 3}\n')
    with pytest.raises(SottovoceError, match="'pronunciation' is 3, but phones with spaces"):
        read_manifest(tmp_path / "manifest.jsonl")
    assert Utterance("a", tmp_path / "a.wav", 1.0).pronunciation is None
