"""Functions take turns fairly, and the ratio of their times has an honest interval."""

import math
import random
import statistics
import time

import pytest

from sottovoce.timing import in_turns, quartiles, ratio, seconds_of


def test_every_second_round_runs_the_other_way_and_the_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    ticks: list[None] = []
    functions = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = in_turns(functions, rounds=3, warm_up=1, tick=lambda: ticks.append(None))
    assert list(times) == ["a", "b", "c"] and all(len(taken) == 3 for taken in times.values())
    assert "".join(calls) in ("abccbaabccba", "cbaabccbaabc") and len(ticks) == 12


def test_a_time_is_that_of_the_function() -> None:
    assert 0.02 <= seconds_of(lambda: time.sleep(0.02)) < 1.0
    times = in_turns({"long": lambda: time.sleep(0.02), "short": lambda: None}, rounds=3, warm_up=0)
    found = ratio(times["short"], times["long"])
    assert found.high < 0.5 and found.rounds == 3


@pytest.mark.parametrize("count", [5, 9, 21, 61])
def test_the_interval_is_that_of_all_samples_with_replacement(count: int) -> None:
    """Of an odd number of draws from n sorted values, the median is at most the k-th with a binomial probability."""
    source = random.Random(count)
    old = [source.uniform(1, 2) for _ in range(count)]
    pairs = sorted(source.sample(range(1, 1000), count))
    new = [pair * b for pair, b in zip(source.sample(pairs, count), old, strict=True)]

    def at_most(share: float) -> float:
        wins = range(count // 2 + 1, count + 1)
        return sum(math.comb(count, m) * share**m * (1 - share) ** (count - m) for m in wins)

    found = ratio(new, old, draws=20_000)
    assert found.median == pytest.approx(statistics.median(pairs))
    # The bootstrap draws: its quantile lies where the exact distribution says, up to the chance of the draws.
    for value, share in ((found.low, 0.025), (found.high, 0.975)):
        k = min(range(count), key=lambda index: abs(pairs[index] - value))
        assert value == pytest.approx(pairs[k])
        assert at_most(k / count) - 0.005 <= share <= at_most((k + 1) / count) + 0.005


def test_the_same_times_give_the_same_interval() -> None:
    new, old = [1.0, 2.0, 4.0, 3.0], [2.0, 2.0, 2.0, 2.0]
    assert ratio(new, old) == ratio(new, old)
    with pytest.raises(ValueError):
        ratio(new, old[:3])


def test_quartiles() -> None:
    assert quartiles([3.0]) == (3.0, 3.0)
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 4.0)
