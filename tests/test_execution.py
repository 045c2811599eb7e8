"""Recipes from Python: `sv.run` and `sv.measure` mean by a name what the command line means."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny
from speech import toy_folder

import sottovoce as sv
from sottovoce.cli import main
from sottovoce.data import batches
from sottovoce.data.sources import read_data
from sottovoce.errors import SottovoceError
from sottovoce.execution import Tools, execute, execute_all, run_stamps, steps_named
from sottovoce.files import working_in
from sottovoce.names import chosen, get_data, get_model, model_stamp, on_device
from sottovoce.runs import Run
from sottovoce.training import accelerated_on, best_device, loop


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    sv.save(tiny("hubert"), folder / "tiny")
    toy_folder(folder / "speech")
    return folder


@pytest.mark.parametrize("form", ["mapping", "text", "file", "recipe"])
def test_a_recipe_in_every_form_is_the_same_run(place: Path, tmp_path: Path, form: str) -> None:
    record: dict[str, Any] = {
        "model": str(place / "tiny"),
        "steps": [{"drop_layers": {"keep": 2}}],
        "measures": ["size"],
    }
    recipe = sv.Recipe.from_dict(record)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    forms: dict[str, Any] = {"mapping": record, "text": recipe.to_yaml(), "recipe": recipe}
    lines: list[str] = []
    (done,) = sv.run(forms.get(form, tmp_path / "recipe.yaml"), tmp_path / "runs", log=lines.append)
    assert done.finished and done.recipe == recipe
    assert done.folder.name == f"drop_layers-{recipe.hash(run_stamps([record['model']], {}))}"
    assert done.model is not None and sv.load(done.model).config.num_hidden_layers == 2
    assert done.measurements()[0].value == sv.size(sv.load(done.model))[0].value
    assert lines == [
        f"{done.folder.name}: step 1 of 1: drop_layers(keep=2)",
        f"{done.folder.name}: measure 1 of 1: size()",
    ]
    text = (done.model / "README.md").read_text()
    assert "drop_layers:" in text and "| parameters | " in text and str(place) not in text
    assert sv.run(recipe, tmp_path / "runs", log=lines.append) == [done]
    assert lines[-1] == f"{done.folder.name}: finished already, skipped"


def test_a_random_model_is_pretrained_by_a_recipe(place: Path, tmp_path: Path) -> None:
    """What was possible on the command line alone: a name that stands for random weights."""
    step = {"pretrain": {"units": {"clusters": 4}, "train": {"steps": 2}, "batch_seconds": 2.0}}
    recipe = {
        "model": "random:small-melhubert",
        "data": str(place / "speech"),
        "steps": [{"drop_layers": {"keep": 1}}, step],
    }
    (done,) = sv.run(recipe, tmp_path, log=lambda text: None)
    assert done.model is not None and (done.model / "units.safetensors").is_file()


def test_a_grid_is_as_many_runs_and_names_are_replaced(place: Path, tmp_path: Path) -> None:
    recipe = {
        "model": "nowhere",
        "steps": [{"drop_layers": {"keep": 1}}],
        "vary": {"steps.0.keep": [3, 2], "seed": [0, 1]},
    }
    runs = sv.run(recipe, tmp_path, model=str(place / "tiny"), log=lambda text: None)
    assert [(run.recipe.steps[0][1]["keep"], run.recipe.seed) for run in runs] == [(3, 0), (3, 1), (2, 0), (2, 1)]
    assert {run.recipe.model for run in runs} == {str(place / "tiny")}
    varied = {"model": "a", "vary": {"model": ["a", "b"]}, "measures": ["size"]}
    assert len(sv.run(varied, tmp_path, model=str(place / "tiny"), log=lambda text: None)) == 1


def test_a_fault_is_found_before_any_work(place: Path, tmp_path: Path) -> None:
    recipe = {"model": str(place / "tiny"), "measures": ["size", {"macs": {"second": 1}}]}
    with pytest.raises(
        SottovoceError, match=r"measure 2 \(macs\): macs has no option 'second'; did you mean 'seconds'"
    ):
        sv.run(recipe, tmp_path / "runs")
    with pytest.raises(SottovoceError, match="recipe needs the key 'model'"):
        sv.run({}, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_another_state_of_a_model_is_another_run(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    recipe = {"model": str(target), "measures": ["size"]}
    sv.save(tiny("hubert"), target)
    (first,) = sv.run(recipe, tmp_path / "runs", log=lambda text: None)
    sv.save(tiny("hubert", seed=1), target, overwrite=True)
    (second,) = sv.run(recipe, tmp_path / "runs", log=lambda text: None)
    assert first != second
    assert model_stamp("random:hubert") == "" != model_stamp(str(target))


def test_measuring_from_python_is_measuring_on_the_line(place: Path) -> None:
    model, data = get_model(str(place / "tiny")), get_data(str(place / "speech"))
    options = {"mode": "probe", "train": {"steps": 3}, "layer": 1}
    forms = [
        sv.measure(model, data, ["size,macs", "keywords:mode=probe,train.steps=3,layer=1"]),
        sv.measure(model, data, ["size", ("macs", {}), ("keywords", options)]),
        [*sv.size(model), *sv.macs(model), *sv.MEASURES["keywords"](model, data, **options)],
    ]
    assert forms[0] == forms[1] == forms[2]
    assert sv.measure(model) == sv.measure(model, None, "size,macs") == [*sv.size(model), *sv.macs(model)]
    assert steps_named("phones:layer=each") == [("phones", {"layer": "each"})]
    with pytest.raises(SottovoceError, match="unknown measure 'sise'; did you mean 'size'"):
        sv.measure(model, None, "sise")


def test_what_is_left_out_is_told(place: Path, tmp_path: Path) -> None:
    lines = (place / "speech" / "manifest.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    (key,) = [key for key, value in record.items() if str(value).endswith(".flac")]
    record |= {key: "gone.flac", "id": "gone"}
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join([json.dumps(record), *lines]) + "\n")
    told: list[str] = []
    known = get_data(f"{manifest}@{place / 'speech'}", skip_bad=True, tell=told.append)
    assert len(known) == len(lines) and "gone" not in {utterance.id for utterance in known}
    assert told[0] == f"1 left out as bad, {len(lines)} kept" and "gone.flac" in told[1]


def test_a_device_that_is_not_there(place: Path) -> None:
    model = get_model(str(place / "tiny"))
    assert on_device(model, None) is model and on_device(model, "cpu") is model
    for name in ("cuad", "meta", "vulkan"):
        with pytest.raises(SottovoceError, match=f"there is no device '{name}' here .*; give cpu, cuda or mps"):
            on_device(model, name)


def test_models_come_on_the_chosen_device_in_the_chosen_dtype(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = str(place / "tiny")
    plain = model_stamp(name)
    with chosen("cpu", "bfloat16"):
        assert get_model(name).dtype == torch.bfloat16 and best_device().type == "cpu"
        assert os.environ["ACCELERATE_USE_CPU"] == "true" and model_stamp(name) == f"{plain} bfloat16"
    assert "ACCELERATE_USE_CPU" not in os.environ and get_model(name).dtype == torch.float32
    with accelerated_on("meta"):  # any other device than the CPU, for what Accelerate makes of it
        assert best_device().type == "meta"
    assert best_device().type != "meta" and "ACCELERATE_TORCH_DEVICE" not in os.environ
    for given, says in (({"dtype": "int8"}, "unknown dtype 'int8'"), ({"device": "gpu"}, "no device 'gpu'")):
        with pytest.raises(SottovoceError, match=says), chosen(**{"device": None, **given}):
            pass
    with pytest.raises(SystemExit):
        main(["measure", name, "--measure", "size", "--dtype", "float16", "--device", "cpu", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    bytes_of = {row["metric"]: row["value"] for row in rows if not row.get("where")}
    assert bytes_of["bytes"] < 3 * bytes_of["parameters"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SottovoceError, match="several processes"), accelerated_on("cpu"):
        pass


def test_steps_and_measures_have_data_of_their_own(place: Path, tmp_path: Path) -> None:
    """Each is read once, decides the run's hash, and stands with the measure's rows."""
    other = tmp_path / "other"
    toy_folder(other)
    record: dict[str, Any] = {
        "model": str(place / "tiny"),
        "data": str(place / "speech"),
        "steps": [{"prune_heads": {"drop": 1, "by": "diagonality", "data": str(other)}}],
        "measures": [{"keywords": {"train": {"steps": 2}}}, {"keywords": {"train": {"steps": 2}, "data": str(other)}}],
    }
    recipe = sv.Recipe.from_dict(record)
    assert recipe.data_names() == [str(place / "speech"), str(other)]
    (done,) = sv.run(recipe, tmp_path / "runs", log=lambda text: None)
    rows = [row for row in done.measurements() if row.metric == "accuracy"]
    assert [row.where.get("data") for row in rows] == [None, str(other)]
    listed = (other / "manifest.jsonl").read_text().splitlines()
    (other / "manifest.jsonl").write_text("\n".join(listed[:-1]) + "\n")
    (again,) = sv.run(recipe, tmp_path / "runs", log=lambda text: None)
    assert again.folder != done.folder
    with pytest.raises(SottovoceError, match="there is no data 'nowhere'"):
        sv.run({**record, "steps": [{"drop_layers": {"keep": 1, "data": "nowhere"}}]}, tmp_path, log=lambda text: None)
    with pytest.raises(SottovoceError, match="data of size=3, but the name of data is wanted"):
        sv.run({**record, "measures": [{"size": {"data": 3}}]}, tmp_path, log=lambda text: None)
    assert steps_named(["keywords:mode=head,data=espeak:4"]) == [("keywords", {"mode": "head", "data": "espeak:4"})]
    assert sv.measure(get_model(str(place / "tiny")), None, [("size", {"data": str(other)})])[0].where["data"] == str(
        other
    )


def test_a_run_keeps_what_its_trainings_took(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each step that trained, over the process that was stopped and the one that went on."""
    tune: dict[str, Any] = {"task": "keywords", "train": {"steps": 6, "lr": 1e-3, "save_seconds": 0.0}, "batch": 6}
    cut = {"drop": 1, "by": "forward", "heal": {"steps": 2, "batch": 6}}
    steps: list[Any] = [{"drop_layers": {"keep": 3}}, {"finetune": tune}, {"drop_layers": {**cut, "drop": 2}}]
    recipe = sv.Recipe.from_dict({"model": str(place / "tiny"), "data": str(place / "speech"), "steps": steps})
    real, count = loop._Loop.step, 0

    def stopped(self: Any, batches: Any, items: Any) -> float:
        nonlocal count
        count += 1
        if count == 8:  # in the first of two trainings of the third step
            raise KeyboardInterrupt
        return real(self, batches, items)

    monkeypatch.setattr(loop._Loop, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        sv.run(recipe, tmp_path, log=lambda text: None)
    (folder,) = tmp_path.iterdir()
    (before,) = Run.open(folder).trainings
    assert dict(before.where) == {"step": 2, "method": "finetune"} and before.n == 6 and before.value > 0
    lines: list[str] = []
    (done,) = sv.run(recipe, tmp_path, log=lines.append)
    assert [(dict(row.where), row.n) for row in done.trainings] == [
        ({"step": 2, "method": "finetune"}, 6),
        ({"step": 3, "method": "drop_layers"}, 4),
    ]
    assert done.trainings[0] == before, "it was read, and not trained again"
    states = [json.loads(path.read_text()) for path in folder.rglob("state.json")]
    assert not states, "checkpoints are gone, the times are kept"
    assert any("drop_layers trained for " in line and "(4 updates)" in line for line in lines)
    assert "training" not in {row.measure for row in done.measurements()}, "these are alike in two runs of a recipe"
    command = ["compress", str(place / "tiny"), "--data", str(place / "speech"), "--json"]
    options = "task=keywords,train.steps=3,batch=6"
    with pytest.raises(SystemExit) as caught:
        main([*command, "--step", f"finetune:{options}", "-o", str(tmp_path / "tuned")])
    told = capsys.readouterr()
    assert caught.value.code == 0 and "finetune trained for " in told.err
    (row,) = [record for record in map(json.loads, told.out.splitlines()) if record["measure"] == "training"]
    assert row["model"] == "after" and row["n"] == 3 and row["value"] > 0 and row["unit"] == "s"
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    with pytest.raises(SystemExit):
        main(["compress", "--recipe", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "again")])
    assert ", trained for " in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [3, {"a": 1}, [3], [{"measure": "training"}]])
