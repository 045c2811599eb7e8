"""Which format a file or a folder is in: the one place that decides."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sottovoce.data.own.audiofolder import LISTS, read_audiofolder
from sottovoce.data.own.classes import class_folders, entries, has_audio, not_audio, read_classes
from sottovoce.data.own.columns import ROLES, roles_of
from sottovoce.data.own.disk import MARKS, read_disk
from sottovoce.data.own.kaldi import read_kaldi
from sottovoce.data.own.lhotse import RECORDINGS, partner, read_cuts, read_lhotse
from sottovoce.data.own.lines import numbered
from sottovoce.data.own.nemo import read_nemo
from sottovoce.data.own.row import SPLITS, Bad, Row, Source, split_in
from sottovoce.data.own.table import read_table
from sottovoce.data.utterance import MANIFEST
from sottovoce.errors import SottovoceError
from sottovoce.files import json_object

Reader = Callable[[Source, Bad], Iterator[Row]]
OURS = "manifest"
FORMATS: dict[str, tuple[str, Reader | None]] = {
    OURS: ("a manifest of sottovoce", None),
    "dataset": ("a saved dataset of Hugging Face", read_disk),
    "kaldi": ("a data directory of Kaldi", read_kaldi),
    "audiofolder": ("an audiofolder of Hugging Face", read_audiofolder),
    "lhotse": ("recordings and supervisions of Lhotse", read_lhotse),
    "cuts": ("cuts of Lhotse", read_cuts),
    "nemo": ("a manifest in the manner of NeMo", read_nemo),
    "table": ("a table with a header", read_table),
    "folders": ("folders of audio", read_classes),
}
LISTED = (".jsonl", ".jsonl.gz", ".json", ".csv", ".tsv")
_LOOKED_AT = 20  # lines of a list until one says what it is
_SOUGHT = (
    f"a saved dataset ({', '.join(MARKS)}), wav.scp, {', '.join(LISTS)}, JSON lines of NeMo or Lhotse, CSV or TSV with "
    "a column of paths, and folders of audio"
)


@dataclass(frozen=True)
class Found:
    """A format by its name, what is to be read in it, and what lies beside that and is left out.

    Example:
        >>> detect(Path("commands")).format
        'folders'
    """

    format: str
    sources: tuple[Source, ...]
    left_out: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """What the format is, for a sentence."""
        return FORMATS[self.format][0]


def detect(place: Path, *, root: Path | None = None, prepared: bool = True) -> Found:
    """The format of a file or a folder, in this order: a manifest of ours, a saved dataset, Kaldi, a list of
    audiofolder, other lists, the same in folders named as splits, and folders of audio.

    Args:
        root: where paths begin, if not in the folder of their list.
        prepared: a manifest of ours stands for what else is in its folder, as `corpus prepare` leaves it.

    Example:
        >>> detect(Path("voice/train.tsv")).format
        'table'
    """
    if not place.is_dir():
        return Found(_of_list(place, strict=False) or OURS, (Source(place, root, split_in(place.name)),))
    if prepared and os.path.lexists(place / MANIFEST):
        return Found(_of_list(place / MANIFEST, strict=False) or OURS, (Source(place / MANIFEST, root),))
    kinds, unused = _kinds(place)
    if len(kinds) > 1 and kinds.get(OURS) == [place / MANIFEST]:
        del kinds[OURS]  # what an earlier `corpus prepare` made of the others
    if kinds:
        return _chosen(place, kinds, root, unused)
    inner = {name: _kinds(place / name)[0] for name in class_folders(place) if name.lower() in SPLITS}
    if any(inner.values()):
        return _of_splits(place, inner, root)
    for name in class_folders(place):
        for kind in _kinds(place / name)[0]:  # what its list says would be lost
            raise SottovoceError(
                f"'{place}' has no list, but '{place / name}' is {FORMATS[kind][0]}; give that folder."
            )
    if has_audio(place):
        hidden = [name for name in entries(place)[0] if name.startswith("_")]
        unused += not_audio(place)
        return Found(
            "folders", (Source(place, root),), (*unused, *(f"{name}/, whose name begins with _" for name in hidden))
        )
    raise SottovoceError(_nothing(place))


def _nothing(place: Path) -> str:
    """A sentence about a folder in which there is nothing to read."""
    folders, files = entries(place)
    there = [*(f"{name}/" for name in folders), *files]
    more = f" and {len(there) - 8} more" if len(there) > 8 else ""
    found = f"there are only {', '.join(there[:8])}{more}" if there else "it is empty"
    return (
        f"the folder '{place}' has no {MANIFEST} and is in no other format that is known: {found}, and {_SOUGHT} were "
        f"looked for; a corpus as published is 'CORPUS@{place}'."
    )


def _kinds(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The formats whose marks a folder has, with what is to be read, and lists that are in none."""
    files = entries(folder)[1]
    kinds: dict[str, list[Path]] = defaultdict(list)
    unused: list[str] = []
    if MARKS[0] in files or (MARKS[1] in files and "dataset_info.json" in files):
        return {"dataset": [folder]}, unused
    if "wav.scp" in files:
        kinds["kaldi"].append(folder)
    if set(LISTS) & set(files):
        kinds["audiofolder"].append(folder)
    for name in files:
        if name.lower().endswith(LISTED) and name not in LISTS:
            kind = _of_list(folder / name, strict=True)
            if kind is None:
                unused.append(f"{name}, which lists no audio")
            elif kind != "lhotse" or RECORDINGS in name or not partner(folder / name).exists():
                kinds[kind].append(folder / name)
    return dict(kinds), unused


