"""A run: a folder that says what was done, with what, and what came out."""

import json
import os
import platform
import re
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError, reason_of
from sottovoce.files import (
    MARK,
    append_lines,
    atomic_write,
    json_object,
    local_path,
    put_back,
    read_text,
    sweep,
    whole_lines,
)
from sottovoce.measurement import Measurement
from sottovoce.recipe import Recipe
from sottovoce.signals import STOPS, Stopped

ATTEMPT = "SOTTOVOCE_ATTEMPT"  # which sweep a process belongs to: what failed in it is not tried again in it
STATUSES = ("running", "waiting", "finished", "stopped", "failed")
# What may lie in a run's folder before its run.json does.
FILES = ("recipe.yaml", "measurements.jsonl", MARK)


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
        check_folder(run.folder)
        if (run.folder / "run.json").exists() and run.finished:
            raise SottovoceError(f"the run '{run.folder}' is finished; read it, or delete the folder to run it again.")
        atomic_write(run.folder / "recipe.yaml", recipe.to_yaml())
        atomic_write(run.folder / "measurements.jsonl", "")
        record = {"status": "running", "hash": digest, "extra": dict(extra_hash or {}), "seed": recipe.seed}
        record |= {"started": _now(), "finished": None, "error": None, "attempt": os.environ.get(ATTEMPT, "")}
        if (before := run.made_before()) is not None:
            record |= {"made": True, "training": before.get("training", [])}
        record |= {name: version_of(name) for name in ("sottovoce", "torch", "transformers")}
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
        if not (local_path(folder, "the run") / "run.json").is_file():
            raise SottovoceError(f"'{folder}' is not a run: it has no run.json; give a run's folder.")
        return cls(Path(folder))

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` holds: status, times, seed, versions."""
        path = self.folder / "run.json"
        try:
            record = json_object(read_text(path, "the record of the run"), "it")
        except SottovoceError as error:
            reason = str(error).rstrip(".")
            raise SottovoceError(f"'{path}' cannot be read ({reason}); delete the folder to run it again.") from None
        if record.get("status") not in STATUSES:
            raise SottovoceError(
                f"'{path}' has the status {_shown(record.get('status'))}, but one of {', '.join(STATUSES)} is wanted; "
                "delete the folder to run it again."
            )
        return record

    @property
    def recipe(self) -> Recipe:
        """The recipe that made the run."""
        return Recipe.from_yaml(self.folder / "recipe.yaml")

    @property
    def finished(self) -> bool:
        """Whether all of the recipe was done; a run that failed, was stopped or was killed is not finished."""
        return self.record["status"] == "finished"

    @property
    def model(self) -> Path | None:
        """The folder of the model that the run made; None if its recipe makes none, or it is not there yet.

        A run that is finished and whose model is gone is an error: its record would be of nothing.
        """
        folder = put_back(self.folder / "model")
        if folder.is_dir():
            return folder
        if self.finished and self.recipe.steps:
            raise SottovoceError(
                f"the run '{self.folder}' is finished, but its model is gone; delete the folder to run it again."
            )
        return None

    def made_before(self) -> dict[str, Any] | None:
        """What is known of a run that was stopped when its model was saved and not yet measured; None of all others.

        Example:
            >>> Run(Path("runs/nothing")).made_before() is None
            True
        """
        if not (self.folder / "run.json").is_file() or not put_back(self.folder / "model").is_dir():
            return None
        try:
            record = self.record
        except SottovoceError:
            return None
        return record if record.get("made") is True else None

    def note_made(self) -> None:
        """Note that the steps are done and the model is saved: after a stop, a run goes on with its measures."""
        self._write(self.record | {"made": True})

    def wait(self) -> None:
        """Mark the run as done but for what must be measured alone."""
        self._write(self.record | {"status": "waiting"})

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Append measurements; a crash, or a full disk, leaves those that were there before."""
        lines = [measurement.to_json() + "\n" for measurement in measurements]
        append_lines(self.folder / "measurements.jsonl", "".join(lines))

    def measurements(self) -> list[Measurement]:
        """Every measurement that was written whole; the line that a crash cut short is left out."""
        return measurements_in(self.folder / "measurements.jsonl")

    def add_training(self, time: Measurement) -> None:
        """Keep in `run.json` what a step's training took: a row of `training`, with the step and its method."""
        self._write(self.record | {"training": [row.record() for row in (*self.trainings, time)]})

    @property
    def trainings(self) -> list[Measurement]:
        """The seconds of training of each step that trained; not with the measurements, which two runs have alike."""
        found = self.record.get("training", [])
        try:
            return [Measurement.from_record(row) for row in found]
        except (SottovoceError, TypeError, AttributeError) as error:
            reason = reason_of(error)
            raise SottovoceError(
                f"'{self.folder / 'run.json'}' tells of its training what no run writes ({reason}); delete the folder "
                "to run it again."
            ) from None

    def log(self, text: str) -> None:
        """Append a line to `log.txt`, with the time."""
        append_lines(self.folder / "log.txt", f"{_now()} {text.rstrip()}\n")

    def finish(self) -> None:
        """Mark the run as finished: it is skipped from now on."""
        self._write(self.record | {"status": "finished", "finished": _now(), "error": None})

    def fail(self, error: BaseException | str) -> None:
        """Mark the run as failed, or as stopped, and say why in `run.json` and, with the traceback, in `log.txt`."""
        status = "stopped" if isinstance(error, STOPS) else "failed"
        told = isinstance(error, str | SottovoceError | Stopped)
        reason = str(error) if told else f"{type(error).__name__}: {error}".rstrip(": ")
        self._write(self.record | {"status": status, "finished": _now(), "error": reason})
        self.log(reason if isinstance(error, str) else "".join(traceback.format_exception(error)))

    def _write(self, record: Mapping[str, Any]) -> None:
        atomic_write(self.folder / "run.json", json.dumps(record, indent=2) + "\n")


def measurements_in(path: Path) -> list[Measurement]:
    """The measurements of a file, a line each; a last line that was cut short is left out.

    Example:
        >>> measurements_in(Path("runs/measure-3f2a/measurements.jsonl"))[0].metric  # doctest: +SKIP
        'parameters'
    """
    measurements = []
    for number, line in enumerate(whole_lines(path).splitlines(), start=1):
        try:
            measurements.append(Measurement.from_json(line.decode()))
        except (ValueError, TypeError, AttributeError) as error:
            reason = reason_of(error)
            raise SottovoceError(f"'{path}', line {number} is not a measurement ({reason}); delete it.") from None
    return measurements


def check_folder(folder: Path) -> None:
    """Refuse a run's folder that holds things and is no run: they are somebody's.

    Example:
        >>> check_folder(Path("runs/nothing"))
    """
    sweep(folder)
    others = sorted(set(os.listdir(folder)) - set(FILES)) if folder.is_dir() else []
    if others and not (folder / "run.json").is_file():
        raise SottovoceError(
            f"'{folder}' is no run's folder, for it holds '{others[0]}' and no run.json; give another folder for runs."
        )


def _shown(value: object) -> str:
    return repr(value)[:80]


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
    root = local_path(folder, "the folder of runs")
    if not root.is_dir():
        raise SottovoceError(f"there is no folder '{folder}'; give a run's folder, or one that holds runs.")
    if (root / "run.json").is_file():
        return [Run(root)]
    runs = [Run(path.parent) for path in sorted(root.glob("*/run.json"))]
    if not runs:
        wanted = "neither it nor a folder in it has a run.json"
        raise SottovoceError(f"'{folder}' holds no runs: {wanted}; give a run's folder, or one that holds runs.")
    return runs


def refuse_failed(failed: Mapping[int, Exception | str], points: int) -> None:
    """An error where points of a grid failed, with their numbers and the reason of the first.

    Example:
        >>> refuse_failed({}, 9)
    """
    if not failed:
        return
    first = failed[min(failed)]
    numbers = ", ".join(str(number + 1) for number in sorted(failed))
    raise SottovoceError(
        f"{len(failed)} of {points} points failed ({numbers}), the others are finished; the first because: "
        f"{str(first).rstrip('.')}. The same command tries them again."
    ) from (first if isinstance(first, Exception) else None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def version_of(name: str) -> str | None:
    """The version of an installed package.

    Example:
        >>> version_of("nothing") is None
        True
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None  # run from its source folder
