"""The hard-concrete distribution of Louizos et al.: gates that are exactly 0 or 1 with some probability, yet learn.

Constants and the deterministic end are those of DPHuBERT's code: `z = clip(1.2 sigmoid((logit(u) + a) / beta) - 0.1)`.
"""

import math

import torch

BETA = 2 / 3
LOW, HIGH = -0.1, 1.1
EDGE = 1e-6  # noise stays this far from 0 and 1
SOFT = 0.8  # what the code multiplies the logit by at the end


def open_probability(logits: torch.Tensor) -> torch.Tensor:
    """How likely each gate is not 0.

    Example:
        >>> open_probability(torch.zeros(1))
        tensor([0.8318])
    """
    return torch.sigmoid(logits - BETA * math.log(-LOW / HIGH))


def drawn(logits: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The gates of one draw, between 0 and 1, from uniform noise.

    Example:
        >>> drawn(torch.tensor([-9.0, 9.0]), torch.tensor([0.5, 0.5]))
        tensor([0., 1.])
    """
    noise = noise.clamp(EDGE, 1 - EDGE)
    stretched = torch.sigmoid((torch.logit(noise) + logits) / BETA) * (HIGH - LOW) + LOW
    return stretched.clamp(0.0, 1.0)


def soft_values(logits: torch.Tensor) -> torch.Tensor:
    """What a gate that stays open is worth at the end.

    Example:
        >>> soft_values(torch.tensor([0.0]))
        tensor([0.5000])
    """
    return torch.sigmoid(SOFT * logits / BETA)


def open_count(logits: torch.Tensor, *, least: int = 0) -> int:
    """How many gates stay open at the end: as many as are expected to be.

    Example:
        >>> open_count(torch.tensor([-9.0, 9.0, 9.0]))
        2
    """
    closed = round(len(logits) - float(open_probability(logits.double()).sum()))
    return max(least, len(logits) - closed)


def first_logits(count: int, closed: float, generator: torch.Generator) -> torch.Tensor:
    """Logits of gates that are closed with this probability by the sigmoid alone, with the noise of the code.

    Example:
        >>> first_logits(3, 0.5, torch.Generator().manual_seed(0)).abs() < 0.1
        tensor([True, True, True])
    """
    middle = math.log(1 - closed) - math.log(closed)
    return middle + 0.01 * torch.randn(count, generator=generator)
