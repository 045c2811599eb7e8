"""The commands about speech, run as a user runs them."""

import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import tiny
from speech import toy_folder
from test_cli import run
from zygote import Zygote

import sottovoce as sv
from sottovoce.recipe import Recipe
from sottovoce.runs import read_runs


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return toy_folder(tmp_path / "toys")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return sv.save(tiny("hubert-large", num_hidden_layers=2), tmp_path / "encoder")


def test_tasks_and_corpora_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "tasks", "--json")
    assert code == 0 and [json.loads(line)["name"] for line in out.splitlines()] == list(sv.TASKS)
    code, out, _ = run(capsys, "corpus", "list")
    assert code == 0 and "librispeech" in out and "espeak" in out and "CC-BY-4.0" in out
    code, out, _ = run(capsys, "corpus", "list", "--json")
    assert code == 0 and {"name", "license", "parts"} <= set(json.loads(out.splitlines()[0]))


def test_measuring_knowledge(capsys: pytest.CaptureFixture[str], corpus: Path, saved: Path, tmp_path: Path) -> None:
    wanted = ["--measure", "keywords:train.steps=30,layer=each", "--measure", "size,speakers"]
    target = tmp_path / "rows.jsonl"
    code, out, _ = run(capsys, "measure", str(saved), *wanted, "--data", str(corpus), "--json", "-o", str(target))
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and rows == [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["where"] for row in rows if row["measure"] == "keywords"] == [{"state": n} for n in range(3)]
    assert {row["measure"] for row in rows} == {"keywords", "size", "speakers"}
    code, out, _ = run(capsys, "measure", "log-mel", "--measure", "keywords:train.steps=30", "--data", str(corpus))
    assert code == 0 and "accuracy" in out and "± 95 %" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("measure", "log-mel", "--measure", "keywords"), "keywords needs data"),
        (("measure", "log-mel", "--measure", "keywords", "--data", "espeek"), "there is no data 'espeek'"),
        (("measure", "log-mel", "--measure", "keywords", "--data", "espeak:much"), "asks for no amount"),
        (("measure", "log-mel", "--measure", "keywords", "--data", "fsd@."), "did you mean 'fsdd'"),
        (("measure", "log-mel", "--measure", "keywords", "--data", "fsdd@nowhere"), "there is no folder nowhere"),
        (("measure", "log-mel", "--measure", "keyword", "--data", "espeak"), "did you mean 'keywords'"),
        (("finetune", "hubert", "--task", "keyword", "--data", "espeak:0.01", "-o", "x"), "did you mean 'keywords'"),
        (
            ("finetune", "hubert", "--task", "asr", "--data", "espeak", "-o", "x", "--options", "step=3"),
            "did you mean 'train.steps'?",
        ),
        (("finetune", "log-mel", "--task", "asr", "--data", "espeak:0.01", "-o", "x"), "nothing to fine-tune"),
        (("corpus", "prepare", "librispeach", "."), "did you mean 'librispeech'"),
        (("corpus", "prepare", "voxceleb1", "x", "--download"), "cannot be downloaded"),
        (("corpus", "prepare", "voxceleb1", "x", "--part", "a"), "voxceleb1 has no parts, but 'a' is wanted"),
        (("corpus", "prepare", "espeak", "x", "--part", "a"), "--part is of no use for espeak: espeak is made on this"),
        (("corpus", "prepare", "espeak", "x", "--download"), "--download is of no use for espeak"),
        (
            ("corpus", "prepare", "fsdd", "x", "--size", "0"),
            "--size is of no use for fsdd: only espeak is made on this",
        ),
        (("corpus", "prepare", "fsdd", "x", "--seed", "0"), "--seed is of no use for fsdd"),
        (("corpus", "prepare", "espeak", "x", "--size", "nan"), "size is nan, but a number above 0 and up to 1000"),
        (("corpus", "prepare", "espeak", "x", "--seed", "-1"), "seed is -1, but a whole number from 0 to 4294967295"),
        (("corpus", "prepare", "espeak", ""), "the folder of the corpus is empty; give a path"),
        (("corpus", "prepare", "", "x"), "unknown corpus ''"),
        (("corpus", "check", "nothing.jsonl"), "there is no file 'nothing.jsonl'; give the path of the manifest"),
    ],
)
def test_mistakes_are_one_sentence(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 2 and sentence in err and len(err.splitlines()) == 1, err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_bad_files_stop_or_are_skipped_counted_and_listed(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    (corpus / "train-3.flac").write_bytes((corpus / "train-3.flac").read_bytes()[:300])
    (corpus / "train-5.flac").unlink()
    soundfile.write(str(corpus / "test-1.flac"), np.zeros(4000), 16_000)
    with open(corpus / "manifest.jsonl", "a") as file:
        file.write('{"id": "outside", "path": "../x.flac", "seconds": 1.0}\n{"id": "test-2"\n')
    command = ["measure", "log-mel", "--measure", "keywords:train.steps=20", "--data", str(corpus)]
    code, _, err = run(capsys, *command)
    assert code == 2 and "line 64" in err and "leads out of" in err
    code, out, err = run(capsys, *command, "--skip-bad", "--json")
    assert code == 0 and json.loads(out.splitlines()[0])["n"] == 17
    assert "5 left out as bad, 60 kept" in err
    for name in ("line 64", "line 65", "train-3", "train-5", "test-1"):
        assert name in err, name
    code, out, _ = run(capsys, "corpus", "check", str(corpus))
    assert code == 1 and out.count("bad:") == 5
    lines = (corpus / "manifest.jsonl").read_text().splitlines()
    (corpus / "manifest.jsonl").write_text("\n".join(lines[:-2]) + "\n")
    code, _, err = run(capsys, *command)
    assert code == 2 and re.search(r"(train-[35]|test-1).flac", err) and "Traceback" not in err


def test_a_corpus_is_made_and_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "corpus", "prepare", "espeak", str(tmp_path / "e"), "--size", "0.02")
    assert code == 0 and "manifest.jsonl" in out.replace("\n", "")
    code, _, err = run(capsys, "corpus", "prepare", "espeak", str(tmp_path / "e"), "--size", "0.03")
    assert code == 2 and "or overwrite it (--overwrite)" in err
    assert run(capsys, "corpus", "prepare", "espeak", str(tmp_path / "e"), "--size", "0.02")[0] == 0
    options = ["--size", "0.03", "--overwrite"]
    assert run(capsys, "corpus", "prepare", "espeak", str(tmp_path / "e"), *options)[0] == 0
    code, out, _ = run(capsys, "corpus", "check", str(tmp_path / "e"), "--json")
    found = json.loads(out)
    assert code == 0 and found["bad"] == [] and {part["task"] for part in found["parts"]} >= {None, "keywords"}


def test_fine_tuning_makes_a_folder_that_scores(capsys: pytest.CaptureFixture[str], corpus: Path, saved: Path) -> None:
    target = saved.with_name("tuned")
    options = "train.steps=6,train.lr=1e-3,freeze=[],train.save_seconds=0.0"
    command = ["finetune", str(saved), "--task", "keywords", "--data", str(corpus), "--options", options]
    code, out, _ = run(capsys, *command, "-o", str(target), "--json")
    assert code == 0
    score = json.loads(out.splitlines()[0])
    measured = sv.MEASURES["keywords"](sv.load(target), sv.read_data(corpus))
    assert (score["metric"], score["value"], score["n"]) == ("accuracy", measured[0].value, 18)
    assert (target.with_name("tuned-training") / "finetune-keywords" / "log.jsonl").is_file()


def test_pretraining_makes_a_folder(capsys: pytest.CaptureFixture[str], corpus: Path, saved: Path) -> None:
    target = saved.with_name("teacher")
    options = "train.steps=4,units.clusters=5,batch_seconds=4"
    code, out, err = run(capsys, "pretrain", str(saved), "--data", str(corpus), "--options", options, "-o", str(target))
    assert code == 0 and "wrote" in out, err
    assert (target / "units.safetensors").is_file() and sv.load(target).config.num_hidden_layers == 2
    left = [path.name for path in target.with_name("teacher-training").rglob("*") if path.is_file()]
    assert "log.jsonl" in left and "rows.bin" not in left


def test_a_folder_of_something_else_is_refused_before_the_work(
    capsys: pytest.CaptureFixture[str], corpus: Path, saved: Path
) -> None:
    command = ["finetune", str(saved), "--task", "keywords", "--data", str(corpus), "-o", str(corpus)]
    code, _, err = run(capsys, *command)
    assert code == 2 and "is no part of a model" in err and not corpus.with_name("toys-training").exists()


def test_what_was_measured_before_a_fault_is_told(capsys: pytest.CaptureFixture[str], corpus: Path) -> None:
    wanted = ["--measure", "keywords:train.steps=5", "--measure", "phones:layer=9"]
    code, out, err = run(capsys, "measure", "log-mel", *wanted, "--data", str(corpus), "--json")
    assert code == 2 and "layer=9" in err and json.loads(out.splitlines()[0])["measure"] == "keywords"


def test_a_recipes_seed_is_the_trainings_seed(capsys: pytest.CaptureFixture[str], corpus: Path, saved: Path) -> None:
    steps = (("finetune", {"task": "keywords", "train": {"steps": 2}}),)
    path = saved.with_name("recipe.yaml")
    path.write_text(Recipe(str(saved), data=str(corpus), steps=steps, vary={"seed": [0, 1]}).to_yaml())
    code, _, _ = run(capsys, "compress", str(saved), "--recipe", str(path), "-o", str(saved.with_name("runs")))
    first, second = read_runs(saved.with_name("runs"))
    assert code == 0
    assert (first.folder / "model/model.safetensors").read_bytes() != (
        second.folder / "model/model.safetensors"
    ).read_bytes()


def test_ctrl_c_says_what_is_kept(zygote: Zygote, corpus: Path, saved: Path) -> None:
    command = ["finetune", str(saved), "--task", "keywords", "--data", str(corpus)]
    command += ["--options", "train.steps=100000,train.save_seconds=0.0", "-o", str(saved.with_name("long"))]
    process = zygote.start(command, cwd=saved.parent)
    checkpoint = saved.with_name("long-training") / "finetune-keywords" / "checkpoint" / "state.json"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.02)
    process.kill(signal.SIGINT)
    assert process.wait() == 130, process.said
    assert "stopped; what was finished is kept" in process.said and "Traceback" not in process.said


