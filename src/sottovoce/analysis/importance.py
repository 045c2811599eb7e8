"""How much attention heads and feed-forward units matter, as published code scores them (arXiv 2211.09949)."""

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
    if not heads:
        return torch.zeros(0, dtype=torch.float64)
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


def unit_norms(
    up: tuple[torch.Tensor, torch.Tensor | None], down: tuple[torch.Tensor, torch.Tensor | None]
) -> torch.Tensor:
    """The L1 norm of each inner unit of a feed-forward part: its row and bias on the way up, its column down.

    Example:
        >>> unit_norms((torch.ones(2, 3), torch.ones(2)), (torch.ones(3, 2), None))
        tensor([7., 7.], dtype=torch.float64)
    """
    rows = up[0].detach().double().abs().sum(1) + (0 if up[1] is None else up[1].detach().double().abs())
    return (rows + down[0].detach().double().abs().sum(0)).cpu()


def lowest_of_each(scores: Sequence[torch.Tensor], count: int) -> list[list[int]]:
    """The lowest scores of each layer, so many of each; of equal ones those of lower number.

    Example:
        >>> lowest_of_each([torch.tensor([3.0, 1.0, 2.0])], 2)
        [[1, 2]]
    """
    return [sorted(row.sort(stable=True).indices[:count].tolist()) for row in scores]


def lowest_of_all(scores: Sequence[torch.Tensor], count: int, *, protected: int = 0) -> list[list[int]]:
    """The lowest scores of all layers together, by layer; the highest few of each layer are protected.

    Example:
        >>> lowest_of_all([torch.tensor([0.1, 0.2]), torch.tensor([0.5, 0.4])], 2, protected=1)
        [[0], [1]]
    """
    free = []
    for layer, row in enumerate(scores):
        order = row.sort(stable=True).indices.tolist()
        free += [(float(row[index]), layer, index) for index in order[: max(0, len(order) - protected)]]
    if count > len(free):
        raise SottovoceError(f"{count} would go, but only {len(free)} are not protected; take fewer.")
    gone: list[list[int]] = [[] for _ in scores]
    for _, layer, index in sorted(free)[:count]:
        gone[layer].append(index)
    return [sorted(row) for row in gone]
