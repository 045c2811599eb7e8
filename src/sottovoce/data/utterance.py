"""Utterances and the manifests that list them, one JSON object a line."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from sottovoce.data.kept import wanted
from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import atomic_write, explained, json_object, local_path, reached, read_lines
from sottovoce.files.text import LARGEST


class Phone(NamedTuple):
    """A phone with its place in the audio, in seconds.

    Example:
        >>> Phone("AH", 0.31, 0.39).name
        'AH'
    """

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """A piece of speech and what is known about it.

    `task` says which task the label (and the split) is for; without it, the utterance serves every task whose
    labels it has. A recording that serves two tasks with two splits has a line for each. `meta` is what else its list
    says, which nothing computes with: no hash and no comparison knows it. `pronunciation` is the phones of the text,
    where nobody knows their times.

    Example:
        >>> Utterance("a-1", Path("a-1.flac"), seconds=2.5, text="we call it bear", speaker="a").seconds
        2.5
    """

    id: str
    audio: Path | np.ndarray
    seconds: float
    text: str | None = None
    phones: tuple[Phone, ...] | None = None
    speaker: str | None = None
    label: str | None = None
    task: str | None = None
    split: str | None = None
    license: str | None = None
    meta: Mapping[str, Any] | None = field(default=None, compare=False)
    pronunciation: tuple[str, ...] | None = None


def recording(utterance: Utterance) -> str:
    """What tells one recording from another, whatever its lines in a manifest: its file, or else its id.

    Example:
        >>> recording(Utterance("a-1", Path("a.flac"), seconds=2.5))
        'a.flac'
    """
    return str(utterance.audio) if isinstance(utterance.audio, Path) else utterance.id


MANIFEST = "manifest.jsonl"  # the name of the manifest of a folder
COLUMNS = ("id", "path", *(entry.name for entry in fields(Utterance) if entry.name not in ("id", "audio")))
ALIASES = {"audio_filepath": "path", "duration": "seconds"}  # as NeMo calls them
TEXTS = ("text", "speaker", "label", "task", "split", "license")
LONGEST_LINE = 1 << 20  # bytes of a line of a manifest: half an hour of phones has a tenth of them
LONGEST_PATH = 4096
MOST_SECONDS = 1e6


def read_manifest(
    path: str | Path,
    *,
    root: str | Path | None = None,
    split: str | None = None,
    on_bad: Callable[[str], None] | None = None,
    parse: Callable[[bytes, Path], Utterance] | None = None,
) -> list[Utterance]:
    """The utterances of a manifest, their audio paths resolved from `root` (the manifest's folder if not given).

    A bad line is an error with its number and reason; with `on_bad` that is told instead, and the line left out.
    `parse` reads a line where `parse_line` is too strict: `parse_own` takes what people write by hand.

    Example:
        >>> train = read_manifest("digits/manifest.jsonl", split="train")
    """
    manifest = local_path(path, "the manifest")
    place = local_path(root, "the root of the audio") if root is not None else manifest.parent
    utterances, seen = [], dict[str, int]()
    for number, line in enumerate(read_lines(manifest, "the manifest"), 1):
        if not line or (line.isspace() and len(line) < LONGEST_LINE):
            continue
        try:
            utterance = (parse or parse_line)(line, place)
            if utterance.id in seen:
                raise SottovoceError(f"the id {_shown(utterance.id)} stands in line {seen[utterance.id]} already")
        except SottovoceError as error:
            message = f"{manifest}, line {number}: {str(error).rstrip('.')}."
            # Of a file without line ends, each piece would be a bad line, for hours.
            if on_bad is None or len(line) >= LARGEST:
                raise SottovoceError(message) from None
            on_bad(message)
            continue
        seen[utterance.id] = number
        if split is None or utterance.split == split:
            utterances.append(utterance)
    return utterances


def parse_line(line: str | bytes, root: Path) -> Utterance:
    """One line of a manifest, checked.

    Example:
        >>> parse_line('{"id": "a", "path": "a.wav", "seconds": 1.0}', Path("digits")).audio
        PosixPath('digits/a.wav')
    """
    record = _record(line)
    for key in record:
        if key not in COLUMNS:
            raise unknown("column", key[:80], COLUMNS)
    return _utterance(record, root, inside)


def parse_own(line: str | bytes, root: Path, *, follow_links: bool = False) -> Utterance:
    """One line of a manifest that somebody wrote by hand: without a length, which is 0 then, by other names of the
    columns (`ALIASES`), with columns of his own, which become `meta`, and with absolute paths below the root.

    Example:
        >>> parse_own('{"id": "a", "audio_filepath": "a.wav", "room": "hall"}', Path("digits")).meta
        {'room': 'hall'}
    """
    record = _record(line)
    for alias, name in ALIASES.items():
        if alias in record and name in record:
            raise SottovoceError(f"'{alias}' and '{name}' say the same; take one of them out")
        if alias in record:
            record[name] = record.pop(alias)
    other = {key: record.pop(key) for key in list(record) if key not in COLUMNS}
    if other and isinstance(record.get("meta"), dict | None):
        record["meta"] = {**(record.get("meta") or {}), **other}
    unmeasured = record.get("seconds") is None
    found = _utterance(
        record | ({"seconds": 1.0} if unmeasured else {}), root, partial(below, follow_links=follow_links)
    )
    return replace(found, seconds=0.0) if unmeasured else found


def _record(line: str | bytes) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise SottovoceError(f"it has more than {LONGEST_LINE} bytes; give a JSONL file, of one utterance a line")
    try:
        record = json_object(line, "the line")
    except SottovoceError as error:
        raise SottovoceError(str(error).replace("(line 1: ", "(")) from None
    if "licence" in record:  # as manifests of earlier versions spell it
        record["license"] = record.pop("licence")
    return record


def _utterance(record: dict[str, Any], root: Path, placed: Callable[[Path, str], Path]) -> Utterance:
    for key in ("id", "path"):
        if not isinstance(record.get(key), str) or not record[key]:
            raise SottovoceError(f"'{key}' is {_shown(record.get(key))}, but a string is wanted")
    seconds = _number(record.get("seconds"))
    if seconds is None or not 0 < seconds <= MOST_SECONDS:
        given = _shown(record.get("seconds"))
        raise SottovoceError(f"'seconds' is {given}, but a length above 0 and up to {MOST_SECONDS:g} is wanted")
    for key in TEXTS:
        if not isinstance(record.get(key), str | None):
            raise SottovoceError(f"'{key}' is {_shown(record[key])}, but a string is wanted")
    if not isinstance(record.get("meta"), dict | None):
        raise SottovoceError(f"'meta' is {_shown(record['meta'])}, but an object is wanted")
    known = {key: record.get(key) for key in (*TEXTS, "meta")}
    phones, said = parse_phones(record.get("phones")), record.get("pronunciation")
    if said is not None and not (isinstance(said, str) and said.strip()):
        raise SottovoceError(f"'pronunciation' is {_shown(said)}, but phones with spaces between them are wanted")
    known["pronunciation"] = None if said is None else tuple(said.split())
    return Utterance(record["id"], placed(root, record["path"]), seconds, phones=phones, **known)


def inside(root: Path, path: str, *, follow_links: bool = False) -> Path:
    """A path below its root; one that leads out of it is refused, for manifests come from strangers.

    `follow_links` lets symbolic links lead out of it, where somebody asked for that.

    Example:
        >>> inside(Path("digits"), "a/b.wav")
        PosixPath('digits/a/b.wav')
    """
    joined = root / _relative(path, root)
    with reached(joined):
        joined.stat()
    if not follow_links and not stays(joined, root):
        raise SottovoceError(f"the path '{path}' leads out of {root} over a link; give one that stays in it")
    return joined


def stays(path: Path, root: Path) -> bool:
    """Whether a path is below a folder when all links are followed.

    Example:
        >>> stays(Path("digits/a.wav"), Path("digits"))
        True
    """
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def below(root: Path, path: str, *, follow_links: bool = False) -> Path:
    """`inside` for lists of one's own, in which absolute paths are usual: those below the root are taken.

    Example:
        >>> below(Path("/digits"), "/digits/a.wav")
        PosixPath('/digits/a.wav')
    """
    if len(path) <= LONGEST_PATH and os.path.isabs(path):
        for top in (os.path.abspath(root), os.path.realpath(root)):
            if PurePosixPath(path).is_relative_to(top):
                return inside(root, PurePosixPath(path).relative_to(top).as_posix(), follow_links=follow_links)
        raise SottovoceError(
            f"the path '{path}' is absolute and not below {root}; give the folder above the audio as DATA@ROOT"
        )
    return inside(root, path, follow_links=follow_links)


def _relative(path: str, root: Path) -> PurePosixPath:
    if len(path) > LONGEST_PATH:
        raise SottovoceError(f"the path {_shown(path)} has {len(path)} characters, more than a path can have")
    pure = PurePosixPath(path.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or (pure.parts and ":" in pure.parts[0]):
        raise SottovoceError(f"the path '{path}' leads out of {root}; give one relative to it")
    if "\0" in path:
        raise SottovoceError(f"the path {path!r} holds a null character, which no path can; take it out")
    return pure


def check_utterance(utterance: Utterance, root: Path) -> None:
    """Refuse what a damaged list became and no manifest could hold; a length of 0 is one that is not known yet.

    Example:
        >>> check_utterance(Utterance("a", Path("digits/../a.wav"), 0.0), Path("digits"))
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: the path '../a.wav' leads out of digits; give one relative to it
    """
    path = Path(str(utterance.audio)).relative_to(root).as_posix()
    for key, value in {"id": utterance.id, "path": path, **{key: getattr(utterance, key) for key in TEXTS}}.items():
        if value is None and key in TEXTS:
            continue
        if not isinstance(value, str) or not (value or key in TEXTS):
            raise SottovoceError(f"'{key}' is {_shown(value)}, but a string is wanted")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SottovoceError(f"'{key}' is {_shown(value)}, which is not UTF-8; rename it") from None
    seconds = _number(utterance.seconds)
    if seconds is None or not 0 <= seconds <= MOST_SECONDS:
        given = _shown(utterance.seconds)
        raise SottovoceError(f"{_shown(utterance.id)} has {given} seconds, but up to {MOST_SECONDS:g} are wanted")
    _relative(path, root)


def parse_phones(value: Any) -> tuple[Phone, ...] | None:
    """Phones as `[name, start, end]` in seconds, in order and without overlap.

    Example:
        >>> parse_phones([["AH", 0.0, 0.1]])
        (Phone(name='AH', start=0.0, end=0.1),)
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise SottovoceError(f"'phones' is {_shown(value)}, but a list of [name, start, end] is wanted")
    phones, last = list[Phone](), 0.0
    for entry in value:
        name, *times = entry if isinstance(entry, list) and len(entry) == 3 else [None]
        start, end = (_number(time) for time in times or (None, None))
        if not isinstance(name, str) or start is None or end is None:
            raise SottovoceError(f"the phone {_shown(entry)} is no [name, start, end], a text and two numbers")
        if not last - 1e-6 <= start <= end <= MOST_SECONDS:
            raise SottovoceError(f"the phone {_shown(entry)} ends before it starts or begins before {last:g} s")
        phone = Phone(name, start, end)
        phones.append(phone)
        last = phone.end
    return tuple(phones)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}…"


