"""Run folders: what they hold, how they survive kills and full disks, and how a recipe becomes one."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce import runs
from sottovoce.errors import SottovoceError
from sottovoce.execution import Tools, execute
from sottovoce.measurement import Measurement
from sottovoce.recipe import Recipe
from sottovoce.registry import Entry, Registry
from sottovoce.runs import Run, find, read_runs

RECIPE = Recipe("tiny", seed=5, steps=(("drop", {"keep": 2}), ("drop", {"keep": 1})), measures=(("count", {}),))
ROWS = [Measurement("m", "a", 1), Measurement("m", "b", 0.5, "s", "lower", {"layer": 4}, 9, 0.1, 2)]
PRELUDE = f"""
import sys, types
package = types.ModuleType("sottovoce")
package.__path__ = [{str(Path(runs.__file__).parent)!r}]
sys.modules["sottovoce"] = package
from pathlib import Path
from sottovoce.measurement import Measurement
from sottovoce.runs import Run
"""


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_new_run_is_a_folder_named_by_its_recipe(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs", RECIPE, {"data": "abc"})
    assert run.folder == tmp_path / "runs" / f"drop-{RECIPE.hash({'data': 'abc'})}"
    assert sorted(path.name for path in run.folder.iterdir()) == ["measurements.jsonl", "recipe.yaml", "run.json"]
    assert run.recipe == RECIPE
    assert run.measurements() == []
    assert not run.finished
    assert Run.create(tmp_path, Recipe("tiny")).folder.name == f"measure-{Recipe('tiny').hash()}"
    strange = Run.create(tmp_path, Recipe("tiny", steps=(("../../é x", {}),))).folder
    assert strange.parent == tmp_path and strange.name.startswith("________x-"), "no step leads out of the folder"


def test_run_json_says_what_made_it(tmp_path: Path) -> None:
    run = Run.create(tmp_path, RECIPE, {"data": "abc"})
    record = json.loads((run.folder / "run.json").read_text())
    assert record["status"] == "running"
    assert record["seed"] == 5
    assert record["hash"] == RECIPE.hash({"data": "abc"})
    assert record["extra"] == {"data": "abc"}
    assert record["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["transformers"] and "sottovoce" in record
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["platform"]
    started = datetime.fromisoformat(record["started"])
    assert started.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - started) < timedelta(minutes=1)
    assert record["finished"] is None and record["error"] is None
    run.finish()
    assert Run.open(run.folder).finished
    assert run.record == {**record, "status": "finished", "finished": run.record["finished"]}
    assert run.record["finished"] >= record["started"]
    assert runs.version_of("no-such-package-at-all") is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SottovoceError("keep=14, but this encoder has 12 layers; give 1-12."), None),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        ("stopped by hand", "stopped by hand"),
    ],
)
def test_a_failed_run_says_why(tmp_path: Path, error: BaseException | str, reason: str | None) -> None:
    run = Run.create(tmp_path, RECIPE)
    try:
        if isinstance(error, BaseException):
            raise error
    except BaseException as caught:
        run.fail(caught)
    else:
        run.fail(str(error))
    status = "stopped" if reason == "KeyboardInterrupt" else "failed"
    assert (run.record["status"], run.record["error"]) == (status, reason or str(error))
    assert not run.finished
    log = (run.folder / "log.txt").read_text()
    assert str(error) in log
    assert ("Traceback" in log) == isinstance(error, BaseException)


def test_the_log_has_a_line_and_a_time_for_each_text(tmp_path: Path) -> None:
    run = Run.create(tmp_path, RECIPE)
    run.log("one\n")
    run.log("two")
    lines = (run.folder / "log.txt").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "two"]
    assert all(datetime.fromisoformat(line.split(" ", 1)[0]).tzinfo for line in lines)


def test_an_unfinished_run_starts_again_from_nothing(tmp_path: Path) -> None:
    first = Run.create(tmp_path, RECIPE)
    first.add(ROWS)
    first.fail("no")
    again = Run.create(tmp_path, RECIPE)
    assert (again, again.measurements(), again.record["status"], again.record["error"]) == (first, [], "running", None)


def test_a_finished_run_is_not_started_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path, RECIPE)
    run.add(ROWS)
    run.finish()
    with pytest.raises(SottovoceError, match="is finished; read it, or delete the folder"):
        Run.create(tmp_path, RECIPE)
    assert run.measurements() == ROWS
    assert Run.create(tmp_path, RECIPE, {"data": "other"}).folder != run.folder


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\xff"])
def test_a_run_json_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    run = Run.create(tmp_path, RECIPE)
    (run.folder / "run.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(SottovoceError, match="run.json'.*; delete the folder to run it again."):
        Run.open(run.folder).finished  # noqa: B018 (reading it is the test)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=4), st.data())
def test_a_measurement_cut_short_anywhere_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, metrics: list[str], data: st.DataObject
) -> None:
    run = Run.create(tmp_path_factory.mktemp("cut"), RECIPE)
    rows = [Measurement("m", metric, 1) for metric in metrics]
    run.add(rows)
    path = run.folder / "measurements.jsonl"
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = rows[: whole[:cut].count(b"\n")]
    assert run.measurements() == kept
    run.add(ROWS)
    assert run.measurements() == kept + ROWS


@pytest.mark.parametrize("line", ["nonsense", "3", "[1]", '{"measure": "m"}', "\xff"])
def test_a_whole_line_that_is_no_measurement_is_named(tmp_path: Path, line: str) -> None:
    run = Run.create(tmp_path, RECIPE)
    run.add(ROWS[:1])
    with open(run.folder / "measurements.jsonl", "ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    with pytest.raises(SottovoceError, match="measurements.jsonl', line 2 is not a measurement"):
        run.measurements()


def test_a_measurement_that_cannot_be_written_leaves_the_others(tmp_path: Path) -> None:
    run = Run.create(tmp_path, RECIPE)
    run.add(ROWS[:1])
    run.add([])
    run.add(iter(ROWS[1:]))
    with pytest.raises(TypeError):
        run.add([ROWS[0], Measurement("m", "a", torch.ones(2))])  # pyright: ignore[reportArgumentType]
    assert run.measurements() == ROWS


def test_a_full_disk_leaves_the_measurements_and_the_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path, RECIPE)
    run.add(ROWS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for write in (lambda: run.add(ROWS), run.finish):
            with pytest.raises(SottovoceError, match="the disk is full"):
                write()
    assert run.measurements() == ROWS
    assert not run.finished
    assert len(list(run.folder.iterdir())) == 3


def test_a_run_killed_while_it_measures_can_be_read_and_goes_on(tmp_path: Path) -> None:
    code = """
