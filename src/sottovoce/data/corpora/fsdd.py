"""Free Spoken Digit Dataset: ten English digits, fifty times by each of six speakers.

The first five recordings of each digit and speaker are the official test set; the next five are for development here.
"""

from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.corpora.corpus import Archive, Corpus, locate, visible
from sottovoce.data.utterance import Utterance

LICENSE = "CC-BY-SA-4.0"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def read(folder: Path) -> Iterator[Utterance]:
    """The recordings, named by digit, speaker and number.

    Example:
        >>> next(read(Path("digits"))).label
        'zero'
    """
    place = locate(folder, "recordings")
    for path in visible(place, "recordings/*.wav") if place else []:
        digit, speaker, number = path.stem.split("_")
        word = DIGITS[int(digit)]
        split = "test" if int(number) < 5 else "dev" if int(number) < 10 else "train"
        yield Utterance(
            path.stem,
            path,
            0.0,
            text=word,
            speaker=speaker,
            label=word,
            task="keywords",
            split=split,
            license=LICENSE,
        )


FSDD = Corpus(
    "fsdd",
    "ten English digits by six speakers, 8 kHz, 20 MB",
    LICENSE,
    "https://github.com/Jakobovski/free-spoken-digit-dataset",
    read,
    "free-spoken-digit-dataset/recordings/7_jackson_32.wav",
    {"all": (Archive("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz"),)},
)
