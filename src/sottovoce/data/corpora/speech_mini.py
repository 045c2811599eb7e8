"""speech-mini: a mixture of free corpora, small enough for tests, with aligned phones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sottovoce.data.corpora.corpus import Corpus, locate, text_lines
from sottovoce.data.utterance import Phone, Utterance
from sottovoce.files import json_object

# The manifests by the task that their labels are for; the text of "asr" serves every task that wants text.
TASKS = {
    "asr": None,
    "sid": "speakers",
    "kws": "keywords",
    "digits": "digits",
    "emotion": "emotion",
    "slu": "intents",
    "unlabelled": "unlabelled",
}
FRAME, FIRST = 0.01, 0.0078  # seconds: the length of the aligner's frames, and where the first one begins


def read(folder: Path) -> Iterator[Utterance]:
    """The rows of every manifest; the recordings of `sid` are those of `asr` in another split, under ids of their own.

    Example:
        >>> next(read(Path("speech-mini"))).phones[0].name
        'SIL'
    """
    place = locate(folder, "manifests/asr.jsonl")
    if place is None:
        return
    aligned = {row["id"]: row["phones"] for row in _rows(place / "alignments" / "english_pocketsphinx.jsonl")}
    for listed, task in TASKS.items():
        for row in _rows(place / "manifests" / f"{listed}.jsonl"):
            yield Utterance(
                f"speakers/{row['id']}" if task == "speakers" else row["id"],
                place / row["path"],
                row["duration"],
                text=row["text"],
                phones=_phones(aligned.get(row["id"]), row["duration"]) if task is None else None,
                speaker=row["speaker"],
                label=row["label"],
                task=task,
                split=row["split"],
                license=row["licence"],
            )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    return (json_object(line, f"a line of {path.name}") for line in text_lines(path))


def _phones(frames: list[tuple[str, int, int]] | None, seconds: float) -> tuple[Phone, ...] | None:
    """Phones in seconds; the last frame may reach past the end of the audio by a part of a frame, and is clipped."""
    if frames is None:
        return None
    edges = [(name, FIRST + FRAME * first, FIRST + FRAME * (first + count)) for name, first, count in frames]
    return tuple(Phone(name, round(start, 4), round(min(end, seconds), 4)) for name, start, end in edges)


SPEECH_MINI = Corpus(
    "speech-mini",
    "9.5 h of several free corpora for tests: text, phones, speakers, keywords, digits, emotion, intents",
    "mixed: see each row",
    "",
    read,
    "manifests/asr.jsonl, alignments/english_pocketsphinx.jsonl and audio/",
    terms="it lies beside the project's own checkouts and is not published",
)
