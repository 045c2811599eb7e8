"""The gates of a model as parameters: what they are worth in this pass, and how likely each is open."""

import hashlib
from typing import Literal, NamedTuple, final

import torch
from torch import nn

from sottovoce.gates import hard_concrete
from sottovoce.gates.units import CLOSED, Sites, Vector

Shape = Literal["hard_concrete", "pinching"]
ALMOST_OPEN = 0.01
SHARP = 4.0  # how steep pinching gates are, in standard deviations of the scores of a vector


class Values(NamedTuple):
    """What the gates of a vector are worth, which are open, and what share of them that is."""

    value: torch.Tensor
    opened: torch.Tensor
    share: float = 1.0


@final
class HardConcrete(nn.Module):
    """Gates that learn a logit each and are drawn anew for each update.

    Example:
        >>> HardConcrete(12, 0.01, torch.Generator().manual_seed(0)).logits().shape
        torch.Size([12])
    """

    drawn = True

    def __init__(self, count: int, closed: float, generator: torch.Generator) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(hard_concrete.first_logits(count, closed, generator))

    def logits(self) -> torch.Tensor:
        """The logit of each gate."""
        return self.log_alpha


@final
class Pinching(nn.Module):
    """Gates that learn one threshold in common: a unit whose score is above it is open. Nothing is drawn.

    Our design, after the abstract of arXiv 2505.22608: scores are the L1 norms of what reads a unit as the pruning
    begins, in standard deviations of their vector.

    Example:
        >>> Pinching(torch.tensor([1.0, 2.0, 3.0]), 0.5).logits()[1]
        tensor(0., grad_fn=<SelectBackward0>)
    """

    drawn = False

    def __init__(self, scores: torch.Tensor, closed: float) -> None:
        super().__init__()
        spread = float(scores.std()) if len(scores) > 1 else 0.0
        standard = (scores - scores.mean()) / (spread or 1.0)
        self.register_buffer("scores", standard)
        self.scores: torch.Tensor
        self.threshold = nn.Parameter(
            torch.quantile(standard, closed) if closed > ALMOST_OPEN else standard.min() - 1.5
        )

    def logits(self) -> torch.Tensor:
        """The logit of each gate."""
        return SHARP * (self.scores - self.threshold)


