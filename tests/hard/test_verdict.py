"""The judge itself: each thing that counts as a fault is called one, and what is right is not."""

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cases
import mutate
import numpy as np
import pool
import pytest
import targets
import verdict
from cases import Case, Place

from sottovoce.errors import SottovoceError


def refuse(text: str, cause: BaseException | None = None) -> Callable[[], object]:
    def act() -> None:
        raise SottovoceError(text) from cause

    return act


def fill_memory() -> None:
    np.ones(650 << 20, dtype=np.uint8)


def warn() -> None:
    warnings.warn("something", UserWarning, stacklevel=1)


GOOD = "there is no folder 'x'; give a model's folder."


def test_a_good_sentence_is_right() -> None:
    assert verdict.judge(refuse(GOOD)) == verdict.Verdict("refused", GOOD)
    assert verdict.judge(lambda: None) == verdict.Verdict("fine")
    # The message of an error has its own guard, so what could not be shown is put to the judge as a text.
    assert verdict.bad_sentence(GOOD, None) == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("there is no\nfolder; give one.", "holds"),
        ("there is no \x1b[2J folder; give one.", "holds"),
        ("there is no folder " + "x" * 700 + "; give one.", "letters"),
        ("there is no folder; give one", "does not end"),
        ("there is no folder; give one..", "ends twice"),
        ("cannot read 'x' ([Errno 2] No such file); give another.", "speaks Python"),
        ("the value is <class 'int'>, but a text is wanted.", "speaks Python"),
        ("'NoneType' object has no attribute 'get'; save it anew.", "speaks Python"),
        ("KeyError.", "says no more"),
    ],
)
def test_bad_sentences_are_told(text: str, fault: str) -> None:
    assert fault in verdict.bad_sentence(text, None)


def test_a_bare_exception_is_no_sentence() -> None:
    assert "says no more" in verdict.judge(refuse("'weight_map'.", KeyError("weight_map"))).fault


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        (lambda: {}["x"], "another exception: KeyError"),
        (lambda: [][0], "another exception: IndexError"),
        (fill_memory, "it took 6"),
        (warn, "a warning escaped"),
    ],
)
def test_other_ends_are_faults(action: Callable[[], object], fault: str) -> None:
    assert fault in verdict.judge(action).fault


def test_a_hang_is_a_fault() -> None:
    begin = time.monotonic()
    assert "it took more than" in verdict.judge(lambda: time.sleep(60), seconds=0.2).fault
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("code", "out", "err", "fault"),
    [
        (2, "", "sottovoce: there is no folder x; give one.\n", ""),
        (2, "", "Usage: sottovoce [OPTIONS]\n", ""),
        (1, "wrong  layers: they are missing\n", "", ""),
        (0, "fine\n", "", ""),
        (2, "", "there is no folder x; give one.\n", "1 lines"),
        (2, "", "sottovoce: one thing.\nsottovoce: another thing.\n", "2 lines"),
        (2, "", "", "0 lines"),
        (3, "", "sottovoce: there is no folder x; give one.\n", "exit code 3"),
        (0, "fine\n", "some warning\n", "on the error stream"),
        (1, "", "Traceback (most recent call last):\n", "on the error stream"),
    ],
)
def test_exit_codes_and_streams(code: int, out: str, err: str, fault: str) -> None:
    found = verdict.judged_output(code, out, err, ["doctor"]).fault
    assert fault in found and bool(fault) == bool(found)


def test_the_command_line_is_judged_in_this_process() -> None:
    found = verdict.judge(["doctor", "not-there"])
    assert (found.outcome, found.fault) == ("refused", "")
    assert found.said.startswith("sottovoce: there is no folder")


def case(make: Callable[[Place], verdict.Action], fine: str = "") -> Case:
    return Case("a/b", make, fine)


def left(place: Place, name: str) -> Callable[[], object]:
    return lambda: (place.folder / name).write_text("x")


def damaged(place: Place) -> Callable[[], object]:
    file = place.write("given", "before")
    return lambda: file.write_text("after")


def removed(place: Place) -> Callable[[], object]:
    return place.write("given", "before").unlink


def dropped_in_tmp(place: Place) -> Callable[[], object]:
    import tempfile

    return lambda: os.close(tempfile.mkstemp()[0])


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda place: left(place, "beside"), "it left 'beside'"),
        (lambda place: left(place, ".out.123.new"), "it left '.out.123.new'"),
        (lambda place: left(place, "../above"), "it left '../above'"),
        (damaged, "it changed 'given'"),
        (removed, "it removed 'given'"),
        (dropped_in_tmp, "in the temporary folder"),
        (lambda place: left(place, "out"), ""),
    ],
)
def test_harm_is_a_fault(
    make: Callable[[Place], verdict.Action], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = cases.run(case(make, fine="it may be"), tmp_path).fault
    assert fault in found and bool(fault) == bool(found)


def test_success_needs_a_reason(tmp_path: Path) -> None:
    assert cases.run(case(lambda place: lambda: None), tmp_path).fault == "it was taken without a word"
    assert cases.run(case(lambda place: lambda: None, fine="nothing is asked"), tmp_path).fault == ""


def test_mutations_are_the_same_at_every_call() -> None:
    content = b'{"a": [1, 2.5, {"b": "c"}], "d": null}'
    again = [targets.random.Random(f"x {number}") for number in range(300)]
    first = [mutate.mutate(content, mutate.JSONS, chance) for chance in again]
    again = [targets.random.Random(f"x {number}") for number in range(300)]
    assert first == [mutate.mutate(content, mutate.JSONS, chance) for chance in again]
    assert len(set(first)) > 250 and sum(changed != content for changed in first) > 280


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_the_next_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a process in C (here: the process itself) costs one input, and the others are still judged."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os, sys\n"
        "plan = json.load(open(sys.argv[1]))\n"
        "with open(plan['out'], 'a') as out:\n"
        "    for number in range(plan['first'], 5):\n"
        "        print(json.dumps({'begin': f'k/{number}', 'number': number}), file=out, flush=True)\n"
        "        if number == 2: os.abort()\n"
        "        line = {'key': f'k/{number}', 'outcome': 'fine', 'fault': '', 'where': ''}\n"
        "        print(json.dumps(line), file=out, flush=True)\n"
        "    print(json.dumps({'done': True}), file=out)\n"
    )
    monkeypatch.setattr(pool, "WORKER", worker)
    found = pool.judge(tmp_path / "work", tmp_path)
    assert (found.count, list(found.faults)) == (5, ["k/2"])
