"""Corpora made ready: fetched where their licence allows it, cut, listed in a manifest, and checked."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from sottovoce.data.archives import unpack
from sottovoce.data.audio import LONGEST, SAMPLE_RATE, TOLERANCE, duration, open_audio, read_audio, write_flac
from sottovoce.data.batches import ahead
from sottovoce.data.corpora import CORPORA
from sottovoce.data.corpora.corpus import Corpus, Segment
from sottovoce.data.download import digest, fetch
from sottovoce.data.utterance import MANIFEST, Utterance, check_utterance, keep_manifest, read_manifest
from sottovoce.errors import SottovoceError, explain_system_error, unknown
from sottovoce.files import check_writable, local_path, regular_file, sweep
from sottovoce.progress import track

AHEAD = 4096  # results at most that wait to be taken, so that a million files do not lie in memory

T = TypeVar("T")
R = TypeVar("R")
OnBad = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """The utterances of one task and split that can be decoded.

    Example:
        >>> Part("keywords", "dev", 3000, 0.83, 120).hours
        0.83
    """

    task: str | None
    split: str | None
    utterances: int
    hours: float
    speakers: int


@dataclass(frozen=True)
class Check:
    """What a manifest holds, and a sentence for each of its lines or files that is bad.

    Example:
        >>> check("digits/manifest.jsonl").bad
        ()
    """

    parts: tuple[Part, ...]
    bad: tuple[str, ...]


def prepare(
    corpus: str | Corpus,
    folder: str | Path,
    *,
    parts: Sequence[str] | None = None,
    download: bool = False,
    manifest: str | Path | None = None,
    on_bad: OnBad | None = None,
    overwrite: bool = False,
) -> Path:
    """Write `folder/manifest.jsonl` for a corpus that is in the folder, or is fetched into it.

    Args:
        parts: of the corpus; all if not given.
        download: fetch the parts of which nothing is there and unpack each archive as a folder of its own, after
            which the archive is removed, unless it was there before.
        manifest: another file to write, for folders that are read-only; it is then read with `root=folder`.
        on_bad: told of each file that cannot be read, which is then left out; without it, the first is an error.
        overwrite: replace a manifest that is there and says something else, which otherwise is an error.

    Example:
        >>> prepare("fsdd", "digits", download=True)
        PosixPath('digits/manifest.jsonl')
    """
    if isinstance(corpus, str):
        if corpus not in CORPORA:
            raise unknown("corpus", corpus, CORPORA)
        corpus = CORPORA[corpus]
    place, known = local_path(folder, f"the folder of {corpus.name}"), corpus.archives or {}
    target = place / MANIFEST if manifest is None else local_path(manifest, "the manifest")
    check_writable(target)
    for part in parts or ():
        if not known:
            raise SottovoceError(f"{corpus.name} has no parts, but '{part}' is wanted; leave it out.")
        if part not in known:
            raise unknown(f"part of {corpus.name}", part, known)
    if download:
        if not known:
            raise SottovoceError(f"{corpus.name} cannot be downloaded without its licence: {corpus.terms}.")
        missing = _missing(corpus, place, known if parts is None else parts)
        if missing and os.path.lexists(target) and not overwrite:
            what = f"'{target}' is there, and would change with what is to be fetched ({', '.join(missing)})"
            raise SottovoceError(f"{what}; give another folder, or overwrite it (--overwrite).")
        _fetch(corpus, place, missing)
    utterances = listed(corpus, place, parts=parts, on_bad=on_bad)
    keep_manifest(target, utterances, root=place, overwrite=overwrite)
    return target


def listed(
    corpus: Corpus, folder: str | Path, *, parts: Sequence[str] | None = None, on_bad: OnBad | None = None
) -> list[Utterance]:
    """The utterances of a corpus that is in a folder, with their lengths; what it wants cut is cut first.

    Example:
        >>> listed(CORPORA["fsdd"], "digits")[0].label
        'zero'
    """
    place = local_path(folder, f"the folder of {corpus.name}")
    if not place.exists():
        raise SottovoceError(f"there is no folder {place}; {_wanted(corpus)}.")
    if not place.is_dir():
        raise SottovoceError(f"'{place}' is a file, but {_wanted(corpus)}.")
    with _explained(corpus, place):
        os.listdir(place)  # what may not be read would seem to be empty
        found = list(_listed(corpus, place, parts))
        segments = list(corpus.segments(place)) if corpus.segments else []
    for parent in {place, *(segment.audio.parent for segment in segments)}:
        sweep(parent)
    failed = _cut(segments, on_bad)
    utterances = list(_measured([utterance for utterance in found if utterance.audio not in failed], on_bad))
    if not utterances:
        raise SottovoceError(f"{corpus.name} has nothing in {place} that can be used; {_wanted(corpus)}.")
    return utterances


def _wanted(corpus: Corpus) -> str:
    source = corpus.terms or "download=True fetches it"
    return f"a folder with {corpus.layout} is wanted ({source})"


@contextmanager
def _explained(corpus: Corpus, place: Path) -> Iterator[None]:
    """Turn what a reader raises over lists that are not as published into a sentence."""
    try:
        yield
    except SottovoceError as error:
        reason = str(error).rstrip(".")
        raise SottovoceError(f"the lists of {corpus.name} in {place} cannot be read: {reason}.") from error
    except (FileNotFoundError, NotADirectoryError, *_NOT_AS_PUBLISHED) as error:
        what = f"{type(error).__name__}: {error}"
        raise SottovoceError(
            f"the lists of {corpus.name} in {place} cannot be read ({what}); {_wanted(corpus)}."
        ) from error
    except OSError as error:
        raise SottovoceError(f"{corpus.name} cannot be read: {explain_system_error(error)}") from error


_NOT_AS_PUBLISHED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, csv.Error)


def _listed(corpus: Corpus, place: Path, parts: Iterable[str] | None) -> Iterator[Utterance]:
    """The utterances of some parts, as a manifest could hold them; without a choice of parts, of all."""
    chosen = set(parts or ()) if len(corpus.archives or {}) > 1 else set()
    for utterance in corpus.read(place):
        relative = Path(str(utterance.audio)).relative_to(place)
        if not chosen or chosen & set(relative.parts):
            check_utterance(utterance, place)
            yield utterance


def _missing(corpus: Corpus, place: Path, parts: Iterable[str]) -> list[str]:
    """The parts of which nothing is there."""
    with _explained(corpus, place):
        return [part for part in parts if not place.is_dir() or next(_listed(corpus, place, [part]), None) is None]


def _fetch(corpus: Corpus, place: Path, parts: Iterable[str]) -> None:
    """Fetch and unpack parts; an archive that was there before is used if it is the right one, and stays."""
    sweep(place)
    for part in parts:
        for archive in (corpus.archives or {})[part]:
            file = place / archive.url.rpartition("/")[2]
            folder = place / re.sub(r"(\.tar)?\.(gz|bz2|xz|tgz|zip|tar)$", "", file.name)
            if folder.is_dir():
                continue
            if not file.exists():
                fetched = fetch(archive.url, file.with_name(f"{file.name}.fetched"), checksum=archive.checksum)
                unpack(fetched, folder)
                fetched.unlink()
            elif archive.checksum and digest(regular_file(file), archive.checksum) != archive.checksum.lower():
                raise SottovoceError(f"'{file}' is not the archive that {archive.url} names; move it away.")
            else:
                unpack(file, folder)


def _measured(utterances: Sequence[Utterance], on_bad: OnBad | None) -> Iterator[Utterance]:
    """The utterances with the length of their files where it was not known."""
    seen: set[str] = set()
    for result in in_threads(_with_seconds, utterances, "reading headers"):
        if not isinstance(result, Utterance):
            _tell(result, on_bad)
        elif result.id in seen:
            _tell(f"the id {result.id!r} stands twice in the lists, for {result.audio} the second time.", on_bad)
        else:
            seen.add(result.id)
            yield result


def _with_seconds(utterance: Utterance) -> Utterance | str:
    if utterance.seconds:
        return utterance
    try:
        return replace(utterance, seconds=round(duration(Path(str(utterance.audio))), 4))
    except SottovoceError as error:
        return str(error)


def _cut(segments: Iterable[Segment], on_bad: OnBad | None) -> set[Path]:
    """Write the segments that are not there yet; the files of those that cannot be cut come back."""
    missing = [segment for segment in segments if not segment.audio.is_file()]
    talks = [list(group) for _, group in groupby(missing, key=lambda segment: segment.source)]
    failed: set[Path] = set()
    for problems in in_threads(_cut_one, talks, "cutting"):
        for segment, message in problems:
            _tell(message, on_bad)
            failed.add(segment.audio)
    return failed


def _cut_one(segments: Sequence[Segment]) -> list[tuple[Segment, str]]:
    """Cut the segments of one recording."""
    source, problems = segments[0].source, []
    try:
        with open_audio(source) as opened:
            rate, length = opened.rate, (opened.frames or 0) / opened.rate
            for segment in segments:
                # Lists round the end of the last sentence: a little past the end of the talk is no fault.
                if not 0 <= segment.start < segment.end <= min(length + TOLERANCE, segment.start + LONGEST):
                    span = f"{segment.start:g}-{segment.end:g} s"
                    problems.append((segment, f"{source} has no {span}: it is {length:.2f} s long."))
                    continue
                first, last = round(segment.start * rate), round(segment.end * rate)
                opened.reader.seek(first)
                write_flac(segment.audio, opened.reader.read(last - first, dtype="int16"), rate)
    except SottovoceError as error:
        message = f"{source} cannot be cut ({str(error).rstrip('.')})."
        return [(segment, message) for segment in segments if not segment.audio.is_file()]
    return problems


def check(manifest: str | Path, *, root: str | Path | None = None, on_bad: OnBad | None = None) -> Check:
    """Decode every file of a manifest: what there is by task and split, and everything that is bad.

    Args:
        root: where the audio paths begin; the manifest's folder if not given.
        on_bad: told of each fault as it is found.

    Example:
        >>> check("digits/manifest.jsonl").parts[0]
        Part(task='keywords', split='dev', utterances=300, hours=0.036, speakers=6)
    """
    bad: list[str] = []

    def tell(message: str) -> None:
        bad.append(message)
        if on_bad is not None:
            on_bad(message)

    utterances = read_manifest(manifest, root=root, on_bad=tell)
    if not utterances and not bad:
        tell(f"{manifest} has no line, and so no utterance.")
    files = sorted({Path(str(utterance.audio)) for utterance in utterances})
    lengths: dict[Path, float] = {}
    for file, result in zip(files, in_threads(_decoded, files, "decoding"), strict=True):
        if isinstance(result, str):
            tell(result)
        else:
            lengths[file] = result
    good: list[Utterance] = []
    for utterance in utterances:
        seconds = lengths.get(Path(str(utterance.audio)))
        if seconds is None:
            continue
        if abs(seconds - utterance.seconds) > TOLERANCE:
            tell(f"{utterance.audio} is {seconds:.2f} s long, but '{utterance.id}' says {utterance.seconds:.2f} s.")
        else:
            good.append(utterance)
    return Check(_parts(good), tuple(bad))


def _decoded(file: Path) -> float | str:
    try:
        return len(read_audio(file)) / SAMPLE_RATE
    except SottovoceError as error:
        return str(error)


def _parts(utterances: Iterable[Utterance]) -> tuple[Part, ...]:
    groups: dict[tuple[str, str], list[Utterance]] = {}
    for utterance in utterances:
        groups.setdefault((utterance.task or "", utterance.split or ""), []).append(utterance)
    return tuple(
        Part(
            task or None,
            split or None,
            len(rows),
            sum(row.seconds for row in rows) / 3600,
            len({row.speaker for row in rows} - {None}),
        )
        for (task, split), rows in sorted(groups.items())
    )


def in_threads(function: Callable[[T], R], items: Sequence[T], text: str) -> Iterator[R]:
    """The results of a function that opens audio files, in the order of the items, behind a bar.

    Example:
        >>> lengths = list(in_threads(duration, files, "reading headers"))
    """
    # libsndfile releases the interpreter while it decodes, so threads use every core.
    workers = min(32, (os.cpu_count() or 1) + 4)
    with closing(ahead(function, items, workers=workers, depth=AHEAD)) as results:
        yield from track(results, text, len(items))


def _tell(message: str, on_bad: OnBad | None) -> None:
    if on_bad is None:
        raise SottovoceError(message)
    on_bad(message)
