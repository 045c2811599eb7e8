"""Recipes: what YAML they take and give, their grid, their hash, and what they refuse before any work."""

import dataclasses
import doctest
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce import errors, files, registry, runs, signals
from sottovoce import recipe as recipe_module
from sottovoce.errors import SottovoceError
from sottovoce.recipe import Recipe
from sottovoce.registry import Entry, Registry

WHOLE = """\
model: facebook/hubert-base-ls960
data: runs/train.jsonl
seed: 3
steps:
- drop_layers: {keep: 9, by: knn}
- fold
- prune_heads:
    ratio: 1e-1
- drop_layers: {keep: 6}
measures:
- cost
- speed: {batch: 4}
vary:
  seed: [0, 1]
  steps.0.keep: [9, 8]
  steps.prune_heads.ratio: [0.1, 0.2, 0.3]
"""


def drop_layers(model: Any, data: Any = None, *, keep: int, by: Literal["first", "knn"] = "first") -> Any:
    """Drop whole layers."""


def prune_heads(model: Any, data: Any = None, *, ratio: float = 0.5) -> Any:
    """Prune heads."""


def fold(model: Any, data: Any = None) -> Any:
    """Fold."""


def speed(model: Any, data: Any = None, *, batch: int = 1) -> Any:
    """Time it."""


@pytest.fixture
def methods() -> Registry:
    names = Registry("method")
    for function in (drop_layers, prune_heads, fold):
        names.add(Entry(function.__name__, "method", function))
    return names


@pytest.fixture
def measures() -> Registry:
    names = Registry("measure")
    names.add(Entry("speed", "measure", speed))
    names.add(Entry("cost", "measure", fold))
    return names


def refusal(record: Any) -> str:
    """The sentence with which a recipe is refused; text goes the way of YAML."""
    with pytest.raises(SottovoceError) as error:
        Recipe.from_yaml(record) if isinstance(record, str | Path) else Recipe.from_dict(record)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_yaml_becomes_a_recipe() -> None:
    recipe = Recipe.from_yaml(WHOLE)
    assert (recipe.model, recipe.data, recipe.seed) == ("facebook/hubert-base-ls960", "runs/train.jsonl", 3)
    assert recipe.steps == (
        ("drop_layers", {"keep": 9, "by": "knn"}),
        ("fold", {}),
        ("prune_heads", {"ratio": 0.1}),
        ("drop_layers", {"keep": 6}),
    )
    assert recipe.measures == (("cost", {}), ("speed", {"batch": 4}))
    assert list(recipe.vary) == ["seed", "steps.0.keep", "steps.prune_heads.ratio"]


def test_a_recipe_is_written_as_it_was_read() -> None:
    recipe = Recipe.from_yaml(WHOLE)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert yaml.safe_load(recipe.to_yaml())["steps"][1] == "fold"
    assert Recipe("hubert").to_yaml() == "model: hubert\nseed: 0\n"
    recipe = Recipe("hubert", steps=(("m", {"a": "1e-4", "b": "2024-01-01", "c": 1e-5, "d": "no", "e": "1:30"}),))
    assert yaml.safe_load(recipe.to_yaml())["steps"] == [{"m": dict(recipe.steps[0][1])}]


