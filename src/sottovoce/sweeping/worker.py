"""One process of a sweep: it does what nobody does yet, until nothing is left that it could do."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sottovoce.errors import SottovoceError
from sottovoce.execution import Begun, Tools, execute
from sottovoce.files import MARK, Busy, claimed
from sottovoce.files.machine import machine
from sottovoce.recipe import Recipe
from sottovoce.runs import ATTEMPT, Run, folder_of
from sottovoce.sweeping.stems import Stem, chain, stems_of

STEMS = "stems"  # the folder, beside the runs, of the beginnings that several of them share
PAUSE = 0.5  # seconds between two looks for work, where all that is left is in other hands
State = Literal["done", "failed", "busy", "open"]


@dataclass(frozen=True)
class Sweep:
    """The points of a grid, where their runs go, and what they are done with.

    Example:
        >>> Sweep.of(recipe.points(), Path("runs"), Tools(), {}).stems
        ()
    """

    points: tuple[Recipe, ...]
    runs: tuple[Run, ...]
    root: Path
    tools: Tools
    stamps: Mapping[str, str]
    log: Callable[[str], object] = lambda text: None
    stems: tuple[Stem, ...] = ()

    @classmethod
    def of(cls, points: Sequence[Recipe], root: Path, tools: Tools, stamps: Mapping[str, str], **more: Any) -> "Sweep":
        """A sweep with the beginnings that its points share."""
        runs = tuple(Run(folder_of(root, point, stamps)) for point in points)  # begun or not
        return cls(tuple(points), runs, root, tools, stamps, stems=tuple(stems_of(points)), **more)

    def stem_run(self, stem: Stem) -> Run:
        """The run of a beginning."""
        return Run(folder_of(self.root / STEMS, stem.recipe, self.stamps))

    def alone(self, number: int) -> bool:
        """Whether a step of a point times something, so that all of it must have the machine for itself."""
        point = self.points[number]
        return any(self.tools.methods[name].is_alone(options) for name, options in point.steps)


def state_of(run: Run) -> State:
    """How a run stands: a failure counts only if it was in this sweep, and not in one before.

    Example:
        >>> state_of(Run(Path("runs/nothing")))
        'open'
    """
    if not (run.folder / "run.json").is_file():
        return "open"
    record = run.record
    if record["status"] == "finished":
        return "done"
    failed = record["status"] == "failed" and record.get("attempt", "") == os.environ.get(ATTEMPT, "")
    return "failed" if failed else "open"


def work(sweep: Sweep) -> None:
    """Do points until all are done or have failed: first all but what must be timed alone, then that.

    Example:
        >>> work(Sweep.of(recipe.points(), Path("runs"), Tools(), {}))  # doctest: +SKIP
    """
    for later in (True, False):
        left = [number for number in range(len(sweep.points)) if not (later and sweep.alone(number))]
        while left:
            states = {number: step(sweep, number, later=later) for number in left}
            before, left = len(left), [number for number in left if states[number] in ("busy", "open")]
            if len(left) == before:
                time.sleep(PAUSE)
    tidy_stems(sweep)


def step(sweep: Sweep, number: int, *, later: bool) -> State:
    """Do what can be done of a point now, and say how it stands."""
    run = sweep.runs[number]
    state = state_of(run)
    if state != "open":
        return state
    if later and run_waits(run):
        return "done"
    with machine(alone=not later, told=lambda: sweep.log("waiting until nobody else works on this machine")):
        last: Stem | None = None
        for stem in chain(sweep.stems, number) if run.made_before() is None else ():
            state = state_of(sweep.stem_run(stem))
            if state == "open":
                state = attempt(sweep, stem.recipe, sweep.root / STEMS, behind(sweep, last), later=False)
            if state == "busy":
                return state
            last = stem
            if state == "failed":
                break
        return attempt(sweep, sweep.points[number], sweep.root, behind(sweep, last), later=later)


def attempt(sweep: Sweep, recipe: Recipe, root: Path, begin: Callable[[Recipe], Begun | None], *, later: bool) -> State:
    """Execute a recipe, unless somebody else does; what goes wrong is in the record of its run."""
    try:
        execute(
            recipe,
            root,
            tools=replace(sweep.tools, begin=begin),
            extra_hash=sweep.stamps,
            log=sweep.log,
            patient=False,
            later=later,
        )
    except Busy:
        return "busy"
    except Exception as error:
        sweep.log(f"{folder_of(root, recipe, sweep.stamps).name} failed: {error}")
        return "failed"
    return "done"


def behind(sweep: Sweep, stem: Stem | None) -> Callable[[Recipe], Begun | None]:
    """What gives the model behind a beginning, if there is one; where that has failed, what begins with it fails."""

    def begin(recipe: Recipe) -> Begun | None:
        if stem is None:
            return None
        run = sweep.stem_run(stem)
        if state_of(run) == "failed":
            raise SottovoceError(f"its first steps failed in '{run.folder}': {run.record['error']}")
        assert run.model is not None
        return Begun(sweep.tools.load(str(run.model)), len(stem.recipe.steps), tuple(run.trainings))

    return begin


def run_waits(run: Run) -> bool:
    """Whether all is done of a run but what must be timed alone.

    Example:
        >>> run_waits(Run(Path("runs/nothing")))
        False
    """
    return (run.folder / "run.json").is_file() and run.record["status"] == "waiting"


def tidy_stems(sweep: Sweep) -> None:
    """Remove the models behind beginnings whose users are all done; those of failed ones stay for another attempt.

    Example:
        >>> tidy_stems(Sweep.of(recipe.points(), Path("runs"), Tools(), {}))
    """
    for stem in sweep.stems:
        run = sweep.stem_run(stem)
        if not run.folder.is_dir() or not all(state_of(sweep.runs[number]) == "done" for number in stem.users):
            continue
        with contextlib.suppress(Busy), claimed(run.folder, "tidying"):
            # The claim goes last; without its record first, what is left is no run that somebody could use.
            for path in sorted(run.folder.iterdir(), key=lambda path: path.name != "run.json"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != MARK:
                    path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            run.folder.rmdir()
    with contextlib.suppress(OSError):
        (sweep.root / STEMS).rmdir()
