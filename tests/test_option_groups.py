"""Options in groups: a frozen dataclass as one option, in Python, in YAML and on the command line."""

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from conftest import tiny

import sottovoce as sv
from sottovoce import registry
from sottovoce.cli.listing import option_lines
from sottovoce.errors import SottovoceError
from sottovoce.files import load_yaml
from sottovoce.options import options_of
from sottovoce.recipe import Recipe
from sottovoce.registry import Entry, Registry, check_options, describe, parse_options, parse_step
from sottovoce.training import Training


@dataclass(frozen=True)
class Warm:
    """How long it is warm."""

    steps: int = 3
    kind: Literal["slow", "fast"] = "slow"
    shares: tuple[float, ...] = ()
    above: float | None = None
    seed: int = field(default=0, metadata={"option": False})

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise SottovoceError(f"steps={self.steps}, but at least 0 is wanted.")


@dataclass(frozen=True)
class Named:
    """A group that has no default."""

    name: str
    warm: Warm = Warm(steps=7)


def cook(
    model: Any,
    data: Any = None,
    *,
    warm: Warm = Warm(steps=5, kind="fast"),
    maybe: Warm | None = None,
    hot: bool = False,
    seed: int = 0,
) -> Any:
    """Cook it."""


def name_it(model: Any, data: Any = None, *, named: Named) -> Any:
    """Name it."""


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"steps": 9}, Warm(9, "fast")),
        ({}, Warm(5, "fast")),
        ({"kind": "slow", "shares": [1, 0.5]}, Warm(5, "slow", (1.0, 0.5))),
        ({"above": None}, Warm(5, "fast")),
        (Warm(4), Warm(4)),
        (Warm(shares=(0.5,), above=1.5), Warm(shares=(0.5,), above=1.5)),
    ],
)
def test_a_mapping_is_merged_over_the_functions_default_and_a_dataclass_is_taken_as_it_is(
    given: Any, made: Warm
) -> None:
    found = check_options(cook, {"warm": given})["warm"]
    assert found == made and type(found.shares) is tuple
    assert (found is given) is isinstance(given, Warm)


def test_an_optional_group_is_left_out_or_merged_over_the_dataclasss_defaults() -> None:
    assert check_options(cook, {"maybe": None}) == {"maybe": None}
    assert check_options(cook, {"maybe": {"kind": "fast"}}) == {"maybe": Warm(3, "fast")}
    assert check_options(cook, {}) == {}, "defaults are not filled in"


