"""Sweeps: the points of a grid by one process or several, with a live count; dead workers are noticed and replaced."""

import contextlib
import contextvars
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sottovoce.errors import SottovoceError
from sottovoce.execution import Given, Tools, prepared
from sottovoce.files import Busy, claimed, holder
from sottovoce.names import get_data
from sottovoce.preflight import some
from sottovoce.progress import bar
from sottovoce.recipe import Recipe
from sottovoce.runs import ATTEMPT, Run, refuse_failed
from sottovoce.signals import Stopped, handled_by, raise_stopped
from sottovoce.sweeping.worker import Sweep, state_of, work
from sottovoce.timing import thread_count

LOOK = 0.5  # seconds between two looks at the workers
MOST_WORKERS = 256


@dataclass(frozen=True)
class Task:
    """What a worker process is started with; data is read again by its name.

    Example:
        >>> Task((Recipe("hubert"),), "runs", {}, None, 0, False, 1, 7).threads
        1
    """

    points: tuple[Recipe, ...]
    root: str
    stamps: Mapping[str, str]
    limit: int | None
    seed: int
    skip_bad: bool
    threads: int
    parent: int


def sweep(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    root: str | Path,
    *,
    workers: int = 1,
    threads: int | None = None,
    model: str | None = None,
    data: str | None = None,
    changes: Mapping[str, Any] | None = None,
    limit: int | None = None,
    dry: bool = False,
    skip_bad: bool = False,
    log: Callable[[str], object] = print,
) -> list[Run]:
    """Do every point of a recipe's grid with so many worker processes; what is finished is not done again.

    Steps with which several points begin are done once. Times are measured at the end, by one process, while no other
    sweep works on this machine. A point that fails is told of, its run says why, and the others are done; then that is
    an error. It may be killed at any moment and started again, and several may share a folder, on several machines too,
    if it is on a disk that they share. `threads` (of each worker; all cores divided among the workers if not given)
    belong to the hash of a run where there are several workers. The other options are those of `run`.

    Example:
        >>> recipe = {"model": "random:small-hubert", "steps": [{"drop_layers": {}}], "measures": ["size"]}
        >>> runs = sweep({**recipe, "vary": {"steps.0.keep": [9, 6]}}, "runs", log=lambda text: None)
        >>> [run.measurements()[0].value for run in runs]
        [4426784, 3092192]
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise SottovoceError(f"workers={workers}, but 1 to {MOST_WORKERS} are wanted.")
    if threads is not None and threads < 1:
        raise SottovoceError(f"threads={threads}, but at least 1 is wanted.")
    given = Given(model, data, changes, limit, skip_bad)
    points, known, stamps = prepared(recipe, root, given, dry=dry, log=log)
    if workers > 1 or threads is not None:
        threads = threads or max(1, (os.cpu_count() or 1) // workers)
        stamps |= {"threads": str(threads)}
    place = Path(root)
    whole = Sweep.of(points, place, Tools(read=known.__getitem__), stamps, log=log)
    tell_stems(whole)
    if dry:
        return []
    with an_attempt(), counted(whole):
        if workers == 1:
            with thread_count(threads):
                work(whole)
        else:
            seed = points[0].seed
            task = Task(whole.points, str(place), stamps, limit, seed, skip_bad, threads or 1, os.getpid())
            supervise(whole, task, workers)
        return outcome(whole)


def tell_stems(sweep: Sweep) -> None:
    """Say which beginnings are shared.

    Example:
        >>> tell_stems(Sweep.of(recipe.points(), Path("runs"), Tools(), {}))
    """
    for stem in sweep.stems:
        steps = ", ".join(name for name, _ in stem.recipe.steps)
        sweep.log(f"{len(stem.users)} of {len(sweep.points)} points begin with {steps}, which is done once")


@contextmanager
def an_attempt() -> Iterator[None]:
    """Inside, what fails is marked as failed in this sweep, here and in the processes that are started."""
    os.environ[ATTEMPT] = uuid.uuid4().hex[:12]
    try:
        yield
    finally:
        os.environ.pop(ATTEMPT, None)


@contextmanager
def counted(sweep: Sweep) -> Iterator[None]:
    """Show how many points are done, and how long the rest may take, while the block runs."""
    ended = threading.Event()

    def count() -> None:
        done, begun = 0, time.monotonic()
        with bar("points", len(sweep.points)) as advance:
            first = None
            while True:
                last = ended.wait(LOOK)
                with contextlib.suppress(SottovoceError, OSError):
                    states = [state_of(run) for run in sweep.runs]
                    now, failed = states.count("done"), states.count("failed")
                    first = now if first is None else first
                    each = (time.monotonic() - begun) / (now - first) if now > first else 0.0
                    rest = f", about {each * (len(states) - now - failed) / 60:.0f} min left" if each else ""
                    advance(now - done, note=f"{failed} failed{rest}" if failed else rest.removeprefix(", "))
                    done = now
                if last:
                    return

    # The screen that shows bars belongs to this thread's context.
    counter = threading.Thread(target=contextvars.copy_context().run, args=(count,), daemon=True)
    counter.start()
    try:
        yield
    finally:
        ended.set()
        counter.join()


def supervise(sweep: Sweep, task: Task, workers: int) -> None:
    """Run worker processes until all is done; of one that dies, the point is marked, and another takes its place."""
    context = multiprocessing.get_context("spawn")
    alive: list[Any] = []

    def start() -> Any:
        process = context.Process(target=worker, args=(task,), daemon=False)
        with threads_in_environment(task.threads):
            process.start()
        return process

    try:
        alive = [start() for _ in range(workers)]
        while alive:
            time.sleep(LOOK)
            for process in [each for each in alive if not each.is_alive()]:
                alive.remove(process)
                if process.exitcode != 0:
                    mark_lost(sweep, process.exitcode)
                    # One that ends by itself with a fault would do so again; it has said why.
                    left = any(state_of(run) == "open" for run in sweep.runs)
                    if (process.exitcode or 0) < 0 and left:
                        alive.append(start())
    finally:
        for process in alive:
            process.terminate()
        for process in alive:
            process.join()


@contextmanager
def threads_in_environment(threads: int) -> Iterator[None]:
    """What libraries read when a process starts."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def mark_lost(sweep: Sweep, code: int | None) -> None:
    """Write into the record of a run whose worker has died that it has, so that no other worker dies of it now."""
    name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    for run in (*sweep.runs, *map(sweep.stem_run, sweep.stems)):
        if not (run.folder / "run.json").is_file() or run.record["status"] != "running":
            continue
        if run.record.get("attempt") != os.environ.get(ATTEMPT) or holder(run.folder) is not None:
            continue
        with contextlib.suppress(Busy), claimed(run.folder, "noting what became of it"):
            if run.record["status"] == "running":
                why = "; the system may have had no memory left" if code == -signal.SIGKILL else ""
                run.fail(f"its worker was ended by {name}{why}")
                sweep.log(f"{run.folder.name} failed: its worker was ended by {name}{why}")


