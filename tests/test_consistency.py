"""Layer consistency: every distance against the slow one in double precision, and the measure on a model."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import tiny
from speech import toys

import sottovoce as sv
from sottovoce.analysis.consistency import (
    consistencies,
    frechet_distances,
    mean_distances,
    sliced_distances,
    variance_distances,
)
from sottovoce.errors import SottovoceError
from sottovoce.models.edits import tie_layers

RNG = np.random.default_rng(0)
LAYERS = [RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 5)) + RNG.normal(size=5) for _ in range(3)]
STACKED = torch.from_numpy(np.stack(LAYERS))


def slow_mean(x: np.ndarray, y: np.ndarray) -> float:
    total = 0.0
    for d in range(x.shape[1]):
        total += (x[:, d].mean() - y[:, d].mean()) ** 2 / ((x[:, d].var() + y[:, d].var()) / 2)
    return math.sqrt(total / x.shape[1])


def slow_variance(x: np.ndarray, y: np.ndarray) -> float:
    return math.sqrt(sum(math.log(x[:, d].std() / y[:, d].std()) ** 2 for d in range(x.shape[1])) / x.shape[1])


def slow_frechet(x: np.ndarray, y: np.ndarray) -> float:
    first, second = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    root = scipy.linalg.sqrtm(first @ second)
    apart = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * np.real(root))
    return apart / ((np.trace(first) + np.trace(second)) / 2)


def slow_sliced(x: np.ndarray, y: np.ndarray) -> float:
    drawn = torch.randn(x.shape[1], 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    apart = spread = 0.0
    for column in drawn.T:
        direction = column / np.linalg.norm(column)
        first, second = np.sort(x @ direction), np.sort(y @ direction)
        apart += ((first - second) ** 2).mean()
        spread += (first.var() + second.var()) / 2
    return math.sqrt(apart / spread)


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (mean_distances, slow_mean),
        (variance_distances, slow_variance),
        (frechet_distances, slow_frechet),
        (sliced_distances, slow_sliced),
    ],
)
def test_distances_are_those_of_the_definition(fast, slow) -> None:
    """Of all pairs, and 0 of a layer and itself."""
    found = fast(STACKED)
    for i, x in enumerate(LAYERS):
        for j, y in enumerate(LAYERS):
            wanted = 0.0 if i == j else slow(x, y)
            assert float(found[i, j]) == pytest.approx(wanted, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    """States in half precision, far from 0, whose squares overflow there."""
    layers = [(torch.from_numpy(layer) * 100 + 300).to(dtype) for layer in LAYERS]
    found, wanted = consistencies(layers), consistencies([layer.double() for layer in layers])
    for metric, matrix in wanted.items():
        torch.testing.assert_close(found[metric], matrix, rtol=1e-5, atol=1e-5)


def test_order_of_frames_is_nothing_to_distributions() -> None:
    """Shuffled frames have the same distribution, and other states each."""
    shuffled = LAYERS[0][RNG.permutation(len(LAYERS[0]))]
    found = consistencies([torch.from_numpy(LAYERS[0]), torch.from_numpy(shuffled)])
    for metric in ("mean", "variance", "frechet", "wasserstein"):
        assert float(found[metric][0, 1]) == pytest.approx(0, abs=1e-6)
    assert found["cka"][0, 1] < 0.9


def test_states_that_are_no_numbers_are_refused() -> None:
    """With the layer's name."""
    with pytest.raises(SottovoceError, match="layer 7 has NaN"):
        consistencies([STACKED[0], STACKED[1] * torch.nan], names=[6, 7])


def test_a_model_is_measured() -> None:
    """Every pair of states behind layers once, with an interval; one layer over and over comes closer to itself."""
    model = tiny("hubert", num_hidden_layers=3)
    rows = sv.MEASURES["consistency"](model, toys(16, 0, 0), batch=8, limit=16, frames=200)
    pairs = [(row.at("first_state"), row.at("second_state")) for row in rows if row.metric == "frechet"]
    assert pairs == [(1, 2), (1, 3), (2, 3)]
    assert all(row.error is not None and row.n == 2 * min(200, row.n // 2) for row in rows)
    assert {row.metric.removesuffix("_to_last") for row in rows} == set(consistencies(list(STACKED)))
    tie_layers(model)
    assert {row.metric for row in sv.MEASURES["consistency"](model, toys(8, 0, 0), limit=8)} == {r.metric for r in rows}
