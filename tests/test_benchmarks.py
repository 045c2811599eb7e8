"""Every benchmark says what it needs, and what runs the benchmarks runs what can be run."""

import importlib.util
import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py"))


def runner() -> Any:
    spec = importlib.util.spec_from_file_location("benchmarks_run", SCRIPTS / "lib" / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUN = runner()


@pytest.mark.parametrize("name", NAMES)
def test_every_script_says_what_it_needs_and_finds_what_it_shares(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    needs = RUN.needs_of(SCRIPTS / f"{name}.py")
    assert runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name=name)["NEEDS"] == needs
    for words, arguments in needs.items():
        for need, sign in (("speech", "FOLDER"), ("espeak", "espeak:")):
            assert sign not in arguments or need in words.split(), f"{name} names {sign} and does not need {need}"
    assert ("sys.argv" in (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")) or not any(needs.values())


def test_what_lacks_recordings_is_listed_with_the_reason(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert RUN.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "== python benchmarks/counts.py" in lines and "== python benchmarks/tasks.py espeak:4" in lines
    skipped = [line for line in lines if line.startswith("skipped: ")]
    assert len(skipped) > 5 and all("FOLDER" in line and "make benchmarks SPEECH=FOLDER" in line for line in skipped)
    assert not any("FOLDER" in line for line in lines if line.startswith("== "))
    assert {line.split("/")[1].split(".py")[0] for line in lines} == set(NAMES)
    assert RUN.main(["--list", "--speech", str(tmp_path)]) == 0
    assert "skipped" not in (everything := capsys.readouterr().out) and len(everything.splitlines()) == len(lines)
    assert RUN.main(["--list", "--speech", ""]) == 0, "as make says it where there is none"
    assert capsys.readouterr().out.splitlines() == lines


def script(folder: Path, name: str, needs: str, body: str) -> None:
    (folder / f"{name}.py").write_text(f"import sys\n\nNEEDS = {needs}\n{body}\n", encoding="utf-8")


def test_one_that_fails_is_told_of_and_the_rest_goes_on(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (speech := tmp_path / "the speech").mkdir()
    script(tmp_path, "a", '{"nothing": ""}', "raise ValueError('broken')")
    script(tmp_path, "b", '{"nothing": "one", "speech": "mini@FOLDER two"}', "print(sys.argv[1:])")
    assert RUN.main([], tmp_path) == 1
    out = capfd.readouterr().out.splitlines()
    assert "['one']" in out and out[-1] == "failed: python benchmarks/a.py"
    assert out[-2].startswith("skipped: python benchmarks/b.py mini@FOLDER two (it needs recordings:")
    assert RUN.main(["b", "--speech", str(speech)], tmp_path) == 0
    assert str([f"mini@{speech}", "two"]) in capfd.readouterr().out.splitlines()


@pytest.mark.parametrize("needs", ["{}", '{"": ""}', '{"gold": ""}'])
def test_nonsense_is_refused_before_anything_runs(
    needs: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script(tmp_path, "a", '{"nothing": ""}', "print('ran')")
    script(tmp_path, "b", needs, "print('ran')")
    refused = {"does not say what it needs": [], "no benchmark c": ["c"], "x is no folder": ["--speech", "x"]}
    for wanted, arguments in refused.items():
        with pytest.raises(SystemExit, match=wanted):
            RUN.main(arguments, tmp_path)
    assert "ran" not in capfd.readouterr().out
