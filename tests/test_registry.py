"""A signature as a configuration: what the decorators refuse, what options pass, how the command line is read."""

import copy
import doctest
import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce import registry
from sottovoce.errors import SottovoceError
from sottovoce.measurement import Measurement
from sottovoce.registry import Entry, Registry, check_options, describe, measure, method, parse_options, parse_step

if TYPE_CHECKING:
    from decimal import Decimal


class Module:
    """Stands for a torch module: a type that YAML cannot say."""


class Model:
    def __init__(self) -> None:
        self.layers = list(range(12))


@pytest.fixture(autouse=True)
def _own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a test registers reaches the package's own methods."""
    monkeypatch.setattr(registry, "METHODS", Registry("method"))
    monkeypatch.setattr(registry, "MEASURES", Registry("measure"))


def drop_layers(model: Any, data: Any = None, *, keep: int, by: Literal["first", "knn"] = "first") -> Any:
    """Drop whole layers.

    More about it.
    """
    model.layers = model.layers[:keep]
    return model


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
    many: Sequence[int] = (),
    listed: list[int] | None = None,
    tupled: tuple[int, ...] = (),
    pair: tuple[int, int] = (0, 1),
    paths: Sequence[Path] = (),
    nested: list[list[int]] | None = None,
    keep: int | Sequence[int] = 1,
    either: float | str = 1.0,
    heads: Mapping[str, list[int]] | None = None,
    anything: list = [],  # noqa: B006 (the signature is under test)
    teacher: Module | None = None,
    call: Callable[[int], int] | None = None,
) -> dict[str, Any]:
    """Take an option of every type and give them back."""
    return {key: value for key, value in locals().items() if key not in ("model", "data")}


FITTING = [
    ("whole", 9, 9),
    ("whole", -1, -1),
    ("real", 9, 9.0),
    ("real", 0.25, 0.25),
    ("text", "9", "9"),
    ("flag", True, True),
    ("path", "a/b", Path("a/b")),
    ("path", Path("a/b"), Path("a/b")),
    ("choice", "knn", "knn"),
    ("number", 2, 2),
    ("maybe", None, None),
    ("maybe", 3, 3),
    ("many", [1, 2], [1, 2]),
    ("many", (1, 2), (1, 2)),
    ("many", range(3), [0, 1, 2]),
    ("listed", (1, 2), [1, 2]),
    ("listed", None, None),
    ("tupled", [1, 2], (1, 2)),
    ("pair", [1, 2], (1, 2)),
    ("paths", ["a"], [Path("a")]),
    ("nested", [[1], [2, 3]], [[1], [2, 3]]),
    ("keep", 3, 3),
    ("keep", [3], [3]),
    ("either", "a", "a"),
    ("either", 2, 2.0),
    ("heads", {"0": [1]}, {"0": [1]}),
    ("anything", [1, "a"], [1, "a"]),
]
# The option, a value that does not fit, and how the error calls what does.
UNFITTING = [
    ("whole", "9", "an int"),
    ("whole", True, "an int"),
    ("whole", 9.0, "an int"),
    ("whole", None, "an int"),
    ("real", "0.5", "a number"),
    ("real", True, "a number"),
    ("text", 9, "a string"),
    ("flag", 1, "true or false"),
    ("flag", "true", "true or false"),
    ("path", 9, "a path"),
    ("choice", "kn", "one of 'cka', 'knn'"),
    ("number", True, "one of 1, 2"),
    ("number", 1.0, "one of 1, 2"),
    ("maybe", "None", "an int or None (null in YAML)"),
    ("many", "12", "a list of ints"),
    ("many", [1, "2"], "a list of ints"),
    ("many", [True], "a list of ints"),
    ("many", 3, "a list of ints"),
    ("listed", {1: 2}, "a list of ints or None (null in YAML)"),
    ("tupled", [1.5], "a list of ints"),
    ("pair", [1, 2, 3], "a list of ints"),
    ("nested", [1], "a list of lists of ints or None (null in YAML)"),
    ("keep", "nine", "an int or a list of ints"),
    ("heads", {"0": "a"}, "a mapping or None (null in YAML)"),
]


