"""Kaldi's data directories: `wav.scp`, and beside it `text`, `utt2spk` and `segments`."""

from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.own.columns import number
from sottovoce.data.own.lines import numbered
from sottovoce.data.own.row import Bad, Row, Source
from sottovoce.errors import SottovoceError


def read_kaldi(source: Source, bad: Bad) -> Iterator[Row]:
    """The utterances of a data directory; recordings that are the output of a command are refused, never run.

    Example:
        >>> next(read_kaldi(Source(Path("data/train")), print)).speaker
        'a'
    """
    place = source.place
    recordings: dict[str, tuple[str, str]] = {}
    for where, name, rest in _pairs(place / "wav.scp", bad, "the path of its recording"):
        if rest.endswith("|"):
            bad(
                f"{where}: the recording of '{name}' is the output of a command, and commands of lists are not run; "
                "write the audio to files and name those"
            )
        else:
            recordings[name] = where, rest
    texts = {name: (where, rest) for where, name, rest in _pairs(place / "text", bad, "what is said")}
    speakers = {name: (where, rest) for where, name, rest in _pairs(place / "utt2spk", bad, "who speaks")}
    if all(name == who for name, (_, who) in speakers.items()):
        speakers = {}  # as Kaldi has it where speakers are not known
    pieces = list(_segments(place / "segments", recordings, bad))
    listed = "segments" if (place / "segments").exists() else "wav.scp"
    known = {row.id for row in pieces} if listed == "segments" else set(recordings)
    for name, (where, _) in [*texts.items(), *speakers.items()]:
        if name not in known:
            bad(f"{where}: the utterance '{name}' is not in {listed}, or cannot be used")
    if listed == "wav.scp":
        pieces = [Row(where, source.folder, path, name) for name, (where, path) in recordings.items()]
    for row in pieces:
        name = row.id or ""
        if texts and name not in texts:
            bad(f"{row.where}: the utterance '{name}' has no line in {place / 'text'}")
            continue
        yield Row(
            row.where,
            source.folder,
            row.path,
            name,
            row.seconds,
            row.start,
            channel=row.channel,
            text=texts[name][1] if name in texts else None,
            speaker=speakers[name][1] if name in speakers else None,
            split=source.split,
        )


def _segments(path: Path, recordings: dict[str, tuple[str, str]], bad: Bad) -> Iterator[Row]:
    """The pieces of recordings: `utterance recording start end`, with the end of the recording as -1."""
    for where, name, rest in _pairs(path, bad, "a recording, a start and an end"):
        try:
            fields = rest.split()
            if len(fields) not in (3, 4):
                raise SottovoceError(
                    f"it has {len(fields) + 1} columns, but a recording, a start and an end are wanted"
                )
            recording, start, end, *channel = fields
            if recording not in recordings:
                raise SottovoceError(f"the recording '{recording}' is not in wav.scp, or cannot be used")
            begin, stop = number(start, "start") or 0.0, None if end == "-1" else number(end, "end")
            if stop is not None and stop <= begin:
                raise SottovoceError(f"it ends at {stop:g} s, before it starts")
            if channel and channel[0] not in ("0", "1", "A", "B"):
                raise SottovoceError(f"the channel is '{channel[0]}', but 0, 1, A or B is wanted")
        except SottovoceError as error:
            bad(f"{where}: {error}")
            continue
        side = int(channel[0] in ("1", "B")) if channel else None
        length = None if stop is None else stop - begin
        yield Row(where, path.parent, recordings[recording][1], name, length, begin, channel=side)


def _pairs(path: Path, bad: Bad, wanted: str) -> Iterator[tuple[str, str, str]]:
    """The lines of a file of Kaldi's: where each stands, its name, and the rest; none of a file that is not there."""
    seen: dict[str, int] = {}
    for number_, line in numbered(path, bad) if path.exists() else ():
        where = f"{path}, line {number_}"
        name, *rest = line.split(None, 1) or [""]
        if not line.strip():
            bad(f"{where}: it is empty, but a name and {wanted} are wanted")
        elif not rest or not rest[0].strip():
            bad(f"{where}: it has 1 column, but behind '{name}' {wanted} is wanted")
        elif name in seen:
            bad(f"{where}: the id '{name}' stands in line {seen[name]} already")
        else:
            seen[name] = number_
            yield where, name, rest[0].strip()
