"""Convexity of classes in graphs, patterns of attention and importance of heads, against definitions in slow loops."""

import heapq
import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from sottovoce.analysis.attention import PATTERNS, REACH, distances, patterns, profile
from sottovoce.analysis.convexity import Convex, graph_convexity, nearest_points, neighbor_graph, sampled
from sottovoce.analysis.importance import head_effects, head_norms, over_layer
from sottovoce.errors import SottovoceError

SEEDS = st.integers(0, 10_000)
quick = settings(max_examples=25, deadline=None)
Edges = dict[int, dict[int, float]]


def cloud(count: int, width: int, seed: int) -> np.ndarray:
    """Points of different density, so that some are near to many."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) * rng.uniform(0.2, 3.0, size=(count, 1)) + 5.0


def near_by_hand(points: np.ndarray, k: int) -> list[list[int]]:
    """The k nearest others of each point; of equally near ones, those of lower number."""
    rows = points.tolist()
    found = []
    for index, own in enumerate(rows):
        others = [(math.dist(own, other), number) for number, other in enumerate(rows) if number != index]
        found.append([number for _, number in sorted(others)[:k]])
    return found


def edges_by_hand(points: np.ndarray, k: int) -> Edges:
    """W = max(D, D^T): an edge where either point is among the nearest of the other."""
    edges: Edges = {index: {} for index in range(len(points))}
    for index, others in enumerate(near_by_hand(points, k)):
        for other in others:
            edges[index][other] = edges[other][index] = math.dist(points[index], points[other])
    return edges


def edges_of(graph: csr_matrix) -> Edges:
    dense = graph.toarray()
    return {i: {j: float(dense[i, j]) for j in range(len(dense)) if dense[i, j]} for i in range(len(dense))}


def shortest(edges: Edges, begin: int, end: int) -> list[int]:
    """The vertices of the shortest path, both ends with it; nothing where there is none."""
    queue: list[tuple[float, list[int]]] = [(0.0, [begin])]
    done: set[int] = set()
    while queue:
        length, path = heapq.heappop(queue)
        if path[-1] == end:
            return path
        if path[-1] not in done:
            done.add(path[-1])
            for other, step in edges[path[-1]].items():
                heapq.heappush(queue, (length + step, [*path, other]))
    return []


def score_by_hand(edges: Edges, labels: list[str], begin: int, end: int) -> float:
    path = shortest(edges, begin, end)
    inner = path[1:-1]
    if not inner:
        return 1.0 if path else 0.0
    return sum(labels[vertex] == labels[begin] for vertex in inner) / len(inner)


def scores_by_hand(edges: Edges, labels: list[str]) -> dict[str, list[float]]:
    """Of all ordered pairs of each class."""
    found = {}
    for name in sorted(set(labels)):
        members = [index for index, label in enumerate(labels) if label == name]
        found[name] = [score_by_hand(edges, labels, *pair) for pair in permutations(members, 2)]
    return {name: scores for name, scores in found.items() if scores}


def check(points: np.ndarray, labels: list[str], k: int) -> list[Convex]:
    """All that is said of a graph against loops."""
    graph = neighbor_graph(points, k)
    found, scores = graph_convexity(graph, labels)
    wanted = scores_by_hand(edges_by_hand(points, k), labels)
    assert [row.name for row in found] == list(wanted)
    for row, own in zip(found, wanted.values(), strict=True):
        members = labels.count(row.name)
        assert (row.points, row.pairs) == (members, members * (members - 1))
        assert row.value == pytest.approx(sum(own) / len(own), abs=1e-12)
        variance = sum((score - sum(own) / len(own)) ** 2 for score in own) / (len(own) - 1)
        assert row.error == pytest.approx(math.sqrt(variance) / math.sqrt(members), abs=1e-12)
    assert sorted(scores) == pytest.approx(sorted(score for own in wanted.values() for score in own), abs=1e-12)
    return found


@quick
@given(SEEDS, st.integers(6, 24), st.integers(2, 5), st.integers(1, 5))
def test_the_graph_joins_points_to_their_nearest_in_either_direction(seed: int, n: int, width: int, k: int) -> None:
    points = cloud(n, width, seed)
    graph = neighbor_graph(points, k)
    wanted = edges_by_hand(points, k)
    found = edges_of(graph)
    assert [set(row) for row in found.values()] == [set(row) for row in wanted.values()]
    for index, row in found.items():
        assert index not in row and row == pytest.approx(wanted[index], rel=1e-12)
    assert np.array_equal(graph.toarray(), graph.toarray().T)


def test_many_points_are_searched_in_parts() -> None:
    points = cloud(1100, 4, 0)
    apart = np.stack([np.sqrt(((points - point) ** 2).sum(1)) for point in points])
    np.fill_diagonal(apart, np.inf)
    nearest, lengths = nearest_points(points, 5)
    assert np.array_equal(nearest, apart.argsort(1, kind="stable")[:, :5])
    np.testing.assert_allclose(lengths, np.sort(apart, 1)[:, :5], rtol=1e-12)


@pytest.mark.parametrize("far", [1e2, 1e4, 1e6])
def test_neighbours_in_narrow_clusters_far_apart_are_the_nearest_ones(far: float) -> None:
    points = np.random.default_rng(0).normal(size=(60, 3))
    points[30:] += far
    assert nearest_points(points, 3)[0].tolist() == near_by_hand(points, 3)


@pytest.mark.parametrize("copies", [3, 20])
def test_of_equally_near_points_those_of_lower_number_are_taken(copies: int) -> None:
    points = np.repeat(np.random.default_rng(0).normal(size=(4, 2)), copies, axis=0)
    assert nearest_points(points, 3)[0].tolist() == near_by_hand(points, 3)
    corners = np.array([[x, y] for x in range(4) for y in range(4)], dtype=float)
    assert nearest_points(corners, 3)[0].tolist() == near_by_hand(corners, 3)
    assert nearest_points(np.zeros((700, 2)), 2)[0][2:].tolist() == [[0, 1]] * 698


@quick
@given(SEEDS, st.integers(8, 24), st.integers(2, 4), st.integers(1, 4), st.integers(1, 4))
def test_convexity_is_the_share_of_the_own_class_on_shortest_paths(
    seed: int, n: int, width: int, k: int, classes: int
) -> None:
    rng = np.random.default_rng(seed)
    check(cloud(n, width, seed), ["abcd"[number] for number in [0, 0, *rng.integers(0, classes, n - 2)]], k)


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ("aba", {"a": 0.0}),
        ("aaa", {"a": 1.0}),
        ("aab", {"a": 1.0}),
        # a-b-a twice and a-b-a-b-a: 0, 0 and a third; of b: b-a-b.
        ("ababa", {"a": 1 / 9, "b": 0.0}),
        ("abba", {"a": 0.0, "b": 1.0}),
        # Of a: 1 of 0-1, a half of 0-3 (1, 2), 0 of 1-3.
        ("aaba", {"a": 0.5}),
    ],
)
def test_convexity_of_a_line_of_points(labels: str, wanted: dict[str, float]) -> None:
    # Each next step is longer, so the nearest of each point is the one before.
    line = np.array([[0.0], [1.0], [2.1], [3.3], [4.6]])[: len(labels)]
    found = check(line, list(labels), 1)
    assert {row.name: row.value for row in found} == pytest.approx(wanted)


def graph_of(count: int, *edges: tuple[int, int, float]) -> csr_matrix:
    dense = np.zeros((count, count))
    for i, j, length in edges:
        dense[i, j] = dense[j, i] = length
    return csr_matrix(dense)


def test_paths_are_short_in_length_not_in_steps() -> None:
    found, scores = graph_convexity(graph_of(3, (0, 2, 5.0), (0, 1, 1.0), (1, 2, 1.0)), ["a", "b", "a"])
    assert found[0].value == 0.0 and scores.tolist() == [0.0, 0.0]
    found, scores = graph_convexity(graph_of(3, (0, 2, 1.9), (0, 1, 1.0), (1, 2, 1.0)), ["a", "b", "a"])
    assert found[0].value == 1.0 and scores.tolist() == [1.0, 1.0]


def test_pairs_without_a_path_score_nothing() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(3, 2)), rng.normal(size=(3, 2)) + 50.0])
    assert check(points, ["a"] * 6, 2)[0].value == pytest.approx(2 * 3 * 2 / (6 * 5))
    assert check(points, ["a", "a", "b", "b", "b", "a"], 2)[0].value == pytest.approx(2 / 6)


def test_one_class_in_a_connected_graph_is_convex() -> None:
    found, scores = graph_convexity(neighbor_graph(cloud(40, 3, 1), 10), ["x"] * 40)
    assert (found[0].value, found[0].error, found[0].pairs) == (1.0, 0.0, 1560) and scores.min() == 1.0


def test_classes_of_one_point_are_left_out() -> None:
    points = cloud(8, 2, 0)
    assert [row.name for row in check(points, list("aabcaaaa"), 3)] == ["a"]
    with pytest.raises(SottovoceError, match="two points"):
        graph_convexity(neighbor_graph(points, 3), list("abcdefgh"))


def test_classes_by_chance_are_more_convex_than_their_share() -> None:
    values = []
    for seed in range(20):
        labels = np.random.default_rng(seed).permutation(np.repeat(list("abcd"), 25)).tolist()
        graph = neighbor_graph(np.random.default_rng([seed, 1]).normal(size=(100, 8)), 10)
        values += [row.value for row in graph_convexity(graph, labels)[0]]
    assert len(values) == 80 and 0.3 < np.mean(values) < 0.45


@quick
@given(SEEDS, st.integers(2, 12), st.integers(1, 150))
def test_pairs_are_of_different_members_and_none_comes_twice(seed: int, count: int, most: int) -> None:
    members = np.random.default_rng(seed).choice(100, count, replace=False)
    begins, ends = sampled(members, most, np.random.default_rng(seed))
    found = list(zip(begins.tolist(), ends.tolist(), strict=True))
    everything = set(permutations(members.tolist(), 2))
    assert len(set(found)) == len(found) == min(most, count * (count - 1)) and set(found) <= everything
    again = sampled(members, most, np.random.default_rng(seed))
    assert np.array_equal(begins, again[0]) and np.array_equal(ends, again[1])


def test_all_pairs_are_as_likely() -> None:
    rng = np.random.default_rng(0)
    counts = dict.fromkeys(permutations([2, 5, 7], 2), 0)
    for _ in range(900):
        for pair in zip(*(part.tolist() for part in sampled(np.array([2, 5, 7]), 2, rng)), strict=True):
            counts[pair] += 1
    assert all(abs(count - 300) < 5 * math.sqrt(300 * 2 / 3) for count in counts.values())


def test_a_part_of_the_pairs_speaks_for_all() -> None:
    labels = list("ab" * 20)
    graph = neighbor_graph(cloud(40, 3, 2), 4)
    every, _ = graph_convexity(graph, labels)
    found, scores = graph_convexity(graph, labels, pairs=200, seed=1)
    assert [row.pairs for row in found] == [200, 200] and len(scores) == 400 and found[0].points == 20
    for row, whole, own in zip(found, every, (scores[:200], scores[200:]), strict=True):
        assert row.value == pytest.approx(own.mean()) and abs(row.value - whole.value) < 4 * own.std() / 200**0.5
    assert np.array_equal(graph_convexity(graph, labels, pairs=200, seed=1)[1], scores)
    assert not np.array_equal(graph_convexity(graph, labels, pairs=200, seed=2)[1], scores)
    assert graph_convexity(graph, labels, pairs=1)[0][0].error == 0.0


def test_equal_points_are_joined() -> None:
    points = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.5, 0.0]])
    graph = neighbor_graph(points, 2)
    assert [set(row) for row in edges_of(graph).values()] == [set(row) for row in edges_by_hand(points, 2).values()]
    assert float(graph[0, 1]) == pytest.approx(0.0, abs=1e-100)
    assert [row.value for row in graph_convexity(graph, list("aabbc"))[0]] == [1.0, 1.0]
    pairs = neighbor_graph(np.zeros((2, 3)), 1)
    assert graph_convexity(pairs, ["a", "a"])[0][0].value == 1.0


@quick
@given(SEEDS, st.floats(1e-3, 1e3))
def test_turning_moving_and_scaling_change_no_convexity(seed: int, scale: float) -> None:
    points = cloud(24, 4, seed)
    rng = np.random.default_rng([seed, 1])
    moved = scale * (points @ np.linalg.qr(rng.normal(size=(4, 4)))[0] + 10 * rng.normal(size=4))
    first, second = neighbor_graph(points, 3), neighbor_graph(moved, 3)
    np.testing.assert_allclose(second.toarray(), scale * first.toarray(), rtol=1e-9)
    labels = list("abc" * 8)
    np.testing.assert_allclose(graph_convexity(second, labels)[1], graph_convexity(first, labels)[1])


def test_graphs_of_what_has_none_are_refused() -> None:
    points = cloud(6, 2, 0)
    for k in (0, -1, 6, 10):
        with pytest.raises(SottovoceError, match=f"k={k} "):
            neighbor_graph(points, k)
    assert neighbor_graph(points, 5).nnz == 30
    for wrong in (np.where(points == points[2, 1], np.nan, points), np.full((6, 2), np.inf), points[:, 0]):
        with pytest.raises(SottovoceError, match="finite"):
            neighbor_graph(wrong, 2)
    with pytest.raises(SottovoceError, match="5 labels for 6 points"):
        graph_convexity(neighbor_graph(points, 2), list("ababa"))


def entropy_by_hand(weights: list[float]) -> float:
    return -sum(weight * math.log(weight) for weight in weights if weight > 0)


def patterns_by_hand(rows: list[list[float]]) -> dict[str, float]:
    n = len(rows)
    most = math.log(max(2, n))
    entropy = sum(map(entropy_by_hand, rows)) / n
    far = sum(rows[q][key] * abs(q - key) for q in range(n) for key in range(n)) / n
    even = sum(abs(q - key) for q in range(n) for key in range(n)) / n**2
    overlap = [sum(min(a, b) for a, b in zip(rows[q], rows[q + 1], strict=True)) for q in range(n - 1)]
    return {
        "entropy": entropy,
        "globality": entropy / most,
        "verticality": 1 - entropy_by_hand([sum(row[key] for row in rows) / n for key in range(n)]) / most,
        "distance": far,
        "diagonality": 1 - far / even if n > 1 else 1.0,
        "blockness": 2 * float(np.std(overlap)) if n > 1 else 0.0,
    }


def one(maps: torch.Tensor) -> dict[str, float]:
    """The patterns of a single head."""
    return {name: float(value) for name, value in patterns(maps[None]).items()}


def test_patterns_of_plain_maps() -> None:
    n, places = 12, np.arange(12)
    even = (n**2 - 1) / (3 * n)
    still = {"entropy": 0.0, "globality": 0.0, "blockness": 0.0}
    wanted = {**still, "verticality": 0.0, "distance": 0.0, "diagonality": 1.0}
    assert one(torch.eye(n)) == pytest.approx(wanted, abs=1e-12)
    assert one(torch.full((n, n), 1 / n, dtype=torch.float64)) == pytest.approx(
        {"entropy": math.log(n), "globality": 1, "verticality": 0, "distance": even, "diagonality": 0, "blockness": 0},
        abs=1e-12,
    )
    for key in (0, 4):
        column = torch.zeros(n, n)
        column[:, key] = 1
        far = float(np.abs(places - key).mean())
        wanted = {**still, "verticality": 1.0, "distance": far, "diagonality": 1 - far / even}
        assert one(column) == pytest.approx(wanted, abs=1e-12)
    blocks = torch.kron(torch.eye(3), torch.full((4, 4), 0.25))
    far = (4**2 - 1) / (3 * 4)
    wanted = {"entropy": math.log(4), "globality": math.log(4) / math.log(n), "verticality": 0.0, "distance": far}
    jumps = 2 * math.sqrt(2 / 11 * 9 / 11)
    assert one(blocks) == pytest.approx({**wanted, "diagonality": 1 - far / even, "blockness": jumps}, abs=1e-12)
    beside = torch.zeros(n, n)
    beside[places, np.minimum(places + 1, n - 1)] = 1
    uneven = (n - 2) / n * math.log(n) + 2 / n * math.log(n / 2)
    found = {"verticality": 1 - uneven / math.log(n), "distance": 11 / 12, "diagonality": 1 - 11 / 12 / even}
    wanted = {**still, **found, "blockness": 2 * math.sqrt(1 / 11 * 10 / 11)}
    assert one(beside) == pytest.approx(wanted, abs=1e-12)


@quick
@given(SEEDS, st.integers(1, 3), st.integers(1, 9), st.integers(0, 12), st.sampled_from([0.3, 3.0]))
def test_patterns_and_profiles_of_any_maps(seed: int, heads: int, n: int, reach: int, sharp: float) -> None:
    maps = (sharp * torch.randn(heads, n, n, generator=torch.Generator().manual_seed(seed))).double().softmax(-1)
    found, curve = patterns(maps), profile(maps, reach)
    assert set(found) == set(PATTERNS) and curve.shape == (heads, 2 * reach + 1)
    for head, rows in enumerate(maps.tolist()):
        own = {name: float(value[head]) for name, value in found.items()}
        assert own == pytest.approx(patterns_by_hand(rows), abs=1e-10)
        for offset in range(-reach, reach + 1):
            there = [rows[q][q + offset] for q in range(n) if 0 <= q + offset < n]
            wanted = sum(there) / len(there) if there else 0.0
            assert float(curve[head, offset + reach]) == pytest.approx(wanted, abs=1e-12)
    single = patterns(maps.float())
    for name in PATTERNS:
        torch.testing.assert_close(single[name], found[name], rtol=1e-5, atol=2e-6)


def test_one_frame_has_patterns_and_profiles_tell_left_from_right() -> None:
    wanted = {**dict.fromkeys(PATTERNS, 0.0), "verticality": 1.0, "diagonality": 1.0}
    assert one(torch.ones(1, 1)) == wanted
    assert profile(torch.ones(2, 1, 1)).tolist() == [[float(place == REACH) for place in range(2 * REACH + 1)]] * 2
    after = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    assert profile(after, 1)[0].tolist() == pytest.approx([0.0, 1 / 3, 1.0])
    assert distances(3).tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]


@quick
@given(SEEDS, st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_norms_of_heads_count_their_rows_and_biases(seed: int, heads: int, size: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(heads * size, 5, generator=generator) for _ in range(3)]
    # As in Whisper, keys have no bias.
    biases = [torch.randn(heads * size, generator=generator) if bias or part != 1 else None for part in range(3)]
    wanted = [0.0] * heads
    for weight, own in zip(weights, biases, strict=True):
        for row in range(heads * size):
            wanted[row // size] += sum(map(abs, weight[row].tolist())) + (
                abs(float(own[row])) if own is not None else 0
            )
    found = head_norms([(torch.nn.Parameter(w), b) for w, b in zip(weights, biases, strict=True)], heads)
    assert found.tolist() == pytest.approx(wanted, rel=1e-9) and not found.requires_grad
    with pytest.raises(SottovoceError, match="heads"):
        head_norms([(torch.ones(heads * size + 1, 2), None)], heads + heads * size + 1)


@quick
@given(SEEDS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_effects_of_heads_lose_their_signs_frame_by_frame(seed: int, b: int, t: int, heads: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    context, gradient = torch.randn(2, b, t, heads * size, generator=generator).double()
    wanted = [0.0] * heads
    for item in range(b):
        for frame in range(t):
            for head in range(heads):
                own = range(head * size, (head + 1) * size)
                wanted[head] += abs(sum(float(context[item, frame, i] * gradient[item, frame, i]) for i in own))
    found = head_effects(context.requires_grad_(True), gradient, heads)
    assert found.tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-12) and not found.requires_grad


def test_scores_over_their_layer_have_length_one() -> None:
    scores = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)
    assert over_layer(scores).tolist() == pytest.approx([1 / 3, -2 / 3, 2 / 3], abs=1e-12)
    torch.testing.assert_close(over_layer(1e6 * scores), over_layer(scores))
    assert over_layer(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]
