"""The one reader of JSON and of YAML: whatever a file holds, it is read or refused in a sentence."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from sottovoce.errors import SottovoceError
from sottovoce.files.paths import reached, regular_file

LARGEST = 64 << 20  # bytes of one JSON or YAML file, and of one line of a file of lines
UNBOUNDED = str(int(1e30))  # what transformers writes into every tokenizer's file, for texts of any length
DEEPEST = 64  # brackets within brackets
LARGEST_YAML = 128 << 10  # characters of one YAML document: PyYAML reads some hundred thousand a second
MOST_WRITTEN, MOST = 12_000, 200_000  # values in one, as written and with every alias written out


def read_text(path: str | Path, what: str = "the file", *, largest: int = LARGEST) -> str:
    """The text of an ordinary UTF-8 file.

    Example:
        >>> read_text("nothing.yaml", "the recipe")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: there is no file 'nothing.yaml'; give the path of the recipe.
    """
    file = regular_file(path, what)
    content = b""
    with reached(path, what):
        if file.stat().st_size > largest:
            raise SottovoceError(f"'{path}' has {file.stat().st_size} bytes, more than {what} can have ({largest}).")
        content = file.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SottovoceError(f"'{path}' is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None


def read_lines(path: str | Path, what: str = "the file") -> Iterator[bytes]:
    """The lines of an ordinary file, without their ends; one that is too long for memory is cut, and so no JSON.

    Example:
        >>> list(read_lines("manifest.jsonl", "the manifest"))  # doctest: +SKIP
        [b'{"id": "a", "path": "a.wav", "seconds": 1.0}']
    """
    file = regular_file(path, what)
    with reached(path, what), open(file, "rb") as opened:
        while line := opened.readline(LARGEST):
            yield line.removesuffix(b"\n").removesuffix(b"\r")


def read_json(path: str | Path, what: str = "the file", *, largest: int = LARGEST) -> Any:
    """What a JSON file holds.

    Example:
        >>> read_json("nothing.json", "the configuration")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: there is no file 'nothing.json'; give the path of the configuration.
    """
    return parse_json(read_text(path, what, largest=largest), f"'{path}'")


def parse_json(text: str | bytes, name: str = "the text", *, nan: bool = False) -> Any:
    """What a JSON text holds; `nan` also takes NaN and Infinity, which Python writes and JSON does not have.

    Example:
        >>> parse_json('{"keep": 9}')
        {'keep': 9}
        >>> parse_json('{"keep": ', "run.json")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: run.json is not JSON (line 1: Expecting value).
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        if _depth(decoded) > DEEPEST:
            raise SottovoceError(f"{name} is not JSON that can be used (more than {DEEPEST} brackets deep).")
        value = json.loads(decoded, parse_int=_integer, parse_constant=None if nan else _refuse_constant)
        if "\\u" in decoded or not decoded.isascii():
            # Half of a pair of surrogates is no letter: it could be read, but never written again.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeDecodeError as error:
        raise SottovoceError(f"{name} is not UTF-8 text (byte {error.start}).") from None
    except UnicodeEncodeError:
        raise SottovoceError(f"{name} holds a lone surrogate, which is no letter.") from None
    except json.JSONDecodeError as error:
        raise SottovoceError(f"{name} is not JSON (line {error.lineno}: {error.msg}).") from None
    except RecursionError:
        raise SottovoceError(f"{name} is not JSON that can be used (nested too deep).") from None


def json_object(text: str | bytes, name: str = "the text", *, nan: bool = False) -> dict[str, Any]:
    """What a JSON text holds, if that is an object.

    Example:
        >>> json_object("[1]", "config.json")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: config.json holds a list, but a JSON object is wanted.
    """
    value = parse_json(text, name, nan=nan)
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(type(value), repr(value))
        raise SottovoceError(f"{name} holds {kind}, but a JSON object is wanted.")
    return value