def test_a_file_is_read_by_path_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.yaml").write_text("model: a")
    (tmp_path / "plain").write_bytes(b"\xef\xbb\xbfmodel: b")
    monkeypatch.chdir(tmp_path)
    assert Recipe.from_yaml("r.yaml").model == "a"
    assert Recipe.from_yaml(tmp_path / "r.yaml").model == "a"
    assert Recipe.from_yaml("plain").model == "b"
    assert Recipe.from_yaml("model: r.yaml\n").model == "r.yaml"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "give the path of the recipe" in refusal(str(tmp_path / "absent.yaml"))
    assert "is a folder, but the recipe is a file" in refusal(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("model: é".encode("latin-1"))
    assert "is not UTF-8 text (byte 7)" in refusal(tmp_path / "latin.yaml")
    path = tmp_path / "r.yaml"
    path.write_text("model: a\nsed: 1")
    assert refusal(path).startswith(f"{path}: recipe has no key 'sed'; did you mean 'seed'?")
    path.write_text("model: a\n\nseed: [")
    assert refusal(path).startswith(f"{path}, line 3: ")


def test_the_callers_objects_stay_the_callers() -> None:
    options = {"keep": 9, "layers": [1]}
    grid: dict[str, list[Any]] = {"seed": [0]}
    recipe = Recipe("a", steps=(("drop_layers", options),), vary=grid)
    options["layers"].append(2)
    grid["seed"].append(1)
    assert recipe.steps[0][1]["layers"] == [1]
    assert recipe.vary == {"seed": [0]}
    assert Recipe("a", steps=(("m", {"keep": (1,)}),)).steps[0][1] == {"keep": [1]}, "as YAML would say it"
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "recipe is empty; it needs at least the line 'model: ...'."),
        ("# nothing\n", "recipe is empty; it needs at least the line 'model: ...'."),
        ("model: a\nsteps: [", "recipe, line 2: "),
        ("model: a\nseed: 1\nseed: 2", "recipe, line 3: the key 'seed' is given twice."),
        ("model: a\nsteps:\n- m: {keep: 9,\n    keep: 8}", "recipe, line 4: the key 'keep' is given twice."),
        ("model: a\n\tseed: 1", "recipe, line 2: found character '\\t'"),
        ("model: a\n---\nmodel: b", "recipe, line 2: expected a single document in the stream but found another"),
        ("model: !!python/object/apply:os.system [ls]", "recipe, line 1: a value with the tag '!!python/object/"),
        ("model: a\nseed: \x07", "recipe, line 2: a character that YAML does not allow."),
        ("seed: !!int nine", "recipe, line 1: 'nine' has the tag !!int, but is none."),
        ("seed: " + "[" * 1200, "recipe, line 1: nested more than 64 deep."),
        ("model: a\nsteps: [{m: &x {a: *x}}]", "recipe, line 2: an alias inside the value that it names."),
    ],
)
def test_bad_yaml_is_one_sentence_with_its_line(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


def test_yaml_may_be_short() -> None:
    merged = "{model: a, steps: [{m: &x {a: 1, b: 2}}, {m: {<<: *x, b: 3}}]}"
    assert Recipe.from_yaml(merged).steps[1][1] == {"a": 1, "b": 3}
    assert Recipe.from_yaml("model: a\ndata:\nsteps:\n- fold:\nmeasures:\nvary:\n") == Recipe(
        "a", steps=(("fold", {}),)
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("just text", "recipe is a text, but a mapping is wanted. Keys: model, data, seed, steps, measures, vary."),
        (["a"], "recipe is a list, but a mapping is wanted. Keys: "),
        (3, "recipe is 3, but a mapping is wanted. Keys: "),
        (
            {"model": "a", "sed": 1},
            "recipe has no key 'sed'; did you mean 'seed'? Keys: model, data, seed, steps, meas",
        ),
        ({"model": "a", 1: 1}, "recipe has no key '1'. Keys: "),
        ({"seed": 1}, "recipe needs the key 'model': a Hub id or a folder."),
        ({"model": None}, "recipe: model=None, but a Hub id or a folder is wanted."),
        ({"model": " "}, "recipe: model=' ', but a Hub id or a folder is wanted."),
        ({"model": ["a"]}, "recipe: model=['a'], but "),
        ({"model": "a", "data": 3}, "recipe: data=3, but the name of a corpus or manifest is wanted."),
        ({"model": "a", "seed": "1"}, "recipe: seed='1', but an int from 0 to 4294967295 is wanted."),
        ({"model": "a", "seed": True}, "recipe: seed=True, but an int"),
        ({"model": "a", "seed": -1}, "recipe: seed=-1, but an int"),
        ({"model": "a", "seed": 2**32}, "recipe: seed=4294967296, but an int"),
        ({"model": "a", "steps": "fold"}, "recipe: steps is a text, but a list is wanted: steps and measures are"),
        ({"model": "a", "steps": {"fold": {}}}, "recipe: steps is a mapping, but a list is wanted: "),
        ({"model": "a", "measures": 3}, "recipe: measures is 3, but a list is wanted: "),
        ({"model": "a", "steps": [3]}, "recipe: item 1 of steps is 3: steps and measures are lists of a name, or of"),
        ({"model": "a", "steps": ["fold", {"a": {}, "b": {}}]}, "recipe: item 2 of steps is {'a': {}, 'b': {}}: "),
        ({"model": "a", "steps": [["fold", {}]]}, "recipe: item 1 of steps is ['fold', {}]: "),
        ({"model": "a", "steps": [{}]}, "recipe: item 1 of steps is {}: "),
        ({"model": "a", "steps": [{3: {}}]}, "recipe: item 1 of steps is (3, {}): "),
        ({"model": "a", "measures": [{"speed": 4}]}, "recipe: item 1 of measures (speed) has 4, but {option: value}"),
        (
            {"model": "a", "steps": [{"m": {3: 4}}]},
            "recipe: steps: the name of an option of m=3, but a text is wanted.",
        ),
        ({"model": "a", "steps": [{"m": {"k": {1}}}]}, "recipe: item 1 of steps (m): only text, numbers, true, false"),
        (
            {"model": "a", "vary": ["seed"]},
            "recipe: vary is a list, but a mapping is wanted, such as {seed: [0, 1, 2]}",
        ),
        ({"model": "a", "vary": {"seed": []}}, "vary: seed=[], but a list of at least one value is wanted."),
        ({"model": "a", "vary": {"seed": 3}}, "vary: seed=3, but a list of at least one value is wanted."),
        ({"model": "a", "vary": {3: [1]}}, "recipe: a key of vary=3, but a text is wanted."),
        ({"model": "a", "vary": {"sed": [1]}}, "vary has no key 'sed'; did you mean 'seed'? Keys: model, data, seed, "),
        ({"model": "a", "vary": {"steps.keep": [1]}}, "vary has no key 'steps.keep'. Keys: "),
        ({"model": "a", "vary": {"steps.0.": [1]}}, "vary has no key 'steps.0.'. Keys: "),
        ({"model": "a", "vary": {"vary.0.a": [1]}}, "vary has no key 'vary.0.a'. Keys: "),
        ({"model": "a", "vary": {"seed": [0, "a"]}}, "vary: seed: recipe: seed='a', but an int"),
        ({"model": "a", "vary": {"model": ["b", None]}}, "vary: model: recipe: model=None, but"),
        (
            {"model": "a", "steps": ["fold"], "vary": {"steps.1.keep": [1]}},
            "vary: 'steps.1.keep', but the recipe has 1 steps, counted from 0.",
        ),
        (
            {"model": "a", "steps": ["fold", "fold"], "vary": {"steps.fold.keep": [1]}},
            "vary: 'steps.fold.keep', but fold is 2 times in steps (0: fold, 1: fold); give its number.",
        ),
        (
            {"model": "a", "steps": ["fold"], "vary": {"steps.drop.keep": [1]}},
            "vary: 'steps.drop.keep', but drop is not in steps (0: fold); give its number.",
        ),
        (
            {"model": "a", "steps": ["fold"], "vary": {"steps.fold.keep": [1], "steps.0.keep": [2]}},
            "vary: 'steps.fold.keep' and 'steps.0.keep' are the same option; give it once.",
        ),
    ],
)
def test_what_is_no_recipe_is_refused_in_a_sentence(record: Any, message: str) -> None:
    assert refusal(record).startswith(message)