def test_a_group_in_a_group() -> None:
    assert check_options(name_it, {"named": {"name": "a"}})["named"] == Named("a", Warm(7))
    assert check_options(name_it, {"named": {"name": "a", "warm": {"kind": "fast"}}})["named"] == Named(
        "a", Warm(7, "fast")
    )
    with pytest.raises(SottovoceError, match=r"^name_it: named needs 'name' \(a string\)\.$"):
        check_options(name_it, {"named": {}})
    with pytest.raises(SottovoceError, match=r"^name_it: named\.warm\.steps=1\.5, but an int is wanted\.$"):
        check_options(name_it, {"named": {"name": "a", "warm": {"steps": 1.5}}})
    with pytest.raises(SottovoceError, match=r"^name_it: named\.warm\.steps=-1, but at least 0 is wanted\.$"):
        check_options(name_it, {"named": {"name": "a", "warm": {"steps": -1}}})
    with pytest.raises(SottovoceError, match=r"^name_it needs the option 'named' \(a mapping\)"):
        check_options(name_it, {})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"warm": {"steps": "3"}}, "cook: warm.steps='3', but an int is wanted."),
    ({"warm": {"steps": 1.5}}, "cook: warm.steps=1.5, but an int is wanted."),
    ({"warm": {"steps": True}}, "cook: warm.steps=True, but an int is wanted."),
    ({"warm": {"steps": None}}, "cook: warm.steps=None, but an int is wanted."),
    ({"warm": {"steps": 2**63}}, f"cook: warm.steps={2**63}, but a number of at most 63 bits is wanted."),
    ({"warm": {"kind": "fats"}}, "cook: warm.kind='fats', but one of 'slow', 'fast' is wanted."),
    ({"warm": {"shares": [0.5, "1"]}}, "cook: warm.shares=[0.5, '1'], but a list of numbers is wanted."),
    ({"warm": {"above": float("nan")}}, "cook: warm.above=nan, but a finite number is wanted."),
    ({"warm": {"steps": -1}}, "cook: warm.steps=-1, but at least 0 is wanted."),
    ({"warm": Warm(steps=2.5)}, "cook: warm.steps=2.5, but an int is wanted."),  # pyright: ignore[reportArgumentType]
    (
        {"warm": {"stesp": 1}},
        "cook: warm has no option 'stesp'; did you mean 'steps'? Options: steps, kind, shares, above.",
    ),
    ({"warm": {3: 1}}, "cook: warm has no option '3'. Options: steps, kind, shares, above."),
    (
        {"warm": 4},
        "cook: warm=4, but a mapping is wanted, such as {steps: 4}. Options: steps, kind, shares, above.",
    ),
    (
        {"warm": [4]},
        "cook: warm=[4], but a mapping is wanted, such as {steps: 5}. Options: steps, kind, shares, above.",
    ),
    (
        {"warm": None},
        "cook: warm=None, but a mapping is wanted, such as {steps: 5}. Options: steps, kind, shares, above.",
    ),
    (
        {"maybe": "x"},
        "cook: maybe='x', but a mapping, or None (null in YAML), is wanted, such as {steps: 3}. "
        "Options: steps, kind, shares, above.",
    ),
    ({"warm": {"seed": 3}}, "cook: warm has no option 'seed'; it is an option of cook itself: seed=3."),
    ({"warm": Warm(seed=3)}, "cook: warm has no option 'seed'; it is an option of cook itself: seed=3."),
    ({"warm": {"hot": True}}, "cook: warm has no option 'hot'; it is an option of cook itself: hot=true."),
    ({"kind": "slow"}, "cook has no option 'kind'; it is warm.kind or maybe.kind now: warm: {kind: slow}."),
    ({"warm.steps": 3}, "cook has no option 'warm.steps'; write warm: {steps: 3}."),
    ({"warm.stesp": 3}, "cook has no option 'warm.stesp'. Options: warm, maybe, hot, seed."),
    ({"stesp": 3}, "cook has no option 'stesp'; did you mean 'warm.steps'? Options: warm, maybe, hot, seed."),
    ({"hto": 3}, "cook has no option 'hto'; did you mean 'hot'? Options: warm, maybe, hot, seed."),
]


@pytest.mark.parametrize(("given", "sentence"), REFUSED, ids=str)
def test_what_does_not_fit_is_refused_with_its_whole_name(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SottovoceError) as caught:
        check_options(cook, given)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("warm.steps=9", {"warm": {"steps": 9}}),
        ("warm.steps=9,hot=true,warm.kind=slow", {"warm": {"steps": 9, "kind": "slow"}, "hot": True}),
        ("warm.shares=[1,0.5],warm.above=1e-4", {"warm": {"shares": [1, 0.5], "above": 1e-4}}),
        ("warm={steps: 9, kind: slow}", {"warm": {"steps": 9, "kind": "slow"}}),
        ("warm={steps: 9},warm.kind=slow", {"warm": {"steps": 9, "kind": "slow"}}),
        ("maybe=null", {"maybe": None}),
        ("warm={}", {"warm": {}}),
        ("warm.above=null", {"warm": {"above": None}}),
    ],
)
def test_the_command_lines_form_comes_out_as_in_a_recipe(text: str, options: dict[str, Any]) -> None:
    found = parse_options(cook, text)
    assert found == options and json.loads(json.dumps(found)) == options
    assert check_options(cook, found) == check_options(cook, options)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "warm.stesp=9",
            "cook: warm has no option 'stesp'; did you mean 'steps'? Options: steps, kind, shares, above.",
        ),
        ("warm.=9", "cook: warm has no option ''. Options: steps, kind, shares, above."),
        ("warm.steps.more=9", "cook: warm has no option 'steps.more'; did you mean 'steps'? Options: steps, kind, "),
        ("warm.seed=9", "cook: warm has no option 'seed'; it is an option of cook itself: seed=9."),
        ("hot.more=9", "cook has no option 'hot.more'. Options: warm, maybe, hot, seed."),
        ("steps=9", "cook has no option 'steps'; it is warm.steps or maybe.steps now: warm: {steps: 9}."),
        ("warm=9", "cook: warm=9, but a mapping is wanted, such as {steps: 9}."),
        ("warm=null", "cook: warm=None, but a mapping is wanted, such as {steps: 5}."),
        ("warm.steps=9,warm.steps=9", "cook: the option 'warm.steps' is given twice; give it once."),
        ("warm={steps: 9},warm.steps=9", "cook: the option 'warm.steps' is given twice; give it once."),
        ("warm.steps=9,warm={steps: 9}", "cook: the option 'warm' is given twice; give it once."),
        ("maybe=null,maybe.steps=9", "cook: the option 'maybe.steps' is given twice; give it once."),
        ("warm.steps='9'", "cook: warm.steps='9', but an int is wanted."),
        ("warm={steps: 1.5}", "cook: warm.steps=1.5, but an int is wanted."),
    ],
)
def test_a_bad_line_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SottovoceError) as caught:
        parse_options(cook, text)
    assert str(caught.value).startswith(sentence)


