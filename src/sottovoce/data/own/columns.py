"""Columns by the names that people give them, as what this program calls them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sottovoce.data.own.row import Row, split_named
from sottovoce.data.utterance import MOST_SECONDS
from sottovoce.errors import SottovoceError, shown

ROLES = {
    "path": ("audio_filepath", "file_name", "filename", "path", "audio", "file", "wav"),
    "text": ("text", "transcript", "transcription", "sentence"),
    "label": ("label", "class", "category", "command", "keyword"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "split": ("split",),
    "seconds": ("seconds", "duration"),
    "start": ("offset",),
    "id": ("id",),
    "task": ("task",),
    "license": ("license", "licence"),
}
_NUMBERS = ("seconds", "start")


def roles_of(names: Iterable[str]) -> dict[str, str]:
    """Which column has which role, by the likeliest name where several could have it.

    Example:
        >>> roles_of(["client_id", "path", "sentence", "age"])
        {'path': 'path', 'text': 'sentence', 'speaker': 'client_id'}
    """
    known = {name.strip().lower(): name for name in reversed(list(names))}
    found = {role: next((known[name] for name in likely if name in known), None) for role, likely in ROLES.items()}
    return {role: name for role, name in found.items() if name is not None}


def row_of(record: Mapping[str, Any], where: str, base: Path) -> Row:
    """What a record says under the usual names; everything else it says becomes `meta`.

    Example:
        >>> row_of({"audio_filepath": "a.wav", "command": "yes", "room": "hall"}, "list.jsonl, line 1", Path("x")).label
        'yes'
    """
    roles = roles_of(record)
    path = record.get(roles.get("path", ""))
    if not isinstance(path, str) or not path:
        wanted = ", ".join(ROLES["path"])
        raise SottovoceError(f"it has no path of an audio file; a text under one of {wanted} is wanted")
    known: dict[str, Any] = {}
    for role, name in roles.items():
        if role != "path":
            known[role] = number(record[name], name) if role in _NUMBERS else text_of(record[name], name)
    other = {key: value for key, value in record.items() if key not in roles.values() and value not in (None, "")}
    known["split"] = split_named(known.get("split"))
    return replace(Row(where, base, path, meta=other or None), **known)


def text_of(value: Any, name: str) -> str | None:
    """A text, or a number as text; None for nothing.

    Example:
        >>> text_of(7, "speaker")
        '7'
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SottovoceError(f"'{name}' is {shown(value)}, but a text is wanted")
    return str(value)


def number(value: Any, name: str) -> float | None:
    """Seconds, as a number or as the text of one; None for nothing.

    Example:
        >>> number("2.5", "duration")
        2.5
    """
    if value is None or value == "":
        return None
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not 0 <= found <= MOST_SECONDS:
        raise SottovoceError(f"'{name}' is {shown(value)}, but seconds from 0 to {MOST_SECONDS:g} are wanted")
    return found
