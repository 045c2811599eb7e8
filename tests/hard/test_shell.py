"""The command line as a shell starts it: real exit codes, no terminal, a reader that leaves, a plain locale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import verdict
from worker import SURROUNDINGS

# Beside the usual surroundings; None takes a variable away.
PLAIN: dict[str, str | None] = {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": "0", "PYTHONIOENCODING": None}
ASCII: dict[str, str | None] = {**PLAIN, "PYTHONCOERCECLOCALE": "0"}


def shell(command: str, folder: Path, **more: str | None) -> tuple[int, str, str]:
    """The exit code and both streams of a line of a shell, in which `sottovoce` stands for the program."""
    surroundings = {key: value for key, value in (os.environ | SURROUNDINGS | more).items() if value is not None}
    program = f"'{sys.executable}' -m sottovoce"
    line = f'sottovoce() {{ {program} "$@"; }}\n{command}'
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def test_one_line_and_two(tmp_path: Path) -> None:
    code, out, err = shell("sottovoce doctor $'grüße\\nthere'", tmp_path, **(ASCII | {"PYTHONIOENCODING": "ascii"}))
    found = verdict.judged_output(code, out, err, ["doctor"])
    assert (code, out, found.outcome, found.fault) == (2, "", "refused", "")
    assert err.isascii() and err.startswith("sottovoce: there is no folder ")
    assert not list(tmp_path.iterdir())


BAD = {
    "no folder": ("sottovoce doctor not-there", {}),
    "no folder, no home": ("sottovoce doctor '~nobody-is-called-so/x'", {"HOME": None}),
    "no home at all": ("sottovoce doctor not-there", {"HOME": "/not/there", "XDG_CACHE_HOME": None, "HF_HOME": None}),
    "letters that the locale has not": ("sottovoce doctor 'größer → 模型'", ASCII),
    "bytes that are no letters": ("sottovoce doctor $'\\xff\\xfe'", {}),
    "bytes that are no letters, plain": ("sottovoce doctor $'\\xff\\xfe'", PLAIN),
    "bytes as data": ("sottovoce measure small-hubert --measure size --data $'\\xff\\xfe'", {}),
    "an unknown encoding of the streams": ("sottovoce doctor 'größer'", {"PYTHONIOENCODING": "ascii:strict"}),
    "no temporary folder": ("sottovoce doctor not-there", {"TMPDIR": "/not/there"}),
    "a closed input": ("sottovoce doctor not-there <&-", {}),
    "few files": ("ulimit -n 64; sottovoce doctor not-there", {}),
    "an empty word": ("sottovoce doctor ''", {}),
    "a pipe as a recipe": (
        "mkfifo r.yaml; sottovoce compress --recipe r.yaml -o out; code=$?; rm r.yaml; exit $code",
        {},
    ),
    "a device as a recipe": ("sottovoce compress --recipe /dev/zero -o out", {}),
    "a full disk": ("sottovoce measure small-hubert --measure size -o /dev/full", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_bad_lines(name: str, tmp_path: Path) -> None:
    command, surroundings = BAD[name]
    code, out, err = shell(command, tmp_path, **surroundings)
    found = verdict.judged_output(code, out, err, ["doctor"])
    assert (code, found.outcome, found.fault) == (2, "refused", ""), f"{out}\n{err}"
    assert not list(tmp_path.iterdir())


RIGHT = {
    "a reader that leaves": ("sottovoce methods --json | head -1; exit ${PIPESTATUS[0]}", {}),
    "a reader that never was": ("sottovoce families | true; exit ${PIPESTATUS[0]}", {}),
    "a plain locale": ("sottovoce measures", ASCII),
    "a closed output": ("sottovoce methods --json >&-", {}),
    "both streams closed": ("sottovoce methods >&- 2>&-", {}),
    "a narrow terminal": ("sottovoce families", {"COLUMNS": "1"}),
    "a terminal that is none": ("sottovoce families", {"COLUMNS": "wide", "LINES": "-1"}),
    "a color for nobody": ("sottovoce methods", {"FORCE_COLOR": "x", "NO_COLOR": None}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_what_must_work(name: str, tmp_path: Path) -> None:
    command, surroundings = RIGHT[name]
    code, out, err = shell(command, tmp_path, **surroundings)
    assert (code, err) == (0, ""), f"{out}\n{err}"


@pytest.mark.slow
def test_an_output_on_a_full_disk_is_said(tmp_path: Path) -> None:
    code, _, err = shell("sottovoce methods --json > /dev/full", tmp_path)
    assert code == 2 and "Traceback" not in err and err.count("\n") == 1, err
