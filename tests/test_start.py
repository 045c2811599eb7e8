"""How the package and its command line start: nothing heavy before it is wanted, and Ctrl-C from the first moment."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_house import definition, exported

import sottovoce

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


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'sottovoce' has no attribute 'laod'"):
        sottovoce.__getattr__("laod")


def catches_sigterm(pid: int) -> bool:
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return bool(int(lines["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell when handlers are set")
@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_a_signal_while_the_command_line_starts(number: int, code: int, delay: float) -> None:
    words = [COMMAND, "cost", "hubert-large", "--seconds", "60", "--repeats", "1000"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not catches_sigterm(process.pid):
        time.sleep(0.002)  # the interpreter itself is starting
    time.sleep(delay)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.startswith("sottovoce: stopped; ") and err.count("\n") == 1
