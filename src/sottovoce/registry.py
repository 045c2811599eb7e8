"""Methods and measures by name; a function's signature is its configuration, checked before any work."""

import copy
import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, final

from sottovoce.errors import SottovoceError, cut, hint, shown, unknown
from sottovoce.files import load_yaml
from sottovoce.options import Option, as_yaml, listed, options_of
from sottovoce.views import Shown

R = TypeVar("R")
Kind = Literal["method", "measure"]

# What stands between commas that are in no brackets (one pair may lie in another) and in no quotes.
_PARTS = re.compile(r"""((?:\[(?:[^][]|\[[^][]*\])*\]|\{[^{}]*\}|(?<=[=[{,: ])(?:"[^"]*"|'[^']*')|[^,])*)(?:,|$)""")


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
    reports_gain: bool = False  # whether what it brings is for each machine to say
    shown: tuple[Shown, ...] = ()  # how a measure's rows are shown
    outline: Callable[..., Any] | None = None  # what a method makes of a model without numbers
    alone: Callable[[Mapping[str, Any]], bool] | None = None  # with which options it must have the machine for itself

    @property
    def place(self) -> str:
        """Where the function is defined, as `file:line`."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    def is_alone(self, options: Mapping[str, Any]) -> bool:
        """Whether it times something with these options, and so must not run beside other work."""
        return self.alone is not None and self.alone(options)

    def takes(self, option: str) -> bool:
        """Whether the function has an option of this name."""
        return option in options_of(inspect.unwrap(self.function))

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


def register_method(
    name: str | None = None,
    *,
    paper: str = "",
    reports_gain: bool = False,
    outline: Callable[..., Any] | None = None,
    alone: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Register a function `(model, data=None, *, options...) -> model`, which then works on a copy of the model.

    With `reports_gain` runs measure before and after it what it brings on this machine, and log that. `outline(model,
    **options)` makes of a model without numbers, in place, the shape that the method will leave, and refuses what the
    method would: so a recipe's options are checked against the shapes that its earlier steps will have made. It returns
    False where that shape hangs on numbers or speech. `alone(options)` says whether it times something, so that sweeps
    leave it the machine.

    Example:
        >>> @register_method(paper="arXiv:2110.01900")  # doctest: +SKIP
        ... def drop_layers(model: Encoder, data: Data = None, *, keep: int) -> Encoder:
        ...     "Keep the first layers."
    """
    return _decorator("method", name, paper=paper, reports_gain=reports_gain, outline=outline, alone=alone)


