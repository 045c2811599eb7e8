"""How the package and its command line start: nothing heavy before it is wanted, and Ctrl-C from the first moment."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_house import definition, exported

import sottovoce
from sottovoce.cli import listing
from sottovoce.registry import describe

COMMAND = str(Path(sys.executable).with_name("sottovoce"))


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, sottovoce; assert not {'torch', 'numpy', 'transformers'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", exported())
def test_each_name_is_where_type_checkers_find_it(name: str) -> None:
    module, _ = definition("sottovoce", name)
    found = getattr(sottovoce, name)
    assert name in dir(sottovoce)
    assert found is (importlib.import_module(module) if module.endswith(f".{name}") and name == "edits" else found)
    assert getattr(importlib.import_module(f"sottovoce.{sottovoce._PLACES[name]}"), name, found) is found


def test_what_is_registered_is_a_public_name() -> None:
    for registry in (sottovoce.METHODS, sottovoce.MEASURES):
        for name, entry in registry.items():
            assert getattr(sottovoce, name) is entry.function


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'sottovoce' has no attribute 'laod'"):
        sottovoce.__getattr__("laod")


HEAVY = "torch numpy transformers scipy"
LIGHT = ["--help", "--version", "compress --help", "corpus --help", "methods", "measures --json"]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which methods were listed once: the first time after a change of the package takes seconds."""
    home = {**os.environ, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    first, second = (
        subprocess.run([COMMAND, "methods", "--json"], env=home, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert first.stdout == second.stdout
    assert [json.loads(line)["name"] for line in first.stdout.splitlines()] == list(sottovoce.METHODS)
    return home


@pytest.mark.parametrize("words", LIGHT)
def test_what_needs_no_model_imports_nothing_heavy(words: str, listed: dict[str, str]) -> None:
    code = f"""
import sys, resource
from sottovoce.start import main
sys.argv = ["sottovoce", *{words.split()!r}]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
found = set({HEAVY.split()!r}) & sys.modules.keys()
assert not found, found
used = resource.getrusage(resource.RUSAGE_SELF)
assert used.ru_utime + used.ru_stime < 2, used
"""
    done = subprocess.run([sys.executable, "-c", code], env=listed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("damage", ["not json", "[]", "{}", '{"state": 1, "methods": 5}'])
def test_a_listing_that_is_damaged_or_old_is_made_anew(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = [describe(entry) for entry in sottovoce.METHODS.values()]
    assert listing.entries("methods") == wanted
    (place,) = (tmp_path / "sottovoce").iterdir()
    kept = place.read_text()
    for text in (damage, kept.replace(listing.package_state(), "of another day").replace("drop_layers", "gone")):
        place.write_text(text)
        assert listing.entries("methods") == wanted
        assert place.read_text() == kept
    place.unlink()
    (tmp_path / "sottovoce").rmdir()
    (tmp_path / "sottovoce").write_text("a file where a folder is wanted")
    assert listing.entries("methods") == wanted


def test_the_shell_completes_commands_methods_and_measures(listed: dict[str, str]) -> None:
    def completed(words: str) -> list[str]:
        asked = {"_SOTTOVOCE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return subprocess.run([COMMAND], env=listed | asked, capture_output=True, text=True).stdout.split()

    assert completed("sottovoce comp") == ["compress"]
    assert completed("sottovoce compress x --step drop") == ["drop_layers"]
    assert completed("sottovoce measure x --measure simi") == ["similarity"]


def catches_sigterm(pid: int) -> bool:
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return bool(int(lines["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


# Each delay with one of the signals, and each signal at one of the delays; imports are waited for, which takes seconds.
DELAYED = [(0.0, signal.SIGINT), (0.0, signal.SIGTERM), (0.4, signal.SIGTERM), (1.0, signal.SIGINT)]
OTHERS = [pytest.param(0.4, signal.SIGINT, marks=pytest.mark.slow)]
OTHERS += [pytest.param(1.0, signal.SIGTERM, marks=pytest.mark.slow)]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell when handlers are set")
@pytest.mark.parametrize(("delay", "number"), [*DELAYED, *OTHERS])
def test_a_signal_while_the_command_line_starts(delay: float, number: int) -> None:
    words = [COMMAND, "cost", "hubert-large", "--seconds", "60", "--repeats", "1000"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not catches_sigterm(process.pid):
        time.sleep(0.002)  # the interpreter itself is starting
    time.sleep(delay)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert err.startswith("sottovoce: stopped; ") and err.count("\n") == 1


def test_a_signal_in_the_middle_of_an_import_ends_the_command_behind_it(tmp_path: Path) -> None:
    """Libraries take any exception in an import of theirs for a module that is not installed."""
    (tmp_path / "slow.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.2)\nprint('whole')\n"
    )
    code = """
import time
from sottovoce.signals import Stopped, handled_by, raise_stopped
with handled_by(raise_stopped):
    try:
        import slow
        time.sleep(60)
    except Stopped as stopped:
        print(stopped.code)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["whole", "143"], done.stderr


def test_a_stop_that_a_library_takes_for_a_fault_of_a_file_is_a_stop() -> None:
    code = """
import os, signal, sys
from sottovoce import names
from sottovoce.cli import main
from sottovoce.errors import SottovoceError
def damaged(name):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException as error:
        raise SottovoceError("the file is damaged; copy it again.") from error
def whole(name):
    raise SottovoceError("there is no such model.")
for get in (damaged, whole):
    names.get_model = get
    try:
        main(["cost", "model"])
    except SystemExit as ended:
        print(ended.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["143", "2"], done.stderr
    assert done.stderr.splitlines()[0].startswith("sottovoce: stopped; ") and "no such model" in done.stderr
