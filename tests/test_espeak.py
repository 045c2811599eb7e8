"""Synthetic speech: the same samples every time, phones where the signal has them, and splits that share no voice."""

import ctypes
import hashlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed: pip install 'sottovoce[demo]'")

from sottovoce.data import espeak
from sottovoce.data.audio import as_speech, read_audio
from sottovoce.data.corpora import espeak as corpus
from sottovoce.data.espeak import ARPABET, SILENCE, Voice, speak
from sottovoce.data.utterance import Phone, Utterance, manifest_hash, read_manifest
from sottovoce.errors import SottovoceError
from sottovoce.signals import Stopped, handled_by, raise_stopped

TEXT = "Stop, sister, the market speaks; a cat took cheap tea."
VOWELS = {"IY", "IH", "EY", "EH", "AE", "AA", "AO", "OW", "UH", "UW", "AH", "AY", "ER", "AW", "OY"}
STOPS = {"P", "T", "K", "CH"}
OTHERS = "B D G JH F V TH DH S Z SH ZH HH M N NG L R W Y"
PHONES = VOWELS | STOPS | set(OTHERS.split())
VOICES = [
    Voice(),
    Voice("en-gb", "f1", 60, 80, 200),
    Voice("en-029", "m3", 40, 20, 130),
    Voice("en-gb-scotland", "Lee"),
]
SIZE = 0.06
TASKS = [task for task in corpus.TASKS if task != "speakers"]


@cache
def small(seed: int = 0) -> list[Utterance]:
    return corpus.make(seed=seed, tasks=TASKS, size=SIZE, languages=["de", "fi"])


def digest(samples: np.ndarray) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()


def pieces(samples: np.ndarray, phones: tuple[Phone, ...], names: set[str], inset: float = 0.0) -> Iterator[np.ndarray]:
    """The samples of the phones of some names, less `inset` seconds at both ends."""
    for phone in phones:
        if phone.name in names and phone.end - phone.start > 2 * inset + 0.005:
            yield samples[int((phone.start + inset) * 16_000) : int((phone.end - inset) * 16_000)]


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


@pytest.mark.parametrize("voice", [*VOICES, Voice("en-us", "f2"), Voice("en-us", "klatt2"), Voice("fr")], ids=str)
def test_the_same_whatever_was_spoken_before(voice: Voice) -> None:
    first, phones = speak("hello there, world", voice)
    for other in VOICES:
        speak("something else of another length", other)
    again, same = speak("hello there, world", voice)
    assert np.array_equal(first, again) and phones == same


@pytest.mark.parametrize("variant", ["f2", "klatt2"])
def test_noises_do_not_depend_on_the_clock(variant: str) -> None:
    """espeak seeds its generator with the second in which it starts."""
    first, _ = speak("hello there", Voice(variant=variant))
    time.sleep(1.1)
    assert np.array_equal(first, speak("hello there", Voice(variant=variant))[0])


def test_the_same_in_another_process_and_in_threads() -> None:
    wanted = [digest(speak(TEXT, voice)[0]) for voice in VOICES]
    script = (
        "import hashlib; from sottovoce.data.espeak import Voice, speak\n"
        f"for voice in {VOICES[::-1]!r}: print(hashlib.sha256(speak({TEXT!r}, voice)[0].tobytes()).hexdigest())"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.split() == wanted[::-1]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda voice: digest(speak(TEXT, voice)[0]), VOICES * 4)) == wanted * 4


@pytest.mark.parametrize("voice", VOICES, ids=str)
def test_phones_cover_the_whole(voice: Voice) -> None:
    samples, phones = speak(TEXT, voice)
    assert samples.dtype == np.float32 and samples.ndim == 1 and np.abs(samples).max() <= 1
    assert phones[0].start == 0 and phones[-1].end == len(samples) / 16_000
    for phone, following in zip(phones, phones[1:], strict=False):
        assert phone.start < phone.end == following.start
        assert not phone.name == following.name == SILENCE
    assert {phone.name for phone in phones} <= PHONES | {SILENCE}


