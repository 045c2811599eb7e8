"""Low rank: the Linears of the layers become pairs of thin ones, cut by their weights or by what they really hear."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Literal

from sottovoce.analysis.low_rank import (
    Decomposed,
    decompose,
    joint_ranks,
    most_saving,
    pair_of,
    rank_for,
    saving_ranks,
)
from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import factor
from sottovoce.models.int8 import check_unquantized
from sottovoce.models.parts import Factored
from sottovoce.models.widths import round_width
from sottovoce.registry import register_method
from sottovoce.studies.inputs import each_moment, places

Shapes = dict[str, tuple[int, int]]


def outlined(
    model: Any,
    *,
    rank: int | None = None,
    energy: float | None = None,
    ratio: float | None = None,
    round_to: int = 1,
    **rest: Any,
) -> bool:
    """The same widths; which Linears are pairs of which rank hangs on their numbers."""
    check_wish(rank, energy, ratio, round_to)
    check_unquantized(model, "low_rank")
    return True


@register_method(outline=outlined, paper="ASVD (arXiv 2312.05821), SVD-LLM (arXiv 2403.07378)")
def low_rank(
    model: Any,
    data: Any = None,
    *,
    rank: int | None = None,
    energy: float | None = None,
    ratio: float | None = None,
    by: Literal["svd", "activation-aware"] = "svd",
    parts: Sequence[str] = ("attention", "feed_forward"),
    round_to: int = 1,
    limit: int | None = 128,
    seed: int = 0,
) -> Any:
    """Replace the Linears of the layers by pairs of low rank.

    Give one of three. `rank` is the same for all. `energy` takes for each matrix the smallest rank that keeps this
    share of its squared singular values. `ratio` is the share of the chosen Linears' weights that is left (or just
    less): ranks begin at the lowest and rise greedily, each time where the most error goes for each weight added, over
    all matrices. The error is the sum of the squared singular values that are cut off. With `energy` or `ratio`, a
    Linear that would not become smaller stays whole, and counts as such.

    `by` says whose singular values: of the weight (svd), or of the weight behind the whitening of its inputs
    (activation-aware), so that the outputs on the speech of the train split, of `limit` utterances, change the least.
    `parts` are attention, feed_forward, or query, key, value and output singly. Ranks are cut to multiples of
    `round_to`, to no less than one such; so with it `energy` may keep a little less.

    Example:
        >>> small = low_rank(model, energy=0.9)
        >>> small = low_rank(model, data, ratio=0.5, by="activation-aware")  # doctest: +SKIP
    """
    check_wish(rank, energy, ratio, round_to)
    check_unquantized(model, "low_rank")
    found = places(model, parts)
    shapes = shapes_of(model, [place.path for place in found])
    check_room(shapes, rank, ratio, round_to)
    if by == "svd":
        spectra = {path: decomposed(model, path) for path in shapes}
    else:
        readers = {place.source: [p.path for p in found if p.source == place.source] for place in found}
        seen = each_moment(model, data, list(readers), what="low_rank by=activation-aware", limit=limit, seed=seed)
        spectra = {path: decomposed(model, path, moment) for source, moment in seen for path in readers[source]}
    ranks = ranks_for(spectra, shapes, rank, energy, ratio, round_to)
    base = Anatomy(model).base
    for path, chosen in ranks.items():
        factor(model, path, chosen, pair=pair_of(base.get_submodule(path).weight, spectra[path].left, chosen))
    return model


def check_wish(rank: int | None, energy: float | None, ratio: float | None, round_to: int) -> None:
    """Refuse what no model can have."""
    wishes = {"rank": rank, "energy": energy, "ratio": ratio}
    given = [f"{name}={value}" for name, value in wishes.items() if value is not None]
    if len(given) != 1:
        raise SottovoceError(
            f"low_rank needs one of rank, energy and ratio, but {', '.join(given) or 'none'} came; give one, such as "
            "ratio=0.5."
        )
    for name, share in (("energy", energy), ("ratio", ratio)):
        if share is not None and not 0 < share < 1:
            raise SottovoceError(f"low_rank: {name}={share}, but a share between 0 and 1 is wanted, such as 0.5.")
    if round_to < 1:
        raise SottovoceError(f"low_rank: round_to={round_to}, but ranks are multiples of 1 or more; give such a one.")


def shapes_of(model: Any, paths: Sequence[str]) -> Shapes:
    """The outputs and inputs of each Linear; an error if there is none, or if one is a pair already."""
    base = Anatomy(model).base
    if not paths:
        raise SottovoceError("low_rank: these parts have no Linear left in any layer; choose other parts.")
    for path in paths:
        if isinstance(base.get_submodule(path), Factored):
            raise SottovoceError(f"low_rank: '{path}' is a pair of low rank already; choose other parts.")
    linears = {path: base.get_submodule(path) for path in paths}
    return {path: (linear.out_features, linear.in_features) for path, linear in linears.items()}


def check_room(shapes: Shapes, rank: int | None, ratio: float | None, round_to: int) -> None:
    """Refuse ranks that these Linears cannot have, or that save nothing."""
    for path, (outputs, inputs) in shapes.items() if rank is not None else ():
        assert rank is not None
        full, most = min(outputs, inputs), most_saving(outputs, inputs)
        if not 1 <= rank <= full:
            raise SottovoceError(f"low_rank: rank={rank}, but '{path}' has full rank {full}; give 1-{full}.")
        cut = round_width(rank, round_to, full, down=True)
        if cut > most:
            shown = f"rank={rank}" if cut == rank else f"rank={rank}, {cut} by round_to={round_to},"
            raise SottovoceError(
                f"low_rank: {shown} makes '{path}' ({outputs} x {inputs}) no smaller: from rank {most + 1} on nothing "
                f"is saved; give {f'1-{most}' if most else 'other parts'}."
            )
    if rank is not None:
        return
    lowest = {path: saving_ranks(*shape, round_to)[:1] for path, shape in shapes.items()}
    if not any(lowest.values()):
        raise SottovoceError(
            f"low_rank: no rank that is a multiple of {round_to} saves anything in these Linears; lower round_to."
        )
    whole = sum(outputs * inputs for outputs, inputs in shapes.values())
    least = sum(lowest[path][0] * sum(shape) if lowest[path] else shape[0] * shape[1] for path, shape in shapes.items())
    if ratio is not None and int(ratio * whole) < least:
        raise SottovoceError(
            f"low_rank: ratio={ratio}, but at the lowest ranks there are, {round_to}, more of the weights is left; "
            f"give {ceil(least / whole * 1e4) / 1e4} or more."
        )


def decomposed(model: Any, path: str, moment: Any = None) -> Decomposed:
    """The singular values of a Linear's weight, and as many vectors as can save."""
    weight = Anatomy(model).base.get_submodule(path).weight
    found = decompose(weight, moment, most=max(1, most_saving(*weight.shape)))
    # As exact as the weight itself is enough from here on, and half the memory.
    return Decomposed(found.values, found.left.float() if weight.element_size() <= 4 else found.left)


def ranks_for(
    spectra: Mapping[str, Decomposed],
    shapes: Shapes,
    rank: int | None,
    energy: float | None,
    ratio: float | None,
    round_to: int,
) -> dict[str, int]:
    """The rank of each Linear that becomes a pair, in the order of the layers."""
    if ratio is not None:
        budget = int(ratio * sum(outputs * inputs for outputs, inputs in shapes.values()))
        values = [spectra[path].values for path in shapes]
        joint = joint_ranks(values, list(shapes.values()), budget, multiple=round_to)
        return {path: chosen for path, chosen in zip(shapes, joint, strict=True) if chosen is not None}
    wanted = {path: rank_for(spectra[path].values, energy) if energy is not None else rank or 0 for path in shapes}
    cut = {path: round_width(wanted[path], round_to, min(shape), down=True) for path, shape in shapes.items()}
    ranks = {path: chosen for path, chosen in cut.items() if chosen <= most_saving(*shapes[path])}
    if not ranks:
        raise SottovoceError(
            f"low_rank: energy={energy} needs ranks that save nothing in any of the {len(shapes)} Linears; give less."
        )
    return ranks
