"""Corpora as benchmarks take them and as records name them."""

import sottovoce as sv
from sottovoce.data.utterance import Utterance
from sottovoce.tasks import TASKS


def shown(corpus: str) -> str:
    """A corpus as a command names it, without the place where it lies here."""
    return corpus.partition("@")[0] + "@FOLDER" * ("@" in corpus)


def of_task(corpus: str, task: str) -> list[Utterance]:
    """The lines of a corpus that have an answer for a task and are for no other."""
    answered = [u for u in sv.read_data(corpus) if TASKS[task].answer(u) is not None]
    return [u for u in answered if u.task in (None, task)]
