"""How alike layers are, against definitions in slow loops; blocks of layers, against all partitions there are."""

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.analysis.blocks import best_partition, blocks, shuffled, within
from sottovoce.analysis.similarity import (
    check_samples,
    cosines,
    neighbors,
    normalized,
    products,
    ranked,
    refuse_nan,
    shared,
    similarities,
    unbiased,
)
from sottovoce.errors import SottovoceError

SEEDS = st.integers(0, 10_000)
quick = settings(max_examples=25, deadline=None)


def states(samples: int, widths: list[int], seed: int, mean: float = 0.5) -> list[torch.Tensor]:
    """Layers that share a part, whose samples are of different lengths and share a mean."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(samples, 3))
    lengths = rng.uniform(0.3, 3.0, size=(samples, 1))
    made = [lengths * (common @ rng.normal(size=(3, d)) + rng.normal(size=(samples, d))) + mean for d in widths]
    return [torch.from_numpy(layer) for layer in made]


def turned(layer: torch.Tensor, seed: int) -> torch.Tensor:
    """The layer after an orthogonal map."""
    width = layer.shape[1]
    made = np.linalg.qr(np.random.default_rng([seed, 1]).normal(size=(width, width)))[0]
    return layer @ torch.from_numpy(made).to(layer.dtype)


def rows(layer: torch.Tensor) -> list[list[float]]:
    return layer.double().tolist()


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine_by_hand(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Of each sample."""
    return [dot(x, y) / math.sqrt(dot(x, x) * dot(y, y)) for x, y in zip(rows(a), rows(b), strict=True)]


def angle_by_hand(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.mean([math.acos(min(1.0, max(-1.0, cosine))) / math.pi for cosine in cosine_by_hand(a, b)]))


def columns(layer: torch.Tensor) -> list[list[float]]:
    """The numbers of all samples in each place, less their mean."""
    found = [list(column) for column in zip(*rows(layer), strict=True)]
    return [[value - math.fsum(column) / len(column) for value in column] for column in found]


def cka_by_hand(a: torch.Tensor, b: torch.Tensor) -> float:
    """Equation 2 of the paper, from products of places rather than of samples."""

    def frobenius(left: list[list[float]], right: list[list[float]]) -> float:
        return math.fsum(dot(x, y) ** 2 for x in left for y in right)

    x, y = columns(a), columns(b)
    return frobenius(y, x) / math.sqrt(frobenius(x, x) * frobenius(y, y))


def near_by_hand(layer: torch.Tensor, k: int) -> list[set[int]]:
    """The k other samples of largest inner product; of equal ones, those of lower number."""
    all_rows = rows(layer)
    found = []
    for index, own in enumerate(all_rows):
        others = [other for other in range(len(all_rows)) if other != index]
        found.append(set(sorted(others, key=lambda other: (-dot(own, all_rows[other]), other))[:k]))
    return found


def knn_by_hand(a: torch.Tensor, b: torch.Tensor, k: int) -> float:
    return float(np.mean([len(x & y) / k for x, y in zip(near_by_hand(a, k), near_by_hand(b, k), strict=True)]))


def hsic_by_hand(a: torch.Tensor, b: torch.Tensor) -> float:
    """HSIC_1 of Song et al. (2012), equation 5, with linear kernels of the states less their mean."""
    x, y = (list(zip(*columns(layer), strict=True)) for layer in (a, b))
    n = len(x)
    places = range(n)
    first = [[0.0 if i == j else dot(list(x[i]), list(x[j])) for j in places] for i in places]
    second = [[0.0 if i == j else dot(list(y[i]), list(y[j])) for j in places] for i in places]
    trace = math.fsum(first[i][j] * second[j][i] for i in places for j in places)
    sums = math.fsum(map(math.fsum, first)) * math.fsum(map(math.fsum, second))
    chain = math.fsum(first[i][j] * second[j][m] for i in places for j in places for m in places)
    return (trace + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * chain) / (n * (n - 3))


def close(found: float, wanted: float, slack: float) -> None:
    assert found == pytest.approx(wanted, rel=slack, abs=slack)


