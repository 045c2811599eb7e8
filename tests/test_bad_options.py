"""Recipes, options and numbers that nobody can use: each is refused in one sentence, at once, and takes no memory."""

import errno
import inspect
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny
from zygote import Zygote

import sottovoce as sv
from sottovoce.errors import SottovoceError, explain_system_error, unknown
from sottovoce.files import load_yaml
from sottovoce.measurement import Measurement
from sottovoce.options import options_of
from sottovoce.recipe import Recipe
from sottovoce.registry import Entry, check_options
from sottovoce.training.settings import Training

TENFOLD = "".join(
    f"{new}: &{new} [{','.join(10 * [f'*{old}'])}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMB = f"a: &a [{','.join('0123456789')}]\n{TENFOLD}"
MERGES = "a: &a {" + ", ".join(f"k{i}: {i}" for i in range(50)) + "}\nb: {<<: [" + ", ".join(5000 * ["*a"]) + "]}"
CHAIN = "a0: &a0 []\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(100))
YAMLS = {
    "aliases that multiply": (BOMB, "line 6: more than 200,000 values, aliases written out; write fewer."),
    "merges that multiply": (MERGES, "line 2: more than 200,000 values, aliases written out; write fewer."),
    "aliases that deepen": (CHAIN, "line 65: nested more than 64 deep, aliases written out."),
    "an alias in itself": ("b: 1\na: &a [*a]", "line 2: an alias inside the value that it names."),
    "an alias in its own key": ("&a {b: *a}", "line 1: an alias inside the value that it names."),
    "a merge of itself": ("&a\n<<: *a\nb: 1", "line 1: an alias inside the value that it names."),
    "60 MB of text": ("model: " + "x" * (60 << 20), "has 62,914,567 characters, but at most 131,072 are read"),
    "60 MB of brackets": ("[" * (60 << 20), "has 62,914,560 characters, but at most 131,072 are read"),
    "many values": ("[" + "1," * 60_000 + "]", "line 1: more than 12,000 values; write fewer."),
    "a key very often": ("a: b\n" * 20_000, "line 6000: more than 12,000 values; write fewer."),
    "brackets": ("[" * 60_000, "line 1: nested more than 64 deep."),
    "dashes": ("- " * 60_000, "line 1: nested more than 64 deep."),
    "5000 digits": ("a: 1\nseed: " + "9" * 5000, "line 2: a number of 5000 characters."),
    "4000 digits": ("seed: " + "9" * 4000, "line 1: a number of 4000 characters."),
    "many bits": ("seed: 0b" + "1" * 100_000, "line 1: a number of 100002 characters."),
    "times of day": ("a: " + "59:" * 5000 + "59.5", "line 1: a number of 15004 characters."),
    "no digits": ("a: 0x_", "cannot be read as YAML: there is a value in it that is no number."),
    "a Python object": ("a: 1\nb: !!python/name:os.system", "line 2: a value with the tag '!!python/name:os.system'"),
    "bytes": ("a: !!binary aGk=", "line 1: a value with the tag '!!binary'; only plain values are read."),
    "a date": ("a: !!timestamp 2001-01-01", "line 1: a value with the tag '!!timestamp'"),
    "a set": ("a: !!set {x, y}", "line 1: a value with the tag '!!set'"),
    "an ordered mapping": ("a: !!omap [x: 1]", "line 1: a value with the tag '!!omap'"),
    "a tag of its own": ("a: !x 1", "line 1: a value with the tag '!x'"),
    "a long tag": ("a: !" + "x" * 100_000 + " 1", "line 1: a value with the tag '!xxx"),
    "a tag that does not fit": ("a: !!float x", "line 1: 'x' has the tag !!float, but is none."),
    "a merge as a value": ("a: <<", "line 1: '<<' is no value, but a key."),
    "a list as a key": ("? [1]\n: 2", "line 1: a key that is no single word."),
    "a null character": ("a: \0", "line 1: a character that YAML does not allow."),
    "a letter that moves the cursor": ("a: \x1b", "line 1: a character that YAML does not allow."),
    "a lone surrogate": ("a: \ud800", "line 1: a character that YAML does not allow."),
    "a lone surrogate, written": ('b: 1\na: "\\ud800"', "line 2: a lone surrogate, which is no letter."),
    "two documents": ("a: 1\n---\nb: 2", "line 2: expected a single document in the stream"),
    "sixtieths": ("a: 1\nseed: 1:30", "line 2: '1:30' is a number of sixtieths in YAML; put it in quotes."),
    "an alias of nothing": ("a: *" + "b" * 10_000, "line 1: found undefined alias"),
}


def peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) >> 10 if found else 0


