"""Error rates and intervals against slow and obvious versions of them."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sottovoce.errors import SottovoceError
from sottovoce.tasks.scores import (
    Tally,
    accuracy_tally,
    edit_counts,
    edit_tally,
    equal_error_rate,
    pairs_error_rate,
    ratio_interval,
)

TOKENS = st.lists(st.sampled_from(["a", "b", "c d", " ", "", "é"]), max_size=7)
# Few values, so that ties are common.
TRIALS = st.lists(st.tuples(st.integers(-4, 4), st.booleans(), st.integers(1, 3)), min_size=2, max_size=14)


def levenshtein(one: Sequence[str], other: Sequence[str]) -> int:
    table = np.zeros((len(one) + 1, len(other) + 1))
    table[:, 0], table[0] = np.arange(len(one) + 1), np.arange(len(other) + 1)
    for i, left in enumerate(one):
        for j, right in enumerate(other):
            table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, table[i, j] + (left != right))
    return int(table[-1, -1])


def swept_error_rate(scores: Sequence[float], same: Sequence[bool]) -> float:
    """Try every threshold, and walk the straight lines between their points in small steps."""
    points = []
    for threshold in [np.inf, *sorted(set(scores), reverse=True)]:
        accepted = [score >= threshold for score in scores]
        others = [a for a, s in zip(accepted, same, strict=True) if not s]
        own = [a for a, s in zip(accepted, same, strict=True) if s]
        points.append((np.mean(others), 1 - np.mean(own)))
    for (a, r), (b, q) in zip(points, points[1:], strict=False):
        steps = np.linspace(0, 1, 10_001)
        gap = np.abs((a + steps * (b - a)) - (r + steps * (q - r)))
        if a <= r and b >= q:
            return float(a + steps[gap.argmin()] * (b - a))
    raise AssertionError("the lines end where all is accepted, so they cross")


@settings(deadline=None)
@given(TOKENS, TOKENS)
def test_edit_counts(one: list[str], other: list[str]) -> None:
    assert edit_counts(one, other) == (levenshtein(one, other), len(one))
    assert edit_counts(one, one)[0] == 0
    assert edit_counts(other, one)[0] == edit_counts(one, other)[0]
    assert abs(len(one) - len(other)) <= edit_counts(one, other)[0] <= max(len(one), len(other))


@settings(deadline=None)
@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=5))
def test_edit_tally(pairs: list[tuple[list[str], list[str]]]) -> None:
    references, hypotheses = map(list, zip(*pairs, strict=True))
    assume(any(references))
    tally = edit_tally(references, hypotheses)
    assert tally.hits.tolist() == [levenshtein(*pair) for pair in pairs]
    assert tally.counts.tolist() == [len(reference) for reference in references]
    assert tally.hits.dtype == tally.counts.dtype == np.float64


def test_empty_references_and_hypotheses() -> None:
    tally = edit_tally([["a", "b"], []], [[], ["x", "y", "z"]])
    assert (tally.hits.tolist(), tally.counts.tolist()) == ([2, 3], [2, 0])
    assert tally.value == 2.5
    value, half = ratio_interval(tally)
    assert value == 2.5 and np.isfinite(half)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_accuracy(kind: type) -> None:
    tally = accuracy_tally(kind([1, 2, 3, 4]), kind([1, 2, 0, 4]))
    assert tally.hits.tolist() == [1, 1, 0, 1] and tally.value == 0.75


def test_interval_is_the_slow_one_of_the_same_kind() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 30, 60)
    tally = Tally(rng.binomial(counts, 0.2), counts)
    rates = []
    for times in np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=100):
        drawn = np.repeat(np.arange(60), times)
        rates.append(tally.hits[drawn].sum() / tally.counts[drawn].sum())
    low, high = np.quantile(rates, (0.025, 0.975))
    value, half = ratio_interval(tally, draws=100)
    assert value == tally.hits.sum() / tally.counts.sum()
    assert half == pytest.approx((high - low) / 2, rel=1e-9)


def test_interval_of_a_share_is_the_binomial_one() -> None:
    hits = np.arange(2000) % 10 < 3
    value, half = ratio_interval(Tally(hits, np.ones(2000)), draws=4000)
    assert value == 0.3
    assert half == pytest.approx(1.96 * np.sqrt(0.3 * 0.7 / 2000), rel=0.06)


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(300):
        value, half = ratio_interval(Tally(rng.random(100) < 0.3, np.ones(100)), draws=300, seed=seed)
        covered += abs(value - 0.3) <= half
    # Three standard errors around 95 %, and a little for a hundred utterances and steps of a hundredth.
    assert 0.89 <= covered / 300 <= 0.985


def test_interval_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally(np.arange(50) % 7, np.full(50, 7))
    whole = ratio_interval(tally, draws=501)
    assert ratio_interval(tally, draws=501) == whole != ratio_interval(tally, draws=501, seed=1)
    monkeypatch.setattr("sottovoce.tasks.scores.CHUNK", 120)
    assert ratio_interval(tally, draws=501) == whole


def test_interval_of_one_utterance() -> None:
    assert ratio_interval(Tally(np.array([1]), np.array([4]))) == (0.25, 0.0)


@settings(max_examples=200, deadline=None)
@given(TRIALS)
def test_error_rate(trials: list[tuple[int, bool, int]]) -> None:
    scores, same, weights = map(list, zip(*trials, strict=True))
    assume(0 < sum(same) < len(same))
    rate = equal_error_rate(scores, same)
    assert rate == pytest.approx(swept_error_rate(scores, same), abs=2e-4)
    # Order, and any map that rises, change nothing; neither does it matter which kind of error is which.
    assert equal_error_rate(scores[::-1], same[::-1]) == pytest.approx(rate, abs=1e-12)
    assert equal_error_rate([np.exp(score) for score in scores], same) == rate
    assert equal_error_rate([-score for score in scores], [not s for s in same]) == pytest.approx(rate, abs=1e-12)
    assert equal_error_rate([-score for score in scores], same) == pytest.approx(1 - rate, abs=1e-12)
    # A weight of two is a trial that comes twice.
    repeated = [np.repeat(values, weights) for values in (scores, same)]
    assert equal_error_rate(scores, same, weights=weights) == pytest.approx(equal_error_rate(*repeated), abs=1e-12)


def test_error_rate_by_hand() -> None:
    assert equal_error_rate([3, 2, 1, 0], [True, True, False, False]) == 0
    assert equal_error_rate([3, 2, 1, 0], [False, False, True, True]) == 1
    assert equal_error_rate([1, 1, 1, 1, 1], [True, False, False, True, False]) == 0.5
    # From (0, 1/2) to (1/2, 0), for a same and a different pair move together.
    assert equal_error_rate(torch.tensor([3.0, 2.0, 2.0, 1.0]), [True, True, False, False]) == 0.25


def test_error_rate_of_noise() -> None:
    rng = np.random.default_rng(0)
    assert equal_error_rate(rng.normal(size=20_000), rng.random(20_000) < 0.2) == pytest.approx(0.5, abs=0.02)


def speech(people: int, each: int, spread: float, seed: int = 0, size: int = 8) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), each)
    vectors = rng.normal(size=(people, size))[person] + spread * rng.normal(size=(len(person), size))
    return vectors, [f"speaker {number:03}" for number in person]


def slow_pairs(vectors: np.ndarray, speakers: list[str]) -> tuple[list[float], list[bool]]:
    scores, same = [], []
    for i in range(len(vectors)):
        for j in range(i):
            lengths = np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j])
            scores.append(float(vectors[i] @ vectors[j] / lengths))
            same.append(speakers[i] == speakers[j])
    return scores, same


def test_pairs() -> None:
    vectors, speakers = speech(6, 4, 1.0)
    rate, half, n = pairs_error_rate(vectors, speakers)
    assert rate == pytest.approx(swept_error_rate(*slow_pairs(vectors, speakers)), abs=2e-4)
    assert n == 24 * 23 // 2 and 0 < half < 0.5
    # Lengths do not matter; the order of the speakers does not either, but for the draws.
    assert pairs_error_rate(torch.tensor(vectors * np.arange(1, 25)[:, None]), speakers)[0] == pytest.approx(rate)
    assert pairs_error_rate(vectors[::-1], speakers[::-1])[0] == pytest.approx(rate)


def test_pairs_by_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, speakers = speech(6, 4, 1.0)
    every = [(j, i) for i in range(24) for j in range(i)]
    assert pairs_error_rate(vectors, speakers, trials=every[::-1]) == pairs_error_rate(vectors, speakers)
    monkeypatch.setattr("sottovoce.tasks.scores.CHUNK", 50)
    assert pairs_error_rate(vectors, speakers, trials=every) == pairs_error_rate(vectors, speakers)
    few = every[::3]
    scores = [float(vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])) for i, j in few]
    wanted = equal_error_rate(scores, [speakers[i] == speakers[j] for i, j in few])
    rate, _, n = pairs_error_rate(vectors, speakers, trials=few)
    assert (rate, n) == (pytest.approx(wanted), len(few))


def test_pairs_of_people_far_apart_and_of_nobody() -> None:
    assert pairs_error_rate(*speech(5, 3, 1e-3))[:2] == (0.0, 0.0)
    vectors, speakers = speech(40, 5, 1e6)
    rate, half, _ = pairs_error_rate(vectors, speakers)
    assert rate == pytest.approx(0.5, abs=0.06) and abs(rate - 0.5) < 2 * half


def test_pairs_that_differ_by_rounding_are_ties() -> None:
    vectors = np.tile(np.random.default_rng(0).normal(size=(1, 37)), (20, 1)) * np.linspace(0.1, 7, 20)[:, None]
    assert pairs_error_rate(vectors, ["a", "b"] * 10)[0] == 0.5


def test_pairs_interval_is_the_slow_one_of_the_same_kind() -> None:
    """People drawn with replacement; a person drawn twice is twice the same pairs, and no pair with the copy."""
    vectors, speakers = speech(12, 3, 1.0)
    rates = []
    for times in np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=100):
        scores: list[float] = []
        same: list[bool] = []
        drawn = np.repeat(np.arange(12), times)
        table = [vectors[3 * person : 3 * person + 3] for person in drawn]
        table = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in table]
        for i in range(12):
            scores += (table[i] @ table[i].T)[np.triu_indices(3, 1)].tolist()
            same += [True] * 3
            for j in range(i):
                if drawn[i] != drawn[j]:
                    scores += (table[i] @ table[j].T).ravel().tolist()
                    same += [False] * 9
        rates.append(equal_error_rate(np.round(scores, 12), same))
    low, high = np.quantile(rates, (0.025, 0.975))
    assert pairs_error_rate(vectors, speakers, draws=100)[1] == pytest.approx((high - low) / 2, rel=1e-9)


def test_pairs_interval_is_as_wide_as_samples_differ() -> None:
    results = [pairs_error_rate(*speech(30, 4, 1.2, seed), draws=60, seed=seed)[:2] for seed in range(80)]
    rates, halves = np.array(results).T
    assert 0.75 < halves.mean() / (1.96 * rates.std()) < 1.4


def test_pairs_of_two_thousand_utterances_in_seconds() -> None:
    vectors, speakers = speech(100, 20, 1.5, size=32)
    start = time.perf_counter()
    _, _, n = pairs_error_rate(vectors, speakers, draws=20)
    assert n == 1_999_000
    # A tenth of the draws; all of them take under a minute even on a machine that does three other things.
    assert time.perf_counter() - start < 6


ONES = np.ones((3, 2))
FAULTS = {
    "2 references and 1 hypotheses": lambda: edit_tally([["a"], ["b"]], [["a"]]),
    "are empty": lambda: edit_tally([], []),
    r"text\.split": lambda: edit_tally(["a b"], ["a b"]),
    r"give text\.split": lambda: edit_counts("a b", ["a"]),
    "all counts are 0": lambda: edit_tally([[]], [["a"]]),
    "at least one utterance": lambda: Tally(np.array([]), np.array([])),
    r"shape \(2,\)": lambda: Tally(np.ones(2), np.ones(3)),
    "hits hold": lambda: Tally(np.array([np.nan]), np.ones(1)),
    "counts hold": lambda: Tally(np.ones(1), -np.ones(1)),
    "draws=0": lambda: ratio_interval(Tally(np.ones(2), np.ones(2)), draws=0),
    "3 predicted and 2 wanted": lambda: accuracy_tally([1, 2, 3], [1, 2]),
    "predicted and wanted are empty": lambda: accuracy_tally([], []),
    "score 1 is NaN": lambda: equal_error_rate([0.1, np.nan], [True, False]),
    "score 0 is NaN or inf": lambda: equal_error_rate([np.inf, 1], [True, False]),
    "one kind is missing": lambda: equal_error_rate([0.1, 0.2], [True, True]),
    "one kind is": lambda: equal_error_rate([0.1, 0.2], [True, False], weights=[1, 0]),
    "2 scores and 1 same": lambda: equal_error_rate([0.1, 0.2], [True]),
    "other than True": lambda: equal_error_rate([0.1, 0.2], [2, 0]),
    "give two lists": lambda: equal_error_rate(ONES, [True, False, True]),
    "weights hold": lambda: equal_error_rate([0.1, 0.2], [True, False], weights=[1, -1]),
    "no pair of the same speaker": lambda: pairs_error_rate(ONES, ["a", "b", "c"]),
    "no pair of different speakers": lambda: pairs_error_rate(ONES, ["a", "a", "a"]),
    "embedding 1 is zero": lambda: pairs_error_rate(np.array([[1, 1], [0, 0]]), ["a", "b"]),
    "embedding 0 is zero, NaN": lambda: pairs_error_rate(np.array([[1, np.nan], [0, 1]]), ["a", "b"]),
    r"shape \(3, 2\) and 2 speakers": lambda: pairs_error_rate(ONES, ["a", "b"]),
    r"shape \(3,\)": lambda: pairs_error_rate(np.ones(3), ["a", "b", "c"]),
    r"the trial \(0, 3\)": lambda: pairs_error_rate(ONES, ["a", "a", "b"], trials=[(0, 1), (0, 3)]),
    r"the trial \(-1, 0\)": lambda: pairs_error_rate(ONES, ["a", "a", "b"], trials=[(-1, 0)]),
    r"the trial \(1, 1\)": lambda: pairs_error_rate(ONES, ["a", "a", "b"], trials=[(0, 2), (1, 1)]),
    r"trials of shape \(0,\)": lambda: pairs_error_rate(ONES, ["a", "a", "b"], trials=[]),
    "draws=-1": lambda: pairs_error_rate(ONES, ["a", "a", "b"], draws=-1),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults(message: str) -> None:
    with pytest.raises(SottovoceError, match=message) as caught:
        FAULTS[message]()
    assert str(caught.value).endswith(".")
