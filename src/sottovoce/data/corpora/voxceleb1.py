"""VoxCeleb1: interviews of 1251 celebrities, with the split for identifying the speaker."""

from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.corpora.corpus import Corpus, locate, text_lines
from sottovoce.data.utterance import Utterance

LICENSE = "CC-BY-4.0"
SPLITS = {"1": "train", "2": "dev", "3": "test"}


def read(folder: Path) -> Iterator[Utterance]:
    """The utterances of `iden_split.txt`, whether or not the two archives were unpacked into one folder.

    Example:
        >>> next(read(Path("voxceleb1"))).label
        'id10003'
    """
    place = locate(folder, "iden_split.txt")
    if place is None:
        return
    roots = [place / "wav", place / "dev" / "wav", place / "test" / "wav"]
    homes = {speaker.name: root for root in roots if root.is_dir() for speaker in root.iterdir()}
    for line in text_lines(place / "iden_split.txt"):
        number, path = line.split()
        speaker = path.partition("/")[0]
        audio = homes.get(speaker, roots[0]) / path
        yield Utterance(
            path.removesuffix(".wav"),
            audio,
            0.0,
            speaker=speaker,
            label=speaker,
            task="speakers",
            split=SPLITS[number],
            license=LICENSE,
        )


VOXCELEB1 = Corpus(
    "voxceleb1",
    "interviews of 1251 celebrities, for speaker identification",
    LICENSE,
    "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html",
    read,
    "iden_split.txt beside wav/id10001/1zcIwhmdeo4/00001.wav",
    terms="ask for access on its page, unpack vox1_dev_wav.zip and vox1_test_wav.zip, put iden_split.txt beside wav",
)