def register_measure(
    name: str | None = None,
    *,
    paper: str = "",
    version: int = 1,
    shares: bool = False,
    shown: Shown | Sequence[Shown] = (),
    alone: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Register a function `(model, data=None, *, options...) -> list[Measurement]`.

    A new version says that its numbers cannot be compared with those of the one before; `shares`, that its passes are
    in chunks that any number of machines can divide among themselves; `shown`, what pages and tables make of its rows,
    and whether these speak for cuts (if not given: a plain table under the measure's name, and for none).
    `alone(options)` says whether it times something, so that sweeps leave it the machine.

    Example:
        >>> flat = Shown("Flatness", (Lines("layer"),), better="lower")  # doctest: +SKIP
        >>> @register_measure(version=2, shown=flat)  # doctest: +SKIP
        ... def flatness(model: Encoder, data: Data = None, *, trim: float = 0.0) -> list[Measurement]:
        ...     "How flat the weights of each layer are."
    """
    sections = (shown,) if isinstance(shown, Shown) else tuple(shown)
    if not all(isinstance(section, Shown) for section in sections):
        raise TypeError("write @register_measure(shown=Shown(...)), or give several of them in a list")
    return _decorator("measure", name, paper=paper, version=version, shares=shares, shown=sections, alone=alone)


def _decorator(kind: Kind, name: object, **about: Any) -> Callable[[Callable[..., R]], Callable[..., R]]:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"write @register_{kind}() with brackets, or @register_{kind}('name')")

    # What may be given (a mapping for a group, a list for a tuple) is wider than what the function gets.
    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        options_of(function)  # a signature that cannot be a configuration fails at import

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> R:
            given = dict(zip(("model", "data"), args, strict=False)) | kwargs
            if "model" in given:
                _check_inputs(entry.name, given["model"], given.get("data"))
            options = {key: value for key, value in kwargs.items() if key not in ("model", "data")}
            kwargs.update(check_options(entry, options))
            if kind == "method":
                return _on_a_copy(function, args, kwargs)
            return _with_direction(function(*args, **kwargs), entry.shown)

        entry = Entry(name or function.__name__, kind, call, **about)
        (METHODS if kind == "method" else MEASURES).add(entry)
        return call

    return decorate


def _on_a_copy(function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    if args:
        return function(copy.deepcopy(args[0]), *args[1:], **kwargs)
    return function(**{key: copy.deepcopy(value) if key == "model" else value for key, value in kwargs.items()})


def _with_direction(rows: Any, sections: tuple[Shown, ...]) -> Any:
    """The rows, those that do not say which direction is better with what the measure says of all."""
    better = next((one.better for one in sections if one.better != "neither"), None)
    if better is None:
        return rows
    return [replace(row, better=better) if row.better == "neither" else row for row in rows]


def sections_of(measure: str) -> tuple[Shown, ...]:
    """How a measure's rows are shown: as it registered, or else as a plain table under its name.

    Example:
        >>> sections_of("nobody's")[0].title
        "nobody's"
    """
    registered = MEASURES[measure].shown if measure in MEASURES else ()
    return registered or (Shown(measure),)


def _check_inputs(name: str, model: object, data: object) -> None:
    """Refuse what is no model and no data: both are given by position, and an option may stand in their place."""
    if model is None or isinstance(model, str | Path | int | float):
        raise SottovoceError(
            f"{name}: the model is {shown(model)}, but a model is wanted: sv.load(...) or sv.new(...)."
        )
    if data is None:
        return
    from sottovoce.data.utterance import Utterance  # here, because listing methods needs no arrays

    if isinstance(data, list | tuple) and all(isinstance(item, Utterance) for item in data[:1]):
        return
    raise SottovoceError(
        f"{name}: the data is {shown(data)}, but a list of utterances is wanted: sv.read_data(...); options are "
        "given by name."
    )


def _named(target: Entry | Callable[..., Any]) -> tuple[str, dict[str, Option]]:
    """The name by which users know an entry or a function, and its options."""
    if isinstance(target, Entry):
        return target.name, options_of(inspect.unwrap(target.function))
    function = inspect.unwrap(target)
    entries = (*METHODS.values(), *MEASURES.values())
    names = (entry.name for entry in entries if inspect.unwrap(entry.function) is function)
    return next(names, function.__name__), options_of(function)


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
    for given, value in options.items():
        _refuse_unknown(name, given, known, as_yaml(value))
    for option in known.values():
        if option.required and option.name not in options:
            raise SottovoceError(f"{name} needs the option '{option.name}' ({option.wanted}). {listed(known)}")
    for given, value in options.items():
        for field, item in _said(value, known[given]).items():
            _refuse_own(name, given, field, known, as_yaml(item))
    return {given: known[given].checked(value, f"{name}: {given}") for given, value in options.items()}


def _refuse_unknown(name: str, given: object, known: Mapping[str, Option], written: str) -> None:
    """An error for a name that is no option; if it is one in groups, the sentence shows it there."""
    if given in known:
        return
    first, _, field = given.partition(".") if isinstance(given, str) else ("", "", "")
    if first in known and field in known[first].fields:
        raise SottovoceError(f"{name} has no option '{given}'; write {first}: {{{field}: {written}}}.")
    homes = [option.name for option in known.values() if given in option.fields]
    if homes:
        now = " or ".join(f"{home}.{given}" for home in homes)
        raise SottovoceError(f"{name} has no option '{given}'; it is {now} now: {homes[0]}: {{{given}: {written}}}.")
    inner = {
        field: option.name for option in reversed(list(known.values())) for field in option.fields if field not in known
    }
    near = hint(given, [*known, *inner])
    for field, home in inner.items():
        near = near.replace(f"'{field}'", f"'{home}.{field}'")
    raise SottovoceError(f"{name} has no option '{cut(given)}'{near} {listed(known)}")


def _refuse_own(name: str, group: str, field: object, known: Mapping[str, Option], written: str) -> None:
    """An error for an option of the function itself inside a group: a method has one seed."""
    if field in known and field not in known[group].fields:
        raise SottovoceError(
            f"{name}: {group} has no option '{field}'; it is an option of {name} itself: {field}={written}."
        )


def _said(value: Any, option: Option) -> Mapping[Any, Any]:
    """What a group says: the keys of a mapping, or of its dataclass the fields that are not as they come."""
    if option.group is None:
        return {}
    if isinstance(value, option.group.kind):
        values = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: item for field, item in values if item != field.default}
    return value if isinstance(value, Mapping) else {}


def parse_options(target: Entry | Callable[..., Any], text: str, *, also: str = "") -> dict[str, Any]:
    """The options in the command line's `keep=9,by=knn`, each read as YAML and checked; `also` names one more, a text.

    `train.steps=10` is an option of a group, of which a mapping comes out, as in a recipe.

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
            raise SottovoceError(f"{name}: '{cut(part.strip())}' is not option=value. {listed(known)}")
        if also and key == also and also not in options:
            options[also] = raw
            continue
        first, dot, field = key.partition(".")
        group = known[first].group if dot and first in known else None
        if group is None:
            _refuse_unknown(name, key, known, raw)
            place, option = options, known[key]
        else:
            _refuse_own(name, first, field, known, raw)
            group.refuse_unknown(field, f"{name}: {first}")
            place, option = options.setdefault(first, {}), group.options[field]
        if not isinstance(place, dict) or option.name in place:
            raise SottovoceError(f"{name}: the option '{key}' is given twice; give it once.")
        place[option.name] = _value(raw, option)
    more = {also: options.pop(also)} if also in options else {}
    checked = check_options(target, options)
    return {key: value if known[key].group is None else options[key] for key, value in checked.items()} | more


def _value(raw: str, option: Option) -> Any:
    """The YAML value of a text, or the text itself where only that fits: `by=no` is a name, not false."""
    try:
        value = load_yaml(raw)
    except SottovoceError:
        return raw
    if value is None and raw.lower() not in ("null", "~"):
        return raw  # to YAML, `#1` is a comment
    return value if option.fits(value) or not option.fits(raw) else raw


def parse_step(text: str, registry: Registry = METHODS) -> tuple[str, dict[str, Any]]:
    """The name and the options of the command line's `drop_layers:keep=9,by=knn`.

    Example:
        >>> parse_step("drop_layers:keep=9,by=knn")  # doctest: +SKIP
        ('drop_layers', {'keep': 9, 'by': 'knn'})
    """
    name, _, options = text.partition(":")
    entry = registry[name.strip()]
    return entry.name, parse_options(entry, options, also="data")


def describe(entry: Entry) -> dict[str, Any]:
    """An entry as `sottovoce methods --json` prints it.

    Example:
        >>> def halve(model, data, *, ratio: float = 0.5):
        ...     "Halve it."
        >>> describe(Entry("halve", "method", halve))["options"]
        [{'name': 'ratio', 'type': 'float', 'default': 0.5, 'required': False}]
    """
    function = inspect.unwrap(entry.function)
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    options = [_described(option) for option in options_of(function).values()]
    return {"name": entry.name, "paper": entry.paper, "summary": summary, "options": options}


def _described(option: Option) -> dict[str, Any]:
    """An option as JSON; a group has its own options in it."""
    kind = inspect.formatannotation(option.annotation)
    places = ["collections.abc", "pathlib", *([] if option.group is None else [option.group.kind.__module__])]
    for place in places:
        kind = kind.replace(f"{place}.", "")
    default = None if option.required else option.default
    if option.group is not None and default is not None:
        default = {name: getattr(default, name) for name in option.fields}
    found = {"name": option.name, "type": kind, "default": _json(default), "required": option.required}
    inner = [_described(field) for field in option.fields.values()]
    return found | ({"options": inner} if inner else {})


def _json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {name: _json(item) for name, item in value.items()}
    return value if isinstance(value, str | int | float | None) else str(value)