@pytest.mark.parametrize("voice", [replace(voice, variant=name) for voice in VOICES for name in ("", "Annie")], ids=str)
def test_the_signal_is_where_the_phones_are(voice: Voice) -> None:
    samples, phones = speak(TEXT, voice)
    vowel = np.median([loudness(piece) for piece in pieces(samples, phones, VOWELS)])
    pauses = [loudness(piece) for piece in pieces(samples, phones, {SILENCE}, inset=0.003)]
    assert len(pauses) >= 2 and max(pauses) < 1e-3 * vowel
    closures = 0
    for before, phone in zip(phones, phones[1:], strict=False):
        if phone.name in STOPS and before.name in VOWELS:
            at = int(phone.start * 16_000)
            # 2 ms behind the boundary all is quiet; in the pitch period before it, it was not.
            assert loudness(samples[at + 32 : at + 240]) < 1e-2 * vowel, phone
            assert loudness(samples[at - 200 : at]) > 1e-2 * vowel, phone
            closures += 1
    assert closures >= 6
    hisses = [np.mean(np.diff(np.sign(piece)) != 0) for piece in pieces(samples, phones, {"S"}, inset=0.01)]
    voiced = [np.mean(np.diff(np.sign(piece)) != 0) for piece in pieces(samples, phones, VOWELS, inset=0.01)]
    assert len(hisses) >= 4 and min(hisses) > np.median(voiced)


def test_times_are_exact_to_the_sample() -> None:
    """In espeak's own samples, a stop after a vowel begins with the first of a row of zeros; resampling shifts none."""
    samples, marks, rate = espeak._synthesize(TEXT, Voice())
    starts = espeak._with_closures(samples, marks)
    found = 0
    for index, (_, name) in enumerate(marks[1:], 1):
        if name in ("p", "t", "k") and marks[index - 1][1]:
            start = starts[index]
            assert samples[start - 1] != 0 and not samples[start : start + 400].any()
            found += 1
    assert found >= 6
    tones = np.zeros(22_050, dtype=np.float32)
    tones[[441, 11_025, 21_609]] = 1
    resampled = as_speech(tones, rate)
    assert np.flatnonzero(resampled > 0.5).tolist() == [320, 8_000, 15_680]


def test_every_word_in_every_accent_has_its_phones() -> None:
    texts = [*corpus.WORDS.values(), *corpus.SENTENCES, *corpus.INTENTS.values(), *corpus.KEYWORDS, corpus.OTHERS]
    words = sorted(set(re.findall(r"[A-Za-z']+", " ".join(texts))))
    assert len(words) > 550 and {name for names in ARPABET.values() for name in names} == PHONES
    for accent in corpus.ACCENTS:
        for start in range(0, len(words), 50):
            _, phones = speak(" ".join(words[start : start + 50]), Voice(accent))
            assert {phone.name for phone in phones} <= PHONES | {SILENCE}


def test_read_speech_has_all_phones() -> None:
    found = {name for row in corpus.make(tasks=["read"]) if row.split == "train" for name, *_ in row.phones or ()}
    assert found == PHONES | {SILENCE}


@pytest.mark.parametrize("language", corpus.LANGUAGES)
def test_other_languages_have_their_own_phones(language: str) -> None:
    words = corpus.LANGUAGES[language].split()
    samples, phones = speak(" ".join(words), Voice(language, "m3"))
    assert len(words) >= 55 and len({phone.name for phone in phones}) >= 25
    assert phones[-1].end == len(samples) / 16_000
    assert not any(set(phone.name) & set("()ˈˌ") for phone in phones)


def test_a_seed_is_a_corpus() -> None:
    assert manifest_hash(small()) == manifest_hash(corpus.make(tasks=TASKS, size=SIZE, languages=["de", "fi"]))
    mine, other = corpus.plan(), corpus.plan(seed=1)
    assert len(mine) == len(other)
    assert not {line.id for line in mine} & {line.id for line in other}
    texts = [[line.spoken for line in lines if line.task in ("read", "speakers", "emotion")] for lines in (mine, other)]
    assert len(set(texts[0]) & set(texts[1])) < 0.05 * len(texts[0])
    assert not {digest(np.asarray(row.audio)) for row in small()} & {digest(np.asarray(row.audio)) for row in small(1)}
    # One task more or less changes nothing in the others.
    assert [line for line in mine if line.task == "intents"] == corpus.plan(tasks=["intents"])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("task", corpus.TASKS)
def test_splits(task: str, seed: int) -> None:
    lines = corpus.plan(seed=seed, tasks=[task])
    labels = [{line.label for line in lines if line.split == split} for split in corpus.SPLITS]
    variants = [{line.voice.variant for line in lines if line.split == split} for split in corpus.SPLITS]
    assert labels[0] == labels[1] == labels[2]
    if task == "speakers":
        assert len(labels[0]) == corpus.VOICES == len({str(label).split("+")[1] for label in labels[0]})
        assert all(line.label == line.voice.name for line in lines)
    else:
        assert len(set.union(*variants)) == sum(map(len, variants))
        assert len(labels[0]) == {"read": 1, "keywords": 12, "emotion": 4, "intents": 12}[task]
    if task in ("read", "speakers", "emotion"):
        assert len({line.spoken for line in lines}) == len(lines)
    if task == "read":
        # Verification compares each of the test's voices with itself and the others.
        names = [line.voice.name for line in lines if line.split == "test"]
        assert len(set(names)) >= 8 and min(map(names.count, names)) >= 3
        assert len(set(names)) == len({name.split("+")[1] for name in names})
        assert all(2 <= len(line.spoken.split()) <= 20 for line in lines)