@pytest.mark.parametrize(("option", "value", "checked"), FITTING)
def test_a_fitting_value_passes(option: str, value: object, checked: object) -> None:
    result = check_options(everything, {option: value})
    assert result == {option: checked}
    assert type(result[option]) is type(checked)


@pytest.mark.parametrize(("option", "value", "wanted"), UNFITTING)
def test_a_value_that_does_not_fit_is_named_with_what_does(option: str, value: object, wanted: str) -> None:
    with pytest.raises(SottovoceError) as error:
        check_options(everything, {option: value})
    assert str(error.value) == f"everything: {option}={value!r}, but {wanted} is wanted."


def test_what_yaml_cannot_say_passes_unchecked_and_as_the_same_object() -> None:
    teacher = object()
    assert check_options(everything, {"teacher": teacher})["teacher"] is teacher
    assert check_options(everything, {"call": len})["call"] is len


def test_a_long_value_is_shown_short_and_on_one_line() -> None:
    class Long:
        def __repr__(self) -> str:
            return "Long(\n" * 500

    with pytest.raises(SottovoceError) as error:
        check_options(everything, {"whole": Long()})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 160


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    def prune_heads(model: Any, data: Any = None, *, layers: int = 1, ratio: float = 0.5) -> Any:
        """Prune."""

    with pytest.raises(SottovoceError) as error:
        check_options(prune_heads, {"ration": 0.5})
    assert str(error.value) == "prune_heads has no option 'ration'; did you mean 'ratio'? Options: layers, ratio."


def test_an_unknown_option_that_resembles_none() -> None:
    with pytest.raises(SottovoceError) as error:
        check_options(drop_layers, {3: 1})  # pyright: ignore[reportArgumentType]  (YAML keys may be numbers)
    assert str(error.value) == "drop_layers has no option '3'. Options: keep, by."


def test_an_option_of_a_function_without_options() -> None:
    def fold(model: Any, data: Any = None) -> Any:
        """Fold."""

    assert check_options(fold, {}) == {}
    with pytest.raises(SottovoceError, match="fold has no option 'x'. Options: none."):
        check_options(fold, {"x": 1})


def test_a_missing_option_is_named() -> None:
    with pytest.raises(SottovoceError) as error:
        check_options(drop_layers, {})
    assert str(error.value) == "drop_layers needs the option 'keep' (an int). Options: keep, by."


def test_errors_use_the_registered_name_for_the_entry_and_for_the_function() -> None:
    decorated = method("drop")(drop_layers)
    for target in (decorated, registry.METHODS["drop"], drop_layers):
        with pytest.raises(SottovoceError, match="^drop needs the option 'keep'"):
            check_options(target, {})


# --- decorators


def test_a_method_gets_a_copy() -> None:
    decorated = method()(drop_layers)
    model = Model()
    small = decorated(model, keep=3)
    assert small.layers == [0, 1, 2]
    assert model.layers == list(range(12))
    assert small is not model
    smaller = decorated(model=small, data=None, keep=1)
    assert (len(small.layers), len(smaller.layers)) == (3, 1)


def test_only_the_model_is_copied() -> None:
    seen = []

    @method()
    def watch(model: Any, data: Any = None, *, teacher: Module | None = None) -> Any:
        """Keep what came."""
        seen.extend([model, data, teacher])
        return model

    model, data, teacher = Model(), object(), Module()
    watch(model, data, teacher=teacher)
    watch(model, data=data, teacher=teacher)
    assert all(one is two for one, two in zip(seen[1:3], seen[4:6], strict=True))
    assert seen[1] is data and seen[2] is teacher
    assert seen[0] is not model and seen[3] is not model


