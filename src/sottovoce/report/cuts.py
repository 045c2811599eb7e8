"""What could go, by what was measured, each with its reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sottovoce.measurement import Measurement

SHARE = 0.25  # of the layers that a cut of layers takes
TIE = 0.01  # of convexity: a lower state that is as good to this is the better cut


@dataclass(frozen=True)
class Cut:
    """A step for `sottovoce compress`, and why.

    Example:
        >>> Cut("drop_layers:keep=8", "words lie most convex in state 8").step
        'drop_layers:keep=8'
    """

    step: str
    reason: str


def cuts(rows: Sequence[Measurement]) -> list[Cut]:
    """Every cut that these measurements speak for; none where they do not.

    Example:
        >>> cuts([])
        []
    """
    return [*redundant(rows), *spans(rows), *convex(rows), *probed(rows), *ablated(rows)]


def layer_count(rows: Sequence[Measurement]) -> int:
    """How many layers the model has, from what was measured of them."""
    return 1 + max((int(row.where[2]) for row in rows if row.metric == "bi"), default=-1)


def redundant(rows: Sequence[Measurement]) -> Iterator[Cut]:
    """The layers that change their input least; never the first one, as in the paper."""
    wanted = round(SHARE * layer_count(rows))
    for metric, name in (("knn_bi_averaged", "the neighbours of utterances"), ("bi", "the direction of states")):
        scores = {
            int(r.where[2]): r.value for r in rows if r.metric == metric and r.where[0] == "flatten" and r.where[2]
        }
        if wanted and len(scores) > wanted:
            gone = sorted(sorted(scores, key=scores.__getitem__)[:wanted])
            listed = ", ".join(f"{layer} ({scores[layer]:.3f})" for layer in gone)
            kept = min(value for layer, value in scores.items() if layer not in gone)
            reason = f"Layers {listed} change {name} least ({metric}); the next one changes it by {kept:.3f}."
            yield Cut(f"drop_layers:drop={gone}", reason)


def spans(rows: Sequence[Measurement]) -> Iterator[Cut]:
    """The run of layers with the smallest angle between its ends."""
    wanted = max(1, round(SHARE * layer_count(rows)))
    found = [row for row in rows if row.metric == "span_angle" and row.where[0] == "flatten" and int(row.where[2])]
    found = [row for row in found if int(row.where[3]) - int(row.where[2]) == wanted]
    if found and layer_count(rows) > wanted:
        best = min(found, key=lambda row: row.value)
        first, last = int(best.where[2]), int(best.where[3]) - 1
        angle = f"{180 * best.value:.0f} degrees"
        reason = f"What enters layer {first} and what leaves layer {last} are {angle} apart"
        reason += f", less than over any other {wanted} layers." if len(found) > 1 else "."
        yield Cut(f"drop_layers:drop={list(range(first, last + 1))}", reason)


def convex(rows: Sequence[Measurement]) -> Iterator[Cut]:
    """Everything behind the state in which a concept lies most convex (arXiv 2408.11858)."""
    found = [row for row in rows if row.measure == "convexity" and row.metric == "by_class"]
    for concept in dict.fromkeys(str(row.where[0]) for row in found):
        values = {int(row.where[2]): row.value for row in found if row.where[0] == concept}
        top = max(values.values())
        state = min(state for state, value in values.items() if value >= top - TIE)
        if 0 < state < max(values):
            last = f"{values[max(values)]:.3f} in the last"
            reason = f"The classes of {concept} lie most convex in state {state} ({values[state]:.3f}; {last})."
            yield Cut(f"drop_layers:keep={state}", f"{reason} For this task, prune first and fine-tune after.")


def probed(rows: Sequence[Measurement]) -> Iterator[Cut]:
    """Everything behind the first state that a probe finds as good as the best, within the interval."""
    found = [row for row in rows if len(row.where) == 2 and row.where[0] == "layer" and row.error is not None]
    found = [row for row in found if row.better != "neither" and row.measure != "ablation"]
    for measure in dict.fromkeys(row.measure for row in found):
        metric = next(row.metric for row in found if row.measure == measure)
        scores = {int(r.where[1]): r for r in found if (r.measure, r.metric) == (measure, metric)}
        sign = 1 if next(iter(scores.values())).better == "higher" else -1
        best = max(scores.values(), key=lambda row: sign * row.value)
        good = [s for s, row in scores.items() if sign * row.value >= sign * best.value - (best.error or 0.0)]
        if 0 < min(good) < max(scores):
            reason = (
                f"A probe for {measure} does as well in state {min(good)} ({metric.replace('_', ' ')} "
                f"{scores[min(good)].value:.3f}) as in the best, state {best.where[1]} "
                f"({best.value:.3f} ± {best.error:.3f})."
            )
            yield Cut(f"drop_layers:keep={min(good)}", reason)


def ablated(rows: Sequence[Measurement]) -> Iterator[Cut]:
    """The layer that a task misses least."""
    found = [row for row in rows if row.measure == "ablation" and row.where]
    whole = next((row for row in rows if row.measure == "ablation" and not row.where), None)
    if found and whole is not None:
        sign = 1 if whole.better == "higher" else -1
        best = max(found, key=lambda row: sign * row.value)
        metric = whole.metric.replace("_", " ")
        reason = f"Without layer {best.where[1]}, {metric} is {best.value:.3f}; with all layers {whole.value:.3f}."
        yield Cut(f"drop_layers:drop=[{best.where[1]}]", reason)
