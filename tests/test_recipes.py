"""The recipes of the project: what they name is there, what they ask for can be, and numbers are the published ones."""

import inspect
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import transformers

from sottovoce import MEASURES, METHODS
from sottovoce.data.corpora import CORPORA
from sottovoce.data.sources import ESPEAK, parts_of
from sottovoce.distillation.plan import Distillation, Student, matched
from sottovoce.gates.run import Pruning
from sottovoce.gates.targets import targets_of
from sottovoce.models.checkpoint import outline
from sottovoce.models.counting import parameters_by_part
from sottovoce.models.hub import find_shape
from sottovoce.models.shapes import SHAPES
from sottovoce.models.structure import settle
from sottovoce.models.teachers import teacher_folder, teacher_names
from sottovoce.models.widths import widths_from
from sottovoce.names import RANDOM
from sottovoce.recipe import Recipe
from sottovoce.registry import check_options
from sottovoce.tasks import TASKS
from sottovoce.training import Training

RECIPES = {path.stem: path for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))}
# Checkpoints of the Hub that recipes name, with the shape that each has.
CHECKPOINTS = {
    "facebook/wav2vec2-base": "wav2vec2-base",
    "facebook/wav2vec2-large": "wav2vec2-large",
    "vasista22/ccc-wav2vec2-base": "wav2vec2-base",
    "facebook/hubert-base-ls960": "hubert-base",
    "facebook/hubert-large-ll60k": "hubert-large",
    "microsoft/wavlm-base": "wavlm-base",
    "microsoft/wavlm-base-plus": "wavlm-base",
    "microsoft/wavlm-large": "wavlm-large",
}
CLEAN_100, SLURP = 28_539, 50_628  # utterances to train on


def points(name: str) -> list[Recipe]:
    """What a recipe does, each point of its grid."""
    return Recipe.from_yaml(RECIPES[name]).points()


def prunings(name: str) -> list[tuple[Recipe, dict[str, Any]]]:
    """The steps of learned pruning in a recipe, with all their options."""
    options = inspect.signature(METHODS["prune_jointly"].function).parameters
    defaults = {name: option.default for name, option in options.items()}
    return [
        (point, {**defaults, **check_options(METHODS["prune_jointly"], given)})
        for point in points(name)
        for method, given in point.steps
        if method == "prune_jointly"
    ]


GATED = [name for name in RECIPES if prunings(name)]


@cache
def shaped(model: str) -> Any:
    """A model of the shape of one that a recipe names, without a number in it."""
    place = teacher_folder(model) or CHECKPOINTS[model]
    config = find_shape(str(place))
    made = outline(transformers.AutoModel._model_mapping[type(config)], config, model)
    settle(made)
    return made


@pytest.mark.parametrize("name", RECIPES)
def test_names_and_options_of_every_point(name: str) -> None:
    Recipe.from_yaml(RECIPES[name]).check(METHODS, MEASURES)
    for point in points(name):
        shape = point.model.removeprefix(RANDOM)
        assert shape in (SHAPES if point.model != shape else [*teacher_names(), *CHECKPOINTS]), point.model
        for part in [part for name in (*point.data_names(), ESPEAK) for part in parts_of(name)]:
            corpus, _, piece = part.partition(":")
            assert corpus == ESPEAK or (corpus in CORPORA and (not piece or piece in CORPORA[corpus].parts)), part
        for method, options in point.steps:
            assert method != "finetune" or options["task"] in TASKS


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_how_to_run_it_and_what_it_points_to_is_there(name: str) -> None:
    head = RECIPES[name].read_text(encoding="utf-8").partition("\nmodel: ")[0]
    assert f"recipes/{name}.yaml" in head or "sottovoce measure" in head
    assert set(re.findall(r"recipes/([\w-]+)\.yaml", head)) <= RECIPES.keys()


@pytest.mark.parametrize("name", GATED)
def test_targets_can_be_met_and_states_are_there(name: str) -> None:
    for point, asked in prunings(name):
        model = shaped(point.model)
        Pruning(model, asked["units"], targets_of(asked["target"]), asked["gates"], seed=0)
        depth = model.config.num_hidden_layers
        assert matched(Distillation(student=Student(depth), match=asked["match"]), depth, depth)


def risen(train: Training) -> int:
    """Updates until the rate is as high as it gets."""
    return next(step for step in range(train.steps) if train.rate(step) >= train.lr) + 1


def epochs(count: int, utterances: int, batch: int) -> int:
    """So many epochs as updates."""
    return count * math.ceil(utterances / batch)


# Updates and warm-up with gates, and behind the cut; updates in which the target moves; fine-tuning before them.
HJ = (
    (epochs(30, CLEAN_100, 64), 3000),
    (epochs(10, CLEAN_100, 64), 1000),
    epochs(5, CLEAN_100, 64),
    (epochs(25, CLEAN_100, 64), 3000),
)
HJ_SLURP = (
    (epochs(50, SLURP, 80), 4000),
    (epochs(10, SLURP, 80), 1000),
    epochs(5, SLURP, 80),
    (epochs(50, SLURP, 80), 4000),
)
DPHUBERT = ((50_000, 15_000), (25_000, 5_000), 5_000, None)
PUBLISHED = {
    **dict.fromkeys(["hj-mac", "hj-mac-hubert", "hj-size", "hj-sepsize", "hj-transformer-only"], HJ),
    "hj-mac-slurp": HJ_SLURP,
    **dict.fromkeys(["dphubert", "dpwavlm", "dphubert-large", "dphubert-sizes", "dphubert-whole-front-end"], DPHUBERT),
    "dphubert-one-step": (DPHUBERT[0], None, 5_000, None),
}


def test_every_recipe_of_learned_pruning_has_its_published_updates() -> None:
    assert {name for name in GATED if not name.startswith("small-")} == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_updates_are_those_of_the_papers(name: str) -> None:
    pruned, finished, ramp, tuned = PUBLISHED[name]
    for point, asked in prunings(name):
        assert (asked["train"].steps, risen(asked["train"])) == pruned
        assert (asked["finish"] and (asked["finish"].steps, risen(asked["finish"]))) == finished
        assert round(asked["gates"].ramp * asked["train"].steps) == ramp
        before = [check_options(METHODS[method], options) for method, options in point.steps if method == "finetune"]
        assert [(each["train"].steps, risen(each["train"])) for each in before] == ([tuned] if tuned else [])


@pytest.mark.parametrize("name", ["hj-unpruned", "hj-unpruned-slurp"])
def test_unpruned_models_are_those_that_the_grids_begin_with(name: str) -> None:
    grid = points("hj-mac-slurp" if name.endswith("slurp") else "hj-mac")[0]
    assert all(point.steps == grid.steps[:1] and point.data == grid.data for point in points(name))


# What is left, in millions of parameters, as the papers' tables and figures have it.
LEFT = {
    "dphubert": [23.59],
    "dpwavlm": [23.59],
    "dphubert-large": [94.59],
    "dphubert-whole-front-end": [23.59],
    "dphubert-sizes": [89.7, 84.9, 80.2, 66.0, 47.3, 23.6, 18.9, 14.2, 9.4],
}


@pytest.mark.parametrize("name", LEFT)
def test_targets_leave_the_published_sizes(name: str) -> None:
    found = [
        targets_of(asked["target"])[0].left
        * sum(parameters_by_part(widths_from(find_shape(CHECKPOINTS[point.model]))).values())
        / 1e6
        for point, asked in prunings(name)
    ]
    assert found == pytest.approx(LEFT[name], abs=0.2)
