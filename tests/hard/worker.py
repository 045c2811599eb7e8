"""A process of its own that judges some bad inputs and writes down what is wrong; also the way to meet one again.

python tests/hard/worker.py "mutation/config/0/17"
"""

import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What the program finds around it, whoever starts this.
SURROUNDINGS = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "200",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PYTHONWARNINGS": "ignore",
}


def all_cases() -> dict[str, Any]:
    """Every bad input that was made by hand, by its key."""
    import tables

    found: dict[str, Any] = {}
    for case in tables.everything():
        assert case.key not in found, f"two cases are named {case.key}"
        found[case.key] = case
    return found


def chosen(keys: list[str], count: int, seed: int) -> list[str]:
    """So many of them, of all groups alike."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key.partition("/")[0], []).append(key)
    chance = random.Random(seed)
    for group in groups.values():
        chance.shuffle(group)
    taken: list[str] = []
    while len(taken) < min(count, len(keys)):
        for group in groups.values():
            if group and len(taken) < count:
                taken.append(group.pop())
    return taken


def jobs(plan: dict[str, Any]) -> Iterator[str]:
    """The keys of a plan in order."""
    if plan.get("cases"):
        wanted = plan.get("groups")
        keys = [key for key in all_cases() if wanted is None or key.partition("/")[0] in wanted]
        yield from chosen(keys, plan["cases"], plan["seed"])
    if plan.get("mutations"):
        import targets

        yield from targets.keys(plan["mutations"], plan["seed"])
    yield from plan.get("keys", ())


def work(plan: dict[str, Any]) -> None:
    """Judge what a plan asks for; a line for each beginning, so that who started this knows where it died."""
    import cases
    import targets
    import verdict

    import sottovoce.cli  # noqa: F401 (before memory is limited, and before it can be one input's fault)

    good, known = Path(plan["good"]), all_cases()
    verdict.limit_memory()
    with open(plan["out"], "a", encoding="utf-8") as out:

        def tell(**what: object) -> None:
            out.write(json.dumps(what) + "\n")
            out.flush()

        for number, key in enumerate(jobs(plan)):
            if number < plan["first"]:
                continue
            tell(begin=key, number=number)
            found = targets.run(key, good) if key not in known else cases.run(known[key], good)
            tell(key=key, outcome=found.outcome, fault=found.fault, where=found.where, said=found.said[:500])
        tell(done=True)


def again(keys: list[str]) -> None:
    """Meet some inputs again, with everything that is known of them."""
    import cases
    import targets
    from goods import make

    known = all_cases()
    with tempfile.TemporaryDirectory() as folder:
        good = make(Path(folder, "good"))
        for key in keys:
            if key in known:
                print(cases.run(known[key], good))
                continue
            name, content = targets.content_of(key, good)
            print(f"{name}: {content[:2000]!r}")
            print(targets.run(key, good))


if __name__ == "__main__":
    os.environ |= SURROUNDINGS
    if sys.argv[1].endswith(".plan"):
        work(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    else:
        again(sys.argv[1:])
