"""Sweeps: equal beginnings once, times alone, failures on record, killed workers replaced; the end is `sv.run`'s."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny
from speech import toy_folder

import sottovoce as sv
from sottovoce.execution import Tools
from sottovoce.files.machine import machine
from sottovoce.runs import ATTEMPT, Run, read_runs
from sottovoce.sweeping.stems import chain, stems_of
from sottovoce.sweeping.worker import STEMS, Sweep, state_of, work

QUIET: Any = lambda text: None  # noqa: E731


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps")
    sv.save(tiny("hubert"), folder / "tiny")
    toy_folder(folder / "speech")
    return folder


def grid(place: Path, **vary: list[Any]) -> dict[str, Any]:
    """Two trainings, each of which two cuts are made of."""
    return {
        "model": str(place / "tiny"),
        "data": str(place / "speech"),
        "steps": [{"finetune": {"task": "keywords", "train": {"steps": 3}, "batch": 4}}, {"drop_layers": {"keep": 2}}],
        "measures": ["size", {"speed": {"seconds": 0.2, "repeats": 2}}, {"keywords": {"mode": "head"}}],
        "vary": {"steps.0.train.steps": [2, 3], "steps.1.keep": [1, 3], **vary},
    }


def told(run: Run) -> list[Any]:
    """All that two runs of the same recipe have alike: everything but times."""
    return [row.record() for row in run.measurements() if row.measure != "speed"]


def test_stems_are_the_longest_beginnings_of_each_group() -> None:
    recipe = sv.Recipe.from_dict(
        {
            "model": "hubert",
            "steps": [{"low_rank": {"rank": 4}}, {"drop_layers": {"keep": 9}}, {"quantize": {}}],
            "measures": ["size"],
            "vary": {"steps.0.rank": [4, 8], "steps.1.keep": [9, 6], "measures": [["size"], ["macs"]]},
        }
    )
    points = recipe.points()
    stems = stems_of(points)
    found = {(len(stem.recipe.steps), stem.users) for stem in stems}
    # The same steps with other measures, and the same first step.
    whole = {(3, (n, n + 1)) for n in range(0, 8, 2)}
    assert found == whole | {(1, (0, 1, 2, 3)), (1, (4, 5, 6, 7))}
    assert [len(stem.recipe.steps) for stem in chain(stems, 5)] == [1, 3]
    assert all(not stem.recipe.measures for stem in stems)
    assert stems_of(points[:1]) == []


def test_a_sweep_ends_as_its_points_do_one_by_one(place: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    runs = sv.sweep(grid(place), tmp_path / "swept", log=lines.append)
    plain = sv.run(grid(place), tmp_path / "plain", log=QUIET)
    assert [run.folder.name for run in runs] == [run.folder.name for run in plain]
    for one, other in zip(runs, plain, strict=True):
        assert told(one) == told(other)
        assert [row.measure for row in one.measurements()] == [row.measure for row in other.measurements()]
        assert len(one.trainings) == len(other.trainings) == 1 and one.trainings[0].n == other.trainings[0].n
        names = sorted(path.name for path in one.folder.rglob("*"))
        assert "model.safetensors" in names
        for name in ("model.safetensors", "config.json"):
            assert (one.folder / "model" / name).read_bytes() == (other.folder / "model" / name).read_bytes()
    # Each training was done once, and what stood behind it is gone.
    assert sum("step 1 of 1: finetune" in line for line in lines) == 2
    assert sum("step 1 of 2: finetune" in line for line in lines) == 0
    assert not (tmp_path / "swept" / STEMS).exists()
    assert sum("2 of 4 points begin with finetune" in line for line in lines) == 2
    again: list[str] = []
    assert sv.sweep(grid(place), tmp_path / "swept", log=again.append) == runs
    assert not any("step" in line.partition(": ")[2] for line in again)


def test_times_come_last_and_alone(place: Path, tmp_path: Path) -> None:
    """While another process works on this machine, all is done but the times; then these are taken."""
    recipe = sv.Recipe.from_dict(grid(place))
    sweep = Sweep.of(recipe.points(), tmp_path, Tools(), {})
    beside = machine(alone=False)
    beside.__enter__()
    worker = threading.Thread(target=work, args=(sweep,), daemon=True)
    worker.start()
    until = time.monotonic() + 120
    while {status(sweep.runs[n]) for n in range(4)} != {"waiting"}:
        assert time.monotonic() < until, [status(sweep.runs[n]) for n in range(4)]
        time.sleep(0.1)
    time.sleep(0.5)
    for number in range(4):
        assert status(sweep.runs[number]) == "waiting" and sweep.runs[number].model is not None
        assert {row.measure for row in sweep.runs[number].measurements()} == {"size"}
    beside.__exit__(None, None, None)
    worker.join(timeout=120)
    for number in range(4):
        measures = list(dict.fromkeys(row.measure for row in sweep.runs[number].measurements()))
        assert measures == ["size", "speed", "keywords"] and sweep.runs[number].finished


def status(run: Run) -> str:
    return run.record["status"] if (run.folder / "run.json").is_file() else "none"


def test_a_failed_point_is_on_record_and_the_others_are_done(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = sv.Recipe.from_dict(grid(place))
    broken = {"on": True}

    def fails(model: Any, folder: Path) -> object:
        if (
            broken["on"]
            and "drop_layers" in json.dumps(Run(folder.parent).recipe.to_dict())
            and len(sv.Anatomy(model).order) == 3
        ):
            raise MemoryError("no memory is left")
        return sv.save(model, folder, overwrite=True)

    monkeypatch.setenv(ATTEMPT, "first")
    sweep = Sweep.of(recipe.points(), tmp_path, Tools(save=fails), {})
    work(sweep)
    states = [state_of(sweep.runs[number]) for number in range(4)]
    assert states == ["done", "failed", "done", "failed"]
    assert "no memory is left" in sweep.runs[1].record["error"]
    assert not (sweep.runs[1].folder / "model").exists()
    broken["on"] = False
    work(sweep)  # in the same sweep it is not tried again
    assert [state_of(sweep.runs[number]) for number in range(4)] == states
    monkeypatch.setenv(ATTEMPT, "second")
    work(sweep)
    assert {state_of(sweep.runs[number]) for number in range(4)} == {"done"}


def test_a_beginning_that_fails_fails_its_users_alone(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = grid(place, **{"steps.0.task": ["keywords", "speakers"]})
    recipe = sv.Recipe.from_dict({**record, "measures": ["size"]})

    def read(name: str) -> Any:
        return sv.read_data(name)

    def save(model: Any, folder: Path) -> object:
        if model.config.sottovoce_task == "speakers":
            raise sv.SottovoceError("there is no room on the disk.")
        return sv.save(model, folder, overwrite=True)

    monkeypatch.setenv(ATTEMPT, "only")
    sweep = Sweep.of(recipe.points(), tmp_path, Tools(read=read, save=save), {})
    work(sweep)
    for number, point in enumerate(sweep.points):
        failed = point.steps[0][1]["task"] == "speakers"
        assert state_of(sweep.runs[number]) == ("failed" if failed else "done")
        if failed:
            assert "first steps failed" in sweep.runs[number].record["error"]
            assert "no room" in sweep.runs[number].record["error"]


SCRIPT = """
import sys
from pathlib import Path
import sottovoce as sv
if __name__ == "__main__":
    sv.sweep(Path(sys.argv[1]), sys.argv[2], workers=int(sys.argv[3]), log=lambda text: print(text, flush=True))
