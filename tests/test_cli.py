"""The command line, in this process; hard/test_shell.py starts it as users do."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, edited, tiny

import sottovoce as sv
from sottovoce import demo
from sottovoce.cli import common, main
from sottovoce.cli.common import bars
from sottovoce.measurement import Measurement


@pytest.fixture
def saved(folder: Path) -> Path:
    return sv.save(tiny("hubert", head="ForCTC"), folder)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_cost_prints_every_number(capsys: pytest.CaptureFixture[str], saved: Path) -> None:
    code, out, _ = run(capsys, "cost", str(saved), "--seconds", "1", "--repeats", "2")
    assert code == 0
    for word in ("parameters", "nonzero", "macs (MAC/1s)", "latency", "real time factor", "peak bytes", "feed forward"):
        assert word in out, word


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0 and out.split()[:4] == ["sottovoce", f"{sv.__version__},", "torch", f"{torch.__version__},"]


def test_cost_as_json_is_measurements(capsys: pytest.CaptureFixture[str], saved: Path) -> None:
    code, out, _ = run(capsys, "cost", str(saved), "--seconds", "1", "--no-time", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and {row.pop("model") for row in rows} == {str(saved)}
    measured = {(m.metric, m.where): m.value for m in (Measurement.from_json(json.dumps(row)) for row in rows)}
    expected = sv.cost(sv.load(saved), seconds=1.0, time=False)
    assert measured == {(m.metric, m.where): m.value for m in expected.measurements}


def test_cost_of_two_times_them_in_turns(capsys: pytest.CaptureFixture[str], saved: Path) -> None:
    small = sv.save(sv.drop_layers(sv.load(saved), keep=1), saved.with_name("small"))
    code, out, _ = run(capsys, "cost", str(saved), "--versus", str(small), "--seconds", "1", "--repeats", "2")
    assert code == 0 and "saving" in out and " x" in out


def test_cost_of_a_shape_needs_nothing_downloaded(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "cost", "wavlm-base", "--no-time", "--parts", "--convention", "per_second")
    assert code == 0 and "layer 11 attention products" in out and "MAC/s" in out


def test_compress_by_steps(capsys: pytest.CaptureFixture[str], saved: Path) -> None:
    target = saved.with_name("small")
    steps = ["--step", "drop_layers:keep=[0,1,3]", "--step", "drop_layers:drop=[1]"]
    code, out, _ = run(capsys, "compress", str(saved), *steps, "-o", str(target))
    assert code == 0 and str(target) in out.replace("\n", "")
    assert len(sv.Anatomy(sv.load(target)).layers) == 2
    # What users came for: sizes, operations and times of both, and which parts went.
    assert "layers: 2 of 4 run" in out and "before" in out and "parameters" in out and "latency" in out
    more = ["--json", "-o", str(saved.with_name("again"))]
    code, out, _ = run(capsys, "compress", str(saved), "--step", "prune_heads:keep=1", *more)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and {row["model"] for row in rows} == {"before", "after"}
    assert {row["metric"] for row in rows} >= {"parameters", "macs", "latency"}


def test_progress_without_a_terminal_is_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now and then one, and none of what is over before."""
    with bars("encoding", 3) as advance:
        advance()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(common, "EVERY", 0.0)
    with bars("training", 200) as advance:
        advance(50, note="loss 0.4")
        advance(150)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" in ")[0] for line in lines] == ["training: 50 of 200", "training: 200 of 200"]
    assert lines[0].endswith("s, loss 0.4")


def test_compress_by_a_recipe_is_resumed(capsys: pytest.CaptureFixture[str], saved: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "model: none\nsteps:\n- drop_layers: {keep: 4}\nmeasures:\n- size\n- macs: {seconds: 1.0}\n"
        "vary:\n  steps.0.keep: [1, 2]\n"
    )
    runs = tmp_path / "runs"
    code, out, err = run(capsys, "compress", str(saved), "--recipe", str(recipe), "-o", str(runs))
    assert code == 0 and out.count("wrote") == 2 and "skipped" not in err
    found = {folder.name: sv.Run.open(folder) for folder in runs.iterdir()}
    sizes = sorted(
        row.value
        for one in found.values()
        for row in one.measurements()
        if row.metric == "parameters" and not row.where
    )
    assert len(sizes) == 2 and sizes[0] < sizes[1]
    assert len(sv.Anatomy(sv.load(next(iter(runs.iterdir())))).layers) in (1, 2)
    _, _, err = run(capsys, "compress", str(saved), "--recipe", str(recipe), "-o", str(runs))
    assert err.count("skipped") == 2