def test_groups_are_described_with_their_options_and_listed_by_whole_names() -> None:
    told = json.loads(json.dumps(describe(Entry("cook", "method", cook))))["options"]
    assert told[0]["name"] == "warm" and told[0]["type"] == "Warm" and told[1]["type"] == "Warm | None"
    assert (
        told[0]["default"] == {"steps": 5, "kind": "fast", "shares": [], "above": None} and told[1]["default"] is None
    )
    assert told[0]["options"][0] == {"name": "steps", "type": "int", "default": 5, "required": False}
    assert [option["name"] for option in told[1]["options"]] == ["steps", "kind", "shares", "above"]
    lines = list(option_lines(told))
    assert lines[:2] == ["warm.steps: int, 5 if not given", "warm.kind: Literal['slow', 'fast'], 'fast' if not given"]
    assert lines[4:6] == ["maybe: null leaves it out", "maybe.steps: int, 3 if not given"]
    needed = list(option_lines(describe(Entry("name_it", "method", name_it))["options"]))
    assert needed[:2] == ["named.name: str, needed", "named.warm.steps: int, 7 if not given"]


def test_what_is_no_frozen_dataclass_is_no_group() -> None:
    @dataclass
    class Loose:
        steps: int = 0

    def loose(model: Any, data: Any = None, *, a: Loose = Loose(), b: int | Warm = 1) -> Any:
        """Loosely."""

    assert all(not option.fields for option in options_of(loose).values())
    assert check_options(loose, {"a": 3, "b": 3}) == {"a": 3, "b": 3}


# What every method that trains is made of.
TRAINED = {name for name, entry in sv.METHODS.items() if entry.takes("train")}


def group(method: str, name: str) -> Mapping[str, Any]:
    return options_of(inspect.unwrap(sv.METHODS[method].function))[name].fields


def test_every_method_that_trains_has_every_option_of_a_training() -> None:
    assert {"finetune", "pretrain", "distill", "mimic", "prune_jointly", "share_layers"} == TRAINED
    for method in TRAINED:
        assert set(group(method, "train")) == {*Training.__dataclass_fields__} - {"seed", "log_every"}
        assert sv.METHODS[method].takes("seed")
    assert set(group("mimic", "task_train")) == set(group("mimic", "train"))
    for method in ("drop_layers", "prune_heads", "prune_ffn", "prune_weights"):
        assert set(group(method, "heal")) == {"steps", "lr", "batch", "before"}
    assert (group("drop_layers", "heal")["batch"].default, group("prune_ffn", "heal")["batch"].default) == (16, 4)


