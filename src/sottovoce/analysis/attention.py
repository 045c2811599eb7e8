"""What an attention head does, from its maps: patterns, and how far it looks (after arXiv 2006.03265, for 2211.09949).

Entropies are in shares of the largest one can be, distances in frames; all are means over an utterance's queries.
"""

import torch

PATTERNS = ("globality", "entropy", "verticality", "diagonality", "blockness", "distance")
REACH = 50  # frames on each side in a distance profile


def patterns(maps: torch.Tensor) -> dict[str, torch.Tensor]:
    """The patterns of the heads of one utterance, from maps (heads, queries, keys) without padding: each (heads,).

    - `entropy`: of a query's weights, in nats; `globality`: the same over the logarithm of the number of frames.
    - `verticality`: one less the entropy (as a share) of the weights' mean over queries: 1 where all look at one frame.
    - `distance`: how far a query looks, in frames; `diagonality`: one less its share of what equal weights give.
    - `blockness`: how unevenly the weights move from one query to the next: twice the standard deviation of the
      overlap of successive rows. It is 0 where they move steadily or never, and high where they stand still for a
      while and then jump, as in blocks along the diagonal.

    Example:
        >>> found = patterns(torch.eye(5)[None])
        >>> {name: round(float(value), 6) for name, value in found.items()}
        {'entropy': 0.0, 'globality': 0.0, 'verticality': 0.0, 'distance': 0.0, 'diagonality': 1.0, 'blockness': 0.0}
    """
    weights = maps.double()
    frames = weights.shape[-1]
    most = torch.tensor(float(max(2, frames)), dtype=torch.float64).log()
    entropy = torch.special.entr(weights).sum(-1).mean(-1)
    mean = torch.special.entr(weights.mean(-2)).sum(-1)
    apart = distances(frames, weights.device)
    far = (weights * apart).sum(-1).mean(-1)
    overlap = torch.minimum(weights[:, 1:], weights[:, :-1]).sum(-1)
    return {
        "entropy": entropy,
        "globality": entropy / most,
        "verticality": 1 - mean / most,
        "distance": far,
        "diagonality": 1 - far / apart.mean().clamp(min=torch.finfo(torch.float64).tiny),
        "blockness": 2 * overlap.std(-1, correction=0) if frames > 1 else torch.zeros_like(entropy),
    }


def distances(frames: int, device: torch.device | None = None) -> torch.Tensor:
    """How many frames lie between query and key: (queries, keys).

    Example:
        >>> distances(2)
        tensor([[0., 1.],
                [1., 0.]], dtype=torch.float64)
    """
    places = torch.arange(frames, device=device, dtype=torch.float64)
    return (places[None, :] - places[:, None]).abs()


def profile(maps: torch.Tensor, reach: int = REACH) -> torch.Tensor:
    """The mean weight at each distance from -reach to reach (key less query), over the queries that have such a key.

    (heads, 2 reach + 1). Distances that no query of the utterance has are 0.

    Example:
        >>> profile(torch.eye(5)[None], reach=1)
        tensor([[0., 1., 0.]], dtype=torch.float64)
    """
    heads, frames = maps.shape[0], maps.shape[-1]
    found = torch.zeros(heads, 2 * reach + 1, dtype=torch.float64, device=maps.device)
    for offset in range(-min(reach, frames - 1), min(reach, frames - 1) + 1):
        found[:, offset + reach] = maps.diagonal(offset, dim1=-2, dim2=-1).double().mean(-1)
    return found
