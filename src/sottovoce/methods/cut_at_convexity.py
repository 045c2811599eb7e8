"""Every layer behind the one where a concept lies most convex goes: prune first, fine-tune after."""

from typing import Any, Literal

from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_layers
from sottovoce.registry import register_method
from sottovoce.studies.convexity import convexity_of
from sottovoce.studies.speech import not_tested
from sottovoce.tasks import TASKS

# One cut for all models of a size, in the paper: the layers kept of 12 and of 24.
PUBLISHED = {"keywords": {12: 8, 24: 15}, "speakers": {12: 2, 24: 4}}


@register_method("cut_at_convexity", paper="arXiv 2408.11858")
def cut_at_convexity(
    model: Any,
    data: Any = None,
    *,
    labels: str = "keywords",
    rule: Literal["argmax", "per_task"] = "argmax",
    within: float = 0.0,
    neighbors: int = 10,
    pairs: int = 5000,
    limit: int = 2000,
    classes: int | None = None,
    seed: int = 0,
) -> Any:
    """Keep the layers up to the state in which the classes of some labels lie most convex; fine-tune behind it.

    `argmax` measures the graph convexity of this model's states, on speech that is in no test split, and takes the
    best (or, with `within`, the lowest that is no further below the best). `per_task` takes the paper's common cuts,
    which need no data: keywords 8 of 12 layers or 15 of 24, speakers 2 or 4. The paper leaves open by one whether
    "layer 8" stays as the eighth or the ninth; here it is the eighth.

    Example:
        >>> small = cut_at_convexity(sv.load("small-melhubert"), data, labels="speakers")
    """
    if labels not in TASKS:
        raise unknown("labels of a task", labels, TASKS)
    steps = len(Anatomy(model).order)
    if Anatomy(model).mimics or steps < 1:
        raise SottovoceError("this model has no layers to cut behind: mimic layers stand in for its stack.")
    if not 0 <= within < 1:
        raise SottovoceError(f"within={within}, but a difference of convexity is wanted: at least 0 and below 1.")
    if rule == "per_task":
        keep_layers(model, range(published(labels, steps)))
        return model
    heard = not_tested(data, what=f"cut_at_convexity by {labels}")
    found = convexity_of(model, heard, of=[labels], k=neighbors, pairs=pairs, limit=limit, classes=classes, seed=seed)
    values = {layer.state: layer.by_class for layer in found[labels]}
    state = min(state for state, value in values.items() if value >= max(values.values()) - within)
    if state == 0:
        raise SottovoceError(
            f"the classes of {labels} lie most convex in what enters the first layer ({values[0]:.3f}), so no layer "
            "would stay; give other labels, or name the layers with drop_layers."
        )
    keep_layers(model, range(state))
    return model


def published(labels: str, steps: int) -> int:
    """How many layers the paper keeps for a task."""
    known = PUBLISHED.get(labels, {})
    if steps not in known:
        there = "; ".join(f"{name}: of {' or '.join(map(str, cut))} layers" for name, cut in PUBLISHED.items())
        raise SottovoceError(
            f"the paper has no cut for {labels} in a model of {steps} layers ({there}); take rule=argmax, with data."
        )
    return known[steps]