def test_yaml_the_line_and_python_say_the_same_training() -> None:
    wanted = Training(steps=10, lr=1e-4, warmup=0.08, save_seconds=120.0, log_every=50, betas=(0.5, 0.9))
    line = parse_step("distill:train.steps=10,train.lr=1e-4,train.betas=[0.5,0.9]")[1]
    whole = parse_step("distill:train={steps: 10, lr: 1e-4, betas: [0.5, 0.9]}")[1]
    written = load_yaml("train: {steps: 10, lr: 1.0e-4, betas: [0.5, 0.9]}")
    recipe = Recipe.from_yaml("model: m\nsteps:\n- distill: {train: {steps: 10, lr: 1.0e-4, betas: [0.5, 0.9]}}\n")
    assert line == whole == written == recipe.steps[0][1]
    for given in (line, {"train": wanted}, {"train": {"steps": 10, "lr": 1e-4, "betas": (0.5, 0.9)}}):
        assert check_options(sv.METHODS["distill"], given)["train"] == wanted


@pytest.mark.parametrize(
    ("method", "given", "sentence"),
    [
        ("finetune", {"steps": 10}, "finetune has no option 'steps'; it is train.steps now: train: {steps: 10}."),
        (
            "pretrain",
            {"clusters": 9},
            "pretrain has no option 'clusters'; it is units.clusters now: units: {clusters: 9}.",
        ),
        ("prune_heads", {"heal": 100}, "prune_heads: heal=100, but a mapping is wanted, such as {steps: 100}."),
        ("prune_heads", {"lr": 0.1}, "prune_heads has no option 'lr'; it is heal.lr now: heal: {lr: 0.1}."),
        (
            "prune_weights",
            {"revive": True},
            "prune_weights has no option 'revive'; it is between.revive now: between: ",
        ),
        ("distill", {"student": 2}, "distill: student=2, but a mapping is wanted, such as {layers: 2}."),
        ("mimic", {"lr": 1}, "mimic has no option 'lr'; it is train.lr or task_train.lr now: train: {lr: 1}."),
        ("finetune", {"train": {"lr": "fast"}}, "finetune: train.lr='fast', but a number is wanted."),
        ("finetune", {"train": {"lr": "1e-4"}}, "finetune: train.lr='1e-4', but a number is wanted."),
        ("finetune", {"train": {"steps": 0}}, "finetune: train.steps=0, but a whole number from 1 to 10**9 is wanted."),
        (
            "finetune",
            {"train": {"step": 1}},
            "finetune: train has no option 'step'; did you mean 'steps'? Options: steps,",
        ),
        (
            "finetune",
            {"train": {"seed": 1}},
            "finetune: train has no option 'seed'; it is an option of finetune itself: ",
        ),
        (
            "finetune",
            {"train": Training(seed=1)},
            "finetune: train has no option 'seed'; it is an option of finetune its",
        ),
        ("finetune", {"train": None}, "finetune: train=None, but a mapping is wanted, such as {steps: 1000}."),
        (
            "prune_ffn",
            {"heal": {"steps": -1}},
            "prune_ffn: heal.steps=-1, but a number of updates is wanted, or one for each round: at least 0.",
        ),
        ("prune_ffn", {"heal": {"lr": 0.0}}, "prune_ffn: heal.lr=0.0, but a finite rate above 0 is wanted."),
        ("pretrain", {"mask": {"span": 0}}, "pretrain: mask.span=0, but a number from 1 to 10000 is wanted."),
        (
            "distill",
            {"match": {"layers": []}},
            "distill: match.layers= is empty; name at least one state of the teacher",
        ),
    ],
)
def test_old_spellings_and_faults_say_what_is_right(method: str, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SottovoceError) as caught:
        check_options(sv.METHODS[method], {"task": "keywords", **given} if method == "finetune" else given)
    assert str(caught.value).startswith(sentence)


def test_the_methods_seed_is_the_seed_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    module = inspect.getmodule(inspect.unwrap(sv.METHODS["finetune"].function))
    seen: list[Training] = []
    monkeypatch.setattr(module, "finetune_model", lambda *args, settings, **options: seen.append(settings))
    for train in ({"steps": 2}, Training(steps=2)):
        sv.finetune(tiny("hubert"), [], task="keywords", train=train, seed=3)  # pyright: ignore[reportArgumentType]
    assert seen == 2 * [Training(steps=2, seed=3)]


