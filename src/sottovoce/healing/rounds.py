"""Cutting a little, training on, cutting a little more."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.healing.continuing import heal
from sottovoce.healing.objectives import Objective, objective_of
from sottovoce.training import Training


@dataclass(frozen=True)
class Heal:
    """How a model is trained on after each cut: updates (0 for none), rate, utterances in a batch.

    Adam at a constant rate, as paper 5's code has it.

    Example:
        >>> Heal(steps=25_000, lr=1e-5, batch=4).settings(seed=0).schedule
        'constant'
    """

    steps: int = 0
    lr: float = 1e-5
    batch: float = 4

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise SottovoceError(f"steps={self.steps}, but a number of updates is wanted: at least 0.")
        if not self.batch > 0:
            raise SottovoceError(f"batch={self.batch}, but at least 1 utterance is wanted.")
        self.settings(seed=0)

    def settings(self, *, seed: int) -> Training:
        """The settings of one round."""
        return Training.adam(max(1, self.steps), self.lr, clip=10.0, seed=seed)


def portions(total: int, rounds: int) -> list[int]:
    """A number in so many parts that are as even as can be.

    Example:
        >>> portions(11, 3)
        [4, 3, 4]
    """
    ends = [round(total * number / rounds) for number in range(rounds + 1)]
    return [after - before for before, after in zip(ends, ends[1:], strict=False)]


def in_rounds(
    model: Any,
    data: Sequence[Utterance] | None,
    rounds: int,
    cut: Callable[[Any, Objective | None, int], None],
    how: Heal,
    *,
    task: str | None = None,
    looks: bool = False,
    seed: int = 0,
) -> Any:
    """Cut in place and train on, so often; `cut` gets the model, what it is trained for, and the number of the round.

    What it is trained for is None where nothing is trained, unless `cut` looks at it.

    Example:
        >>> in_rounds(model, data, 11, lambda model, objective, number: ..., Heal(steps=25_000))
    """
    if rounds < 1:
        raise SottovoceError(f"rounds={rounds}, but at least 1 is wanted.")
    with wanted(model, data, how, task, looks=looks) as objective:
        for number in range(1, rounds + 1):
            cut(model, objective, number)
            if objective is not None and how.steps:
                model = heal(model, objective, how.settings(seed=seed + number), name=f"round-{number}")
    return model


@contextmanager
def wanted(
    model: Any, data: Sequence[Utterance] | None, how: Heal, task: str | None, *, looks: bool
) -> Iterator[Objective | None]:
    """What the model is trained for, where that matters."""
    if not (how.steps or looks):
        yield None
        return
    with objective_of(model, data, task=task, size=how.batch, looks=looks) as objective:
        yield objective
