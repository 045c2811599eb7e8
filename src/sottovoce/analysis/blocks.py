"""Blocks of layers that are alike, found in a matrix of their similarities."""

from dataclasses import dataclass

import numpy as np

from sottovoce.errors import SottovoceError

SHUFFLES = 200


@dataclass(frozen=True)
class Blocks:
    """A partition of successive layers.

    Args:
        starts: the first layer of each block.
        gain: by how much pairs within blocks are more alike than the mean pair, summed over them.
        boundary: the first layer of the second block of the best two.
        shuffled: the mean gain of the best partitions of shuffled matrices.
        chance: how often a shuffled matrix gains at least as much.

    Example:
        >>> found = blocks(np.kron(np.eye(2), np.ones((3, 3))))
        >>> found.starts, found.boundary
        ((0, 3), 3)
    """

    starts: tuple[int, ...]
    gain: float
    boundary: int
    shuffled: float
    chance: float


def blocks(similarity: np.ndarray, *, shuffles: int = SHUFFLES, seed: int = 0) -> Blocks:
    """The partition into runs of layers whose pairs within are, in sum, the furthest above the mean pair.

    What counts is the sum over pairs within blocks of their similarity less the mean of all pairs, so the number of
    blocks follows: a further cut must lose more below the mean than above it. The baseline keeps how similarity
    decays with distance, and forgets where: it shuffles the pairs of each distance among themselves.

    Example:
        >>> blocks(np.kron(np.eye(3), np.ones((4, 4)))).starts
        (0, 4, 8)
    """
    matrix = np.asarray(similarity, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise SottovoceError(f"similarities of shape {matrix.shape}, but a square of at least two layers is wanted.")
    if not np.isfinite(matrix).all():
        raise SottovoceError("the similarities of the layers hold NaN or infinite values; blocks need all pairs.")
    matrix = (matrix + matrix.T) / 2
    starts, gain = best_partition(matrix)
    rng = np.random.default_rng(seed)
    others = np.array([best_partition(shuffled(matrix, rng))[1] for _ in range(shuffles)])
    # The matrix itself counts as one of those that could have been.
    chance = float((1 + (others >= gain - 1e-12).sum()) / (1 + shuffles))
    return Blocks(
        starts, gain, best_partition(matrix, count=2)[0][1], float(others.mean()) if shuffles else 0.0, chance
    )


def within(matrix: np.ndarray) -> np.ndarray:
    """The gain of each run of layers as one block: entry (i, j) is of the layers from i up to, not including, j."""
    layers = len(matrix)
    above = np.triu(matrix - matrix[np.triu_indices(layers, 1)].mean(), 1)
    sums = np.zeros((layers + 1, layers + 1))
    sums[1:, 1:] = above.cumsum(0).cumsum(1)
    first, last = np.meshgrid(range(layers + 1), range(layers + 1), indexing="ij")
    return sums[last, last] - sums[first, last] - sums[last, first] + sums[first, first]


def best_partition(matrix: np.ndarray, count: int | None = None) -> tuple[tuple[int, ...], float]:
    """The starts of the blocks with the highest gain, of so many blocks if `count` is given, and the gain.

    Of partitions that gain the same, the one of fewer blocks.

    Example:
        >>> best_partition(np.kron(np.eye(2), np.ones((3, 3))))[0]
        (0, 3)
    """
    gains, layers = within(matrix), len(matrix)
    most = layers if count is None else count
    best = np.full((most + 1, layers + 1), -np.inf)
    cuts = np.zeros((most + 1, layers + 1), dtype=int)
    best[0, 0] = 0.0
    for blocks_so_far in range(1, most + 1):
        for end in range(1, layers + 1):
            totals = best[blocks_so_far - 1, :end] + gains[:end, end]
            cuts[blocks_so_far, end] = int(totals.argmax())
            best[blocks_so_far, end] = totals.max()
    chosen = int(np.argmax(np.round(best[1:, layers], 12))) + 1 if count is None else count
    starts, end = [], layers
    for number in range(chosen, 0, -1):
        end = int(cuts[number, end])
        starts.append(end)
    return tuple(reversed(starts)), float(best[chosen, layers])


def shuffled(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same similarities at each distance between layers, at other places.

    Example:
        >>> shuffled(np.eye(3), np.random.default_rng(0)).diagonal()
        array([1., 1., 1.])
    """
    made = np.array(matrix)
    for distance in range(1, len(matrix)):
        first = np.arange(len(matrix) - distance)
        values = rng.permutation(matrix[first, first + distance])
        made[first, first + distance] = made[first + distance, first] = values
    return made
