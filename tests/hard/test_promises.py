"""No command takes away or changes a file that was there before, but its named output with --overwrite."""

import os
import shutil
from pathlib import Path

import jobs
import pytest

from sottovoce.cli import main

# A folder with things of the user's, under names that this program gives to its own files among others.
MINE = {
    "notes.txt": "mine",
    "config.json": "{}",
    "model.safetensors": "mine",
    "state.json": "{}",
    "log.jsonl": "mine",
    "rows.bin": "mine",
    "checkpoint/trained.safetensors": "mine",
    "data/a.wav": "mine",
    ".git/HEAD": "mine",
    "manifest.jsonl": "{}\n",
    "run.json": "{}",
    "layers.svg": "mine",
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("promises") / "given"
    jobs.given(folder)
    return folder


@pytest.fixture
def place(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = jobs.copy_of(given, tmp_path / "place")
    monkeypatch.chdir(place)
    return place


def mine(folder: Path) -> Path:
    for name, content in MINE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def call(*argv: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(argv))
    return int(ended.value.code or 0)


def output_of(name: str) -> str:
    argv = jobs.JOBS[name]
    return argv[argv.index("-o") + 1] if "-o" in argv else argv[3]


def assert_all_there(place: Path, before: dict[str, bytes]) -> None:
    after = jobs.files(place)
    gone = sorted(name for name, content in before.items() if after.get(name) != content)
    assert not gone, f"gone or changed: {gone}"


WORKS = [".", "..", "made", "given", "given/encoder", "given/toys", "given/toys/work", "theirs", "file", "made/tuned"]
WORKS += ["made/tuned/work", "linked"]
FOLDERS = [name for name in jobs.JOBS if name != "measure"]


@pytest.mark.parametrize("name", FOLDERS)
def test_an_output_that_holds_other_things(place: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    mine(place / output_of(name))
    before = jobs.files(place)
    call(*jobs.JOBS[name])
    assert_all_there(place, before)


@pytest.mark.parametrize("name", ["finetune", "pretrain", "compress", "distill"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_is_the_model(place: Path, name: str, overwrite: bool) -> None:
    argv = [word.replace(output_of(name), "given/encoder") for word in jobs.JOBS[name]]
    before = jobs.files(place)
    code = call(*argv, *(["--overwrite"] if overwrite else []))
    after = jobs.files(place)
    assert code == (0 if overwrite else 2)
    changed = {name for name, content in before.items() if after.get(name) != content}
    assert all(name.startswith("given/encoder/") for name in changed)
    assert bool(changed) == overwrite
    assert not [name for name in after.keys() - before.keys() if "log.jsonl" not in name and "events" not in name
                and ".sottovoce" not in name and not name.startswith("given/encoder/")]  # fmt: skip


@pytest.mark.parametrize("name", ["finetune", "pretrain", "distill", "measure"])
@pytest.mark.parametrize("work", WORKS)
def test_a_work_folder_that_is_somebodys(
    place: Path, name: str, work: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine(place / "theirs")
    mine(tmp_path / "elsewhere")
    (place / "linked").symlink_to(tmp_path / "elsewhere")
    (place / "file").write_text("mine")
    (place / "made" / "note").write_text("mine")
    argv = [word.replace(output_of(name), "made/tuned") if name != "measure" else word for word in jobs.JOBS[name]]
    if "--work" in argv:
        argv = argv[: argv.index("--work")]
    before = jobs.files(tmp_path)
    code = call(*argv, "--work", work)
    said = capsys.readouterr().err
    if name == "measure" and work in ("given/toys/work", "made/tuned", "made/tuned/work"):
        assert code == 0  # a new folder of its own, which stays
    else:
        assert code == 2 and "cannot be used for checkpoints and caches" in said and said.count("\n") == 1, said
        assert not (place / "made" / "tuned").exists()
    assert_all_there(tmp_path, before)


def test_folders_beside_the_output_that_are_somebodys(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine(place / "made" / "tuned-training")
    mine(place / "made" / "analysis" / "chunks")
    before = jobs.files(place)
    assert call(*jobs.JOBS["finetune"]) == 2
    assert "tuned-training' cannot be used for checkpoints and caches" in capsys.readouterr().err
    assert call(*jobs.JOBS["analyze"]) == 0
    assert_all_there(place, before)


def test_a_demo_that_is_there_stays(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine(place / "sottovoce-demo")
    before = jobs.files(place)
    assert call("demo") == 2
    assert "layers.svg is there already; give another folder, or --overwrite to replace it" in capsys.readouterr().err
    assert_all_there(place, before)


def test_a_file_that_is_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "made" / "rows.jsonl").write_text("mine")
    before = jobs.files(place)
    assert call(*jobs.JOBS["measure"]) == 2
    assert "is there already; give another path, or --overwrite to replace it" in capsys.readouterr().err
    assert_all_there(place, before)
    assert call(*jobs.JOBS["measure"], "--overwrite") == 0
    assert "keywords" in (place / "made" / "rows.jsonl").read_text()


def test_a_run_and_a_corpus_that_are_there_stay(place: Path) -> None:
    for name in ("recipe", "grid", "analyze", "prepare"):
        assert call(*jobs.JOBS[name]) == 0
        before = jobs.files(place)
        assert call(*jobs.JOBS[name]) == 0
        assert_all_there(place, before)


def test_refused_before_the_first_update(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output that will be refused is refused at once: a million updates would take days."""
    shutil.copytree(place / "given" / "encoder", place / "made" / "tuned")
    (place / "made" / "tuned" / "notes.txt").write_text("mine")
    options = ["--options", "train.steps=1000000"]
    for more in ([], ["--overwrite"]):
        assert call(*jobs.JOBS["finetune"][:-2], *options, *more) == 2
        assert "holds notes.txt, which is no part of a model" in capsys.readouterr().err
    assert not (place / "made" / "tuned-training").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_may_not_be_written_to(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "made").chmod(0o500)
    assert call(*jobs.JOBS["compress"]) == 2
    assert "may not be written to" in capsys.readouterr().err
