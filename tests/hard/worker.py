"""A process of its own that judges some bad inputs and writes down what is wrong; also the way to meet one again.

python tests/hard/worker.py "mutation/config.json/0/17"
"""

import json
import os
import random
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}

import cases
import verdict
from cases import Case
from goods import make


def all_cases() -> dict[str, Case]:
    """Every bad input that was made by hand, by its key."""
    import tables

    found: dict[str, Case] = {}
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


def jobs(plan: dict) -> Iterator[tuple[str, Case | None]]:
    """The inputs of a plan in order: hand-made ones with their case, mutations by key alone."""
    if plan.get("cases"):
        known = all_cases()
        wanted = plan.get("groups")
        known = {key: case for key, case in known.items() if wanted is None or case.group in wanted}
        for key in chosen(list(known), plan["cases"], plan["seed"]):
            yield key, known[key]
    if plan.get("mutations"):
        import targets

        for key in targets.keys(plan["mutations"], plan["seed"]):
            yield key, None
    for key in plan.get("keys", []):
        yield key, None if key.startswith("mutation/") else all_cases()[key]


def work(plan: dict) -> None:
    """Judge what a plan asks for; a line for each beginning, so that who started this knows where it died."""
    good = Path(plan["good"])
    verdict.limit_memory()
    with open(plan["out"], "a", encoding="utf-8") as out:

        def tell(**what: object) -> None:
            out.write(json.dumps(what) + "\n")
            out.flush()

        counts: dict[str, int] = {}
        for number, (key, case) in enumerate(jobs(plan)):
            if number < plan.get("first", 0):
                continue
            tell(begin=key, number=number)
            if case is not None:
                found = cases.run(case, good)
            else:
                import targets

                found = targets.run(key, good)
            counts[found.outcome] = counts.get(found.outcome, 0) + 1
            if found.fault:
                tell(key=key, fault=found.fault, where=found.where, outcome=found.outcome, said=found.said[:500])
        tell(done=counts)


def again(keys: list[str]) -> None:
    """Meet some inputs again, with everything that is known of them."""
    with tempfile.TemporaryDirectory() as folder:
        good = make(Path(folder, "good"))
        for key in keys:
            case = None if key.startswith("mutation/") else all_cases()[key]
            if case is not None:
                print(cases.run(case, good))
                continue
            import targets

            name, content = targets.content_of(key, good)
            print(f"{name}: {content[:2000]!r}")
            print(targets.run(key, good))


if __name__ == "__main__":
    try:
        again(sys.argv[1:]) if not sys.argv[1].endswith(".plan") else work(json.loads(Path(sys.argv[1]).read_text()))
    except Exception:
        traceback.print_exc()
        raise
