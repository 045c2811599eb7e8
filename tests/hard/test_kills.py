"""Commands that are killed, stopped and started again end as if nothing had happened, and leave nothing behind."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jobs
import pytest
from zygote import Child, Zygote

from sottovoce import files

TRAININGS = {"finetune", "pretrain", "distill", "recipe"}
LEFTOVER = re.compile(r"\..+-\d+-[0-9a-f]*-[0-9a-f]{8}\.(new|old|part)|.*\.part")


class Bench:
    """The jobs' inputs, and how each job ends, and how long it takes, when nobody disturbs it."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        self.zygote, self.folder = zygote, folder
        jobs.given(folder / "given")
        self.known: dict[str, tuple[dict[str, object], float]] = {}
        self.count = 0

    def place(self) -> Path:
        """A copy of the inputs for one trial."""
        self.count += 1
        return jobs.copy_of(self.folder / "given", self.folder / f"trial-{self.count}")

    def run(self, name: str, place: Path) -> Child:
        return self.zygote.start(jobs.JOBS[name], cwd=place)

    def undisturbed(self, name: str) -> tuple[dict[str, object], float]:
        if name not in self.known:
            place = self.place()
            child = self.run(name, place)
            assert child.wait() == 0, child.said
            self.known[name] = jobs.outcome(place), child.seconds
        return self.known[name]


