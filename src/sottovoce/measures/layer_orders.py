"""What a task loses as layers go in an order, without any training afterwards."""

from dataclasses import replace
from typing import Any, Literal, get_args

from sottovoce.errors import SottovoceError, unknown
from sottovoce.healing import own_task
from sottovoce.measurement import Measurement
from sottovoce.registry import register_measure
from sottovoce.studies.cuts import scores_of_cuts
from sottovoce.studies.orders import By, cuts_by
from sottovoce.views import Lines, Shown

VERSION = 2  # the first scored the test split
ORDERS = ["forward", "backward", "bi", "knn_bi_averaged"]


@register_measure(
    paper="arXiv 2409.16302",
    version=VERSION,
    shown=Shown("Orders of layers", (Lines("dropped", x_label="layers left out", y="score"),), place=55),
)
def layer_orders(
    model: Any,
    data: Any = None,
    *,
    by: list[str] = ORDERS,
    split: Literal["dev", "test"] = "dev",
    task: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Measurement]:
    """The score of the model's own head on a split by how many layers are gone, in each of some orders.

    The dev split, as in the paper, unless another is asked for. Orders are those of `drop_layers`, decided on speech
    that is in no test split. All cuts of all orders are scored in one pass, in which those that begin alike share
    their beginning.

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
    cuts = {name: cuts_by(model, data, name, task=chosen.name, seed=seed) for name in orders}
    different = sorted({tuple(cut) for row in cuts.values() for cut in row})
    found = scores_of_cuts(chosen, model, data, different, split=split, limit=limit, seed=seed)
    scores = {cut: row[0].measured(chosen.name) for cut, row in zip(different, found, strict=True)}
    rows = [(name, gone, scores[tuple(cut)]) for name in orders for gone, cut in enumerate(cuts[name])]
    return [
        replace(
            row,
            measure="layer_orders",
            metric=f"{chosen.name} {row.metric}",
            where={"order": name, "dropped": gone},
            version=VERSION,
        )
        for name, gone, row in rows
    ]
