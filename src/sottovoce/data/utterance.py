"""Utterances and the manifests that list them, one JSON object a line."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import atomic_write


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
    labels it has. A recording that serves two tasks with two splits has a line for each.

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
    licence: str | None = None


def recording(utterance: Utterance) -> str:
    """What tells one recording from another, whatever its lines in a manifest: its file, or else its id.

    Example:
        >>> recording(Utterance("a-1", Path("a.flac"), seconds=2.5))
        'a.flac'
    """
    return str(utterance.audio) if isinstance(utterance.audio, Path) else utterance.id


MANIFEST = "manifest.jsonl"  # the name of the manifest of a folder
COLUMNS = ("id", "path", *(entry.name for entry in fields(Utterance) if entry.name not in ("id", "audio")))
TEXTS = ("text", "speaker", "label", "task", "split", "licence")


def read_manifest(
    path: str | Path,
    *,
    root: str | Path | None = None,
    split: str | None = None,
    on_bad: Callable[[str], None] | None = None,
) -> list[Utterance]:
    """The utterances of a manifest, their audio paths resolved from `root` (the manifest's folder if not given).

    A bad line is an error with its number and reason; with `on_bad` that is told instead, and the line left out.

    Example:
        >>> train = read_manifest("digits/manifest.jsonl", split="train")
    """
    manifest = Path(path)
    place = Path(root) if root is not None else manifest.parent
    try:
        text = manifest.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SottovoceError(f"the manifest {manifest} cannot be read ({error}); give a JSONL file.") from error
    utterances, seen = [], dict[str, int]()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            utterance = parse_line(line, place)
            if utterance.id in seen:
                raise SottovoceError(f"the id '{utterance.id}' stands in line {seen[utterance.id]} already")
        except SottovoceError as error:
            message = f"{manifest}, line {number}: {str(error).rstrip('.')}."
            if on_bad is None:
                raise SottovoceError(message) from error
            on_bad(message)
            continue
        seen[utterance.id] = number
        if split is None or utterance.split == split:
            utterances.append(utterance)
    return utterances


def parse_line(line: str, root: Path) -> Utterance:
    """One line of a manifest, checked.

    Example:
        >>> parse_line('{"id": "a", "path": "a.wav", "seconds": 1.0}', Path("digits")).audio
        PosixPath('digits/a.wav')
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise SottovoceError(f"no JSON ({error})") from error
    if not isinstance(record, dict):
        raise SottovoceError(f"a mapping is wanted, not {type(record).__name__}")
    for key in record:
        if key not in COLUMNS:
            raise unknown("column", key, COLUMNS)
    for key in ("id", "path"):
        if not isinstance(record.get(key), str) or not record[key]:
            raise SottovoceError(f"'{key}' is {record.get(key)!r}, but a string is wanted")
    seconds = record.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise SottovoceError(f"'seconds' is {seconds!r}, but a length above 0 is wanted")
    for key in TEXTS:
        if not isinstance(record.get(key), str | None):
            raise SottovoceError(f"'{key}' is {record[key]!r}, but a string is wanted")
    known = {key: record.get(key) for key in TEXTS}
    return Utterance(
        record["id"], inside(root, record["path"]), float(seconds), phones=parse_phones(record.get("phones")), **known
    )


def inside(root: Path, path: str) -> Path:
    """A path below its root; one that leads out of it is refused, for manifests come from strangers.

    Example:
        >>> inside(Path("digits"), "a/b.wav")
        PosixPath('digits/a/b.wav')
    """
    pure = PurePosixPath(path.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or (pure.parts and ":" in pure.parts[0]):
        raise SottovoceError(f"the path '{path}' leads out of {root}; give one relative to it")
    joined = root / pure
    if not joined.resolve().is_relative_to(root.resolve()):
        raise SottovoceError(f"the path '{path}' leads out of {root} over a link; give one that stays in it")
    return joined


def parse_phones(value: Any) -> tuple[Phone, ...] | None:
    """Phones as `[name, start, end]` in seconds, in order and without overlap.

    Example:
        >>> parse_phones([["AH", 0.0, 0.1]])
        (Phone(name='AH', start=0.0, end=0.1),)
    """
    if value is None:
        return None
    try:
        phones = tuple(Phone(str(name), float(start), float(end)) for name, start, end in value)
    except (TypeError, ValueError) as error:
        raise SottovoceError(f"'phones' is no list of [name, start, end] ({error})") from error
    last = 0.0
    for phone in phones:
        if not last - 1e-6 <= phone.start <= phone.end < math.inf:
            raise SottovoceError(f"the phone {list(phone)} ends before it starts or begins before {last:g} s")
        last = phone.end
    return phones


def write_manifest(path: str | Path, utterances: Iterable[Utterance], *, root: str | Path | None = None) -> None:
    """Write a manifest as a whole, audio paths relative to `root` (the manifest's folder if not given).

    Example:
        >>> write_manifest("digits/manifest.jsonl", utterances)
    """
    place = Path(root) if root is not None else Path(path).parent
    atomic_write(path, "".join(line + "\n" for line in lines(utterances, place)))


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
        record: dict[str, Any] = {"id": utterance.id, "path": relative, "seconds": utterance.seconds}
        record |= {key: getattr(utterance, key) for key in TEXTS if getattr(utterance, key) is not None}
        if utterance.phones is not None:
            record["phones"] = [list(phone) for phone in utterance.phones]
        yield json.dumps(record, ensure_ascii=False)


def manifest_hash(utterances: Iterable[Utterance]) -> str:
    """Twelve hexadecimal digits that name a list of utterances: part of a run's hash.

    Example:
        >>> manifest_hash([]) == manifest_hash([])
        True
    """
    digest = hashlib.sha256()
    for utterance in utterances:
        record = [getattr(utterance, entry.name) for entry in fields(utterance) if entry.name != "audio"]
        digest.update(json.dumps(record).encode())
        if isinstance(utterance.audio, np.ndarray):
            digest.update(np.ascontiguousarray(utterance.audio).tobytes())
    return digest.hexdigest()[:12]
