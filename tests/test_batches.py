"""Batches, the mapped file, decoding once: nothing is lost, nothing comes twice, nothing waits for nothing."""

import itertools
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.data import batches
from sottovoce.data.batches import Speech, ahead, decoded, only_sound, plan_batches, samples
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError

LENGTHS = st.lists(st.floats(0.1, 30.0), max_size=80)


@given(lengths=LENGTHS, most=st.floats(1.0, 100.0), seed=st.none() | st.integers(0, 5), epoch=st.integers(0, 3))
def test_each_item_is_in_one_batch_and_batches_fit(
    lengths: list[float], most: float, seed: int | None, epoch: int
) -> None:
    planned = plan_batches(lengths, most=most, seed=seed, epoch=epoch)
    assert sorted(itertools.chain(*planned)) == list(range(len(lengths)))
    for batch in planned:
        assert batch and (len(batch) == 1 or len(batch) * max(lengths[item] for item in batch) <= most)
    assert planned == plan_batches(lengths, most=most, seed=seed, epoch=epoch)


def test_epochs_differ_and_padding_is_small() -> None:
    lengths = list(np.random.default_rng(0).uniform(1.0, 15.0, 4000))
    first, second = (plan_batches(lengths, most=120.0, seed=0, epoch=epoch) for epoch in (0, 1))
    assert first != second
    padded = sum(len(batch) * max(lengths[item] for item in batch) for batch in first)
    assert padded / sum(lengths) < 1.05
    shuffled = np.random.default_rng(0).permutation(4000).reshape(-1, 16)
    assert sum(16 * max(lengths[item] for item in batch) for batch in shuffled) / sum(lengths) > 1.5


def test_results_come_in_order_and_only_so_far_ahead() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def note(item: int) -> int:
        with lock:
            started.append(item)
        return item * item

    results = ahead(note, itertools.count(), workers=3, depth=4)
    assert [next(results) for _ in range(10)] == [item * item for item in range(10)]
    assert max(started) <= 15
    results.close()
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_an_error_in_a_thread_reaches_the_taker() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda item: 1 // item, [2, 1, 0, 1]))


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(0, 7), max_size=12), cuts=st.integers(1, 4))
def test_a_shelf_gives_back_what_it_got(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], cuts: int
) -> None:
    folder = tmp_path_factory.mktemp("shelf")
    rng = np.random.default_rng(0)
    arrays = {
        f"u{index}": rng.standard_normal((length, 2, 3)).astype("float32") for index, length in enumerate(lengths)
    }
    shelf = Shelf(folder, identity="a", row=(2, 3), dtype="float32")
    names = list(arrays)
    for begin in range(0, len(names), cuts):
        shelf.add({name: arrays[name] for name in names[begin : begin + cuts]})
        # What was added is there for whoever opens it next.
        shelf = Shelf(folder, identity="a", row=(2, 3), dtype="float32")
    assert list(shelf) == names and shelf.lengths(names) == lengths
    assert all(np.array_equal(shelf[name], arrays[name]) for name in names)


def test_a_shelf_forgets_what_a_crash_cut_short(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, identity="a", row=(), dtype="int16")
    shelf.add({"a": np.arange(5, dtype="int16")})
    for name, junk in (("rows.bin", b"\1\2\3"), ("index.jsonl", b'{"b": 1')):
        with open(tmp_path / name, "ab") as file:
            file.write(junk)
    again = Shelf(tmp_path, identity="a", row=(), dtype="int16")
    assert list(again) == ["a"]
    again.add({"c": np.arange(3, dtype="int16")})
    last = Shelf(tmp_path, identity="a", row=(), dtype="int16")
    assert list(last) == ["a", "c"] and last["c"].tolist() == [0, 1, 2] and last["a"].tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "rows.bin").write_bytes(b"\0")
    assert len(Shelf(tmp_path, identity="a", row=(), dtype="int16")) == 0, "an index ahead of its data is not believed"
    assert len(Shelf(tmp_path, identity="b", row=(), dtype="int16")) == 0


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"[1]",
        b'{"b": -1}',
        b'{"b": "1"}',
        b'{"b": 1.5}',
        b'{"b": true}',
        b'{"b": NaN}',
        b'{"b": 999999999999999999}',
        b'{"b": ' + b"9" * 5000 + b"}",
        b'{"b": [1]}',
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_shelf_with_a_damaged_index_begins_anew(tmp_path: Path, line: bytes, place: int) -> None:
    shelf = Shelf(tmp_path, identity="a", row=(), dtype="int16")
    shelf.add({"a": np.arange(5, dtype="int16")})
    index = tmp_path / "index.jsonl"
    lines = index.read_bytes().splitlines()
    index.write_bytes(b"".join(one + b"\n" for one in [*lines[:place], line, *lines[place:]]))
    again = Shelf(tmp_path, identity="a", row=(), dtype="int16")
    assert len(again) == 0 and index.read_bytes() == lines[0] + b"\n"
    again.add({"c": np.arange(3, dtype="int16")})
    assert Shelf(tmp_path, identity="a", row=(), dtype="int16")["c"].tolist() == [0, 1, 2]