@pytest.mark.parametrize(
    ("dtype", "slack"), [(torch.float64, 1e-11), (torch.float32, 2e-5), (torch.float16, 2e-5), (torch.bfloat16, 2e-5)]
)
@pytest.mark.parametrize("seed", range(3))
def test_measures_of_a_batch_are_their_definitions(dtype: torch.dtype, slack: float, seed: int) -> None:
    layers = [layer.to(dtype) for layer in states(9 + seed, [5, 5, 3, 5], seed)]
    found = similarities(layers, [2, 4, 8, 16])
    assert set(found) == {"cosine", "angle", "cka", "hsic", "knn_2", "knn_4", "knn_8"}
    for i, a in enumerate(layers):
        for j, b in enumerate(layers):
            if (i == 2) != (j == 2):
                assert math.isnan(found["cosine"][i, j]) and math.isnan(found["angle"][i, j])
            else:
                close(float(found["cosine"][i, j]), float(np.mean(cosine_by_hand(a, b))), slack)
                close(float(found["angle"][i, j]), 0.0 if i == j else angle_by_hand(a, b), slack)
            close(float(found["cka"][i, j]), cka_by_hand(a, b), slack)
            close(float(found["hsic"][i, j]), hsic_by_hand(a, b), 10 * slack)
            for k in (2, 4, 8):
                close(float(found[f"knn_{k}"][i, j]), knn_by_hand(a, b, k), 1e-7)
    wanted = torch.tensor([[[dot(x, y) for y in rows(layer)] for x in rows(layer)] for layer in layers])
    torch.testing.assert_close(products(layers).plain, wanted.double(), rtol=2e-5, atol=2e-5)
    each = cosines(products(layers).across)
    assert [float(value) for value in each[:, 0, 1]] == pytest.approx(cosine_by_hand(layers[0], layers[1]), abs=slack)


def test_neighbours_are_of_inner_products_not_of_angles_or_distances() -> None:
    # To the first sample the second is the nearest in angle, the third in distance, the last in inner product.
    layer = torch.tensor([[1.0, 0.0], [0.1, 0.0], [1.0, 0.5], [9.0, 9.0]], dtype=torch.float64)
    assert ranked(products([layer]).plain)[0, 0].tolist() == [3, 2, 1]
    assert neighbors(ranked(products([layer]).plain), 1)[0].tolist() == [[0, 0, 0, 1]] * 3 + [[0, 0, 1, 0]]


def test_samples_of_zeros_and_opposite_samples_have_a_cosine() -> None:
    layer = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    assert cosines(products([layer, -layer]).across)[0].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert cosines(products([layer, -layer]).across)[1].flatten().tolist() == pytest.approx([1, -1, -1, 1], abs=1e-15)


@quick
@given(SEEDS, st.integers(4, 12), st.integers(2, 6))
def test_a_layer_is_fully_like_itself_and_likeness_goes_both_ways(seed: int, samples: int, width: int) -> None:
    layers = states(samples, [width, width, width + 1], seed)
    found = similarities([*layers, layers[0].clone()], [1, 2, 3])
    found["hsic"] = normalized(found["hsic"])
    for metric, matrix in found.items():
        own, slack = 0.0 if metric == "angle" else 1.0, 1e-6 if metric == "angle" else 1e-9
        assert matrix.diagonal().tolist() == [own] * 4, metric
        assert float(matrix[0, 3]) == pytest.approx(own, abs=slack), metric
        torch.testing.assert_close(matrix, matrix.T, rtol=1e-8, atol=1e-8, equal_nan=True, msg=metric)


