"""Files and folders under kills, full disks and refusals: the old content or the new, never a mixture."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sottovoce import files
from sottovoce.errors import SottovoceError
from sottovoce.files import (
    append_lines,
    atomic_folder,
    atomic_write,
    dump_yaml,
    folders,
    leftovers,
    load_yaml,
    whole_lines,
)

# The package's own __init__ imports torch, which a process that lives for a moment does not need.
PRELUDE = f"""
import os, signal, sys, types
package = types.ModuleType("sottovoce")
package.__path__ = [{str(Path(files.__file__).parents[1])!r}]
sys.modules["sottovoce"] = package
from pathlib import Path
from sottovoce import files
from sottovoce.files import append_lines, atomic_folder, atomic_write
target = Path(sys.argv[1])
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
"""


def run_and_die(code: str, target: Path) -> None:
    """Run code in a process that ends by SIGKILL."""
    done = subprocess.run([sys.executable, "-c", PRELUDE + code, str(target)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill(target: Path, content: str) -> None:
    with atomic_folder(target) as folder:
        for name in ("a", "b"):
            (folder / name).write_text(content)


def content(target: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(target.iterdir())}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    atomic_write(target := tmp_path / "a" / "b" / "run.json", "é\n")
    assert target.read_bytes() == b"\xc3\xa9\n"
    atomic_write(str(target), b"\x00\r\n")
    assert target.read_bytes() == b"\x00\r\n"
    assert names(target.parent) == ["run.json"]


def test_files_and_folders_get_the_usual_rights(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "file", "a")
        fill(tmp_path / "folder", "a")
        append_lines(tmp_path / "lines", "a\n")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes == {"file": 0o640, "folder": 0o750, "lines": 0o640}


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    atomic_write(target := tmp_path / "run.json", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, place, full)
        with pytest.raises(SottovoceError) as error:
            atomic_write(target, "new")
    advice = "Nothing there was changed; free some space and start again."
    assert str(error.value) == f"cannot write '{target}': the disk is full. {advice}"
    assert content(tmp_path) == {"run.json": "old"}


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *pair: (seen.append("rename"), replace(*pair)))
    monkeypatch.setattr(os, "rename", lambda *pair: (seen.append("rename"), rename(*pair)))
    atomic_write(tmp_path / "file", "a")
    assert seen[:2] == ["fsync", "rename"]
    seen.clear()
    fill(tmp_path / "folder", "a")
    assert seen.index("rename") >= 3, "two files and their folder come first"


def test_a_disk_that_cannot_sync_folders_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: full() if stat.S_ISDIR(os.fstat(handle).st_mode) else fsync(handle))
    atomic_write(tmp_path / "file", "a")
    fill(tmp_path / "folder", "a")
    assert names(tmp_path) == ["file", "folder"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "file").write_text("old")
    (tmp_path / "file").symlink_to(tmp_path / "disk" / "file")
    (tmp_path / "model").symlink_to(tmp_path / "disk" / "model")
    atomic_write(tmp_path / "file", "new")
    fill(tmp_path / "model", "new")
    assert (tmp_path / "file").is_symlink() and (tmp_path / "model").is_symlink()
    assert (tmp_path / "disk" / "file").read_text() == "new"
    assert content(tmp_path / "disk" / "model") == {"a": "new", "b": "new"}


def test_a_file_over_a_folder_and_a_folder_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    with pytest.raises(SottovoceError, match="it is a folder, but a file is wanted"):
        atomic_write(tmp_path / "folder", "a")
    with pytest.raises(SottovoceError, match="it is a file, but a folder is wanted"):
        fill(tmp_path / "file", "a")
    with pytest.raises(SottovoceError, match="cannot write .*: (Not a directory|File exists); give another path."):
        atomic_write(tmp_path / "file" / "inner", "a")
    assert (names(tmp_path), (tmp_path / "file").read_text()) == (["file", "folder"], "old")


def test_a_refusal_of_the_system_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: os.open(Path(__file__) / "x", os.O_RDONLY))
    for write in (atomic_write, fill):
        with pytest.raises(SottovoceError, match="^cannot write '.*x': Not a directory; give another path.$"):
            write(tmp_path / "x", "a")


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "model"
    with atomic_folder(target) as folder:
        assert folder.is_dir() and not names(folder)
        assert folder.parent == target.parent, "a rename cannot cross disks"
        (folder / "inner").mkdir()
        (folder / "inner" / "weights").write_text("1")
        assert not target.exists()
    assert (target / "inner" / "weights").read_text() == "1"
    fill(target, "new")
    assert content(target) == {"a": "new", "b": "new"}, "what was in the old folder is gone"
    assert names(target.parent) == ["model"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(1), FileNotFoundError("x")])
@pytest.mark.parametrize("old", [True, False])
def test_a_failure_leaves_the_old_folder_and_its_own_error(tmp_path: Path, error: BaseException, old: bool) -> None:
    target = tmp_path / "model"
    if old:
        fill(target, "old")
    with pytest.raises(type(error)) as caught, atomic_folder(target) as folder:
        (folder / "a").write_text("half")
        raise error
    assert caught.value is error
    assert names(tmp_path) == (["model"] if old else [])
    assert not old or content(target) == {"a": "old", "b": "old"}


# What safetensors raises is no OSError and has no number.
RUST = Exception("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x"), RUST, None])
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    target = tmp_path / "model"
    fill(target, "old")
    with pytest.raises(SottovoceError, match="the disk is full. Nothing"), atomic_folder(target) as folder:
        (folder / "a").write_text("new")
        if error:
            raise error
        monkeypatch.setattr(os, "fsync", full)  # only once the block is done
    assert content(target) == {"a": "old", "b": "old"}
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize(("failing", "late"), [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize("error", [OSError(errno.EBUSY, "busy"), KeyboardInterrupt()])
def test_an_exchange_that_fails_leaves_one_whole_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, late: bool, error: BaseException
) -> None:
    target = tmp_path / "model"
    fill(target, "old")
    rename, calls = os.rename, []

    def flaky(*pair: Any) -> None:
        calls.append(pair)
        if len(calls) != failing or late:
            rename(*pair)
        if len(calls) == failing:
            raise error

    monkeypatch.setattr(folders, "exchange", lambda *pair: False)
    monkeypatch.setattr(os, "rename", flaky)
    with pytest.raises((SottovoceError, KeyboardInterrupt)):
        fill(target, "new")
    assert set(content(target).values()) == {"new" if late else "old"}
    assert names(tmp_path) == ["model"]


def test_folders_that_hold_the_user_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / "work").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home" / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for target in (".", "..", "/", tmp_path / "home", tmp_path):
        with pytest.raises(SottovoceError, match="it is or holds the (current|home) folder"), atomic_folder(target):
            pytest.fail("the block ran")
    monkeypatch.chdir("/")
    with pytest.raises(SottovoceError, match="it is or holds the home folder"), atomic_folder(tmp_path / "home"):
        pytest.fail("the block ran")
    fill(tmp_path / "home" / "work", "new")
    assert content(tmp_path / "home" / "work") == {"a": "new", "b": "new"}


def test_saves_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def save(text: str) -> None:
        for _ in range(20):
            with contextlib.suppress(SottovoceError):  # where two exchanges meet, one of them says so
                fill(target, text)

    threads = [threading.Thread(target=save, args=(text,)) for text in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(target) in [{"a": text, "b": text} for text in "xyz"]
    assert names(tmp_path) == ["model"]


KILLS = {
    "in the block": "with atomic_folder(target) as folder:\n    (folder / 'a').write_text('half')\n    die()",
    "before the exchange": """
