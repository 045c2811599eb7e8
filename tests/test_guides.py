"""docs/extending.md is true word for word: what it adds, in a copy of the package, shows up wherever users look."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import tiny

import sottovoce as sv

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'^```python title="([^",]+)(?:, ([^"]+))?"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
TOOLS = Path(sys.executable).parent


def followed(root: Path) -> list[Path]:
    """Do what the page says in a copy of the package; the files that it made."""
    made = []
    for name, place, code in BLOCK.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8")):
        target = root / name
        if not place:
            target.write_text(code)
            made.append(target)
            continue
        text = target.read_text()
        if place == "one line":  # among the imports of its folder, where the linter wants it
            first = text.index("from sottovoce.")
            target.write_text(text[:first] + code + text[first:])
        else:
            assert place == "in the tuple"
            target.write_text(re.sub(r"\)\n\}\n$", f", {code.strip().rstrip(',')})\n}}\n", text))
    return made


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("guides")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", root / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    followed(root)
    subprocess.run([TOOLS / "ruff", "check", "--fix", "--select", "I", "src"], cwd=root, check=True)
    sv.save(tiny("hubert"), root / "encoder")
    for word in ("cracker", "seed"):
        for number, bird in enumerate(("ara", "lori", "kea")):
            folder = root / "parrots" / word
            folder.mkdir(parents=True, exist_ok=True)
            tone = np.sin(np.arange(8_000) * (0.05 if word == "seed" else 0.2)).astype("float32")
            for take in range(3):
                soundfile.write(str(folder / f"{bird}-{take}.wav"), tone * (0.2 + 0.01 * (number + take)), 16_000)
    return root


def run(root: Path, *command: str | Path) -> str:
    home = {**os.environ, "PYTHONPATH": str(root / "src"), "XDG_CACHE_HOME": str(root / "cache")}
    done = subprocess.run([str(word) for word in command], cwd=root, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_what_the_page_adds_passes_the_checks(copied: Path) -> None:
    run(copied, TOOLS / "ruff", "check", "src")
    run(copied, TOOLS / "ruff", "format", "--check", "src")


SCRIPT = """
import json, sys
import sottovoce as sv
from sottovoce.cli import main
from sottovoce.data.corpora import CORPORA
from sottovoce.report.analysis import analysis_page

assert sv.__file__.startswith(sys.argv[1]), sv.__file__
model, data = sv.load("encoder"), sv.read_data("parrots@parrots")
assert len(sv.Anatomy(sv.drop_every_other_layer(model)).order) == 2
rows = sv.measure(model, data, "heavy_tails:part=value")
assert [row.where for row in rows] == [{"layer": layer} for layer in range(4)]
assert {row.better for row in rows} == {"lower"}
page = analysis_page("A page", "of a test", rows)
assert "Heavy tails" in page and "excess kurtosis of the weights" in page
score = sv.measure(model, data, "counting:mode=probe,train.steps=3,layer=1")[0]
assert (score.measure, score.n) == ("counting", 6)
try:
    sv.drop_every_other_layer(model, first=99)
except sv.SottovoceError as error:
    refused = str(error)
recipe = {"model": "encoder", "data": "parrots@parrots", "steps": [{"drop_every_other_layer": {"first": 1}}]}
recipe |= {"measures": ["heavy_tails"], "vary": {"steps.0.first": [0, 1]}}
runs = sv.run(recipe, "runs", log=lambda text: None)
hints = []
for wrong in ({"steps": ["drop_every_other_layers"]}, {"steps": [{"drop_every_other_layer": {"frist": 1}}]},
              {"measures": ["heavy_tail"]}):
    try:
        sv.run({"model": "encoder", **wrong}, "runs")
    except sv.SottovoceError as error:
        hints.append(str(error))
try:
    sv.read_data("parots@parrots")
except sv.SottovoceError as error:
    hints.append(str(error))
print(json.dumps({"refused": refused, "hints": hints, "runs": [len(run.measurements()) for run in runs]}))
"""


def test_what_the_page_adds_is_there_in_python_in_recipes_in_hints_and_on_pages(copied: Path) -> None:
    told = json.loads(run(copied, sys.executable, "-c", SCRIPT, copied))
    assert "at least one" in told["refused"]
    assert told["runs"] == [2, 2]
    wanted = ["did you mean 'drop_every_other_layer'?", "did you mean 'first'?", "did you mean 'heavy_tails'?"]
    wanted.append("did you mean 'parrots'?")
    assert [hint in text for hint, text in zip(wanted, told["hints"], strict=True)] == [True] * 4


# Commands one after another: each in a process of its own would import for seconds.
COMMANDS = """
import sys
from sottovoce.cli import main
for command in sys.argv[1:]:
    try:
        main(command.split())
    except SystemExit as end:
        assert not end.code, command
    print("end of a command")
"""


def test_what_the_page_adds_is_there_on_the_command_line(copied: Path) -> None:
    assert "drop_every_other_layer" in run(copied, sys.executable, "-m", "sottovoce", "methods")
    compress = "compress encoder --step drop_every_other_layer:first=1 -o smaller"
    commands = ["measures", "tasks", "corpus list --json", "measure encoder --measure heavy_tails", compress]
    commands += ["targets", "export encoder --to jukebox -o played --no-check"]
    told = run(copied, sys.executable, "-c", COMMANDS, *commands, "corpus prepare parrots parrots")
    measures, tasks, corpora, measured, _, targets, *_ = told.split("end of a command")
    assert "jukebox" in targets and (copied / "played" / "labels.txt").is_file()
    assert "Put a coin in." in (copied / "played" / "README.md").read_text()
    assert "heavy_tails" in measures and "counting" in tasks
    assert "three parrots" in corpora and "excess_kurtosis" in measured
    assert sv.load(copied / "smaller").config.num_hidden_layers == 2
    assert len((copied / "parrots" / "manifest.jsonl").read_text().splitlines()) == 18


def test_the_matrix_runs_a_new_method_on_every_family(copied: Path) -> None:
    chosen = "test_a_method_on_a_family and drop_every_other_layer and not ForSequence"
    told = run(copied, sys.executable, "-m", "pytest", "tests/test_method_matrix.py", "-q", "-k", chosen)
    assert re.search(r"^\d+ passed", told.splitlines()[-1]) or "[100%]" in told
