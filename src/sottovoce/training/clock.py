"""What trainings took: each that ends tells whoever listens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sottovoce.measurement import Measurement


@dataclass(frozen=True)
class Trained:
    """A training that ended.

    Args:
        seconds: the time of all processes that had a part in it one after another, validations and checkpoints
            included; what a killed process had done since its last checkpoint, and had to be done again, is not.

    Example:
        >>> Trained("finetune", updates=100, seconds=12.5).updates
        100
    """

    name: str
    updates: int
    seconds: float


_HEARD: ContextVar[list[Trained] | None] = ContextVar("trainings", default=None)


@contextmanager
def trainings() -> Iterator[list[Trained]]:
    """A list of the trainings that end inside, but for those inside the validation of another one.

    Example:
        >>> with trainings() as found:
        ...     tuned = sv.finetune(model, data, task="keywords", train={"steps": 3})
        >>> [(training.name, training.updates) for training in found]
        [('finetune', 3)]
    """
    heard: list[Trained] = []
    token = _HEARD.set(heard)
    try:
        yield heard
    finally:
        _HEARD.reset(token)


def ended(training: Trained) -> None:
    """Tell that a training ended.

    Example:
        >>> ended(Trained("finetune", updates=100, seconds=12.5))
    """
    heard = _HEARD.get()
    if heard is not None:
        heard.append(training)


def training_time(number: int, name: str, found: Sequence[Trained]) -> Measurement:
    """What the trainings of a step took, as a row: seconds, over so many updates.

    Example:
        >>> training_time(1, "finetune", [Trained("finetune", updates=100, seconds=12.5)]).value
        12.5
    """
    seconds, updates = sum(one.seconds for one in found), sum(one.updates for one in found)
    where = {"step": number, "method": name}
    return Measurement("training", "seconds", round(seconds, 3), "s", "lower", where, n=updates)
