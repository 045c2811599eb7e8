"""Speech from the Hugging Face Hub: a dataset's rows as FLAC files and a manifest."""

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sottovoce.data.audio import SAMPLE_RATE, as_speech, decode, open_audio, write_flac
from sottovoce.data.utterance import MANIFEST, Utterance, write_manifest
from sottovoce.errors import SottovoceError, unknown
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
    licence: str | None = None,
    on_bad: Callable[[str], None] | None = None,
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

    Example:
        >>> from_hub_dataset("PolyAI/minds14", config="en-GB", folder="minds14", task="intents")
        PosixPath('minds14/manifest.jsonl')
    """
    place, given = Path(folder), {"audio": audio, "text": text, "label": label, "speaker": speaker}
    utterances: list[Utterance] = []
    for name, rows in _load(id, config, split).items():
        columns = {role: _column(role, column, rows.column_names) for role, column in given.items()}
        for utterance in _written(rows, columns, place, f"{id}, {name}", name, on_bad):
            utterances.append(replace(utterance, task=task, split=SPLITS.get(name, name), licence=licence))
    if not utterances:
        raise SottovoceError(f"'{id}' has no row that can be used; give another split, or another dataset.")
    write_manifest(place / MANIFEST, utterances)
    return place / MANIFEST


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
        why = " ".join(str(error).split()).rstrip(".")
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
    rows: Any, columns: dict[str, str], place: Path, text: str, split: str, on_bad: Callable[[str], None] | None
) -> Iterator[Utterance]:
    """Write the audio of the rows, and yield what is known of each."""
    classes = {role: getattr(rows.features[column], "names", None) for role, column in columns.items() if column}
    for number, row in enumerate(track(rows, f"writing {text}", len(rows))):
        name = f"{split}/{number:07d}"
        path = place / "audio" / f"{name}.flac"
        try:
            seconds = _write(row[columns["audio"]], path, f"row {number} of {text}")
        except SottovoceError as error:
            if on_bad is None:
                raise
            on_bad(str(error))
            continue
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


def _write(audio: Any, path: Path, name: str) -> float:
    """Write one recording as FLAC; its length in seconds comes back."""
    source = audio if isinstance(audio, dict) else {"path": audio}
    if not source.get("bytes") and not source.get("path"):
        raise SottovoceError(f"{name} has no audio; leave it out.")
    with open_audio(source["bytes"] if source.get("bytes") else str(source["path"]), name) as opened:
        speech = as_speech(decode(opened), opened.rate, name=name)
    write_flac(path, speech, SAMPLE_RATE)
    return round(len(speech) / SAMPLE_RATE, 4)