def test_measure(capsys: pytest.CaptureFixture[str], saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    asked = ["--measure", "size", "--measure", "macs:seconds=1.0"]
    code, out, _ = run(capsys, "measure", str(saved), *asked, "--json", "-o", str(file))
    assert code == 0
    rows = [Measurement.from_json(line) for line in file.read_text().splitlines()]
    assert [json.loads(row.to_json()) for row in rows] == [json.loads(line) for line in out.splitlines()]
    assert {row.measure for row in rows} == {"size", "macs"}


@pytest.mark.parametrize("command", ["methods", "measures", "families"])
def test_lists(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command)
    assert code == 0
    for name in {"methods": sv.METHODS, "measures": sv.MEASURES, "families": {row[0] for row in TINY.values()}}[
        command
    ]:
        assert name in out
    code, out, _ = run(capsys, command, "--json")
    assert code == 0 and all(json.loads(line) for line in out.splitlines())


def test_doctor_exit_code_says_how_it_went(capsys: pytest.CaptureFixture[str], saved: Path) -> None:
    code, out, _ = run(capsys, "doctor", str(saved))
    assert code == 0 and "a padded batch differs" in " ".join(out.split())
    (saved / "model.safetensors").unlink()
    code, out, _ = run(capsys, "doctor", str(saved), "--json")
    assert code == 1 and json.loads(out)["level"] == "error"


FAULTS: list[tuple[list[str], str]] = [
    (["cost", "nowhere"], "there is no folder nowhere"),
    (["cost", "hubrt"], "sv.new('hubert')"),
    (["cost", "hubert", "--seconds", "0", "--no-time"], "give one"),
    (["cost", "hubert", "--seconds", "0.01", "--no-time"], "give longer audio"),
    (["cost", "hubert", "--convention", "total_sum"], "total_sum"),
    (["cost", "{saved}", "--seconds", "1", "--repeats", "0"], "repeats from 1"),
    (["cost", "{saved}", "--seconds", "1", "--threads", "0"], "threads=0, but 1 to"),
    (["compress", "{saved}", "-o", "{new}"], "needs either --step"),
    (["compress", "--step", "drop_layers:keep=1", "-o", "{new}"], "by steps needs a model"),
    (["compress", "{saved}", "--step", "drop_layer:keep=1", "-o", "{new}"], "did you mean 'drop_layers'"),
    (["compress", "{saved}", "--step", "drop_layers:kep=1", "-o", "{new}"], "did you mean 'keep'"),
    (["compress", "{saved}", "--step", "drop_layers:keep=nine", "-o", "{new}"], "keep='nine'"),
    (["compress", "{saved}", "--step", "drop_layers:keep=9", "-o", "{new}"], "keep=9, but this encoder has 4 layers"),
    (["compress", "{saved}", "--step", "drop_layers:drop=[7]", "-o", "{new}"], "names layer 7, but this encoder has 4"),
    (["compress", "{saved}", "--step", "drop_layers:drop=[0,1,2,3]", "-o", "{new}"], "keep at least one"),
    (["compress", "{saved}", "--step", "drop_layers", "-o", "{new}"], "needs one of keep, drop, until"),
    (["compress", "{saved}", "--recipe", "{new}", "-o", "{new}"], "{new}"),
    (["measure", "{saved}", "--measure", "sizes"], "did you mean 'size'"),
    (["doctor", "{new}"], "there is no folder"),
    (["cost", "hubert", "--seconds", "inf", "--no-time"], "seconds=inf, but a number from 0 to 3600 is wanted"),
    (["cost", "{saved}", "--seconds", "0.001", "--versus", "{saved}"], "give longer audio"),
    (["cost", "{saved}", "--seconds", "1", "--threads", "20000"], "threads=20000, but 1 to"),
    (["cost", "{saved}", "--seconds", "1", "--batch", "1000000000"], "batch=1000000000, but a number from 1 to"),
    (["cost", "{saved}", "--seconds", "3600", "--batch", "1000000"], "s of audio in all are wanted"),
    (["cost", "{saved}", "--seconds", "nan"], "seconds=nan, but a number from 0 to 3600 is wanted"),
    (["cost", "{saved}", "--seconds", "1", "--repeats", "1000000000"], "repeats from 1 and a warm-up from 0, both to"),
    (["cost", "{saved}", "--device", ""], "there is no device ''"),
    (["cost", "{saved}", "--device", ":"], "there is no device ':'"),
    (["measure", "{saved}", "--measure", ""], "unknown measure ''"),
    (["measure", "{saved}", "--measure", ","], "unknown measure ''"),
    (["measure", "{saved}", "--measure", "phones:layer=["], "phones: layer='[', but"),
    (["cost", "{saved}", "--device", "bogus"], "there is no device 'bogus'"),
    (["cots"], "No such command"),
    (["cost", "hubert", "--secnds", "3"], "No such option"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), FAULTS, ids=[" ".join(arguments) for arguments, _ in FAULTS])
def test_faults_are_one_sentence_and_exit_code_two(
    capsys: pytest.CaptureFixture[str], saved: Path, arguments: list[str], words: str
) -> None:
    names: dict[str, Any] = {"saved": saved, "new": saved.with_name("new")}
    code, out, err = run(capsys, *(argument.format(**names) for argument in arguments))
    assert code == 2 and out == ""
    assert words.format(**names) in " ".join(err.replace("│", " ").split()), err
    if not err.startswith("Usage"):
        assert err.count("\n") == 1 and err.startswith("sottovoce: ")
    assert not saved.with_name("new").exists()


BROKEN: dict[str, Any] = {
    "truncated": (lambda f: (f / "model.safetensors").write_bytes(b"x" * 100), "cut off or damaged"),
    "structure": (
        lambda f: (f / "config.json").write_text(
            (f / "config.json").read_text().replace("{", '{"sottovoce": {"version": 1, "heads": {"1": "0"}},', 1)
        ),
        "config.json",
    ),
    "layers": (
        lambda f: (f / "config.json").write_text(
            (f / "config.json").read_text().replace('"num_hidden_layers": 4', '"num_hidden_layers": 5')
        ),
        "would be random",
    ),
    "pickle": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickle"),
}


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_faults_of_a_folder(capsys: pytest.CaptureFixture[str], saved: Path, fault: str) -> None:
    break_it, words = BROKEN[fault]
    break_it(saved)
    target = saved.with_name("new")
    code, out, err = run(capsys, "compress", str(saved), "--step", "drop_layers:keep=1", "-o", str(target))
    assert code == 2 and out == "" and err.count("\n") == 1 and words in err, err
    assert not target.exists() and sorted(path.name for path in saved.parent.iterdir()) == [saved.name]


DEMO: dict[str, dict[str, Any]] = {"short": {"speech": "espeak:0.1", "steps": 10}, "whole": {}}


@pytest.mark.parametrize("length", ["short", pytest.param("whole", marks=pytest.mark.slow)])
def test_demo(length: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run_demo", partial(demo.run_demo, **DEMO[length]))
    code, out, _ = run(capsys, "demo", "-o", str(tmp_path / "demo"))
    assert code == 0 and "12 layers" in out and "of the parameters" in " ".join(out.split())
    assert len(sv.Anatomy(sv.load(tmp_path / "demo" / "small-hubert-6-layers")).layers) == 6


def test_irregular_folders_have_costs_too(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    sv.save(edited("wavlm", "everything", head="ForSequenceClassification"), folder)
    code, out, _ = run(capsys, "cost", str(folder), "--seconds", "1", "--repeats", "1")
    assert code == 0 and "head" in out