def test_a_killed_command_goes_on_and_ends_with_the_same_bits(zygote: Zygote, corpus: Path, saved: Path) -> None:
    def command(target: str) -> list[str]:
        options = "train={steps: 40, lr: 1e-3, save_seconds: 0.0},freeze=[],dropout=0.1"
        command = ["finetune", str(saved), "--task", "keywords", "--data", str(corpus)]
        return [*command, "--options", options, "-o", str(saved.with_name(target))]

    zygote.run(command("straight"), cwd=saved.parent)
    process = zygote.start(command("killed"), cwd=saved.parent)
    checkpoint = saved.with_name("killed-training") / "finetune-keywords" / "checkpoint" / "state.json"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    process.kill(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not saved.with_name("killed").exists()
    zygote.run(command("killed"), cwd=saved.parent)
    first, second = (saved.with_name(name) / "model.safetensors" for name in ("straight", "killed"))
    assert first.read_bytes() == second.read_bytes()


def test_a_recipe_trains_measures_and_leaves_no_caches(
    capsys: pytest.CaptureFixture[str], corpus: Path, saved: Path
) -> None:
    recipe = Recipe(
        str(saved),
        data=str(corpus),
        steps=(("drop_layers", {"keep": 1}), ("finetune", {"task": "keywords", "train": {"steps": 3}, "freeze": []})),
        measures=(("keywords", {}), ("phones", {"mode": "probe", "train": {"steps": 3}}), ("size", {})),
    )
    path = saved.with_name("recipe.yaml")
    path.write_text(recipe.to_yaml())
    command = ["compress", str(saved), "--recipe", str(path), "-o", str(saved.with_name("runs"))]
    code, out, err = run(capsys, *command)
    assert code == 0, err
    (made,) = read_runs(saved.with_name("runs"))
    assert made.finished and {m.measure for m in made.measurements()} == {"keywords", "phones", "size"}
    assert type(sv.load(made.folder / "model")).__name__ == "HubertForSequenceClassification"
    left = {path.name for path in (made.folder / "work").rglob("*") if path.is_file()}
    assert "log.jsonl" in left and all(name == "log.jsonl" or name.startswith("events.") for name in left)
    code, _, err = run(capsys, *command)
    assert code == 0 and "finished already" in err
    with open(corpus / "manifest.jsonl", "r+") as file:
        lines = file.readlines()
        file.seek(0)
        file.writelines(lines[:-1])
        file.truncate()
    code, _, err = run(capsys, *command)
    assert code == 0 and len(read_runs(saved.with_name("runs"))) == 2, "other data, another run"
