"""Two processes at the same thing: nothing is doubled, lost or poisoned, and a reader never meets a half."""

import json
import random
import signal
import time
from pathlib import Path

import jobs
import pytest
from zygote import Zygote

import sottovoce as sv
from sottovoce.runs import read_runs

WAITING = ("recipe", "grid", "analyze")  # the second one waits for, or shares in, what the first does


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("races")
    jobs.given(folder / "given")
    return folder


def race(zygote: Zygote, given: Path, name: str, delay: float, number: int, killed: float | None = None) -> None:
    """Start a job twice; perhaps kill the first, whose work the second then takes over."""
    place = jobs.copy_of(given / "given", given / f"{name}-{number}")
    alone = given / f"{name}-alone"
    if not alone.exists():
        jobs.copy_of(given / "given", alone)
        assert (child := zygote.start(jobs.JOBS[name], cwd=alone)).wait() == 0, child.said
    first = zygote.start(jobs.JOBS[name], cwd=place)
    time.sleep(delay)
    second = zygote.start(jobs.JOBS[name], cwd=place)
    codes = [first.wait(after=killed) if killed is not None else first.wait(), second.wait()]
    said = f"{codes}\n{first.said}\n{second.said}"
    assert "Traceback" not in said, said
    if killed is not None and codes[0] == -signal.SIGKILL:
        if codes[1] == 2:  # it met the first one alive
            assert "is in use by process" in second.said, said
            assert (third := zygote.start(jobs.JOBS[name], cwd=place)).wait() == 0, third.said
    elif name in WAITING:
        assert codes == [0, 0], said
    else:
        assert sorted(codes) == [0, 2], said
        loser = (first if codes[0] else second).said
        assert "is in use by process" in loser or "holds a model already" in loser or "somebody else" in loser, said
    found, wanted = jobs.outcome(place), jobs.outcome(alone)
    assert not [key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)], said
    for run in (run for folder in (place / "made").iterdir() for run in runs(folder)):
        rows = [(row.measure, row.metric, row.where) for row in run.measurements()]
        assert run.finished and len(rows) == len(set(rows)), said


def runs(folder: Path) -> list[sv.Run]:
    return read_runs(folder) if any(folder.glob("*/run.json")) else []


@pytest.mark.parametrize("name", ["recipe", "finetune"])
def test_two_at_once(zygote: Zygote, given: Path, name: str) -> None:
    race(zygote, given, name, 0.0, 1000)
    race(zygote, given, name, 0.1, 1001, killed=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recipe", "grid", "analyze", "finetune"])
def test_thirty_races(zygote: Zygote, given: Path, name: str) -> None:
    chance = random.Random(name)
    for number in range(30):
        killed = chance.uniform(0.1, 1.0) if number % 3 == 2 else None
        race(zygote, given, name, chance.choice([0.0, chance.uniform(0.0, 0.8)]), number, killed)


SAVES = """
import sottovoce as sv
models = [sv.load(f"given/{name}") for name in ("encoder", "other")]
for number in range(SAVES):
    sv.save(models[number % 2], "made/model", overwrite=True)
"""
LOADS = """
import time, json, torch, sottovoce as sv
wanted = {2: sv.load("given/encoder"), 3: sv.load("given/other")}
loads = 0
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    model = sv.load("made/model")
    known = wanted[model.config.num_hidden_layers].state_dict()
    found = model.state_dict()
    assert known.keys() == found.keys() and all(torch.equal(found[name], known[name]) for name in known)
    loads += 1
    if loads % 4 == 0:
        assert not [f for f in sv.doctor("made/model") if f.level == "error"]
print(json.dumps(loads))
"""


def save_against_load(zygote: Zygote, given: Path, number: int, saves: int, seconds: float) -> int:
    """One process saves two models in turns under one name; the other loads it all the while."""
    place = jobs.copy_of(given / "given", given / f"saves-{number}")
    sv.save(sv.new(place / "given" / "encoder", num_hidden_layers=3, seed=7), place / "given" / "other")
    sv.save(sv.load(place / "given" / "encoder"), place / "made" / "model")
    writer = zygote.start(cwd=place, python=SAVES.replace("SAVES", str(saves)))
    reader = zygote.start(cwd=place, python=LOADS.replace("SECONDS", str(seconds)))
    assert writer.wait() == 0, writer.said
    assert reader.wait() == 0, reader.said
    assert [path.name for path in (place / "made").iterdir()] == ["model"]
    return int(json.loads(reader.said.strip().splitlines()[-1]))


def test_a_reader_during_saves(zygote: Zygote, given: Path) -> None:
    assert save_against_load(zygote, given, 1000, 5, 1.5) > 3


@pytest.mark.slow
def test_readers_during_thirty_times_saves(zygote: Zygote, given: Path) -> None:
    assert sum(save_against_load(zygote, given, number, 10, 3.0) for number in range(30)) > 300