def write_manifest(path: str | Path, utterances: Iterable[Utterance], *, root: str | Path | None = None) -> None:
    """Write a manifest as a whole, audio paths relative to `root` (the manifest's folder if not given).

    Example:
        >>> write_manifest("digits/manifest.jsonl", utterances)
    """
    atomic_write(path, manifest_text(utterances, Path(root) if root is not None else Path(path).parent))


def keep_manifest(
    path: str | Path, utterances: Iterable[Utterance], *, root: str | Path | None = None, overwrite: bool = False
) -> None:
    """Write a manifest where there is none; the same one is left alone, and another one is refused unless `overwrite`.

    Example:
        >>> keep_manifest("digits/manifest.jsonl", utterances)
    """
    target = local_path(path, "the manifest")
    text = manifest_text(utterances, Path(root) if root is not None else target.parent)
    with explained(target):
        if wanted(target, text.encode(), overwrite=overwrite):
            atomic_write(target, text)


def manifest_text(utterances: Iterable[Utterance], root: Path) -> str:
    """What a manifest holds whose audio paths begin in a folder.

    Example:
        >>> manifest_text([Utterance("a", Path("digits/a.wav"), 1.5)], Path("digits"))
        '{"id": "a", "path": "a.wav", "seconds": 1.5}\\n'
    """
    return "".join(line + "\n" for line in lines(utterances, root))


