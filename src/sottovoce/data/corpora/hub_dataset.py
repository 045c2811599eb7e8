"""Speech from the Hugging Face Hub: a dataset's rows as FLAC files and a manifest."""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.data.audio import SAMPLE_RATE, as_speech, decode, open_audio, write_flac
from sottovoce.data.utterance import MANIFEST, Utterance, keep_manifest, read_manifest
from sottovoce.errors import SottovoceError, reason_of, unknown
from sottovoce.files import check_writable, local_path, sweep
from sottovoce.progress import track

# The columns that datasets use, the likeliest first.
GUESSES = {
    "audio": ("audio", "speech", "file"),
    "text": ("text", "sentence", "transcription", "transcript", "normalized_text", "raw_text"),
    "label": ("label", "intent", "intent_class", "emotion", "keyword", "command"),
    "speaker": ("speaker_id", "speaker", "client_id", "speakers"),
}
SPLITS = {"validation": "dev", "valid": "dev", "devel": "dev", "eval": "dev"}


def from_hub_dataset(
    id: str,
    *,
    folder: str | Path,
    split: str | None = None,
    config: str | None = None,
    audio: str = "",
    text: str = "",
    label: str = "",
    speaker: str = "",
    task: str | None = None,
    license: str | None = None,
    on_bad: Callable[[str], None] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the rows of a Hub dataset to `folder`, 16 kHz FLAC files and `manifest.jsonl`.

    Args:
        split: as the dataset calls it; all of them if not given. Its "validation" becomes "dev" in the manifest.
        config: the dataset's configuration, such as a language.
        audio: the column of the recordings. Where a column is not given, the usual names are tried.
        text: the column of what is said.
        label: the column of the class.
        speaker: the column of who speaks.
        task: the task that the labels are for.
        on_bad: told of each row whose audio cannot be used; without it, the first is an error.
        overwrite: replace files and a manifest that are there with other content, which otherwise is an error.

    Example:
        >>> from_hub_dataset("PolyAI/minds14", config="en-GB", folder="minds14", task="intents")
        PosixPath('minds14/manifest.jsonl')
    """
    place = local_path(folder, "the folder of the dataset")
    given = {"audio": audio, "text": text, "label": label, "speaker": speaker}
    manifest = place / MANIFEST
    check_writable(manifest)
    sets = _load(id, config, split)
    if os.path.lexists(manifest) and not overwrite:
        _check_same(manifest, sets)
    utterances: list[Utterance] = []
    for name, rows in sets.items():
        sweep(place / "audio" / name)
        columns = {role: _column(role, column, rows.column_names) for role, column in given.items()}
        for utterance in _written(rows, columns, place, f"{id}, {name}", name, on_bad, overwrite):
            utterances.append(replace(utterance, task=task, split=SPLITS.get(name, name), license=license))
    if not utterances:
        raise SottovoceError(f"'{id}' has no row that can be used; give another split, or another dataset.")
    keep_manifest(manifest, utterances, overwrite=overwrite)
    return manifest


def _check_same(manifest: Path, sets: dict[str, Any]) -> None:
    """Refuse, before anything is written, a manifest that is there and is not of these rows."""
    lengths = {name: len(rows) for name, rows in sets.items()}
    for row in read_manifest(manifest, on_bad=lambda _: None):
        name, _, number = row.id.rpartition("/")
        if not (number.isdecimal() and int(number) < lengths.get(name, 0)):
            what = f"'{manifest}' is there and lists '{row.id}', which is no row of what is to be written"
            raise SottovoceError(f"{what}; give another folder, or overwrite it (--overwrite).")


def _load(id: str, config: str | None, split: str | None) -> dict[str, Any]:
    """The rows of each split."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        message = f"the Hub dataset '{id}' needs the package datasets; run pip install sottovoce[datasets]."
        raise SottovoceError(message) from error
    try:
        loaded = datasets.load_dataset(id, config, split=split)
    except Exception as error:
        # Whatever it is (no such id, no network, terms to accept), it is of the dataset, not of this program.
        why = reason_of(error)
        raise SottovoceError(f"the dataset '{id}' cannot be loaded ({why}); check its id, split and terms.") from error
    sets = dict(loaded) if split is None else {split: loaded}
    # Not decoded by the dataset: that wants another package, and hides which row is bad.
    undecoded = datasets.Audio(decode=False)
    for name, rows in sets.items():
        for column, feature in rows.features.items():
            if isinstance(feature, datasets.Audio):
                sets[name] = sets[name].cast_column(column, undecoded)
    return sets


def _written(
    rows: Any,
    columns: dict[str, str],
    place: Path,
    text: str,
    split: str,
    on_bad: Callable[[str], None] | None,
    overwrite: bool,
) -> Iterator[Utterance]:
    """Write the audio of the rows, and yield what is known of each."""
    classes = {role: getattr(rows.features[column], "names", None) for role, column in columns.items() if column}
    for number, row in enumerate(track(rows, f"writing {text}", len(rows))):
        name = f"{split}/{number:07d}"
        path = place / "audio" / f"{name}.flac"
        try:
            speech = _speech(row[columns["audio"]], f"row {number} of {text}")
        except SottovoceError as error:
            if on_bad is None:
                raise
            on_bad(str(error))
            continue
        # Not among the faults of the row: what is in the way of the file must not leave the row out.
        write_flac(path, speech, SAMPLE_RATE, overwrite=overwrite)
        seconds = round(len(speech) / SAMPLE_RATE, 4)
        known = {role: _value(row[column], classes[role]) for role, column in columns.items() if column}
        yield Utterance(name, path, seconds, known.get("text"), None, known.get("speaker"), known.get("label"))


def _column(role: str, given: str, names: Iterable[str]) -> str:
    """The column for a role: as named, or by its usual names; empty where there is none."""
    names = list(names)
    if given and given not in names:
        raise unknown("column", given, names)
    column = given or next((name for name in GUESSES[role] if name in names), "")
    if role == "audio" and not column:
        raise SottovoceError(f"no column of audio is among {', '.join(names)}; name it with audio=....")
    return column


def _value(value: Any, classes: list[str] | None) -> str | None:
    if classes and isinstance(value, int):
        return classes[value] if value >= 0 else None  # -1 is a label that the publisher keeps for himself
    return None if value is None else str(value)


def _speech(audio: Any, name: str) -> np.ndarray:
    """One recording."""
    source = audio if isinstance(audio, dict) else {"path": audio}
    if not source.get("bytes") and not source.get("path"):
        raise SottovoceError(f"{name} has no audio; leave it out.")
    with open_audio(source["bytes"] if source.get("bytes") else str(source["path"]), name) as opened:
        return as_speech(decode(opened), opened.rate, name=name)