def test_a_shelf_that_was_cut_short_meanwhile(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, identity="a", row=(), dtype="int16")
    shelf.add({"a": np.arange(5, dtype="int16")})
    (tmp_path / "rows.bin").write_bytes(b"\0")
    with pytest.raises(SottovoceError, match="rows.bin' is gone or shorter than it was: .* start again"):
        shelf["a"]
    (tmp_path / "rows.bin").unlink()
    with pytest.raises(SottovoceError, match="rows.bin' is gone or shorter than it was"):
        shelf["a"]
    (tmp_path / "index.jsonl").unlink()
    os.mkfifo(tmp_path / "index.jsonl")
    assert len(Shelf(tmp_path, identity="a", row=(), dtype="int16")) == 0


def test_a_shelf_refuses_another_shape(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, identity="a", row=(3,), dtype="float32")
    for array in (np.zeros((2, 4), "float32"), np.zeros((2, 3))):
        with pytest.raises(SottovoceError, match="'u' is float"):
            shelf.add({"u": array})
    assert len(shelf) == 0


@pytest.fixture
def speech(tmp_path: Path) -> list[Utterance]:
    rng = np.random.default_rng(0)
    found = []
    for index in range(9):
        audio = (0.1 * rng.standard_normal(4000 + 400 * index)).astype("float32")
        soundfile.write(str(tmp_path / f"{index}.flac"), audio, 16_000)
        found.append(Utterance(f"u{index}", tmp_path / f"{index}.flac", len(audio) / 16_000))
    return found


def test_decoding_once_changes_no_sample(
    tmp_path: Path, speech: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = decoded(speech, tmp_path / "cache")
    assert [utterance.id for utterance in ready] == [utterance.id for utterance in speech]
    for before, after in zip(speech, ready, strict=True):
        assert np.array_equal(samples(before), samples(after)), "a 16-bit file at 16 kHz loses nothing"
    monkeypatch.setattr(batches, "samples", lambda utterance: pytest.fail("decoded again"))
    again = decoded(speech, tmp_path / "cache")
    monkeypatch.undo()
    assert all(np.array_equal(samples(a), samples(b)) for a, b in zip(ready, again, strict=True))
    soundfile.write(str(speech[0].audio), np.full(4000, 0.5), 16_000)
    assert samples(decoded(speech, tmp_path / "cache")[0])[0] == 0.5, "another file of the same name is read again"


def test_what_is_too_loud_for_16_bits_gets_quieter(tmp_path: Path) -> None:
    loud = np.linspace(-3.0, 2.0, 4000).astype("float32")
    ready = samples(decoded([Utterance("a", loud, 0.25)], tmp_path)[0])
    np.testing.assert_allclose(ready, loud / 3.0, atol=1e-4)


def test_one_bad_file_stops_or_is_listed(tmp_path: Path, speech: list[Utterance]) -> None:
    (tmp_path / "4.flac").write_bytes(b"not audio")
    soundfile.write(str(tmp_path / "6.flac"), np.zeros(4000), 16_000)
    with pytest.raises(SottovoceError, match="4.flac is no audio"):
        decoded(speech, tmp_path / "cache")
    bad: list[str] = []
    ready = decoded(speech, tmp_path / "cache", on_bad=bad.append)
    assert [utterance.id for utterance in ready] == ["u0", "u1", "u2", "u3", "u5", "u7", "u8"]
    assert len(bad) == 2 and bad[0].startswith("u4: ") and "silent" in bad[1]
    bad.clear()
    assert only_sound(speech, bad.append) == [u for u in speech if u.id not in ("u4", "u6")] and len(bad) == 2


def test_speech_is_a_source(speech: list[Utterance]) -> None:
    source = Speech(speech, collate=lambda chosen, audio: [len(piece) for piece in audio], batch_seconds=1.0)
    for items in source.plan(0):
        assert source.load(items) == [4000 + 400 * item for item in items]
        assert source.names(items) == [f"u{item}" for item in items]
        assert source.seconds(items) == pytest.approx(sum(source.load(items)) / 16_000)