@pytest.mark.parametrize("kind", YAMLS)
def test_yaml_that_nobody_can_use_is_a_short_sentence_at_once(kind: str) -> None:
    text, message = YAMLS[kind]
    before, began = peak(), time.process_time()
    with pytest.raises(SottovoceError) as caught:
        load_yaml(text, name="r.yaml")
    assert time.process_time() - began < 3, "1 s, on a machine that does nothing else"
    assert peak() - before < 200
    assert str(caught.value).startswith("r.yaml") and message in str(caught.value)
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_yaml_that_is_unusual_is_read() -> None:
    assert load_yaml("a: =\nb: ''\nc: 08\nd: 1_000") == {"a": "=", "b": "", "c": "08", "d": 1000}
    assert load_yaml("!!float 3") == 3.0
    assert load_yaml("!!str 3") == "3"
    assert load_yaml("[" * 64 + "]" * 64), "as deep as JSON"
    assert load_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}")["b"] == {"x": 1, "y": 2}


def test_a_recipe_that_is_written_can_be_read() -> None:
    most = Recipe("a", vary={"seed": list(range(10_000))})
    assert len(Recipe.from_yaml(most.to_yaml()).points()) == 10_000
    with pytest.raises(SottovoceError, match="the recipe is too long to be read again: at most 12,000 values"):
        Recipe("a", steps=(("m", {"layers": list(range(20_000))}),)).to_yaml()


