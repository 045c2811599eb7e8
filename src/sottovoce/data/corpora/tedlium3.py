"""TED-LIUM 3 in its "legacy" split: English talks with their text, whose segments are cut to files of their own."""

import re
from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.corpora.corpus import Archive, Corpus, Segment, locate, text_lines, visible
from sottovoce.data.utterance import Utterance

LICENSE = "CC-BY-NC-ND-3.0"
MARKS = re.compile(r"<[^>]*>|\{[^}]*\}|\(\d+\)")  # <unk>, {NOISE}, the variant of a pronunciation
SUFFIXES = re.compile(r" '(?=(?:s|t|m|d|re|ve|ll)\b)")  # the lists write "i 'm"


def _rows(folder: Path) -> Iterator[tuple[Segment, str, str, str]]:
    """Each segment that has text, with its split, speaker and text."""
    place = locate(folder, "legacy")
    if place is None:
        return
    for split in ("train", "dev", "test"):
        for listed in visible(place / "legacy" / split / "stm", "*.stm"):
            for line in text_lines(listed):
                if line.startswith(";;"):
                    continue
                talk, _, speaker, start, end, _, *words = line.split(maxsplit=6)
                text = SUFFIXES.sub("'", " ".join(MARKS.sub(" ", " ".join(words)).split()))
                if not text or text == "ignore_time_segment_in_scoring":
                    continue
                name = f"{talk}-{round(float(start) * 1000):07d}-{round(float(end) * 1000):07d}.flac"
                source = place / "legacy" / split / "sph" / f"{talk}.sph"
                audio = place / "segments" / split / talk / name
                yield Segment(source, float(start), float(end), audio), split, speaker, text


def segments(folder: Path) -> Iterator[Segment]:
    """The segments of the talks.

    Example:
        >>> next(segments(Path("tedlium3"))).source.name
        '911Mothers_2010W.sph'
    """
    return (segment for segment, *_ in _rows(folder))


def read(folder: Path) -> Iterator[Utterance]:
    """The segments with their text.

    Example:
        >>> next(read(Path("tedlium3"))).text
        "i'm a volunteer firefighter"
    """
    for segment, split, speaker, text in _rows(folder):
        name = segment.audio.stem
        yield Utterance(name, segment.audio, 0.0, text=text, speaker=speaker, split=split, license=LICENSE)


TEDLIUM3 = Corpus(
    "tedlium3",
    "English talks with their text, 450 h",
    LICENSE,
    "https://www.openslr.org/51",
    read,
    "TEDLIUM_release-3/legacy/train/stm/AlGore_2009.stm and legacy/train/sph/AlGore_2009.sph",
    {
        "all": (
            Archive(
                "https://www.openslr.org/resources/51/TEDLIUM_release-3.tgz",
                "sha256:ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb",
            ),
        )
    },
    segments=segments,
)
