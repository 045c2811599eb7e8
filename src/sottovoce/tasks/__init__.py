"""What compressed models are judged by: one file a task, each for a frozen encoder and for a fine-tuned one."""

from sottovoce.errors import unknown
from sottovoce.tasks.asr import ASR
from sottovoce.tasks.emotion import EMOTION
from sottovoce.tasks.intents import INTENTS
from sottovoce.tasks.keywords import KEYWORDS
from sottovoce.tasks.phones import PHONES
from sottovoce.tasks.pr import PR
from sottovoce.tasks.speakers import SPEAKERS
from sottovoce.tasks.task import Task
from sottovoce.tasks.verification import VERIFICATION


def find_task(name: str) -> Task:
    """A task by its name, or an error that names the nearest.

    Example:
        >>> find_task("keyword")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: unknown task 'keyword'; did you mean 'keywords'? ...
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


TASKS: dict[str, Task] = {
    task.name: task for task in (PHONES, PR, ASR, KEYWORDS, SPEAKERS, VERIFICATION, EMOTION, INTENTS)
}
