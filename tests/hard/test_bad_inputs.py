"""Bad inputs made by hand, and mutations of good files: each is refused in one sentence, or taken for a stated reason.

The short form draws some of all kinds by a fixed seed; the long form does all. `tables.py` has the cases, `targets.py`
what is mutated, `verdict.py` what counts as a fault.
"""

from pathlib import Path

import pool
import pytest

CASES, MUTATIONS = 1500, 25_000  # at least so many of each, in the long form
SHORT_CASES, SHORT_MUTATIONS = 300, 2000
SEED = 0


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from goods import make

    return make(tmp_path_factory.mktemp("good") / "good")


def test_some_bad_inputs(good: Path, tmp_path: Path) -> None:
    found = pool.judge(tmp_path, good, cases=SHORT_CASES, mutations=SHORT_MUTATIONS, seed=SEED)
    assert found.count == SHORT_CASES + SHORT_MUTATIONS
    assert not found.faults, found.told()
    assert found.outcomes["refused"] > 1500, "most of them are bad"


@pytest.mark.slow
def test_every_bad_input(good: Path, tmp_path: Path) -> None:
    found = pool.judge(tmp_path, good, cases=1_000_000, seed=SEED)
    assert found.count >= CASES
    assert not found.faults, found.told()
    assert found.outcomes["refused"] > 0.6 * found.count


@pytest.mark.slow
def test_every_mutation(good: Path, tmp_path: Path) -> None:
    import targets

    assert targets.LONG >= MUTATIONS
    found = pool.judge(tmp_path, good, mutations=targets.LONG, seed=SEED)
    assert found.count >= MUTATIONS
    assert not found.faults, found.told()
    assert found.outcomes["refused"] > 0.5 * found.count


@pytest.mark.slow
def test_every_kind_is_there() -> None:
    import targets
    from worker import all_cases

    counted: dict[str, int] = {}
    for key in all_cases():
        group = key.partition("/")[0]
        counted[group] = counted.get(group, 0) + 1
    assert sum(counted.values()) >= CASES
    assert {group: count for group, count in LEAST.items() if counted.get(group, 0) < count} == {}
    assert {"config", "structure", "weights", "manifest", "recipe", "step", "wav", "state"} <= targets.TARGETS.keys()


# How many cases there are of each group, so that none can vanish.
LEAST = {
    "paths": 1500,
    "config": 600,
    "structure": 200,
    "tensors": 200,
    "texts": 600,
    "manifest": 150,
    "audio": 250,
    "data": 30,
    "arpa": 20,
    "recipe": 70,
    "recipe of compress": 70,
    "recipe as text": 60,
    "step": 300,
    "measure": 300,
    "number": 100,
    "words": 40,
    "option": 90,
    "option with speech": 90,
    "option of a measure": 85,
    "run": 200,
    "training": 300,
    "archive": 45,
    "corpus": 150,
}