def is_number(value: object) -> bool:
    """Whether a value that was read is a number; to Python, true and false are, too.

    Example:
        >>> is_number(3), is_number(True)
        (True, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def _depth(text: str) -> int:
    """How deep brackets are nested at most; those in texts count too, but only where there are very many of them."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    deepest = depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text):
        if found[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in "]}":
            depth -= 1
    return deepest


def _integer(digits: str) -> int:
    if len(digits) > 19 and digits != UNBOUNDED:
        raise json.JSONDecodeError(f"a whole number of {len(digits)} digits", digits, 0)
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no number", name, 0)


_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")


_KINDS = ("str", "int", "float", "bool", "null", "seq", "map", "merge")
_LONGEST = {"int": 64, "float": 64}  # characters: without end, numbers can overflow
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-4` is a number, `2024-01-01` is a text, no key comes twice, and nothing grows beyond use."""

    written = deep = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        # Counted while it is read: what is too much shall not be read to its end.
        self.written, self.deep = self.written + 1, self.deep + 1
        mark = self.peek_event().start_mark
        if self.written > MOST_WRITTEN:
            raise _problem(f"more than {MOST_WRITTEN:,} values; write fewer", mark)
        if self.deep > DEEPEST:
            raise _problem(f"nested more than {DEEPEST} deep", mark)
        node = super().compose_node(parent, index)
        self.deep -= 1
        if node is not None and node.tag.removeprefix(_TAG) not in _KINDS:
            raise _problem(f"a value with the tag '{node.tag.replace(_TAG, '!!')}'; only plain values are read", mark)
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node)
        return node

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        kind = node.tag.removeprefix(_TAG)
        if len(node.value) > _LONGEST.get(kind, LARGEST_YAML):
            raise _problem(f"a number of {len(node.value)} characters", node.start_mark)
        if kind in _LONGEST and ":" in node.value:
            raise _problem(f"'{node.value}' is a number of sixtieths in YAML; put it in quotes", node.start_mark)
        meant = self.resolve(yaml.ScalarNode, node.value, (True, False)).removeprefix(_TAG)
        if kind in ("int", "float", "bool", "null") and meant != kind and (meant, kind) != ("int", "float"):
            raise _problem(f"'{node.value}' has the tag !!{kind}, but is none", node.start_mark)
        if any("\ud800" <= letter <= "\udfff" for letter in node.value):
            raise _problem("a lone surrogate, which is no letter", node.start_mark)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Checked here, where each mapping of the text passes once; later, merges (<<) add keys that may repeat.
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _problem("a key that is no single word", key.start_mark)
            if (key.tag, key.value) in seen:
                raise _problem(f"the key '{key.value}' is given twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node


def _problem(text: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=mark)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that `_Loader`, or YAML elsewhere, would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def serialize(self, node: yaml.Node) -> None:
        # One line a key at the top, even where the whole would fit on one.
        if isinstance(node, yaml.CollectionNode):
            node.flow_style = False
        super().serialize(node)


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # In quotes of the other kind, PyYAML turns some of Unicode's line ends into spaces.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _write_text)
# YAML 1.1 reads `2024-01-01` as a date, and `=` as a value of its own kind.
_NOT_READ = (f"{_TAG}timestamp", f"{_TAG}value")
# It reads 1e-4 as text (it wants 1.0e-4), which is how most people write a learning rate.
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag not in _NOT_READ]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str, *, name: str = "YAML") -> Any:
    """Read YAML safely: a key given twice is an error, and every error is one sentence with its line.

    Example:
        >>> load_yaml("lr: 1e-4")
        {'lr': 0.0001}
        >>> load_yaml("keep: 9\\nkeep: 8", name="recipe.yaml")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: recipe.yaml, line 2: the key 'keep' is given twice.
    """
    if len(text) > LARGEST_YAML:
        raise SottovoceError(
            f"{name} has {len(text):,} characters, but at most {LARGEST_YAML:,} are read; write fewer."
        )
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _size(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "not YAML"
        if "constructor" in problem:
            problem = "'<<' is no value, but a key"
        if problem.startswith("but ") and error.context:
            problem = f"{error.context} {problem}"
        raise SottovoceError(f"{name}, line {mark.line + 1 if mark else 1}: {_one_line(problem)}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SottovoceError(f"{name}, line {line}: a character that YAML does not allow.") from None
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError, RecursionError):
        # Such as 0x_, which YAML takes for a number.
        raise SottovoceError(f"{name} cannot be read as YAML: there is a value in it that is no number.") from None


def _size(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node stands for, and how deep, when every alias in it is written out."""
    if known.get(id(node)) == (0, 0):
        raise _problem("an alias inside the value that it names", node.start_mark)
    if id(node) not in known:
        known[id(node)] = 0, 0
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [_size(part, known) for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        many, deep = 1 + sum(part[0] for part in parts), 1 + max((part[1] for part in parts), default=0)
        if many > MOST:
            raise _problem(f"more than {MOST:,} values, aliases written out; write fewer", node.start_mark)
        if deep > DEEPEST:
            raise _problem(f"nested more than {DEEPEST} deep, aliases written out", node.start_mark)
        known[id(node)] = many, deep
    return known[id(node)]


def dump_yaml(value: Any) -> str:
    """The inverse of `load_yaml`, keys in their order.

    Example:
        >>> print(dump_yaml({"model": "hubert", "steps": [{"drop_layers": {"keep": 9}}]}), end="")
        model: hubert
        steps:
        - drop_layers: {keep: 9}
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
