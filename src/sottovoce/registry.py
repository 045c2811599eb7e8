"""Methods and measures by name; a function's signature is its configuration, checked before any work."""

import copy
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar, final

from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import load_yaml
from sottovoce.options import Option, options_of, show, suggest

P = ParamSpec("P")
R = TypeVar("R")
Kind = Literal["method", "measure"]


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

    @property
    def place(self) -> str:
        """Where the function is defined, as `file:line`."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    def __call__(self, model: Any, data: Any = None, **options: Any) -> Any:
        return self.function(model, data, **options)


@final
class Registry(Mapping[str, Entry]):
    """The entries of one kind by name, in the order of their definition.

    Example:
        >>> registry = Registry("method")
        >>> registry["halve"]
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: unknown method 'halve'. Known: .
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
            first = self._entries[entry.name].place
            raise SottovoceError(
                f"two {self.kind}s are named '{entry.name}': {first} and {entry.place}; rename one of them."
            )
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
    name: str | None = None, *, paper: str = "", version: int = 1
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function `(model, data=None, *, options...) -> list[Measurement]`.

    A new version says that its numbers cannot be compared with those of the one before.

    Example:
        >>> @measure(version=2)  # doctest: +SKIP
        ... def size(model: Encoder, data: Data = None, *, trainable: bool = False) -> list[Measurement]:
        ...     "Count the parameters."
    """
    return _decorator("measure", name, paper, version=version)


def _decorator(
    kind: Kind, name: object, paper: str, *, version: int
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"write @{kind}() with brackets, or @{kind}('name')")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        options_of(function)  # a signature that cannot be a configuration fails at import

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            options = {key: value for key, value in kwargs.items() if key not in ("model", "data")}
            kwargs.update(check_options(entry, options))
            if kind == "measure":
                return function(*args, **kwargs)
            return _on_a_copy(function, args, kwargs)

        entry = Entry(name or function.__name__, kind, call, paper, version)
        (METHODS if kind == "method" else MEASURES).add(entry)
        return call

    return decorate


def _on_a_copy(function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    if args:
        return function(copy.deepcopy(args[0]), *args[1:], **kwargs)
    return function(**{key: copy.deepcopy(value) if key == "model" else value for key, value in kwargs.items()})


def _named(target: Entry | Callable[..., Any]) -> tuple[str, dict[str, Option]]:
    """The name by which users know an entry or a function, and its options."""
    if isinstance(target, Entry):
        return target.name, options_of(inspect.unwrap(target.function))
    function = inspect.unwrap(target)
    for entry in (*METHODS.values(), *MEASURES.values()):
        if inspect.unwrap(entry.function) is function:
            return entry.name, options_of(function)
    return target.__name__, options_of(function)


def check_options(target: Entry | Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the function gets them, or an error that says which one is wrong; defaults are not filled in.

    Example:
        >>> def drop_layers(model, data, *, keep: int, by: str = "first"):
        ...     "Keep some layers."
        >>> check_options(drop_layers, {"keep": 9})
        {'keep': 9}
        >>> check_options(drop_layers, {"keep": "nine"})
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: drop_layers: keep='nine', but an int is wanted.
    """
    name, known = _named(target)
    for given in options:
        _refuse_unknown(name, given, known)
    for option in known.values():
        if option.required and option.name not in options:
            listed = ", ".join(known)
            raise SottovoceError(f"{name} needs the option '{option.name}' ({option.wanted}). Options: {listed}.")
    checked = {}
    for given, value in options.items():
        option = known[given]
        ok, checked[given] = option.check(value)
        if not ok:
            raise SottovoceError(f"{name}: {given}={show(value)}, but {option.wanted} is wanted.")
    return checked


def _refuse_unknown(name: str, given: object, known: Mapping[str, Option]) -> None:
    if given in known:
        return
    if not known:
        raise SottovoceError(f"{name} has no option '{given}'; it takes none.")
    raise SottovoceError(f"{name} has no option '{given}'{suggest(given, known)} Options: {', '.join(known)}.")


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
    for part in _split(text):
        key, equals, raw = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not raw:
            raise SottovoceError(f"{name}: '{part.strip()}' is not option=value; write {name}:{_example(known)}.")
        _refuse_unknown(name, key, known)
        if key in options:
            raise SottovoceError(f"{name}: the option '{key}' is given twice; give it once.")
        options[key] = _read_value(raw, known[key])
    return check_options(target, options)


def _example(known: Mapping[str, Option]) -> str:
    return ",".join(f"{key}=..." for key in known) or "no options"


def _read_value(raw: str, option: Option) -> Any:
    """The YAML value of a text, or the text itself where only that fits: `by=no` is a name, not false."""
    try:
        value = load_yaml(raw)
    except SottovoceError:
        return raw
    if value is None and raw.lower() not in ("null", "~"):
        return raw  # `#1` is a comment to YAML
    return value if option.check(value)[0] or not option.check(raw)[0] else raw


def _split(text: str) -> list[str]:
    """The parts between commas that are in no bracket and in no quotes."""
    parts, depth, quote, before = [""], 0, "", "="
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and before in "=[{,: ":
            quote = char
        elif char in "[{(":
            depth += 1
        elif char in "]})":
            depth = max(depth - 1, 0)
        if char == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += char
        before = char
    return parts if text.strip() else []


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
    return {
        "name": entry.name,
        "paper": entry.paper,
        "summary": (inspect.getdoc(function) or "").partition("\n")[0],
        "options": [option.describe() for option in options_of(function).values()],
    }
