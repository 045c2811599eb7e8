"""Pieces of longer recordings as FLAC files beside a manifest: those that are there and whole are kept."""

import hashlib
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile

from sottovoce.data.audio import OpenAudio, open_audio, write_flac
from sottovoce.data.corpora.prepare import in_threads
from sottovoce.data.own.classes import PIECES
from sottovoce.data.own.measure import Item
from sottovoce.data.own.row import Bad
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.files import sweep

SHORTER = 0.01  # seconds by which a piece may differ from what the list says, after rounding to samples


@dataclass(frozen=True)
class Piece:
    """What is cut, and the file that it becomes.

    Example:
        >>> Piece(item, Path("voice/pieces/a-0.flac")).path.suffix
        '.flac'
    """

    item: Item
    path: Path


def cut(items: Sequence[Item], root: Path, bad: Bad) -> list[Utterance]:
    """The utterances of items, in order; those that are no files of their own are written to `root/pieces` first.

    The name of a piece stands for its id, its recording and its times, so that no piece of an earlier list is taken for
    it.

    Example:
        >>> [utterance.audio for utterance in cut(items, Path("voice"), print)]
        [PosixPath('voice/pieces/a-1-5f0c6d1e2b.flac')]
    """
    wanted = [Piece(item, _path(item, root)) for item in items if item.written]
    if wanted:
        sweep(root / PIECES)
    files = [piece for piece in wanted if piece.item.row.content is None]
    jobs = [list(group) for _, group in groupby(files, key=lambda piece: piece.item.utterance.audio)]
    jobs += [[piece] for piece in wanted if piece.item.row.content is not None]
    failed: set[str] = set()
    for problems in in_threads(_cut_one, jobs, "cutting"):
        for piece, message in problems:
            bad(f"{piece.item.row.where}: {message}")
            failed.add(piece.item.utterance.id)
    paths = {piece.item.utterance.id: piece.path for piece in wanted}
    kept = [item.utterance for item in items if item.utterance.id not in failed]
    return [replace(utterance, audio=paths.get(utterance.id, utterance.audio)) for utterance in kept]


def samples(audio: OpenAudio, start: float, seconds: float, channel: int | None) -> np.ndarray:
    """A part of an open file as 16-bit samples at its own rate: one channel, or the mean of all.

    Example:
        >>> with open_audio("talk.wav") as audio:
        ...     samples(audio, 1.0, 0.5, None).shape
        (8000,)
    """
    first, last = round(start * audio.rate), round((start + seconds) * audio.rate)
    try:
        audio.reader.seek(first)
        # Not as 16 bits at once: libsndfile makes zeros of a file of floating-point numbers then.
        found = audio.reader.read(last - first, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        why = str(error).rstrip(".")
        raise SottovoceError(f"{audio.name} cannot be decoded from {start:.2f} s on ({why}); copy it again.") from None
    if len(found) < last - first - 1:
        there = f"{len(found)} of {last - first} samples are there"
        raise SottovoceError(f"{audio.name} is cut off: from {start:.2f} s on, {there}; copy it again.")
    mono = found[:, channel] if channel is not None else found.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise SottovoceError(f"{audio.name} holds NaN or infinite samples; make it anew.")
    mono = mono / max(1.0, float(np.abs(mono).max(initial=0.0)))
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)


def _path(item: Item, root: Path) -> Path:
    row, utterance = item.row, item.utterance
    said = f"{utterance.id}\0{row.path}\0{item.start}\0{utterance.seconds}\0{row.channel}"
    plain = re.sub(r"[^\w-]+", "-", utterance.id, flags=re.ASCII)[:80].strip("-")
    return root / PIECES / f"{plain or 'piece'}-{hashlib.sha256(said.encode()).hexdigest()[:10]}.flac"


def _whole(piece: Piece) -> bool:
    """Whether a piece is there to its last sample."""
    if not piece.path.is_file():
        return False
    try:
        with open_audio(piece.path) as audio:
            frames = audio.frames or 0
            if abs(frames / audio.rate - piece.item.utterance.seconds) > SHORTER:
                return False
            audio.reader.seek(frames - 1)
            return len(audio.reader.read(1, dtype="int16")) == 1
    except (SottovoceError, RuntimeError):
        return False


def _cut_one(pieces: Sequence[Piece]) -> list[tuple[Piece, str]]:
    """Write the pieces of one recording that are not there yet."""
    missing = [piece for piece in pieces if not _whole(piece)]
    problems: list[tuple[Piece, str]] = []
    if not missing:
        return problems
    first = missing[0].item
    source = first.row.content() if first.row.content is not None else Path(str(first.utterance.audio))
    with ExitStack() as stack:
        try:
            audio = stack.enter_context(open_audio(source, first.row.where if isinstance(source, bytes) else ""))
        except SottovoceError as error:
            return [(piece, str(error)) for piece in missing]
        for piece in sorted(missing, key=lambda piece: piece.item.start or 0.0):
            item = piece.item
            try:
                found = samples(audio, item.start or 0.0, item.utterance.seconds, item.row.channel)
            except SottovoceError as error:
                problems.append((piece, str(error)))
                continue
            # Not among the faults of the recording: a full disk must not leave the piece out.
            write_flac(piece.path, found, audio.rate, overwrite=True)
    return problems