@final
class Gates(nn.Module):
    """All gates of a model. In training they are drawn from noise, in evaluation they are what the cut model has.

    Example:
        >>> gates = Gates(sites_of(model, ["heads"]), seed=0)
        >>> gates.refresh()
        >>> gates.now[Vector("heads", 3)].value
    """

    def __init__(
        self, sites: Sites, *, seed: int = 0, shape: Shape = "hard_concrete", closed: float = ALMOST_OPEN
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.sizes = dict(sites.sizes)
        self.seed = seed
        made: dict[str, nn.Module] = {}
        for vector, size in self.sizes.items():
            start = CLOSED.get(vector.kind, closed)
            if shape == "pinching":
                made[vector.name] = Pinching(scores_of(sites, vector, size), start)
            else:
                made[vector.name] = HardConcrete(size, start, generator)
        self.vectors = nn.ModuleDict(made)
        self.noise: dict[Vector, torch.Tensor] = {}
        self.chosen: dict[Vector, torch.Tensor] | None = None  # which units are open at the end; None: as expected
        self.now: dict[Vector, Values] = {}
        self.draw(0)

    def logits(self) -> dict[Vector, torch.Tensor]:
        """The logit of each gate of each vector."""
        made = {vector: self.vectors[vector.name] for vector in self.sizes}
        return {vector: module.logits() for vector, module in made.items()}  # pyright: ignore[reportCallIssue]

    def exact_logits(self) -> dict[Vector, torch.Tensor]:
        """The same in double precision, on the CPU, for not every device has that; gradients pass."""
        return {vector: found.cpu().double() for vector, found in self.logits().items()}

    def probabilities(self) -> dict[Vector, torch.Tensor]:
        """How likely each gate is open, in double precision."""
        return {vector: hard_concrete.open_probability(found) for vector, found in self.exact_logits().items()}

    def draw(self, step: int) -> None:
        """Noise for a step: the same in every process, whoever asks, and however often."""
        # Of a seed, torch takes the lower half alone, so that the two numbers must be mixed.
        mixed = hashlib.sha256(repr((self.seed, step)).encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(mixed[:4]))
        self.noise = {vector: torch.rand(size, generator=generator) for vector, size in self.sizes.items()}

    def refresh(self) -> None:
        """What each gate is worth in the pass that comes."""
        found = self.drawn() if self.training else self.settled()
        # One wait for the device, and not one for each norm.
        shares = torch.stack([values.opened.mean() for values in found.values()]).tolist()
        self.now = {
            vector: values._replace(share=share) for (vector, values), share in zip(found.items(), shares, strict=True)
        }

    def drawn(self) -> dict[Vector, Values]:
        """As in training."""
        found = {}
        for vector, logits in self.logits().items():
            drawn = self.vectors[vector.name].drawn
            noise = self.noise[vector].to(logits) if drawn else torch.full_like(logits, 0.5)
            value = hard_concrete.drawn(logits, noise)
            found[vector] = Values(value, (value > 0).to(value.dtype))
        return found

    def settled(self) -> dict[Vector, Values]:
        """As in the cut model: soft values of the units that stay, and 1 for the layers that stay."""
        opened, found = self.opened(), {}
        for vector, logits in self.logits().items():
            mask = opened[vector].to(logits)
            soft = torch.ones_like(logits) if vector.kind == "layers" else hard_concrete.soft_values(logits)
            found[vector] = Values((mask * soft).detach(), mask)
        return found

    @torch.no_grad()
    def opened(self) -> dict[Vector, torch.Tensor]:
        """Which units stay: those that were chosen, or else as many of each vector as are expected to."""
        if self.chosen is not None:
            return self.chosen
        return {
            vector: largest(found, hard_concrete.open_count(found, least=least_of(vector)))
            for vector, found in self.exact_logits().items()
        }


def least_of(vector: Vector) -> int:
    """How many units of a vector must stay.

    Example:
        >>> least_of(Vector("heads", 3)), least_of(Vector("conv", 0))
        (0, 1)
    """
    return 0 if vector.kind in ("heads", "ffn") else 1


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Where the `count` largest values are; of equal ones the first.

    Example:
        >>> largest(torch.tensor([1.0, 3.0, 3.0]), 2)
        tensor([False,  True,  True])
    """
    return first_of(descending(values), count)


def descending(values: torch.Tensor) -> torch.Tensor:
    """The places of values from the largest to the smallest; of equal ones the first comes first.

    Example:
        >>> descending(torch.tensor([1.0, 3.0, 3.0]))
        tensor([1, 2, 0])
    """
    return torch.argsort(values, descending=True, stable=True)


def first_of(order: torch.Tensor, count: int) -> torch.Tensor:
    """A mask of the first `count` places of an order.

    Example:
        >>> first_of(torch.tensor([1, 2, 0]), 2)
        tensor([False,  True,  True])
    """
    found = torch.zeros(len(order), dtype=torch.bool)
    found[order[:count]] = True
    return found


@torch.no_grad()
def scores_of(sites: Sites, vector: Vector, size: int) -> torch.Tensor:
    """The L1 norm of what a vector's gates scale, for each gate."""
    total = torch.zeros(size, dtype=torch.float64)
    for tensor, scale in sites.readers(vector):
        weight = tensor.detach().double().cpu().abs()
        if scale.place is not None:
            total[scale.place] += weight.sum()
            continue
        each = weight.movedim(scale.dim, 0).reshape(weight.shape[scale.dim], -1).sum(1)
        total += each.reshape(scale.tile, size, scale.repeat).sum((0, 2))
    return total.float()
