"""A signature as a configuration: what the decorators refuse, what options pass, how the command line is read."""

import copy
import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce import registry
from sottovoce.errors import SottovoceError
from sottovoce.measurement import Measurement
from sottovoce.registry import (
    Entry,
    Registry,
    check_options,
    describe,
    parse_options,
    parse_step,
    register_measure,
    register_method,
)


@pytest.fixture(autouse=True)
def _own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a test registers reaches the package's own methods."""
    monkeypatch.setattr(registry, "METHODS", Registry("method"))
    monkeypatch.setattr(registry, "MEASURES", Registry("measure"))


def drop_layers(model: Any, data: Any = None, *, keep: int, by: Literal["first", "knn"] = "first") -> Any:
    """Drop whole layers.

    More about it.
    """
    del model[keep:]
    return model


def prune(model: Any, data: Any = None, *, layers: int = 1, ratio: float = 0.5) -> Any:
    """Prune heads."""


def fold(model: Any, data: Any = None) -> Any:
    """Fold."""


def everything(
    model: Any,
    data: Any = None,
    *,
    whole: int = 0,
    real: float = 0.5,
    text: str = "a",
    flag: bool = False,
    path: Path = Path("a"),
    choice: Literal["cka", "knn"] = "cka",
    number: Literal[1, 2] = 1,
    maybe: int | None = None,
    name: str | None = None,
    many: Sequence[int] = (),
    listed: list[int] | None = None,
    tupled: tuple[int, ...] = (),
    pair: tuple[int, int] = (0, 1),
    paths: Sequence[Path] = (),
    nested: list[list[int]] | None = None,
    keep: int | Sequence[int] = 1,
    either: float | str = 1.0,
    heads: Mapping[str, list[int]] | None = None,
    teacher: torch.nn.Module | None = None,
    call: Callable[[int], int] | None = None,
) -> dict[str, Any]:
    """Take an option of every type and give them back."""
    return {key: value for key, value in locals().items() if key not in ("model", "data")}


# Of each option, values that fit, with what the function gets.
FITTING: dict[str, list[tuple[Any, Any]]] = {
    "whole": [(9, 9), (-1, -1)],
    "real": [(9, 9.0), (0.25, 0.25)],
    "text": [("9", "9")],
    "path": [("a/b", Path("a/b")), (Path("a/b"), Path("a/b"))],
    "choice": [("knn", "knn")],
    "number": [(2, 2)],
    "maybe": [(None, None), (3, 3)],
    "many": [([1, 2], [1, 2]), ((1, 2), (1, 2)), (range(3), [0, 1, 2])],
    "listed": [((1, 2), [1, 2]), (None, None)],
    "tupled": [([1, 2], (1, 2))],
    "pair": [([1, 2], (1, 2))],
    "paths": [(["a"], [Path("a")])],
    "nested": [([[1], [2, 3]], [[1], [2, 3]])],
    "keep": [(3, 3), ([3], [3])],
    "either": [("a", "a"), (2, 2.0)],
    "heads": [({"0": [1]}, {"0": [1]})],
}
# Of each option, how an error calls what fits, and values that do not.
UNFITTING: dict[str, tuple[str, list[Any]]] = {
    "whole": ("an int", ["9", True, 9.0, None]),
    "real": ("a number", ["0.5", True]),
    "text": ("a string", [9]),
    "flag": ("true or false", [1, "true"]),
    "path": ("a path", [9]),
    "choice": ("one of 'cka', 'knn'", ["kn"]),
    "number": ("one of 1, 2", [True, 1.0]),
    "maybe": ("an int or None (null in YAML)", ["None"]),
    "many": ("a list of ints", ["12", [1, "2"], [True], 3]),
    "listed": ("a list of ints or None (null in YAML)", [{1: 2}]),
    "pair": ("a list of ints", [[1, 2, 3]]),
    "nested": ("a list of lists of ints or None (null in YAML)", [[1]]),
    "keep": ("an int or a list of ints", ["nine"]),
    "heads": ("a mapping or None (null in YAML)", [{"0": "a"}]),
}


@pytest.mark.parametrize(("option", "value", "checked"), [(key, *pair) for key in FITTING for pair in FITTING[key]])
def test_a_fitting_value_passes(option: str, value: object, checked: object) -> None:
    result = check_options(everything, {option: value})
    assert result == {option: checked}
    assert type(result[option]) is type(checked)


