"""What the speaker wants."""

from sottovoce.tasks.kinds import Classify
from sottovoce.tasks.task import Task

INTENTS = Task(
    name="intents",
    about="what the speaker wants",
    kind=Classify(),
    answer=lambda utterance: utterance.label,
    needs="a label",
    paper="SUPERB (arXiv 2105.01051)",
)