def test_utterances_say_what_they_are() -> None:
    rows = small()
    assert {row.task for row in rows} == {None, "keywords", "emotion", "intents", "unlabelled"}
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        audio = np.asarray(row.audio)
        assert row.phones and row.seconds == len(audio) / 16_000 == row.phones[-1].end
        assert row.text == (row.text or "").upper() and not set(row.text or "") & set(".,?!-")
        assert row.license == "CC0-1.0" and row.split in corpus.SPLITS and row.speaker
        assert (row.label is None) == (row.task in (None, "unlabelled"))
        assert np.abs(audio).max() <= 0.951 and loudness(audio) > 0.01


def test_noise_is_as_loud_as_asked() -> None:
    clean, noisy = corpus.make(tasks=["read"], size=SIZE), corpus.make(tasks=["read"], size=SIZE, noise=15)
    for one, other in zip(clean, noisy, strict=True):
        speech = np.asarray(one.audio)
        hiss = np.asarray(other.audio) - speech
        assert 20 * np.log10(loudness(speech) / loudness(hiss)) == pytest.approx(15, abs=0.2)
    assert manifest_hash(noisy) == manifest_hash(corpus.make(tasks=["read"], size=SIZE, noise=15))


def test_an_interrupted_write_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = corpus.atomic_write, 7

    def fails_later(path: Path, content: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(corpus, "atomic_write", fails_later)
    with pytest.raises(KeyboardInterrupt):
        corpus.write(tmp_path, tasks=TASKS, size=SIZE, languages=["de", "fi"])
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")}
    assert len(before) == 7 and not (tmp_path / "manifest.jsonl").exists()
    broken, *kept = before
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    with pytest.raises(SottovoceError, match=f"{broken.name}' is there with other content; give another folder, or"):
        corpus.write(tmp_path, tasks=TASKS, size=SIZE, languages=["de", "fi"])
    assert len(list(tmp_path.rglob("*.flac"))) == 7 and broken.read_bytes() == whole[:1000], "looked at first"
    broken.write_bytes(whole)
    written = corpus.write(tmp_path, tasks=TASKS, size=SIZE, languages=["de", "fi"])
    assert all(path.stat().st_mtime_ns == before[path] for path in kept)
    assert read_manifest(tmp_path / "manifest.jsonl") == written
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".flac", ".jsonl"}
    for row, made in zip(written, small(), strict=True):
        assert isinstance(row.audio, Path) and replace(row, audio=made.audio) == made
        assert np.array_equal(read_audio(row.audio), np.asarray(made.audio))


def test_another_corpus_does_not_replace_one(tmp_path: Path) -> None:
    rows = corpus.write(tmp_path, tasks=["read"], size=0.01)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.*")}
    assert corpus.write(tmp_path, tasks=["read"], size=0.01) == rows
    for other, words in (
        (lambda: corpus.write(tmp_path, tasks=["read"], size=0.02), "lists another corpus, or another size or seed"),
        (lambda: corpus.write(tmp_path, tasks=["read"], size=0.01, seed=1), "lists another corpus"),
        (lambda: corpus.write(tmp_path, tasks=["read"], size=0.01, noise=10), "is there with other content"),
    ):
        with pytest.raises(SottovoceError, match=words):
            other()
        assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.*")}
    gone, *_ = (path for path in before if path.suffix == ".flac")
    gone.unlink()
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"dev"', '"test"'))
    with pytest.raises(SottovoceError, match="manifest.jsonl' is there with other content"):
        corpus.write(tmp_path, tasks=["read"], size=0.01)
    assert not gone.exists(), "looked at first"
    assert corpus.write(tmp_path, tasks=["read"], size=0.01, overwrite=True) == rows
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == {
        path: old for path, (_, old) in before.items()
    }