def test_recipe_files_that_are_none(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_text("#" * 600_000)
    folder: Any = tmp_path / "folder.yaml"
    folder.mkdir()
    for path, message in ((large, "has 600000 bytes, more than the recipe can have (524288)"), (folder, "is a folder")):
        with pytest.raises(SottovoceError, match=re.escape(message)):
            Recipe.from_yaml(path)


LONG = 100_000 * "x"
RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)
RECIPES: dict[str, tuple[dict[str, Any], str]] = {
    "a grid": (
        {"steps": ["m"], "vary": {f"steps.0.o{number}": list(range(100)) for number in range(5)}},
        "vary asks for 10000000000 points, but at most 10000 can be; list fewer.",
    ),
    "a grid of more points than a number has digits": (
        {"steps": ["m"], "vary": {f"steps.0.o{number}": [0, 1] for number in range(20_000)}},
        "vary asks for a whole number of 20001 bits points, but at most 10000 can be",
    ),
    "a grid of many steps": (
        {"steps": 1000 * ["m"], "vary": {"seed": list(range(10_000))}},
        "vary asks for 10000 points with 10000000 steps and measures in all, but at most 100000 are possible",
    ),
    "many steps": ({"steps": 2000 * ["m"]}, "steps has 2,000 items, but at most 1,000 are possible."),
    "a seed below 0": ({"seed": -1}, "recipe: seed=-1, but an int from 0 to 4294967295 is wanted."),
    "a seed of 64 bits": ({"seed": 2**64}, "seed=18446744073709551616, but an int from 0 to 4294967295"),
    "a seed that is true": ({"seed": True}, "seed=True, but an int from 0 to 4294967295 is wanted."),
    "a seed with a half": ({"seed": 1.5}, "seed=1.5, but an int from 0 to 4294967295 is wanted."),
    "a seed of 5000 digits": ({"seed": 10**5000}, "seed=a whole number of 16610 bits, but an int from 0"),
    "seeds": ({"vary": {"seed": [0, -1]}}, "vary: seed: recipe: seed=-1, but an int from 0 to 4294967295"),
    "a long key": ({LONG: 1}, "recipe has no key 'xxx"),
    "a long name": ({"steps": [{LONG: 3}]}, "has 3, but {option: value} is wanted."),
    "long names": ({"steps": [1000 * [LONG]]}, "recipe: item 1 of steps is ['xxx"),
    "a long option": ({"steps": [{"m": LONG}]}, "recipe: item 1 of steps (m) has 'xxx"),
    "a long key of vary": ({"vary": {LONG: [1]}}, "vary has no key 'xxx"),
    "a place of 5000 digits": ({"steps": ["m"], "vary": {f"steps.{'9' * 5000}.x": [1]}}, "but the recipe has 1 steps"),
    "an option of 5000 digits": ({"steps": [{"m": {"a": 10**5000}}]}, "but a number has thousands of digits, or"),
    "an option of bytes": ({"steps": [{"m": {"a": b"x"}}]}, "null and lists fit here, but something else came."),
    "a list in itself": ({"steps": [{"m": {"a": RECURSIVE}}]}, "or a list holds itself."),
    "steps in themselves": ({"steps": RECURSIVE}, "recipe: item 1 of steps is [[[["),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_recipes_that_nobody_can_use_are_short_sentences_at_once(kind: str) -> None:
    change, message = RECIPES[kind]
    began = time.process_time()
    with pytest.raises(SottovoceError) as caught:
        Recipe.from_dict({"model": "a", **change})
    assert time.process_time() - began < 3
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_unknown_names_are_cut() -> None:
    told = str(unknown("method", LONG, [f"{LONG}{number}" for number in range(1000)]))
    assert told.startswith("unknown method 'xxx") and len(told) < 700
    assert "Known: n0, n1, n10" in (told := str(unknown("method", "f", [f"n{number}" for number in range(1000)])))
    assert told.endswith(", and more.")


NAN, INFINITE = math.nan, math.inf
# What each method and measure has of these names, and values that none of them can use.
NUMBERS: dict[str, list[Any]] = {
    "seed": [-1, 2**32, 10**20],
    "limit": [0, -1, 10**15],
    "batch": [0, -1, 10**9],
    "lr": [NAN, INFINITE, -1.0, 1e300],
    "weight_decay": [NAN, INFINITE, -1.0, 1e300],
    "temperature": [NAN, -1.0, 1e300],
    "dropout": [NAN, -0.1, 1.5],
    "seconds": [NAN, INFINITE, -1.0, 1e300],
    "validate_every": [0, -1, 10**15],
    "probe_every": [0, -1, 10**15],
    "patience": [0, -1, 10**15],
    "batch_seconds": [NAN, INFINITE],
    "share": [NAN, INFINITE],
    "save_seconds": [NAN, INFINITE],
    "clip": [NAN, INFINITE],
    "speeds": [[NAN], [1.0, INFINITE], 200_000 * [1.0]],
    "layers": [[2**63], 200_000 * [1]],
    "freeze": [["\0"], 200_000 * ["head"], ["x" * 20_000]],
    "lm": ["\0", "x" * 20_000],
    "task": ["\0", "x" * 20_000],
}
# What a method must be given.
NEEDED: dict[str, dict[str, Any]] = {
    "finetune": {"task": "keywords"},
    "prune_jointly": {"target": "macs:-40%"},
    "shallow": {"layers": 2},
}


def places_of(name: str) -> Iterator[tuple[Entry, str]]:
    """Every method and measure that has an option of a name, with the group that it is in."""
    for entry in (*sv.METHODS.values(), *sv.MEASURES.values()):
        for option in options_of(inspect.unwrap(entry.function)).values():
            if option.name == name:
                yield entry, ""
            if name in option.fields:
                yield entry, option.name


@pytest.mark.parametrize("name", NUMBERS)
def test_no_option_of_this_name_takes_what_nobody_can_use(name: str) -> None:
    places = list(places_of(name))
    assert places
    for entry, group in places:
        for value in NUMBERS[name]:
            given = {group: {name: value}} if group else {name: value}
            with pytest.raises(SottovoceError) as caught:
                check_options(entry, NEEDED.get(entry.name, {}) | given)
            told = str(caught.value)
            where = rf"{group}\.{name}" if group else name
            assert re.match(rf"{entry.name}: {where}=.+, but .+ (wanted|possible)\.$", told), told
            assert len(told) < 400


def test_options_at_the_end_of_their_range_are_taken() -> None:
    assert check_options(sv.METHODS["low_rank"], {"seed": 2**32 - 1}) == {"seed": 2**32 - 1}
    taken = check_options(sv.METHODS["finetune"], {"task": "keywords", "train": {"lr": 1}})
    assert taken == {"task": "keywords", "train": Training(lr=1)}


@pytest.mark.parametrize("model", [None, "facebook/hubert-base-ls960", 3, 0.5, Path("model")])
def test_a_model_that_is_none_is_refused(model: Any) -> None:
    for entry in (sv.METHODS["drop_layers"], sv.MEASURES["size"]):
        with pytest.raises(SottovoceError, match=rf"{entry.name}: the model is .+, but a model is wanted: sv.load"):
            entry(model)


@pytest.mark.parametrize("data", [3, "data", b"", {"a": 1}, [1], [None], object()])
def test_data_that_is_none_is_refused(data: Any) -> None:
    for entry in (sv.METHODS["drop_layers"], sv.MEASURES["size"]):
        with pytest.raises(SottovoceError, match="the data is .+, but a list of utterances is wanted"):
            entry(tiny("hubert"), data, **({"keep": 2} if entry.kind == "method" else {}))


TRAININGS: list[tuple[dict[str, Any], str]] = [
    ({"steps": 0}, "steps=0, but a whole number from 1 to"),
    ({"steps": 10**15}, "steps=1000000000000000, but a whole number from 1 to"),
    ({"seed": -1}, "seed=-1, but a whole number from 0 to 4294967295"),
    ({"seed": 2**32}, "seed=4294967296, but a whole number from 0 to 4294967295"),
    ({"lr": NAN}, "lr=nan, but a finite rate above 0"),
    ({"lr": 0.0}, "lr=0.0, but a finite rate above 0"),
    ({"warmup": NAN}, "warmup=nan, but a share"),
    ({"warmup": 1.1}, "warmup=1.1, but a share"),
    ({"weight_decay": -1.0}, "weight_decay=-1.0, but a number of at least 0"),
    ({"clip": NAN}, "clip=nan, but a norm above 0"),
    ({"save_seconds": NAN}, "save_seconds=nan, but a time of at least 0"),
    ({"save_seconds": -1.0}, "save_seconds=-1.0, but a time of at least 0"),
    ({"eps": 0.0}, "and eps=0.0, but two numbers"),
    ({"eps": NAN}, "and eps=nan, but two numbers"),
    ({"betas": (0.9, 1.0)}, "betas=(0.9, 1.0) and"),
    ({"betas": (0.9,)}, "betas=(0.9,) and"),
    ({"patience": 0, "validate_every": 1}, "patience=0, but a whole number from 1"),
    ({"optimizer": "sgd"}, "unknown optimizer 'sgd'"),
]


@pytest.mark.parametrize(("wrong", "message"), TRAININGS, ids=str)
def test_settings_that_cannot_train_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SottovoceError, match=re.escape(message)):
        Training(**wrong)


