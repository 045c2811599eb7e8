"""Convexity of concepts in a layer: do the shortest paths between two members of a class stay in it? (arXiv 2408.11858)

Graph convexity as in the released code: the union of the k nearest neighbours by Euclidean distance, whose lengths are
the edges' weights; shortest paths between pairs of a class; the share of the vertices between the two ends that belong
to the class. A direct edge scores 1, no path 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial.distance import cdist

from sottovoce.analysis.paths import between
from sottovoce.errors import SottovoceError

ROWS = 1024  # of distances in memory at once, and columns
TOGETHER = 8  # points whose candidates are near the processor at once
ROUNDING = 1e-5  # of single precision in a squared distance, with room: its products round at some 1e-6
SPARE = 8  # neighbours more than wanted whose distances are computed exactly


@dataclass(frozen=True)
class Convex:
    """The convexity of a class in a layer.

    `error` is as in the paper's code: the pairs' standard deviation over the root of the class's points, because pairs
    that share points are not independent.

    Example:
        >>> Convex("yes", 0.8, 0.02, points=100, pairs=5000).name
        'yes'
    """

    name: str
    value: float
    error: float
    points: int
    pairs: int

    @classmethod
    def of(cls, name: str, scores: np.ndarray, points: int) -> "Convex":
        """From the scores of the pairs of so many points."""
        spread = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
        return cls(name, float(scores.mean()), spread / points**0.5, points, len(scores))


def neighbor_graph(points: np.ndarray, k: int = 10) -> csr_matrix:
    """The undirected graph that joins each point to its k nearest others, weighted by Euclidean distance.

    Two equal points are joined by an edge of almost no length, for a sparse matrix takes 0 for no edge.

    Example:
        >>> neighbor_graph(np.array([[0.0], [1.0], [3.0]]), 1).toarray()
        array([[0., 1., 0.],
               [1., 0., 2.],
               [0., 2., 0.]])
    """
    points = np.asarray(points, dtype=np.float64)
    count = len(points)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise SottovoceError(
            f"points of shape {points.shape}, but finite numbers of shape (points, numbers) are wanted."
        )
    if not 1 <= k < count:
        raise SottovoceError(
            f"k={k} neighbours among {count} points, but 1 to {count - 1} are there; give more speech."
        )
    nearest, lengths = nearest_points(points, k)
    # No real distance is so short: single precision ends ten digits above.
    lengths = np.maximum(lengths, np.finfo(np.float64).tiny * 1e100)
    rows = np.repeat(np.arange(count), k)
    directed = csr_matrix((lengths.ravel(), (rows, nearest.ravel())), shape=(count, count))
    return directed.maximum(directed.T).tocsr()


def nearest_points(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest others of each point and their distances; of equally near ones those of lower number.

    Products of matrices in single precision find candidates, and the distances of these are computed from differences.
    Where rounding could have hidden a nearer point, all distances of that point are.
    """
    count = len(points)
    some, others, squares = candidates(points, min(count - 1, k + SPARE))
    nearest, lengths = np.empty((count, k), dtype=np.int64), np.empty((count, k))
    for begin in range(0, count, TOGETHER):
        rows = slice(begin, begin + TOGETHER)
        exact = np.sqrt(np.square(points[some[rows]] - points[rows, None]).sum(2))
        best = exact.argsort(axis=1, kind="stable")[:, :k]
        nearest[rows], lengths[rows] = np.take_along_axis(some[rows], best, 1), np.take_along_axis(exact, best, 1)
    unsure = np.flatnonzero(others + squares - lengths[:, -1] ** 2 <= ROUNDING * (squares + squares.max()))
    for rows in (unsure[begin : begin + ROWS] for begin in range(0, len(unsure), ROWS)):
        far = cdist(points[rows], points)
        far[np.arange(len(rows)), rows] = np.inf
        nearest[rows] = far.argsort(axis=1, kind="stable")[:, :k]
        lengths[rows] = np.take_along_axis(far, nearest[rows], 1)
    return nearest, lengths