def test_points_are_the_product_in_the_order_of_nested_loops() -> None:
    points = Recipe.from_yaml(WHOLE).points()
    found = [(point.seed, point.steps[0][1]["keep"], point.steps[2][1]["ratio"]) for point in points]
    assert found == [(seed, keep, ratio) for seed in (0, 1) for keep in (9, 8) for ratio in (0.1, 0.2, 0.3)]
    for point in points:
        assert point.vary == {}
        assert point.steps[0][1]["by"] == "knn", "options that do not vary stay"
        assert point.steps[3] == ("drop_layers", {"keep": 6}), "the other step of the same method stays"
        assert point.measures == Recipe.from_yaml(WHOLE).measures
    assert len({point.hash() for point in points}) == 12


def test_two_options_of_one_step_vary_together() -> None:
    recipe = Recipe("a", steps=(("m", {"c": 5}),), vary={"steps.m.a": [1, 2], "steps.0.b": [3, 4]})
    expected = [{"c": 5, "a": a, "b": b} for a, b in [(1, 3), (1, 4), (2, 3), (2, 4)]]
    assert [point.steps[0][1] for point in recipe.points()] == expected
    assert recipe.points()[0].points() == recipe.points()[:1], "without a grid, a recipe is its only point"


def test_steps_and_measures_vary_as_a_whole() -> None:
    """Before and after a step, and with one more: what no option of a step can say."""
    tune = {"finetune": {"task": "asr", "train": {"steps": 100}}}
    cut = {"drop_layers": {"keep": 9}}
    grid: dict[str, list[Any]] = {"steps": [None, [tune], [cut, tune]], "measures": [["size"], ["size", "macs"]]}
    recipe = Recipe("a", vary=grid)
    made = recipe.points()
    assert [[name for name, _ in point.steps] for point in made[::2]] == [[], ["finetune"], ["drop_layers", "finetune"]]
    assert [len(point.measures) for point in made] == [1, 2] * 3 and len({point.hash() for point in made}) == 6
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    set_ = recipe.changed({"steps.finetune.train.steps": 5, "seed": 3}).points()
    assert [point.steps[-1][1]["train"]["steps"] for point in set_ if point.steps] == [5] * 4
    assert {point.seed for point in set_} == {3} and set_[4].steps[0] == ("drop_layers", {"keep": 9})
    assert recipe.vary["steps"][1] == [tune], "the recipe itself is as it was"
    for changes, says in (
        ({"steps.distill.loss": "arm"}, "distill is not in steps"),
        ({"steps": []}, "'steps' is varied by this recipe"),
    ):
        with pytest.raises(SottovoceError, match=says):
            recipe.changed(changes)
    for vary, says in (
        ({"steps": [[tune]], "steps.finetune.task": ["pr"]}, "finetune is not in steps"),
        ({"steps": [[tune], "fold it"]}, "steps is a text, but a list is wanted"),
        ({"steps": [[tune]], "seed": [0], "measures": [[{"a": 1, "b": 2}]]}, "item 1 of measures"),
        ({"steps": [["fold"] * 1001]}, "steps has 1,001 items"),
    ):
        with pytest.raises(SottovoceError, match=says):
            Recipe("a", vary=vary)
    with pytest.raises(SottovoceError, match="are of the same option; give it once"):
        Recipe("a", steps=(("finetune", {}),), vary={"steps": [[tune]], "steps.finetune.task": ["pr"]})
    with pytest.raises(SottovoceError, match="with 120000 steps and measures in all"):
        Recipe("a", measures=(("size", {}),) * 1, vary={"steps": [["fold"] * 399, []], "seed": list(range(150))})


