"""Faults that a run would meet hours later are met before its first update."""

import copy
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import tiny
from speech import toy_folder, toys
from test_corpora import LAYOUTS
from test_recipes import RECIPES, points, shaped

import sottovoce as sv
from sottovoce import preflight
from sottovoce.cli import main
from sottovoce.data.sources import parts_of, read_data
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.models.widths import widths_of
from sottovoce.names import RANDOM
from sottovoce.preflight import check_run, shape_of
from sottovoce.recipe import Recipe
from sottovoce.runs import Run

TOY = toys(24, 6, 6)
MADE = ("speech-mini", "espeak")  # toys stand for these: labels of every task, and phones


@cache
def published(corpus: str, folder: Path) -> list[Utterance]:
    """A few recordings of a corpus in its authors' layout, without their lengths."""
    LAYOUTS[corpus][0](folder / corpus)
    found = read_data(f"{corpus}@{folder / corpus}")
    # Of some corpora the layouts here have too few recordings for every class to be in every split.
    known = sorted({u.label for u in found if u.split == "train" and u.label is not None})
    found = [u if u.label is None or u.label in known else replace(u, label=known[0]) for u in found]
    more = [replace(u, id=f"{u.id}-2", label="another") for u in found if u.label is not None]
    return [*found, *more] if len(known) == 1 else found


def reader(folder: Path) -> Any:
    def read(name: str) -> list[Utterance]:
        found: list[Utterance] = []
        for part in parts_of(name):
            corpus, _, piece = part.partition(":")
            known = TOY if corpus in MADE else published(corpus, folder)
            whole = {"train-clean-100": "train", "dev-clean": "dev", "test-clean": "test"}
            found += [u for u in known if corpus in MADE or not piece or u.split == whole.get(piece, u.split)]
        return list({u.id: u for u in found}.values())

    return read


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpora")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_passes(name: str, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own shapes, options, grids, and corpora in the layout of their authors."""
    monkeypatch.setattr(preflight, "shape_of", lambda model: shape_of(model) if RANDOM in model else shaped_copy(model))
    for point in points(name):
        check_run(point, tmp_path, methods=sv.METHODS, measures=sv.MEASURES, read=reader(corpora))