def test_a_record_of_trainings_that_no_run_writes(tmp_path: Path, wrong: object) -> None:
    run = Run.create(tmp_path, sv.Recipe("tiny"))
    assert run.trainings == []
    path = run.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "training": wrong}))
    with pytest.raises(SottovoceError, match="tells of its training what no run writes"):
        _ = run.trainings


def test_a_grid_goes_on_when_a_point_fails(place: Path, tmp_path: Path) -> None:
    """What fails only while it runs: the others are finished, and the same call tries the rest again."""
    broken = {"on": True}

    def load(name: str) -> Any:
        if broken["on"] and name.endswith("other"):
            raise RuntimeError("no memory left")
        return get_model(name)

    sv.save(tiny("hubert"), tmp_path / "other")
    recipe = sv.Recipe(
        str(place / "tiny"), measures=(("size", {}),), vary={"model": [str(tmp_path / "other"), str(place / "tiny")]}
    )
    lines: list[str] = []
    more: dict[str, Any] = {"tools": Tools(load=load), "log": lines.append}
    with pytest.raises(SottovoceError, match=r"1 of 2 points failed \(1\), the others are finished; .* no memory left"):
        execute_all(recipe.points(), tmp_path / "runs", **more)
    assert any("point 1 of 2 failed: no memory left" in line for line in lines)
    assert [Run(path).finished for path in sorted((tmp_path / "runs").iterdir())].count(True) == 1
    broken["on"] = False
    runs = execute_all(recipe.points(), tmp_path / "runs", **more)
    assert all(run.finished for run in runs) and len(runs) == 2


