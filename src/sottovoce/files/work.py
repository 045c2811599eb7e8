"""Where long work keeps checkpoints and caches: in folders of its own, from which only its own files are removed."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path

from sottovoce.errors import SottovoceError
from sottovoce.files.claims import MARK, Busy, claimed
from sottovoce.files.folders import folder_identity, precious_places
from sottovoce.files.leftovers import real_path, scratch, sweep
from sottovoce.files.paths import local_path
from sottovoce.files.text import json_object, read_text
from sottovoce.files.write import atomic_write, explained

_SAVING = "saving.json"
# The names of all files that long work makes, and of what a killed process may have left of them.
_OWN = re.compile(
    r"(trained|optimizer|optimiser|codebook|\d{6})\.safetensors|state\.json|(index|rows)\.jsonl|rows\.bin|\..+\.(new|old)"
    rf"|{re.escape(MARK)}|{re.escape(_SAVING)}"
)
_LOGS = re.compile(r"log\.jsonl|events\..*")
_WORK: ContextVar[Path | None] = ContextVar("work", default=None)
_SHARED: ContextVar[Path | None] = ContextVar("shared", default=None)


@contextmanager
def working_in(folder: str | Path, *, shared: str | Path | None = None) -> Iterator[None]:
    """Give what runs inside the block a folder for its checkpoints and caches.

    `shared` is one more, for what other parts of the same run need too, such as decoded audio.

    Example:
        >>> with working_in("runs/finetune-3f2a/work"):
        ...     print(work_folder())
        runs/finetune-3f2a/work
    """
    token, other = _WORK.set(Path(folder)), _SHARED.set(_SHARED.get() if shared is None else Path(shared))
    try:
        yield
    finally:
        _WORK.reset(token)
        _SHARED.reset(other)


def work_folder() -> Path | None:
    """The folder for checkpoints and caches of the run that is under way, if one is.

    Example:
        >>> work_folder() is None
        True
    """
    return _WORK.get()


def shared_folder(name: str) -> Path | None:
    """A folder for what all parts of the run under way need, if there is one; each process of several has its own.

    Example:
        >>> shared_folder("audio") is None
        True
    """
    place = _SHARED.get()
    return None if place is None else place / f"{name}-{os.environ.get('RANK', '0')}"


@contextmanager
def place_for(name: str) -> Iterator[Path]:
    """A folder in that of the run that is under way, or one that vanishes; each process of several has its own.

    Example:
        >>> with place_for("states") as folder:
        ...     pass
    """
    place = work_folder()
    if place is not None:
        yield place / f"{name}-{os.environ.get('RANK', '0')}"
        return
    with scratch() as folder:
        yield folder / name


@contextmanager
def own_folder(
    folder: str | Path, what: str, apart: Mapping[str, str | Path] | None = None, *, hold: bool = True
) -> Iterator[Path]:
    """Let long work use a folder that is its own: made by this program, held by this process, with nothing else in it.

    `apart` names what the folder must not hold or lie in, such as the output. Without `hold`, other processes that
    share in the work may use it too.

    Example:
        >>> import tempfile
        >>> with own_folder(Path(tempfile.mkdtemp()) / "work", "an example") as place, working_in(place):
        ...     pass
    """
    place = check_own(folder, apart)
    with made(place), claimed(place, what, keep_mark=True) if hold else nullcontext():
        if hold:
            for parent, _, _ in os.walk(place):
                sweep(parent)
        else:
            (place / MARK).touch()
        try:
            yield place
        finally:
            _unmark(place)


@contextmanager
def made(place: Path) -> Iterator[None]:
    """Make a folder, and take away again, of what was made, folders in which nothing came to be.

    Example:
        >>> with made(Path("runs/new")):  # doctest: +SKIP
        ...     pass
    """
    missing = [path for path in (place, *place.parents) if not path.exists()]
    with explained(place):
        place.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for path in missing:
                path.rmdir()


def _unmark(place: Path) -> None:
    """Take the mark away if nothing else is there; whoever holds the folder may, and nobody else."""
    with suppress(OSError):
        if os.listdir(place) == [MARK]:
            os.unlink(place / MARK)


def check_own(folder: str | Path, apart: Mapping[str, str | Path] | None = None) -> Path:
    """The real path of a folder that long work may use as its own, or a refusal that says what is in the way.

    Example:
        >>> check_own(".")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: '.' cannot be used for checkpoints and caches: it is or holds the current ...
    """
    place = real_path(local_path(folder, "the folder for checkpoints"))
    refusal = f"'{folder}' cannot be used for checkpoints and caches"
    advice = "give a folder of its own with --work"
    for precious, name in precious_places():
        if precious.is_relative_to(place):
            raise SottovoceError(f"{refusal}: it is or holds {name}; {advice}.")
    for name, other in (apart or {}).items():
        real = real_path(other)
        if real.is_relative_to(place) or place.is_relative_to(real):
            how = "is" if real == place else "holds" if real.is_relative_to(place) else "lies in"
            raise SottovoceError(f"{refusal}: it {how} {name} '{other}'; {advice}.")
    if os.path.lexists(place) and not place.is_dir():
        raise SottovoceError(f"{refusal}: it is a file; {advice}.")
    foreign = next(_foreign(place), None) if place.is_dir() else None
    if foreign is not None:
        name = foreign.relative_to(place)
        raise SottovoceError(f"{refusal}: it holds '{name}', which sottovoce did not make; {advice}.")
    if place.is_dir() and any(place.iterdir()) and not (place / MARK).is_file():
        raise SottovoceError(f"{refusal}: it has no file '{MARK}', so sottovoce did not make it; {advice}.")
    return place


def _foreign(place: Path) -> Iterator[Path]:
    """Files in a folder whose names are none that long work gives to its files, and links."""
    for parent, folders, names in os.walk(place):
        # What a killed process was writing goes with its folder, whatever a library called the files in it.
        folders[:] = [name for name in folders if not _OWN.fullmatch(name)]
        for name in names:
            if not (_OWN.fullmatch(name) or _LOGS.fullmatch(name)) or os.path.islink(os.path.join(parent, name)):
                yield Path(parent, name)
        yield from (Path(parent, name) for name in folders if os.path.islink(os.path.join(parent, name)))


def note_saving(work: str | Path, target: str | Path) -> None:
    """Note in a work folder that all is done but for saving the result, which then is, or is not, in its place.

    Example:
        >>> note_saving("model-training", "model")  # doctest: +SKIP
    """
    record = {"target": str(target), "before": folder_identity(target)}
    atomic_write(Path(work, _SAVING), json.dumps(record) + "\n")


def tidy_saved(work: str | Path) -> None:
    """Tidy the work folder of a process that was killed when it had saved its result and not yet tidied.

    Example:
        >>> tidy_saved("model-training")
    """
    path = Path(work, _SAVING)
    if not path.is_file() or not Path(work, MARK).is_file():
        return
    with suppress(Busy, SottovoceError, KeyError), claimed(work, "tidying", keep_mark=True):
        record = json_object(read_text(path), str(path))
        now = folder_identity(record["target"])
        if now is not None and now != record["before"]:
            tidy(work)


def tidy(work: str | Path) -> None:
    """Remove this program's checkpoints and caches from a work folder; the logs of trainings stay, and all else.

    Example:
        >>> tidy("runs/finetune-3f2a/work")
    """
    folder = Path(work)
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            if _OWN.fullmatch(name) and not (name == MARK and Path(parent) == folder):
                with suppress(OSError):
                    os.unlink(os.path.join(parent, name))
        with suppress(OSError):
            os.rmdir(parent)  # only where nothing is left in it
    _unmark(folder)
    with suppress(OSError):
        os.rmdir(folder)
