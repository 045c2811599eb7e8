"""How alike the distributions of a model's states are: what layer consistency (arXiv 2105.00812) is about.

How that paper measures it is not public to us. These are distances between distributions, and beside them CKA and
cosine, which compare the states of the same frames.
"""

from collections.abc import Sequence

import torch

from sottovoce.analysis.similarity import check_samples, cka, cosines, products, refuse_nan

DIRECTIONS = 128  # of the sliced Wasserstein distance
TINY = 1e-12


def mean_distances(layers: torch.Tensor) -> torch.Tensor:
    """How far the means of each dimension are apart, in its standard deviations; the root of the mean square of all.

    Example:
        >>> layer = torch.randn(100, 4, dtype=torch.float64)
        >>> mean_distances(torch.stack([layer, layer + layer.std(0, correction=0)]))[0, 1]
        tensor(1., dtype=torch.float64)
    """
    means, variances = layers.mean(1), layers.var(1, correction=0)
    apart = (means[:, None] - means[None]).square()
    return (apart / pooled(variances)).mean(-1).sqrt()


def variance_distances(layers: torch.Tensor) -> torch.Tensor:
    """How far the standard deviations of each dimension are apart, as factors; the root of the mean square of all.

    0 where they are equal, 1 where the one is e times the other in every dimension.

    Example:
        >>> layer = torch.randn(100, 4, dtype=torch.float64)
        >>> variance_distances(torch.stack([layer, torch.e * layer]))[0, 1]
        tensor(1.0000, dtype=torch.float64)
    """
    logs = layers.var(1, correction=0).clamp(min=TINY).log() / 2
    return (logs[:, None] - logs[None]).square().mean(-1).sqrt()


def pooled(variances: torch.Tensor) -> torch.Tensor:
    """The mean variance of each dimension of all pairs of layers."""
    return ((variances[:, None] + variances[None]) / 2).clamp(min=TINY)


def frechet_distances(layers: torch.Tensor) -> torch.Tensor:
    """The squared Frechet distance of the Gaussians with the layers' means and covariances, over their mean variance.

    The covariance of as many samples as there are dimensions is a poor one: the distance of two draws from one
    distribution is above 0, the more so the fewer samples there are.

    Example:
        >>> layer = torch.randn(100, 4, dtype=torch.float64)
        >>> frechet_distances(torch.stack([layer, layer]))[0, 1].abs() < 1e-6
        tensor(True)
    """
    count, samples = layers.shape[:2]
    centered = layers - layers.mean(1, keepdim=True)
    covariances = centered.mT @ centered / samples
    traces = covariances.diagonal(dim1=1, dim2=2).sum(1)
    roots = [square_root(covariance) for covariance in covariances]
    apart = (layers.mean(1)[:, None] - layers.mean(1)[None]).square().sum(-1)
    found = torch.zeros(count, count, dtype=layers.dtype)
    for first in range(count):
        for second in range(first + 1, count):
            # The trace of the root of the product is the sum of the singular values of the product of the roots.
            common = torch.linalg.svdvals(roots[first] @ roots[second]).sum()
            value = apart[first, second] + traces[first] + traces[second] - 2 * common
            scale = ((traces[first] + traces[second]) / 2).clamp(min=TINY)
            found[first, second] = found[second, first] = (value / scale).clamp(min=0)
    return found


def square_root(matrix: torch.Tensor) -> torch.Tensor:
    """The symmetric root of a symmetric matrix without negative eigenvalues.

    Example:
        >>> square_root(torch.tensor([[4.0, 0.0], [0.0, 9.0]]))
        tensor([[2., 0.],
                [0., 3.]])
    """
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.mT


def sliced_distances(layers: torch.Tensor, *, directions: int = DIRECTIONS, seed: int = 0) -> torch.Tensor:
    """The sliced 2-Wasserstein distance: over directions drawn at random, the root of its mean square.

    In each direction samples are sorted, and it is the distance of those of equal rank; in standard deviations of the
    pair's projections.

    Example:
        >>> layer = torch.randn(100, 4, dtype=torch.float64)
        >>> sliced_distances(torch.stack([layer, layer.flip(0)]))[0, 1]
        tensor(0., dtype=torch.float64)
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(layers.shape[2], directions, generator=generator, dtype=torch.float64).to(layers.dtype)
    projected = (layers @ (drawn / drawn.norm(dim=0))).sort(dim=1).values
    variances = projected.var(1, correction=0).mean(-1)
    rows = [
        (projected - one[None]).square().mean((1, 2)) / ((variances + own) / 2).clamp(min=TINY)
        for one, own in zip(projected, variances, strict=True)
    ]
    return torch.stack(rows).sqrt()


def consistencies(
    layers: Sequence[torch.Tensor], names: Sequence[object] | None = None, *, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Everything about the states of one batch of frames: a matrix over pairs of layers by metric.

    `cka` and `cosine` are 1 of equal layers; `mean`, `variance`, `frechet` and `wasserstein` are 0 of equal
    distributions, whichever frame has which state.

    Example:
        >>> sorted(consistencies([torch.randn(9, 4), torch.randn(9, 4)]))
        ['cka', 'cosine', 'frechet', 'mean', 'variance', 'wasserstein']
    """
    check_samples(layers)
    refuse_nan(layers, names or range(len(layers)))
    made, stacked = products(layers), torch.stack([layer.double() for layer in layers])
    return {
        "cka": cka(made.centered),
        "cosine": cosines(made.across).mean(0),
        "mean": mean_distances(stacked),
        "variance": variance_distances(stacked),
        "frechet": frechet_distances(stacked),
        "wasserstein": sliced_distances(stacked, seed=seed),
    }