def test_a_measure_gets_the_model_itself() -> None:
    @measure(version=3)
    def identity(model: Any, data: Any = None) -> list[Measurement]:
        """Say which object it is."""
        return [Measurement("identity", "id", id(model))]

    model = Model()
    assert identity(model)[0].value == id(model)
    assert registry.MEASURES["identity"].version == 3
    assert "identity" not in registry.METHODS


def test_options_are_checked_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(value: object) -> object:
        raise AssertionError("the model was copied before its options were checked")

    monkeypatch.setattr(copy, "deepcopy", forbidden)
    decorated = method()(drop_layers)
    with pytest.raises(SottovoceError, match="drop_layers: keep='nine', but an int is wanted."):
        decorated(Model(), keep="nine")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SottovoceError, match="has no option 'kep'; did you mean 'keep'?"):
        decorated(Model(), kep=9)  # pyright: ignore[reportCallIssue]


def test_the_function_sees_the_checked_values() -> None:
    result = method()(everything)(Model(), path="a/b", tupled=[1], real=2)  # pyright: ignore[reportArgumentType]
    assert (result["path"], result["tupled"], result["real"]) == (Path("a/b"), (1,), 2.0)
    assert result["text"] == "a"


def test_the_wrapper_looks_like_the_function() -> None:
    decorated = method("drop", paper="arXiv 2409.16302")(drop_layers)
    assert isinstance(decorated, types.FunctionType)
    assert decorated.__wrapped__ is drop_layers  # pyright: ignore[reportFunctionMemberAccess]
    assert decorated.__doc__ == drop_layers.__doc__
    assert inspect.signature(decorated) == inspect.signature(drop_layers)
    model = Model()
    assert drop_layers(model, keep=1) is model, "the undecorated function still edits in place"


def test_python_refuses_a_call_without_a_model() -> None:
    decorated = method()(drop_layers)
    with pytest.raises(TypeError, match="model"):
        decorated(keep=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="positional"):
        decorated(Model(), None, 3, keep=3)  # pyright: ignore[reportCallIssue]


def no_docstring(model: Any, data: Any = None, *, keep: int = 1) -> Any: ...


def blank_docstring(model: Any, data: Any = None) -> Any:
    """ """


def positional_option(model: Any, data: Any = None, keep: int = 1) -> Any:
    """A."""


def no_data(model: Any, *, keep: int = 1) -> Any:
    """A."""


def other_names(net: Any, data: Any = None) -> Any:
    """A."""


def star(model: Any, data: Any = None, *rest: Any) -> Any:
    """A."""


def stars(model: Any, data: Any = None, **rest: Any) -> Any:
    """A."""


def bare_option(model: Any, data: Any = None, *, keep=1) -> Any:
    """A."""


def absent_type(model: Any, data: Any = None, *, keep: "Decimal | None" = None) -> Any:
    """A."""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_docstring, "needs a docstring"),
        (blank_docstring, "needs a docstring"),
        (positional_option, "must be .model, data=None, .*, options"),
        (no_data, "must be .model"),
        (other_names, "must be .model"),
        (star, "must be .model"),
        (stars, "must be .model"),
        (bare_option, "options without a type: keep"),
        (absent_type, "type is not there at run time"),
    ],
)
@pytest.mark.parametrize("kind", ["METHODS", "MEASURES"])
def test_a_signature_that_is_no_configuration_fails_at_import(
    function: Callable[..., Any], message: str, kind: str
) -> None:
    decorator = method() if kind == "METHODS" else measure()
    with pytest.raises(TypeError, match=message) as error:
        decorator(function)
    assert f"test_registry.py:{function.__code__.co_firstlineno}: {function.__name__}" in str(error.value)
    assert len(getattr(registry, kind)) == 0


def test_brackets_are_needed() -> None:
    with pytest.raises(TypeError, match=r"write @method\(\) with brackets"):
        method(drop_layers)  # pyright: ignore[reportArgumentType]