def test_measures_that_were_done_are_not_done_again(place: Path, tmp_path: Path) -> None:
    """A run that fails in its last measure goes on there."""
    counted: list[str] = []
    measures = sv.registry.Registry("measure")

    def first(model: Any, data: Any = None) -> list[sv.Measurement]:
        """The first measure."""
        counted.append("first")
        return [sv.Measurement("first", "answer", 42.0, where={"layer": 3})]

    def last(model: Any, data: Any = None) -> list[sv.Measurement]:
        """The last measure."""
        counted.append("last")
        if counted.count("last") == 1:
            raise SottovoceError("no light.")
        return [sv.Measurement("last", "answer", 43.0)]

    for function in (first, last):
        measures.add(sv.registry.Entry(function.__name__, "measure", function))
    recipe = sv.Recipe(str(place / "tiny"), measures=(("first", {}), ("last", {})))
    tools = Tools(measures=measures)
    with pytest.raises(SottovoceError, match="no light"):
        execute(recipe, tmp_path, tools=tools, log=lambda text: None)
    done = execute(recipe, tmp_path, tools=tools, log=lambda text: None)
    assert counted == ["first", "last", "last"]
    assert [(row.measure, row.value, dict(row.where)) for row in done.measurements()] == [
        ("first", 42.0, {"layer": 3}),
        ("last", 43.0, {}),
    ]
    assert not list(done.folder.rglob("rows.jsonl")), "tidied when the run is finished"