@quick
@given(SEEDS, st.integers(5, 12), st.integers(2, 6), st.floats(0.01, 100))
def test_turning_and_scaling_change_nothing(seed: int, samples: int, width: int, scale: float) -> None:
    a, b = states(samples, [width, width], seed)
    plain = similarities([a, b], [2, 4])
    one = similarities([scale * turned(a, seed), b], [2, 4])
    both = similarities([scale * turned(a, seed), 3 * turned(b, seed)], [2, 4])
    for metric in ("cka", "knn_2", "knn_4"):
        torch.testing.assert_close(one[metric], plain[metric], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(normalized(one["hsic"]), normalized(plain["hsic"]), rtol=1e-6, atol=1e-6)
    for metric in ("cosine", "angle", "cka", "knn_2", "knn_4"):
        torch.testing.assert_close(both[metric], plain[metric], rtol=1e-6, atol=1e-6)
    close(float(similarities([a + 7, b])["cka"][0, 1]), float(plain["cka"][0, 1]), 1e-9)


@quick
@given(SEEDS, st.integers(5, 12))
def test_the_order_of_samples_does_not_matter(seed: int, samples: int) -> None:
    layers = states(samples, [4, 4, 2], seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(samples))
    mixed = similarities([layer[order] for layer in layers], [2, 4])
    for metric, matrix in similarities(layers, [2, 4]).items():
        torch.testing.assert_close(mixed[metric], matrix, rtol=1e-9, atol=1e-9, equal_nan=True)
    one = similarities([layers[0][order], layers[1]], [2])
    assert abs(float(one["cosine"][0, 1] - mixed["cosine"][0, 1])) > 1e-6 or bool((order.diff() == 1).all())


def test_independent_layers_share_neighbours_at_chance_and_no_more_than_that() -> None:
    samples, k, batches = 128, 8, 50
    generator = torch.Generator().manual_seed(1)
    off = ~torch.eye(4, dtype=torch.bool)
    found = [
        similarities([torch.randn(samples, 16, generator=generator) + 0.2 for _ in range(4)], [k])["knn_8"][off].mean()
        for _ in range(batches)
    ]
    chance = k / (samples - 1)
    # As if the samples of a batch were one: those that many others are near to make them depend on each other.
    spread = math.sqrt(chance * (1 - chance) / (k * 6 * batches))
    assert abs(float(torch.stack(found).mean()) - chance) < 3 * spread


def test_the_unbiased_estimator_of_independent_layers_is_about_nothing() -> None:
    batches = 300
    found = [similarities(independent, [2]) for independent in batches_of_noise(batches)]
    own = torch.stack([part["hsic"][0, 0] * part["hsic"][1, 1] for part in found]).sqrt().mean()
    each = torch.stack([part["hsic"][0, 1] for part in found]) / own
    assert abs(float(each.mean())) < 4 * float(each.std()) / math.sqrt(batches) < 0.05
    assert float(torch.stack([part["cka"][0, 1] for part in found]).mean()) > 0.3
    mean = torch.stack([part["hsic"] for part in found]).mean(0)
    assert abs(float(normalized(mean)[0, 1])) < 0.05


def batches_of_noise(count: int) -> list[list[torch.Tensor]]:
    rng = np.random.default_rng(4)
    return [[torch.from_numpy(rng.normal(size=(12, 8)) + 0.3) for _ in range(2)] for _ in range(count)]


@pytest.mark.parametrize("metric", ["cka", "hsic"])
@pytest.mark.parametrize("mean", [100.0, 1000.0])
def test_a_large_common_mean_spoils_nothing(metric: str, mean: float) -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 24, 64))
    a, b = (torch.from_numpy(layer + mean).float() for layer in (first, first + second))
    found = similarities([a, b])[metric]
    by_hand: Callable[[torch.Tensor, torch.Tensor], float] = {"cka": cka_by_hand, "hsic": hsic_by_hand}[metric]
    wanted = by_hand(a, b) / math.sqrt(by_hand(a, a) * by_hand(b, b))
    close(float(normalized(found)[0, 1]), wanted, 1e-4)


def test_equal_samples_have_one_answer() -> None:
    # Eight samples of small whole numbers: their means and products have no rounding, so ties are ties.
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = (torch.from_numpy(rng.integers(0, 3, size=(8, 3)).astype(float)) for _ in range(2))
        first, again = similarities([a, b], [1, 3]), similarities([a, b], [1, 3])
        for k in (1, 3):
            assert float(first[f"knn_{k}"][0, 1]) == pytest.approx(knn_by_hand(a, b, k), abs=1e-12)
            assert torch.equal(first[f"knn_{k}"], again[f"knn_{k}"])


def test_what_cannot_be_compared_is_refused() -> None:
    layer = torch.randn(6, 3)
    order = ranked(products([layer]).plain)
    for k in (0, 6, 7):
        with pytest.raises(SottovoceError, match=f"k={k} "):
            neighbors(order, k)
    assert float(shared(neighbors(order, 5), 5)[0, 0]) == 1.0
    assert {"knn_5"} == {name for name in similarities([layer], [5, 6, 7]) if name.startswith("knn")}
    assert "hsic" not in similarities([layer[:3]])
    with pytest.raises(SottovoceError, match="at least 4"):
        unbiased(products([layer[:3]]).plain)
    with pytest.raises(SottovoceError):
        similarities([layer[:1], layer[:1]])
    for wrong in ([], [layer, layer[:5]], [layer, layer[None]], [layer[0]]):
        with pytest.raises(SottovoceError, match="shapes"):
            similarities(wrong)
    assert check_samples([layer, layer[:, :1]]) == 6


