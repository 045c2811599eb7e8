"""Which phone each frame belongs to."""

from sottovoce.tasks.kinds import Frames
from sottovoce.tasks.task import Task

PHONES = Task(
    name="phones",
    about="which phone each frame belongs to",
    kind=Frames(),
    answer=lambda utterance: utterance.phones or None,
    needs="phones and their times",
)