"""


def command(place: Path, tmp_path: Path, root: str, workers: int) -> list[str]:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "recipe.yaml").write_text(sv.Recipe.from_dict(grid(place)).to_yaml())
    return [
        sys.executable,
        str(tmp_path / "script.py"),
        str(tmp_path / "recipe.yaml"),
        str(tmp_path / root),
        str(workers),
    ]


def test_two_workers_end_as_one_does_though_one_is_killed(place: Path, tmp_path: Path) -> None:
    sweep = subprocess.Popen(command(place, tmp_path, "two", 2), stdout=subprocess.PIPE, text=True)
    killed = None
    while sweep.poll() is None and killed is None:
        time.sleep(0.05)
        for child in children(sweep.pid):
            busy = [r for r in (tmp_path / "two").glob("**/run.json") if '"running"' in r.read_text()]
            if busy:
                os.kill(child, signal.SIGKILL)
                killed = child
                break
    out, _ = sweep.communicate(timeout=300)
    assert killed is not None
    if sweep.returncode:  # the killed one was at a point: on record, and done at the second start
        assert "ended by SIGKILL" in out
        subprocess.run(command(place, tmp_path, "two", 2), check=True, capture_output=True)
    runs = {run.recipe.hash(): run for run in read_runs(tmp_path / "two")}
    plain = sv.run(grid(place), tmp_path / "plain", log=QUIET)
    assert len(runs) == 4
    for run in plain:
        assert runs[run.recipe.hash()].finished and told(runs[run.recipe.hash()]) == told(run)


def children(parent: int) -> list[int]:
    """The worker processes of a sweep: those that it spawned, but for the tracker of resources."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                line = (stat.parent / "cmdline").read_bytes()
                found += [int(stat.parent.name)] if b"spawn_main" in line else []
        except (OSError, IndexError, ValueError):
            continue
    return found


def test_nonsense_is_refused_before_any_work(place: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"workers": 0}, "1 to 256 are wanted"),
        ({"threads": 0}, "at least 1 is wanted"),
        ({"changes": {"steps.2.keep": 1}}, "counted from 0"),
        ({"data": str(place / "nothing")}, "nothing"),
    ]
    for options, words in cases:
        with pytest.raises(sv.SottovoceError, match=words):
            sv.sweep(grid(place), tmp_path / "runs", log=QUIET, **options)
    lines: list[str] = []
    assert sv.sweep(grid(place), tmp_path / "runs", dry=True, log=lines.append) == []
    assert any("2 of 4 points begin with finetune" in line for line in lines) and not (tmp_path / "runs").exists()
