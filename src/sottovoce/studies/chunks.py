"""A pass over speech in chunks: each is worked out once, by whoever has it, and lies in a file until all are there.

The result is read from the files in their order, so it is the same, to the last bit, whether one process worked out all
chunks, went on after it was killed, or shared them with others.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write, scratch, work_folder
from sottovoce.progress import bar
from sottovoce.training import processes

Arrays = dict[str, np.ndarray]


class Unfinished(SottovoceError):
    """Others have their share of the work still to do."""


@dataclass(frozen=True)
class Share:
    """Which part of the chunks is whose: the number-th of so many; and the folder that all of them write to."""

    number: int = 0
    of: int = 1
    folder: Path | None = None


ALONE = Share()
_SHARE: ContextVar[Share] = ContextVar("share", default=ALONE)


@contextmanager
def sharing(folder: Path | None, number: int = 1, of: int = 1) -> Iterator[None]:
    """Inside, passes keep their chunks in this folder, and work out every of-th of them, from the number-th on.

    Example:
        >>> with sharing(Path("out/chunks"), 1, 2):
        ...     similarity(model, data)
    """
    if not 1 <= number <= of:
        raise SottovoceError(f"shard {number}/{of}, but the first is 1/{of} and the last {of}/{of}.")
    token = _SHARE.set(Share(number - 1, of, folder))
    try:
        yield
    finally:
        _SHARE.reset(token)


def chunked(
    name: str, about: Mapping[str, Any], chunks: Sequence[Any], work: Callable[[Any], Arrays]
) -> Iterator[Arrays]:
    """What `work` makes of each chunk, in order; what another process or an earlier run made is read.

    `about` must tell this pass from any other: the model, the data, the options.

    Example:
        >>> list(chunked("sums", {"data": "3f2a"}, [[1, 2], [3]], lambda part: {"sum": np.array(sum(part))}))
        [{'sum': array(3)}, {'sum': array(3)}]
    """
    if not chunks:
        raise SottovoceError(f"{name}: there is no speech to work on; give other data.")
    share, state = _SHARE.get(), processes()
    place = share.folder or work_folder()
    if place is None and state.num_processes * share.of > 1:
        raise SottovoceError(f"{name}: several processes share this work; give them a folder in common (-o, --work).")
    identity = hashlib.sha256(json.dumps([len(chunks), dict(about)], sort_keys=True).encode()).hexdigest()[:12]
    with ExitStack() as stack:
        root = place or stack.enter_context(scratch())
        paths = [root / f"{name}-{identity}" / f"{number:06d}.safetensors" for number in range(len(chunks))]
        first, step = share.number * state.num_processes + state.process_index, share.of * state.num_processes
        own = [number for number in range(first, len(chunks), step) if not whole(paths[number])]
        with bar(name, len(range(first, len(chunks), step))) as advance:
            advance(len(range(first, len(chunks), step)) - len(own))
            for number in own:
                arrays = {key: np.asarray(array, order="C") for key, array in work(chunks[number]).items()}
                atomic_write(paths[number], save(arrays))
                advance()
        state.wait_for_everyone()
        there = sum(map(whole, paths))
        if there < len(paths) or share.of > 1:
            raise Unfinished(
                f"{name}: {there} of {len(paths)} chunks are in {paths[0].parent}; when all are there, the same "
                "command without --shard puts them together."
            )
        for path in paths:
            yield load_file(path)


def whole(path: Path) -> bool:
    """Whether a chunk is there and can be read; a damaged one is worked out again."""
    if not path.is_file():
        return False
    try:
        with safe_open(str(path), "np"):
            return True
    except SafetensorError:
        return False
