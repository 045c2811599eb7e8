"""Whether two utterances are of one speaker, who need not be known."""

from sottovoce.tasks.kinds import Classify
from sottovoce.tasks.task import Task

VERIFICATION = Task(
    name="verification",
    about="whether two utterances are of one speaker, known or not",
    kind=Classify(verifies=True),
    answer=lambda utterance: utterance.speaker,
    needs="a speaker",
    paper="SUPERB (arXiv 2105.01051)",
)