def test_everything_named_may_vary() -> None:
    grid: dict[str, list[Any]] = {"model": ["b", "c"], "data": [None, "d"], "measures.speed.batch": [[1], [2, 3]]}
    points = Recipe("a", measures=(("cost", {}), ("speed", {})), vary=grid).points()
    assert {(point.model, point.data) for point in points} == {("b", None), ("b", "d"), ("c", None), ("c", "d")}
    assert [point.measures[1][1]["batch"] for point in points[:2]] == [[1], [2, 3]]
    assert points[0].measures[0] == ("cost", {})


def test_the_hash_is_the_same_in_every_process_and_release() -> None:
    recipe = Recipe.from_yaml(WHOLE)
    # A number that changes orphans every run that anyone has: change the format only on purpose.
    assert recipe.hash() == "c618708173d0"
    assert recipe.hash({"data": "abc", "sottovoce": "0.1.0"}) == "a626dc248588"
    code = (
        "import sys, types; package = types.ModuleType('sottovoce'); package.__path__ = [sys.argv[1]];"
        "sys.modules['sottovoce'] = package; "
        "from sottovoce.recipe import Recipe; print(Recipe.from_yaml(sys.argv[2]).hash())"
    )
    folder = str(Path(recipe_module.__file__).parent)
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, folder, WHOLE]
        assert subprocess.check_output(command, env={"PYTHONHASHSEED": seed}, text=True).strip() == recipe.hash()


def test_the_hash_knows_what_matters_and_nothing_else() -> None:
    recipe = Recipe("a", steps=(("m", {"a": 1, "b": 2}), ("n", {})))
    assert recipe.hash() == Recipe("a", steps=(("m", {"b": 2, "a": 1}), ("n", {}))).hash()
    others = [
        Recipe("b", steps=recipe.steps),
        Recipe("a", "d", steps=recipe.steps),
        Recipe("a", seed=1, steps=recipe.steps),
        Recipe("a", steps=recipe.steps[::-1]),
        Recipe("a", steps=(("m", {"a": 1, "b": 3}), ("n", {}))),
        Recipe("a", measures=recipe.steps),
        Recipe("a", steps=recipe.steps, measures=(("m", {}),)),
        Recipe("a", steps=recipe.steps, vary={"seed": [0]}),
    ]
    hashes = {recipe.hash(), recipe.hash({"data": "x"}), recipe.hash({"data": "y"}), *(one.hash() for one in others)}
    assert len(hashes) == len(others) + 3
    assert recipe.hash({"a": "1", "b": "2"}) == recipe.hash({"b": "2", "a": "1"})
    assert all(len(one) == 12 and int(one, 16) >= 0 for one in hashes)