@pytest.mark.parametrize("value", [0.0, 0.1, 1000.1, -1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_layer_is_refused_by_name(value: float, dtype: torch.dtype) -> None:
    layers = [layer.to(dtype) for layer in states(127, [16, 16], 0)]
    constant = value * torch.linspace(0.5, 1.5, 16, dtype=dtype).expand(127, 16)
    with pytest.raises(SottovoceError, match="layer twelve "):
        similarities([*layers, constant], names=["ten", "eleven", "twelve"])
    with pytest.raises(SottovoceError, match="layer 0 "):
        similarities([constant, *layers])
    assert math.isfinite(similarities([1e-3 * layers[0] + 30, layers[1]])["cka"][0, 1])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused_by_name(value: float) -> None:
    layers = [torch.zeros(3, 2), torch.zeros(3, 2)]
    refuse_nan(layers, ["a", "b"])
    layers[1][2, 1] = value
    with pytest.raises(SottovoceError, match="layer b "):
        refuse_nan(layers, ["a", "b"])


def partitions(layers: int) -> list[tuple[int, ...]]:
    """The starts of the blocks of all partitions, those of few blocks first."""
    return [(0, *cuts) for count in range(layers) for cuts in combinations(range(1, layers), count)]


def gain_by_hand(matrix: np.ndarray, starts: tuple[int, ...]) -> float:
    pairs = list(combinations(range(len(matrix)), 2))
    mean = sum(matrix[pair] for pair in pairs) / len(pairs)
    block = [sum(start <= layer for start in starts) for layer in range(len(matrix))]
    return sum(matrix[i, j] - mean for i, j in pairs if block[i] == block[j])


def square(layers: int, seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(layers, layers))
    return made + made.T


@quick
@given(st.integers(2, 9), SEEDS)
def test_no_partition_is_better_than_the_one_found(layers: int, seed: int) -> None:
    matrix = square(layers, seed)
    gains = {starts: gain_by_hand(matrix, starts) for starts in partitions(layers)}
    best = max(gains, key=lambda starts: round(gains[starts], 9))
    starts, gain = best_partition(matrix)
    assert (starts, gain) == (best, pytest.approx(gains[best], abs=1e-9))
    for count in range(1, layers + 1):
        own = max((s for s in gains if len(s) == count), key=gains.__getitem__)
        starts, gain = best_partition(matrix, count)
        assert len(starts) == count and gain == pytest.approx(gains[own], abs=1e-9)
        assert gains[starts] == pytest.approx(gains[own], abs=1e-9)
        if count == 2:
            assert blocks(matrix, shuffles=0).boundary == own[1]
    assert blocks(matrix, shuffles=0).starts == best
    for i, j in combinations(range(layers + 1), 2):
        alone = tuple(start for start in range(layers) if start <= i or start >= j)
        assert within(matrix)[i, j] == pytest.approx(gain_by_hand(matrix, alone), abs=1e-9)


@pytest.mark.parametrize("starts", [(0, 3, 8), (0, 6), (0, 2, 4, 9)])
def test_planted_blocks_are_found(starts: tuple[int, ...]) -> None:
    block = np.array([sum(start <= layer for start in starts) for layer in range(12)])
    noise = 0.05 * square(12, 0)
    found = blocks(0.9 * (block[:, None] == block[None, :]) + noise)
    assert found.starts == starts and found.chance < 0.03 and found.shuffled < found.gain
    assert found.gain == pytest.approx(gain_by_hand(0.9 * (block[:, None] == block[None, :]) + noise, starts))
    if len(starts) == 2:
        assert found.boundary == starts[1]
    again = blocks(3 * (0.9 * (block[:, None] == block[None, :]) + noise) + 5)
    assert again.starts == starts and again.gain == pytest.approx(3 * found.gain) and again.chance == found.chance


@pytest.mark.parametrize("decay", [0.1, 1.0, -0.2])
def test_mere_decay_with_distance_is_no_structure(decay: float) -> None:
    places = np.arange(12)
    found = blocks(np.exp(-decay * np.abs(places[:, None] - places[None, :])), shuffles=20)
    assert found.chance == 1.0 and found.gain == pytest.approx(found.shuffled)


@quick
@given(st.integers(2, 9), SEEDS)
def test_shuffling_keeps_what_stands_at_each_distance(layers: int, seed: int) -> None:
    matrix = square(layers, seed)
    found = shuffled(matrix, np.random.default_rng(seed))
    assert np.array_equal(found, found.T)
    for distance in range(layers):
        assert sorted(found.diagonal(distance)) == sorted(matrix.diagonal(distance))
    drawn = [shuffled(matrix, np.random.default_rng(other))[0, 1] for other in range(100)]
    assert set(drawn) == set(matrix.diagonal(1))


def test_blocks_of_two_layers_and_of_equal_ones() -> None:
    found = blocks(np.array([[1.0, 0.3], [0.3, 1.0]]), shuffles=5)
    assert (found.starts, found.gain, found.boundary, found.chance) == ((0,), 0.0, 1, 1.0)
    assert blocks(np.ones((6, 6)), shuffles=5).starts == (0,)


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (3,), (2, 2, 2)])
def test_blocks_of_what_is_no_square_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SottovoceError, match="square"):
        blocks(np.ones(shape))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_blocks_need_all_pairs(value: float) -> None:
    matrix = np.ones((4, 4))
    matrix[1, 3] = value
    with pytest.raises(SottovoceError, match="NaN"):
        blocks(matrix)