def shaped_copy(model: str) -> Any:
    return copy.deepcopy(shaped(model))


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "heads that an earlier step took": (
        {"steps": [{"prune_heads": {"keep": 2}}, {"prune_heads": {"keep": 3}}]},
        r"step 2 \(prune_heads\): keep=3, but this model's layers have up to 2 heads",
    ),
    "layers that an earlier step took": (
        {"steps": [{"drop_layers": {"keep": 2}}, {"share_layers": {"groups": 3}}]},
        r"step 2 \(share_layers\): groups=3, but a stack of 2 layers",
    ),
    "a depth that a student does not have": (
        {"steps": [{"distill": {"student": {"layers": 2}}}, {"shallow": {"layers": 3}}]},
        r"step 2 \(shallow\): keep=3, but this encoder has 2 layers",
    ),
    "a cut behind int8": (
        {"steps": ["quantize", {"prune_heads": {"keep": 1}}]},
        r"step 2 \(prune_heads\): .* quantised to int8",
    ),
    "a cut behind a mimic": (
        {"steps": [{"mimic": {"shape": {"width": 8}}}, {"prune_ffn": {"keep": 8}}]},
        r"step 2 \(prune_ffn\): ",
    ),
    "a target out of reach": (
        {"steps": [{"drop_layers": {"keep": 3}}, {"prune_jointly": {"target": "macs:-99%", "units": ["heads"]}}]},
        r"step 2 \(prune_jointly\): target=macs:-99% cannot be met",
    ),
    "a task without a training split": (
        {"steps": [{"finetune": {"task": "asr"}}], "data": "unlabelled"},
        r"step 1 \(finetune\): asr: the train split has no utterance with",
    ),
    "a measure without its labels": (
        {"measures": ["size", {"speakers": {"mode": "probe"}}], "data": "unlabelled"},
        r"measure 2 \(speakers\): speakers: the test split has no utterance with",
    ),
    "a concept without labels": (
        {"measures": [{"convexity": {"of": ["keywords"]}}, {"convexity": {"of": ["phones"], "data": "unlabelled"}}]},
        r"measure 2 \(convexity\): convexity of phones: there is no utterance with phones",
    ),
    "labels that the training split lacks": (
        {"steps": [{"finetune": {"task": "keywords"}}], "data": "two words to learn"},
        r"step 1 \(finetune\): keywords: 1 of the labels of the dev split are not known",
    ),
    "a measure of other data without a test split": (
        {"measures": [{"keywords": {"mode": "head", "data": "train alone"}}]},
        r"measure 1 \(keywords\): keywords: the test split has no utterance with",
    ),
    "states that no disk holds": (
        {"measures": [{"phones": {"mode": "probe", "train": {"states": "kept"}}}], "data": "for years"},
        r"measure 1 \(phones\): its probe is to keep .* GB of states, and .* GB are free",
    ),
    "healing of other rounds than there are": (
        {
            "steps": [
                {"drop_layers": {"keep": 3}},
                {"prune_heads": {"drop": 2, "rounds": 2, "heal": {"steps": [9, 9, 9]}}},
            ]
        },
        r"step 2 \(prune_heads\): heal.steps has 3 numbers, but there are 2 rounds",
    ),
    "an order that no stack holds": (
        {"steps": [{"pretrain": {"stack": {"depth": "uniform:2..9"}}}]},
        r"step 1 \(pretrain\): depth=uniform:2..9, but this stack holds 4 steps",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_met_before_work(fault: str, tmp_path: Path) -> None:
    sv.save(tiny("hubert"), tmp_path / "model")
    record, words = FAULTS[fault]
    years = [Utterance(u.id, u.audio, 1e9, phones=u.phones, split=u.split) for u in TOY]
    speech = {
        "toys": TOY,
        "unlabelled": [Utterance(u.id, u.audio, u.seconds, split=u.split) for u in TOY],
        "two words to learn": [u for u in TOY if u.split != "train" or u.label != "high"],
        "train alone": [u for u in TOY if u.split == "train"],
        "for years": years,
    }
    recipe = Recipe.from_dict({"model": str(tmp_path / "model"), "data": "toys", **record})
    begin = time.perf_counter()
    with pytest.raises(SottovoceError, match=words):
        check_run(recipe, tmp_path, methods=sv.METHODS, measures=sv.MEASURES, read=speech.__getitem__)
    assert time.perf_counter() - begin < 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"], "nothing was written"


def test_checkpoints_that_no_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and two moments of one training, twice; and of every round of healing the weights."""
    sv.save(tiny("hubert"), tmp_path / "model")
    count = sum(parameter.numel() for parameter in tiny("hubert").parameters())
    step = {"prune_heads": {"drop": 2, "rounds": 2, "heal": {"steps": 1}}}
    recipe = Recipe.from_dict({"model": str(tmp_path / "model"), "data": "toys", "steps": [step]})
    asked: dict[str, Any] = {"methods": sv.METHODS, "measures": sv.MEASURES, "read": lambda name: TOY}
    disk = "sottovoce.files.paths.shutil.disk_usage"
    for free, refused in ((36 * count, False), (35 * count, True)):
        monkeypatch.setattr(disk, lambda place, free=free: SimpleNamespace(free=free))
        with pytest.raises(SottovoceError, match="its checkpoints take") if refused else nullcontext():
            check_run(recipe, tmp_path, **asked)


def test_a_run_is_refused_before_its_first_step(tmp_path: Path) -> None:
    sv.save(tiny("hubert"), tmp_path / "model")
    record: dict[str, Any] = {
        "model": str(tmp_path / "model"),
        "steps": [{"drop_layers": {"keep": 2}}, {"drop_layers": {"keep": 3}}],
    }
    with pytest.raises(SottovoceError, match=r"step 2 \(drop_layers\): keep=3"):
        sv.run(record, tmp_path / "runs", log=lambda text: None)
    assert not (tmp_path / "runs").exists()


def test_outlines_are_the_shapes_that_methods_leave() -> None:
    """Of every method that says what it leaves, with options that are known beforehand."""
    asked: dict[str, dict[str, Any]] = {
        "drop_layers": {"keep": [0, 2]},
        "prune_heads": {"drop": 1},
        "prune_ffn": {"keep": 20, "round_to": 8},
        "share_layers": {"groups": 2, "own": {"norms": True, "rank": 2}},
        "shallow": {"layers": 3},
        "quantize": {},
        "prune_weights": {"sparsity": 0.5},
        "mimic": {"shape": {"width": 8}, "train": None, "task_train": None},
    }
    for name, options in asked.items():
        model = tiny("hubert")
        made = sv.METHODS[name](model, None, **options)
        entry, shape = sv.METHODS[name], tiny("hubert")
        assert entry.outline is not None and entry.outline(shape, **sv.registry.check_options(entry, options))
        assert sv.size(made)[0].value == sv.size(shape)[0].value, name
        assert widths_of(made) == replace(widths_of(shape), config=widths_of(made).config), name


def test_places_of_a_recipe_are_set_data_is_limited_and_a_dry_run_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy_folder(tmp_path / "speech")
    sv.save(tiny("hubert"), tmp_path / "model")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: {tmp_path / 'model'}\ndata: {tmp_path / 'speech'}\n"
        "steps:\n- finetune: {task: keywords, train: {steps: 500, lr: 1.0e-3}, freeze: []}\n"
        "measures:\n- keywords: {mode: head}\nvary:\n  seed: [0, 1]\n"
    )
    command = ["compress", "--recipe", str(recipe), "-o", str(tmp_path / "runs")]
    more = ["--set", "steps.finetune.train.steps=2", "--set", "steps.0.batch=4", "--limit", "12"]
    with pytest.raises(SystemExit) as caught:
        main([*command, *more, "--dry-run"])
    told = capsys.readouterr()
    assert caught.value.code == 0, told.err
    assert not (tmp_path / "runs").exists()
    assert "point 2 of 2" in told.err and "2 points, of which nothing was done" in told.err
    with pytest.raises(SystemExit) as caught:
        main([*command, *more])
    assert caught.value.code == 0
    capsys.readouterr()
    runs = [Run(path) for path in sorted((tmp_path / "runs").iterdir())]
    assert len(runs) == 2
    for run in runs:
        assert run.recipe.steps[0][1]["train"]["steps"] == 2 and run.recipe.steps[0][1]["batch"] == 4
        assert {row.n for row in run.measurements()} == {12}, "utterances of the test split"
    for wrong, words in (
        (["--set", "steps.0"], "a place and a value are wanted"),
        (["--set", "seed=3"], "'seed' is varied by this recipe"),
        (["--set", "steps.7.task=asr"], "the recipe has 1 steps"),
        (["--limit", "0"], "limit=0, but at least 1"),
    ):
        with pytest.raises(SystemExit) as caught:
            main([*command, *wrong])
        assert caught.value.code == 2 and words in " ".join(capsys.readouterr().err.split())