def test_steps_of_a_run_share_their_decoded_audio(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    real = batches.samples
    monkeypatch.setattr(batches, "samples", lambda u: (isinstance(u.audio, Path) and heard.append(u.id)) or real(u))
    record: dict[str, Any] = {
        "model": str(place / "tiny"),
        "data": str(place / "speech"),
        "steps": [
            {"finetune": {"task": "keywords", "train": {"steps": 2}, "batch": 4}},
            {"prune_heads": {"drop": 1, "heal": {"steps": 1}}},
            {"finetune": {"task": "phones", "train": {"steps": 2}, "batch": 4}},
        ],
    }
    kept: list[int] = []
    monkeypatch.setattr("sottovoce.execution.tidy", lambda work: kept.append(len([*work.rglob("rows.bin")])))
    sv.run(record, tmp_path / "runs", log=lambda text: None)
    assert len(heard) == len(set(heard)) and heard, "each recording is decoded once"
    assert kept == [1]
    alone = sv.run({**record, "steps": record["steps"][:1]}, tmp_path / "alone", log=lambda text: None)
    with working_in(tmp_path / "work"):
        tuned = sv.finetune(sv.load(place / "tiny"), read_data(str(place / "speech")), **record["steps"][0]["finetune"])
    assert alone[0].model is not None
    wanted = sv.load(alone[0].model).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in tuned.state_dict().items())
