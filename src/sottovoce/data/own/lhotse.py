"""Lhotse's manifests: recordings with supervisions, and cuts; JSON lines, packed or not."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sottovoce.data.own.columns import ROLES, number, text_of
from sottovoce.data.own.lines import objects
from sottovoce.data.own.row import Bad, Row, Source
from sottovoce.errors import SottovoceError, shown

RECORDINGS, SUPERVISIONS = "recordings", "supervisions"
_KNOWN = ("id", "recording_id", "start", "duration", "channel", "text", "speaker", "alignment", "custom")


def partner(path: Path) -> Path:
    """The list of supervisions that belongs to one of recordings, or the other way round.

    Example:
        >>> partner(Path("toy_recordings_train.jsonl.gz")).name
        'toy_supervisions_train.jsonl.gz'
    """
    first, second = (RECORDINGS, SUPERVISIONS) if RECORDINGS in path.name else (SUPERVISIONS, RECORDINGS)
    return path.with_name(path.name.replace(first, second))


def read_lhotse(source: Source, bad: Bad) -> Iterator[Row]:
    """The supervisions of a pair of lists, or the recordings where there are no supervisions.

    Example:
        >>> next(read_lhotse(Source(Path("toy_recordings_train.jsonl.gz")), print)).text
        'we call it bear'
    """
    lists = {RECORDINGS: source.place, SUPERVISIONS: partner(source.place)}
    if RECORDINGS not in source.place.name:
        lists = {RECORDINGS: partner(source.place), SUPERVISIONS: source.place}
    if lists[RECORDINGS] == lists[SUPERVISIONS] or not lists[RECORDINGS].exists():
        raise SottovoceError(
            f"'{source.place}' is one of a pair of lists, and the other is not there; name them "
            f"..._{RECORDINGS}_... and ..._{SUPERVISIONS}_..., in one folder."
        )
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for where, record in objects(lists[RECORDINGS], bad):
        try:
            found.setdefault(_id(record), (where, _file_of(record)))
        except SottovoceError as error:
            bad(f"{where}: {error}")
    if not lists[SUPERVISIONS].exists():
        for name, (where, recording) in found.items():
            yield Row(where, source.folder, recording["path"], name, whole=recording["whole"], split=source.split)
        return
    for where, record in objects(lists[SUPERVISIONS], bad):
        try:
            name = text_of(record.get("recording_id"), "recording_id")
            if name not in found:
                raise SottovoceError(f"the recording {shown(name)} is not in {lists[RECORDINGS]}, or cannot be used")
            yield _row(source, where, found[name][1], record, record)
        except SottovoceError as error:
            bad(f"{where}: {error}")


def read_cuts(source: Source, bad: Bad) -> Iterator[Row]:
    """The cuts of a list; one that has several supervisions becomes as many utterances.

    Example:
        >>> next(read_cuts(Source(Path("toy_cuts_train.jsonl.gz")), print)).start
        1.5
    """
    for where, cut in objects(source.place, bad):
        try:
            if not isinstance(cut.get("recording"), dict):
                kind = cut.get("type", "something else")
                raise SottovoceError(f"it is {shown(kind)}, but a cut with one recording is wanted")
            recording, inner = _file_of(cut["recording"]), cut.get("supervisions") or []
            if not isinstance(inner, list) or not all(isinstance(one, dict) for one in inner):
                raise SottovoceError("'supervisions' is no list of objects")
            if len(inner) < 2:
                span = {key: cut.get(key) for key in ("id", "start", "duration", "channel", "custom")}
                yield _row(source, where, recording, span, inner[0] if inner else {})
                continue
            begin = number(cut.get("start"), "start") or 0.0
            for one in inner:
                span = {**one, "start": begin + _signed(one.get("start"))}
                yield _row(source, where, recording, span, one)
        except SottovoceError as error:
            bad(f"{where}: {error}")


def _id(record: Mapping[str, Any]) -> str:
    name = text_of(record.get("id"), "id")
    if name is None:
        raise SottovoceError("it has no 'id', but one is wanted")
    return name


def _signed(value: Any) -> float:
    """Where a supervision begins in its cut, which may be before the cut does."""
    return (
        -(number(-value, "start") or 0.0)
        if isinstance(value, int | float) and value < 0
        else number(value, "start") or 0.0
    )


def _file_of(recording: Mapping[str, Any]) -> dict[str, Any]:
    """The one file of a recording, its length and its number of channels."""
    sources = recording.get("sources")
    one = sources[0] if isinstance(sources, list) and len(sources) == 1 else None
    if not isinstance(one, dict) or one.get("type") != "file" or not isinstance(one.get("source"), str):
        kind = one.get("type") if isinstance(one, dict) else sources
        raise SottovoceError(f"its recording has the sources {shown(kind)}, but one of type file is wanted")
    if recording.get("transforms"):
        raise SottovoceError(
            "its recording is changed by 'transforms', which are not made here; save it as audio first"
        )
    channels = one.get("channels")
    many = len(channels) if isinstance(channels, list) else 1
    return {"path": one["source"], "whole": number(recording.get("duration"), "duration"), "channels": many}


def _row(
    source: Source, where: str, recording: Mapping[str, Any], span: Mapping[str, Any], said: Mapping[str, Any]
) -> Row:
    """An utterance: the time of one record, with what another says of it."""
    start, seconds = number(span.get("start"), "start") or 0.0, number(span.get("duration"), "duration")
    channel = span.get("channel")
    custom = {**_dict(span.get("custom")), **_dict(said.get("custom"))}
    label = next((name for name in ROLES["label"] if name in custom), None)
    other = {key: value for key, value in said.items() if key not in _KNOWN and value is not None}
    other |= {key: value for key, value in custom.items() if key != label}
    return Row(
        where,
        source.folder,
        recording["path"],
        _id(span),
        seconds,
        start,
        recording["whole"],
        channel if recording["channels"] > 1 and isinstance(channel, int) else None,
        text_of(said.get("text"), "text"),
        text_of(said.get("speaker"), "speaker"),
        text_of(custom[label], label) if label else None,
        split=source.split,
        meta=other or None,
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
