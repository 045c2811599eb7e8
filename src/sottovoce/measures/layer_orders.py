"""What a task loses as layers go in an order, without any training afterwards."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal, get_args

import numpy as np

from sottovoce.errors import SottovoceError, unknown
from sottovoce.healing import own_task
from sottovoce.measurement import Measurement
from sottovoce.registry import register_measure
from sottovoce.studies.cuts import scores_of_cuts
from sottovoce.studies.orders import By, Cut, cuts_by, seen
from sottovoce.tasks.kinds import Score
from sottovoce.tasks.task import Task
from sottovoce.views import Lines, Shown

VERSION = 2  # the first scored the test split
ORDERS = ["forward", "backward", "bi", "knn_bi_averaged"]
SHARES = (0.025, 0.975)  # of the runs that score less: the edges of the paper's bands
CURVES = Lines("dropped", x_label="layers left out", y="score", band="quantile")


@register_measure(
    paper="arXiv 2409.16302",
    version=VERSION,
    shown=Shown("Orders of layers", (CURVES,), place=55),
)
def layer_orders(
    model: Any,
    data: Any = None,
    *,
    by: list[str] = ORDERS,
    split: Literal["dev", "test"] = "dev",
    task: str | None = None,
    runs: int = 1,
    limit: int | None = None,
    seed: int = 0,
) -> list[Measurement]:
    """The score of the model's own head on a split by how many layers are gone, in each of some orders.

    The dev split, as in the paper, unless another is asked for. Orders are those of `drop_layers`, decided on speech
    that is in no test split. All cuts of all orders are scored in one pass, in which those that begin alike share
    their beginning. With more `runs` than one, each decides the orders on other recordings, and with a `limit` is
    scored on other utterances, drawn by `seed`, `seed + 1`, ...: each value is then the mean over the runs, and beside
    it stand the 2.5 and 97.5 % quantiles of the runs, at the coordinate `quantile`. The paper has 5 runs of 128.

    Example:
        >>> layer_orders(tuned, data, by=["forward", "bi"])[3].where
        {'order': 'forward', 'dropped': 3}
    """
    wrong = [name for name in by if name not in get_args(By)]
    if wrong or not by:
        raise unknown("order", wrong[0] if wrong else "", get_args(By))
    chosen = own_task(model, data or (), task)
    if chosen is None:
        raise SottovoceError(
            "layer_orders needs data and a model with a head for one of its tasks; fine-tune it first."
        )
    orders: list[By] = [name for name in get_args(By) if name in by]
    cuts = [cuts_of(model, data, orders, chosen, (seed + run) % 2**32) for run in range(runs)]
    rows: list[Measurement] = []
    scores = scores_of_runs(model, data, chosen, cuts, split=split, limit=limit, seed=seed)
    for name in orders:
        for gone in range(len(cuts[0][name])):
            found = [own[tuple(ours[name][gone])] for own, ours in zip(scores, cuts, strict=True)]
            rows += told(found, chosen, {"order": name, "dropped": gone})
    return rows


def cuts_of(model: Any, data: Any, orders: Sequence[By], task: Task, seed: int) -> dict[By, list[Cut]]:
    """The cuts of each order; what they have in common is heard once."""
    alike = cache(partial(seen, model, data, batch=128, limit=640, seed=seed))
    return {name: cuts_by(model, data, name, task=task.name, seed=seed, alike=alike) for name in orders}


def scores_of_runs(
    model: Any,
    data: Any,
    task: Task,
    cuts: Sequence[dict[By, list[Cut]]],
    *,
    split: str,
    limit: int | None,
    seed: int,
) -> list[dict[tuple[int, ...], Score]]:
    """The score of every cut of each run; where all runs are of the same utterances, in one pass for all of them."""
    wanted = [{tuple(cut) for row in own.values() for cut in row} for own in cuts]
    wanted = [set().union(*wanted)] if limit is None else wanted
    found = []
    for run, own in enumerate(wanted):
        different = sorted(own)
        draws = 1000 if len(cuts) == 1 else 5  # for the intervals of one run; several runs have their spread
        options: dict[str, Any] = {"split": split, "limit": limit, "seed": (seed + run) % 2**32, "draws": draws}
        scores = scores_of_cuts(task, model, data, different, **options)
        found.append({cut: row[0] for cut, row in zip(different, scores, strict=True)})
    return found if len(found) == len(cuts) else found * len(cuts)


def told(scores: Sequence[Score], task: Task, where: dict[str, Any]) -> Iterator[Measurement]:
    """The rows of one point: a run's score, or the mean and the quantiles of several."""
    one = scores[0].measured(task.name)
    row = replace(one, measure="layer_orders", metric=f"{task.name} {one.metric}", where=where, version=VERSION)
    if len(scores) == 1:
        yield row
        return
    values = [score.value for score in scores]
    yield replace(row, value=float(np.mean(values)), error=None)
    for share in SHARES:
        edge = float(np.quantile(values, share))
        yield replace(row, value=edge, error=None, where={**where, "quantile": share})
