"""How a measure's numbers are shown, and which cuts they speak for: what each measure registers of itself.

Pages and tables read this alone; they know no measure by name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sottovoce.measurement import Better, Measurement

Rows = Sequence[Measurement]


@dataclass(frozen=True)
class Cut:
    """A step for `sottovoce compress`, and why.

    Example:
        >>> Cut("drop_layers:keep=8", "words lie most convex in state 8").step
        'drop_layers:keep=8'
    """

    step: str
    reason: str


@dataclass(frozen=True)
class Lines:
    """Curves over a coordinate; what else tells rows apart names them. Rows without the coordinate are levels.

    Args:
        x, x_label: the coordinate, and what the axis says if not its name.
        y: what the other axis says.
        title: of the drawing, if not the section's.
        metrics: which, with their names in the drawing; all, if none is named.
        main: only the first metric that a measure tells.
        percent, upward: values as percentages; those that are better when lower as 1 less them.
        band: a coordinate whose rows are no curve, but edges of a band around the one that they share the rest with.

    Example:
        >>> Lines("layer", y="kurtosis").x
        'layer'
    """

    x: str
    y: str = "value"
    title: str = ""
    x_label: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    main: bool = False
    percent: bool = False
    upward: bool = False
    band: str = ""


@dataclass(frozen=True)
class HeatMap:
    """Colours over two coordinates that are whole numbers, a drawing a metric and whatever else tells rows apart.

    Args:
        x, y, x_label, y_label: the coordinates, and what the axes say if not their names.
        metrics: which, with a line of explanation or none; all, if none is named.
        diagonal: of a symmetric map, of which rows tell one half: what stands on its diagonal.
        blocks: the metric whose values say where blocks of rows and columns begin.

    Example:
        >>> HeatMap("head", "layer", metrics={"reach": "in frames"}).y
        'layer'
    """

    x: str
    y: str
    x_label: str = ""
    y_label: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    diagonal: Mapping[str, float] = field(default_factory=dict)
    blocks: str = ""


@dataclass(frozen=True)
class Profiles:
    """A small curve of one metric over `x` in each cell of a grid.

    Example:
        >>> Profiles("weight", x="distance", across="head", down="layer").across
        'head'
    """

    metric: str
    x: str
    across: str
    down: str
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Shares:
    """A bar a metric, divided by the coordinate `part`, and a table of all parts.

    Example:
        >>> Shares(("parameters", "macs")).metrics
        ('parameters', 'macs')
    """

    metrics: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Numbers:
    """A table of the rows of some metrics (all, if none is named); with `down` and `across`, over two coordinates.

    Example:
        >>> Numbers(("rank_correlation",), title="Patterns and importance").metrics
        ('rank_correlation',)
    """

    metrics: tuple[str, ...] = ()
    title: str = ""
    down: str = ""
    across: str = ""


@dataclass(frozen=True)
class Words:
    """A paragraph that a function makes of the rows; none, where that is empty.

    Example:
        >>> Words(lambda rows: f"{len(rows)} numbers").text([])
        '0 numbers'
    """

    text: Callable[[Rows], str]


View = Lines | HeatMap | Profiles | Shares | Numbers | Words


@dataclass(frozen=True)
class Shown:
    """A section of a page about a measure; sections of the same title, of any measures, are one.

    Args:
        title: of the section, and of tables in a terminal.
        views: what is drawn; a plain table, where that draws nothing.
        better: which direction is better, for rows that do not say so themselves.
        recommends: the cuts that the measure's rows speak for; none, if not given.
        each, notes: a coordinate by whose values the section is divided, and a sentence for each of them.
        place: where it stands on the page; small numbers come first.

    Example:
        >>> Shown("Flatness of layers", (Lines("layer", y="kurtosis"),), better="lower").recommends is None
        True
    """

    title: str
    views: tuple[View, ...] = ()
    better: Better = "neither"
    recommends: Callable[[Rows], Iterable[Cut]] | None = None
    each: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    place: int = 60


def first_good_state(rows: Rows) -> Iterator[Cut]:
    """Everything behind the first state whose score is as good as the best, within the interval of that.

    Example:
        >>> scores = [(0, 0.2), (1, 0.58), (2, 0.6), (3, 0.5)]
        >>> rows = [Measurement("tones", "accuracy", v, "", "higher", {"state": s}, error=0.05) for s, v in scores]
        >>> [cut.step for cut in first_good_state(rows)]
        ['drop_layers:keep=1']
    """
    found = [row for row in rows if "state" in row.where and row.error is not None and row.better != "neither"]
    if not found:
        return
    scores = {int(row.at("state")): row for row in found if row.metric == found[0].metric}
    sign = 1 if found[0].better == "higher" else -1
    best = max(scores.values(), key=lambda row: sign * row.value)
    good = [s for s, row in scores.items() if sign * row.value >= sign * best.value - (best.error or 0.0)]
    if 0 < min(good) < max(scores):
        yield Cut(
            f"drop_layers:keep={min(good)}",
            f"A probe for {best.measure} does as well in state {min(good)} ({best.metric.replace('_', ' ')} "
            f"{scores[min(good)].value:.3f}) as in the best, state {best.at('state')} "
            f"({best.value:.3f} ± {best.error:.3f}).",
        )
