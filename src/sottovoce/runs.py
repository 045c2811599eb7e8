"""A run: a folder that says what was done, with what, and what came out."""

import contextlib
import json
import platform
import random
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.files import append_lines, atomic_write, tidy, whole_lines, working_in
from sottovoce.measurement import Measurement
from sottovoce.recipe import Recipe, Step
from sottovoce.registry import Entry, Registry


@dataclass(frozen=True)
class Run:
    """A folder with `recipe.yaml`, `run.json`, `measurements.jsonl`, `log.txt`, and `model/` where one was made.

    Example:
        >>> import tempfile
        >>> run = Run.create(Path(tempfile.mkdtemp()), Recipe("hubert"))
        >>> run.add([Measurement("size", "parameters", 94_371_712)])
        >>> run.finish()
        >>> Run.open(run.folder).finished, run.measurements()[0].value
        (True, 94371712)
    """

    folder: Path

    @classmethod
    def create(cls, root: str | Path, recipe: Recipe, extra_hash: Mapping[str, str] | None = None) -> "Run":
        """Start the run of a recipe; one that was started before and did not finish starts again from nothing.

        Example:
            >>> Run.create("runs", recipe, {"data": manifest_hash})  # doctest: +SKIP
        """
        digest = recipe.hash(extra_hash)
        run = cls(folder_of(root, recipe, extra_hash))
        if (run.folder / "run.json").exists() and run.finished:
            raise SottovoceError(f"the run '{run.folder}' is finished; read it, or delete the folder to run it again.")
        atomic_write(run.folder / "recipe.yaml", recipe.to_yaml())
        atomic_write(run.folder / "measurements.jsonl", "")
        record = {"status": "running", "hash": digest, "extra": dict(extra_hash or {}), "seed": recipe.seed}
        record |= {"started": _now(), "finished": None, "error": None}
        record |= {name: _version(name) for name in ("sottovoce", "torch", "transformers")}
        # The last file to appear: a folder with run.json has all that makes a run.
        run._write(record | {"python": platform.python_version(), "platform": platform.platform()})
        return run

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """The run in a folder.

        Example:
            >>> Run.open("runs/nothing")
            Traceback (most recent call last):
            sottovoce.errors.SottovoceError: 'runs/nothing' is not a run: it has no run.json; give a run's folder.
        """
        if not (Path(folder) / "run.json").is_file():
            raise SottovoceError(f"'{folder}' is not a run: it has no run.json; give a run's folder.")
        return cls(Path(folder))

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` holds: status, times, seed, versions."""
        path = self.folder / "run.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SottovoceError(f"'{path}' cannot be read ({error}); delete the folder to run it again.") from None
        if not isinstance(record, dict) or "status" not in record:
            raise SottovoceError(f"'{path}' has no status; delete the folder to run it again.")
        return record

    @property
    def recipe(self) -> Recipe:
        """The recipe that made the run."""
        return Recipe.from_yaml(self.folder / "recipe.yaml")

    @property
    def finished(self) -> bool:
        """Whether all of the recipe was done; a run that failed or was killed is not finished."""
        return self.record["status"] == "finished"

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Append measurements; a crash, or a full disk, leaves those that were there before."""
        lines = [measurement.to_json() + "\n" for measurement in measurements]
        append_lines(self.folder / "measurements.jsonl", "".join(lines))

    def measurements(self) -> list[Measurement]:
        """Every measurement that was written whole; the line that a crash cut short is left out."""
        path = self.folder / "measurements.jsonl"
        measurements = []
        for number, line in enumerate(whole_lines(path).splitlines(), start=1):
            try:
                measurements.append(Measurement.from_json(line.decode()))
            except (ValueError, TypeError, AttributeError) as error:
                raise SottovoceError(f"'{path}', line {number} is not a measurement ({error}); delete it.") from None
        return measurements

    def log(self, text: str) -> None:
        """Append a line to `log.txt`, with the time."""
        append_lines(self.folder / "log.txt", f"{_now()} {text.rstrip()}\n")

    def finish(self) -> None:
        """Mark the run as finished: it is skipped from now on."""
        self._write(self.record | {"status": "finished", "finished": _now(), "error": None})

    def fail(self, error: BaseException | str) -> None:
        """Mark the run as failed, and say why in `run.json` and, with the traceback, in `log.txt`."""
        told = isinstance(error, str | SottovoceError)
        reason = str(error) if told else f"{type(error).__name__}: {error}".rstrip(": ")
        self._write(self.record | {"status": "failed", "finished": _now(), "error": reason})
        self.log(reason if isinstance(error, str) else "".join(traceback.format_exception(error)))

    def _write(self, record: Mapping[str, Any]) -> None:
        atomic_write(self.folder / "run.json", json.dumps(record, indent=2) + "\n")


def folder_of(root: str | Path, recipe: Recipe, extra_hash: Mapping[str, str] | None = None) -> Path:
    """Where the run of a recipe is, or would be.

    Example:
        >>> folder_of("runs", Recipe("hubert")).name[:8]
        'measure-'
    """
    first = recipe.steps[0][0] if recipe.steps else "measure"
    return Path(root) / f"{re.sub(r'[^A-Za-z0-9_-]', '_', first)}-{recipe.hash(extra_hash)}"


def find(root: str | Path, hash: str) -> Run | None:
    """The run of a hash, as `Recipe.hash` gives it, if it was ever started under `root`.

    Example:
        >>> find("runs", Recipe("hubert").hash()) is None
        True
    """
    runs = [Run(path.parent) for path in sorted(Path(root).glob(f"*-{hash}/run.json"))]
    return next((run for run in runs if run.finished), runs[0] if runs else None)


def read_runs(folder: str | Path) -> list[Run]:
    """The run in a folder, or the runs in the folders of it, by name.

    Example:
        >>> read_runs("nothing")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: there is no folder 'nothing'; give a run's folder, or one that holds runs.
    """
    root = Path(folder)
    if not root.is_dir():
        raise SottovoceError(f"there is no folder '{folder}'; give a run's folder, or one that holds runs.")
    if (root / "run.json").is_file():
        return [Run(root)]
    runs = [Run(path.parent) for path in sorted(root.glob("*/run.json"))]
    if not runs:
        wanted = "neither it nor a folder in it has a run.json"
        raise SottovoceError(f"'{folder}' holds no runs: {wanted}; give a run's folder, or one that holds runs.")
    return runs


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
) -> Run:
    """Do what a recipe without a grid says, or return the finished run of it.

    `load` makes the model from its name and `read` the data; `save(model, folder)` writes the folder as a whole.
    Checkpoints and caches of steps and measures lie in `work/` until the run is finished: a run that was stopped goes
    on where its training was. `wait` returns when other processes, which may share in the work, have done with them.
    What `weigh` says of a step (its name, the model before and after, the data) is logged.

    Example:
        >>> for point in recipe.points():  # doctest: +SKIP
        ...     execute(point, "runs", load=sv.load, save=sv.save, methods=sv.METHODS, measures=sv.MEASURES)
    """
    _check(recipe, methods, measures, reads=read is not None)
    earlier = find(root, recipe.hash(extra_hash))
    if earlier is not None and earlier.finished:
        log(f"{earlier.folder.name}: finished already, skipped")
        return earlier
    run = Run.create(root, recipe, extra_hash)

    def say(text: str) -> None:
        run.log(text)
        log(f"{run.folder.name}: {text}")

    try:
        _seed(recipe.seed)
        model = load(recipe.model)
        data = read(recipe.data) if read is not None and recipe.data is not None else None
        for number, (name, options) in enumerate(_announced("step", recipe.steps, recipe.seed, say), start=1):
            with working_in(run.folder / "work" / f"step-{number}"):
                before, model = model, methods[name](model, data, **seeded(methods[name], options, recipe.seed))
            if text := weigh(name, before, model, data):
                say(text)
        if recipe.steps:
            save(model, run.folder / "model")
        for number, (name, options) in enumerate(_announced("measure", recipe.measures, recipe.seed, say), start=1):
            with working_in(run.folder / "work" / f"measure-{number}"):
                run.add(measures[name](model, data, **seeded(measures[name], options, recipe.seed)))
        wait()
        run.finish()
        tidy(run.folder / "work")
    except BaseException as error:
        # Where even this cannot be written, the error itself is what the user needs to see.
        with contextlib.suppress(SottovoceError):
            run.fail(error)
        raise
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None  # run from its source folder