run = Run.open(sys.argv[1])
for turn in range(10**6):
    run.add([Measurement("m", "x" * 3000, turn) for _ in range(50)])
"""
    run = Run.create(tmp_path, RECIPE)
    path = run.folder / "measurements.jsonl"
    for delay in (0.0, 0.004, 0.013):
        before = len(run.measurements())
        process = subprocess.Popen([sys.executable, "-c", PRELUDE + code, str(run.folder)])
        size = path.stat().st_size
        while path.stat().st_size <= size and process.poll() is None:
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        found = run.measurements()
        assert len(found) > before
        assert {len(row.metric) for row in found} <= {3000, 1}
        run.add(ROWS)
        assert run.measurements() == found + ROWS


def test_runs_are_found_by_hash(tmp_path: Path) -> None:
    run = Run.create(tmp_path, RECIPE)
    Run.create(tmp_path, RECIPE, {"data": "other"})
    assert find(tmp_path, RECIPE.hash()) == run
    assert find(tmp_path, "0" * 12) is None
    assert find(tmp_path / "absent", RECIPE.hash()) is None
    assert find(str(tmp_path), RECIPE.hash()) == run
    twin = Run(run.folder.rename(tmp_path / f"a-{RECIPE.hash()}"))
    Run.create(tmp_path, RECIPE).finish()
    assert twin.folder.name < "drop"
    found = find(tmp_path, RECIPE.hash())
    assert found is not None and found.finished, "the finished one of two comes first"


def test_runs_are_read_from_their_folder_or_from_the_one_above(tmp_path: Path) -> None:
    made = [Run.create(tmp_path, Recipe("tiny", seed=seed)) for seed in range(3)]
    (tmp_path / "notes").mkdir()
    assert read_runs(tmp_path) == sorted(made, key=lambda run: run.folder.name)
    assert read_runs(str(made[0].folder)) == [made[0]]


def test_a_folder_without_runs_says_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(SottovoceError, match="is not a run: it has no run.json; give a run's folder."):
        Run.open(tmp_path)
    with pytest.raises(SottovoceError, match="holds no runs: neither it nor a folder in it has a run.json; give a"):
        read_runs(tmp_path)
    with pytest.raises(SottovoceError, match="there is no folder '.*absent'; give a run's folder"):
        read_runs(tmp_path / "absent")


class Bench:
    """A model that is a list of layers, and everything that works on it, with a diary."""

    def __init__(self) -> None:
        self.diary: list[Any] = []
        self.methods, self.measures = Registry("method"), Registry("measure")
        self.lines: list[str] = []
        self.fails: BaseException | None = None

        def drop(model: Any, data: Any = None, *, keep: int) -> Any:
            """Keep the first layers."""
            self.diary.append(("drop", keep, data))
            return model[:keep]

        def chance(model: Any, data: Any = None, *, burn: int = 0) -> Any:
            """Use some chance, and keep a number in the model."""
            for _ in range(burn):
                _ = random.random(), torch.rand(1)
            return [*model, random.random(), float(torch.rand(1))]

        def count(model: Any, data: Any = None) -> list[Measurement]:
            """Count the layers."""
            self.diary.append(("count", len(model), data))
            if self.fails:
                raise self.fails
            return [Measurement("count", "layers", len(model))]

        def lucky(model: Any, data: Any = None) -> list[Measurement]:
            """Draw numbers."""
            return [Measurement("lucky", "draw", value) for value in (random.random(), float(torch.rand(1)))]

        for function in (drop, chance):
            self.methods.add(Entry(function.__name__, "method", function))
        for function in (count, lucky):
            self.measures.add(Entry(function.__name__, "measure", function))

    def load(self, name: str) -> Any:
        self.diary.append(("load", name))
        return list(range(6))

    def save(self, model: Any, folder: Path) -> None:
        self.diary.append(("save", len(model)))
        folder.mkdir()
        (folder / "weights.json").write_text(json.dumps(model))

    def run(self, recipe: Recipe, root: Path, **options: Any) -> Run:
        usual: dict[str, Any] = {"load": self.load, "save": self.save, "read": lambda name: [name]}
        usual |= {name: options.pop(name) for name in ("load", "save", "read") if name in options}
        tools = Tools(methods=self.methods, measures=self.measures, **usual)
        return execute(recipe, root, tools=tools, **{"log": self.lines.append, **options})


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_recipe_is_done_in_its_order(tmp_path: Path, bench: Bench) -> None:
    run = bench.run(RECIPE, tmp_path)
    assert bench.diary == [("load", "tiny"), ("drop", 2, None), ("drop", 1, None), ("save", 1), ("count", 1, None)]
    assert run.finished and run.recipe == RECIPE
    assert run.measurements() == [Measurement("count", "layers", 1)]
    assert json.loads((run.folder / "model" / "weights.json").read_text()) == [0]
    name = run.folder.name
    assert bench.lines == [
        f"{name}: step 1 of 2: drop(keep=2)",
        f"{name}: step 2 of 2: drop(keep=1)",
        f"{name}: measure 1 of 1: count()",
    ]
    assert "step 2 of 2: drop(keep=1)\n" in (run.folder / "log.txt").read_text()


def test_a_recipe_without_steps_saves_no_model(tmp_path: Path, bench: Bench) -> None:
    run = bench.run(Recipe("tiny", measures=(("count", {}),)), tmp_path)
    assert bench.diary == [("load", "tiny"), ("count", 6, None)]
    assert not (run.folder / "model").exists()


def test_data_is_read_and_handed_to_steps_and_measures(tmp_path: Path, bench: Bench) -> None:
    recipe = Recipe("tiny", "train.jsonl", steps=(("drop", {"keep": 2}),), measures=(("count", {}),))
    bench.run(recipe, tmp_path, read=lambda name: [name])
    assert bench.diary[1:] == [("drop", 2, ["train.jsonl"]), ("save", 2), ("count", 2, ["train.jsonl"])]


def test_a_finished_run_is_not_done_twice(tmp_path: Path, bench: Bench) -> None:
    first = bench.run(RECIPE, tmp_path, extra_hash={"data": "abc"})
    done = list(bench.diary)
    assert bench.run(RECIPE, tmp_path, extra_hash={"data": "abc"}) == first
    assert bench.diary == done
    assert bench.lines[-1] == f"{first.folder.name}: finished already, skipped"
    assert bench.run(RECIPE, tmp_path, extra_hash={"data": "def"}) != first
    assert len(bench.diary) == 2 * len(done)


@pytest.mark.parametrize("error", [ZeroDivisionError("oh"), SottovoceError("no."), KeyboardInterrupt()])
def test_a_run_that_fails_says_so_and_is_done_again(tmp_path: Path, bench: Bench, error: BaseException) -> None:
    bench.fails = error
    recipe = Recipe("tiny", measures=(("lucky", {}), ("count", {})))
    with pytest.raises(type(error)) as caught:
        bench.run(recipe, tmp_path)
    assert caught.value is error
    (run,) = read_runs(tmp_path)
    assert run.record["status"] == ("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
    assert str(error) in run.record["error"]
    assert len(run.measurements()) == 2, "what was measured before stays"
    bench.fails = None
    assert bench.run(recipe, tmp_path).finished
    assert len(run.measurements()) == 3


def test_a_full_disk_does_not_hide_the_error(tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Any:
        monkeypatch.setattr(os, "fsync", full)
        raise ZeroDivisionError("the real reason")

    with pytest.raises(ZeroDivisionError, match="the real reason"):
        bench.run(RECIPE, tmp_path, load=load)
    assert not read_runs(tmp_path)[0].finished


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe("tiny", vary={"seed": [0, 1]}), "this recipe is a grid of 2 points; execute each of its points"),
        (Recipe("tiny", steps=(("drop", {}),)), "step 1 .drop.: drop needs the option 'keep'"),
        (Recipe("tiny", measures=(("cuont", {}),)), "measure 1 .cuont.: unknown measure 'cuont'; did you mean"),
        (Recipe("tiny", measures=(("count", {"x": 1}),)), "measure 1 .count.: count has no option 'x'"),
    ],
)
def test_a_wrong_recipe_is_refused_before_any_work(tmp_path: Path, bench: Bench, recipe: Recipe, message: str) -> None:
    with pytest.raises(SottovoceError, match=message):
        bench.run(recipe, tmp_path)
    assert bench.diary == [] and not list(tmp_path.iterdir())


def test_the_points_of_a_grid_are_runs_of_their_own(tmp_path: Path, bench: Bench) -> None:
    recipe = Recipe("tiny", steps=(("drop", {}),), measures=(("count", {}),), vary={"steps.drop.keep": [3, 2, 1]})
    made = [bench.run(point, tmp_path) for point in recipe.points()]
    assert [run.measurements()[0].value for run in made] == [3, 2, 1]
    assert sorted(run.folder.name for run in read_runs(tmp_path)) == sorted(run.folder.name for run in made)


def test_the_seed_decides_what_chance_does(tmp_path: Path, bench: Bench) -> None:
    def draws(seed: int, root: str, burn: int = 0) -> tuple[list[Any], list[Any]]:
        steps = (("chance", {"burn": burn}), ("chance", {}))
        run = bench.run(Recipe("tiny", seed=seed, steps=steps, measures=(("lucky", {}),)), tmp_path / root)
        model = json.loads((run.folder / "model" / "weights.json").read_text())
        return model[-2:], [row.value for row in run.measurements()]

    first = draws(1, "a")
    _ = random.random(), torch.rand(3)
    assert draws(1, "b") == first
    assert draws(2, "a") != first
    assert draws(1, "c", burn=7) == first, "a step's chance does not hang on the step before"


def test_the_modules_that_only_read_runs_do_not_import_torch() -> None:
    code = "import sottovoce.runs, sottovoce.registry; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", PRELUDE + code], check=True)
