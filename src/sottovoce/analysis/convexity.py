"""Convexity of concepts in a layer: do the shortest paths between two members of a class stay in it? (arXiv 2408.11858)

Graph convexity as in the released code: the union of the k nearest neighbours by Euclidean distance, whose lengths are
the edges' weights; shortest paths between pairs of a class; the share of the vertices between the two ends that belong
to the class. A direct edge scores 1, no path 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import cdist

from sottovoce.errors import SottovoceError

NOWHERE = -9999  # what scipy writes where a path has no vertex before
ROWS = 512  # of distances in memory at once
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


def neighbour_graph(points: np.ndarray, k: int = 10) -> csr_matrix:
    """The undirected graph that joins each point to its k nearest others, weighted by Euclidean distance.

    Two equal points are joined by an edge of almost no length, for a sparse matrix takes 0 for no edge.

    Example:
        >>> neighbour_graph(np.array([[0.0], [1.0], [3.0]]), 1).toarray()
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
    centred = (points - points.mean(0)).astype(np.float32)
    squares = np.einsum("nd,nd->n", centred, centred)
    wanted = min(count - 1, k + SPARE)
    nearest, lengths = np.empty((count, k), dtype=np.int64), np.empty((count, k))
    for begin in range(0, count, ROWS):
        rows = np.arange(begin, min(begin + ROWS, count))
        rough = squares[None, :] - 2 * (centred[rows] @ centred.T)
        rough[np.arange(len(rows)), rows] = np.inf
        order = np.argpartition(rough, wanted - 1, axis=1)
        some = np.sort(order[:, :wanted], axis=1)
        exact = np.stack([np.linalg.norm(points[some[:, i]] - points[rows], axis=1) for i in range(wanted)], axis=1)
        best = exact.argsort(axis=1, kind="stable")[:, :k]
        nearest[rows], lengths[rows] = np.take_along_axis(some, best, 1), np.take_along_axis(exact, best, 1)
        if wanted < count - 1:
            others = np.take_along_axis(rough, order[:, wanted:], 1).min(1) + squares[rows]
            unsure = rows[others - lengths[rows, -1] ** 2 <= ROUNDING * (squares[rows] + squares.max())]
            if len(unsure):
                far = cdist(points[unsure], points)
                far[np.arange(len(unsure)), unsure] = np.inf
                nearest[unsure] = far.argsort(axis=1, kind="stable")[:, :k]
                lengths[unsure] = np.take_along_axis(far, nearest[unsure], 1)
    return nearest, lengths


def graph_convexity(
    graph: csr_matrix, labels: Sequence[str], *, pairs: int = 5000, seed: int = 0
) -> tuple[list[Convex], np.ndarray]:
    """The convexity of each class of at least two points, and the scores of all pairs of all classes.

    Example:
        >>> found, scores = graph_convexity(neighbour_graph(points), labels)
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
    """The score of each pair: one search from each beginning serves all pairs that begin there."""
    sources, rows = np.unique(begins, return_inverse=True)
    before = dijkstra(graph, directed=True, indices=sources, return_predecessors=True)[1]
    here = before[rows, ends]
    scores = np.where(here == NOWHERE, 0.0, 1.0)
    between, own = np.zeros(len(ends)), np.zeros(len(ends))
    going = np.flatnonzero((here != NOWHERE) & (here != begins))
    while len(going):
        vertex = here[going]
        between[going] += 1
        own[going] += inside[vertex]
        here[going] = before[rows[going], vertex]
        going = going[here[going] != begins[going]]
    walked = between > 0
    scores[walked] = own[walked] / between[walked]
    return scores
