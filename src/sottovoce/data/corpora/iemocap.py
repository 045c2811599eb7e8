"""IEMOCAP: emotional dialogues of ten actors, in the four classes of SUPERB.

The test set is Session 1, SUPERB's first fold. SUPERB draws its development set from the other sessions at random,
so that its speakers train as well; here it is Session 2, whose speakers do not.
"""

from collections.abc import Iterator
from pathlib import Path

from sottovoce.data.corpora.corpus import Corpus, locate, text_lines, visible
from sottovoce.data.utterance import Utterance

LICENSE = "IEMOCAP licence (research, by request)"
LABELS = {"neu": "neutral", "hap": "happy", "exc": "happy", "sad": "sad", "ang": "angry"}
SPLITS = {1: "test", 2: "dev", 3: "train", 4: "train", 5: "train"}


def read(folder: Path) -> Iterator[Utterance]:
    """The utterances whose emotion most annotators agree on and is one of the four classes.

    Example:
        >>> next(read(Path("iemocap"))).speaker
        'Ses01F'
    """
    place = locate(folder, "Session1/dialog/EmoEvaluation")
    if place is None:
        return
    for session, split in SPLITS.items():
        root = place / f"Session{session}"
        for listed in visible(root, "dialog/EmoEvaluation/*.txt"):
            texts = _texts(root / "dialog" / "transcriptions" / listed.name)
            for line in text_lines(listed):
                # "[6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]", among the single votes.
                columns = line.split("\t")
                if len(columns) < 3 or columns[2] not in LABELS:
                    continue
                name, dialogue = columns[1], columns[1].rpartition("_")[0]
                yield Utterance(
                    name,
                    root / "sentences" / "wav" / dialogue / f"{name}.wav",
                    0.0,
                    text=texts.get(name),
                    # The letter of the dialogue is who wore the markers; that of the turn is who speaks.
                    speaker=f"Ses0{session}{name.rpartition('_')[2][0]}",
                    label=LABELS[columns[2]],
                    task="emotion",
                    split=split,
                    license=LICENSE,
                )


def _texts(path: Path) -> dict[str, str]:
    """What is said in each turn, of lines such as `Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.`"""
    lines = text_lines(path) if path.is_file() else []
    return {line.split(" ")[0]: line.partition("]: ")[2].strip() for line in lines if "]: " in line}


IEMOCAP = Corpus(
    "iemocap",
    "emotional dialogues of ten actors: neutral, happy, sad, angry",
    LICENSE,
    "https://sail.usc.edu/iemocap/",
    read,
    "IEMOCAP_full_release/Session1/dialog/EmoEvaluation/*.txt and Session1/sentences/wav/",
    terms="ask for it on its page and unpack IEMOCAP_full_release",
)
