"""Starts workers, restarts them behind an input that they died of, and tells what was found."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker import SURROUNDINGS

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 45.0  # seconds without a new input: the worker's own alarms are earlier
DEATHS = 20  # of workers, after which there is no use in going on


@dataclass
class Found:
    """What became of all inputs of a plan."""

    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    groups: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        """The faults, each with the way to meet it again."""
        lines = [f"{len(self.faults)} of {self.count} inputs ({dict(self.outcomes)}) were not taken as they should be:"]
        for key, fault in list(self.faults.items())[:40]:
            lines += [
                f"  {fault[:300]}",
                f"    again: python tests/hard/worker.py {json.dumps(key, ensure_ascii=False)}",
            ]
        return "\n".join(lines)


def judge(folder: Path, good: Path, **plan: Any) -> Found:
    """Have a plan done by workers, one after another."""
    folder.mkdir(parents=True, exist_ok=True)
    out, file = folder / "found.jsonl", folder / "work.plan"
    out.unlink(missing_ok=True)
    found, first = Found(), 0
    for _ in range(DEATHS):
        file.write_text(json.dumps({"seed": 0, "good": str(good), "out": str(out), "first": first, **plan}))
        said = start(file, folder, out)
        lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
        begun = [line for line in lines if "begin" in line]
        if lines and lines[-1].get("done"):
            break
        assert begun and begun[-1]["number"] >= first, f"no input was begun: {said[-3000:]}"
        found.faults[begun[-1]["begin"]] = f"the process died of it: {said[-600:]}"
        first = begun[-1]["number"] + 1
    else:
        raise AssertionError(f"the workers died {DEATHS} times:\n{found.told()}")
    for line in lines:
        if "begin" in line:
            found.count += 1
            found.groups[line["begin"].partition("/")[0]] += 1
        elif "key" in line:
            found.outcomes[line["outcome"]] += 1
            if line["fault"]:
                where = f" at {line['where']}" if line["where"] else ""
                found.faults[line["key"]] = f"{line['fault']}{where}"
    return found


def start(plan: Path, folder: Path, out: Path) -> str:
    """One worker, until it ends or says nothing for too long; what it said of its end."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    surroundings = os.environ | SURROUNDINGS | {"TMPDIR": str(temporary)}
    with open(folder / "said", "w+b") as said:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(WORKER), str(plan)],
            cwd=folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        size = -1
        try:
            while True:
                try:
                    process.wait(PATIENCE)
                    break
                except subprocess.TimeoutExpired:
                    grown = out.stat().st_size if out.exists() else 0
                    if grown == size:
                        break
                    size = grown
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        return said.read().decode("utf-8", "replace")
