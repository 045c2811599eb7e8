"""Doing what recipes say: each point of a grid once, by one process at a time, and on from where it was stopped."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sottovoce.cards import describe
from sottovoce.data.utterance import manifest_hash
from sottovoce.errors import SottovoceError
from sottovoce.files import MARK, Busy, atomic_write, claimed, leads, tidy, working_in
from sottovoce.measurement import Measurement
from sottovoce.measures import MEASURES
from sottovoce.methods import METHODS
from sottovoce.models.hub import save
from sottovoce.names import get_data, get_model, model_stamp
from sottovoce.preflight import check_run, some, told_in_words
from sottovoce.progress import bar
from sottovoce.recipe import Recipe, Step, with_data
from sottovoce.registry import Entry, Registry, parse_step
from sottovoce.runs import Run, find, folder_of, measurements_in, refuse_failed, version_of
from sottovoce.steps import announced, seeded, set_seed, take_steps

ROWS = "rows.jsonl"  # of a measure that is done, until its run is


def run(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    root: str | Path,
    *,
    model: str | None = None,
    data: str | None = None,
    changes: Mapping[str, Any] | None = None,
    limit: int | None = None,
    dry: bool = False,
    skip_bad: bool = False,
    log: Callable[[str], object] = print,
) -> list[Run]:
    """Do what a recipe says, every point of its grid; finished points are read and not done again.

    The recipe is a `Recipe`, a YAML file, YAML text or what YAML holds; `model` and `data` replace its own, `changes`
    other values, named as in `vary`. Each point is a run below `root`: its folder has the model, the measurements and a
    log. Names of models and data mean what they mean on the command line: a Hub id, a folder, `random:` and a shape;
    `espeak`, a manifest, CORPUS@FOLDER. A step or measure may name other data than the recipe, as its option `data`;
    `limit` takes so many utterances of each split and task, by chance with the recipe's seed. What would stop a run
    later is refused before any work, as far as it can be known; with `dry` that is all, and every point is told. A run
    that was stopped goes on from its last checkpoint.

    Example:
        >>> recipe = {"model": "random:small-hubert", "steps": [{"drop_layers": {"keep": 6}}], "measures": ["size"]}
        >>> [done] = run(recipe, "runs", log=lambda text: None)
        >>> done.measurements()[0].value
        3092192
    """
    given = Given(model, data, changes, limit, skip_bad)
    points, known, stamps = prepared(recipe, root, given, dry=dry, log=log)
    if dry:
        return []
    return execute_all(points, root, tools=Tools(read=known.__getitem__), extra_hash=stamps, log=log)


@dataclass(frozen=True)
class Given:
    """What is given beside a recipe: another model, other data and values, fewer utterances, and none that is bad.

    Example:
        >>> Given(limit=100).model is None
        True
    """

    model: str | None = None
    data: str | None = None
    changes: Mapping[str, Any] | None = None
    limit: int | None = None
    skip_bad: bool = False


def prepared(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    root: str | Path,
    given: Given,
    *,
    dry: bool = False,
    log: Callable[[str], object] = print,
) -> tuple[list[Recipe], dict[str, Sequence[Any]], dict[str, str]]:
    """The points of a recipe, looked at before any work; their data by name; what belongs to the hashes of their runs.

    Example:
        >>> points, known, stamps = prepared({"model": "random:small-hubert", "measures": ["size"]}, "runs", Given())
        >>> len(points), known
        (1, {})
    """
    whole = (recipe if isinstance(recipe, Recipe) else _read(recipe)).changed(given.changes or {})
    points = whole.points()
    named = {key: value for key, value in (("model", given.model), ("data", given.data)) if value is not None}
    if named:
        changed = [Recipe.from_dict({**point.to_dict(), **named}) for point in points]
        points = list({point.hash(): point for point in changed}.values())  # what varied may be replaced now
    for point in points:
        point.check(METHODS, MEASURES)
    names = sorted({name for point in points for name in point.data_names()})
    known = {name: some(get_data(name, skip_bad=given.skip_bad, tell=log), given.limit, whole.seed) for name in names}
    for number, point in enumerate(points, start=1):
        if dry:
            log(f"point {number} of {len(points)}: {told_in_words(point)}")
        check_run(point, root, methods=METHODS, measures=MEASURES, read=known.__getitem__)
    if dry:
        log(f"{len(points)} points, of which nothing was done: the recipe passes all that can be looked at before.")
    return points, known, run_stamps(sorted({point.model for point in points}), known)


def run_stamps(models: Iterable[str], data: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """What tells a run from one of the same recipe: the version, the files of local models, the utterances of the data.

    Example:
        >>> sorted(run_stamps(["random:hubert"], {"espeak": []}))
        ['data espeak', 'random:hubert', 'sottovoce']
    """
    stamps = {"sottovoce": version_of("sottovoce") or ""} | {name: model_stamp(name) for name in models}
    return stamps | {f"data {name}": manifest_hash(utterances) for name, utterances in data.items()}


def measure(
    model: Any, data: Any = None, measures: str | Sequence[str | Step] = ("size", "macs"), *, seed: int = 0
) -> list[Measurement]:
    """Measure a model: each measure by name, with options as on the command line or as a mapping.

    Example:
        >>> rows = measure(model, data, ["size", ("keywords", {"mode": "probe", "train": {"steps": 20}})])
        >>> [row.metric for row in rows if row.measure == "keywords"][0]
        'accuracy'
    """
    return list(measured(model, data, steps_named(measures), seed=seed))


def measured(model: Any, data: Any, steps: Sequence[Step], *, seed: int = 0) -> Iterator[Measurement]:
    """What some measures say of a model, as each of them ends.

    Example:
        >>> [row.metric for row in measured(model, None, [("size", {})])][0]
        'parameters'
    """
    with bar("measuring", len(steps)) as advance:
        for name, options in steps:
            yield from rows_of(MEASURES[name], model, data, options, seed=seed, read=get_data)
            advance(note=name)


def rows_of(
    entry: Entry, model: Any, data: Any, options: Mapping[str, Any], *, seed: int, read: Callable[[str], Any]
) -> list[Measurement]:
    """What a measure says, on the data that its options name, if they do; its rows then name it too.

    Example:
        >>> rows_of(MEASURES["size"], model, None, {}, seed=0, read=get_data)[0].metric  # doctest: +SKIP
        'parameters'
    """
    own, rest = with_data((entry.name, options))
    rows = entry(model, data if own is None else read(own), **seeded(entry, rest, seed))
    return rows if own is None else [replace(row, where={**row.where, "data": own}) for row in rows]


def steps_named(measures: str | Sequence[str | Step]) -> list[Step]:
    """Measures with their options; a text may name several, `size,macs`, where none has options.

    Example:
        >>> steps_named(["size,macs", "phones:layer=each"])
        [('size', {}), ('macs', {}), ('phones', {'layer': 'each'})]
    """
    steps: list[Step] = []
    for one in [measures] if isinstance(measures, str) else measures:
        if isinstance(one, str):
            steps += [parse_step(text, MEASURES) for text in ([one] if ":" in one else one.split(","))]
        else:
            steps.append(one)
    return steps


def save_again(model: Any, folder: Path) -> Path:
    """Save the model of a run, which the run may have saved before it was killed."""
    return save(model, folder, overwrite=True)


@dataclass(frozen=True)
class Begun:
    """A model behind the first steps of a recipe, and what the trainings in them took.

    Example:
        >>> Begun(model).steps
        0
    """

    model: Any
    steps: int = 0
    trainings: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class Tools:
    """What a recipe is done with: how names become models and data, how a model is saved, which methods there are.

    `begin` may give a model behind some of a recipe's steps, where others have taken these already; else None.
    """

    load: Callable[[str], Any] = get_model
    read: Callable[[str], Any] = get_data
    save: Callable[[Any, Path], object] = save_again
    methods: Registry = field(default_factory=lambda: METHODS)
    measures: Registry = field(default_factory=lambda: MEASURES)
    begin: Callable[[Recipe], Begun | None] = lambda recipe: None


def execute(
    recipe: Recipe,
    root: str | Path,
    *,
    tools: Tools | None = None,
    extra_hash: Mapping[str, str] | None = None,
    log: Callable[[str], object] = print,
    wait: Callable[[], object] = lambda: None,
    patient: bool = True,
    later: bool = False,
) -> Run:
    """Do what a recipe without a grid says, or return the finished run of it.

    Checkpoints and caches of steps and measures lie in `work/` until the run is finished: a run that was stopped goes
    on where its training was. A run belongs to one process: another one waits until it is finished, or raises `Busy`
    if it is not `patient`. `wait` returns when other processes, which may share in the work, have done with them. With
    `later`, measures that must have the machine for themselves are left out, and the run waits for them.

    Example:
        >>> for point in recipe.points():  # doctest: +SKIP
        ...     execute(point, "runs")
    """
    tools = tools or Tools()
    if recipe.vary:
        raise SottovoceError(f"this recipe is a grid of {len(recipe.points())} points; execute each of its points().")
    recipe.check(tools.methods, tools.measures)
    folder = folder_of(root, recipe, extra_hash)
    work = lambda made: _Work(tools, made, recipe, log, wait, later).perform()  # noqa: E731
    if not leads():
        return work(Run(folder)) if _finished(root, recipe, extra_hash) is None else Run(folder)
    done = _finished(root, recipe, extra_hash)
    if done is None:
        told = lambda text: log(f"{folder.name}: {text}")  # noqa: E731
        with claimed(folder, "a run", wait=told if patient else None):
            # While this process waited, another one may have finished it.
            done = _finished(root, recipe, extra_hash)
            if done is None:
                return work(Run.create(root, recipe, extra_hash))
    log(f"{done.folder.name}: finished already, skipped")
    if (done.folder / MARK).exists():  # of a process that is about to let go of it, or was killed when it was
        with contextlib.suppress(Busy), claimed(done.folder, "tidying"):
            tidy(done.folder / "work")
    return done


def execute_all(points: Iterable[Recipe], root: str | Path, **more: Any) -> list[Run]:
    """Do the points of a grid, in order; those that another process is at are left to it, and waited for at the end.

    A point that fails is told of, and the others are done all the same; then that is an error.

    Example:
        >>> runs = execute_all(recipe.points(), "runs")  # doctest: +SKIP
    """
    listed = list(points)
    runs: dict[int, Run] = {}
    failed: dict[int, Exception] = {}
    tell = more.get("log", print)
    for patient in (False, True):
        for number, point in enumerate(listed):
            if number in runs or number in failed:
                continue
            try:
                with contextlib.suppress(*(() if patient else (Busy,))):
                    runs[number] = execute(point, root, patient=patient, **more)
            except Exception as error:
                if len(listed) == 1:
                    raise
                failed[number] = error
                tell(f"point {number + 1} of {len(listed)} failed: {error}")
    refuse_failed(failed, len(listed))
    return [runs[number] for number in range(len(listed))]


@dataclass(frozen=True)
class _Work:
    """A run under way, and what it is done with."""

    tools: Tools
    run: Run
    recipe: Recipe
    log: Callable[[str], object]
    wait: Callable[[], object]
    later: bool = False

    def perform(self) -> Run:
        """Do the steps and measures; of several processes that share in them, the first alone writes."""
        first, run, recipe, tools = leads(), self.run, self.recipe, self.tools
        try:
            set_seed(recipe.seed)
            data = tools.read(recipe.data) if recipe.data is not None else None
            model = self.made(data)
            listed = list(enumerate(recipe.measures, start=1))
            alone = [n for n, (name, options) in listed if self.later and tools.measures[name].is_alone(options)]
            for number, name, options in announced("measure", recipe.measures, recipe.seed, self.say, without=alone):
                rows = self.rows(number, name, options, model, data)
                # What stands behind a measure that is left out is added with it.
                if first and not any(left < number for left in alone):
                    run.add(rows)
            self.wait()
            if first and alone:
                run.wait()
            elif first:
                describe(model, run)
                run.finish()
                tidy(run.folder / "work")
        except BaseException as error:
            # Where even this cannot be written, the error itself is what the user needs to see.
            with contextlib.suppress(SottovoceError, OSError):
                if first:
                    run.fail(error)
            raise
        return run

    def made(self, data: Any) -> Any:
        """The model behind all steps: what an earlier attempt has saved, or what the steps that are left make."""
        first, run, recipe, tools = leads(), self.run, self.recipe, self.tools
        if run.record.get("made") is True:
            return tools.load(str(run.folder / "model"))
        begun = tools.begin(recipe) or Begun(tools.load(recipe.model))
        for row in begun.trainings if first else ():
            run.add_training(row)
        more: dict[str, Any] = {
            "seed": recipe.seed,
            "methods": tools.methods,
            "read": tools.read,
            "announce": self.say,
            "report": self.say,
            "timed": self.timed,
            "done": begun.steps,
            "gains": not self.later,
        }
        model = take_steps(begun.model, data, recipe.steps, work=run.folder / "work", **more)
        if recipe.steps and first:
            tools.save(model, run.folder / "model")
            run.note_made()
        return model

    def rows(self, number: int, name: str, options: Mapping[str, Any], model: Any, data: Any) -> list[Measurement]:
        """What a measure says; what it said before the run was stopped lies in its folder and is read."""
        place = self.run.folder / "work" / f"measure-{number}"
        if (place / ROWS).is_file():
            return measurements_in(place / ROWS)
        entry = self.tools.measures[name]
        with working_in(place, shared=self.run.folder / "work"):
            rows = rows_of(entry, model, data, options, seed=self.recipe.seed, read=self.tools.read)
        if leads():
            atomic_write(place / ROWS, "".join(row.to_json() + "\n" for row in rows))
        return rows

    def timed(self, row: Measurement) -> None:
        """Keep what a step's training took."""
        if leads():
            self.run.add_training(row)

    def say(self, text: str) -> None:
        """Tell the user, and the run's own log."""
        if leads():
            self.run.log(text)
            self.log(f"{self.run.folder.name}: {text}")


def _read(recipe: Mapping[str, Any] | str | Path) -> Recipe:
    return Recipe.from_yaml(recipe) if isinstance(recipe, str | Path) else Recipe.from_dict(recipe)


def _finished(root: str | Path, recipe: Recipe, extra_hash: Mapping[str, str] | None) -> Run | None:
    """The finished run of a recipe, with its model, if there is one."""
    run = find(root, recipe.hash(extra_hash))
    if run is None or not run.finished:
        return None
    _ = run.model  # refused where it is gone
    return run
