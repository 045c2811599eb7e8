"""Phone recognition by CTC: the phones without their times."""

from sottovoce.data.pronouncing import by_espeak, phones_of
from sottovoce.data.utterance import Utterance
from sottovoce.tasks.kinds import SILENCE, Transcribe
from sottovoce.tasks.task import Task


def spoken(utterance: Utterance) -> list[str] | None:
    """The phones without silence, or how the text is pronounced where the phones have no times."""
    heard = [phone.name for phone in utterance.phones or () if phone.name != SILENCE]
    return heard or list(utterance.pronunciation or ()) or None


def by_text(utterance: Utterance) -> list[str] | None:
    """The phones of a text as espeak-ng says its words; what has no words has no answer.

    Example:
        >>> by_text(Utterance("a", Path("a.wav"), 1.0, text="bear"))
        ['B', 'EH', 'R']
    """
    return phones_of(utterance.text or "", by_espeak)[0] or None


PR = Task(
    name="pr",
    about="phone recognition by CTC",
    kind=Transcribe(),
    answer=spoken,
    needs="phones, a pronunciation (`sottovoce corpus pronounce`), or a text that espeak-ng can say",
    paper="SUPERB (arXiv 2105.01051)",
    otherwise=by_text,
)
