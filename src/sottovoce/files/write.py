"""Files that are either whole or as they were."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sottovoce.errors import SottovoceError
from sottovoce.files.leftovers import clear, real_path, remove, sibling
from sottovoce.files.paths import local_path, regular_file

_FULL = (errno.ENOSPC, errno.EDQUOT)


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash, meets the old content or the new, never a mixture.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "run.json"
        >>> atomic_write(path, '{"status": "finished"}')
        >>> path.read_text()
        '{"status": "finished"}'
    """
    target = real_path(local_path(path))
    if target.is_dir():
        raise SottovoceError(f"cannot write '{target}': it is a folder, but a file is wanted; give another path.")
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        clear(target)
        temporary = sibling(target, "new")
        try:
            with open(temporary, "xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            remove(temporary)
            raise
        sync_folder(target.parent)


def append_lines(path: str | Path, text: str) -> None:
    """Write whole lines behind the whole lines of a file; if that fails, the file is as it was.

    A last line without its end is what a crash cut short: the new lines take its place.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "measurements.jsonl"
        >>> append_lines(path, "1\\n2\\n")
        >>> whole_lines(path)
        b'1\\n2\\n'
    """
    target = real_path(local_path(path))
    with explained(target):
        end = len(whole_lines(target))
        # Unbuffered: a buffer would be written after all when the file closes, behind our back.
        with open(os.open(target, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
            file.truncate(end)
            file.seek(end)
            rest = memoryview(text.encode())
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(end)
                raise


def whole_lines(path: str | Path) -> bytes:
    """What a file holds up to the end of its last whole line; nothing if there is no file.

    Example:
        >>> whole_lines("nothing.jsonl")
        b''
    """
    if not os.path.lexists(path):
        return b""
    content = regular_file(path, "the file of lines").read_bytes()
    return content[: content.rfind(b"\n") + 1]


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk; some network disks cannot promise that, and need not.

    Example:
        >>> sync_folder(Path("."))
    """
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _disk_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    # safetensors writes from Rust and raises an error of its own, in which only the text says what happened.
    return os.strerror(errno.ENOSPC) in str(error)


@contextmanager
def explained(target: Path, *, only_full: bool = False) -> Iterator[None]:
    """Turn the system's refusals into sentences.

    Example:
        >>> with explained(Path("cache")):
        ...     pass
    """
    try:
        yield
    except SottovoceError:
        raise
    except Exception as error:
        if _disk_full(error):
            advice = "Nothing there was changed; free some space and start again."
            raise SottovoceError(f"cannot write '{target}': the disk is full. {advice}") from error
        if isinstance(error, OSError) and not only_full:
            raise SottovoceError(f"cannot write '{target}': {error.strerror or error}; give another path.") from error
        raise
