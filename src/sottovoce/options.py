"""The options of a function, read off its signature: their types, their defaults, and what they cannot be.

An option whose type is a frozen dataclass is a group: its fields are options in turn, `train.steps` beside `task`. What
a user gives of a group is a mapping, merged over the function's own default; the dataclass refuses what its fields
cannot be with a sentence that begins with the field's name, `steps=0, but ...`. A field with the metadata
`{"option": False}` is for callers in Python alone.
"""

import dataclasses
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

from sottovoce.errors import SottovoceError, cut, hint, shown

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
    "runs": (1, 1_000),
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
    adapter: pydantic.TypeAdapter[Any] | None
    group: "Group | None" = None

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def fields(self) -> "dict[str, Option]":
        """The options in it, if it is a group."""
        return {} if self.group is None else self.group.options

    def fits(self, value: object) -> bool:
        """Whether a value has the right type; of a group, whether it can stand for one at all."""
        if self.group is not None:
            return isinstance(value, Mapping | self.group.kind) or (value is None and self.group.optional)
        return self._converted(value)[0]

    def checked(self, value: object, where: str) -> Any:
        """The value as the function gets it; the error says `where` (`finetune: train`), what came and what is wanted.

        Example:
            >>> options_of(drop_layers)["keep"].checked("nine", "drop_layers: keep")
            Traceback (most recent call last):
            sottovoce.errors.SottovoceError: drop_layers: keep='nine', but an int is wanted.
        """
        if self.group is not None:
            return self.group.checked(value, where, self.default)
        fits, converted = self._converted(value)
        problem = self._problem(converted) if fits else f"{self.wanted} is wanted"
        if problem is not None:
            raise SottovoceError(f"{where}={shown(value)}, but {problem}.")
        return converted

    def _converted(self, value: object) -> tuple[bool, Any]:
        assert self.adapter is not None
        try:
            return True, self.adapter.validate_python(list(value) if isinstance(value, range) else value)
        except pydantic.ValidationError:
            return False, value

    def _problem(self, value: object) -> str | None:
        """What is wrong with a value of the right type; None if nothing is."""
        if self.name in RANGES and isinstance(value, int | float) and not isinstance(value, bool):
            least, most = RANGES[self.name]
            if not least <= value <= most:
                return f"a number from {least} to {most} is wanted"
        return _unusable(value, infinite=isinstance(self.default, float) and math.isinf(self.default))


@dataclass(frozen=True)
class Group:
    """The options under one name: the fields of a frozen dataclass; where the group is optional, None is none of it."""

    kind: type[Any]
    options: dict[str, Option]
    optional: bool

    def checked(self, value: object, where: str, default: Any) -> Any:
        """The dataclass: as it is, if it was given, or the mapping merged over the default."""
        if value is None and self.optional:
            return None
        if isinstance(value, self.kind):
            for name, option in self.options.items():
                option.checked(getattr(value, name), f"{where}.{name}")
            return value
        if not isinstance(value, Mapping):
            first = next(iter(self.options.values()))
            example = value if first.fits(value) else "..." if first.required else first.default
            none = ", or None (null in YAML)," if self.optional else ""
            told = f"{{{first.name}: {as_yaml(example)}}}"
            raise SottovoceError(
                f"{where}={shown(value)}, but a mapping{none} is wanted, such as {told}. {listed(self.options)}"
            )
        for name in value:
            self.refuse_unknown(name, where)
        given = {name: self.options[name].checked(item, f"{where}.{name}") for name, item in value.items()}
        missing = [name for name, option in self.options.items() if option.required and name not in given]
        if missing:
            raise SottovoceError(f"{where} needs '{missing[0]}' ({self.options[missing[0]].wanted}).")
        try:
            return dataclasses.replace(default, **given) if isinstance(default, self.kind) else self.kind(**given)
        except SottovoceError as error:
            raise SottovoceError(f"{where}.{error}") from None

    def refuse_unknown(self, name: object, where: str) -> None:
        """An error with the nearest name, if the group has no option of this one."""
        if name not in self.options:
            raise SottovoceError(
                f"{where} has no option '{cut(name)}'{hint(name, self.options)} {listed(self.options)}"
            )


def listed(options: Mapping[str, Option]) -> str:
    """The names of options, as a sentence ends with them.

    Example:
        >>> listed({})
        'Options: none.'
    """
    return f"Options: {', '.join(options) or 'none'}."


def as_yaml(value: object) -> str:
    """A value as one writes it in YAML, for a sentence.

    Example:
        >>> as_yaml(True), as_yaml("cosine"), as_yaml(None), as_yaml(0.1)
        ('true', 'cosine', 'null', '0.1')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return cut(value)


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
    kind, optional = _dataclass_of(annotation)
    if kind is not None:
        none = " or None (null in YAML)" if optional else ""
        group = Group(kind, _fields(kind, default), optional)
        return Option(name, annotation, default, f"a mapping{none}", None, group)
    schema, wanted, _ = _understand(annotation)
    adapter = pydantic.TypeAdapter[Any](schema, config=pydantic.ConfigDict(strict=True))
    return Option(name, annotation, default, wanted, adapter)


def _dataclass_of(annotation: Any) -> tuple[type[Any] | None, bool]:
    """The frozen dataclass that an annotation is, and whether it may also be None."""
    union = typing.get_origin(annotation) in (Union, types.UnionType)
    parts = typing.get_args(annotation) if union else (annotation,)
    rest: list[Any] = [part for part in parts if part is not types.NoneType]
    frozen = len(rest) == 1 and getattr(getattr(rest[0], "__dataclass_params__", None), "frozen", False)
    return (rest[0] if frozen else None), len(rest) < len(parts)


def _fields(kind: type[Any], default: Any) -> dict[str, Option]:
    """The options of a group, with the defaults that the function has for them."""
    hints = typing.get_type_hints(kind)
    empty, options = inspect.Parameter.empty, {}
    for field in dataclasses.fields(kind):
        if not field.init or not field.metadata.get("option", True):
            continue
        own = empty if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            own = field.default_factory()
        given = getattr(default, field.name) if isinstance(default, kind) else own
        options[field.name] = _option(field.name, hints[field.name], given)
    return options


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
