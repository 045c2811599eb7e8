"""Every recipe, its grid included, runs from its first step to its last measure: thin models, few updates."""

import copy
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from speech import toy, toys
from test_preflight import corpora, reader
from test_recipes import CHECKPOINTS, RECIPES

import sottovoce as sv
from sottovoce import execution, names
from sottovoce.data.utterance import Utterance
from sottovoce.distillation import student
from sottovoce.files import working_in
from sottovoce.models.hub import find_shape
from sottovoce.models.teachers import teacher_folder
from sottovoce.names import RANDOM
from sottovoce.pretraining import pseudo_labels
from sottovoce.recipe import Recipe

assert corpora  # a fixture
THIN = 4  # numbers of a head
CHANNELS = 8
# What is made small in a recipe, wherever it stands in it; sizes that methods ask for (layers, heads, units) stay.
SMALL: dict[str, Any] = {
    "validate_every": 1,
    "batch": 4,
    "batch_seconds": 8.0,
    "clusters": 6,
    "limit": 24,
    "repeats": 1,
    "frames": 200,
    "postpone": 1,
    "before": 1,
    "probe_every": 2,
    "pairs": 50,
}


def shrunk(value: Any, key: str = "") -> Any:
    """A recipe with few updates, small batches and narrow channels."""
    if key == "steps" and isinstance(value, int):
        return 2
    if key == "steps" and isinstance(value, list) and all(isinstance(each, int) for each in value):
        return [1] * len(value)
    if key == "channels":
        return [CHANNELS + 4] * len(value)
    if key == "precision":
        return "bf16"
    if key in SMALL and value is not None:
        return min(value, SMALL[key])
    if key == "convexity" and isinstance(value, dict):  # of the few recordings here, few are neighbours
        value = {**value, "k": 2}
    if isinstance(value, dict):
        return {name: shrunk(each, name) for name, each in value.items()}
    return [shrunk(each) for each in value] if isinstance(value, list) else value


def thin(name: str) -> Any:
    """A model with the layers, heads and units of one that a recipe names, but narrow, and with a unit head beside."""
    shape = CHECKPOINTS.get(name.removeprefix(RANDOM), name.removeprefix(RANDOM))
    config = copy.deepcopy(find_shape(str(teacher_folder(name) or shape)))
    heads = config.num_attention_heads
    config.hidden_size = THIN * heads
    config.num_conv_pos_embedding_groups = heads
    if getattr(config, "conv_dim", None):
        config.conv_dim = [CHANNELS] * len(config.conv_dim)
    return sv.new(config, seed=1)


def heard(found: list[Utterance], *, unclear: bool) -> list[Utterance]:
    """At least a dozen of each split; with `unclear`, with labels that no state tells apart better than another."""
    splits = Counter(utterance.split for utterance in found)
    made: list[Utterance] = []
    for utterance in found:
        made.append(utterance)
        for number in range(1, -(-12 // splits[utterance.split])):
            sound = toy(utterance.split or "train", 100 * number + len(made))
            phones = sound.phones if utterance.phones else None
            copied = replace(utterance, id=f"{utterance.id}-copy{number}", audio=sound.audio, seconds=sound.seconds)
            made.append(replace(copied, phones=phones))
    names = sorted({u.label for u in made if u.label is not None})
    if not unclear:
        return made
    return [replace(u, label=u.label and names[zlib.crc32(u.id.encode()) % len(names)]) for u in made]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_to_its_end(name: str, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    def get_model(named: str) -> Any:
        if named not in made:
            task = next((task for task in sv.TASKS if named.endswith(f"-{task}")), None)
            with working_in(tmp_path / f"making-{len(made)}"):
                model = sv.pretrain(thin(named), toys(), units={"clusters": 6}, train={"steps": 1}, batch_seconds=4)
                # One that comes fine-tuned knows the labels of what it hears here.
                made[named] = sv.finetune(model, toys(), task=task, train={"steps": 1}, batch=4) if task else model
        return copy.deepcopy(made[named])

    read = reader(corpora)
    unclear = name.endswith("convexity-cut")  # tones lie convex before the first layer, which leaves nothing to keep
    monkeypatch.setattr(execution, "get_data", lambda named, **rest: heard(read(named), unclear=unclear))
    for module in (names, student, pseudo_labels):
        monkeypatch.setattr(module, "load", get_model)
    monkeypatch.setattr(names, "new", lambda shape: get_model(f"{RANDOM}{shape}"))
    monkeypatch.setattr(execution, "check_run", lambda *given, **named: None)  # it knows the checkpoints' real shapes
    recipe = Recipe.from_dict(shrunk(Recipe.from_yaml(RECIPES[name]).to_dict()))
    runs = sv.run(recipe, tmp_path / "runs", log=lambda text: None)
    assert len(runs) == len(recipe.points())
    for run, point in zip(runs, recipe.points(), strict=True):
        assert {row.measure for row in run.measurements()} == {measure for measure, _ in point.measures}
        if point.steps:
            assert run.model is not None and sv.size(sv.load(run.model))[0].value > 0
