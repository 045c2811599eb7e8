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
PROBES = 128  # so many members share one search of everything, which says how far they lie apart
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
            sizes = np.isfinite(own).reshape(len(members), -1).sum(1)[first[left]].cumsum()
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
    """Of each member to all vertices: lengths within the ball, and with one step more (infinite: further away).

    Args:
        members: the vertices that the rows of what follows are of, one row after the other.
        count: of vertices, the length of a row.
        steps: the vertex before, on the way from the member.
        tied: whether another vertex before gives the same length.
        outside: the length to the nearest vertex outside the ball.
    """

    members: np.ndarray
    count: int
    ball: np.ndarray
    lengths: np.ndarray
    steps: np.ndarray
    tied: np.ndarray
    outside: np.ndarray


def halos_of(graph: csr_matrix, members: np.ndarray) -> Halos | None:
    """Balls of half the length between most members, and one step more; None where whole searches are less work."""
    apart = np.asarray(dijkstra(graph, directed=True, indices=members[::PROBES]))[:, members]
    apart = apart[np.isfinite(apart) & (apart > 0)]
    if not len(apart):
        return None
    count = len(graph.indptr) - 1
    ball = dijkstra(graph, directed=True, indices=members, limit=float(np.quantile(apart, WITHIN)) / 2)
    flat = ball.ravel()
    within = np.flatnonzero(flat < np.inf)
    rows, vertices = np.divmod(within, count)
    degrees = np.diff(graph.indptr)[vertices]
    total = int(degrees.sum())
    if total > MUCH * len(members) * graph.nnz:
        return None
    edges = np.arange(total) + np.repeat(graph.indptr[vertices] - (degrees.cumsum() - degrees), degrees)
    reached = np.repeat(rows * count, degrees) + graph.indices[edges]
    lengths = np.repeat(flat[within], degrees) + graph.data[edges]
    best = np.full(len(flat), np.inf)
    np.minimum.at(best, reached, lengths)
    best[np.arange(len(members)) * count + members] = 0.0
    least = lengths <= best[reached] * (1 + EQUAL)
    shortest, before = reached[least], np.repeat(vertices, degrees)[least]
    steps, tied = np.full(len(flat), NOWHERE, dtype=np.int32), np.zeros(len(flat), dtype=bool)
    steps[shortest] = before
    tied[shortest[steps[shortest] != before]] = True
    leaving = flat[reached] == np.inf
    outside = np.full(len(members), np.inf)
    np.minimum.at(outside, np.repeat(rows, degrees)[leaving], lengths[leaving])
    return Halos(members, count, flat, best, steps, tied, outside)


def met(
    halos: Halos, own: np.ndarray, inside: np.ndarray, first: np.ndarray, second: np.ndarray, bound: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of pairs of rows whose paths are found if they are shorter than `bound`: is this the one path, and `between`.

    Two paths of one length differ before a vertex that is tied from the first end, behind one that is tied from the
    second, or go through different meeting places: all of the path found are on it. For this the path goes
    through the place nearest to the first end.
    """
    rows, own_row = np.unique(first, return_inverse=True)
    within = np.isfinite(own.reshape(-1, halos.count)[rows])
    sizes = within.sum(1)
    vertices = np.flatnonzero(within) % halos.count
    each = sizes[own_row]
    begins = each.cumsum() - each
    where = vertices[np.arange(each.sum()) + np.repeat((sizes.cumsum() - sizes)[own_row] - begins, each)]
    to_first, to_second = first * halos.count, second * halos.count
    near = own[np.repeat(to_first, each) + where]
    sums = near + halos.lengths[np.repeat(to_second, each) + where]
    least = np.minimum.reduceat(sums, begins)
    there = np.isfinite(least)
    longest = least * (1 + EQUAL)
    places = np.flatnonzero(sums <= np.repeat(np.where(there, longest, -1.0), each))
    pair = np.repeat(np.arange(len(first)), each)[places]
    order = np.lexsort((-near[places], pair))
    middle = np.zeros(len(first), dtype=np.int64)
    middle[pair[order]] = where[places[order]]  # of those of a pair the last, which is the nearest
    others = np.bincount(pair, minlength=len(first))
    sure = np.isinf(bound) | (least * (1 + 2 * EQUAL) < bound)
    count, among = np.zeros(len(first), dtype=np.int64), np.zeros(len(first), dtype=np.int64)

    def visit(going: np.ndarray, here: np.ndarray) -> None:
        a, b = to_first[going] + here, to_second[going] + here
        others[going] -= own[a] + halos.lengths[b] <= longest[going]
        sure[going] &= ~(halos.tied[a] | halos.tied[b])
        inner = (here != halos.members[first[going]]) & (here != halos.members[second[going]])
        count[going] += inner
        among[going] += inner & inside[here]

    start = np.flatnonzero(there & sure)
    visit(start, middle[start])
    for side in (first, second):
        going, here = start, middle[start]
        while len(going):
            on = (here != halos.members[side[going]]) & sure[going]  # steps between equal points may go in circles
            going = going[on]
            here = halos.steps[side[going] * halos.count + here[on]]
            visit(going, here)
    return sure & (others == 0), there, count, among


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