files.folders._swap = die
with atomic_folder(target) as folder: (folder / 'a').write_text('new')
""",
    "in the exchange": """
exchange = files.folders.exchange
def once(*pair):
    exchange(*pair)
    die()
files.folders.exchange = once
with atomic_folder(target) as folder: (folder / 'a').write_text('new')
""",
    "in an exchange of two steps": """
files.folders.exchange = lambda *pair: False
rename = os.rename
def first_only(*pair):
    rename(*pair)
    die()
os.rename = first_only
with atomic_folder(target) as folder: (folder / 'a').write_text('new')
""",
    "after the exchange": """
files.folders.remove = die
with atomic_folder(target) as folder: (folder / 'a').write_text('new')
""",
}


@pytest.mark.parametrize("moment", KILLS)
def test_after_a_kill_the_next_save_finds_the_old_or_the_new_folder(tmp_path: Path, moment: str) -> None:
    fill(target := tmp_path / "model", "old")
    run_and_die(KILLS[moment], target)
    assert names(tmp_path) != ["model"], "the kill left something to clear"
    # A save that fails clears it, and brings back what had been moved aside.
    with pytest.raises(RuntimeError), atomic_folder(target):
        raise RuntimeError
    assert content(target) == (
        {"a": "new"} if moment in ("in the exchange", "after the exchange") else {"a": "old", "b": "old"}
    )
    assert names(tmp_path) == ["model"]
    run_and_die(KILLS[moment], target)
    fill(target, "next")
    assert (content(target), names(tmp_path)) == ({"a": "next", "b": "next"}, ["model"])
    run_and_die(KILLS["after the exchange"], target)
    leftovers.remove(target)
    with pytest.raises(RuntimeError), atomic_folder(target):
        raise RuntimeError
    assert names(tmp_path) == [], "an old folder that was being removed does not come back"


def test_after_kills_at_any_moment_a_folder_is_of_one_piece(tmp_path: Path) -> None:
    target = tmp_path / "model"
    code = """
for turn in range(10**6):
    with atomic_folder(target) as folder:
        for name in range(5):
            (folder / str(name)).write_text(str(turn))