@pytest.mark.parametrize(("option", "value"), [(key, value) for key in UNFITTING for value in UNFITTING[key][1]])
def test_a_value_that_does_not_fit_is_named_with_what_does(option: str, value: object) -> None:
    with pytest.raises(SottovoceError) as error:
        check_options(everything, {option: value})
    assert str(error.value) == f"everything: {option}={value!r}, but {UNFITTING[option][0]} is wanted."


def test_what_yaml_cannot_say_passes_as_it_is_and_is_shown_short() -> None:
    long = torch.nn.Sequential(*[torch.nn.Identity()] * 100)
    assert check_options(everything, {"teacher": long})["teacher"] is check_options(everything, {"call": long})["call"]
    with pytest.raises(SottovoceError) as error:
        check_options(everything, {"whole": long})
    assert "\n" not in str(error.value) and len(str(error.value)) < 160


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (
            prune,
            {"ration": 1},
            "prune has no option 'ration'; did you mean 'ratio'? Options: layers, ratio.",
        ),
        (prune, {3: 1}, "prune has no option '3'. Options: layers, ratio."),
        (fold, {"x": 1}, "fold has no option 'x'. Options: none."),
        (drop_layers, {}, "drop_layers needs the option 'keep' (an int). Options: keep, by."),
        (drop_layers, {"kep": "a"}, "drop_layers has no option 'kep'; did you mean 'keep'? Options: keep, by."),
    ],
)
def test_wrong_names_are_refused(function: Callable[..., Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(SottovoceError) as error:
        check_options(function, options)
    assert str(error.value) == message
    assert check_options(fold, {}) == {}


def test_errors_use_the_registered_name_for_the_entry_and_for_the_function() -> None:
    decorated = register_method("drop")(drop_layers)
    for target in (decorated, registry.METHODS["drop"], drop_layers):
        with pytest.raises(SottovoceError, match="^drop needs the option 'keep'"):
            check_options(target, {})


def test_a_method_gets_a_copy_of_the_model_alone() -> None:
    seen: list[Any] = []

    @register_method()
    def drop(model: Any, data: Any = None, *, teacher: torch.nn.Module | None = None) -> Any:
        """Drop the last layer."""
        seen.extend([data, teacher])
        model.pop()
        return model

    model, data, teacher = [[1], [2], [3]], [], torch.nn.Identity()
    small = drop(model, data, teacher=teacher)
    smaller = drop(model=small, data=data, teacher=teacher)
    smallest = registry.METHODS["drop"](smaller, data, teacher=teacher)
    assert (model, small, smaller, smallest) == ([[1], [2], [3]], [[1], [2]], [[1]], [])
    assert small[0] is not model[0], "the copy is deep"
    assert all(one is other for one, other in zip(seen, [data, teacher] * 3, strict=True))


def test_a_measure_gets_the_model_itself() -> None:
    @register_measure(version=3)
    def identity(model: Any, data: Any = None) -> list[Measurement]:
        """Say which object it is."""
        return [Measurement("identity", "id", id(model))]

    model = [1]
    assert identity(model)[0].value == id(model)
    assert registry.MEASURES["identity"].version == 3
    assert "identity" not in registry.METHODS


def test_options_are_checked_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "deepcopy", None)  # the first work that a method does
    decorated = register_method()(drop_layers)
    with pytest.raises(SottovoceError, match="drop_layers: keep='nine', but an int is wanted."):
        decorated([1], keep="nine")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SottovoceError, match="has no option 'kep'; did you mean 'keep'?"):
        decorated([1], kep=9)  # pyright: ignore[reportCallIssue]


def test_the_wrapper_looks_like_the_function() -> None:
    decorated = register_method("drop", paper="arXiv 2409.16302")(drop_layers)
    assert isinstance(decorated, types.FunctionType)
    assert decorated.__wrapped__ is drop_layers  # pyright: ignore[reportFunctionMemberAccess]
    assert decorated.__doc__ == drop_layers.__doc__
    assert inspect.signature(decorated) == inspect.signature(drop_layers)
    result = register_method()(everything)([1], path="a/b", tupled=[1], real=2)  # pyright: ignore[reportArgumentType]
    assert (result["path"], result["tupled"], result["real"]) == (Path("a/b"), (1,), 2.0), "it gets what was checked"
    model = [1]
    assert drop_layers(model, keep=1) is model, "the undecorated function still edits in place"


