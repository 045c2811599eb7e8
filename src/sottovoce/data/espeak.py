"""Speech without a corpus: espeak-ng says a text, and says itself when each phone begins.

espeak-ng is a library inside the wheel `espeakng-loader` (the extra `sottovoce[demo]`); it is called, not copied: what
it speaks is not covered by its own licence.
"""

import ctypes
import difflib
import itertools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from sottovoce.data.audio import SAMPLE_RATE, as_speech
from sottovoce.data.utterance import Phone
from sottovoce.errors import SottovoceError, unknown
from sottovoce.signals import deferred

SILENCE = "SIL"
# espeak_ng/speak_lib.h
_RETRIEVAL_AND_SYNCHRONOUS = 2
_PHONEME_EVENTS, _IPA, _DO_NOT_EXIT = 1, 2, 0x8000
_UTF8 = 1
_PHONEME = 7
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
# At espeak's own 100 some variants reach the end of the scale, where its gain control changes how they sound.
_LEVEL = 50
_NAME_BYTES = 8
# The engine is one for the whole process.
_LOCK = threading.Lock()
LIMITS = {"pitch": (0, 99), "pitch_range": (0, 99), "rate": (80, 450)}

# espeak's IPA in the accents of English, in the 39 phones of ARPAbet; the longest name that fits is taken.
ARPABET = {
    ipa: tuple(names.split())
    for names, list_ in {
        "IY": "iː i", "IH": "ɪ ᵻ ɨ", "EY": "eɪ eː e ɛɪ", "EH": "ɛ ɛː eə ɛə", "AE": "æ a æː", "AA": "ɑː ɑ aː a: ɒ ɑə",
        "AO": "ɔː ɔ ɔə oə oːə ɒː", "OW": "oʊ əʊ o oː ɔʊ", "UH": "ʊ", "UW": "uː u ʉ ʉː", "AH": "ʌ ə ɐ", "AY": "aɪ ɑɪ ʌɪ",
        "ER": "ɜː ɜ ɚ əɪ", "AW": "aʊ æʊ ʌʉ aʉ", "OY": "ɔɪ oɪ", "P": "p", "B": "b", "T": "t ɾ ʔ t̪", "D": "d d̪",
        "K": "k x", "G": "ɡ g", "CH": "tʃ", "JH": "dʒ", "F": "f", "V": "v", "TH": "θ", "DH": "ð", "S": "s", "Z": "z",
        "SH": "ʃ", "ZH": "ʒ", "HH": "h", "M": "m", "N": "n", "NG": "ŋ", "L": "l ɫ", "R": "ɹ r", "W": "w ʍ", "Y": "j ʲ",
        "IH AH": "iə ɪə", "UH AH": "ʊə", "AH N": "n̩", "AH L": "l̩", "AH M": "m̩",
    }.items()
    for ipa in list_.split()
}  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """A way of speaking: a language, a variant of espeak's voice, pitch and its range (0-99), and words a minute.

    Example:
        >>> Voice("en-gb", "f1", rate=150).name
        'en-gb+f1'
    """

    language: str = "en-us"
    variant: str = ""
    pitch: int = 50
    pitch_range: int = 50
    rate: int = 175

    @property
    def name(self) -> str:
        """Language and variant, as espeak writes them."""
        return f"{self.language}+{self.variant}" if self.variant else self.language


DEFAULT = Voice()


