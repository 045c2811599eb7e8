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
DEEPEST = 64  # brackets within brackets
MOST = 200_000  # values in one YAML document, those that aliases repeat counted each time


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
    if len(digits) > 19:
        raise json.JSONDecodeError(f"a whole number of {len(digits)} digits", digits, 0)
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no number", name, 0)


_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-4` is a number, `2024-01-01` is a text, and no key comes twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Checked here, where each mapping of the text passes once; later, merges (<<) add keys that may repeat.
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                problem = f"the key '{key.value}' is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return node


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
# YAML 1.1 reads 1e-4 as text (it wants 1.0e-4), which is how most people write a learning rate.
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
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
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _size(node, {}) > MOST:
                raise SottovoceError(f"line 1: more than {MOST:,} values, aliases written out; write fewer.")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except SottovoceError as error:
        raise SottovoceError(f"{name}, {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "not YAML"
        if problem.startswith("but ") and error.context:
            problem = f"{error.context} {problem}"
        raise SottovoceError(f"{name}, line {mark.line + 1 if mark else 1}: {_one_line(problem)}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SottovoceError(f"{name}, line {line}: a character that YAML does not allow.") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        # Values that wear a tag they do not fit (`!!int nine`), and brackets nested a thousand deep.
        raise SottovoceError(f"{name} cannot be read as YAML: {_one_line(str(error)) or 'too deep'}.") from None


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for when every alias in it is written out."""
    if known.get(id(node)) == 0:
        raise SottovoceError(f"line {node.start_mark.line + 1}: an alias inside the value that it names.")
    if id(node) not in known:
        known[id(node)] = 0
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = min(MOST + 1, 1 + sum(_size(part, known) for part in parts))
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
