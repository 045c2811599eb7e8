"""Run the benchmarks one after another: what each needs stands in it, as NEEDS.

python benchmarks/lib/run.py [--list] [--speech FOLDER] [NAME ...]

NEEDS is a dictionary of the ways to run a script: what must be there (`nothing`, or words of `espeak` and `speech`),
and the arguments that come behind the script's name; FOLDER in them is where speech-mini lies. A script that fails is
told of and the rest goes on; the exit code is 1 then.
"""

import argparse
import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SCRIPTS = Path(__file__).parents[1]
KNOWN = ("nothing", "espeak", "speech")
MISSING = {
    "espeak": "there is no espeak-ng here; install sottovoce[demo]",
    "speech": "it needs recordings: make benchmarks SPEECH=FOLDER, where speech-mini lies",
}


@dataclass(frozen=True)
class Run:
    """One way to run a script; `lacks` says why it cannot be, and is empty where it can."""

    script: Path
    arguments: str
    lacks: str

    @property
    def command(self) -> str:
        """As records name it."""
        return f"python benchmarks/{self.script.name} {self.arguments}".rstrip()


def needs_of(script: Path) -> dict[str, str]:
    """What a script says of its needs, without running it."""
    for node in ast.parse(script.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == ["NEEDS"]:
            found = ast.literal_eval(node.value)
            if found and all(set(needs.split() or [""]) <= set(KNOWN) for needs in found):
                return found
    raise SystemExit(f"{script} does not say what it needs; give it NEEDS, whose keys are words of {', '.join(KNOWN)}.")


def planned(scripts: Path, names: Sequence[str], speech: str | None) -> Iterator[Run]:
    """Every run of the scripts with these names (of all, where there are none), in the order of the alphabet."""
    there = {path.stem: path for path in sorted(scripts.glob("*.py"))}
    if unknown := sorted(set(names) - set(there)):
        raise SystemExit(f"there is no benchmark {unknown[0]}; there are {', '.join(there)}.")
    if speech is not None and not Path(speech).is_dir():
        raise SystemExit(f"SPEECH={speech} is no folder; give the one in which speech-mini lies.")
    lacking = {"espeak"} if find_spec("espeakng_loader") is None else set[str]()
    lacking |= {"speech"} if speech is None else set()
    for name in names or there:
        for needs, arguments in needs_of(there[name]).items():
            yield Run(there[name], arguments, "; ".join(MISSING[need] for need in needs.split() if need in lacking))


def main(arguments: Sequence[str], scripts: Path = SCRIPTS) -> int:
    """Run, or list, what can be run; the exit code."""
    parser = argparse.ArgumentParser(description="Run the benchmarks one after another.")
    parser.add_argument("--list", action="store_true", help="only say what would run, and what not and why")
    parser.add_argument("--speech", metavar="FOLDER", help="where speech-mini lies")
    parser.add_argument("names", nargs="*", metavar="NAME", help="scripts, without .py; all where there are none")
    given = parser.parse_args(arguments)
    runs = list(planned(scripts, given.names, given.speech or None))
    failed = []
    for run in runs:
        if run.lacks:
            continue
        print(f"== {run.command}", flush=True)
        if not given.list:
            words = [word.replace("FOLDER", os.path.abspath(given.speech or "")) for word in run.arguments.split()]
            if subprocess.run([sys.executable, str(run.script), *words]).returncode:
                failed.append(run)
    for run in runs:
        if run.lacks:
            print(f"skipped: {run.command} ({run.lacks})")
    for run in failed:
        print(f"failed: {run.command}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
