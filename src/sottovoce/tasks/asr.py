"""Speech recognition by CTC over characters."""

import re

from sottovoce.data.utterance import Utterance
from sottovoce.tasks.kinds import DELIMITER, Transcribe
from sottovoce.tasks.task import Task


def characters(utterance: Utterance) -> list[str] | None:
    """The text in capitals, without punctuation, `|` between words."""
    words = re.findall(r"[^\W\d_](?:[^\W\d_]|(?<=\w)'(?=\w))*", (utterance.text or "").upper().replace("\u2019", "'"))
    return list(DELIMITER.join(words)) or None


ASR = Task(
    name="asr",
    about="speech recognition by CTC over characters",
    kind=Transcribe(words=True),
    answer=characters,
    needs="a text",
    paper="SUPERB (arXiv 2105.01051)",
)
