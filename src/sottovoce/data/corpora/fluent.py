"""Fluent Speech Commands: spoken commands to a home assistant, each with an action, an object and a location."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.corpora.corpus import LONGEST_LIST, Corpus, locate
from sottovoce.data.utterance import Utterance
from sottovoce.files import read_text

LICENSE = "Fluent Speech Commands Public License"
SPLITS = {"train": "train", "valid": "dev", "test": "test"}


def read(folder: Path) -> Iterator[Utterance]:
    """The commands of the three lists; the label is `action/object/location`.

    Example:
        >>> next(read(Path("fluent"))).label
        'change language/none/none'
    """
    for listed, split in SPLITS.items():
        place = locate(folder, f"data/{listed}_data.csv")
        if place is None:
            continue
        text = read_text(place / "data" / f"{listed}_data.csv", "the list", largest=LONGEST_LIST)
        for row in csv.DictReader(io.StringIO(text, newline="")):
            yield Utterance(
                row["path"].removesuffix(".wav"),
                place / row["path"],
                0.0,
                text=row["transcription"],
                speaker=row["speakerId"],
                label="/".join(row[key] for key in ("action", "object", "location")),
                task="intents",
                split=split,
                license=LICENSE,
            )


FLUENT = Corpus(
    "fluent",
    "spoken commands to a home assistant with 31 intents",
    LICENSE,
    "https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research/",
    read,
    "fluent_speech_commands_dataset/data/train_data.csv beside wavs/speakers/",
    terms="accept the licence on its page, download and unpack fluent_speech_commands_dataset",
)