@pytest.mark.parametrize("classes", [0, -1])
def test_euclidean_convexity_of_no_classes_is_refused(classes: int) -> None:
    with pytest.raises(SottovoceError, match=f"euclidean_convexity: classes={classes}, but at least 1, or none"):
        sv.MEASURES["euclidean_convexity"](tiny("hubert"), None, classes=classes)


SYSTEM: list[tuple[BaseException, str]] = [
    (OSError(errno.EDQUOT, "Disk quota exceeded", "a.bin"), "'a.bin': Disk quota exceeded; free some of your quota"),
    (OSError(errno.EIO, "Input/output error"), "the system refused: Input/output error; mend that and start again."),
    (OSError(errno.ESTALE, "Stale file handle"), "Stale file handle; the network disk has changed; mount it again"),
    (OSError(errno.EFBIG, "File too large"), "File too large; files of this size are not allowed here"),
    (OSError(errno.EMFILE, "Too many open files"), "raise the limit (ulimit -n)."),
    (OSError("no number"), "the system refused: no number; mend that and start again."),
    (OSError(), "the system refused: OSError; mend that and start again."),
    (MemoryError(), "the memory was not enough (no more of it); give less at a time, or a smaller model."),
    (torch.OutOfMemoryError("CUDA out of memory."), "the memory was not enough (CUDA out of memory); give less"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "the memory was not enough (DefaultCPU"),
    (RuntimeError("DefaultCPUAllocator: not enough memory: 9"), "the memory was not enough (DefaultCPUAllocator"),
]