def speak(text: str, voice: Voice = DEFAULT) -> tuple[np.ndarray, tuple[Phone, ...]]:
    """The samples of a spoken text (float32 at 16 kHz) and its phones, which cover it from the first to the last.

    English has the 39 phones of ARPAbet, other languages have espeak's IPA without stress, and pauses are "SIL". The
    same text and voice give the same samples, whatever was spoken before.

    Example:
        >>> samples, phones = speak("hello")
        >>> [phone.name for phone in phones]
        ['SIL', 'HH', 'AH', 'L', 'OW', 'SIL']
    """
    if not any(letter.isalnum() for letter in text):
        raise SottovoceError(f"the text {text!r} has nothing to speak; give words.")
    if "\0" in text:
        raise SottovoceError(f"the text {text!r} holds a null character, which ends it; take it out.")
    native, marks, rate = _synthesize(text, voice)
    samples = as_speech(native.astype(np.float32) / 32768, rate, name=f"what espeak-ng spoke of {text!r}")
    # Resampling neither delays nor cuts: sample n of the one is at the time of sample n * 16000 / rate of the other.
    starts = [min(start / rate, len(samples) / SAMPLE_RATE) for start in _with_closures(native, marks)]
    ends = [*starts[1:], len(samples) / SAMPLE_RATE]
    phones: list[Phone] = []
    for (_, name), start, end in zip(marks, starts, ends, strict=True):
        names = _names(name, voice.language)
        cuts = [start + (end - start) * part / len(names) for part in range(len(names))] + [end]
        for part, begin, stop in zip(names, cuts, cuts[1:], strict=False):
            if phones and part == phones[-1].name == SILENCE:
                phones[-1] = Phone(SILENCE, phones[-1].start, stop)
            elif stop > begin:
                phones.append(Phone(part, begin, stop))
    return samples, tuple(phones)


@cache
def languages() -> dict[str, str]:
    """The languages that espeak-ng speaks, each with its file.

    Example:
        >>> languages()["en-us"]
        'gmw/en-US'
    """
    folder = _data() / "lang"
    found: dict[str, tuple[int, str]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["language"]:
                # Accents name their language as well, with a larger number than the one that is meant by it.
                place = (int(words[2]) if len(words) > 2 else 5, path.relative_to(folder).as_posix())
                found[words[1]] = min(found.get(words[1], place), place)
    return {language: place for language, (_, place) in sorted(found.items())}


@cache
def variants() -> tuple[str, ...]:
    """The variants of a voice that espeak-ng has, less those whose name it would not take (with a space).

    Example:
        >>> "f1" in variants()
        True
    """
    return tuple(sorted(path.name for path in (_data() / "voices" / "!v").iterdir() if " " not in path.name))


def _wheel() -> ModuleType:
    try:
        import espeakng_loader
    except ImportError as error:
        raise SottovoceError(
            "espeak-ng is not installed, but speech is to be made with it; run pip install 'sottovoce[demo]'."
        ) from error
    return espeakng_loader


def _data() -> Path:
    return Path(_wheel().get_data_path())


def _checked(voice: Voice) -> str:
    """The name under which espeak finds a voice; it would take a wrong one without a word, and speak with another."""
    for kind, name, known in (("language", voice.language, languages()), ("voice variant", voice.variant, variants())):
        if name not in known and (name or kind == "language"):
            # There are more than a hundred of each: the nearest will do.
            raise unknown(kind, name, difflib.get_close_matches(name, known, n=5, cutoff=0))
    for setting, (low, high) in LIMITS.items():
        value = getattr(voice, setting)
        if not low <= value <= high:
            raise SottovoceError(
                f"the voice has {setting}={value}, but espeak-ng takes {low}-{high}; give one of these."
            )
    return languages()[voice.language] + (f"+{voice.variant}" if voice.variant else "")


class _Name(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_void_p), ("string", ctypes.c_ubyte * _NAME_BYTES)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Name),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _synthesize(text: str, voice: Voice) -> tuple[np.ndarray, list[tuple[int, str]], int]:
    """The 16-bit samples of a text, the first sample and the name of each of its phonemes, and the sample rate."""
    place = _checked(voice)
    chunks: list[bytes] = []
    # What stands before the first phoneme is a pause.
    marks = [(0, "")]

    interrupted: list[BaseException] = []

    def take(samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]") -> int:
        try:
            if samples and count:
                chunks.append(ctypes.string_at(samples, 2 * count))
            marks.extend(_phonemes(events))
        except BaseException as error:
            # ctypes would drop it, and with it a piece of the speech.
            interrupted.append(error)
        return len(interrupted)

    callback = _CALLBACK(take)
    with _fresh_library() as library:
        rate = library.espeak_Initialize(
            _RETRIEVAL_AND_SYNCHRONOUS, 0, str(_data()).encode(), _PHONEME_EVENTS | _IPA | _DO_NOT_EXIT
        )
        if rate <= 0:
            raise SottovoceError(f"espeak-ng cannot start with the data in {_data()}; install it into a shorter path.")
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(place.encode()):
            raise SottovoceError(f"espeak-ng cannot load the voice '{voice.name}'; give another, or install it again.")
        for parameter, value in {
            _RATE: voice.rate,
            _VOLUME: _LEVEL,
            _PITCH: voice.pitch,
            _RANGE: voice.pitch_range,
        }.items():
            library.espeak_SetParameter(parameter, value, 0)
        _seed(library)
        encoded = text.encode()
        if library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 0, 0, _UTF8, None, None):
            raise SottovoceError(f"espeak-ng cannot speak {text!r}; give another text.")
    if interrupted:
        raise interrupted[0]
    return np.frombuffer(b"".join(chunks), dtype=np.int16), marks, rate


