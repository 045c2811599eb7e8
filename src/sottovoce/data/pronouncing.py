"""The phones of a text where nobody has aligned them: from a lexicon, or as espeak-ng says each word."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError, cut
from sottovoce.files import local_path, read_text
from sottovoce.progress import track

ESPEAK = "espeak"
LARGEST = 1 << 26  # bytes of a lexicon; CMU's has 3.6 million
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
Say = Callable[[str], tuple[str, ...] | None]


def pronounced(
    utterances: Sequence[Utterance], by: str | Path = ESPEAK, *, on_bad: Callable[[str], None] | None = None
) -> list[Utterance]:
    """Utterances with the phones of their texts, for phone recognition; those that have phones or no text stay.

    `by` is a lexicon in the form of CMU's (a word and its phones a line), or espeak-ng, with the 39 phones of ARPAbet
    in English. A word that a lexicon lacks is an error; with `on_bad` that is told instead, and the utterance left out.

    Example:
        >>> pronounced([Utterance("a", Path("a.wav"), 1.0, text="we call it bear")])[0].pronunciation[:2]
        ('W', 'IY')
    """
    say = by_espeak if str(by) == ESPEAK else lexicon(local_path(by, "the lexicon")).get
    found = []
    for utterance in track(utterances, "pronouncing", len(utterances)):
        if utterance.phones or not utterance.text:
            found.append(utterance)
            continue
        phones, missing = phones_of(utterance.text, say)
        if missing is None and phones:
            found.append(replace(utterance, pronunciation=tuple(phones)))
            continue
        why = "its text has no words" if missing is None else f"nothing says how '{cut(missing)}' is pronounced"
        message = f"'{utterance.id}': {why}; correct it, or take --by espeak"
        if on_bad is None:
            raise SottovoceError(f"{message}.")
        on_bad(message)
    return found


def phones_of(text: str, say: Say) -> tuple[list[str], str | None]:
    """The phones of a text word by word, and the first word that nobody knows.

    Example:
        >>> phones_of("To be.", {"to": ("T", "UW"), "be": ("B", "IY")}.get)
        (['T', 'UW', 'B', 'IY'], None)
    """
    phones: list[str] = []
    for word in words_in(text):
        said = say(word)
        if said is None:
            return phones, word
        phones += said
    return phones, None


def words_in(text: str) -> Iterable[str]:
    """The words of a text in small letters, without what stands between them.

    Example:
        >>> list(words_in("IT'S over; 'bear'"))
        ["it's", 'over', 'bear']
    """
    return WORD.findall(text.lower().replace("\u2019", "'"))


@cache  # a corpus says the same words again and again
def by_espeak(word: str) -> tuple[str, ...]:
    """A word as espeak-ng says it alone.

    Example:
        >>> by_espeak("bear")
        ('B', 'EH', 'R')
    """
    from sottovoce.data.espeak import SILENCE, speak  # its library is loaded when somebody wants it

    return tuple(phone.name for phone in speak(word)[1] if phone.name != SILENCE)


def lexicon(path: Path) -> dict[str, tuple[str, ...]]:
    """A lexicon: a word and its phones a line, without marks of stress; the first of several pronunciations.

    Example:
        >>> lexicon(Path("cmudict.dict"))["bear"]
        ('B', 'EH', 'R')
    """
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(read_text(path, "the lexicon", largest=LARGEST).splitlines(), start=1):
        word, *phones = line.partition("#")[0].partition(";;;")[0].split() or [""]
        if not word:
            continue
        if not phones:
            raise SottovoceError(
                f"{path}, line {number}: '{cut(word)}' has no phones; a word and its phones are wanted."
            )
        plain = re.sub(r"\(\d+\)$", "", word.lower())
        found.setdefault(plain, tuple(phone.rstrip("012") for phone in phones))
    if not found:
        raise SottovoceError(f"{path} has no words; give a lexicon: a word and its phones a line.")
    return found
