"""Paths that are none, or lead where they should not, for every command and every function that takes one."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from cases import Case, Place
from cases_models import examined

import sottovoce as sv
from sottovoce.data.archives import unpack
from sottovoce.data.audio import read_audio
from sottovoce.data.corpora.prepare import check, prepare
from sottovoce.data.utterance import read_manifest
from sottovoce.runs import Run, read_runs
from sottovoce.tasks.decoding import NGrams

Made = Callable[[Place], str]


def circle(place: Place) -> str:
    (place.folder / "one").symlink_to("two")
    (place.folder / "two").symlink_to("one")
    return "one"


def link_to(target: str) -> Made:
    def made(place: Place) -> str:
        (place.folder / "link").symlink_to(target)
        return "link"

    return made


def fifo(place: Place) -> str:
    os.mkfifo(place.folder / "pipe")
    return "pipe"


def listening(place: Place) -> str:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    return "socket"


def file_of(content: bytes, name: str = "file") -> Made:
    return lambda place: str(place.write(name, content).relative_to(place.folder))


def sparse(place: Place) -> str:
    with open(place.folder / "sparse", "wb") as file:
        file.truncate(40 << 30)
    return "sparse"


def folder_of(*names: str) -> Made:
    def made(place: Place) -> str:
        (place.folder / "folder").mkdir()
        for name in names:
            (place.folder / "folder" / name).mkdir()
        return "folder"

    return made


def gone(place: Place) -> str:
    os.rmdir(place.folder)
    return "model"


def gone_here(place: Place) -> str:
    os.rmdir(place.folder)
    return "."


def homeless(place: Place) -> str:
    os.environ.pop("HOME", None)
    return "~nobody-is-called-so/model"


def forbidden(place: Place) -> str:
    path = place.write("closed/file", b"x")
    path.parent.chmod(0)
    return "closed/file"


PATHS: dict[str, Made] = {
    "empty": lambda place: "",
    "blank": lambda place: "   ",
    "null character": lambda place: "a\0b",
    "5000 characters": lambda place: "x" * 5000,
    "5000 parts": lambda place: "a/" * 2500,
    "300 characters": lambda place: "y" * 300,
    "a circle of links": circle,
    "below a circle": lambda place: circle(place) + "/config.json",
    "a link to nothing": link_to("nothing"),
    "a link to a device": link_to("/dev/zero"),
    "a link to itself": link_to("link"),
    "unknown home": lambda place: "~nobody-is-called-so/x",
    "unknown home without HOME": homeless,
    "a pipe": fifo,
    "a socket": listening,
    "zeros without end": lambda place: "/dev/zero",
    "nothing": lambda place: "/dev/null",
    "a full disk": lambda place: "/dev/full",
    "the terminal": lambda place: "/dev/tty",
    "a file of a process": lambda place: "/proc/self/mem",
    "a folder": folder_of(),
    "a folder of folders": folder_of("config.json", "manifest.jsonl", "run.json", "recipe.yaml"),
    "an empty file": file_of(b""),
    "a file of text": file_of(b"hello\n"),
    "a file of bytes": file_of(bytes(range(256)) * 4),
    "a file below a file": lambda place: file_of(b"x")(place) + "/below",
    "a file as a folder": lambda place: file_of(b"x")(place) + "/",
    "a huge file of holes": sparse,
    "the current folder, which is gone": gone_here,
    "in a current folder that is gone": gone,
    "a surrogate": lambda place: "\udcff\udcfe",
    "a new line": lambda place: "a\nb",
    "letters that move the cursor": lambda place: "\x1b[2J\x07x",
    "a mark of direction": lambda place: "\u202egpj.x",
    "an option": lambda place: "--output",
    "a dash": lambda place: "-",
    "a URL": lambda place: "https://example.com/model",
    "an id with too many parts": lambda place: "a/b/c/d",
    "a star": lambda place: "*",
    "nothing there": lambda place: "not-there",
    "nothing there, deep": lambda place: "not/there/at/all",
    "dots": lambda place: "../not-there",
}
if os.geteuid() != 0:
    PATHS["in a closed folder"] = forbidden

TINY = "plain"
# Where a word stands for a path, the path is put; commands that would do real work are given what they refuse first.
COMMANDS: dict[str, list[str]] = {
    "doctor MODEL": ["doctor", "PATH"],
    "doctor --json MODEL": ["doctor", "--json", "PATH"],
    "cost MODEL": ["cost", "PATH", "--no-time", "--seconds", "1"],
    "cost --versus": ["cost", TINY, "--no-time", "--seconds", "1", "--versus", "PATH"],
    "measure MODEL": ["measure", "PATH", "--measure", "size"],
    "measure --data": ["measure", TINY, "--measure", "phones:train.steps=1", "--data", "PATH"],
    "measure --data --skip-bad": ["measure", TINY, "--measure", "size", "--data", "PATH", "--skip-bad"],
    "measure --output": ["measure", TINY, "--measure", "size", "-o", "PATH"],
    "measure --work": ["measure", TINY, "--measure", "size", "--work", "PATH"],
    "measure lm": ["measure", TINY, "--data", "speech", "--measure", "asr:decode.beam=2,train.steps=1,decode.lm=PATH"],
    "measure other": ["measure", TINY, "--data", "speech", "--measure", "similarity:other=PATH"],
    "compress MODEL": ["compress", "PATH", "--step", "drop_layers:keep=1", "-o", "out"],
    "compress --output": ["compress", TINY, "--step", "drop_layers:keep=99", "-o", "PATH"],
    "compress --recipe": ["compress", "--recipe", "PATH", "-o", "out"],
    "compress --recipe --output": ["compress", "--recipe", "size.yaml", "-o", "PATH"],
    "compress --data": ["compress", TINY, "--step", "drop_layers:keep=1", "-o", "out", "--data", "PATH"],
    "compress --work": ["compress", TINY, "--step", "drop_layers:keep=99", "-o", "out", "--work", "PATH"],
    "compress teacher": [
        "compress",
        TINY,
        "--step",
        "distill:train.steps=1,teacher=PATH",
        "-o",
        "out",
        "--data",
        "speech",
    ],
    "finetune MODEL": [
        "finetune",
        "PATH",
        "--task",
        "keywords",
        "--data",
        "speech",
        "-o",
        "out",
        "--options",
        "train.steps=1",
    ],
    "finetune --data": [
        "finetune",
        TINY,
        "--task",
        "keywords",
        "--data",
        "PATH",
        "-o",
        "out",
        "--options",
        "train.steps=1",
    ],
    "finetune --output": [
        "finetune",
        TINY,
        "--task",
        "emotion",
        "--data",
        "speech",
        "-o",
        "PATH",
        "--options",
        "train.steps=0",
    ],
    "finetune --work": [
        *("finetune", TINY, "--task", "keywords", "--data", "speech", "-o", "out"),
        *("--options", "train.steps=0", "--work", "PATH"),
    ],
    "pretrain MODEL": [
        "pretrain",
        "PATH",
        "--data",
        "speech",
        "-o",
        "out",
        "--options",
        "train.steps=1,units.clusters=2",
    ],
    "pretrain --data": ["pretrain", TINY, "--data", "PATH", "-o", "out", "--options", "train.steps=1,units.clusters=2"],
    "pretrain --output": ["pretrain", TINY, "--data", "speech", "-o", "PATH", "--options", "train.steps=0"],
    "pretrain --work": [
        "pretrain",
        TINY,
        "--data",
        "speech",
        "-o",
        "out",
        "--options",
        "train.steps=0",
        "--work",
        "PATH",
    ],
    "analyze MODEL": ["analyze", "PATH", "--data", "speech", "-o", "out", "--part", "size"],
    "analyze --data": ["analyze", TINY, "--data", "PATH", "-o", "out", "--part", "size"],
    "analyze --output": ["analyze", TINY, "--data", "speech", "-o", "PATH", "--part", "similarity:k=-1"],
    "corpus prepare FOLDER": ["corpus", "prepare", "fsdd", "PATH"],
    "corpus prepare --skip-bad": ["corpus", "prepare", "speech-commands-v1", "PATH", "--skip-bad"],
    "corpus check MANIFEST": ["corpus", "check", "PATH"],
    "corpus check --root": ["corpus", "check", "speech", "--root", "PATH"],
    "corpus from-hub FOLDER": ["corpus", "from-hub", "some/dataset", "PATH"],
    "corpus CORPUS@FOLDER": ["measure", TINY, "--measure", "size", "--data", "fsdd@PATH"],
    "data MANIFEST@ROOT": ["measure", TINY, "--measure", "size", "--data", "speech/manifest.jsonl@PATH"],
}
FUNCTIONS: dict[str, Callable[[str], object]] = {
    "sv.load": sv.load,
    "sv.new": sv.new,
    "sv.doctor": examined,
    "sv.read_data": sv.read_data,
    "sv.read_data on_bad": lambda path: sv.read_data(path, on_bad=lambda text: None),
    "Recipe.from_yaml Path": lambda path: sv.Recipe.from_yaml(Path(path)),
    "Recipe.from_yaml text": lambda path: sv.Recipe.from_yaml(path),
    "Run.open": Run.open,
    "read_runs": lambda path: [run.record for run in read_runs(path)],
    "read_manifest": read_manifest,
    "read_manifest root": lambda path: read_manifest(Path("speech/manifest.jsonl"), root=path),
    "read_audio": read_audio,
    "prepare": lambda path: prepare("emodb", path),
    "check": check,
    "unpack": lambda path: unpack(path, "out"),
    "NGrams.from_arpa": NGrams.from_arpa,
    "NGrams.from_arpa gz": lambda path: NGrams.from_arpa(path + ".gz"),
}
FILES = {"unpack", "NGrams.from_arpa gz"}
# Where a path is right, or right for this command: by command and by path, "" for all.
RIGHT: dict[tuple[str, str], str] = {
    ("compress --output", "a folder"): "an empty folder may become a model's",
    ("measure --output", ""): "any path in a folder that can be written may be a file's",
    ("measure --work", ""): "a folder is made where none is",
    ("compress --recipe --output", ""): "a folder is made where none is",
    ("analyze --output", ""): "a folder is made where none is",
    ("corpus check --root", ""): "the audio is then elsewhere, which is told as bad",
    ("data MANIFEST@ROOT", ""): "size needs no audio, and paths are looked at where audio is decoded",
    ("read_manifest root", ""): "whether the audio is there is asked where it is decoded",
    ("sv.read_data on_bad", ""): "bad lines are told, and left out",
    ("check", ""): "what is bad is what it returns",
    ("compress --recipe --output", "a folder of folders"): "runs may lie beside other things",
    ("measure --data --skip-bad", "a file of text"): "bad lines are told, and left out",
    ("measure --data --skip-bad", "a file of bytes"): "bad lines are told, and left out",
    ("measure --data --skip-bad", "a file as a folder"): "bad lines are told, and left out",
    ("read_manifest", "an empty file"): "it lists nothing; who needs speech refuses that",
    ("read_runs", "a folder of folders"): "a folder of runs may hold other folders",
}
NAMES = {  # as names of new files or folders, these are odd and possible
    *("blank", "unknown home without HOME", "a new line", "letters that move the cursor", "a mark of direction"),
    *("an option", "a dash", "a URL", "an id with too many parts", "a star", "nothing there", "nothing there, deep"),
    *("dots", "a surrogate", "a folder", "a link to nothing", "an empty file", "5000 parts"),
}


def command_case(name: str, words: list[str], kind: str, made: Made) -> Case:
    def make(place: Place) -> list[str]:
        for word in (TINY, "speech"):
            if any(part == word or part.startswith(f"{word}/") for part in words):
                place.copy(word)
        if "size.yaml" in words:
            place.write("size.yaml", f"model: {place.folder / TINY}\nmeasures: [size]\n")
            place.copy(TINY)
        path = made(place)
        return [word.replace("PATH", path) for word in words]

    first = tops(made_as.get(kind, ""))
    outputs = ("out", "out-training", *(first if name.endswith(("--output", "--work")) else ()))
    records = outputs if name.startswith(("analyze", "compress --recipe")) else ()
    return Case(f"paths/{name}/{kind}", make, reason(name, kind), outputs, records)


# How the paths are spelt that an output may have.
made_as = {
    **{"blank": "   ", "unknown home": "~nobody-is-called-so", "a new line": "a\nb", "a star": "*", "a dash": "-"},
    **{"letters that move the cursor": "\x1b[2J\x07x", "a mark of direction": "\u202egpj.x", "an option": "--output"},
    **{"a URL": "https:", "an id with too many parts": "a", "nothing there": "not-there", "nothing there, deep": "not"},
    **{"a surrogate": "\udcff\udcfe", "a folder": "folder", "a link to nothing": "link", "an empty file": "file"},
    **{
        "dots": "..",
        "5000 parts": "a",
        "a folder of folders": "folder",
        "unknown home without HOME": "~nobody-is-called-so",
    },
}


def tops(name: str) -> tuple[str, ...]:
    """What lies in the current folder when something of this name was written."""
    return (name, f"{name}-training", "nothing") if name else ()


def function_case(name: str, function: Callable[[str], object], kind: str, made: Made) -> Case:
    def make(place: Place) -> Callable[[], object]:
        if name == "read_manifest root":
            place.copy("speech")
        path = made(place)
        return lambda: function(path)

    return Case(f"paths/{name}/{kind}", make, reason(name, kind))


def reason(name: str, kind: str) -> str:
    """Why success is right, where it is."""
    if (name, kind) in RIGHT:
        return RIGHT[name, kind]
    if kind in ("a file of text", "a file as a folder", "a file of bytes") and name in ("sv.read_data on_bad", "check"):
        return RIGHT[name, ""]
    return RIGHT.get((name, ""), "") if kind in NAMES or name.endswith(("--root", "@ROOT", " root")) else ""


def cases() -> Iterator[Case]:
    for kind, made in PATHS.items():
        gone_from_here = "gone" in kind
        for name, words in COMMANDS.items():
            needs = {TINY, "speech", "size.yaml"} & {part.split("/")[0] for part in words}
            if not (gone_from_here and needs):
                yield command_case(name, words, kind, made)
        for name, function in FUNCTIONS.items():
            if not (gone_from_here and name == "read_manifest root"):
                yield function_case(name, function, kind, made)
