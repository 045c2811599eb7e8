"""How wide a model is expected to be whose gates are open with some probability: widths that cost functions take."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from sottovoce.gates.units import Vector
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.widths import Widths, groups_left, widths_of


class Expected:
    """The widths of a model, each the sum over its gates of how likely they are open; gradients pass.

    Where a gate is 0 or 1 for certain, they are those of the model that is cut by it. Closed layers of models whose
    layers end with their norms are there with neither heads nor units, as their norms stay.

    Example:
        >>> Expected(model)(gates.probabilities()).channels[0]
    """

    def __init__(self, model: Any) -> None:
        self.whole = widths_of(model)
        self.norms_first = Anatomy(model).norms_first

    def __call__(self, probabilities: Mapping[Vector, torch.Tensor]) -> Widths:
        """The widths at these probabilities."""
        whole = self.whole
        sums: dict[Vector, Any] = {vector: found.sum() for vector, found in probabilities.items()}
        stays: Any = probabilities.get(Vector("layers"), [1] * len(whole.present))
        share: Any = [1] * len(whole.present) if self.norms_first else stays
        heads = tuple(sums.get(Vector("heads", layer), heads) * share[layer] for layer, heads in enumerate(whole.heads))
        inner = whole.queries
        if inner is not None or any(vector.kind == "dims" for vector in sums):
            # Queries and values are as wide as each other in every model whose heads can lose dimensions.
            known = [whole.inner(layer)[0] / max(1, count) for layer, count in enumerate(whole.heads)]
            inner = tuple(count * sums.get(Vector("dims", layer), known[layer]) for layer, count in enumerate(heads))
        feed_forward = tuple(
            tuple(sums.get(Vector("ffn", layer, which), width) * share[layer] for which, width in enumerate(parts))
            for layer, parts in enumerate(whole.feed_forward)
        )
        found = replace(
            whole,
            channels=tuple(sums.get(Vector("conv", index), width) for index, width in enumerate(whole.channels)),
            heads=heads,
            queries=inner,
            values=inner if inner is not None else whole.values,
            feed_forward=feed_forward,
            present=tuple(stays) if self.norms_first else whole.present,
        )
        hidden = probabilities.get(Vector("hidden"))
        # A cut folds the weight norm of the positional convolution, which has numbers of its own.
        return found if hidden is None or bool((hidden == 1.0).all()) else narrowed(found, hidden)


def narrowed(widths: Widths, probabilities: torch.Tensor) -> Widths:
    """The same with an expected hidden size, spread over the groups of the positional convolution as its gates are."""
    sizes = widths.groups
    if sizes is None:
        sizes = groups_left(widths.config, range(len(probabilities)), len(probabilities))
    groups = tuple(part.sum() for part in probabilities.split(list(sizes)))
    return replace(widths, hidden=probabilities.sum(), groups=groups, folded=False)
