"""Where concepts lie in convex regions: along graphs of neighbours, and on straight lines through the network."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from sottovoce.errors import SottovoceError
from sottovoce.measurement import Measurement, select
from sottovoce.registry import register_measure
from sottovoce.studies.convexity import LayerConvexity, convexity_of
from sottovoce.studies.segments import euclidean_convexity_of
from sottovoce.views import Cut, Lines, Numbers, Rows, Shown

VERSION = 1
Concept = Literal["keywords", "speakers", "phones", "emotion", "intents", "predictions"]


TIE = 0.01  # of convexity: a lower state that is as good to this is the better cut


def most_convex(found: Rows) -> Iterator[Cut]:
    """Everything behind the state in which a concept lies most convex (arXiv 2408.11858)."""
    for concept in dict.fromkeys(row.at("concept") for row in found):
        values = {int(row.at("state")): row.value for row in select(found, "by_class", concept=concept)}
        top = max(values.values(), default=0.0)
        state = min((state for state, value in values.items() if value >= top - TIE), default=0)
        if 0 < state < max(values):
            last = f"{values[max(values)]:.3f} in the last"
            reason = f"The classes of {concept} lie most convex in state {state} ({values[state]:.3f}; {last})."
            yield Cut(f"drop_layers:keep={state}", f"{reason} For this task, prune first and fine-tune after.")


def shown(kind: str) -> Shown:
    """A curve a concept, and its classes by state."""
    curves = Lines("state", y="mean over classes", title=f"Convexity of concepts ({kind})", metrics={"by_class": ""})
    return Shown("Convexity", (curves, Numbers(("class",), down="class", across="state")), place=30)


@register_measure(
    paper="Convexity-based Pruning (arXiv 2408.11858)",
    version=VERSION,
    shares=True,
    shown=replace(shown("graph"), recommends=most_convex),
)
def convexity(
    model: Any,
    data: Any = None,
    *,
    of: list[Concept] = ["keywords"],  # noqa: B006 (it is only read)
    k: int = 10,
    pairs: int = 5000,
    limit: int = 2000,
    classes: int | None = None,
    seed: int = 0,
) -> list[Measurement]:
    """Graph convexity of concepts in every state: by class, the mean over classes, and over all pairs.

    Points are time means of utterances, or of phones; at most `limit` of a concept, evenly from its classes (`classes`:
    only so many, the most frequent). `predictions` are what the model's own head says of them. The error of a class is
    the pairs' standard deviation over the root of its points, as in the paper's code; that of the mean over classes is
    half of a 95 % interval over classes.

    Example:
        >>> convexity(model, data, of=["speakers"], limit=500)[0].where
        {'concept': 'speakers', 'state': 0}
    """
    found = convexity_of(model, data, of=of, k=k, pairs=pairs, limit=limit, classes=classes, seed=seed)
    return [row for concept, layers in found.items() for row in rows("convexity", concept, layers)]


@register_measure(
    paper="On Convexity of Latent Spaces (arXiv 2305.17154)", version=VERSION, shares=True, shown=shown("Euclidean")
)
def euclidean_convexity(
    model: Any,
    data: Any = None,
    *,
    pairs: int = 20,
    limit: int = 200,
    seconds: float = 1.0,
    classes: int | None = None,
    seed: int = 0,
) -> list[Measurement]:
    """How often a classifier keeps to a class between two of its utterances: ten points on the line, by state.

    At most `pairs` pairs a class; the paper's 5 000 take long, for each is ten passes through what follows the state.

    Example:
        >>> euclidean_convexity(tuned, data)[0].metric
        'by_class'
    """
    if classes is not None and classes < 1:
        raise SottovoceError(f"euclidean_convexity: classes={classes}, but at least 1, or none, is wanted.")
    options: dict[str, Any] = {"pairs": pairs, "limit": limit, "seconds": seconds, "classes": classes, "seed": seed}
    return list(rows("euclidean_convexity", "own", euclidean_convexity_of(model, data, **options)))


def rows(name: str, concept: str, layers: Sequence[LayerConvexity]) -> Iterator[Measurement]:
    """Both means of each state, then its classes."""
    common: dict[str, Any] = {"better": "higher", "version": VERSION}
    for layer in layers:
        where = {"concept": concept, "state": layer.state}
        yield Measurement(name, "by_class", layer.by_class, where=where, n=layer.points, error=layer.error, **common)
        yield Measurement(name, "by_pair", layer.by_pair, where=where, n=layer.points, **common)
        for row in layer.classes:
            place = {**where, "class": row.name}
            yield Measurement(name, "class", row.value, where=place, n=row.points, error=row.error, **common)