def worker(task: Task) -> None:
    """The whole of a worker process.

    Example:
        >>> worker(task)  # doctest: +SKIP
    """
    threading.Thread(target=end_with, args=(task.parent,), daemon=True).start()
    torch.set_num_threads(task.threads)

    def read(name: str) -> Any:
        if name not in known:
            known[name] = some(get_data(name, skip_bad=task.skip_bad), task.limit, task.seed)
        return known[name]

    known: dict[str, Any] = {}
    try:
        with handled_by(raise_stopped):
            work(Sweep.of(task.points, Path(task.root), Tools(read=read), task.stamps))
    except Stopped as stopped:
        sys.exit(stopped.code)


def end_with(parent: int) -> None:
    """Stop this process when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)


def outcome(sweep: Sweep) -> list[Run]:
    """The finished runs, or what failed."""
    failed = {number: state_told(run) for number, run in enumerate(sweep.runs) if state_of(run) != "done"}
    refuse_failed(failed, len(sweep.runs))
    return list(sweep.runs)


def state_told(run: Run) -> str:
    """Why a point is not done.

    Example:
        >>> state_told(Run(Path("runs/nothing")))
        'no worker got as far as to begin it'
    """
    begun = (run.folder / "run.json").is_file()
    return str(run.record["error"]) if begun else "no worker got as far as to begin it"
