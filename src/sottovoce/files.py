"""Files that are either whole or as they were, and YAML that says when it is not what it seems."""

import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml

from sottovoce.errors import SottovoceError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LEFTOVER = re.compile(r"-(?P<pid>\d+)-(?P<life>[0-9a-f]{8})-[0-9a-f]{8}\.(?P<kind>new|old)$")
# Containers give every start the same process number; this tells one start from the next.
_LIFE = secrets.token_hex(4)


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash, meets the old content or the new, never a mixture.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "run.json"
        >>> atomic_write(path, '{"status": "finished"}')
        >>> path.read_text()
        '{"status": "finished"}'
    """
    target = _real(path)
    if target.is_dir():
        raise SottovoceError(f"cannot write '{target}': it is a folder, but a file is wanted; give another path.")
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear(target)
        temporary = _sibling(target, "new")
        try:
            with open(temporary, "xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            _remove(temporary)
            raise
        _sync_folder(target.parent)


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
    target = _real(path)
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
    content = Path(path).read_bytes() if os.path.exists(path) else b""
    return content[: content.rfind(b"\n") + 1]


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its place if the block succeeds, and vanishes if it fails.

    The old folder, if there is one, stays as it is until the new one is complete and on the disk.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "model"
        >>> with atomic_folder(target) as folder:
        ...     _ = (folder / "config.json").write_text("{}")
        >>> [path.name for path in target.iterdir()]
        ['config.json']
    """
    real = _real(target)
    _refuse_precious(real)
    with explained(real):
        real.parent.mkdir(parents=True, exist_ok=True)
        _clear(real)
        temporary = _sibling(real, "new")
        temporary.mkdir()
    try:
        with explained(real, only_full=True):
            yield temporary
        with explained(real):
            _sync_tree(temporary)
            _swap(temporary, real)
    except BaseException:
        _remove(temporary)
        raise


_WORK: ContextVar[Path | None] = ContextVar("work", default=None)


@contextmanager
def working_in(folder: str | Path) -> Iterator[None]:
    """Give what runs inside the block a folder for its checkpoints and caches.

    Example:
        >>> with working_in("runs/finetune-3f2a/work"):
        ...     print(work_folder())
        runs/finetune-3f2a/work
    """
    token = _WORK.set(Path(folder))
    try:
        yield
    finally:
        _WORK.reset(token)


def work_folder() -> Path | None:
    """The folder for checkpoints and caches of the run that is under way, if one is.

    Example:
        >>> work_folder() is None
        True
    """
    return _WORK.get()


def tidy(work: str | Path) -> None:
    """Remove checkpoints and caches from a work folder; the logs of trainings stay.

    Example:
        >>> tidy("runs/finetune-3f2a/work")
    """
    folder = Path(work)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):
                path.rmdir()  # only where nothing is left in it
        elif path.name != "log.jsonl" and not path.name.startswith("events."):
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _swap(new: Path, target: Path) -> None:
    """Put `new` in the place of `target`; a failure in between puts the old one back."""
    aside = _sibling(target, "old") if target.exists() else None
    if aside is not None:
        os.rename(target, aside)
    try:
        os.rename(new, target)
        _sync_folder(target.parent)
    except BaseException:
        # The new folder may be in place already (an interrupt after the rename): then the old one is done with.
        if aside is not None and not target.exists():
            os.rename(aside, target)
            aside = None
        raise
    finally:
        # Even if another process has just moved the new folder aside in its turn: this old one is nobody else's.
        if aside is not None:
            # Under the other kind of name first: half removed, it must never come back as the old folder.
            junk = _sibling(target, "new")
            with suppress(OSError):
                os.rename(aside, junk)
                _remove(junk)


def _real(path: str | Path) -> Path:
    # A link is written through, and the temporary lies on the disk where the link points: a rename cannot cross disks.
    return Path(os.path.realpath(path))


def _refuse_precious(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise SottovoceError(f"cannot save to '{target}': it is a file, but a folder is wanted; give another path.")
    for place, what in ((Path.cwd(), "the current folder"), (Path.home(), "the home folder")):
        if _real(place).is_relative_to(target):
            # Saving replaces the folder and all that is in it.
            raise SottovoceError(f"cannot save to '{target}': it is or holds {what}; give a folder of its own.")


def _sibling(target: Path, kind: str) -> Path:
    # The name says which process made it, so that a later one can tell a leftover from work in progress.
    return target.with_name(f"{_prefix(target)}{os.getpid()}-{_LIFE}-{secrets.token_hex(4)}.{kind}")


def _prefix(target: Path) -> str:
    # The host is part of it because process numbers mean nothing on another machine that shares the disk.
    return f".{target.name}.{socket.gethostname()}-"


def _clear(target: Path) -> None:
    """Clear what killed processes left beside `target`; an old folder that one had moved aside comes back."""
    for path in sorted(target.parent.iterdir()):
        match = _LEFTOVER.search(path.name)
        if match is None or not path.name.startswith(_prefix(target)):
            continue
        if _alive(int(match["pid"]), match["life"]):
            continue
        with suppress(OSError):
            if match["kind"] == "old" and not target.exists():
                os.rename(path, target)
            else:
                _remove(path)


def _alive(pid: int, life: str) -> bool:
    if pid == os.getpid():
        return life == _LIFE
    if os.name != "posix":
        return True  # there, signal 0 is not a question but ends the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(parent))


def _sync_folder(folder: Path) -> None:
    # What is in the folder is safe by now; that its names are too is more than some network disks can promise.
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


_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-4` is a number, `2024-01-01` is a text, and no key comes twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Checked here, where each mapping of the text passes once; later, merges (<<) add keys that may repeat.
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                problem = f"the key '{key.value}' is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes every text that `_Loader`, or YAML elsewhere, would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def serialize(self, node: yaml.Node) -> None:
        # One line a key at the top, even where the whole would fit on one.
        if isinstance(node, yaml.CollectionNode):
            node.flow_style = False
        super().serialize(node)


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # In quotes of the other kind, PyYAML turns some of Unicode's line ends into spaces.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _write_text)
# YAML 1.1 reads 1e-4 as text (it wants 1.0e-4), which is how most people write a learning rate.
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str, *, name: str = "YAML") -> Any:
    """Read YAML safely: a key given twice is an error, and every error is one sentence with its line.

    Example:
        >>> load_yaml("lr: 1e-4")
        {'lr': 0.0001}
        >>> load_yaml("keep: 9\\nkeep: 8", name="recipe.yaml")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: recipe.yaml, line 2: the key 'keep' is given twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "not YAML"
        if problem.startswith("but ") and error.context:
            problem = f"{error.context} {problem}"
        raise SottovoceError(f"{name}, line {mark.line + 1 if mark else 1}: {_one_line(problem)}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SottovoceError(f"{name}, line {line}: a character that YAML does not allow.") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        # Values that wear a tag they do not fit (`!!int nine`), and brackets nested a thousand deep.
        raise SottovoceError(f"{name} cannot be read as YAML: {_one_line(str(error)) or 'too deep'}.") from None


def dump_yaml(value: Any) -> str:
    """The inverse of `load_yaml`, keys in their order.

    Example:
        >>> print(dump_yaml({"model": "hubert", "steps": [{"drop_layers": {"keep": 9}}]}), end="")
        model: hubert
        steps:
        - drop_layers: {keep: 9}
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