def test_python_refuses_what_is_no_call() -> None:
    with pytest.raises(TypeError, match=r"write @register_method\(\) with brackets"):
        register_method(drop_layers)  # pyright: ignore[reportArgumentType]
    decorated = register_method()(drop_layers)
    with pytest.raises(TypeError, match="model"):
        decorated(keep=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="positional"):
        decorated([1], None, 3, keep=3)  # pyright: ignore[reportCallIssue]


# The parameters, the docstring, and what the refusal says.
NO_CONFIGURATION = [
    ("model, data=None, *, keep: int = 1", "", "needs a docstring"),
    ("model, data=None", " ", "needs a docstring"),
    ("model, data=None, keep: int = 1", "A.", "must be .model, data=None, .*, options"),
    ("model, *, keep: int = 1", "A.", "must be .model"),
    ("model, data=None, *rest", "A.", "must be .model"),
    ("model, data=None, **rest", "A.", "must be .model"),
    ("model, data=None, *, keep=1", "A.", "options without a type: keep"),
    ("model, data=None, *, keep: 'Decimal | None' = None", "A.", "type is not there at run time"),
]


@pytest.mark.parametrize(("parameters", "docstring", "message"), NO_CONFIGURATION)
@pytest.mark.parametrize("decorator", [register_method, register_measure])
def test_a_signature_that_is_no_configuration_fails_at_import(
    decorator: Callable[[], Any], parameters: str, docstring: str, message: str
) -> None:
    names: dict[str, Any] = {}
    exec(compile(f"\ndef wrong({parameters}):\n    {docstring!r}", "wrong.py", "exec"), names)
    with pytest.raises(TypeError, match=f"^wrong.py:2: wrong .*{message}"):
        decorator()(names["wrong"])
    assert not registry.METHODS and not registry.MEASURES


def test_string_annotations_are_resolved() -> None:
    def drop(model: "Unknown", data: "Any" = None, *, keep: "int | None" = None) -> "Unknown":  # noqa: F821  # pyright: ignore
        """Only the options' types have to be there."""

    register_method()(drop)
    assert check_options(drop, {"keep": 3}) == {"keep": 3}
    with pytest.raises(SottovoceError, match="an int or None"):
        check_options(drop, {"keep": "3"})


def test_the_registry_is_a_mapping_in_order_of_definition() -> None:
    names = Registry("measure")
    for name in ("speed", "cost", "size"):
        names.add(Entry(name, "measure", drop_layers))
    assert list(names) == ["speed", "cost", "size"]
    assert len(names) == 3
    assert "cost" in names and "costs" not in names and 3 not in names
    assert names["cost"].name == "cost"
    assert dict(names.items())["size"] is names["size"]
    with pytest.raises(SottovoceError, match="unknown measure 'sped'; did you mean 'speed'. Known: cost, size, speed."):
        names["sped"]


def test_a_name_taken_twice_is_refused_with_both_places() -> None:
    first = register_method("halve")(drop_layers)
    with pytest.raises(SottovoceError) as error:
        register_method("halve")(everything)
    for function in (drop_layers, everything):
        assert f"test_registry.py:{function.__code__.co_firstlineno}" in str(error.value)
    assert "two methods are named 'halve'" in str(error.value)
    assert registry.METHODS["halve"].function is first
    register_measure("halve")(everything)  # the other kind has names of its own


