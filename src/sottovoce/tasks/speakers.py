"""Which of the known speakers is speaking."""

from sottovoce.tasks.kinds import Classify
from sottovoce.tasks.task import Task

SPEAKERS = Task(
    name="speakers",
    about="which of the known speakers is speaking",
    kind=Classify(),
    answer=lambda utterance: utterance.label if utterance.task == "speakers" else utterance.speaker,
    needs="a speaker",
    paper="SUPERB (arXiv 2105.01051)",
)
