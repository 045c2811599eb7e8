"""How much processor time the command line takes before it does anything, and what importing the package costs.

python benchmarks/start.py

Each is a process of its own, in turns; medians of user and system time over the rounds. `import sottovoce` imports
torch when a name that needs it is asked for: both ways are timed, the second with every public name.
"""

import os
import statistics
import subprocess
import sys
import tempfile

from lib.records import record

NEEDS = {"nothing": ""}
ROUNDS = 7
EVERY = "import sottovoce as sv; [getattr(sv, name) for name in sv.__all__]"
IMPORTS = {
    "import torch": "import torch",
    "import torch, transformers": "import torch, transformers",
    "import sottovoce": "import sottovoce",
    "import torch, transformers, sottovoce": "import torch, transformers, sottovoce",
    "every public name": EVERY,
}
LINES = ["--help", "--version", "compress --help", "methods", "measures --json"]


def seconds(words: list[str], environment: dict[str, str]) -> float:
    """Processor time of a process."""
    before = os.times()
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Time them all in turns."""
    commands = {name: [sys.executable, "-c", code] for name, code in IMPORTS.items()}
    commands |= {f"sottovoce {line}": [sys.executable, "-m", "sottovoce", *line.split()] for line in LINES}
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        first = seconds(commands["sottovoce methods"], environment)  # it imports every method, and keeps what it saw
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, words in commands.items():
                times[name].append(seconds(words, environment))
    rows = {name: {"cpu_seconds": round(statistics.median(found), 3)} for name, found in times.items()}
    rows["sottovoce methods, the first time"] = {"cpu_seconds": round(first, 3)}
    record("start", rows)


if __name__ == "__main__":
    main()
