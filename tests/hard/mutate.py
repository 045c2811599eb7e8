"""Seeded changes of good files: of bytes, of the words of a text, and of the tree that a JSON text holds."""

import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

# Numbers at which programs break.
NUMBERS: tuple[str, ...] = (
    *("0", "-1", "1", "-0", "2", "3", "7", "255", "256", "65535", "2147483647", "-2147483648", "4294967296"),
    *("9223372036854775807", "9223372036854775808", "1e308", "1e999", "-1e999", "0.5", "1e-320", "1" + "0" * 40),
    *("9" * 5000, "NaN", "Infinity", "-Infinity", "0x10", "1_000", "00", "1.0", "100000", "1000000000"),
)
VALUES: tuple[str, ...] = (
    *("null", "true", "false", '""', '"x"', '"0"', '"é"', '"\\ud800"', '"\\u0000"', '"a\\nb"', "[]", "{}", "[[]]"),
    *("[null]", '[""]', "[0]", "[-1]", "[1,2,3]", '{"a":1}', '{"":{}}', '"' + "y" * 3000 + '"', "[" * 70 + "]" * 70),
    *('"../../x"', '"/etc/passwd"', '"\\u001b[31m"', "[1e999]"),
)
WORDS = re.compile(rb"[\w.+-]+|[^\w\s]|\s+")


def flip(content: bytes, chance: random.Random) -> bytes:
    """Some bits the other way round."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def place(content: bytes, chance: random.Random) -> bytes:
    """A byte or a number of the machine in another's place."""
    if not content:
        return b"\0"
    at = chance.randrange(len(content))
    kinds = ("<B", "<H", "<I", ">I", "<Q")
    kind = chance.choice(kinds)
    size = struct.calcsize(kind)
    top = (1 << 8 * size) - 1
    value = chance.choice((0, 1, top, top >> 1, (top >> 1) + 1, chance.randrange(top)))
    return content[:at] + struct.pack(kind, value) + content[at + size :]


def cut(content: bytes, chance: random.Random) -> bytes:
    """The beginning, the end, or all but a piece of the middle."""
    first, last = sorted((chance.randrange(len(content) + 1), chance.randrange(len(content) + 1)))
    return chance.choice((content[:first], content[last:], content[:first] + content[last:]))


def double(content: bytes, chance: random.Random) -> bytes:
    """A piece of it twice, or many times."""
    first, last = sorted((chance.randrange(len(content) + 1), chance.randrange(len(content) + 1)))
    return content[:last] + content[first:last] * chance.choice((1, 1, 2, 9)) + content[last:]


def swap(content: bytes, chance: random.Random) -> bytes:
    """Two of its words in each other's place, or one in two places."""
    words = WORDS.findall(content)
    if len(words) > 1:
        one, other = chance.randrange(len(words)), chance.randrange(len(words))
        words[one], words[other] = words[other], words[one] if chance.random() < 0.7 else words[other]
    return b"".join(words)


def number(content: bytes, chance: random.Random) -> bytes:
    """A number of interest where a number stands."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?", content))
    if not found:
        return place(content, chance)
    one = chance.choice(found)
    return content[: one.start()] + chance.choice(NUMBERS).encode() + content[one.end() :]


def insert(content: bytes, chance: random.Random) -> bytes:
    """Something odd between."""
    at = chance.randrange(len(content) + 1)
    odd = (b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\x1b[31m", b'"', b"{", b"]", b",", b":")
    more = (b"\xe2\x80\xa8", b"\xc2\x85", b"&a", b"*a", b"!!python/object:os.system", b"<<: ", b"- ", b"\t", b"=", b"%")
    return content[:at] + chance.choice(odd + more) * chance.choice((1, 1, 1, 2, 100)) + content[at:]


class Raw(float):
    """A value that is written as this very text."""

    def __new__(cls, text: str) -> "Raw":
        made = super().__new__(cls, 0.0)
        made.text = text
        return made

    text: str


def tree(content: bytes, chance: random.Random) -> bytes:
    """A change in the tree of a JSON text, or of one line of a text of such lines."""
    lines = content.split(b"\n")
    whole = len(lines) < 3 or not lines[0].endswith(b"}")
    at = chance.randrange(max(1, len(lines) - 1))
    try:
        value = json.loads(content if whole else lines[at])
    except ValueError:
        return swap(content, chance)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        value = _grow(value, chance)
    text = _dump(value).encode("utf-8", "surrogatepass")
    return text + b"\n" if whole else b"\n".join([*lines[:at], text, *lines[at + 1 :]])


def _dump(value: Any) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_dump(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(_dump, value)) + "]" if isinstance(value, list) else json.dumps(value)


def _grow(value: Any, chance: random.Random) -> Any:
    """One change at one place of a tree."""
    if isinstance(value, dict | list) and value and chance.random() < 0.85:
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = chance.choice(keys)
        deed = chance.random()
        if deed < 0.12:
            del value[key]
        elif deed < 0.2 and isinstance(value, dict):
            value[chance.choice((key + "_", "", "é", "__class__", key.upper(), "0"))] = value.pop(key)
        elif deed < 0.3:
            other = chance.choice(keys)
            value[key], value[other] = value[other], value[key]
        elif deed < 0.36 and isinstance(value, list):
            value.extend(value[:50] * chance.choice((1, 3)))
        else:
            value[key] = _grow(value[key], chance)
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and chance.random() < 0.6:
        return (
            Raw(chance.choice(NUMBERS))
            if chance.random() < 0.7
            else Raw(str(-value if chance.random() < 0.5 else value + 1))
        )
    return Raw(chance.choice(VALUES + NUMBERS))


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, flip, place, cut, double, insert)
TEXTS = (*BYTES, swap, swap, number, number)
JSONS = (*TEXTS, tree, tree, tree, tree, tree, tree, tree, tree)


def mutate(content: bytes, kinds: tuple[Callable[[bytes, random.Random], bytes], ...], chance: random.Random) -> bytes:
    """One change, seldom several on top of one another."""
    for _ in range(chance.choice((1, 1, 1, 1, 2, 3))):
        content = chance.choice(kinds)(content, chance)[: 1 << 20]
    return content
