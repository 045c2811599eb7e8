"""speechocean762: English sentences read by 250 Mandarin speakers, half of them children.

The official split has no development set. The canonical phones in `resource/scores.json` have no times and are left
out: a phone here has its place in the audio.
"""

from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.corpora.corpus import Archive, Corpus, locate, text_lines
from sottovoce.data.utterance import Utterance

LICENSE = "CC-BY-4.0"


def read(folder: Path) -> Iterator[Utterance]:
    """The utterances of the two lists.

    Example:
        >>> next(read(Path("speechocean762"))).text
        'WE CALL IT BEAR'
    """
    for split in ("train", "test"):
        place = locate(folder, f"{split}/wav.scp")
        if place is None:
            continue
        texts, speakers = _table(place / split / "text"), _table(place / split / "utt2spk")
        for name, path in _table(place / split / "wav.scp").items():
            yield Utterance(
                name, place / path, 0.0, text=texts[name], speaker=speakers[name], split=split, license=LICENSE
            )


def _table(path: Path) -> dict[str, str]:
    """A list of a name and what belongs to it, in the way of Kaldi."""
    pairs = (line.split(maxsplit=1) for line in text_lines(path))
    return {name: value.strip() for name, value in pairs}


SPEECHOCEAN762 = Corpus(
    "speechocean762",
    "English sentences read by 250 Mandarin speakers, half of them children",
    LICENSE,
    "https://www.openslr.org/101",
    read,
    "speechocean762/train/wav.scp, text and utt2spk beside WAVE/SPEAKER0001/000010011.WAV",
    {"all": (Archive("https://www.openslr.org/resources/101/speechocean762.tar.gz"),)},
)
