"""How much attention heads matter, as published code scores them (arXiv 2211.09949)."""

from collections.abc import Sequence

import torch

from sottovoce.errors import SottovoceError


def head_norms(projections: Sequence[tuple[torch.Tensor, torch.Tensor | None]], heads: int) -> torch.Tensor:
    """The L1 norm of each head's query, key and value weights and biases; the output projection does not count.

    Example:
        >>> head_norms([(torch.ones(4, 4), torch.ones(4))] * 3, heads=2)
        tensor([30., 30.], dtype=torch.float64)
    """
    total = torch.zeros(heads, dtype=torch.float64)
    for weight, bias in projections:
        if len(weight) % heads:
            raise SottovoceError(f"{len(weight)} rows are not {heads} heads of one size.")
        rows = weight.detach().double().abs().sum(1) + (0 if bias is None else bias.detach().double().abs())
        total += rows.view(heads, -1).sum(1).cpu()
    return total


def head_effects(context: torch.Tensor, gradient: torch.Tensor, heads: int) -> torch.Tensor:
    """What the loss would change by, to first order, without each head: summed over frames, each without its sign.

    `context` is what enters the output projection, (batch, time, heads x size), and `gradient` the loss's by it.

    Example:
        >>> head_effects(torch.ones(1, 2, 4), torch.ones(1, 2, 4), heads=2)
        tensor([4., 4.], dtype=torch.float64)
    """
    parts = (context.detach() * gradient).unflatten(-1, (heads, -1))
    return parts.double().sum(-1).abs().sum((0, 1)).cpu()


def over_layer(scores: torch.Tensor) -> torch.Tensor:
    """Scores of a layer's heads over their L2 norm, so that layers compare; zeros stay zeros.

    Example:
        >>> over_layer(torch.tensor([3.0, 4.0]))
        tensor([0.6000, 0.8000])
    """
    norm = scores.norm()
    return scores / norm if float(norm) > 0 else scores
