"""What lies on the shortest paths between many pairs of vertices: searched from both ends, met in the middle.

A search from one end settles all vertices that are nearer than the other end: nearly all of a graph of neighbors. Two
of half the radius settle few. So each end gets a *ball* (the vertices within a radius, by `scipy`) and a *halo* (one
step beyond its ball). Where a ball and a halo, or two halos, meet with the least sum is the path, unless the sum leaves
room for one between them. What leaves room, or has another path of the same length, is searched from one end.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

NOWHERE = -9999  # what scipy writes where a path has no vertex before
EQUAL = 1e-12  # the share of a length that may be rounding: its sum in another order differs by less
WITHIN = 0.9  # the share of pairs whose ends are within two radii of each other
PROBES = 64  # so many members share one search of everything, which says how far they lie apart
MUCH = 0.25  # the steps to halos as a share of those of whole searches, from which on whole ones are faster
TOGETHER = 2**21  # places where two ends might meet, in memory at once


def between(
    graph: csr_matrix, inside: np.ndarray, begins: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the shortest path of each pair: is there one, how many vertices lie between its ends, how many are `inside`.

    Args:
        graph: symmetric, with lengths above 0.

    Example:
        >>> line = csr_matrix([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
        >>> between(line, np.array([True, False, True]), np.array([0]), np.array([2]))
        (array([ True]), array([1]), array([0]))
    """
    found = np.zeros((3, len(begins)), dtype=np.int64)
    members, places = np.unique(np.concatenate([begins, ends]), return_inverse=True)
    first, second = places.reshape(2, -1)
    left = np.arange(len(begins))
    halos = halos_of(graph, members)
    if halos is not None:
        bound = halos.outside[first] + halos.outside[second]
        for own, room in ((halos.ball, 0.0), (halos.lengths, graph.data.min())):
            sizes = np.isfinite(own).sum(1)[first[left]].cumsum()
            unsure = [left[:0]]
            for some in np.split(left, np.flatnonzero(np.diff(sizes // TOGETHER)) + 1):
                if len(some):
                    sure, *counts = met(halos, own, inside, first[some], second[some], bound[some] + room)
                    found[:, some[sure]] = np.stack(counts)[:, sure]
                    unsure.append(some[~sure])
            left = np.concatenate(unsure)
    found[:, left] = from_one_end(graph, inside, begins[left], ends[left])
    return found[0] > 0, found[1], found[2]


@dataclass(frozen=True)
class Halos:
    """Of each member (a row) to all vertices: lengths within the ball, and with one step more (infinite: further away).

    Args:
        members: the vertices that the rows are of.
        steps: the vertex before, on the way from the member.
        tied: whether another vertex before gives the same length.
        outside: the length to the nearest vertex outside the ball.
    """

    members: np.ndarray
    ball: np.ndarray
    lengths: np.ndarray
    steps: np.ndarray
    tied: np.ndarray
    outside: np.ndarray


def halos_of(graph: csr_matrix, members: np.ndarray) -> Halos | None:
    """Balls of half the length between most members, and one step more; None where whole searches are less work."""
    apart = dijkstra(graph, directed=True, indices=members[::PROBES])[:, members]
    apart = apart[np.isfinite(apart) & (apart > 0)]
    if not len(apart):
        return None
    count = graph.shape[0]
    ball = dijkstra(graph, directed=True, indices=members, limit=float(np.quantile(apart, WITHIN)) / 2)
    rows, vertices = np.nonzero(np.isfinite(ball))
    degrees = np.diff(graph.indptr)[vertices]
    total = int(degrees.sum())
    if total > MUCH * len(members) * graph.nnz:
        return None
    edges = np.arange(total) + np.repeat(graph.indptr[vertices] - (degrees.cumsum() - degrees), degrees)
    before = np.repeat(vertices, degrees)
    reached = np.repeat(rows * count, degrees) + graph.indices[edges]
    lengths = np.repeat(ball[rows, vertices], degrees) + graph.data[edges]
    best = np.full(ball.size, np.inf)
    np.minimum.at(best, reached, lengths)
    own = np.arange(len(members)) * count + members
    best[own] = 0.0
    least = lengths <= best[reached] * (1 + EQUAL)
    steps = np.full(ball.size, NOWHERE, dtype=np.int32)
    steps[reached[least]] = before[least]
    tied = np.bincount(reached[least], minlength=ball.size) > 1
    shape = ball.shape
    outside = np.where(np.isfinite(ball), np.inf, best.reshape(shape)).min(1)
    return Halos(members, ball, best.reshape(shape), steps.reshape(shape), tied.reshape(shape), outside)


def met(
    halos: Halos, own: np.ndarray, inside: np.ndarray, first: np.ndarray, second: np.ndarray, bound: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of pairs of rows whose paths are found if they are shorter than `bound`: is this the one path, and `between`.

    Two paths of one length differ before a vertex that is tied from the first end, behind one that is tied from the
    second, or go through different meeting places: all of the path found are on it. For this the path goes
    through the place nearest to the first end.
    """
    rows, vertices = np.nonzero(np.isfinite(own))
    sizes = np.bincount(rows, minlength=len(own))
    starts = sizes.cumsum() - sizes
    each = sizes[first]
    begins = each.cumsum() - each
    where = vertices[np.arange(each.sum()) + np.repeat(starts[first] - begins, each)]
    pair = np.repeat(np.arange(len(first)), each)
    near = own[first[pair], where]
    sums = near + halos.lengths[second[pair], where]
    least = np.minimum.reduceat(sums, begins)
    there = np.isfinite(least)
    length = least * (1 + EQUAL)
    places = np.flatnonzero((sums <= length[pair]) & there[pair])
    places = places[np.lexsort((-near[places], pair[places]))]
    middle = np.zeros(len(first), dtype=np.int64)
    middle[pair[places]] = where[places]  # of those of a pair the last, which is the nearest
    open_places = np.bincount(pair[places], minlength=len(first))
    sure = np.isinf(bound) | (least * (1 + 2 * EQUAL) < bound)
    count, among = np.zeros(len(first), dtype=np.int64), np.zeros(len(first), dtype=np.int64)

    def visit(going: np.ndarray, here: np.ndarray) -> None:
        a, b = first[going], second[going]
        open_places[going] -= own[a, here] + halos.lengths[b, here] <= length[going]
        sure[going] &= ~(halos.tied[a, here] | halos.tied[b, here])
        inner = (here != halos.members[a]) & (here != halos.members[b])
        count[going] += inner
        among[going] += inner & inside[here]

    going = np.flatnonzero(there & sure)
    visit(going, middle[going])
    for side in (first, second):
        going = np.flatnonzero(there & sure)
        here = middle[going]
        while len(going):
            on = (here != halos.members[side[going]]) & sure[going]  # steps between equal points may go in circles
            going, here = going[on], halos.steps[side[going[on]], here[on]]
            visit(going, here)
    return sure & (open_places == 0), there, count, among


def from_one_end(
    graph: csr_matrix, inside: np.ndarray, begins: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same by one whole search from each beginning, which serves all pairs that begin there."""
    count, among = np.zeros(len(ends), dtype=np.int64), np.zeros(len(ends), dtype=np.int64)
    if not len(begins):
        return count > 0, count, among
    sources, rows = np.unique(begins, return_inverse=True)
    before = dijkstra(graph, directed=True, indices=sources, return_predecessors=True)[1]
    here = before[rows, ends]
    there = here != NOWHERE
    going = np.flatnonzero(there & (here != begins))
    while len(going):
        vertex = here[going]
        count[going] += 1
        among[going] += inside[vertex]
        here[going] = before[rows[going], vertex]
        going = going[here[going] != begins[going]]
    return there, count, among