STEPS = (("cook", {"warm": {"steps": 1, "kind": "slow"}, "hot": True}), ("cook", {}))


@pytest.fixture
def cooks() -> tuple[Registry, Registry]:
    methods = Registry("method")
    methods.add(Entry("cook", "method", cook))
    return methods, Registry("measure")


def test_options_of_groups_vary(cooks: tuple[Registry, Registry]) -> None:
    grid = {
        "steps.0.warm.steps": [1, 2],
        "steps.0.warm.above": [0.5],
        "steps.1.maybe.kind": ["fast"],
        "steps.0.hot": [False],
    }
    recipe = Recipe("m", steps=STEPS, vary=grid)
    recipe.check(*cooks)
    assert [point.steps for point in recipe.points()] == [
        (
            ("cook", {"warm": {"steps": n, "kind": "slow", "above": 0.5}, "hot": False}),
            ("cook", {"maybe": {"kind": "fast"}}),
        )
        for n in (1, 2)
    ]
    assert recipe.steps == STEPS and recipe.steps[0][1]["warm"] == {"steps": 1, "kind": "slow"}, "left as it was"
    named = Recipe("m", steps=STEPS[:1], vary={"steps.cook.warm.steps": [1, 2]}).points()
    assert [point.steps[0][1]["warm"]["steps"] for point in named] == [1, 2]
    whole = Recipe(
        "m", steps=STEPS[:1], vary={"steps.cook.warm": [{"steps": 4}], "steps.cook.maybe": [None, {}]}
    ).points()
    assert [point.steps[0][1] for point in whole] == [
        {"warm": {"steps": 4}, "hot": True, "maybe": maybe} for maybe in (None, {})
    ]
    written = Recipe.from_yaml(recipe.to_yaml())
    assert written == recipe and written.hash() == recipe.hash()


def test_the_hash_is_of_what_was_written() -> None:
    short, long = ({"train": {"steps": 5}}, {"train": {"steps": 5, "lr": 1e-4}})
    assert Recipe("m", steps=(("finetune", short),)).hash() != Recipe("m", steps=(("finetune", long),)).hash()


@pytest.mark.parametrize(
    ("vary", "sentence"),
    [
        (
            {"steps.0.warm": [{}], "steps.0.warm.steps": [1]},
            "vary: 'steps.0.warm' and 'steps.0.warm.steps' are of the same option; give it once.",
        ),
        (
            {"steps.0.warm.steps": [1], "steps.0.warm": [{}]},
            "vary: 'steps.0.warm.steps' and 'steps.0.warm' are of the same option; give it once.",
        ),
        ({"steps.0.warm.": [1]}, "vary has no key 'steps.0.warm.'"),
        ({"steps.0.warm.stesp": [1]}, "step 1 (cook): cook: warm has no option 'stesp'; did you mean 'steps'?"),
        ({"steps.0.hot.steps": [1]}, "step 1 (cook): cook: hot={'steps': 1}, but true or false is wanted."),
        ({"steps.0.warm.steps": ["x"]}, "step 1 (cook): cook: warm.steps='x', but an int is wanted."),
    ],
)
def test_what_cannot_vary_is_refused(cooks: tuple[Registry, Registry], vary: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SottovoceError, match=re.escape(sentence)):
        Recipe("m", steps=STEPS, vary=vary).check(*cooks)


def test_a_registered_function_gets_the_dataclass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "METHODS", Registry("method"))

    def taste(model: Any, data: Any = None, *, warm: Warm = Warm(8)) -> Any:
        """Taste it."""
        return warm

    tasted: Any = registry.register_method()(taste)
    model = tiny("hubert")
    assert tasted(model) == Warm(8)
    assert tasted(model, warm={"kind": "fast"}) == Warm(8, "fast") == tasted(model, warm=Warm(8, "fast"))
    assert registry.METHODS["taste"](model, **parse_step("taste:warm.kind=fast", registry.METHODS)[1]) == Warm(
        8, "fast"
    )
