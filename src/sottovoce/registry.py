"""Methods and measures by name; a function's signature is its configuration, checked before any work."""

import copy
import difflib
import functools
import inspect
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, final

import pydantic

from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import load_yaml

P = ParamSpec("P")
R = TypeVar("R")
Kind = Literal["method", "measure"]

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlist = _SHORT.maxtuple = 12
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
# What stands between commas that are in no brackets (one pair may lie in another) and in no quotes.
_PARTS = re.compile(r"""((?:\[(?:[^][]|\[[^][]*\])*\]|\{[^{}]*\}|(?<=[=[{,: ])(?:"[^"]*"|'[^']*')|[^,])*)(?:,|$)""")
_CONTAINERS = {list: "a list", tuple: "a list", Sequence: "a list", dict: "a mapping", Mapping: "a mapping"}


@dataclass(frozen=True)
class Entry:
    """A registered function with its name, kind, paper and version; calling it calls the function.

    Example:
        >>> def halve(model, data, *, ratio: float = 0.5):
        ...     "Halve it."
        >>> Entry("halve", "method", halve).name
        'halve'
    """

    name: str
    kind: Kind
    function: Callable[..., Any]
    paper: str = ""
    version: int = 1
    shares: bool = False  # whether several processes can divide its work

    @property
    def place(self) -> str:
        """Where the function is defined, as `file:line`."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    def takes(self, option: str) -> bool:
        """Whether the function has an option of this name."""
        return option in _options(inspect.unwrap(self.function))

    def __call__(self, model: Any, data: Any = None, **options: Any) -> Any:
        return self.function(model, data, **options)


@final
class Registry(Mapping[str, Entry]):
    """The entries of one kind by name, in the order of their definition.

    Example:
        >>> registry = Registry("method")
        >>> "halve" in registry, len(registry)
        (False, 0)
    """

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind
        self._entries: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        # Mapping's own asks for the item and expects a KeyError, which a SottovoceError is not.
        return name in self._entries

    def add(self, entry: Entry) -> None:
        """Take an entry whose name is not there yet."""
        if entry.name in self._entries:
            places = f"{self._entries[entry.name].place} and {entry.place}"
            raise SottovoceError(f"two {self.kind}s are named '{entry.name}': {places}; rename one of them.")
        self._entries[entry.name] = entry


METHODS = Registry("method")
MEASURES = Registry("measure")


def method(name: str | None = None, *, paper: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function `(model, data=None, *, options...) -> model`, which then works on a copy of the model.

    Example:
        >>> @method(paper="arXiv:2110.01900")  # doctest: +SKIP
        ... def drop_layers(model: Encoder, data: Data = None, *, keep: int) -> Encoder:
        ...     "Keep the first layers."
    """
    return _decorator("method", name, paper, version=1)