"""
    for delay in (0.0, 0.005, 0.011, 0.023):
        process = subprocess.Popen([sys.executable, "-c", PRELUDE + code, str(target)])
        while not target.exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(0.05 + delay)
        process.kill()
        process.wait()
        with pytest.raises(RuntimeError), atomic_folder(target):
            raise RuntimeError
        found = content(target)
        assert (len(found), len(set(found.values())), names(tmp_path)) == (5, 1, ["model"])


def test_a_kill_within_a_write_leaves_the_old_file(tmp_path: Path) -> None:
    atomic_write(target := tmp_path / "run.json", "old")
    run_and_die("os.fsync = die\natomic_write(target, 'new')", target)
    assert target.read_text() == "old"
    assert len(names(tmp_path)) == 2
    atomic_write(target, "new")
    assert content(tmp_path) == {"run.json": "new"}


def test_what_a_living_process_works_on_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "model"
    code = "with atomic_folder(target) as folder:\n    print('ready', flush=True)\n    sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    with atomic_folder(target) as folder:
        fill(target, "inner")  # nor does a save within a save harm the outer one
        (folder / "a").write_text("outer")
    assert content(target) == {"a": "outer"}
    process.communicate()
    assert process.returncode == 0
    assert names(target) == []


def test_a_leftover_of_an_earlier_life_with_the_same_number_is_cleared(tmp_path: Path) -> None:
    sibling = leftovers.sibling(tmp_path / "model", "new")
    earlier = sibling.with_name(sibling.name.replace(str(leftovers.life_of(os.getpid())), "0" * 8))
    others = {".model.backup", earlier.name.replace("model", "other")}
    for name in {sibling.name, earlier.name, *others}:
        (tmp_path / name).mkdir()
    fill(tmp_path / "model", "new")
    assert set(names(tmp_path)) == {"model", sibling.name, *others}


def test_lines_come_after_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert whole_lines(path) == b""
    append_lines(path, "a\nb\n")
    append_lines(path, "")
    append_lines(path, "é\n")
    assert whole_lines(path) == path.read_bytes() == "a\nb\né\n".encode()
    with pytest.raises(SottovoceError, match="cannot write .*: No such file or directory"):
        append_lines(tmp_path / "absent" / "lines", "a\n")


def test_a_torn_line_is_not_read_and_is_written_over(tmp_path: Path) -> None:
    whole = b"one\ntwo\nthree\n"
    for cut in range(len(whole) + 1):
        path = tmp_path / str(cut)
        path.write_bytes(whole[:cut])
        kept = whole[: whole[:cut].rfind(b"\n") + 1]
        assert whole_lines(path) == kept
        append_lines(path, "x\n")
        assert path.read_bytes() == kept + b"x\n"


@pytest.mark.parametrize("torn", [b"", b"tor"])
def test_a_full_disk_leaves_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n" + torn)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SottovoceError, match="the disk is full"):
            append_lines(path, "two\nthree\n")
    assert path.read_bytes() == b"one\n"
    append_lines(path, "two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_disk_that_takes_only_a_part_leaves_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n")
    # A limit on the size of files cuts a write short as a full disk does.
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try: append_lines(target, "x" * 1500 + "\\n")
except files.folders.SottovoceError as error: assert "File too large" in str(error); die()
"""
    run_and_die(code, path)
    assert path.read_bytes() == b"one\n"


def test_numbers_and_dates_are_what_they_look_like() -> None:
    read = load_yaml("[1e-4, 2024-01-01, 1e5, .5E+3, 1e, '1e-4', 1.5, -2e-3, 12]")
    assert read == [1e-4, "2024-01-01", 1e5, 500.0, "1e", "1e-4", 1.5, -2e-3, 12]
    assert type(read[-1]) is int
    assert yaml.safe_load("1e-4") == "1e-4", "other users of PyYAML see no change"
    assert yaml.safe_load("a: 1\na: 2") == {"a": 2}
    assert yaml.safe_dump("1e-4") == "1e-4\n...\n"
    same = [1, 2]
    assert dump_yaml({"a": same, "b": same}) == "a: [1, 2]\nb: [1, 2]\n", "ours has no anchors"


@pytest.mark.parametrize("text", ["1e-4", "2024-01-01", "no", "null", "1", "\x85", "\u2028", "a\nb", " a ", "#", "é"])
def test_a_text_stays_a_text(text: str) -> None:
    assert load_yaml(dump_yaml({"key": text})) == {"key": text}
    assert yaml.safe_load(dump_yaml({"key": text})) == {"key": text}


def test_a_long_name_that_was_moved_aside_comes_back_under_its_own(tmp_path: Path) -> None:
    """Only who asks for the folder knows its whole name."""
    target = tmp_path / ("model-" + 150 * "x")
    fill(target, "old")
    aside = leftovers.sibling(target, "old")
    os.rename(target, aside.with_name(aside.name.replace(str(leftovers.life_of(os.getpid())), "0" * 8)))
    leftovers.sweep(tmp_path)
    assert len(names(tmp_path)) == 1 and names(tmp_path)[0].endswith(".old")
    assert content(files.put_back(target)) == {"a": "old", "b": "old"}
