"""The whole analysis of a model: which measures it takes, run as a recipe, shared out if need be, and its page."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sottovoce.data.utterance import Utterance
from sottovoce.errors import unknown
from sottovoce.execution import Tools, execute, run_stamps
from sottovoce.files import atomic_write, own_folder, tidy, working_in
from sottovoce.measures import MEASURES
from sottovoce.methods import METHODS
from sottovoce.names import get_data, get_model
from sottovoce.recipe import Recipe, Step
from sottovoce.report.analysis import analysis_page
from sottovoce.runs import Run, find, folder_of
from sottovoce.steps import seeded
from sottovoce.studies.chunks import Unfinished, sharing
from sottovoce.tasks import TASKS
from sottovoce.tasks.task import material
from sottovoce.training import processes

PAGE = "analysis.html"
READINGS = ("flatten", "mean", "frames")
PARTS = ("similarity", "consistency", "convexity", "attention", "probes", "cost")
# What the papers say, where it differs from the defaults (arXiv 2409.16302 and 2408.11858).
AS_PAPER: dict[str, dict[str, Any]] = {
    "similarity": {"reading": "flatten", "batch": 128, "seconds": 1.0, "k": 8, "limit": 640, "embedding": False},
    "convexity": {"k": 10, "pairs": 5000},
}
CONCEPTS = ("keywords", "speakers", "phones", "emotion", "intents")


def steps_of(parts: Sequence[Step], data: Sequence[Utterance], *, as_paper: bool = False) -> list[Step]:
    """The measures of some parts (all, if none is named), for what the data has labels of.

    Example:
        >>> steps_of([("cost", {})], [])
        [('size', {}), ('macs', {}), ('speed', {})]
    """
    known = [name for name in CONCEPTS if has_labels(name, data)]
    steps: list[Step] = []
    for name, options in parts or [(part, {}) for part in PARTS]:
        given = {**(AS_PAPER.get(name, {}) if as_paper else {}), **options}
        if name == "similarity" and "reading" not in given:
            steps += [(name, {"reading": reading, **given}) for reading in READINGS]
        elif name == "convexity" and "of" not in given and known:
            steps.append((name, {"of": known, **given}))
        elif name == "probes":
            steps += [(task, {"mode": "probe", "layer": "each", **given}) for task in known]
        elif name == "cost":
            steps += [(measure, dict(given) if measure == "speed" else {}) for measure in ("size", "macs", "speed")]
        elif name in MEASURES:
            steps.append((name, given))
        elif name not in PARTS:
            raise unknown("part", name, [*PARTS, *MEASURES])
    return steps


def has_labels(name: str, data: Sequence[Utterance]) -> bool:
    """Whether a task can be learnt and scored on some data, with more than one class."""
    splits = material(TASKS[name], data)
    answers = [answer for part in splits.values() for answer in part.answers]
    return bool(splits["train"]) and bool(splits["test"]) and (not TASKS[name].kind.pooled or len(set(answers)) > 1)


def analyze(
    model: str,
    data: str,
    output: str | Path,
    *,
    parts: Sequence[Step] = (),
    as_paper: bool = False,
    seed: int = 0,
    shard: tuple[int, int] | None = None,
    skip_bad: bool = False,
    log: Callable[[str], object] = print,
) -> Run | None:
    """Analyse a model, by name, on speech, by name: a run below `output`, with its page; None while shards are missing.

    What was measured before it was stopped is read and not measured again. With `shard=(1, 4)` only the first quarter
    of each pass is worked out; the same call without it puts all of them together.

    Example:
        >>> run = analyze("my-model", "speech", "out", parts=[("size", {})], log=lambda text: None)
        >>> (run.folder / "analysis.html").exists()
        True
    """
    known = get_data(data, skip_bad=skip_bad, tell=log)
    stamps = run_stamps([model], {data: known})
    recipe = Recipe(model, data, seed, measures=tuple(steps_of(parts, known, as_paper=as_paper)))
    recipe.check(METHODS, MEASURES)
    # One folder an analysis: when one is done and its chunks are removed, those of others stay.
    chunks = Path(output) / "chunks" / recipe.hash(stamps)
    if shard is not None and shard[1] > 1:
        with own_folder(chunks, "an analysis", hold=False), sharing(chunks, *shard):
            shared = [step for step in recipe.measures if MEASURES[step[0]].shares]
            return take_part(shared, recipe, get_model(model), known, chunks, log)
    state = processes()
    with own_folder(chunks, "an analysis", hold=False), sharing(chunks):
        if not state.is_main_process:
            earlier = find(output, recipe.hash(stamps))
            done = earlier is not None and earlier.finished
            # Trainings of several processes must find the same checkpoints.
            work = folder_of(output, recipe, stamps) / "work"
            if not done:
                take_part(recipe.measures, recipe, get_model(model), known, work, log)
                state.wait_for_everyone()
            return None
        tools = Tools(read=lambda name: known)
        run = execute(recipe, output, tools=tools, extra_hash=stamps, log=log, wait=state.wait_for_everyone)
    tidy(chunks)
    with suppress(OSError):
        chunks.parent.rmdir()  # where no other analysis is under way
    about = f"{model} on {data}, {len(known):,} utterances; run {run.folder.name}, {run.record['started']}."
    atomic_write(run.folder / PAGE, analysis_page(f"Analysis of {model}", about, run.measurements()))
    return run


def take_part(
    steps: Sequence[Step],
    recipe: Recipe,
    model: Any,
    data: list[Utterance],
    work: Path,
    log: Callable[[str], object],
) -> None:
    """Work out one share of some measures, and leave their results to whoever puts them together."""
    for number, (name, options) in enumerate(steps, start=1):
        try:
            with working_in(work / f"measure-{number}"):
                MEASURES[name](model, data, **seeded(MEASURES[name], options, recipe.seed))
        except Unfinished as waiting:
            log(str(waiting))