def _chosen(place: Path, kinds: dict[str, list[Path]], root: Path | None, unused: list[str]) -> Found:
    """The one format of a folder, and of several lists those that are splits."""
    if len(kinds) > 1:
        marks = {"kaldi": "wav.scp", "audiofolder": "metadata"}
        what = ", ".join(f"{FORMATS[kind][0]} ({marks.get(kind, paths[0].name)})" for kind, paths in kinds.items())
        raise SottovoceError(f"'{place}' holds several formats: {what}; give the one file or folder that is meant.")
    ((kind, paths),) = kinds.items()
    if paths == [place]:
        return Found(kind, (Source(place, root),), tuple(unused))
    named = [path for path in paths if split_in(path.name)]
    if len(paths) > 1 and not named:
        names = ", ".join(path.name for path in paths[:8])
        raise SottovoceError(
            f"'{place}' holds several lists, and none is named as a split: {names}; give the one that is meant."
        )
    chosen = named or paths
    rest = [f"{path.name}, whose name tells no split" for path in paths if path not in chosen]
    return Found(kind, tuple(Source(path, root, split_in(path.name)) for path in chosen), (*unused, *rest))


def _of_splits(place: Path, inner: dict[str, dict[str, list[Path]]], root: Path | None) -> Found:
    """The one format that all folders of splits are in."""
    found = [Source(place, root)][:0]
    format = ""
    for name, kinds in inner.items():
        own = _chosen(place / name, kinds, root, []) if kinds else None
        if own is None and has_audio(place / name):
            own = Found("folders", ())
        if own is None:
            continue
        if format and own.format != format:
            what = f"{FORMATS[format][0]} and {FORMATS[own.format][0]} ({name}/)"
            raise SottovoceError(f"'{place}' holds several formats: {what}; give the one folder that is meant.")
        format = own.format
        found += [Source(source.place, root, SPLITS[name.lower()]) for source in own.sources]
    others = tuple(f"{name}/, whose name is no split" for name in class_folders(place) if name not in inner)
    return Found(format, tuple(found), tuple(other for other in others if has_audio(place / other.split("/,")[0])))


def _of_list(path: Path, *, strict: bool) -> str | None:
    """The format of a list by its first lines; None if it lists no audio, or, unless `strict`, cannot be read."""
    try:
        return _by_first_lines(path, strict)
    except SottovoceError:
        if strict and not path.name.lower().endswith(".json"):
            raise
        return None  # whoever reads it says what is wrong with it


def _by_first_lines(path: Path, strict: bool) -> str | None:
    name, told = path.name.lower(), list[str]()
    lines = numbered(path, told.append)
    if name.endswith((".csv", ".tsv")):
        first = next(lines, (1, ""))[1] if not told else ""
        mark = max("\t" if name.endswith(".tsv") else ",;\t", key=first.count)
        there = "path" in roles_of(cell.strip().strip('"') for cell in first.split(mark))
        return "table" if there or told or not strict else None
    if not name.endswith(LISTED):
        return None
    said = [line for (_, line), _ in zip(lines, range(_LOOKED_AT), strict=False) if line.strip()]
    for line in said:
        try:
            return _of_object(json_object(line))
        except SottovoceError:
            continue
    # Lines that are no JSON: the reader says which; a pretty-printed .json is some other file.
    return "nemo" if strict and (said or told) and not name.endswith(".json") else None


def _of_object(record: dict[str, Any]) -> str | None:
    if "sources" in record and "sampling_rate" in record or "recording_id" in record:
        return "lhotse"
    if "recording" in record or "tracks" in record:
        return "cuts"
    if "path" in record or ("id" in record and "audio_filepath" in record):
        return OURS
    return "nemo" if set(ROLES["path"]) & record.keys() else None
