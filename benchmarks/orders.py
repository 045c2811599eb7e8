"""Accuracy against layers dropped without any training afterwards, for every order (paper 1's figure 2b).

python benchmarks/orders.py CORPUS MODEL...

The stored records are of speech-mini@FOLDER and the bundled models with heads for keywords and for speakers. Orders are
decided on speech that is in no test split, accuracies are of the test split; all cuts of a model in one pass.
"""

import sys
import time
from typing import get_args

from lib.corpora import shown
from lib.records import record

import sottovoce as sv
from sottovoce.models.heads import TASK
from sottovoce.studies.cuts import scores_of_cuts
from sottovoce.studies.orders import By, cuts_by
from sottovoce.tasks import TASKS

MOST = 100  # classes: Jacobians take a backward pass for each
NEEDS = {"speech": "speech-mini@FOLDER small-melhubert-keywords small-melhubert-speakers"}


def main(corpus: str, names: list[str]) -> None:
    """One record a model: for every order, the score and its interval by how many layers are gone."""
    data = sv.read_data(corpus)
    for name in names:
        model = sv.load(name)
        task = TASKS[getattr(model.config, TASK)]
        begin = time.perf_counter()
        few = len(model.config.id2label) <= MOST
        cuts = {by: cuts_by(model, data, by, task=task.name) for by in get_args(By) if few or by != "jacobian_rank"}
        ordered = time.perf_counter() - begin
        different = sorted({tuple(cut) for row in cuts.values() for cut in row})
        begin = time.perf_counter()
        scores = dict(zip(different, scores_of_cuts(task, model, data, different), strict=True))
        rows = {
            by: [
                {"kept": cut, "value": scores[tuple(cut)][0].value, "error": scores[tuple(cut)][0].error} for cut in row
            ]
            for by, row in cuts.items()
        }
        first = scores[different[0]][0]
        classes = len(set(model.config.id2label))
        record(
            f"orders_{task.name}",
            rows,
            command=f"python benchmarks/orders.py {shown(corpus)} {' '.join(names)}",
            model=name,
            metric=first.metric,
            n=first.n,
            classes=classes,
            cuts=len(different),
            seconds_of_orders=round(ordered, 1),
            seconds_of_scores=round(time.perf_counter() - begin, 1),
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
