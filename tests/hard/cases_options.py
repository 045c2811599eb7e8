"""Numbers and words of the command line that are out of range, for commands that would do real work with them."""

from collections.abc import Callable, Iterator

from cases import Case, Place

NUMBERS = ("x", "", "1,5", "0x10", "1e999", "nan", "inf", "-inf", "--", "9" * 400, "9" * 20, "1_000", "½")
# Commands that end before any work, with WORD where the bad word stands.
WORDS: dict[str, list[str]] = {
    "cost --seconds": ["cost", "plain", "--no-time", "--seconds", "WORD"],
    "cost --batch": ["cost", "plain", "--seconds", "1", "--batch", "WORD"],
    "cost --repeats": ["cost", "plain", "--seconds", "1", "--repeats", "WORD"],
    "cost --threads": ["cost", "plain", "--seconds", "1", "--repeats", "1", "--threads", "WORD"],
    "analyze --seed": ["analyze", "plain", "--data", "speech", "-o", "out", "--part", "size", "--seed", "WORD"],
    "analyze --shard": ["analyze", "plain", "--data", "speech", "-o", "out", "--part", "size", "--shard", "WORD"],
    "prepare --size": ["corpus", "prepare", "espeak", "out", "--size", "WORD"],
    "prepare --seed": ["corpus", "prepare", "espeak", "out", "--size", "-1", "--seed", "WORD"],
}
RANGE: dict[str, tuple[str, ...]] = {
    "cost --seconds": ("0", "-1", "1e-9", "1e300", "1e12", "1e6"),
    "cost --batch": ("0", "-1", "1000000000", "100000"),
    "cost --repeats": ("0", "-1"),
    "cost --threads": ("0", "-1", "1000000000"),
    "analyze --seed": ("-1", "4294967296", "1.5"),
    "analyze --shard": (
        "0/1",
        "2/1",
        "1/0",
        "-1/2",
        "1",
        "1/",
        "/2",
        "1/2/3",
        "a/b",
        "1.0/2",
        "²/³",
        "1 / 2",
        "1/" + "9" * 5000,
    ),
    "prepare --size": ("0", "-1", "1e-300", "1e300"),
    "prepare --seed": ("-1",),
}
COUNTED = "what MACs a pass of any length has is arithmetic"
FINE = {
    ("cost --seconds", "1_000"): "Python's own way to write a thousand",
    ("analyze --seed", "1_000"): "Python's own way to write a thousand",
    **{("cost --seconds", word): COUNTED for word in ("9" * 20, "1e6", "1e12")},
    ("prepare --size", "1e-300"): "however little is asked for, a sentence of each kind is spoken",
}
# What would be done for hours because it was asked for.
LONG = {
    ("cost --repeats", "9" * 20),
    ("cost --repeats", "9" * 400),
    ("cost --repeats", "1_000"),
    ("cost --batch", "1_000"),
}
LONG |= {("prepare --size", "1_000")}
OTHERS: dict[str, list[str]] = {
    "no command": [],
    "an unknown command": ["compres"],
    "an unknown option": ["cost", "plain", "--secnods", "1"],
    "an empty command": [""],
    "a command of letters that move the cursor": ["\x1b[2J"],
    "a command of a surrogate": ["\udcff"],
    "a null character": ["cost", "plain\0"],
    "a value that is missing": ["cost", "plain", "--seconds"],
    "an option twice": ["cost", "plain", "--no-time", "--seconds", "1", "--seconds", "-1"],
    "too many arguments": ["cost", "plain", "plain", "plain"],
    "no argument": ["cost"],
    "no output": ["compress", "plain", "--step", "drop_layers:keep=1"],
    "no step": ["compress", "plain", "-o", "out"],
    "a step and a recipe": ["compress", "plain", "--step", "drop_layers:keep=1", "--recipe", "x.yaml", "-o", "out"],
    "a step without a model": ["compress", "--step", "drop_layers:keep=1", "-o", "out"],
    "an empty step": ["compress", "plain", "--step", "", "-o", "out"],
    "no measure": ["measure", "plain"],
    "an empty measure": ["measure", "plain", "--measure", ""],
    "measures of commas": ["measure", "plain", "--measure", ",,,"],
    "a measure twice, one unknown": ["measure", "plain", "--measure", "size,sise"],
    "a task that is none": ["finetune", "plain", "--task", "sise", "--data", "speech", "-o", "out"],
    "a task of options": ["finetune", "plain", "--task", "phones,train.steps=1", "--data", "speech", "-o", "out"],
    "an empty task": ["finetune", "plain", "--task", "", "--data", "speech", "-o", "out"],
    "a task twice": ["finetune", "plain", "--task", "phones", "--options", "task=pr", "--data", "speech", "-o", "out"],
    "an unknown convention": ["cost", "plain", "--convention", "watts"],
    "an unknown device": ["cost", "plain", "--no-time", "--device", "abacus"],
    "an empty device": ["cost", "plain", "--seconds", "0", "--device", ""],
    "the device meta": ["cost", "plain", "--seconds", "1", "--repeats", "1", "--device", "meta"],
    "a device with a number": ["cost", "plain", "--no-time", "--device", "cuda:99"],
    "a device below zero": ["cost", "plain", "--no-time", "--device", "cpu:-1"],
    "an unknown preset": ["analyze", "plain", "--data", "speech", "-o", "out", "--as", "book"],
    "an unknown part": ["analyze", "plain", "--data", "speech", "-o", "out", "--part", "everything"],
    "a part with options of another": [
        "analyze",
        "plain",
        "--data",
        "speech",
        "-o",
        "out",
        "--part",
        "cost:layer=each",
    ],
    "an empty part": ["analyze", "plain", "--data", "speech", "-o", "out", "--part", ""],
    "an unknown corpus": ["corpus", "prepare", "librispech", "out"],
    "an unknown part of a corpus": ["corpus", "prepare", "librispeech", "out", "--part", "train"],
    "an empty corpus": ["corpus", "prepare", "", "out"],
    "a corpus that cannot be downloaded": ["corpus", "prepare", "iemocap", "out", "--download"],
    "a dataset that is none": ["corpus", "from-hub", "", "out"],
    "a dataset of dots": ["corpus", "from-hub", "../..", "out"],
    "a dataset of a null character": ["corpus", "from-hub", "a\0b", "out"],
    "a dataset for a task that is none": ["corpus", "from-hub", "a/b", "out", "--task", "sise"],
    "a shape that is none": ["cost", "random:hubrt", "--no-time"],
    "an empty shape": ["cost", "random:", "--no-time"],
    "a shape of a folder that is none": ["cost", "random:a/b", "--no-time"],
    "log-mel measured by what it has not": ["measure", "log-mel", "--measure", "attention", "--data", "speech"],
    "log-mel compressed": ["compress", "log-mel", "--step", "drop_layers:keep=1", "-o", "out"],
    "log-mel trained": ["finetune", "log-mel", "--task", "keywords", "--data", "speech", "-o", "out"],
    "log-mel examined": ["doctor", "log-mel"],
    "the version and more": ["--version", "cost", "nothing"],
    "help of nothing": ["nothing", "--help"],
}


def cases() -> Iterator[Case]:
    for name, words in WORDS.items():
        for word in dict.fromkeys((*NUMBERS, *RANGE[name])):
            if (name, word) in LONG:
                continue
            filled = [part.replace("WORD", word) for part in words]
            yield Case(f"number/{name} {word[:30]!r}", said(filled), FINE.get((name, word), ""))
    for name, words in OTHERS.items():
        fine = "the version is all that was asked for" if name == "the version and more" else ""
        yield Case(f"words/{name}", said(words), fine)


def said(words: list[str]) -> Callable[[Place], list[str]]:
    """A command line in a folder with what it speaks of."""

    def make(place: Place) -> list[str]:
        for name in ("plain", "speech"):
            if name in words or f"{name}\0" in words:
                place.copy(name)
        return words

    return make
