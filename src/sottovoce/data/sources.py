"""Data by name: what stands behind `--data` and a recipe's `data:`."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sottovoce.data.corpora import CORPORA
from sottovoce.data.corpora.corpus import Corpus
from sottovoce.data.corpora.prepare import listed
from sottovoce.data.own.read import read_own
from sottovoce.data.utterance import MANIFEST, Utterance
from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import local_path

HOME = "SOTTOVOCE_DATA"
ESPEAK = "espeak"
_WANTED = f"a manifest, a folder with a {MANIFEST}, '{ESPEAK}', or CORPUS@FOLDER"


def read_data(
    name: str | Path, *, on_bad: Callable[[str], None] | None = None, follow_links: bool = False
) -> list[Utterance]:
    """The utterances behind a name; of several, joined by ` + `.

    - `espeak`: made on the spot, offline; `espeak:2.5` is two and a half times as much, and `espeak:2.5,de,fr` has
      unlabelled speech of other languages beside it.
    - a manifest, or a folder with one (what `sottovoce corpus prepare` makes); `MANIFEST@ROOT` where its audio paths
      begin elsewhere.
    - a file or a folder of other tools (NeMo, Lhotse, Kaldi, Hugging Face, CSV, TSV), or folders of audio, a class
      each; splits are made where there are none, and what must be cut first is refused (docs/speech.md).
    - `CORPUS@FOLDER`: a known corpus as its authors publish it, in a folder.
    - `CORPUS`: that corpus, prepared or as published, in the folder of this name below the folder that
      `SOTTOVOCE_DATA` names.
    - `CORPUS:PART`, `CORPUS:PART@FOLDER`: one of a corpus's own parts, such as `librispeech:test-other`.

    A bad line is an error; with `on_bad` that is told instead, and the line left out. Symbolic links may lead out of
    the folder with `follow_links` alone.

    Example:
        >>> {utterance.split for utterance in read_data("speech-mini@speech-mini + espeak:4")}
    """
    names = parts_of(name)
    found = [utterance for part in names for utterance in read_one(part, on_bad, follow_links)]
    if len(names) > 1 and len({utterance.id for utterance in found}) < len(found):
        raise SottovoceError(f"'{name}' has the same id twice; give each corpus once.")
    return found


def local_places(name: str | Path) -> list[Path]:
    """The files and folders of this machine that a name of data leads to, whether or not anything is there.

    Example:
        >>> local_places("espeak:4 + speech/manifest.jsonl + fsdd@digits")
        [PosixPath('speech/manifest.jsonl'), PosixPath('digits')]
    """
    found = [named(part) for part in parts_of(name)]
    return [place for one in found if one for place in (one.path, one.root) if place is not None]


def parts_of(name: str | Path) -> list[str]:
    """The single names in a name of data.

    Example:
        >>> parts_of("espeak + fsdd@digits")
        ['espeak', 'fsdd@digits']
    """
    parts = [part.strip() for part in str(name).split(" + ")]
    if not all(parts):
        what = f"'{name}' has nothing on one side of a +" if len(parts) > 1 else "the name of the data is empty"
        raise SottovoceError(f"{what}; give {_WANTED}.")
    return parts


@dataclass(frozen=True)
class Named:
    """What a name of data leads to: a corpus as published, in a folder; or else a manifest, with the root of its audio.

    Example:
        >>> Named(Path("speech/manifest.jsonl")).corpus is None
        True
    """

    path: Path
    corpus: Corpus | None = None
    root: Path | None = None
    part: tuple[Corpus, str] | None = None


def named(text: str) -> Named | None:
    """What a single name means; None for speech that is made on the spot.

    Example:
        >>> named("fsdd@digits").path
        PosixPath('digits')
    """
    if text.split(":")[0] == ESPEAK and not os.path.lexists(text):
        return None
    if (chosen := part_named(text)) is not None:
        name, corpus, part = chosen
        found = named(name)
        return None if found is None else replace(found, part=(corpus, part))
    whole = local_path(text, "the data")
    first, at, root = text.rpartition("@")
    if at and not whole.exists():
        if not first or not root:
            raise SottovoceError(f"'{text}' has nothing on one side of its @; give CORPUS@FOLDER, or MANIFEST@FOLDER.")
        if first in CORPORA:
            return Named(local_path(root, f"the folder of {first}"), CORPORA[first])
        path = local_path(first, "the data")
        if not path.exists() and "/" not in first:
            raise unknown("corpus", first, CORPORA)
        return Named(path, root=local_path(root, "the folder of the audio"))
    if not whole.exists() and text in CORPORA and os.environ.get(HOME):
        path = local_path(os.environ[HOME], HOME) / text
        published = path.is_dir() and not (path / MANIFEST).exists()
        return Named(path, CORPORA[text] if published else None)
    return Named(whole)


def part_named(text: str) -> tuple[str, Corpus, str] | None:
    """The name without a part, the corpus and the part, where a name asks for a part of a corpus.

    Example:
        >>> part_named("librispeech:test-other@LibriSpeech")[0]
        'librispeech@LibriSpeech'
    """
    first, at, root = text.partition("@")
    name, colon, part = first.partition(":")
    if not colon or name not in CORPORA or os.path.lexists(text):
        return None
    corpus = CORPORA[name]
    if part not in corpus.parts:
        if corpus.parts:
            raise unknown(f"part of {name}", part, corpus.parts)
        raise SottovoceError(f"'{text}' asks for a part, but {name} has none of its own; give {name} alone.")
    return f"{name}{at}{root}", corpus, part


def own_place(text: str) -> tuple[Path, Path | None]:
    """The file or folder of one's own data, and where its audio paths begin if `@ROOT` says so.

    Example:
        >>> own_place("speech@audio")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: there is no file or folder 'speech'; give your own data, or CORPUS and FOLDER.
    """
    first, at, last = text.rpartition("@")
    whole = local_path(text, "the data")
    place, root = whole, None
    if not whole.exists() and at and first and last:
        place, root = local_path(first, "the data"), local_path(last, "the folder of the audio")
    if not place.exists():
        if text in CORPORA or text == ESPEAK:
            raise SottovoceError(f"'{text}' is a corpus, but where it lies is not said; give CORPUS and FOLDER.")
        raise SottovoceError(f"there is no file or folder '{place}'; give your own data, or CORPUS and FOLDER.")
    if root is not None and not root.is_dir():
        raise SottovoceError(f"'{root}' is no folder, but the audio of {place} is looked for in it; give its folder.")
    return place, root


def read_one(text: str, on_bad: Callable[[str], None] | None, follow_links: bool = False) -> list[Utterance]:
    """The utterances behind one name."""
    found = named(text)
    if found is None:
        return speak_some(text)
    if found.part is not None:
        (corpus, part), (name, _, _) = found.part, part_named(text) or (text, None, "")
        of_part = corpus.part or (lambda path: "")
        kept = [
            u for u in read_one(name, on_bad, follow_links) if isinstance(u.audio, Path) and of_part(u.audio) == part
        ]
        if not kept:
            raise SottovoceError(
                f"'{found.path}' has nothing of the part {part}; get it with `sottovoce corpus prepare`."
            )
        return kept
    path, root = found.path, found.root
    if found.corpus is not None:
        return listed(found.corpus, path, on_bad=on_bad)
    if not path.exists():
        raise SottovoceError(
            f"there is no data '{text}'; give {_WANTED} "
            f"(corpora: {', '.join(CORPORA)}; `sottovoce corpus` prepares them)."
        )
    if root is not None and root.exists() and not root.is_dir():
        raise SottovoceError(f"'{root}' is no folder, but the audio of {path} is looked for in it; give its folder.")
    return read_own(path, root=root, follow_links=follow_links, on_bad=on_bad)


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