def measure(
    name: str | None = None, *, paper: str = "", version: int = 1, shares: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function `(model, data=None, *, options...) -> list[Measurement]`.

    A new version says that its numbers cannot be compared with those of the one before; `shares`, that its passes are
    in chunks that any number of machines can divide among themselves.

    Example:
        >>> @measure(version=2)  # doctest: +SKIP
        ... def size(model: Encoder, data: Data = None, *, trainable: bool = False) -> list[Measurement]:
        ...     "Count the parameters."
    """
    return _decorator("measure", name, paper, version=version, shares=shares)


def _decorator(
    kind: Kind, name: object, paper: str, *, version: int, shares: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"write @{kind}() with brackets, or @{kind}('name')")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        _options(function)  # a signature that cannot be a configuration fails at import

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            options = {key: value for key, value in kwargs.items() if key not in ("model", "data")}
            kwargs.update(check_options(entry, options))
            return _on_a_copy(function, args, kwargs) if kind == "method" else function(*args, **kwargs)

        entry = Entry(name or function.__name__, kind, call, paper, version, shares)
        (METHODS if kind == "method" else MEASURES).add(entry)
        return call

    return decorate


def _on_a_copy(function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    if args:
        return function(copy.deepcopy(args[0]), *args[1:], **kwargs)
    return function(**{key: copy.deepcopy(value) if key == "model" else value for key, value in kwargs.items()})


@dataclass(frozen=True)
class _Option:
    name: str
    annotation: Any
    default: Any
    wanted: str
    adapter: pydantic.TypeAdapter[Any]

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    def check(self, value: object) -> tuple[bool, Any]:
        """Whether the value fits, and the value as the function gets it."""
        try:
            return True, self.adapter.validate_python(list(value) if isinstance(value, range) else value)
        except pydantic.ValidationError:
            return False, value


@functools.cache
def _options(function: Callable[..., Any]) -> dict[str, _Option]:
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


def _option(name: str, annotation: Any, default: Any) -> _Option:
    schema, wanted, _ = _understand(annotation)
    adapter = pydantic.TypeAdapter[Any](schema, config=pydantic.ConfigDict(strict=True))
    return _Option(name, annotation, default, wanted, adapter)


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


def _choose(choices: tuple[Any, ...], value: Any) -> Any:
    # To Python, and so to pydantic, True is 1; as an option it is not.
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return value
    raise ValueError("not one of the choices")


def hint(name: object, known: Iterable[str]) -> str:
    """How a sentence about an unknown name ends: with the nearest that is known, if one is near.

    Example:
        >>> "no option 'ration'" + hint("ration", ["layers", "ratio"])
        "no option 'ration'; did you mean 'ratio'?"
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else "."


def _named(target: Entry | Callable[..., Any]) -> tuple[str, dict[str, _Option]]:
    """The name by which users know an entry or a function, and its options."""
    if isinstance(target, Entry):
        return target.name, _options(inspect.unwrap(target.function))
    function = inspect.unwrap(target)
    entries = (*METHODS.values(), *MEASURES.values())
    names = (entry.name for entry in entries if inspect.unwrap(entry.function) is function)
    return next(names, function.__name__), _options(function)


def check_options(target: Entry | Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the function gets them, or an error that says which one is wrong; defaults are not filled in.

    Example:
        >>> def drop_layers(model, data, *, keep: int, by: str = "first"):
        ...     "Keep some layers."
        >>> check_options(drop_layers, {"keep": "nine"})
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: drop_layers: keep='nine', but an int is wanted.
    """
    name, known = _named(target)
    for given in options:
        _refuse_unknown(name, given, known)
    for option in known.values():
        if option.required and option.name not in options:
            raise SottovoceError(f"{name} needs the option '{option.name}' ({option.wanted}). {_list(known)}")
    checked = {}
    for given, value in options.items():
        fits, checked[given] = known[given].check(value)
        if not fits:
            shown = _SHORT.repr(value).replace("\n", " ")
            raise SottovoceError(f"{name}: {given}={shown}, but {known[given].wanted} is wanted.")
    return checked


def _refuse_unknown(name: str, given: object, known: Mapping[str, _Option]) -> None:
    if given not in known:
        raise SottovoceError(f"{name} has no option '{given}'{hint(given, known)} {_list(known)}")


def _list(known: Mapping[str, _Option]) -> str:
    return f"Options: {', '.join(known) or 'none'}."


def parse_options(target: Entry | Callable[..., Any], text: str) -> dict[str, Any]:
    """The options in the command line's `keep=9,by=knn`, each read as YAML and checked.

    Example:
        >>> def drop_layers(model, data, *, keep: int | list[int], by: str = "first"):
        ...     "Keep some layers."
        >>> parse_options(drop_layers, "keep=[0,2,4],by=knn")
        {'keep': [0, 2, 4], 'by': 'knn'}
    """
    name, known = _named(target)
    options: dict[str, Any] = {}
    # What follows the last comma, or the last part, is always an empty match.
    for part in _PARTS.findall(text)[:-1] if text.strip() else ():
        key, equals, raw = (piece.strip() for piece in part.partition("="))
        if not (key and equals and raw):
            raise SottovoceError(f"{name}: '{part.strip()}' is not option=value. {_list(known)}")
        _refuse_unknown(name, key, known)
        if key in options:
            raise SottovoceError(f"{name}: the option '{key}' is given twice; give it once.")
        options[key] = _value(raw, known[key])
    return check_options(target, options)


def _value(raw: str, option: _Option) -> Any:
    """The YAML value of a text, or the text itself where only that fits: `by=no` is a name, not false."""
    try:
        value = load_yaml(raw)
    except SottovoceError:
        return raw
    if value is None and raw.lower() not in ("null", "~"):
        return raw  # to YAML, `#1` is a comment
    return value if option.check(value)[0] or not option.check(raw)[0] else raw


def parse_step(text: str, registry: Registry = METHODS) -> tuple[str, dict[str, Any]]:
    """The name and the options of the command line's `drop_layers:keep=9,by=knn`.

    Example:
        >>> parse_step("drop_layers:keep=9,by=knn")  # doctest: +SKIP
        ('drop_layers', {'keep': 9, 'by': 'knn'})
    """
    name, _, options = text.partition(":")
    entry = registry[name.strip()]
    return entry.name, parse_options(entry, options)


def describe(entry: Entry) -> dict[str, Any]:
    """An entry as `sottovoce methods --json` prints it.

    Example:
        >>> def halve(model, data, *, ratio: float = 0.5):
        ...     "Halve it."
        >>> describe(Entry("halve", "method", halve))["options"]
        [{'name': 'ratio', 'type': 'float', 'default': 0.5, 'required': False}]
    """
    function = inspect.unwrap(entry.function)
    options = [
        {
            "name": option.name,
            "type": inspect.formatannotation(option.annotation).replace("collections.abc.", "").replace("pathlib.", ""),
            "default": _json(None if option.required else option.default),
            "required": option.required,
        }
        for option in _options(function).values()
    ]
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    return {"name": entry.name, "paper": entry.paper, "summary": summary, "options": options}


def _json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return value if isinstance(value, str | int | float | None) else str(value)
