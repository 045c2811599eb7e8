"""The judge of one bad input: a documented success, or one clear sentence; never another error, a hang, or harm."""

import contextlib
import faulthandler
import io
import os
import re
import resource
import signal
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sottovoce
from sottovoce.errors import SottovoceError

PACKAGE = Path(sottovoce.__file__).parent
SECONDS = 10.0  # for one input
GUARD = 4 << 30  # bytes of address space above what the import takes: this machine is not only the test's
MEMORY = 500 << 20  # bytes that one input may take above that
LONGEST = 700  # letters of one sentence
Action = list[str] | Callable[[], object]


_SAID = os.dup(2)  # where this process tells of its own end, whatever becomes of its streams


class Hang(BaseException):
    """The time for one input is over."""


@dataclass(frozen=True)
class Verdict:
    """What became of one input: `outcome` is "fine", "refused" or "usage", and `fault` says what is wrong with that."""

    outcome: str
    said: str = ""
    fault: str = ""
    where: str = ""  # the last line of the package in the traceback


def judge(action: Action, *, seconds: float = SECONDS) -> Verdict:
    """Run a command line in this process, or call a function, and say what became of it."""
    signal.signal(signal.SIGALRM, _hang)
    faulthandler.dump_traceback_later(3 * seconds, exit=True, file=_SAID)
    _forget_peak()
    before = _peak()
    warned: list[warnings.WarningMessage] = []
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = command(action) if isinstance(action, list) else call(action)
    except Hang as error:
        found = Verdict("hang", "", f"it took more than {seconds:g} s", _where(error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
    if not found.fault and warned:
        first = warned[0]
        found = Verdict(found.outcome, found.said, f"a warning escaped: {first.category.__name__}: {first.message}")
    if not found.fault and (grown := _peak() - before) > MEMORY:
        found = Verdict(found.outcome, found.said, f"it took {grown >> 20} MB")
    return found


def call(action: Callable[[], object]) -> Verdict:
    """Call a function of the package."""
    try:
        action()
    except SottovoceError as error:
        return Verdict("refused", str(error), bad_sentence(str(error), error.__cause__), _where(error))
    except Exception as error:
        shown = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return Verdict("error", shown, f"another exception: {shown}", _where(error))
    return Verdict("fine")


def command(arguments: list[str]) -> Verdict:
    """Run the command line in this process, its streams taken down to files."""
    from sottovoce.cli import common, main

    code: object = 0
    error: BaseException | None = None
    with captured() as (out, err):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
        except Exception as other:
            error = other
    for console in (common.out, common.err):
        console._buffer.clear()  # what one command could not print is not the next one's
    if error is not None:
        shown = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return Verdict("error", shown, f"a traceback: {shown}", _where(error))
    return judged_output(code, out.getvalue(), err.getvalue(), arguments)


def judged_output(code: object, out: str, err: str, arguments: list[str]) -> Verdict:
    """What an exit code and the text of both streams say."""
    err = "".join(line for line in err.splitlines(keepends=True) if not TOLD.match(line))
    said = err.strip() or out.strip()
    if code in (0, None):
        return Verdict("fine", said, f"it said on the error stream: {err[:200]!r}" if err.strip() else "")
    if code == 1 and arguments and arguments[0] in ("doctor", "corpus"):
        # Findings are what these commands print; 1 says that something is wrong with the files.
        if err.strip():
            return Verdict("refused", said, f"it said on the error stream: {err[:200]!r}")
        lines = [line for line in out.splitlines() if not line.isprintable()]
        fault = "it printed nothing" if not out.strip() else f"not printable: {lines[0]!r}" if lines else ""
        return Verdict("refused", said, fault)
    if code != 2:
        return Verdict("error", said, f"exit code {code!r}: {said[-200:]!r}")
    if re.search(r"^ *Usage: |^╭─ Error ─", err or out, re.MULTILINE):
        return Verdict("usage", said)
    lines = err.splitlines()
    if len(lines) != 1 or not lines[0].startswith("sottovoce: "):
        return Verdict("refused", said, f"{len(lines)} lines on the error stream: {err[:300]!r}")
    return Verdict("refused", said, bad_sentence(lines[0].removeprefix("sottovoce: "), None))


# What a run tells of its progress, and what was left out as bad, as it was asked to.
TOLD = re.compile(r"[\w-]+-[0-9a-f]{12}: |\d+ left out as bad|  .+\.$")


def bad_sentence(text: str, cause: BaseException | None) -> str:
    """What is wrong with the sentence of an error; nothing, if it is one clear sentence."""
    if not text.isprintable():
        odd = next(letter for letter in text if not letter.isprintable())
        return f"the sentence holds {odd!r}: {text[:200]!r}"
    if len(text) > LONGEST:
        return f"the sentence has {len(text)} letters: {text[:200]!r}..."
    if not text.endswith((".", "?")):
        return f"the sentence does not end: {text[-200:]!r}"
    if text.endswith("..") and not text.endswith("..."):
        return f"the sentence ends twice: {text[-200:]!r}"
    if found := re.search(r"Traceback|<class '|<function |object at 0x|\bErrno\b|\bNoneType\b", text):
        return f"the sentence speaks Python ({found[0]}): {text[:300]!r}"
    own = text.replace(" ".join(str(cause).split()), "") if cause is not None and str(cause) else text
    if len(re.findall(r"[a-z]+", own)) < 3:
        return f"the sentence says no more than {type(cause).__name__}: {text!r}"
    return ""


@contextlib.contextmanager
def captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Both streams, down to their numbers: what a library writes in C counts too."""
    taken, old = (io.StringIO(), io.StringIO()), (sys.stdout, sys.stderr)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for stream in old:
            stream.flush()
        saved = [os.dup(1), os.dup(2)]
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", "strict")
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace")
            yield taken
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(ValueError, OSError):
                    stream.flush()
            sys.stdout, sys.stderr = old
            for number, handle in enumerate(saved, 1):
                os.dup2(handle, number)
                os.close(handle)
            for file, text in ((out, taken[0]), (err, taken[1])):
                file.seek(0)
                text.write(file.read(1 << 20).decode("utf-8", "backslashreplace"))


Seen = dict[str, tuple[int, int, int]]


def snapshot(folder: Path) -> Seen:
    """The kind, size and time of change of everything in a folder."""
    found: Seen = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            about = os.lstat(path)
            is_folder = name in folders and not os.path.islink(path)
            size, changed = (0, 0) if is_folder else (about.st_size, about.st_mtime_ns)
            found[os.path.relpath(path, folder)] = (about.st_mode, size, changed)
    return found


def harm(before: Seen, after: Seen, outputs: tuple[str, ...]) -> str:
    """What was changed or left behind, but for the outputs that were named."""

    def named(path: str) -> bool:
        return path.split(os.sep)[0] in outputs

    for path in sorted(before.keys() | after.keys(), key=str):
        if before.get(path) == after.get(path):
            continue
        if os.path.basename(path).endswith((".new", ".old", ".part")):
            return f"it left {path!r}"
        if named(path):
            continue
        if path not in after:
            return f"it removed {path!r}"
        return f"it {'changed' if path in before else 'left'} {path!r}"
    return ""


def limit_memory() -> None:
    """Keep a test that goes wrong from taking the whole machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + GUARD
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _hang(number: int, frame: types.FrameType | None) -> None:
    raise Hang


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0


def _where(error: BaseException) -> str:
    # Asked of the package, and not of paths: a clone is in a folder of this name, too.
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f"{Path(last.filename).relative_to(PACKAGE).as_posix()}:{last.lineno} {last.name}"


def text_of(path: Path) -> str:
    """A text as it comes, whatever its bytes are."""
    return path.read_bytes().decode("utf-8", "replace")
