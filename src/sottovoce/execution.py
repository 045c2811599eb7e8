"""Doing what recipes say: each point of a grid once, by one process at a time, and on from where it was stopped."""

import contextlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.files import MARK, Busy, claimed, leads, tidy, working_in
from sottovoce.recipe import Recipe, Step
from sottovoce.registry import Entry, Registry
from sottovoce.runs import Run, find, folder_of


def execute(
    recipe: Recipe,
    root: str | Path,
    *,
    load: Callable[[str], Any],
    save: Callable[[Any, Path], object],
    methods: Registry,
    measures: Registry,
    read: Callable[[str], Any] | None = None,
    extra_hash: Mapping[str, str] | None = None,
    log: Callable[[str], object] = print,
    wait: Callable[[], object] = lambda: None,
    weigh: Callable[[str, Any, Any, Any], str] = lambda name, before, after, data: "",
    patient: bool = True,
) -> Run:
    """Do what a recipe without a grid says, or return the finished run of it.

    `load` makes the model from its name and `read` the data; `save(model, folder)` writes the folder as a whole.
    Checkpoints and caches of steps and measures lie in `work/` until the run is finished: a run that was stopped goes
    on where its training was. A run belongs to one process: another one waits until it is finished, or raises `Busy`
    if it is not `patient`. `wait` returns when other processes, which may share in the work, have done with them.
    What `weigh` says of a step (its name, the model before and after, the data) is logged.

    Example:
        >>> for point in recipe.points():  # doctest: +SKIP
        ...     execute(point, "runs", load=sv.load, save=sv.save, methods=sv.METHODS, measures=sv.MEASURES)
    """
    _check(recipe, methods, measures, reads=read is not None)
    tools = _Tools(load, save, methods, measures, read, log, wait, weigh)
    folder = folder_of(root, recipe, extra_hash)
    if not leads():
        return tools.perform(Run(folder), recipe) if _finished(root, recipe, extra_hash) is None else Run(folder)
    done = _finished(root, recipe, extra_hash)
    if done is None:
        told = lambda text: log(f"{folder.name}: {text}")  # noqa: E731
        with claimed(folder, "a run", wait=told if patient else None):
            # While this process waited, another one may have finished it.
            done = _finished(root, recipe, extra_hash)
            if done is None:
                return tools.perform(Run.create(root, recipe, extra_hash), recipe)
    log(f"{done.folder.name}: finished already, skipped")
    if (done.folder / MARK).exists():  # of a process that is about to let go of it, or was killed when it was
        with contextlib.suppress(Busy), claimed(done.folder, "tidying"):
            tidy(done.folder / "work")
    return done


def execute_all(points: Iterable[Recipe], root: str | Path, **tools: Any) -> list[Run]:
    """Do the points of a grid, in order; those that another process is at are left to it, and waited for at the end.

    Example:
        >>> runs = execute_all(recipe.points(), "runs", load=sv.load, save=sv.save)  # doctest: +SKIP
    """
    listed = list(points)
    runs: dict[int, Run] = {}
    for patient in (False, True):
        for number, point in enumerate(listed):
            if number not in runs:
                with contextlib.suppress(*(() if patient else (Busy,))):
                    runs[number] = execute(point, root, patient=patient, **tools)
    return [runs[number] for number in range(len(listed))]


@dataclass(frozen=True)
class _Tools:
    """What a recipe is done with."""

    load: Callable[[str], Any]
    save: Callable[[Any, Path], object]
    methods: Registry
    measures: Registry
    read: Callable[[str], Any] | None
    log: Callable[[str], object]
    wait: Callable[[], object]
    weigh: Callable[[str, Any, Any, Any], str]

    def perform(self, run: Run, recipe: Recipe) -> Run:
        """Do the steps and measures; of several processes that share in them, the first alone writes."""
        first = leads()

        def say(text: str) -> None:
            if first:
                run.log(text)
                self.log(f"{run.folder.name}: {text}")

        try:
            _seed(recipe.seed)
            model = self.load(recipe.model)
            data = self.read(recipe.data) if self.read is not None and recipe.data is not None else None
            for number, (name, options) in enumerate(_announced("step", recipe.steps, recipe.seed, say), start=1):
                entry = self.methods[name]
                with working_in(run.folder / "work" / f"step-{number}"):
                    before, model = model, entry(model, data, **seeded(entry, options, recipe.seed))
                if first and (text := self.weigh(name, before, model, data)):
                    say(text)
            if recipe.steps and first:
                self.save(model, run.folder / "model")
            for number, (name, options) in enumerate(_announced("measure", recipe.measures, recipe.seed, say), start=1):
                entry = self.measures[name]
                with working_in(run.folder / "work" / f"measure-{number}"):
                    rows = entry(model, data, **seeded(entry, options, recipe.seed))
                if first:
                    run.add(rows)
            self.wait()
            if first:
                run.finish()
                tidy(run.folder / "work")
        except BaseException as error:
            # Where even this cannot be written, the error itself is what the user needs to see.
            with contextlib.suppress(SottovoceError, OSError):
                if first:
                    run.fail(error)
            raise
        return run


def _finished(root: str | Path, recipe: Recipe, extra_hash: Mapping[str, str] | None) -> Run | None:
    """The finished run of a recipe, with its model, if there is one."""
    run = find(root, recipe.hash(extra_hash))
    if run is None or not run.finished:
        return None
    _ = run.model  # refused where it is gone
    return run


def _check(recipe: Recipe, methods: Registry, measures: Registry, *, reads: bool) -> None:
    if recipe.vary:
        raise SottovoceError(f"this recipe is a grid of {len(recipe.points())} points; execute each of its points().")
    recipe.check(methods, measures)
    if recipe.data is not None and not reads:
        raise SottovoceError(f"the recipe has data='{recipe.data}', but nothing to read it with; give execute a read.")


def seeded(entry: Entry, options: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The options with the recipe's seed, for a function that takes one and is not given it."""
    return {"seed": seed, **options} if entry.takes("seed") else dict(options)


def _announced(kind: str, steps: Iterable[Step], seed: int, say: Callable[[str], None]) -> Iterable[Step]:
    listed = list(steps)
    for number, (name, options) in enumerate(listed, start=1):
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        say(f"{kind} {number} of {len(listed)}: {name}({given})")
        # Each starts from the seed, so that its outcome does not hang on how much chance was used before it.
        _seed(seed)
        yield name, options


def _seed(seed: int) -> None:
    import numpy
    import torch  # here, because reading runs needs neither

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
