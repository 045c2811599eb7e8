"""Emo-DB: ten German sentences in seven emotions by ten actors; no speaker is in two splits."""

from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.corpora.corpus import Archive, Corpus, locate, visible
from sottovoce.data.utterance import Utterance

LICENSE = "CC0-1.0"
EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
SPLITS = {"15": "test", "16": "test", "12": "dev", "14": "dev"}


def read(folder: Path) -> Iterator[Utterance]:
    """The recordings, named by speaker, sentence, emotion and take: `03a01Fa.wav`.

    Example:
        >>> next(read(Path("emodb"))).label
        'happiness'
    """
    place = locate(folder, "wav")
    for path in visible(place, "wav/*.wav") if place else []:
        speaker, letter = path.stem[:2], path.stem[5]
        yield Utterance(
            path.stem,
            path,
            0.0,
            speaker=speaker,
            label=EMOTIONS[letter],
            task="emotion",
            split=SPLITS.get(speaker, "train"),
            license=LICENSE,
        )


EMODB = Corpus(
    "emodb",
    "ten German sentences in seven emotions by ten actors, 50 MB",
    LICENSE,
    "http://emodb.bilderbar.info",
    read,
    "wav/03a01Fa.wav",
    {"all": (Archive("http://emodb.bilderbar.info/download/download.zip"),)},
)