def test_string_annotations_are_resolved() -> None:
    def drop(model: "Unknown", data: "Any" = None, *, keep: "int | None" = None) -> "Unknown":  # noqa: F821  # pyright: ignore
        """Only the options' types have to be there."""

    method()(drop)
    assert check_options(drop, {"keep": 3}) == {"keep": 3}
    with pytest.raises(SottovoceError, match="an int or None"):
        check_options(drop, {"keep": "3"})


# --- the registry


def test_the_registry_is_a_mapping_in_order_of_definition() -> None:
    names = Registry("measure")
    for name in ("speed", "cost", "size"):
        names.add(Entry(name, "measure", drop_layers))
    assert list(names) == ["speed", "cost", "size"]
    assert len(names) == 3
    assert "cost" in names and "costs" not in names and 3 not in names
    assert names["cost"].name == "cost"
    assert dict(names.items())["size"] is names["size"]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    names = Registry("method")
    names.add(Entry("drop_layers", "method", drop_layers))
    with pytest.raises(SottovoceError) as error:
        names["drop_lairs"]
    assert str(error.value) == "unknown method 'drop_lairs'; did you mean 'drop_layers'? Known: drop_layers."


def test_a_name_taken_twice_is_refused_with_both_places() -> None:
    first = method("halve")(drop_layers)
    with pytest.raises(SottovoceError) as error:
        method("halve")(everything)
    for function in (drop_layers, everything):
        assert f"test_registry.py:{function.__code__.co_firstlineno}" in str(error.value)
    assert "two methods are named 'halve'" in str(error.value)
    assert registry.METHODS["halve"].function is first
    measure("halve")(everything)  # the other kind has names of its own


def test_an_entry_is_called_like_its_function() -> None:
    method()(drop_layers)
    model = Model()
    assert registry.METHODS["drop_layers"](model, keep=2).layers == [0, 1]
    assert len(model.layers) == 12


def test_describe_is_json_and_complete() -> None:
    method("drop", paper="arXiv 2409.16302")(drop_layers)
    assert json.loads(json.dumps(describe(registry.METHODS["drop"]))) == {
        "name": "drop",
        "paper": "arXiv 2409.16302",
        "summary": "Drop whole layers.",
        "options": [
            {"name": "keep", "type": "int", "default": None, "required": True},
            {"name": "by", "type": "Literal['first', 'knn']", "default": "first", "required": False},
        ],
    }


def test_describe_says_every_type() -> None:
    described = {option["name"]: option for option in describe(Entry("e", "method", everything))["options"]}
    types_ = {name: option["type"] for name, option in described.items()}
    assert types_["maybe"] == "int | None"
    assert types_["many"] == "Sequence[int]"
    assert types_["path"] == "Path"
    assert types_["tupled"] == "tuple[int, ...]"
    assert described["path"]["default"] == "a"
    assert described["pair"]["default"] == [0, 1]
    json.dumps(described)