def _phonemes(events: "ctypes._Pointer[_Event]") -> Iterator[tuple[int, str]]:
    """First sample and name of the phonemes in a list of events; `audio_position` is cut to whole milliseconds."""
    for index in itertools.count():
        event = events[index]
        if not event.type:
            return
        if event.type == _PHONEME:
            name = _decoded(bytes(event.id.string))
            # "(en)" is none: it says that what follows is a word of another language.
            if not name.startswith("("):
                yield event.sample, name


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """The library as it is when it has just been loaded.

    espeak keeps where it is in its flutter of the pitch, its gain control and more in variables that nothing resets,
    neither a new voice nor a new start; so the second utterance would depend on the first. Loading takes some
    milliseconds.

    Signals wait until it is unloaded: what a handler raises at the door of a callback, before its first line, is
    dropped by ctypes, and a piece of the speech with it; and a library that stays loaded is no longer as new.
    """
    with deferred(), _LOCK:
        library = ctypes.CDLL(_wheel().get_library_path())
        try:
            yield library
        finally:
            library.espeak_Terminate()
            _unload(library)


def _seed(library: ctypes.CDLL) -> None:
    """Let the noises of breath begin at the same place; starting the engine has seeded them with the time of day."""
    if hasattr(library, "espeak_ng_SetRandSeed"):
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    # Some of them, and in older versions all, come from the C library instead.
    ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).srand(1)


def _unload(library: ctypes.CDLL) -> None:
    # ctypes itself never unloads what it has loaded.
    import _ctypes

    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)


def _decoded(name: bytes) -> str:
    """The name in an event: at most eight bytes, cut even inside a letter."""
    text = name.split(b"\0")[0].decode("utf-8", errors="ignore")
    return text.translate({ord(sign): None for sign in "ˈˌ-\u200d"})


def _with_closures(samples: np.ndarray, marks: list[tuple[int, str]]) -> list[int]:
    """Where each phoneme begins, the silence before a stop's burst counted to the stop.

    espeak puts that silence before its event, behind the vowel. It is exactly zero, unless the variant has an echo.
    """
    starts = [marks[0][0]]
    for (last, before), (start, name) in zip(marks, marks[1:], strict=False):
        if name and before:
            loud = np.flatnonzero(samples[last:start])
            start = last + int(loud[-1]) + 1 if len(loud) else start
        starts.append(start)
    return starts


def _names(ipa: str, language: str) -> tuple[str, ...]:
    """The names that a phoneme gets: ARPAbet in English, or else its IPA."""
    if not ipa:
        return (SILENCE,)
    return _arpabet(ipa) if language.split("-")[0] == "en" else (ipa,)


@cache
def _arpabet(ipa: str) -> tuple[str, ...]:
    names: tuple[str, ...] = ()
    rest = ipa
    while rest:
        head = next((rest[:length] for length in range(len(rest), 0, -1) if rest[:length] in ARPABET), None)
        if head is None:
            raise SottovoceError(f"espeak-ng's phoneme '{ipa}' has no name in ARPAbet; give other words.")
        names, rest = names + ARPABET[head], rest[len(head) :]
    return names
