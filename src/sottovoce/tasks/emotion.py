"""Which emotion was acted."""

from sottovoce.tasks.kinds import Classify
from sottovoce.tasks.task import Task

EMOTION = Task(
    name="emotion",
    about="which emotion was acted",
    kind=Classify(),
    answer=lambda utterance: utterance.label,
    needs="a label",
    paper="SUPERB (arXiv 2105.01051)",
)
