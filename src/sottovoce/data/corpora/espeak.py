"""A corpus that needs no download: sentences from templates, spoken by espeak-ng's many voices, with exact phones.

It shows that a compressed model still works, and is small enough for a test; it is no measure of real speech.
"""

import itertools
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sottovoce.data.audio import SAMPLE_RATE, encode_flac
from sottovoce.data.corpora.espeak_words import INTENTS, KEYWORDS, LANGUAGES, OTHERS, SENTENCES, UNKNOWN, WORDS
from sottovoce.data.espeak import Voice, speak
from sottovoce.data.kept import wanted
from sottovoce.data.utterance import MANIFEST, Utterance, keep_manifest, manifest_text, read_manifest
from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import atomic_write, check_writable, local_path, sweep
from sottovoce.progress import track

LICENSE = "CC0-1.0"
TASKS = ("read", "keywords", "speakers", "emotion", "intents")
SPLITS = ("train", "dev", "test")
# Utterances of each split at size 1: in all of "read", a voice of "speakers", a label of the others, a language.
COUNTS = {
    "read": (210, 30, 50),
    "keywords": (14, 4, 5),
    "speakers": (5, 1, 2),
    "emotion": (24, 6, 10),
    "intents": (12, 3, 4),
    "unlabelled": (40, 5, 5),
}
VOICES = 40
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc", "en-gb-x-gbclan")
# Without those that whisper, croak or play a robot, those with an echo (it runs on into the next phone), and twins.
HIGH = "Andrea Annie anika aunty belinda f1 grandma linda shelby steph steph2 Nguyen"
LOW = (
    "Alex Andy Denis Diogo Gene Gene2 Henrique Jacky Lee Mario Michael Mike Storm antonio boris ed grandpa gustave "
    "ian iven iven2 iven3 iven4 john kaukovalta m1 m3 m4 m5 m6 m7 m8 marcelo michel miguel norbert paul pedro quincy "
    "rob robert travis"
)
# Prosodic styles, not emotions: espeak has none. Pitch, its range, words a minute; and the level of each.
STYLES = {"calm": (46, 25, 145), "excited": (66, 92, 205), "sad": (34, 16, 122), "angry": (46, 70, 200)}
# dB of the full scale, by the root of the mean square.
LEVELS = {"calm": -26.0, "excited": -22.0, "sad": -33.0, "angry": -19.0}
MOST = 1000.0  # the largest size: half a thousand hours
SEEDS = 1 << 32


@dataclass(frozen=True)
class Line:
    """An utterance before it is spoken.

    Example:
        >>> plan(tasks=["keywords"])[0].label
        'yes'
    """

    id: str
    task: str
    split: str
    spoken: str
    voice: Voice
    level: float
    label: str | None = None


def make(
    *,
    seed: int = 0,
    tasks: Sequence[str] = TASKS,
    size: float = 1.0,
    languages: Sequence[str] = (),
    noise: float | None = None,
) -> list[Utterance]:
    """The corpus in memory: about half an hour at size 1, made in some ten seconds.

    The labels of "emotion" are prosodic styles, not emotions. `languages` adds speech for pretraining (random words,
    task "unlabelled"), and `noise` adds white or pink noise at so many dB below the speech.

    Example:
        >>> keywords = make(tasks=["keywords"], size=0.1)
    """
    return list(utterances(seed=seed, tasks=tasks, size=size, languages=languages, noise=noise))


def write(
    folder: str | Path,
    *,
    seed: int = 0,
    tasks: Sequence[str] = TASKS,
    size: float = 1.0,
    languages: Sequence[str] = (),
    noise: float | None = None,
    overwrite: bool = False,
) -> list[Utterance]:
    """Write the corpus as FLAC files and a manifest, which comes last; files that are there and right are kept.

    A folder in which a file, or the manifest, would have to change is refused before anything is written, unless
    `overwrite`. What was stopped goes on where it was.

    Example:
        >>> corpus = write("speech", size=0.1)
    """
    place = local_path(folder, "the folder of the corpus")
    check_writable(place / MANIFEST)
    lines = plan(seed=seed, tasks=tasks, size=size, languages=languages)
    for parent in {place, *(_file(place, line).parent for line in lines)}:
        sweep(parent)
    known = {} if overwrite else _kept(place, lines, noise)
    written = []
    for line in track(lines, "speaking", len(lines)):
        if line.id not in known:
            path = _file(place, line)
            utterance, content = _encoded(line, noise)
            if wanted(path, content, overwrite=overwrite):
                atomic_write(path, content)
            known[line.id] = replace(utterance, audio=path)
        written.append(known[line.id])
    keep_manifest(place / MANIFEST, written, overwrite=overwrite)
    return written


