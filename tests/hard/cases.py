"""What a bad input is: a name, and how it is made in an empty folder, for a command line or a function to meet."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import verdict
from verdict import Action, Seen, Verdict

OUTPUTS = ("out", "out-training")  # the outputs that tests name, and where logs of a training stay


@dataclass(frozen=True)
class Place:
    """The empty folder of one case, which is also the current one, and the good files."""

    folder: Path
    good: Path

    def copy(self, name: str, to: str = "") -> Path:
        """A good file or folder, in the case's folder."""
        target = self.folder / (to or name)
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self.good / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return target

    def write(self, name: str, content: bytes | str) -> Path:
        """A file of one's own."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return target


@dataclass(frozen=True)
class Case:
    """One bad input; `fine` is the reason why success is right, where it may be.

    `outputs` is what a success may have written, `kept` what also stays after a refusal: records of runs.
    """

    key: str
    make: Callable[[Place], Action]
    fine: str = ""
    outputs: tuple[str, ...] = OUTPUTS
    kept: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The category that it belongs to."""
        return self.key.partition("/")[0]


def run(case: Case, good: Path) -> Verdict:
    """Make a case in a folder of its own and judge it."""
    top = Path(tempfile.mkdtemp(prefix="case-"))
    folder = top / "here"
    folder.mkdir()
    home, old = os.environ.get("HOME"), os.getcwd()
    try:
        os.chdir(folder)
        action = case.make(Place(folder, good))
        before = verdict.snapshot(top) if folder.exists() else {}
        beside = set(os.listdir(tempfile.gettempdir()))
        found = verdict.judge(action)
        if not found.fault and found.outcome == "fine" and not case.fine:
            found = Verdict("fine", found.said, "it was taken without a word")
        if not found.fault and before:
            named = case.outputs if found.outcome == "fine" else case.kept
            wrong = verdict.harm(within(before), within(verdict.snapshot(top)), named)
            wrong = wrong or leftovers(beside)
            found = Verdict(found.outcome, found.said, wrong, found.where) if wrong else found
        return found
    finally:
        os.chdir(old)
        if home is None:
            os.environ.pop("HOME", None)
        else:
            os.environ["HOME"] = home
        for parent, _, _ in os.walk(top):
            os.chmod(parent, 0o700)
        shutil.rmtree(top, ignore_errors=True)


def within(found: Seen) -> Seen:
    """Paths as seen from the case's folder; those beside it keep their dots."""
    return {os.path.relpath(path, "here"): about for path, about in found.items() if path != "here"}


def leftovers(before: set[str]) -> str:
    """What was left in the system's temporary folder."""
    left = sorted(set(os.listdir(tempfile.gettempdir())) - before)
    return f"it left {left[0]!r} in the temporary folder" if left else ""
