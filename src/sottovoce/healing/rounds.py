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
    """How a model is trained on between cuts: updates after each (0 for none), learning rate, utterances in a batch.

    Adam at a constant rate, as paper 5's code has it. `steps` may be a list, with a number of updates for each round.
    `before` are updates before the first cut.

    Example:
        >>> Heal(steps=25_000, lr=1e-5, batch=4).settings(25_000, seed=0).schedule
        'constant'
        >>> Heal(steps=[25_000, 40_000], before=1000).after(2)
        40000
    """

    steps: int | list[int] = 0
    lr: float = 1e-5
    batch: float = 4
    before: int | None = None

    def __post_init__(self) -> None:
        counts = self.steps if isinstance(self.steps, list) else [self.steps]
        if not counts or min(counts) < 0:
            raise SottovoceError(
                f"steps={self.steps}, but a number of updates is wanted, or one for each round: at least 0."
            )
        if (self.before or 0) < 0:
            raise SottovoceError(f"before={self.before}, but a number of updates is wanted: at least 0.")
        if not self.batch > 0:
            raise SottovoceError(f"batch={self.batch}, but at least 1 utterance is wanted.")
        self.settings(1, seed=0)

    def settings(self, steps: int, *, seed: int) -> Training:
        """The settings of so many updates."""
        return Training.adam(steps, self.lr, clip=10.0, seed=seed)

    @property
    def trains(self) -> bool:
        """Whether there is an update at all."""
        return bool(self.before) or any(self.steps if isinstance(self.steps, list) else [self.steps])

    def after(self, number: int) -> int:
        """The updates after a round, counted from 1; after round 0, those before the first cut."""
        if not number:
            return self.before or 0
        return self.steps[number - 1] if isinstance(self.steps, list) else self.steps

    def check(self, rounds: int) -> None:
        """Refuse a list that is not of so many rounds."""
        if isinstance(self.steps, list) and len(self.steps) != rounds:
            raise SottovoceError(
                f"heal.steps has {len(self.steps)} numbers, but there are {rounds} rounds; give one for each, or one "
                "for all."
            )


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
    """Cut in place and train on, in rounds; `cut` gets the model, what it is trained for, and the number of the round.

    What it is trained for is None where nothing is trained, unless `cut` looks at it.

    Example:
        >>> in_rounds(model, data, 11, lambda model, objective, number: ..., Heal(steps=25_000))
    """
    if rounds < 1:
        raise SottovoceError(f"rounds={rounds}, but at least 1 is wanted.")
    how.check(rounds)
    with wanted(model, data, how, task, looks=looks) as objective:
        for number in range(rounds + 1):
            if number:
                cut(model, objective, number)
            model = healed(model, objective, how, number, seed=seed + number, name=f"round-{number}")
    return model


def healed(model: Any, objective: Objective | None, how: Heal, number: int, *, seed: int, name: str) -> Any:
    """The model trained on after a round; as it is where no updates follow.

    Example:
        >>> healed(model, objective, Heal(steps=100), 1, seed=1, name="round-1")
    """
    steps = how.after(number)
    if objective is None or not steps:
        return model
    return heal(model, objective, how.settings(steps, seed=seed), name=name)


@contextmanager
def wanted(
    model: Any, data: Sequence[Utterance] | None, how: Heal, task: str | None, *, looks: bool
) -> Iterator[Objective | None]:
    """What the model is trained for, where that matters."""
    if not (how.trains or looks):
        yield None
        return
    with objective_of(model, data, task=task, size=how.batch, looks=looks) as objective:
        yield objective
