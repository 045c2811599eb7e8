"""The reference has every public module: users find what is there, and strict builds check what it says."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
LISTED = set(re.findall(r"^::: (\S+)", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), re.MULTILINE))


def public_modules() -> list[str]:
    """Every module without an underscore in front; a folder's `__init__` only repeats names of its modules."""
    names = (".".join(path.relative_to(SRC).with_suffix("").parts) for path in sorted(SRC.rglob("*.py")))
    return [name for name in names if not any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize("module", public_modules())
def test_reference_has(module: str) -> None:
    parts = module.split(".")
    # A folder's block shows all modules in it (`show_submodules`), so that a new method needs no line of its own.
    around = {".".join(parts[:count]) for count in range(2, len(parts) + 1)}
    assert around & LISTED, f"docs/reference.md lacks the line '::: {module}'."


def test_reference_has_nothing_that_is_gone() -> None:
    for name in LISTED:
        path = SRC.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or path.is_dir(), f"docs/reference.md lists {name}, which is gone."


def test_results_are_written_from_the_records() -> None:
    """No number on the page is typed: the page is what its script makes of the stored records."""
    place = ROOT / "benchmarks" / "write_results.py"
    spec = importlib.util.spec_from_file_location("write_results", place)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert page == script.render(), "run python benchmarks/write_results.py"
    drawn = [script.teachers.pictures(), script.layers.layer_pictures(), script.methods.method_pictures()]
    drawn.append(script.gates.pictures())
    for name, picture in [pair for pictures in drawn for pair in pictures]:
        assert (script.PICTURES / name).read_text(encoding="utf-8") == picture, "run python benchmarks/write_results.py"