@pytest.mark.parametrize(
    ("text", "voice", "words"),
    [
        ("", Voice(), "nothing to speak"),
        (" ... ", Voice(), "nothing to speak"),
        ("a\0b", Voice(), "null character"),
        ("hello", Voice("en-uss"), "unknown language 'en-uss'; did you mean 'en-us'?"),
        ("hello", Voice("../../etc"), "unknown language"),
        ("hello", Voice("en-us", "Anni"), "unknown voice variant 'Anni'; did you mean 'Annie'?"),
        ("hello", Voice(pitch=100), "pitch=100, but espeak-ng takes 0-99"),
        ("hello", Voice(rate=10), "rate=10, but espeak-ng takes 80-450"),
    ],
)
def test_what_cannot_be_spoken(text: str, voice: Voice, words: str) -> None:
    with pytest.raises(SottovoceError) as caught:
        speak(text, voice)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_be_made() -> None:
    with pytest.raises(SottovoceError, match="unknown task 'reed'; did you mean 'read'"):
        corpus.make(tasks=["reed"])
    with pytest.raises(SottovoceError, match="unknown language 'xx'"):
        corpus.make(languages=["xx"])
    for size in (0, -1, float("nan"), float("inf"), 1e9, 1000.1):
        with pytest.raises(SottovoceError, match="size is .*, but a number above 0 and up to 1000 is wanted"):
            corpus.make(size=size)
    for seed in (-1, 1 << 32):
        with pytest.raises(SottovoceError, match="seed is .*, but a whole number from 0 to 4294967295 is wanted"):
            corpus.make(seed=seed)
    with pytest.raises(SottovoceError, match="noise is nan, but decibels from -100 to 100"):
        corpus.make(size=0.01, noise=float("nan"))
    with pytest.raises(SottovoceError, match="has no name in ARPAbet"):
        espeak._arpabet("ʘ")


def test_an_interrupt_inside_the_engine_gets_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(name: bytes) -> str:
        raise KeyboardInterrupt

    wanted = speak("hello")[0]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(espeak, "_decoded", interrupt)
        speak("hello")
    assert np.array_equal(speak("hello")[0], wanted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_door_of_the_callback_is_not_lost(number: int) -> None:
    """A handler's exception raised there, before the first line of the callback, would be dropped by ctypes."""
    wanted = speak("hello")[0]
    came: list[str] = []

    def ring(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name == "take" and not came:
            came.append(frame.f_code.co_name)
            signal.raise_signal(number)

    with handled_by(raise_stopped), pytest.raises(Stopped) as caught:
        sys.setprofile(ring)
        try:
            speak("hello")
        finally:
            sys.setprofile(None)
    assert came and caught.value.code == 128 + number
    assert np.array_equal(speak("hello")[0], wanted)


def test_a_signal_inside_the_callback_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    real, pieces_taken = ctypes.string_at, list[int]()

    def ring(address: object, size: int) -> bytes:
        pieces_taken.append(size)
        signal.raise_signal(signal.SIGINT)
        return real(address, size)  # type: ignore[arg-type]

    speak(TEXT)
    with monkeypatch.context() as patch:
        patch.setattr(espeak.ctypes, "string_at", ring)
        with pytest.raises(KeyboardInterrupt):
            speak(TEXT)
    assert len(pieces_taken) > 3, "the engine went on to its end"


SIGNALLED = """
import hashlib, os, random, signal, sys, threading, time
from sottovoce.data.espeak import speak

texts = [f"number {index} of the utterances that are spoken here" for index in range(12)]
wanted = [hashlib.sha256(speak(text)[0].tobytes()).hexdigest() for text in texts]
rng, armed, rung = random.Random(7), False, threading.Event()
waiting = threading.Event()

def stop(number, frame):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def send():
    for _ in range(len(texts) * 15):
        waiting.wait()
        waiting.clear()
        time.sleep(rng.uniform(0, 0.02))
        os.kill(os.getpid(), signal.SIGINT)
        rung.set()

signal.signal(signal.SIGINT, stop)
threading.Thread(target=send, daemon=True).start()
stopped = wrong = lost = 0
for text, digest in zip(texts * 15, wanted * 15):
    try:
        armed = True
        waiting.set()
        samples = speak(text)[0]
        rung.wait()
        for _ in range(100):
            pass
        if not armed:
            lost += 1
        armed = False
        wrong += hashlib.sha256(samples.tobytes()).hexdigest() != digest
    except KeyboardInterrupt:
        stopped += 1
    rung.wait()
    rung.clear()
print(stopped, wrong, lost)
"""


def test_signals_at_any_time_stop_or_change_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr
    stopped, wrong, lost = map(int, done.stdout.split())
    assert (wrong, lost) == (0, 0) and stopped > 90


def test_without_the_wheel_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SottovoceError, match=r"espeak-ng is not installed.*pip install 'sottovoce\[demo\]'\.$"):
        speak("hello")
