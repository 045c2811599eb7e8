"""Recipes that are no YAML, no recipe, or ask for what is not there; texts of steps, measures and options."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cases import Case, Place

import sottovoce as sv
from sottovoce.files import load_yaml
from sottovoce.registry import Registry, describe, parse_step

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
ONE_STEP = "model: x\nsteps: [{drop_layers: {keep: 1}}]\n"
RECIPES: dict[str, str | bytes] = {
    "nothing": "",
    "a comment": "# model\n",
    "blanks": "   \n",
    "tabs": "\tmodel: hubert\n",
    "null": "null",
    "a text": "hubert",
    "a list": "[hubert]",
    "a number": "7",
    "two documents": "model: a\n---\nmodel: b\n",
    "no model": "steps: []\n",
    "JSON that is cut": '{"model": "hubert", "steps": [',
    "an unknown key": "model: x\nstesp: []\n",
    "a key twice": "model: x\nmodel: y\n",
    "a key of a list": "model: x\n? [a, b]\n: c\n",
    "a key of null": "model: x\nnull: 1\n",
    "a key of a number": "model: x\n1: 1\n",
    "not UTF-8": b"model: \xff\xfe\n",
    "UTF-16": "model: x\n".encode("utf-16"),
    "a null character": "model: 'a\0b'\n",
    "a lone surrogate": 'model: "\\ud800"\n',
    "letters that move the cursor": 'model: "\\e[2J"\nsteps: 1\n',
    "a bomb": BOMB + "model: x\nvary: {seed: [*i]}\n",
    "a bomb of merges": "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\n"
    + "c: {<<: ["
    + ", ".join(["*b"] * 500)
    + "]}\nmodel: x\n",
    "an alias of itself": "model: x\nsteps: &a [*a]\n",
    "an alias of itself in a mapping": "&a\nmodel: x\nvary: *a\n",
    "an unknown alias": "model: *nothing\n",
    "a thousand brackets": "model: " + "[" * 1000 + "]" * 1000,
    "a hundred thousand brackets": "model: " + "[" * 100_000,
    "a thousand indents": "\n".join(" " * n + f"a{n}:" for n in range(1000)),
    "a tag of Python": "model: !!python/object/apply:os.system ['true']\n",
    "a tag of a module": "model: !!python/module:os\n",
    "an unknown tag": "model: !thing x\n",
    "a tag that does not fit": "model: x\nseed: !!int nine\n",
    "a tag of bytes": "model: !!binary aGVsbG8=\n",
    "a tag of a set": "model: x\nsteps: !!set {a, b}\n",
    "a tag of pairs": "model: x\nsteps: !!omap [a: 1]\n",
    "a date": "model: 2024-01-01\nseed: 2024-01-01\n",
    "a number in base 60": "model: x\nseed: 190:20:30\n",
    "an octal number": "model: x\nseed: 0o17\n",
    "a number of 5000 digits": "model: x\nseed: " + "9" * 5000 + "\n",
    "a seed below zero": "model: x\nseed: -1\n",
    "a seed of 2^32": "model: x\nseed: 4294967296\n",
    "a seed of a fraction": "model: x\nseed: 1.5\n",
    "a seed of true": "model: x\nseed: true\n",
    "a seed of NaN": "model: x\nseed: .nan\n",
    "a seed of null": "model: x\nseed: null\n",
    "a model of null": "model: null\n",
    "a model of a number": "model: 7\n",
    "a model of blanks": "model: '  '\n",
    "a model of a list": "model: [a, b]\n",
    "data of a number": "model: x\ndata: 7\n",
    "data of a list": "model: x\ndata: [a]\n",
    "steps of a text": "model: x\nsteps: drop_layers\n",
    "steps of a mapping": "model: x\nsteps: {drop_layers: {keep: 1}}\n",
    "a step of a number": "model: x\nsteps: [7]\n",
    "a step of null": "model: x\nsteps: [null]\n",
    "a step of nothing": "model: x\nsteps: ['']\n",
    "a step of two names": "model: x\nsteps: [{drop_layers: {keep: 1}, low_rank: {rank: 2}}]\n",
    "a step of an empty mapping": "model: x\nsteps: [{}]\n",
    "a step in a step": "model: x\nsteps: [[drop_layers]]\n",
    "options of a list": "model: x\nsteps: [{drop_layers: [1, 2]}]\n",
    "options of a text": "model: x\nsteps: [{drop_layers: keep=1}]\n",
    "an option of a number": "model: x\nsteps: [{drop_layers: {1: 2}}]\n",
    "an option of null": "model: x\nsteps: [{drop_layers: {null: 2}}]\n",
    "an option twice": "model: x\nsteps: [{drop_layers: {keep: 1, keep: 2}}]\n",
    "an option of NaN": "model: x\nsteps: [{prune_weights: {sparsity: .nan, task: .nan}}]\n",
    "an option of a date": "model: x\nsteps: [{drop_layers: {keep: 2024-01-01}}]\n",
    "an option of bytes": "model: x\nsteps: [{drop_layers: {keep: !!binary aGVsbG8=}}]\n",
    "an option of infinity": "model: x\nsteps: [{drop_layers: {keep: .inf}}]\n",
    "an unknown step": "model: x\nsteps: [{drop_lairs: {keep: 1}}]\n",
    "an unknown option": "model: x\nsteps: [{drop_layers: {kepe: 1}}]\n",
    "an option of another type": "model: x\nsteps: [{drop_layers: {keep: nine}}]\n",
    "a step that is a measure": "model: x\nsteps: [size]\n",
    "a measure that is a step": "model: x\nmeasures: [drop_layers]\n",
    "an unknown measure": "model: x\nmeasures: [sise]\n",
    "a measure of a number": "model: x\nmeasures: [1.5]\n",
    "vary of a list": "model: x\nvary: [seed]\n",
    "vary of a text": "model: x\nvary: seed\n",
    "vary of no values": "model: x\nvary: {seed: []}\n",
    "vary of one value": "model: x\nvary: {seed: 1}\n",
    "vary of what is not there": "model: x\nvary: {steps.0.keep: [1]}\n",
    "vary of a step below zero": "model: x\nsteps: [{drop_layers: {keep: 1}}]\nvary: {steps.-1.keep: [1]}\n",
    "vary of a step of 5000 digits": ONE_STEP + "vary: {steps." + "9" * 5000 + ".keep: [1]}\n",
    "vary of digits that are no ASCII": "model: x\nsteps: [{drop_layers: {keep: 1}}]\nvary: {steps.٣.keep: [1]}\n",
    "vary of a step that is there twice": "model: x\nsteps: [{drop_layers: {keep: 2}}, {drop_layers: {keep: 1}}]\n"
    "vary: {steps.drop_layers.keep: [1]}\n",
    "vary of an option and its group": "model: x\nsteps: [{finetune: {task: keywords}}]\n"
    "vary: {steps.0.train: [{steps: 1}], steps.0.train.lr: [0.1]}\n",
    "vary of an unknown option of a group": "model: x\nsteps: [{finetune: {task: keywords}}]\n"
    "vary: {steps.0.train.step: [1]}\n",
    "vary of an option of what is no group": ONE_STEP + "vary: {steps.0.keep.more: [1]}\n",
    "a group of a number": "model: x\nsteps: [{finetune: {task: keywords, train: 5}}]\n",
    "a group of a list": "model: x\nsteps: [{finetune: {task: keywords, train: [5]}}]\n",
    "a group of null": "model: x\nsteps: [{finetune: {task: keywords, train: null}}]\n",
    "an option of a group twice": "model: x\nsteps: [{finetune: {task: keywords, train: {lr: 1, lr: 1}}}]\n",
    "an option of a group outside it": "model: x\nsteps: [{finetune: {task: keywords, steps: 1}}]\n",
    "an option of a group by its whole name": "model: x\nsteps: [{finetune: {task: keywords, train.steps: 1}}]\n",
    "a seed in a group": "model: x\nsteps: [{finetune: {task: keywords, train: {seed: 1}}}]\n",
    "vary of one option by two names": "model: x\nsteps: [{drop_layers: {keep: 1}}]\n"
    "vary: {steps.0.keep: [1], steps.drop_layers.keep: [1]}\n",
    "vary of steps as a whole": "model: x\nvary: {steps: [[]]}\n",
    "vary of vary": "model: x\nvary: {vary: [{}]}\n",
    "vary of a key of dots": "model: x\nvary: {...: [1]}\n",
    "vary of a key of a number": "model: x\nvary: {1: [1]}\n",
    "vary of a seed that is none": "model: x\nvary: {seed: [0, -1]}\n",
    "vary of a model that is none": "model: x\nvary: {model: [a, null]}\n",
    "vary of an option that does not fit": ONE_STEP + "vary: {steps.0.keep: [1, x]}\n",
    "vary of a grid of 10^12 points": "model: x\nsteps: [{low_rank: {rank: 2}}]\nvary:\n"
    + "".join(
        f"  {key}: [{', '.join(map(str, range(100)))}]\n"
        for key in ("seed", "steps.0.rank", "steps.0.limit", "steps.0.seed", "steps.0.round_to", "steps.0.ratio")
    ),
    "a key of 5000 letters": "model: x\n" + "y" * 5000 + ": 1\n",
    "a text of 5000 letters as a step": "model: x\nsteps: [" + "y" * 5000 + "]\n",
}
RECIPE_FINE = {
    "a bomb of merges": "",
    "a tag of bytes": "",
    "an octal number": "",
    "a date": "",
}


def recipe_cases() -> Iterator[Case]:
    """Every recipe, read and checked as `compress` does, and as text."""
    for kind, text in RECIPES.items():

        def make(place: Place, text: str | bytes = text) -> Callable[[], object]:
            place.write("recipe.yaml", text)
            return lambda: checked(Path("recipe.yaml"))

        def make_command(place: Place, text: str | bytes = text) -> list[str]:
            place.write("recipe.yaml", text)
            return ["compress", "--recipe", "recipe.yaml", "-o", "out"]

        yield Case(f"recipe/{kind}", make, RECIPE_FINE.get(kind, ""))
        yield Case(f"recipe of compress/{kind}", make_command, RECIPE_FINE.get(kind, ""), kept=("out",))
        if isinstance(text, str):

            def make_text(place: Place, text: str = text) -> Callable[[], object]:
                return lambda: checked(text)

            yield Case(f"recipe as text/{kind}", make_text, RECIPE_FINE.get(kind, ""))

    def make_yaml(place: Place) -> Callable[[], object]:
        return lambda: load_yaml(BOMB)

    yield Case("yaml/a bomb", make_yaml)


def checked(source: str | Path) -> None:
    """Read a recipe and check it against what there is; one that is right as a recipe has a model that is not there."""
    recipe = sv.Recipe.from_yaml(source)
    recipe.check(sv.METHODS, sv.MEASURES)
    for name in {point.model for point in recipe.points()}:
        sv.load(name)


TEXTS = {
    "nothing": "",
    "blanks": "  ",
    "a colon": ":",
    "no name": ":keep=1",
    "no options": "NAME:",
    "commas": "NAME:,,,",
    "an equals sign": "NAME:=",
    "no value": "NAME:OPTION=",
    "no option": "NAME:=1",
    "no equals sign": "NAME:OPTION",
    "two equals signs": "NAME:OPTION==1",
    "an option twice": "NAME:OPTION=1,OPTION=1",
    "a name in capitals": "NAME_UP:OPTION=1",
    "an unknown name": "xNAMEx:OPTION=1",
    "an unknown option": "NAME:xOPTIONx=1",
    "an open bracket": "NAME:OPTION=[1,2",
    "an open brace": "NAME:OPTION={a: 1",
    "an open quote": "NAME:OPTION='1",
    "brackets": "NAME:OPTION=" + "[" * 2000 + "]" * 2000,
    "a bomb of quotes": "NAME:OPTION=" + "'\"" * 5000,
    "many commas": "NAME:OPTION=[" + "," * 20_000,
    "a null character": "NAME:OPTION=\0",
    "a new line": "NAME:OPTION=1\nNAME:OPTION=2",
    "letters that move the cursor": "NAME:OPTION=\x1b[2J",
    "a surrogate": "NAME:OPTION=\udcff",
    "5000 letters": "NAME:OPTION=" + "x" * 5000,
    "5000 digits": "NAME:OPTION=" + "9" * 5000,
    "a tag of Python": "NAME:OPTION=!!python/object/apply:os.system [true]",
    "an alias": "NAME:OPTION=*a",
    "an object": "NAME:OPTION={a: 1}",
    "a nested list": "NAME:OPTION=[[1], [[2]]]",
    "a list of null": "NAME:OPTION=[null]",
    "a date": "NAME:OPTION=2024-01-01",
    "a wrong type": "NAME:OPTION=[{}]",
}
# Every option of these types must refuse a value of another one.
WRONG = {
    "int": ("x", "1.5", "true", "[1]", "{a: 1}", "1e999", ".nan"),
    "float": ("x", "true", "[1]", "{a: 1}", "1_x"),
    "bool": ("1", "maybe", "[true]", "0.0"),
    "Literal": ("xx", "1", "true", "[]"),
    "group": ("7", "true", "[1]", "{a: 1}", "x", "''"),
    "list": ("7", "true", "{a: 1}", "[[{}]]"),
}
ANY_TEXT = "an option of text takes any text"


def step_cases() -> Iterator[Case]:
    """Every form of a bad text for a step of its own, and every option with values of other types."""
    registries: tuple[tuple[str, Registry], ...] = (("step", sv.METHODS), ("measure", sv.MEASURES))
    for what, registry in registries:
        described = [describe(registry[name]) for name in registry]
        for entry in described:
            entry["options"] = list(each_option(entry["options"]))
        with_options = [entry for entry in described if entry["options"]]
        for number, (kind, text) in enumerate(TEXTS.items()):
            for turn in range(3):
                entry = with_options[(3 * number + turn) % len(with_options)]
                option = entry["options"][(number + turn) % len(entry["options"])]
                filled = text.replace("NAME_UP", entry["name"].upper()).replace("NAME", entry["name"])
                filled = filled.replace("OPTION", option["name"])
                optional = all(not known["required"] for known in entry["options"])
                taken = "str" in option["type"] or "Path" in option["type"]
                fine = ANY_TEXT if taken else "no options are all defaults" if optional and kind == "no options" else ""
                yield Case(f"{what}/{kind} for {entry['name']}, {turn}", parsed(filled, registry), fine)
        for entry in described:
            for option in entry["options"]:
                for value in WRONG["group"] if "options" in option else wrong_for(option["type"]):
                    text = f"{entry['name']}:{option['name']}={value}"
                    yield Case(f"{what}/{text}", parsed(text, registry))


def each_option(options: list[dict[str, Any]], group: str = "") -> Iterator[dict[str, Any]]:
    """Options, groups too, each with its whole name; behind a group, those in it."""
    for option in options:
        yield {**option, "name": f"{group}{option['name']}"}
        yield from each_option(option.get("options", []), f"{option['name']}.")


def wrong_for(type_: str) -> tuple[str, ...]:
    """Values that are of no type that an option takes."""
    if "str" in type_ and "list" not in type_ and "Sequence" not in type_ or "Path" in type_:
        return ()
    if type_.startswith("Literal"):
        return WRONG["Literal"]
    for name in ("list", "Sequence"):
        if type_.startswith(name):
            return WRONG["list"]
    found = [WRONG[name] for name in ("int", "float", "bool") if type_.startswith(name)]
    values = found[0] if found else ()
    return tuple(
        value for value in values if not (value == "[1]" and "Sequence" in type_ or value == "[1]" and "list" in type_)
    )


def parsed(text: str, registry: Registry) -> Callable[[Place], Callable[[], object]]:
    """Read a text for a registry."""
    return lambda place: lambda: parse_step(text, registry)


def cases() -> Iterator[Case]:
    yield from recipe_cases()
    yield from step_cases()
