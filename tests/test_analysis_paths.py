"""Paths met in the middle are those of a whole search from one end, also where there are several of one length."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from sottovoce.analysis import paths
from sottovoce.analysis.convexity import neighbor_graph
from sottovoce.analysis.paths import between, from_one_end, halos_of, met

KINDS = ("cloud", "lattice", "two clusters", "copies")


def points_of(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    count, width = int(rng.integers(8, 90)), int(rng.integers(1, 6))
    if kind == "lattice":
        return rng.integers(0, 4, size=(count, width)).astype(float)
    points = rng.normal(size=(count, width)) * rng.uniform(0.2, 3.0, size=(count, 1))
    if kind == "two clusters":
        points[count // 2 :] += 30
    return np.repeat(points, 3, axis=0) if kind == "copies" else points


def all_pairs(members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    begins, ends = (part.ravel() for part in np.meshgrid(members, members, indexing="ij"))
    return begins[begins != ends], ends[begins != ends]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("within", [0.1, 0.5, 0.9])
def test_paths_are_those_from_one_end(kind: str, within: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MUCH", np.inf)  # small graphs are their own halos
    monkeypatch.setattr(paths, "WITHIN", within)
    monkeypatch.setattr(paths, "TOGETHER", 200)
    for seed in range(12):
        points = points_of(kind, seed)
        rng = np.random.default_rng([seed, 1])
        graph = neighbor_graph(points, min(int(rng.integers(1, 6)), len(points) - 1))
        members = np.sort(rng.choice(len(points), max(2, len(points) // 3), replace=False))
        inside = np.isin(np.arange(len(points)), members)
        pairs = all_pairs(members)
        for found, wanted in zip(between(graph, inside, *pairs), from_one_end(graph, inside, *pairs), strict=True):
            assert np.array_equal(found, wanted), (kind, seed)


def test_most_paths_need_no_search_from_one_end() -> None:
    points = np.random.default_rng(0).normal(size=(1000, 32))
    graph, members = neighbor_graph(points, 10), np.arange(0, 1000, 10)
    first, second = all_pairs(np.arange(100))
    halos = halos_of(graph, members)
    assert halos is not None and np.isfinite(halos.ball).mean() < 0.2
    bound = halos.outside[first] + halos.outside[second]
    sure, there, count, _ = met(halos, halos.ball, np.ones(1000, bool), first, second, bound)
    assert sure.mean() > 0.8
    wanted = from_one_end(graph, np.ones(1000, bool), members[first], members[second])
    assert np.array_equal(there[sure], wanted[0][sure]) and np.array_equal(count[sure], wanted[1][sure])


@pytest.mark.parametrize("ways", [1, 2])
def test_two_ways_of_one_length_are_noticed(ways: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A ring of six: from 0 to 3 there are two ways; without one of its edges there is one.
    ring = np.zeros((6, 6))
    for vertex in range(6):
        ring[vertex, (vertex + 1) % 6] = ring[(vertex + 1) % 6, vertex] = 1.0
    if ways == 1:
        ring[4, 5] = ring[5, 4] = 0.0
    monkeypatch.setattr(paths, "MUCH", np.inf)
    halos = halos_of(csr_matrix(ring), np.array([0, 3]))
    assert halos is not None
    for own in (halos.ball, halos.lengths):
        sure, there, count, _ = met(
            halos, own, np.ones(6, bool), np.array([0]), np.array([1]), halos.outside[[0]] + halos.outside[[1]] + 1.0
        )
        assert bool(sure[0]) == (ways == 1) and bool(there[0])
        assert ways == 2 or count[0] == 2
