"""Which keyword was said."""

from sottovoce.tasks.kinds import Classify
from sottovoce.tasks.task import Task

KEYWORDS = Task(
    name="keywords",
    about="which keyword was said",
    kind=Classify(),
    answer=lambda utterance: utterance.label,
    needs="a label",
    paper="SUPERB (arXiv 2105.01051)",
)
