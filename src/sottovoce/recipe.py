"""A recipe: which model, which steps, which measures, and which of these to vary."""

import dataclasses
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sottovoce.errors import MOST_LISTED, SottovoceError, cut, hint, shown
from sottovoce.files import dump_yaml, load_yaml, read_text
from sottovoce.files.text import LARGEST_YAML, MOST_WRITTEN
from sottovoce.registry import Registry, check_options

Step = tuple[str, Mapping[str, Any]]
MOST_POINTS, MOST_STEPS, MOST_IN_ALL = 10_000, 1_000, 100_000
WHOLE = ("steps", "measures")  # what a recipe lists; each may be varied as a whole, too
_STEPS = "steps and measures are lists of a name, or of {name: {option: value}}"


@dataclass(frozen=True)
class Recipe:
    """What a run does, from YAML; equal recipes have equal hashes, and the hash names the run.

    Example:
        >>> recipe = Recipe.from_yaml("{model: hubert, steps: [{drop_layers: {keep: 9}}], vary: {seed: [0, 1]}}")
        >>> [point.seed for point in recipe.points()]
        [0, 1]
    """

    model: str
    data: str | None = None
    seed: int = 0
    steps: tuple[Step, ...] = ()
    measures: tuple[Step, ...] = ()
    vary: Mapping[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _want(isinstance(self.model, str) and self.model.strip(), "model", self.model, "a Hub id or a folder")
        _want(self.data is None or isinstance(self.data, str), "data", self.data, "the name of a corpus or manifest")
        # numpy takes no larger seed.
        _want(type(self.seed) is int and 0 <= self.seed < 2**32, "seed", self.seed, "an int from 0 to 4294967295")
        for key in ("steps", "measures"):
            object.__setattr__(self, key, _read_steps(key, getattr(self, key)))
        object.__setattr__(self, "vary", _read_grid(self.vary))
        self._check_grid()

    @classmethod
    def from_yaml(cls, source: str | Path) -> "Recipe":
        """Read a file, or YAML text: a string is a file's name if it ends in .yaml or .yml or if such a file exists.

        Example:
            >>> Recipe.from_yaml("model: facebook/hubert-base-ls960").model
            'facebook/hubert-base-ls960'
        """
        named = isinstance(source, Path) or "\n" not in source and source.endswith((".yaml", ".yml"))
        if not named and not is_file_name(source):
            return cls.from_dict(load_yaml(str(source), name="recipe"))
        text = read_text(source, "the recipe", largest=4 * LARGEST_YAML)  # UTF-8 has up to four bytes a character
        record = load_yaml(text, name=str(source))
        with explained(source):
            return cls.from_dict(record)

    @classmethod
    def from_dict(cls, record: Any) -> "Recipe":
        """A recipe from what its YAML holds.

        Example:
            >>> Recipe.from_dict({"model": "hubert", "steps": ["fold"]}).steps
            (('fold', {}),)
        """
        keys = [item.name for item in dataclasses.fields(cls)]
        if record is None:
            raise SottovoceError("recipe is empty; it needs at least the line 'model: ...'.")
        if not isinstance(record, Mapping):
            raise SottovoceError(f"recipe is {_kind(record)}, but a mapping is wanted. Keys: {', '.join(keys)}.")
        for key in record:
            if key not in keys:
                raise SottovoceError(f"recipe has no key '{cut(key)}'{hint(key, keys)} Keys: {', '.join(keys)}.")
        if "model" not in record:
            raise SottovoceError("recipe needs the key 'model': a Hub id or a folder.")
        return cls(**record)

    def to_dict(self) -> dict[str, Any]:
        """What the recipe's YAML holds; keys that say nothing are left out.

        Example:
            >>> Recipe("hubert", steps=(("drop_layers", {"keep": 9}), ("fold", {}))).to_dict()["steps"]
            [{'drop_layers': {'keep': 9}}, 'fold']
        """
        record: dict[str, Any] = {"model": self.model, "data": self.data, "seed": self.seed}
        for key in ("steps", "measures"):
            record[key] = [{name: dict(options)} if options else name for name, options in getattr(self, key)]
        record["vary"] = dict(self.vary)
        return {key: value for key, value in record.items() if value not in (None, [], {})}

    def to_yaml(self) -> str:
        """The inverse of `from_yaml`.

        Example:
            >>> print(Recipe("hubert", steps=(("drop_layers", {"keep": 9}),)).to_yaml(), end="")
            model: hubert
            seed: 0
            steps:
            - drop_layers: {keep: 9}
        """
        record = self.to_dict()
        text = dump_yaml(record)
        if len(text) > LARGEST_YAML or _count(record) > MOST_WRITTEN:
            raise SottovoceError(f"the recipe is too long to be read again: at most {MOST_WRITTEN:,} values.")
        return text

    def points(self) -> list["Recipe"]:
        """Every combination of what `vary` lists, without `vary`: the last key varies fastest, as in nested loops.

        Steps, and measures, may be varied as a whole: `{"steps": [[], [{"drop_layers": {"keep": 9}}]]}`.

        Example:
            >>> recipe = Recipe("hubert", steps=(("drop_layers", {}),), vary={"steps.0.keep": [9, 6], "seed": [0, 1]})
            >>> [(point.steps[0][1]["keep"], point.seed) for point in recipe.points()]
            [(9, 0), (9, 1), (6, 0), (6, 1)]
        """
        targets = [self._target(key) for key in self.vary]
        return [self._at(targets, values) for values in itertools.product(*self.vary.values())]

    def changed(self, changes: Mapping[str, Any]) -> "Recipe":
        """The recipe with other values at some places, named as in `vary`; where steps are varied as a whole, in each
        list of them that has the place.

        Example:
            >>> recipe = Recipe("hubert", steps=(("finetune", {"task": "asr"}),))
            >>> recipe.changed({"steps.finetune.train.steps": 10}).steps[0][1]
            {'task': 'asr', 'train': {'steps': 10}}
        """
        vary, rest = dict(self.vary), dict(changes)
        for key in changes:
            if key in self.vary:
                raise SottovoceError(f"'{cut(key)}' is varied by this recipe; leave it out, or vary something else.")
            if (group := key.partition(".")[0]) in WHOLE and group in vary:
                vary[group] = self._changed_lists(key, rest.pop(key), vary[group])
        targets = [self._target(key) for key in rest]
        made = dataclasses.replace(self, vary={})._at(targets, list(rest.values()))
        return dataclasses.replace(made, vary=vary)

    def hash(self, extra: Mapping[str, str] | None = None) -> str:
        """Twelve hex digits of the recipe and of what else decides the result, such as the data's own hash.

        Example:
            >>> Recipe("hubert").hash() == Recipe("hubert", seed=0).hash() != Recipe("hubert", seed=1).hash()
            True
        """
        record = {"recipe": self.to_dict(), "extra": dict(extra or {})}
        canonical = json.dumps(record, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def check(self, methods: Registry, measures: Registry) -> None:
        """Refuse a name or an option that the registries do not know, in any point of the grid, before any work.

        Example:
            >>> Recipe("hubert", steps=(("drop_lairs", {}),)).check(Registry("method"), Registry("measure"))
            Traceback (most recent call last):
            sottovoce.errors.SottovoceError: step 1 (drop_lairs): unknown method 'drop_lairs'. Known: .
        """
        for point in self.points():
            for kind, steps, known in (("step", point.steps, methods), ("measure", point.measures, measures)):
                for number, (name, options) in enumerate(steps, start=1):
                    with explained(f"{kind} {number} ({cut(name)})"):
                        check_options(known[name], with_data((name, options))[1])

    def data_names(self) -> list[str]:
        """The names of all data that a point needs: its own, and those that single steps and measures name.

        Example:
            >>> Recipe("hubert", "espeak", measures=(("asr", {"data": "librispeech:test-clean"}),)).data_names()
            ['espeak', 'librispeech:test-clean']
        """
        named = [with_data(step)[0] for step in (*self.steps, *self.measures)]
        return list(dict.fromkeys(name for name in (self.data, *named) if name is not None))

    def _changed_lists(self, key: str, value: Any, listed: list[Any]) -> list[Any]:
        """Of steps that are varied as a whole, those lists with another value that have a place of this name."""
        group, made, reason = key.partition(".")[0], [], None
        for steps in listed:
            own = dataclasses.replace(self, vary={}, **{group: steps})
            try:
                target = own._target(key)
            except SottovoceError as error:
                made.append(steps)
                reason = reason or error
            else:
                made.append(own._at([target], [value]).to_dict()[group])
        if made == listed and reason is not None:
            raise reason
        return made

    def _check_grid(self) -> None:
        count = math.prod(len(values) for values in self.vary.values())
        if count > MOST_POINTS:
            raise SottovoceError(f"vary asks for {shown(count)} points, but at most {MOST_POINTS} can be; list fewer.")
        longest = [
            max(
                len(steps) if isinstance(steps, list) else 1 for steps in self.vary.get(key, [list(getattr(self, key))])
            )
            for key in WHOLE
        ]
        if (all_steps := count * sum(longest)) > MOST_IN_ALL:
            raise SottovoceError(
                f"vary asks for {count} points with {all_steps} steps and measures in all, but at most {MOST_IN_ALL} "
                "are possible; list fewer."
            )
        keys: dict[tuple[Any, ...], str] = {}
        for key, values in self.vary.items():
            target = self._target(key)
            for other, name in keys.items():
                if other[: len(target)] == target[: len(other)]:
                    alike = "are the same option" if other == target else "are of the same option"
                    raise SottovoceError(f"vary: '{cut(name)}' and '{cut(key)}' {alike}; give it once.")
            keys[target] = key
            for value in values:
                with explained(f"vary: {cut(key)}"):
                    self._at([target], [value])

    def _target(self, key: str) -> tuple[Any, ...]:
        """Where a key of `vary` points: `("seed",)`, `("steps", 0, "keep")`, or `("steps", 0, "train", "lr")`."""
        if key in ("model", "data", "seed", *WHOLE):
            return (key,)
        group, _, rest = key.partition(".")
        where, _, option = rest.partition(".")
        path = option.split(".")
        if group not in WHOLE or not where or not all(path):
            keys = "Keys: model, data, seed, steps, steps.<number or method>.<option>, and of measures the same."
            raise SottovoceError(f"vary has no key '{cut(key)}'{hint(key, ['model', 'data', 'seed'])} {keys}")
        names = [name for name, _ in getattr(self, group)]
        if where.isascii() and where.isdigit():
            if len(where) > 9 or int(where) >= len(names):
                raise SottovoceError(f"vary: '{cut(key)}', but the recipe has {len(names)} {group}, counted from 0.")
            return (group, int(where), *path)
        if names.count(where) != 1:
            listed = ", ".join(f"{number}: {cut(name)}" for number, name in enumerate(names[:MOST_LISTED])) or "none"
            count = f"{names.count(where)} times" if where in names else "not"
            raise SottovoceError(
                f"vary: '{cut(key)}', but {cut(where)} is {count} in {group} ({listed}); give its number."
            )
        return (group, names.index(where), *path)

    def _at(self, targets: Sequence[tuple[Any, ...]], values: Sequence[Any]) -> "Recipe":
        changes: dict[str, Any] = {"vary": {}}
        for (key, *place), value in zip(targets, values, strict=True):
            if not place:
                changes[key] = value
                continue
            steps, (index, *path) = list(changes.get(key, getattr(self, key))), place
            steps[index] = (steps[index][0], _with(steps[index][1], path, value))
            changes[key] = tuple(steps)
        return dataclasses.replace(self, **changes)


def _with(options: Any, path: Sequence[str], value: Any) -> dict[str, Any]:
    """Options with a value at a path; what is no mapping on the way becomes one."""
    options = dict(options) if isinstance(options, Mapping) else {}
    first, *rest = path
    return {**options, first: _with(options.get(first), rest, value) if rest else value}


def with_data(step: Step) -> tuple[str | None, dict[str, Any]]:
    """The name of the data that a step or measure has for itself, if it names some, and its options without that.

    Example:
        >>> with_data(("asr", {"mode": "head", "data": "librispeech:test-clean"}))
        ('librispeech:test-clean', {'mode': 'head'})
    """
    options = dict(step[1])
    name = options.pop("data", None)
    _want(name is None or (isinstance(name, str) and name), f"data of {cut(step[0])}", name, "the name of data")
    return name, options


def is_file_name(text: str | Path) -> bool:
    """Whether a text is the name of a file that is there, and no YAML.

    Example:
        >>> is_file_name("model: hubert")
        False
    """
    try:
        return os.path.isfile(text)
    except ValueError:  # a null character
        return False


@contextmanager
def explained(where: object) -> Iterator[None]:
    """Say first where an error was.

    Example:
        >>> with explained("step 1 (drop_layers)"):
        ...     raise SottovoceError("keep=99 is too much.")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: step 1 (drop_layers): keep=99 is too much.
    """
    try:
        yield
    except SottovoceError as error:
        raise SottovoceError(f"{where}: {error}") from None


def _want(fits: object, key: str, value: object, wanted: str) -> None:
    if not fits:
        raise SottovoceError(f"recipe: {cut(key)}={shown(value)}, but {wanted} is wanted.")


def _kind(value: object) -> str:
    return {str: "a text", list: "a list", dict: "a mapping"}.get(type(value)) or shown(value)


def _read_steps(key: str, value: Any) -> tuple[Step, ...]:
    """The (name, options) pairs of a list whose items are a name, a mapping of one name, or such a pair."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise SottovoceError(f"recipe: {key} is {_kind(value)}, but a list is wanted: {_STEPS}.")
    if len(value) > MOST_STEPS:
        raise SottovoceError(f"recipe: {key} has {len(value):,} items, but at most {MOST_STEPS:,} are possible.")
    steps = []
    for number, item in enumerate(value, start=1):
        where = f"recipe: item {number} of {key}"
        if isinstance(item, str):
            item = (item, {})
        elif isinstance(item, Mapping) and len(item) == 1:
            item = next(iter(item.items()))
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
            raise SottovoceError(f"{where} is {shown(item)}: {_STEPS}.")
        name, options = item[0], {} if item[1] is None else item[1]
        if not isinstance(options, Mapping):
            raise SottovoceError(f"{where} ({cut(name)}) has {shown(options)}, but {{option: value}} is wanted.")
        for option in options:
            _want(isinstance(option, str), f"{key}: the name of an option of {cut(name)}", option, "a text")
        steps.append((name, _plain(f"{where} ({cut(name)})", dict(options))))
    return tuple(steps)


def _read_grid(value: Any) -> dict[str, list[Any]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SottovoceError(f"recipe: vary is {_kind(value)}, but a mapping is wanted, such as {{seed: [0, 1, 2]}}.")
    for key, values in value.items():
        _want(isinstance(key, str), "a key of vary", key, "a text")
        if not isinstance(values, list | tuple) or not values:
            raise SottovoceError(f"vary: {cut(key)}={shown(values)}, but a list of at least one value is wanted.")
    return {key: _plain(f"vary: {cut(key)}", list(values)) for key, values in value.items()}


def _count(value: Any) -> int:
    """How many values, keys among them, a record has."""
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, inner))


def _plain(where: str, value: Any) -> Any:
    """A copy that YAML can hold: tuples become lists; what only Python can hold is refused."""
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        wrong = "something else came"
    except (ValueError, RecursionError):
        wrong = "a number has thousands of digits, or a list holds itself"
    raise SottovoceError(f"{where}: only text, numbers, true, false, null and lists fit here, but {wrong}.")
