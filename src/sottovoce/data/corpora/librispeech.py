"""LibriSpeech: English audiobooks with their text, 960 h of training and four sets to develop and test on."""

from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.corpora.corpus import Archive, Corpus, text_lines, visible
from sottovoce.data.utterance import Utterance

LICENSE = "CC-BY-4.0"
CHECKSUMS = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}


def read(folder: Path) -> Iterator[Utterance]:
    """The utterances of every part that is there; the part's name begins with the split.

    Example:
        >>> next(read(Path("librispeech"))).text
        'MISTER QUILTER IS THE APOSTLE OF THE MIDDLE CLASSES'
    """
    for transcript in visible(folder, "**/*.trans.txt"):
        speaker, part = transcript.parents[1].name, transcript.parents[2].name
        if part not in CHECKSUMS:
            continue
        for line in text_lines(transcript):
            name, _, text = line.partition(" ")
            audio = transcript.with_name(f"{name}.flac")
            split = part.partition("-")[0]
            yield Utterance(name, audio, 0.0, text=text.strip(), speaker=speaker, split=split, license=LICENSE)


def part_of(path: Path) -> str:
    """The part that a recording belongs to.

    Example:
        >>> part_of(Path("librispeech/LibriSpeech/test-other/1688/142285/1688-142285-0000.flac"))
        'test-other'
    """
    return path.parents[2].name if len(path.parents) > 2 else ""


LIBRISPEECH = Corpus(
    "librispeech",
    "English audiobooks with their text, 1000 h",
    LICENSE,
    "https://www.openslr.org/12",
    read,
    "LibriSpeech/dev-clean/1272/128104/1272-128104.trans.txt beside 1272-128104-0000.flac",
    {
        part: (Archive(f"https://www.openslr.org/resources/12/{part}.tar.gz", f"sha256:{checksum}"),)
        for part, checksum in CHECKSUMS.items()
    },
    part=part_of,
    parts=tuple(CHECKSUMS),
)
