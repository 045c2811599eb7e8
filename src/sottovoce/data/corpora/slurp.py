"""SLURP: requests to a home assistant in 18 scenarios, recorded near and far."""

from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.corpora.corpus import LONGEST_LIST, Archive, Corpus, locate, text_lines
from sottovoce.data.utterance import Utterance
from sottovoce.files import parse_json, read_json

LICENSE = "CC-BY-NC-4.0"  # of the audio; the text alone is CC-BY-4.0
SPLITS = {"train": "train", "devel": "dev", "test": "test"}
# The annotations of one day, so that a manifest made next year is the same.
REVISION = "8eb16545762be97ace75334109d73824217311f1"


def read(folder: Path) -> Iterator[Utterance]:
    """One utterance for each real recording; the label is the scenario and the action.

    Example:
        >>> next(read(Path("slurp"))).label
        'iot_coffee'
    """
    place, audio = locate(folder, "dataset/slurp"), locate(folder, "slurp_real/audio-*.flac")
    if place is None or audio is None:
        return
    speakers = _speakers(place / "dataset" / "slurp" / "metadata.json")
    for listed, split in SPLITS.items():
        for line in text_lines(place / "dataset" / "slurp" / f"{listed}.jsonl"):
            row = parse_json(line, f"a line of {listed}.jsonl")
            for recording in row["recordings"]:
                name = recording["file"]
                yield Utterance(
                    f"{row['slurp_id']}/{Path(name).stem}",
                    audio / "slurp_real" / name,
                    0.0,
                    text=row["sentence"],
                    speaker=speakers.get(name),
                    label=f"{row['scenario']}_{row['action']}",
                    task="intents",
                    split=split,
                    license=LICENSE,
                )


def _speakers(path: Path) -> dict[str, str]:
    """Who speaks in each file; only later versions of the corpus say it."""
    if not path.is_file():
        return {}
    entries = read_json(path, "the list", largest=LONGEST_LIST).values()
    return {
        name: about["usrid"]
        for entry in entries
        for name, about in entry["recordings"].items()
        if about.get("usrid")  # not every recording has one
    }


SLURP = Corpus(
    "slurp",
    "requests to a home assistant in 18 scenarios, recorded near and far",
    LICENSE,
    "https://github.com/pswietojanski/slurp",
    read,
    "dataset/slurp/train.jsonl and audio/slurp_real/audio-1502099775.flac",
    {
        "all": (
            Archive(f"https://github.com/pswietojanski/slurp/archive/{REVISION}.tar.gz"),
            Archive(
                "https://zenodo.org/record/4274930/files/slurp_real.tar.gz", "md5:9efc0f058ced47bf5131c7cb2cade513"
            ),
        )
    },
)
