"""Phone recognition by CTC: the phones without their times."""

from sottovoce.data.utterance import Utterance
from sottovoce.tasks.kinds import SILENCE, Transcribe
from sottovoce.tasks.task import Task


def spoken(utterance: Utterance) -> list[str] | None:
    """The phones without silence, or how the text is pronounced where the phones have no times."""
    heard = [phone.name for phone in utterance.phones or () if phone.name != SILENCE]
    return heard or list(utterance.pronunciation or ()) or None


PR = Task(
    name="pr",
    about="phone recognition by CTC",
    kind=Transcribe(),
    answer=spoken,
    needs="phones, or a pronunciation (`sottovoce corpus pronounce`)",
    paper="SUPERB (arXiv 2105.01051)",
)
