"""The options of a function, read off its signature: their types, their defaults, and what they cannot be."""

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import pydantic

# From where to where options of these names go, in all methods and measures.
RANGES: dict[str, tuple[int, int]] = {
    "seed": (0, 2**32 - 1),
    "limit": (1, 10**9),
    "width": (1, 65_536),
    "dropout": (0, 1),
    "mask_time": (0, 1),
    "span": (1, 10_000),
    "context": (0, 1_000),
    "accumulate": (1, 100_000),
    "seconds": (0, 3_600),
    "rounds": (1, 100_000),
    "batch": (1, 1_000_000),
    "inner": (1, 65_536),
    "beam": (1, 10_000),
    "lr": (0, 1_000),  # far above what any rate can be, and no weight overflows at once
    "weight_decay": (0, 1_000),
    "temperature": (0, 1_000_000),
    "validate_every": (1, 10**9),
    "probe_every": (1, 10**9),
    "patience": (1, 10**9),
}
LONGEST_TEXT, MOST_ITEMS = 10_000, 100_000
_LAX = pydantic.Strict(False)
# What pydantic checks, how a sentence calls it, and how it calls several.
_PLAIN: dict[Any, tuple[Any, str, str]] = {
    int: (int, "an int", "ints"),
    float: (float, "a number", "numbers"),
    str: (str, "a string", "strings"),
    bool: (bool, "true or false", "true or false"),
    Path: (Annotated[Path, _LAX], "a path", "paths"),
    types.NoneType: (None, "None (null in YAML)", "None"),
}
_CONTAINERS = {list: "a list", tuple: "a list", Sequence: "a list", dict: "a mapping", Mapping: "a mapping"}


@dataclass(frozen=True)
class Option:
    """One option of a function: its type, its default, and in words what is wanted."""

    name: str
    annotation: Any
    default: Any
    wanted: str
    adapter: pydantic.TypeAdapter[Any]

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    def problem(self, value: object) -> str | None:
        """What is wrong with a value of the right type; None if nothing is."""
        if self.name in RANGES and isinstance(value, int | float) and not isinstance(value, bool):
            least, most = RANGES[self.name]
            if not least <= value <= most:
                return f"a number from {least} to {most} is wanted"
        return _unusable(value, infinite=isinstance(self.default, float) and math.isinf(self.default))

    def check(self, value: object) -> tuple[bool, Any]:
        """Whether the value fits, and the value as the function gets it."""
        try:
            return True, self.adapter.validate_python(list(value) if isinstance(value, range) else value)
        except pydantic.ValidationError:
            return False, value


@functools.cache
def options_of(function: Callable[..., Any]) -> dict[str, Option]:
    """The options of a function's signature, in order; a TypeError where it is no configuration."""
    where = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}: {function.__name__}"
    if not (inspect.getdoc(function) or "").strip():
        raise TypeError(f"{where} needs a docstring: its first line is the summary that users see")
    parameters = list(inspect.signature(function).parameters.values())
    options = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    if [p.name for p in parameters if p not in options] != ["model", "data"]:
        raise TypeError(
            f"{where} must be (model, data=None, *, options...): options are named, never *args or **kwargs"
        )
    bare = [option.name for option in options if option.annotation is option.empty]
    if bare:
        raise TypeError(f"{where} has options without a type: {', '.join(bare)}")
    # Only the options' annotations: what the model is may be imported for the type checker alone.
    wanted = types.SimpleNamespace(__annotations__={option.name: option.annotation for option in options})
    try:
        hints = typing.get_type_hints(wanted, globalns=function.__globals__)
    except NameError as error:
        raise TypeError(f"{where} has an option whose type is not there at run time ({error}); import it") from error
    return {option.name: _option(option.name, hints[option.name], option.default) for option in options}


def _option(name: str, annotation: Any, default: Any) -> Option:
    schema, wanted, _ = _understand(annotation)
    adapter = pydantic.TypeAdapter[Any](schema, config=pydantic.ConfigDict(strict=True))
    return Option(name, annotation, default, wanted, adapter)


def _understand(annotation: Any) -> tuple[Any, str, str]:
    """A row like those of `_PLAIN` for any annotation; what YAML cannot say (a module, a callable) goes unchecked."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin: Any = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation)
    if origin is Literal:
        choices = ", ".join(map(repr, arguments))
        wanted = f"one of {choices}" if len(arguments) > 1 else choices
        return Annotated[Any, pydantic.PlainValidator(functools.partial(_choose, arguments))], wanted, wanted
    union = origin is Union or isinstance(annotation, types.UnionType)
    if not union and origin not in _CONTAINERS:
        return Any, "any value", "any values"
    rows = [(..., "", "") if argument is ... else _understand(argument) for argument in arguments]
    schemas = tuple(row[0] for row in rows)
    if union:
        wanted = " or ".join(row[1] for row in rows)
        return Union[schemas], wanted, wanted  # noqa: UP007 (the types are only known here)
    schema = origin[schemas] if schemas else origin
    many = f" of {rows[0][2]}" if rows and origin not in (dict, Mapping) else ""
    wanted, several = f"{_CONTAINERS[origin]}{many}", f"{_CONTAINERS[origin].removeprefix('a ')}s{many}"
    # YAML has one kind of list. An abstract container takes both kinds as it is, and knows no lax mode.
    return (Annotated[schema, _LAX] if origin in (list, tuple) else schema), wanted, several


def _unusable(value: object, *, infinite: bool) -> str | None:
    """Why no function can use a value, whatever it is for."""
    if isinstance(value, float) and (math.isnan(value) or (math.isinf(value) and not infinite)):
        return "a finite number is wanted"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "a number of at most 63 bits is wanted"
    if isinstance(value, str | Path) and ("\0" in str(value) or len(str(value)) > LONGEST_TEXT):
        return f"a text of at most {LONGEST_TEXT} characters, none of them null, is wanted"
    if isinstance(value, list | tuple | dict):
        if len(value) > MOST_ITEMS:
            return f"at most {MOST_ITEMS} items are possible"
        items = value.items() if isinstance(value, dict) else value
        return next((found for item in items if (found := _unusable(item, infinite=infinite))), None)
    return None


def _choose(choices: tuple[Any, ...], value: Any) -> Any:
    # To Python, and so to pydantic, True is 1; as an option it is not.
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return value
    raise ValueError("not one of the choices")