def candidates(points: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """So many others that are nearest to each point but for rounding, in the order of their numbers.

    Besides, for each point: the square of the distance to the next one (infinite if none is left) less the square of
    the point's length, and the latter. A product of two blocks of points serves both: its rows one, its columns the
    other.
    """
    centered = (points - points.mean(0)).astype(np.float32)
    squares = np.einsum("nd,nd->n", centered, centered)
    blocks = [slice(begin, begin + ROWS) for begin in range(0, len(points), ROWS)]
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in blocks]

    def keep(own: int, other: int, products: np.ndarray) -> None:
        rough = squares[blocks[other]] - 2 * products
        if own == other:
            np.fill_diagonal(rough, np.inf)
        found[own].append(least(rough, wanted + 1, np.arange(len(points))[None, blocks[other]]))

    for i, rows in enumerate(blocks):
        for j, columns in enumerate(blocks[: i + 1]):
            products = centered[rows] @ centered[columns].T
            keep(i, j, products)
            if i != j:
                keep(j, i, products.T)
    some, others = np.empty((len(points), wanted), dtype=np.int64), np.empty(len(points))
    for rows, parts in zip(blocks, found, strict=True):
        rough, numbers = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        rough, numbers = least(rough, wanted + 1, numbers)
        some[rows], others[rows] = np.sort(numbers[:, :-1], axis=1), rough[:, -1]
    return some, others, squares


def least(values: np.ndarray, count: int, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """So many of each row that are least, the largest of them last, and their numbers (of each, or of all rows).

    Example:
        >>> least(np.array([[3.0, 1.0, 2.0]]), 2, np.array([[7, 8, 9]]))
        (array([[1., 2.]]), array([[8, 9]]))
    """
    if count < values.shape[1]:
        order = np.argpartition(values, count - 1, axis=1)[:, :count]
    else:
        order = np.argsort(values, axis=1)
    return np.take_along_axis(values, order, 1), np.take_along_axis(np.broadcast_to(numbers, values.shape), order, 1)


def graph_convexity(
    graph: csr_matrix, labels: Sequence[str], *, pairs: int = 5000, seed: int = 0
) -> tuple[list[Convex], np.ndarray]:
    """The convexity of each class of at least two points, and the scores of all pairs of all classes.

    Example:
        >>> found, scores = graph_convexity(neighbor_graph(points), labels)
        >>> np.mean([row.value for row in found])
        0.71
    """
    count = len(graph.indptr) - 1
    if count != len(labels):
        raise SottovoceError(f"{len(labels)} labels for {count} points; give one label a point.")
    names = sorted(set(labels))
    number = {name: index for index, name in enumerate(names)}
    classes = np.array([number[label] for label in labels])
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(classes == index) for index in range(len(names))]
    known = [index for index in range(len(names)) if len(members[index]) > 1]
    if not known:
        raise SottovoceError(
            "no class has two points, so there is no path to follow; give more speech, or other labels."
        )
    scores = [pair_scores(graph, classes == index, *sampled(members[index], pairs, rng)) for index in known]
    found = [Convex.of(names[i], part, len(members[i])) for i, part in zip(known, scores, strict=True)]
    return found, np.concatenate(scores)


def sampled(members: np.ndarray, pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ordered pairs of different members, at most so many, none twice: where they begin and where they end.

    Example:
        >>> len(sampled(np.array([3, 5]), 5000, np.random.default_rng(0))[0])
        2
    """
    count = len(members)
    there = count * (count - 1)
    chosen = np.sort(rng.choice(there, pairs, replace=False)) if pairs < there else np.arange(there)
    first, second = np.divmod(chosen, count - 1)
    return members[first], members[second + (second >= first)]


def pair_scores(graph: csr_matrix, inside: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The score of each pair: 0 without a path, 1 along an edge, and else the share of what is between."""
    there, count, own = between(graph, inside, begins, ends)
    return np.where(count > 0, own / np.maximum(count, 1), there.astype(float))