def test_a_good_recipe_passes(methods: Registry, measures: Registry) -> None:
    Recipe.from_yaml(WHOLE).check(methods, measures)
    # A required option may come from the grid.
    Recipe("a", steps=(("drop_layers", {}),), vary={"steps.0.keep": [9, 8]}).check(methods, measures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"steps": ["fold", {"drop_lairs": {}}]},
            "step 2 (drop_lairs): unknown method 'drop_lairs'; did you mean 'drop_layers'?",
        ),
        (
            {"steps": ["fold", {"drop_layers": {"kep": 9}}]},
            "step 2 (drop_layers): drop_layers has no option 'kep'; did you mean 'keep'? Options: keep, by.",
        ),
        ({"steps": [{"drop_layers": {}}]}, "step 1 (drop_layers): drop_layers needs the option 'keep'"),
        ({"steps": [{"drop_layers": {"keep": "9"}}]}, "step 1 (drop_layers): drop_layers: keep='9', but an int"),
        ({"measures": ["cost", "sped"]}, "measure 2 (sped): unknown measure 'sped'; did you mean 'speed'?"),
        ({"measures": [{"speed": {"batch": 0.5}}]}, "measure 1 (speed): speed: batch=0.5, but an int is wanted."),
        (
            {"steps": ["drop_layers"], "vary": {"steps.0.keep": [9, "8"]}},
            "step 1 (drop_layers): drop_layers: keep='8', but an int is wanted.",
        ),
        ({"steps": ["fold"], "vary": {"steps.fold.keep": [9]}}, "step 1 (fold): fold has no option 'keep'"),
    ],
)
def test_a_wrong_name_or_option_is_refused_with_its_step(
    methods: Registry, measures: Registry, change: dict[str, Any], message: str
) -> None:
    recipe = Recipe.from_dict({"model": "a", **change})
    with pytest.raises(SottovoceError) as error:
        recipe.check(methods, measures)
    assert str(error.value).startswith(message)


# --- any recipe, any text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
STEPS = st.lists(st.tuples(NAMES, st.dictionaries(NAMES, VALUES, max_size=3)), max_size=3).map(tuple)
RECIPES = st.builds(
    Recipe,
    model=TEXT.filter(str.strip),
    data=st.none() | TEXT,
    seed=st.integers(0, 2**32 - 1),
    steps=STEPS,
    measures=STEPS,
    vary=st.fixed_dictionaries(
        {}, optional={"seed": st.lists(st.integers(0, 9), min_size=1), "data": st.lists(TEXT, min_size=1)}
    ),
)


@settings(deadline=None)  # the first example builds what the others find built
@given(RECIPES)
def test_every_recipe_comes_back_from_its_yaml(recipe: Recipe) -> None:
    again = Recipe.from_yaml(recipe.to_yaml())
    assert again == recipe
    assert again.hash() == recipe.hash()


@settings(deadline=None)  # the first example builds what the others find built
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("model: seed[]{}-,&*!\n \t'\"0123456789"))
def test_any_text_is_a_recipe_or_refused_in_a_sentence(text: str) -> None:
    try:
        recipe = Recipe.from_yaml(f"{text}\n")
    except SottovoceError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(recipe, Recipe)


@settings(deadline=None)  # the first example builds what the others find built
@given(VALUES | st.fixed_dictionaries({"model": TEXT}, optional={"steps": VALUES, "measures": VALUES, "vary": VALUES}))
def test_any_yaml_value_is_a_recipe_or_refused(record: Any) -> None:
    try:
        recipe = Recipe.from_dict(record)
    except SottovoceError:
        return
    assert recipe.points()


DOCUMENTED = [*(getattr(files, name) for name in ("claims", "folders", "leftovers", "paths", "text", "work", "write"))]
DOCUMENTED += [errors, signals, recipe_module, registry, runs]


@pytest.mark.parametrize("module", DOCUMENTED, ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)