def lines(utterances: Iterable[Utterance], root: Path) -> Iterator[str]:
    """The lines of a manifest; what is not known is left out."""
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise SottovoceError(f"two utterances have the id '{utterance.id}'; give each its own.")
        seen.add(utterance.id)
        if not isinstance(utterance.audio, Path):
            raise SottovoceError(f"the audio of '{utterance.id}' is in memory; write it to a file first.")
        try:
            relative = utterance.audio.relative_to(root).as_posix()
        except ValueError:
            raise SottovoceError(
                f"{utterance.audio} is not below {root}; give a root that is above all audio."
            ) from None
        if ".." in PurePosixPath(relative).parts:
            raise SottovoceError(f"{utterance.audio} leads out of {root}; give a root that is above all audio.")
        record: dict[str, Any] = {"id": utterance.id, "path": relative, "seconds": utterance.seconds}
        record |= {key: getattr(utterance, key) for key in TEXTS if getattr(utterance, key) is not None}
        if utterance.phones is not None:
            record["phones"] = [list(phone) for phone in utterance.phones]
        if utterance.pronunciation is not None:
            record["pronunciation"] = " ".join(utterance.pronunciation)
        if utterance.meta:
            record["meta"] = dict(utterance.meta)
        yield json.dumps(record, ensure_ascii=False)


def manifest_hash(utterances: Iterable[Utterance]) -> str:
    """Twelve hexadecimal digits that name a list of utterances: part of a run's hash. `meta` has no part in it.

    Example:
        >>> manifest_hash([]) == manifest_hash([])
        True
    """
    digest = hashlib.sha256()
    for utterance in utterances:
        kept = [entry.name for entry in fields(utterance) if entry.name not in ("audio", "meta", "pronunciation")]
        record = [getattr(utterance, name) for name in kept]
        if utterance.pronunciation is not None:  # data without any has the hash that it always had
            record.append(utterance.pronunciation)
        digest.update(json.dumps(record).encode())
        if isinstance(utterance.audio, np.ndarray):
            digest.update(np.ascontiguousarray(utterance.audio).tobytes())
    return digest.hexdigest()[:12]
