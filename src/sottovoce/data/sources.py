"""Data by name: what stands behind `--data` and a recipe's `data:`."""

import os
from collections.abc import Callable
from pathlib import Path

from sottovoce.data.corpora import CORPORA
from sottovoce.data.corpora.prepare import listed
from sottovoce.data.utterance import MANIFEST, Utterance, read_manifest
from sottovoce.errors import SottovoceError, unknown

HOME = "SOTTOVOCE_DATA"
ESPEAK = "espeak"


def read_data(name: str | Path, *, on_bad: Callable[[str], None] | None = None) -> list[Utterance]:
    """The utterances behind a name; of several, joined by ` + `.

    - `espeak`: made on the spot, offline; `espeak:2.5` is two and a half times as much, and `espeak:2.5,de,fr` has
      unlabelled speech of other languages beside it.
    - a manifest, or a folder with one (what `sottovoce corpus prepare` makes); `MANIFEST@ROOT` where its audio paths
      begin elsewhere.
    - `CORPUS@FOLDER`: a known corpus as its authors publish it, in a folder.
    - `CORPUS`: that corpus, prepared or as published, in the folder of this name below the folder that
      `SOTTOVOCE_DATA` names.

    A bad line is an error; with `on_bad` that is told instead, and the line left out.

    Example:
        >>> {utterance.split for utterance in read_data("speech-mini@speech-mini + espeak:4")}
    """
    names = [part.strip() for part in str(name).split(" + ")]
    found = [utterance for part in names for utterance in read_one(part, on_bad)]
    if len(names) > 1 and len({utterance.id for utterance in found}) < len(found):
        raise SottovoceError(f"'{name}' has the same id twice; give each corpus once.")
    return found


def local_places(name: str | Path) -> list[Path]:
    """The files and folders of this machine that a name of data leads to.

    Example:
        >>> local_places("espeak:4 + speech/manifest.jsonl")
        [PosixPath('speech/manifest.jsonl')]
    """
    places = []
    for text in (part.strip() for part in str(name).split(" + ")):
        first, at, root = text.rpartition("@")
        for part in (first, root) if at else (text,):
            path = Path(part).expanduser()
            if path.exists() or (part is text and path.suffix == ".jsonl"):
                places.append(path)
    return places


def read_one(text: str, on_bad: Callable[[str], None] | None) -> list[Utterance]:
    """The utterances behind one name."""
    if text.split(":")[0] == ESPEAK and not Path(text).exists():
        return speak_some(text)
    first, at, root = text.rpartition("@")
    if at and first in CORPORA:
        return listed(CORPORA[first], Path(root).expanduser(), on_bad=on_bad)
    path = Path(first if at else text).expanduser()
    if not path.exists() and not at and text in CORPORA and os.environ.get(HOME):
        path = Path(os.environ[HOME]).expanduser() / text
        if path.is_dir() and not (path / MANIFEST).is_file():
            return listed(CORPORA[text], path, on_bad=on_bad)
    if path.is_dir():
        path = path / MANIFEST
    if path.is_file():
        return read_manifest(path, root=Path(root).expanduser() if at else None, on_bad=on_bad)
    if at and first not in CORPORA and "/" not in first:
        raise unknown("corpus", first, CORPORA)
    wanted = f"a manifest, a folder with a {MANIFEST}, '{ESPEAK}', or CORPUS@FOLDER"
    raise SottovoceError(
        f"there is no data '{text}'; give {wanted} (corpora: {', '.join(CORPORA)}; `sottovoce corpus` prepares them)."
    )


def speak_some(name: str) -> list[Utterance]:
    """The embedded speech, in the amount and the languages that its name asks for."""
    from sottovoce.data.corpora import espeak  # its library is loaded when somebody wants it

    _, colon, rest = name.partition(":")
    size, *languages = rest.split(",")
    try:
        amount = float(size) if colon else 1.0
    except ValueError:
        raise SottovoceError(
            f"'{name}' asks for no amount; give espeak, or espeak:2.5 for 2.5 times as much."
        ) from None
    return espeak.make(size=amount, languages=languages)