def _kept(place: Path, lines: list[Line], noise: float | None) -> dict[str, Utterance]:
    """The utterances whose files are there; an error if one, or the manifest, would have to change."""
    manifest = place / MANIFEST
    listed = os.path.lexists(manifest)
    if listed and [row.id for row in read_manifest(manifest, on_bad=lambda _: None)] != [line.id for line in lines]:
        what = f"'{manifest}' lists another corpus, or another size or seed"
        raise SottovoceError(f"{what}; give another folder, or overwrite it (--overwrite).")
    known: dict[str, Utterance] = {}
    rows = []
    for line in track(lines, "comparing", len(lines)):
        path = _file(place, line)
        there = os.path.lexists(path)
        if listed or there:
            utterance, content = _encoded(line, noise)
            wanted(path, content, overwrite=False)
            rows.append(replace(utterance, audio=path))
        if there:
            known[line.id] = rows[-1]
    if listed:
        wanted(manifest, manifest_text(rows, place).encode(), overwrite=False)
    return known


def _file(place: Path, line: Line) -> Path:
    return place / line.task / line.split / f"{line.id}.flac"


def _encoded(line: Line, noise: float | None) -> tuple[Utterance, bytes]:
    utterance = _said(line, noise)
    # As whole numbers: what is read back is what `make` gives, sample for sample.
    return utterance, encode_flac((np.asarray(utterance.audio) * 32768).astype(np.int16), SAMPLE_RATE)


def utterances(
    *,
    seed: int = 0,
    tasks: Sequence[str] = TASKS,
    size: float = 1.0,
    languages: Sequence[str] = (),
    noise: float | None = None,
) -> Iterator[Utterance]:
    """The utterances of `make` one by one, for a corpus that is larger than the memory.

    Example:
        >>> first = next(utterances(size=0.1))
    """
    lines = plan(seed=seed, tasks=tasks, size=size, languages=languages)
    for line in track(lines, "speaking", len(lines)):
        yield _said(line, noise)


def _said(line: Line, noise: float | None) -> Utterance:
    samples, phones = speak(line.spoken, line.voice)
    return Utterance(
        line.id,
        _recorded(samples, line, noise),
        len(samples) / SAMPLE_RATE,
        text=_plain(line.spoken),
        phones=phones,
        speaker=line.voice.name,
        label=line.label,
        # Read speech serves recognition, phones and verification at once.
        task=None if line.task == "read" else line.task,
        split=line.split,
        license=LICENSE,
    )


def plan(
    *, seed: int = 0, tasks: Sequence[str] = TASKS, size: float = 1.0, languages: Sequence[str] = ()
) -> list[Line]:
    """Who says what in which split, without a sound.

    In all tasks but "speakers", dev and test have voices (variants of espeak's voice) that train does not have.

    Example:
        >>> len(plan(tasks=["emotion"]))
        160
    """
    for task in tasks:
        if task not in TASKS:
            raise unknown("task", task, TASKS)
    for language in languages:
        if language not in LANGUAGES:
            raise unknown("language", language, LANGUAGES)
    if not 0 < size <= MOST:
        raise SottovoceError(
            f"size is {size:g}, but a number above 0 and up to {MOST:g} is wanted; 1 gives about half an hour."
        )
    if not 0 <= seed < SEEDS:
        raise SottovoceError(f"seed is {seed}, but a whole number from 0 to {SEEDS - 1} is wanted.")
    lines: list[Line] = []
    for task in [*tasks, *(["unlabelled"] if languages else [])]:
        seen: set[str] = set()
        for split, count in zip(SPLITS, COUNTS[task], strict=True):
            rng = random.Random(f"{seed}/{task}/{split}")
            voices = _speakers(seed) if task == "speakers" else _voices(seed)[split]
            drafts = _drafts(task, max(1, round(count * size)), voices, languages, rng, seen)
            for index, (label, spoken, voice) in enumerate(drafts):
                name = f"espeak{seed}-{task}-{split}-{index:05d}"
                # Nobody speaks at quite the same pitch, rate and level twice.
                pitch, rate = voice.pitch + rng.randint(-2, 2), voice.rate + rng.randint(-10, 10)
                level = LEVELS[str(label)] + rng.uniform(-1, 1) if task == "emotion" else rng.uniform(-30, -20)
                voice = replace(voice, pitch=pitch, rate=rate)
                lines.append(Line(name, task, split, spoken, voice, level, label))
    return lines