def test_describe_is_json_and_complete() -> None:
    register_method("drop", paper="arXiv 2409.16302")(drop_layers)
    entry = json.loads(json.dumps(describe(registry.METHODS["drop"])))
    assert (entry["name"], entry["paper"], entry["summary"]) == ("drop", "arXiv 2409.16302", "Drop whole layers.")
    assert entry["options"] == [
        {"name": "keep", "type": "int", "default": None, "required": True},
        {"name": "by", "type": "Literal['first', 'knn']", "default": "first", "required": False},
    ]
    described = {option["name"]: option for option in describe(Entry("e", "method", everything))["options"]}
    found = [described[name]["type"] for name in ("maybe", "many", "path", "tupled")]
    assert found == ["int | None", "Sequence[int]", "Path", "tuple[int, ...]"]
    assert (described["path"]["default"], described["pair"]["default"]) == ("a", [0, 1])
    json.dumps(described)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("  ", {}),
        ("whole=9", {"whole": 9}),
        (" whole = 9 , text = knn ", {"whole": 9, "text": "knn"}),
        ("many=[0,1,2],whole=3", {"many": [0, 1, 2], "whole": 3}),
        ("nested=[[0,1],[2]],whole=3", {"nested": [[0, 1], [2]], "whole": 3}),
        ("heads={'0': [1,2], '3': [4]},flag=true", {"heads": {"0": [1, 2], "3": [4]}, "flag": True}),
        ("maybe=null", {"maybe": None}),
        ("real=1e-4", {"real": 1e-4}),
        ("text='a,b',whole=1", {"text": "a,b", "whole": 1}),
        ('text="a=b",whole=1', {"text": "a=b", "whole": 1}),
        ("text=it's,either=it's", {"text": "it's", "either": "it's"}),
        ("text=a=b", {"text": "a=b"}),
        ("text=no", {"text": "no"}),
        ("text=*.wav", {"text": "*.wav"}),
        ("text=#1", {"text": "#1"}),
        ("name=#1", {"name": "#1"}),
        ("name=null", {"name": None}),
        ("text=null", {"text": "null"}),
        ("path=2024-01-01", {"path": Path("2024-01-01")}),
        ("whole=1,", {"whole": 1}),
    ],
)
def test_the_command_lines_options(text: str, options: dict[str, Any]) -> None:
    assert parse_options(everything, text) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keep", "'keep' is not option=value. Options: keep, by."),
        ("keep=", "'keep=' is not option=value."),
        ("=9", "'=9' is not option=value."),
        ("keep=9,,by=knn", "'' is not option=value."),
        ("kep=9", "drop_layers has no option 'kep'; did you mean 'keep'? Options: keep, by."),
        ("keep=9,keep=8", "drop_layers: the option 'keep' is given twice; give it once."),
        ("keep='9'", "drop_layers: keep='9', but an int is wanted."),
        ("keep={0: [1,2], 3: [4]}", "drop_layers: keep={0: [1, 2], 3: [4]}, but an int is wanted."),
        ("keep=[1,2", "drop_layers: '2' is not option=value."),
        ("by=knn", "drop_layers needs the option 'keep' (an int). Options: keep, by."),
        ("keep=9,by=no", "drop_layers: by=False, but one of 'first', 'knn' is wanted."),
    ],
)
def test_bad_text_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(SottovoceError) as error:
        parse_options(drop_layers, text)
    assert message in str(error.value)


def test_parse_step() -> None:
    names = Registry("method")
    names.add(Entry("drop_layers", "method", drop_layers))
    assert parse_step("drop_layers:keep=9,by=knn", names) == ("drop_layers", {"keep": 9, "by": "knn"})
    names.add(Entry("all", "method", everything))
    assert parse_step("all", names) == parse_step("all:", names) == ("all", {})
    assert parse_step("all:text=a:b", names) == ("all", {"text": "a:b"})
    with pytest.raises(SottovoceError, match="unknown method 'drop_lairs'; did you mean 'drop_layers'?"):
        parse_step("drop_lairs:keep=9", names)


# No deadline in what follows: the first example builds what the others find built.
WHOLE = st.integers(-(2**63) + 1, 2**63 - 1)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "whole": WHOLE,
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "flag": st.booleans(),
    "text": st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters='"\\'), max_size=20),
    "maybe": st.none() | WHOLE,
    "many": st.lists(WHOLE, max_size=5),
    "nested": st.lists(st.lists(WHOLE, max_size=3), max_size=3),
}


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=SCALARS))
def test_what_yaml_writes_on_one_line_comes_back(options: dict[str, Any]) -> None:
    def written(value: object) -> str:
        if isinstance(value, str):
            return f'"{value}"'  # as one does on a command line for a text that holds commas
        return yaml.safe_dump([value], default_flow_style=True, width=10**6).strip()[1:-1]

    parts = [f"{key}={written(value)}" for key, value in options.items()]
    assert parse_options(everything, ",".join(parts)) == options


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_options_or_a_sentence(text: str) -> None:
    try:
        options = parse_options(everything, text)
    except SottovoceError as error:
        assert str(error).startswith("everything")
    else:
        assert check_options(everything, options) == options


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=SCALARS))
def test_checking_changes_nothing_that_fits(options: dict[str, Any]) -> None:
    assert check_options(everything, options) == options
