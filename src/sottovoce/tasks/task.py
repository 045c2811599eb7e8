"""What a task is, and which utterances of some data are for it."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.progress import track
from sottovoce.tasks.kinds import Kind

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Task:
    """A task: what is asked of an utterance (None where it cannot be asked), and how answers are learnt and scored.

    Example:
        >>> KEYWORDS.answer(Utterance("a", samples, 1.0, label="yes"))
        'yes'
    """

    name: str
    about: str
    kind: Kind
    answer: Callable[[Utterance], Any]
    needs: str
    paper: str = ""
    otherwise: Callable[[Utterance], Any] | None = None  # asked where no utterance has an answer


@dataclass(frozen=True)
class Material:
    """The utterances of one split that a task can use, with their answers.

    Example:
        >>> len(Material((), ()))
        0
    """

    utterances: tuple[Utterance, ...]
    answers: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.utterances)


def material(
    task: Task, data: Sequence[Utterance] | None, *, limit: int | None = None, seed: int = 0
) -> dict[str, Material]:
    """The splits of some data for a task; `limit` takes so many of each, by chance.

    Example:
        >>> len(material(KEYWORDS, data, limit=100)["train"])
        100
    """
    if data is None:
        raise SottovoceError(f"{task.name} needs data: utterances with {task.needs}; give --data.")
    if limit is not None and limit < 1:
        raise SottovoceError(f"{task.name}: limit={limit}, but at least 1 utterance of a split is wanted.")
    splits = {split: answered(task, data, split, task.answer, limit, seed) for split in SPLITS}
    if task.otherwise is not None and not any(splits.values()):
        splits = {split: answered(task, data, split, task.otherwise, limit, seed) for split in SPLITS}
    counts = Counter(utterance.id for part in splits.values() for utterance in part.utterances)
    if counts and counts.most_common(1)[0][1] > 1:
        raise SottovoceError(
            f"{task.name}: the id '{counts.most_common(1)[0][0]}' stands for several utterances; give each its own."
        )
    return splits


def answered(
    task: Task, data: Sequence[Utterance], split: str, answer: Callable[[Utterance], Any], limit: int | None, seed: int
) -> Material:
    """The utterances of a split that have an answer; with a limit so many of them, by chance.

    Example:
        >>> len(answered(KEYWORDS, data, "train", KEYWORDS.answer, 100, seed=0))
        100
    """
    rows = [u for u in data if u.split == split and u.task in (None, task.name)]
    # Lines that are for this very task stand before lines that serve any.
    rows = [u for u in rows if u.task == task.name] or rows
    asked = track(rows, f"{task.name}: answers of {split}", len(rows))
    pairs = [(utterance, found) for utterance in asked if (found := answer(utterance)) is not None]
    if limit is not None and len(pairs) > limit:
        pairs = random.Random(f"{seed}/{split}").sample(pairs, limit)
    return Material(tuple(u for u, _ in pairs), tuple(found for _, found in pairs))


def require(task: Task, splits: dict[str, Material], *wanted: str) -> None:
    """An error if a split has nothing for the task."""
    for split in wanted:
        if not splits[split]:
            counts = ", ".join(f"{name} {len(part)}" for name, part in splits.items())
            raise SottovoceError(
                f"{task.name}: the {split} split has no utterance with {task.needs} ({counts}); give other data."
            )
