"""How much of a task's score a cut may cost."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.tasks import find_task
from sottovoce.tasks.finetune import can_score
from sottovoce.tasks.kinds import Score
from sottovoce.tasks.task import Task, material, require


@dataclass(frozen=True)
class Target:
    """A share of what the whole model scores on a task.

    Example:
        >>> Target.of("95% of keywords").share
        0.95
    """

    share: float
    task: Task

    @classmethod
    def of(cls, text: str) -> "Target":
        """From words such as `95% of keywords`."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s+of\s+([\w-]+)\s*", text)
        if found is None or not 0 < float(found[1]) <= 100:
            raise SottovoceError(f"'{text}' is no target; write a share and a task, such as '95% of keywords'.")
        return cls(float(found[1]) / 100, find_task(found[2]))

    def check(self, model: Any, data: Sequence[Utterance] | None) -> None:
        """Refuse what nothing can be judged with, before any work."""
        name = self.task.name
        if not data or not can_score(self.task, model, data):
            raise SottovoceError(
                f"a share of {name} is of the score of the model's own head, and this one has none for it (or no data "
                "was given); fine-tune it first."
            )
        require(self.task, material(self.task, data), "dev")

    def least(self, whole: Score, data: Sequence[Utterance] | None) -> float:
        """What a cut must reach, where higher is better; an error where the whole model itself cannot do the task."""
        guess = guessing(self.task, data)
        if higher_is_better(whole) - whole.error <= guess:
            found = f"{whole.metric.replace('_', ' ')} {whole.value:.3f} ± {whole.error:.3f}"
            raise SottovoceError(
                f"{100 * self.share:g}% of {self.task.name} cannot be kept: the whole model itself has {found}, no "
                f"better than guessing ({guess:.3f}); fine-tune it longer, or name another task."
            )
        return self.share * higher_is_better(whole)


def higher_is_better(score: Score) -> float:
    """A score of which more is better: of an error rate, what it leaves of 1.

    Example:
        >>> higher_is_better(Score("per", 0.2, 0.01, "lower", 100))
        0.8
    """
    return score.value if score.better == "higher" else 1.0 - score.value


def guessing(task: Task, data: Sequence[Utterance] | None) -> float:
    """What always giving the most frequent answer would score on the dev split; 0 where answers are sequences."""
    if task.kind.verifies:
        return 0.5  # of an equal error rate
    answers = material(task, data)["dev"].answers
    if not task.kind.pooled or not answers:
        return 0.0
    return Counter(map(str, answers)).most_common(1)[0][1] / len(answers)
