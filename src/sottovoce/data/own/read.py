"""Reading and preparing one's own data: the two things that everything in this folder is for."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from sottovoce.data.audio import as_speech, decode, duration, open_audio
from sottovoce.data.corpora.prepare import in_threads
from sottovoce.data.own.detect import FORMATS, OURS, Found, detect
from sottovoce.data.own.measure import DISAGREES, Item, measured
from sottovoce.data.own.pieces import cut
from sottovoce.data.own.row import Bad, OnBad, Row, teller
from sottovoce.data.own.splits import divide
from sottovoce.data.utterance import MANIFEST, Utterance, keep_manifest, parse_own, read_manifest, stays
from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write, check_writable, local_path, regular_file
from sottovoce.progress import say

MOST_IN_MEMORY = 5 * 3600.0  # seconds of a saved dataset that are decoded where nothing may be written
PREPARE = "sottovoce corpus prepare"


@dataclass(frozen=True)
class Understood:
    """What was understood of some data: its format, what is in it, how it was split, what was left out and why.

    Example:
        >>> understood(utterances, "a table with a header", Path("voice/manifest.jsonl")).utterances
        2
    """

    manifest: str
    format: str
    utterances: int
    hours: float
    pieces: int
    splits: dict[str, int]
    speakers: int
    labels: dict[str, int]
    texts: int
    made_splits: str
    left_out: tuple[str, ...]


def read_own(
    place: Path, *, root: Path | None = None, follow_links: bool = False, on_bad: OnBad | None = None
) -> list[Utterance]:
    """The utterances of a file or a folder in any format that is known; without splits, some are made, which is said.

    Example:
        >>> read_own(Path("voice/train.tsv"))[0].text
        'we call it bear'
    """
    found = detect(place, root=root)
    if found.format == OURS:
        return _ours(found, on_bad, follow_links)
    items = _items(found, teller(on_bad), follow_links)
    pieces = [item for item in items if item.start is not None]
    if pieces:
        raise SottovoceError(
            f"{pieces[0].row.where}: '{pieces[0].utterance.id}' is a piece of a longer recording; run `{PREPARE} "
            f"{place}`, which cuts it into a file."
        )
    items, made = _divided(items, 0)
    if made:
        what = f"'{place}' has no splits, so they are made: {made}"
        say(f"{what}; `{PREPARE} {place}` writes them down, and takes another --seed.")
    return _in_memory(items, place)


def prepare_own(
    place: Path,
    *,
    root: Path | None = None,
    seed: int | None = None,
    follow_links: bool = False,
    on_bad: OnBad | None = None,
    overwrite: bool = False,
) -> Understood:
    """Write `manifest.jsonl` beside the data, or in `root`, and pieces of longer recordings beside that.

    Args:
        root: where audio paths begin, if not in the folder of their list.
        seed: of the splits, where there are none; 0 if not given.
        follow_links: take audio to which symbolic links lead out of the folder; it is copied, as pieces are.
        on_bad: told of each fault; without it, the first is an error.
        overwrite: replace a manifest that says something else.

    Example:
        >>> prepare_own(Path("commands")).splits
        {'dev': 200, 'test': 200, 'train': 1600}
    """
    found = detect(place, root=root, prepared=False)
    top = root or (place if place.is_dir() else place.parent)
    target = top / MANIFEST
    check_writable(target)
    if found.format == OURS:
        listed = _ours(found, on_bad, follow_links, check=True)
        items = [_listed(utterance, top) for utterance in listed]
    else:
        items = _items(found, teller(on_bad), follow_links)
    items, made = _divided(items, seed or 0)
    if seed is not None and not made:
        raise SottovoceError(f"--seed is of no use for '{place}': it has splits; leave it out, or take those away.")
    utterances = cut(items, top, teller(on_bad))
    if not utterances:
        raise SottovoceError(f"'{place}' has nothing that can be used; give other data.")
    if overwrite and any(source.place == target for source in found.sources):
        _set_aside(target)
    keep_manifest(target, utterances, root=top, overwrite=overwrite)
    cuts = sum(item.written for item in items)
    return understood(utterances, found.about, target, pieces=cuts, made=made, left_out=found.left_out)


def understood(
    utterances: Sequence[Utterance],
    about: str,
    manifest: Path,
    *,
    pieces: int = 0,
    made: str = "",
    left_out: Sequence[str] = (),
) -> Understood:
    """Counts of some utterances.

    Example:
        >>> understood([Utterance("a", Path("a.wav"), 1.0, label="yes")], "a table", Path("manifest.jsonl")).labels
        {'yes': 1}
    """
    return Understood(
        str(manifest),
        about,
        len(utterances),
        sum(utterance.seconds for utterance in utterances) / 3600,
        pieces,
        dict(sorted(Counter(utterance.split or "" for utterance in utterances).items())),
        len({utterance.speaker for utterance in utterances} - {None}),
        dict(Counter(utterance.label for utterance in utterances if utterance.label is not None).most_common()),
        sum(utterance.text is not None for utterance in utterances),
        made,
        tuple(left_out),
    )


def _items(found: Found, bad: Bad, follow_links: bool) -> list[Item]:
    """All rows of a format, looked at."""
    reader = FORMATS[found.format][1]
    if reader is None:
        raise SottovoceError(f"{found.about} has no rows.")
    rows = [row for source in found.sources for row in reader(source, bad)]
    first = found.sources[0]
    top = first.root or Path(os.path.commonpath([source.folder for source in found.sources]))
    items = measured(rows, top, bad, follow_links=follow_links)
    if not items:
        places = ", ".join(str(source.place) for source in found.sources)
        raise SottovoceError(f"{places} ({found.about}) has no utterance that can be used; give other data.")
    return items


def _ours(found: Found, on_bad: OnBad | None, follow_links: bool, *, check: bool = False) -> list[Utterance]:
    """The utterances of our own manifests, and lengths by headers where they have none; `check` opens all."""
    bad = teller(on_bad)
    parse = partial(parse_own, follow_links=follow_links)
    utterances: list[Utterance] = []
    for source in found.sources:
        listed = read_manifest(source.place, root=source.root, on_bad=on_bad, parse=parse)
        several = len(found.sources) > 1
        utterances += [replace(row, split=row.split or source.split) if several else row for row in listed]
    twice = [name for name, times in Counter(row.id for row in utterances).items() if times > 1]
    if twice:
        raise SottovoceError(f"the id '{twice[0]}' is in two of the lists; give each utterance its own.")
    unmeasured = [row for row in utterances if check or not row.seconds]
    lengths = dict(zip((row.id for row in unmeasured), in_threads(_length, unmeasured, "reading headers"), strict=True))
    kept: list[Utterance] = []
    for row in utterances:
        length = lengths.get(row.id)
        if isinstance(length, str):
            bad(f"'{row.id}' of {found.sources[0].place}: {length}")
        elif length is not None and row.seconds and abs(length - row.seconds) > DISAGREES:
            what = f"{row.audio} is {length:.2f} s long, but the list says {row.seconds:.2f} s"
            bad(f"'{row.id}' of {found.sources[0].place}: {what}; correct it")
        else:
            kept.append(row if length is None or row.seconds else replace(row, seconds=length))
    if not kept:
        raise SottovoceError(
            f"the manifest '{found.sources[0].place}' has no utterance that can be used; give another."
        )
    return kept


def _length(utterance: Utterance) -> float | str:
    try:
        return round(duration(Path(str(utterance.audio))), 4)
    except SottovoceError as error:
        return str(error)


def _divided(items: list[Item], seed: int) -> tuple[list[Item], str]:
    """Items with splits, and how those were made, if they were."""
    if any(item.utterance.split for item in items):
        return items, ""
    splits, how = divide([(item.utterance.speaker, item.recording) for item in items], seed)
    made = [replace(i, utterance=replace(i.utterance, split=s)) for i, s in zip(items, splits, strict=True)]
    return made, how


def _listed(utterance: Utterance, top: Path) -> Item:
    """An utterance of a manifest of ours, as an item."""
    path = Path(str(utterance.audio))
    name = path.relative_to(top).as_posix() if path.is_relative_to(top) else str(path)
    return Item(utterance, Row(f"'{utterance.id}'", top, name), name, linked=not stays(path, top))


def _in_memory(items: Sequence[Item], place: Path) -> list[Utterance]:
    """The utterances, those without a file as samples."""
    seconds = sum(item.utterance.seconds for item in items if item.row.content is not None)
    if seconds > MOST_IN_MEMORY:
        most = f"{seconds / 3600:.1f} hours of audio, more than the {MOST_IN_MEMORY / 3600:g} that are held in memory"
        raise SottovoceError(f"'{place}' has {most}; run `{PREPARE} {place}`, which writes files.")
    return [_decoded(item.row.content, item) if item.row.content else item.utterance for item in items]


def _decoded(content: Callable[[], bytes], item: Item) -> Utterance:
    with open_audio(content(), item.row.where) as audio:
        speech = as_speech(decode(audio), audio.rate, name=item.row.where)
    whole = np.clip(np.rint(speech / max(1.0, float(np.abs(speech).max())) * 32768.0), -32768, 32767)
    return replace(item.utterance, audio=whole.astype(np.int16))


def _set_aside(manifest: Path) -> None:
    """Keep a list that somebody wrote, where the manifest that is made of it takes its name."""
    kept = manifest.with_name(f"{manifest.name}.original")
    if not os.path.lexists(kept):
        atomic_write(kept, regular_file(local_path(manifest)).read_bytes())
