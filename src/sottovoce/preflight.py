"""What a run will do, and what can be known of it before its first update: data, labels, shapes, disk."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import transformers

from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError, cut
from sottovoce.files import free_at
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.checkpoint import outline
from sottovoce.models.hub import find_shape
from sottovoce.models.structure import settle
from sottovoce.models.teachers import teacher_folder
from sottovoce.names import drawn
from sottovoce.recipe import Recipe, Step, explained, with_data
from sottovoce.registry import Registry, check_options
from sottovoce.studies.convexity import points_of
from sottovoce.tasks import TASKS, find_task
from sottovoce.tasks.probe import check_answers
from sottovoce.tasks.states import BYTES, ROOM
from sottovoce.tasks.task import Material, material, require
from sottovoce.training import Training

FRAMES = 50  # of states for a second of audio
WEIGHT = 4  # bytes of a parameter that a finished training keeps
CHECKPOINTS = 24  # bytes of a parameter in a checkpoint with two moments, and in the next one while it is written

Read = Callable[[str], Sequence[Utterance]]


def check_run(recipe: Recipe, root: str | Path, *, methods: Registry, measures: Registry, read: Read) -> None:
    """Refuse now what would stop a run later: a split without labels, a cut that no layer allows, a disk too small.

    Steps are taken on a model without numbers, as far as their outcome is known beforehand; a model whose shape is not
    on this machine yet, or a step whose outcome hangs on speech, ends that part of the check.

    Example:
        >>> check_run(Recipe("small-hubert"), "runs", methods=sv.METHODS, measures=sv.MEASURES, read=sv.read_data)
    """
    model = shape_of(recipe.model)
    check_disk(recipe, model, Path(root), methods)
    for number, (name, whole) in enumerate(recipe.steps, start=1):
        with explained(f"step {number} ({cut(name)})"):
            data, options = data_and_options(recipe, name, whole, methods, read)
            if name == "finetune":
                check_labels(options["task"], splits_of(options["task"], data, options), "dev")
            model = after(model, methods[name].outline, options)
    for number, (name, whole) in enumerate(recipe.measures, start=1):
        with explained(f"measure {number} ({cut(name)})"):
            data, options = data_and_options(recipe, name, whole, measures, read)
            if name in TASKS:
                check_task_measure(name, data, options, model, Path(root))
            if name == "convexity":
                check_concepts(options.get("of", ["keywords"]), data)


def check_disk(recipe: Recipe, model: Any, root: Path, methods: Registry) -> None:
    """Refuse a run whose checkpoints no disk holds: those of one training twice, and the weights of all others."""
    if model is None:
        return
    counts = [trainings(check_options(methods[name], with_data((name, given))[1])) for name, given in recipe.steps]
    if not any(counts):
        return
    wanted = sum(p.numel() for p in model.parameters()) * (CHECKPOINTS + WEIGHT * sum(counts))
    if wanted > ROOM * free_at(root):
        raise SottovoceError(
            f"its checkpoints take up to {wanted / 1e9:.1f} GB, and {free_at(root) / 1e9:.1f} GB are free; give a "
            "folder on another disk."
        )


def trainings(options: Mapping[str, Any]) -> int:
    """How many trainings a step has, by its options.

    Example:
        >>> trainings({"train": Training(steps=100), "rounds": 1})
        1
    """
    heal = options.get("heal")
    rounds = options.get("rounds", 1) if heal is not None and heal.trains else 0
    return rounds + sum(isinstance(value, Training) for value in options.values())


def data_and_options(
    recipe: Recipe, name: str, whole: Mapping[str, Any], known: Registry, read: Read
) -> tuple[Sequence[Utterance] | None, dict[str, Any]]:
    """The data of a step or measure, and its options as its function gets them."""
    own, options = with_data((name, whole))
    named = recipe.data if own is None else own
    return None if named is None else read(named), check_options(known[name], options)


def shape_of(name: str) -> Any:
    """A model without numbers for a name, if what it looks like is on this machine; else None.

    Example:
        >>> shape_of("small-hubert").device
        device(type='meta')
    """
    place = drawn(name) or (name if Path(name).is_dir() else teacher_folder(name))
    if place is None:
        return None
    config = find_shape(str(place))
    known = transformers.AutoModel._model_mapping
    if type(config) not in known:
        return None
    made = outline(known[type(config)], config, name)
    settle(made)
    return made


def after(model: Any, outlined: Callable[..., Any] | None, options: Mapping[str, Any]) -> Any:
    """The model without numbers behind a step; None from where its shape is not known."""
    if model is None or outlined is None:
        return None
    return model if outlined(model, **options) else None


def splits_of(task: str, data: Sequence[Utterance] | None, options: Mapping[str, Any]) -> dict[str, Material]:
    """The splits of some data for a task, as the step or measure will take them."""
    return material(find_task(task), data, limit=options.get("limit"), seed=options.get("seed", 0))


def check_labels(name: str, splits: dict[str, Material], scored: str) -> None:
    """Refuse a training split that is not there, or that lacks labels of the split to be scored."""
    task = TASKS[name]
    require(task, splits, "train")
    check_answers(task, splits, task.kind.labels(splits["train"].answers), scored)


def check_task_measure(
    name: str, data: Sequence[Utterance] | None, options: Mapping[str, Any], model: Any, root: Path
) -> None:
    """Refuse a measure of a task whose splits are not there, or whose states no disk holds."""
    mode, splits = options.get("mode", "auto"), splits_of(name, data, options)
    require(TASKS[name], splits, "test")
    if mode in ("probe", "finetune"):
        check_labels(name, splits, "test")
    lessons = options.get("train")
    kept = lessons is not None and lessons.states == "kept"
    if mode != "probe" or model is None or TASKS[name].kind.pooled or not kept:
        return
    layer, body = options.get("layer", "sum"), Anatomy(model)
    states = 1 if isinstance(layer, int) else len(body.order) + 1
    seconds = sum(u.seconds for split in ("train", "test") for u in splits[split].utterances)
    wanted = seconds * FRAMES * states * body.setting("hidden_size") * BYTES
    free = free_at(root)
    if wanted > ROOM * free:
        raise SottovoceError(
            f"its probe is to keep {wanted / 1e9:.0f} GB of states, and {free / 1e9:.0f} GB are free; leave "
            "train.states=kept out, or take one layer (layer=9), fewer utterances (limit=2000), or another disk."
        )


def check_concepts(concepts: Sequence[str], data: Sequence[Utterance] | None) -> None:
    """Refuse concepts of convexity that no utterance has a label for.

    Example:
        >>> check_concepts(["keywords", "phones"], data)
    """
    for concept in concepts:
        if concept in TASKS:
            points_of(TASKS[concept], data, limit=1, classes=None, seed=0)


def some(data: Sequence[Any], limit: int | None, seed: int) -> Sequence[Any]:
    """So many utterances of each split and task, by chance; all of them without a limit.

    Example:
        >>> len(some(data, 2, seed=0)) <= 2 * 3
        True
    """
    if limit is None:
        return data
    if limit < 1:
        raise SottovoceError(f"limit={limit}, but at least 1 utterance of a split is wanted.")
    groups: dict[tuple[Any, Any], list[int]] = {}
    for number, utterance in enumerate(data):
        groups.setdefault((utterance.split, utterance.task), []).append(number)
    kept: set[int] = set()
    for key, numbers in groups.items():
        kept.update(numbers if len(numbers) <= limit else random.Random(f"{seed}/{key}").sample(numbers, limit))
    return [utterance for number, utterance in enumerate(data) if number in kept]


def told_in_words(point: Recipe) -> str:
    """A point's model, data, steps and measures in a line.

    Example:
        >>> told_in_words(Recipe("hubert", steps=(("drop_layers", {"keep": 9}),), measures=(("size", {}),)))
        "hubert; steps: drop_layers(keep=9); measures: size()"
    """

    def listed(steps: Sequence[Step]) -> str:
        return ", ".join(f"{name}({', '.join(f'{k}={v!r}' for k, v in given.items())})" for name, given in steps)

    parts = [point.model, *([f"data: {point.data}"] if point.data else [])]
    parts += [
        f"{name}: {listed(steps)}" for name, steps in (("steps", point.steps), ("measures", point.measures)) if steps
    ]
    return "; ".join(parts)