def _drafts(
    task: str, number: int, voices: list[Voice], languages: Sequence[str], rng: random.Random, seen: set[str]
) -> Iterator[tuple[str | None, str, Voice]]:
    """Label, text and voice of a task's utterances; no sentence that is in `seen` comes again."""
    turns = itertools.cycle(voices)
    if task == "read":
        for _ in range(number):
            yield None, _new_sentence(rng, seen), next(turns)
    elif task == "speakers":
        for voice in voices:
            for _ in range(number):
                yield voice.name, _new_sentence(rng, seen), voice
    elif task == "emotion":
        for style, (pitch, pitch_range, rate) in STYLES.items():
            # The same voices in each style, so that no voice gives a style away.
            for voice in itertools.islice(itertools.cycle(voices), number):
                styled = replace(voice, pitch=pitch, pitch_range=pitch_range, rate=rate)
                yield style, _new_sentence(rng, seen), styled
    elif task == "intents":
        for intent, wordings in INTENTS.items():
            for _ in range(number):
                yield intent, _filled(rng.choice(wordings.split("|")), rng), next(turns)
    elif task == "keywords":
        for label in [*KEYWORDS, UNKNOWN]:
            for _ in range(number):
                yield label, _filled(rng.choice(OTHERS.split()) if label == UNKNOWN else label, rng), next(turns)
    else:
        for language in languages:
            for _ in range(number):
                words = rng.choices(LANGUAGES[language].split(), k=rng.randint(4, 10))
                yield None, _filled(" ".join(words), rng), replace(next(turns), language=language)


def _voices(seed: int) -> dict[str, list[Voice]]:
    """The voices of each split in random order; no variant is in two, and each of dev and test has one accent."""
    rng = random.Random(f"{seed}/voices")
    voices: dict[str, list[Voice]] = {split: [] for split in SPLITS}
    for group in (HIGH.split(), LOW.split()):
        for turn, variant in enumerate(rng.sample(group, len(group))):
            split = "test" if turn < len(group) // 5 else "dev" if turn < len(group) // 3 else "train"
            for accent in rng.sample(ACCENTS, 3 if split == "train" else 1):
                voices[split].append(_voice(accent, variant, rng))
    return {split: rng.sample(pool, len(pool)) for split, pool in voices.items()}


def _speakers(seed: int) -> list[Voice]:
    """The voices to be told apart, each with a variant of its own."""
    rng = random.Random(f"{seed}/speakers")
    return [_voice(rng.choice(ACCENTS), variant, rng) for variant in rng.sample([*HIGH.split(), *LOW.split()], VOICES)]


def _voice(accent: str, variant: str, rng: random.Random) -> Voice:
    return Voice(accent, variant, rng.randint(42, 58), rng.randint(40, 60), rng.randint(158, 188))


def _new_sentence(rng: random.Random, seen: set[str]) -> str:
    while (sentence := _filled(rng.choice(SENTENCES), rng)) in seen:
        pass
    seen.add(sentence)
    return sentence


def _filled(template: str, rng: random.Random) -> str:
    """A template with words for its names, and a full stop if it has no question mark."""
    while "{" in template:
        template = re.sub(r"\{(\w+)\}", lambda match: rng.choice(WORDS[match[1]].split("|")), template)
    return template if template.endswith("?") else f"{template}."


def _plain(spoken: str) -> str:
    """As transcripts are written: upper case, and of all signs only the apostrophe."""
    return re.sub(r"[^\w' ]", "", spoken).upper()


def _recorded(samples: np.ndarray, line: Line, noise: float | None) -> np.ndarray:
    """The samples at the level of their line, with noise below them, as 16 bits would hold them."""
    level = float(np.sqrt(np.mean(samples**2)))
    gain = min(10 ** (line.level / 20) / level, 0.95 / float(np.abs(samples).max()))
    loud = gain * samples.astype(np.float64)
    if noise is not None:
        if not -100 <= noise <= 100:
            raise SottovoceError(f"noise is {noise}, but decibels from -100 to 100 below the speech are wanted.")
        generator = np.random.default_rng(random.Random(f"noise/{line.id}").getrandbits(64))
        hiss = generator.standard_normal(len(loud))
        if generator.random() < 0.5:
            # Pink: power falls with the frequency.
            spectrum = np.fft.rfft(hiss)
            hiss = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(loud))
        loud += hiss * gain * level * 10 ** (-noise / 20) / np.sqrt(np.mean(hiss**2))
    return (np.clip(np.round(loud * 32768), -32768, 32767) / 32768).astype(np.float32)
