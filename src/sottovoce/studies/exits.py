"""When utterances may leave a stack of shared layers: what each threshold scores, and how many steps it spares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sottovoce.data.utterance import Utterance
from sottovoce.models.edits import shared_stack, use_exit
from sottovoce.models.encoder import Encoder
from sottovoce.models.parts import Repeated
from sottovoce.studies.speech import ready
from sottovoce.tasks.batch import Questions
from sottovoce.tasks.finetune import Headed, head_labels
from sottovoce.tasks.kinds import GREEDY, Score
from sottovoce.tasks.probe import check_answers, judge
from sottovoce.tasks.task import Task, material, require

THRESHOLDS = 16


@dataclass(frozen=True)
class Exit:
    """What a threshold does.

    Args:
        threshold: the change of a step; None for none: every utterance runs all steps.
        steps: how many steps utterances run on average, each counting as long as it lasts.
        score: of the model's own head.

    Example:
        >>> found[0].threshold is None
        True
    """

    threshold: float | None
    steps: float
    score: Score


def scores_of_exits(
    task: Task,
    model: Any,
    data: Sequence[Utterance] | None,
    *,
    least: int = 1,
    thresholds: Sequence[float] | None = None,
    split: str = "dev",
    size: float = 16,
    limit: int | None = None,
    seed: int = 0,
) -> list[Exit]:
    """The whole stack, then each threshold, the most careful first; where none are given, 16 between what steps change.

    Example:
        >>> scores_of_exits(TASKS["keywords"], tuned, data)[0].steps
        12.0
    """
    splits = material(task, data, limit=limit, seed=seed)
    require(task, splits, split)
    labels = head_labels(model)
    check_answers(task, splits, labels, split)
    headed, layers = Headed(task, model), shared_stack(model)
    questions = Questions(task, splits[split], Encoder(model, outputs=True), size=size)
    before, whole = layers.exits, len(layers.order)
    use_exit(model, 0.0, least=least)  # refuses what cannot leave; from here on the switch alone is moved
    try:
        with ready(Encoder(model)):
            if thresholds is None:
                layers.exits = (0.0, 1)
                spread = changes_of(model, headed, questions)
                thresholds = sorted({float(q) for q in np.quantile(spread, np.linspace(0.02, 0.98, THRESHOLDS))})
            run = np.zeros((1 + len(thresholds), 2))

            def outputs(batch: Any) -> list[torch.Tensor]:
                found = []
                for row, threshold in enumerate([0.0, *thresholds]):
                    layers.exits = (threshold, whole if row == 0 else least)
                    found.append(headed.outputs(batch)[0])
                    lengths = batch.frames.double().cpu().numpy()
                    run[row] += [float((depths_of(layers) * lengths).sum()), float(lengths.sum())]
                return found

            scores = judge(outputs, questions, labels, GREEDY)
    finally:
        threshold, fewest = before or (None, 1)
        use_exit(model, threshold, least=fewest)
    means = run[:, 0] / run[:, 1]
    return [
        Exit(threshold, float(mean), found[0])
        for threshold, mean, found in zip([None, *thresholds], means, scores, strict=True)
    ]


def depths_of(layers: Repeated) -> np.ndarray:
    """How many steps each utterance of the last pass ran.

    Example:
        >>> depths_of(shared_stack(model))
        array([4, 12])
    """
    assert layers.last is not None and layers.last.depths is not None
    return layers.last.depths.cpu().numpy()


def changes_of(model: Any, headed: Headed, questions: Questions) -> np.ndarray:
    """What each step changes in each utterance, as the whole stack runs."""
    rows = []
    layers = shared_stack(model)
    with torch.no_grad():
        for items in questions.plan(0):
            headed.outputs(questions.load(items).to(next(model.parameters()).device))
            assert layers.last is not None
            rows += [change.cpu().numpy() for change in layers.last.changes]
    return np.concatenate(rows)
