"""From rows to utterances: paths that are there, lengths by headers, and what is a piece of a longer recording."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sottovoce.data.audio import LONGEST, TOLERANCE, decode, open_audio
from sottovoce.data.corpora.prepare import in_threads
from sottovoce.data.own.row import Bad, Row
from sottovoce.data.utterance import Utterance, below, stays
from sottovoce.errors import SottovoceError

DISAGREES = 0.5  # seconds between what a list says and what the header does, from which the list is about other audio


@dataclass(frozen=True)
class Item:
    """An utterance, the row that it comes from, and what must happen before it is a file below the root.

    Args:
        recording: what tells its recording from others, wherever the data lies.
        start: where it begins in a longer recording, from which it must be cut; None for a whole file.
        linked: whether its file is reached over a link that leads out of the root.

    Example:
        >>> Item(Utterance("a", Path("a.wav"), 1.5), Row("list.csv, line 2", Path("."), "a.wav"), "a.wav").written
        False
    """

    utterance: Utterance
    row: Row
    recording: str
    start: float | None = None
    linked: bool = False

    @property
    def written(self) -> bool:
        """Whether `corpus prepare` writes a file for it."""
        return self.start is not None or self.linked or self.row.content is not None


@dataclass(frozen=True)
class Header:
    """What the header of an audio file says.

    Example:
        >>> header(Path("a.wav"))
        Header(seconds=1.5, channels=1)
    """

    seconds: float
    channels: int


def header(source: Path | bytes, name: str = "") -> Header:
    """The length of a file, by decoding where its header does not say it, and its channels.

    Example:
        >>> header(Path("a.wav")).seconds
        1.5
    """
    with open_audio(source, name) as audio:
        frames = len(decode(audio)) if audio.frames is None else audio.frames
        if not frames:
            raise SottovoceError(f"{audio.name} holds no samples; leave it out.")
        return Header(frames / audio.rate, audio.channels)


def measured(rows: Iterable[Row], root: Path, bad: Bad, *, follow_links: bool = False) -> list[Item]:
    """The utterances of rows, in order; what is wrong with one is told with its place, and the row left out.

    Example:
        >>> [item.utterance.seconds for item in measured(rows, Path("voice"), print)]
        [1.5, 2.25]
    """
    placed = list(_placed(rows, bad, follow_links))
    files = sorted({path for row, path in placed if row.content is None})
    headers = dict(zip(files, in_threads(_header, files, "reading headers"), strict=True))
    items: list[Item] = []
    seen: dict[str, str] = {}
    for row, path in placed:
        try:
            found = headers[path] if row.content is None else header(row.content(), row.where)
            if isinstance(found, str):
                raise SottovoceError(found)
            item = _item(row, path, found, root, follow_links)
            name = item.utterance.id
            if name in seen:
                raise SottovoceError(f"the id '{name}' stands there already, in {seen[name]}")
        except SottovoceError as error:
            bad(f"{row.where}: {error}")
            continue
        seen[name] = row.where
        items.append(item)
    return items


def _placed(rows: Iterable[Row], bad: Bad, follow_links: bool) -> Iterable[tuple[Row, Path]]:
    known: dict[tuple[Path, str], Path | str] = {}
    for row in rows:
        key = (row.base, row.path)
        if row.content is not None:
            yield row, Path()
            continue
        if key not in known:
            try:
                known[key] = below(row.base, row.path, follow_links=follow_links)
            except SottovoceError as error:
                known[key] = str(error)
        found = known[key]
        if isinstance(found, Path):
            yield row, found
            continue
        advice = " (--follow-links, or follow_links=True, allows it)" if "over a link" in found else ""
        bad(f"{row.where}: {found.rstrip('.')}{advice}")


def _header(path: Path) -> Header | str:
    try:
        return header(path)
    except SottovoceError as error:
        return str(error).replace("check the manifest's root", "correct the list, or give DATA@ROOT")


def _item(row: Row, path: Path, found: Header, root: Path, follow_links: bool) -> Item:
    """One utterance, a whole file or a piece of it."""
    length = found.seconds
    shown = row.where if row.content else str(path)
    if row.whole is not None and abs(row.whole - length) > DISAGREES:
        raise SottovoceError(f"{shown} is {length:.2f} s long, but the list says {row.whole:.2f} s; correct it")
    start, seconds = row.start or 0.0, length - (row.start or 0.0) if row.seconds is None else row.seconds
    end = start + seconds
    if row.start is None and abs(seconds - length) > DISAGREES:
        raise SottovoceError(f"{shown} is {length:.2f} s long, but the list says {seconds:.2f} s; correct it")
    if row.start is not None and (end > length + DISAGREES or start >= length):
        raise SottovoceError(f"{shown} is {length:.2f} s long, and has no {start:.2f} to {end:.2f} s; correct it")
    if row.channel is not None and not 0 <= row.channel < found.channels:
        raise SottovoceError(f"{shown} has {found.channels} channels, and no channel {row.channel}; correct it")
    whole = row.start is None or (start <= TOLERANCE and abs(length - end) <= TOLERANCE)
    cut = not whole or (row.channel is not None and found.channels > 1)
    start, seconds = (0.0, length) if whole else (start, min(end, length) - start)
    if seconds > LONGEST:
        raise SottovoceError(f"it is {seconds:.0f} s long, more than {LONGEST:g} s; cut it, or leave it out")
    if seconds <= 0:
        raise SottovoceError("it has a length of 0 s; leave it out")
    utterance = Utterance(
        row.id or _name(path, root, None if whole else (start, start + seconds)),
        path,
        round(seconds, 4),
        text=row.text,
        speaker=row.speaker,
        label=row.label,
        task=row.task,
        split=row.split,
        license=row.license,
        meta=row.meta,
    )
    recording = _name(path, root, None) if row.content is None else utterance.id
    linked = follow_links and row.content is None and not stays(path, root)
    return Item(utterance, row, recording, start if cut else None, linked)


def _name(path: Path, root: Path, span: tuple[float, float] | None) -> str:
    """An id for what has none: the path below the root without its ending, and the milliseconds of a piece."""
    inner = PurePosixPath(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name)
    name = inner.with_suffix("").as_posix()
    return name if span is None else f"{name}-{round(1000 * span[0]):07d}-{round(1000 * span[1]):07d}"