@pytest.mark.parametrize(("error", "message"), SYSTEM, ids=repr)
def test_what_the_system_refuses_is_a_sentence(error: BaseException, message: str) -> None:
    told = explain_system_error(error)
    assert told is not None and message in told
    assert told.endswith(".") and told.isprintable()


@pytest.mark.parametrize("error", [KeyError("out of memory"), RuntimeError("shapes"), TypeError("3"), SystemExit(2)])
def test_what_is_no_fault_of_the_system_is_not_explained(error: BaseException) -> None:
    assert explain_system_error(error) is None


LINES: list[tuple[dict[str, Any], str]] = [
    ({"value": "3"}, "its value is '3'"),
    ({"value": True}, "its value is True"),
    ({"value": None}, "its value is None"),
    ({"measure": 3}, "its measure is 3"),
    ({"metric": []}, "its metric is []"),
    ({"where": "layer"}, "its where is 'layer'"),
    ({"where": [[1]]}, "its where is [[1]]"),
    ({"where": {"a": [1]}}, "its where is {'a': [1]}"),
    ({"where": {"a": True}}, "its where is {'a': True}"),
    ({"where": {"a": NAN}}, "its where is {'a': nan}"),
    ({"where": [NAN]}, "its where is [nan]"),
    ({"where": None}, "its where is None"),
    ({"better": "more"}, "its better is 'more'"),
    ({"better": []}, "its better is []"),
    ({"n": -1}, "its n is -1"),
    ({"n": 1.5}, "its n is 1.5"),
    ({"error": "x"}, "its error is 'x'"),
    ({"version": "1"}, "its version is '1'"),
    ({"unit": 3}, "its unit is 3"),
]


@pytest.mark.parametrize(("change", "message"), LINES, ids=str)
def test_a_line_that_no_measure_wrote_names_its_field(change: dict[str, Any], message: str) -> None:
    record = {"measure": "size", "metric": "bytes", "value": 3, **change}
    with pytest.raises(SottovoceError, match=re.escape(f"{message}, which no measure writes")):
        Measurement.from_json(json.dumps(record))


def test_lines_of_measurements_are_whole() -> None:
    whole = {"measure": "size", "metric": "bytes", "value": 3}
    for name in whole:
        with pytest.raises(SottovoceError, match=f"it has no {name}"):
            Measurement.from_json(json.dumps({key: value for key, value in whole.items() if key != name}))
    for line in ("[]", "3", "{", "", '{"value": ' + "9" * 5000 + "}"):
        with pytest.raises(SottovoceError, match="the line (is not JSON|holds)"):
            Measurement.from_json(line)
    assert math.isnan(Measurement.from_json(json.dumps({**whole, "value": NAN})).value), "a score may be none"
    assert Measurement.from_json(json.dumps({**whole, "new": 1})) == Measurement("size", "bytes", 3)


LETTERS = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
COMMAND = [sys.executable, "-m", "sottovoce"]


# In one process: what needs torch imports it for seconds.
TABLES = """
from sottovoce.cli import main
for word in ("families", "tasks"):
    try:
        main([word])
    except SystemExit as end:
        assert not end.code, (word, end.code)
"""
CLOSED = """
import os, sys
from sottovoce.start import main
read, write = os.pipe()
os.close(read)
os.dup2(write, 1)
main()
"""


def test_the_command_line_prints_where_letters_are_missing() -> None:
    for command in ([*COMMAND, "measures", "--json"], [*COMMAND, "methods"], [sys.executable, "-c", TABLES]):
        done = subprocess.run(command, env=LETTERS, capture_output=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, b"") and done.stdout.isascii(), command
    assert b"hubert" in done.stdout and b"keywords" in done.stdout


def test_the_command_line_prints_into_closed_pipes(zygote: Zygote, tmp_path: Path) -> None:
    for words in (["measures", "--json"], ["methods"]):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as closed:
            gone = subprocess.run([*COMMAND, *words], stdout=closed, stderr=-1, timeout=120, check=False)
        assert (gone.returncode, gone.stderr) == (0, b""), words
    assert [zygote.run([word], cwd=tmp_path, python=CLOSED) for word in ("families", "tasks")] == ["", ""]