@pytest.fixture(scope="module")
def bench(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(zygote, tmp_path_factory.mktemp("bench"))


def assert_as_undisturbed(bench: Bench, name: str, place: Path, said: str) -> None:
    wanted, _ = bench.undisturbed(name)
    found = jobs.outcome(place)
    odd = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    assert not odd, f"{name} differs in {odd}; it said: {said}"
    left = [path for path in jobs.files(place) if LEFTOVER.fullmatch(path.rpartition("/")[2])]
    assert not left, f"{name} left {left}"


def disturbed(bench: Bench, name: str, number: int, times: int, chance: random.Random) -> int:
    """Stop a command by a signal some times, at random moments, and then let it end; how often a signal met it."""
    place = bench.place()
    before = jobs.files(place / "given")
    _, seconds = bench.undisturbed(name)
    met = 0
    for _ in range(times):
        child = bench.run(name, place)
        code = child.wait(after=chance.uniform(0.0, 1.1 * seconds), number=number)
        if code == 0 or (code == 2 and "already" in child.said):
            break  # it was done before the signal came
        met += 1
        if number == signal.SIGKILL:
            assert code == -signal.SIGKILL, child.said
            continue
        assert code == 128 + number, child.said
        assert "Traceback" not in child.said, child.said
        assert_said_so(place)
    child = bench.run(name, place)
    code = child.wait()
    # What a command made before it was stopped is refused as a thing that is there already, and is whole.
    assert code == 0 or (code == 2 and "already" in child.said), child.said
    assert jobs.files(place / "given") == before
    assert_as_undisturbed(bench, name, place, child.said)
    return met


def assert_said_so(place: Path) -> None:
    """After an orderly end no run says that it is under way, and nobody holds a folder."""
    for path in place.rglob("run.json"):
        assert json.loads(path.read_text())["status"] in ("stopped", "finished", "failed"), path.read_text()
    for path in place.rglob(files.MARK):
        assert files.holder(path.parent) is None


@pytest.mark.parametrize("name", ["finetune", "recipe"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_and_started_again(bench: Bench, name: str, number: int) -> None:
    disturbed(bench, name, number, 2, random.Random(f"{name} {number}"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "wanted"), [(signal.SIGKILL, 130), (signal.SIGTERM, 50), (signal.SIGINT, 50)], ids=str
)
def test_many_times(bench: Bench, number: int, wanted: int) -> None:
    chance, met, trial = random.Random(number), 0, 0
    while met < wanted:
        name = list(jobs.JOBS)[trial % len(jobs.JOBS)]
        met += disturbed(bench, name, number, chance.randint(1, 3), chance)
        trial += 1
        assert trial < 3 * wanted, "the signals come too late"


def test_a_stopped_training_has_a_checkpoint(bench: Bench) -> None:
    """However long ago the last one was written."""
    place = bench.place()
    argv = [word.replace("save_seconds=0.05", "save_seconds=1000").replace("steps=12", "steps=100000") for word in
            jobs.JOBS["finetune"]]  # fmt: skip
    child = bench.zygote.start(argv, cwd=place)
    log = place / "made" / "tuned-training" / "finetune-keywords" / "log.jsonl"
    while not (log.is_file() and log.read_bytes().count(b"\n") > 3):
        assert time.monotonic() < child.begin + 60 and "sottovoce:" not in child.said, child.said
        time.sleep(0.01)
    assert child.wait(after=0.0, number=signal.SIGTERM) == 143
    last = json.loads(log.read_text().splitlines()[-1])["step"]
    state = json.loads((log.parent / "checkpoint" / "state.json").read_text())
    assert state["position"]["step"] >= last > 0
    assert child.said.strip().splitlines()[-1].startswith("sottovoce: stopped; ")


# The system calls that change what others see, one after another; the process dies before, or behind, one of them.
INJECTED = """
import os, signal, sys, types
package = types.ModuleType("sottovoce")
package.__path__ = [sys.argv[1]]
sys.modules["sottovoce"] = package
from pathlib import Path
from sottovoce import files
from sottovoce.files import folders
target, last, exchanges, job = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
count = 0
def step():
    global count
    count += 1
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)
def stepped(function):
    def call(*args, **kwargs):
        step()
        try:
            return function(*args, **kwargs)
        finally:
            step()
    return call
real = folders.exchange
folders.exchange = stepped(real) if exchanges == "at once" else lambda *pair: False
for name in ("rename", "replace", "mkdir", "rmdir", "unlink", "fsync", "open", "chmod", "ftruncate"):
    setattr(os, name, stepped(getattr(os, name)))
if job == "folder":
    with files.atomic_folder(target) as folder:
        for name in ("a", "b"):
            (folder / name).write_text("new")
elif job == "file":
    files.atomic_write(target, "new")
else:
    files.append_lines(target, "new\\n")
print(count)
"""


def inject(target: Path, last: int, exchanges: str, job: str) -> tuple[int, str]:
    package = str(Path(files.__file__).parents[1])
    words = [sys.executable, "-c", INJECTED, package, str(target), str(last), exchanges, job]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def whole(target: Path, job: str) -> None:
    """What a reader finds is the old or the new, whole, wherever the writer died."""
    if job == "folder":
        found = files.read_whole(target, lambda: {path.name: path.read_text() for path in target.iterdir()})
        assert found in ({"a": "old", "b": "old"}, {"a": "new", "b": "new"})
    elif job == "file":
        assert target.read_text() in ("old\n", "new")
    else:
        assert files.whole_lines(target) in (b"old\n", b"old\nnew\n")


def begin(target: Path, job: str) -> None:
    if job == "folder":
        with files.atomic_folder(target) as folder:
            for name in ("a", "b"):
                (folder / name).write_text("old")
    else:
        files.atomic_write(target, "old\n")


def kill_at(tmp_path: Path, last: int, exchanges: str, job: str) -> None:
    target = tmp_path / f"{job}-{exchanges}-{last}" / "target"
    begin(target, job)
    code, said = inject(target, last, exchanges, job)
    assert code == -signal.SIGKILL, f"step {last} was not reached: {said}"
    whole(target, job)
    begin(target, job)
    assert os.listdir(target.parent) == ["target"], f"killed at step {last} of {job}, {exchanges}"


CASES = [("folder", "at once"), ("folder", "in two steps"), ("file", "at once"), ("lines", "at once")]


@pytest.mark.parametrize(("job", "exchanges"), CASES)
def test_killed_between_two_system_calls(tmp_path: Path, job: str, exchanges: str) -> None:
    begin(tmp_path / "target", job)
    code, said = inject(tmp_path / "target", 0, exchanges, job)
    assert code == 0, said
    steps = int(said)
    chance = random.Random(job + exchanges)
    for last in sorted(chance.sample(range(1, steps + 1), 4)):
        kill_at(tmp_path, last, exchanges, job)


@pytest.mark.slow
@pytest.mark.parametrize(("job", "exchanges"), CASES)
def test_killed_between_any_two_system_calls(tmp_path: Path, job: str, exchanges: str) -> None:
    begin(tmp_path / "target", job)
    code, said = inject(tmp_path / "target", 0, exchanges, job)
    assert code == 0 and int(said) >= 4, said
    for last in range(1, int(said) + 1):
        kill_at(tmp_path, last, exchanges, job)