# --- the command line


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        ("  ", {}),
        ("whole=9", {"whole": 9}),
        (" whole = 9 , text = knn ", {"whole": 9, "text": "knn"}),
        ("many=[0,1,2],whole=3", {"many": [0, 1, 2], "whole": 3}),
        ("nested=[[0,1],[2]],whole=3", {"nested": [[0, 1], [2]], "whole": 3}),
        ("heads={0: [1,2], 3: [4]}", None),
        ("heads={'0': [1,2], '3': [4]},flag=true", {"heads": {"0": [1, 2], "3": [4]}, "flag": True}),
        ("maybe=null", {"maybe": None}),
        ("maybe=~", {"maybe": None}),
        ("real=1e-4", {"real": 1e-4}),
        ("real=3", {"real": 3.0}),
        ("text='a,b',whole=1", {"text": "a,b", "whole": 1}),
        ('text="a=b",whole=1', {"text": "a=b", "whole": 1}),
        ("text=it's,whole=1", {"text": "it's", "whole": 1}),
        ("text=a=b", {"text": "a=b"}),
        ("text=no", {"text": "no"}),
        ("text=9", {"text": "9"}),
        ("text=*.wav", {"text": "*.wav"}),
        ("text=#1", {"text": "#1"}),
        ("text=null", {"text": "null"}),
        ("path=2024-01-01", {"path": Path("2024-01-01")}),
        ("either=9", {"either": 9.0}),
        ("either=nine", {"either": "nine"}),
        ("whole=1,", {"whole": 1}),
    ],
)
def test_the_command_lines_options(text: str, options: dict[str, Any] | None) -> None:
    if options is None:
        with pytest.raises(SottovoceError, match="a mapping"):
            parse_options(everything, text)
    else:
        assert parse_options(everything, text) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keep", "'keep' is not option=value. Options: keep, by."),
        ("keep=", "'keep=' is not option=value. Options: keep, by."),
        ("=9", "'=9' is not option=value. Options: keep, by."),
        ("keep=9,,by=knn", "'' is not option=value. Options: keep, by."),
        ("kep=9", "drop_layers has no option 'kep'; did you mean 'keep'? Options: keep, by."),
        ("keep=9,keep=8", "drop_layers: the option 'keep' is given twice; give it once."),
        ("keep=nine", "drop_layers: keep='nine', but an int is wanted."),
        ("keep='9'", "drop_layers: keep='9', but an int is wanted."),
        ("keep=[1,2", "drop_layers: '2' is not option=value. Options: keep, by."),
        ("by=knn", "drop_layers needs the option 'keep' (an int). Options: keep, by."),
        ("keep=9,by=no", "drop_layers: by=False, but one of 'first', 'knn' is wanted."),
    ],
)
def test_bad_text_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(SottovoceError) as error:
        parse_options(drop_layers, text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_parse_step() -> None:
    names = Registry("method")
    names.add(Entry("drop_layers", "method", drop_layers))
    assert parse_step("drop_layers:keep=9,by=knn", names) == ("drop_layers", {"keep": 9, "by": "knn"})
    names.add(Entry("all", "method", everything))
    assert parse_step("all", names) == parse_step("all:", names) == ("all", {})
    assert parse_step("all:text=a:b", names) == ("all", {"text": "a:b"})
    with pytest.raises(SottovoceError, match="unknown method 'drop_lairs'; did you mean 'drop_layers'?"):
        parse_step("drop_lairs:keep=9", names)


SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(),
    "real": st.floats(allow_nan=False),
    "flag": st.booleans(),
    "text": st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters='"\\'), max_size=20),
    "maybe": st.none() | st.integers(),
    "many": st.lists(st.integers(), max_size=5),
    "nested": st.lists(st.lists(st.integers(), max_size=3), max_size=3),
    "choice": st.sampled_from(["cka", "knn"]),
}


@settings(deadline=None)  # the first example builds what the others find built
@given(st.fixed_dictionaries({}, optional=SCALARS))
def test_what_yaml_writes_on_one_line_comes_back(options: dict[str, Any]) -> None:
    def written(value: object) -> str:
        return yaml.safe_dump([value], default_flow_style=True, width=10**6, default_style=None).strip()[1:-1]

    # A text is quoted, as one does on a command line for a text that holds commas.
    parts = [
        f"{key}={json.dumps(value) if isinstance(value, str) else written(value)}" for key, value in options.items()
    ]
    assert parse_options(everything, ",".join(parts)) == options


@settings(deadline=None)  # the first example builds what the others find built
@given(st.text(max_size=60))
def test_any_text_gives_options_or_a_sentence(text: str) -> None:
    try:
        options = parse_options(everything, text)
    except SottovoceError as error:
        assert str(error).startswith("everything")
    else:
        assert check_options(everything, options) == options


@settings(deadline=None)  # the first example builds what the others find built
@given(st.dictionaries(st.sampled_from([*SCALARS, "kep"]), st.one_of(*SCALARS.values())))
def test_checking_twice_changes_nothing(options: dict[str, Any]) -> None:
    try:
        checked = check_options(everything, options)
    except SottovoceError:
        return
    assert check_options(everything, checked) == checked


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(registry).failed == 0
    assert doctest.testmod(registry).attempted > 5
