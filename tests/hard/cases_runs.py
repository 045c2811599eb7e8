"""Folders that runs and trainings left, damaged before the next one; archives and folders of corpora that lie."""

import io
import json
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import targets
from cases import Case, Place
from cases_models import TENSORS, VALUES, with_value

from sottovoce.data.archives import unpack
from sottovoce.data.corpora import CORPORA
from sottovoce.data.corpora.prepare import prepare
from sottovoce.report.cuts import cuts
from sottovoce.runs import read_runs

RECORD = {"status": "finished", "hash": "0123456789ab", "extra": {}, "seed": 0, "started": "2024-01-01T00:00:00+00:00"}
ROW = {"measure": "size", "metric": "parameters", "value": 5, "unit": "", "better": "lower", "where": [], "n": 1}
POSITION = {"step": 2, "best": 0.5, "best_step": 1, "worse": 0, "judged": 2, "loss": 1.25, "scaler": {}}
UNREAD = {"hash", "extra", "seed", "started", "finished", "error", "sottovoce", "torch", "python", "platform"}
ROWS_FINE = {
    "null": "an error of null is none",
    "a text": "any text may be a name",
    "an empty text": "any text may be a name",
    "a number as text": "any text may be a name",
}


def whole(folder: str) -> None:
    """All that is read of a run."""
    for run in read_runs(folder):
        _ = (run.record, run.finished, run.recipe, run.model, cuts(run.measurements()))


def run_case(kind: str, damage: Callable[[Path], object], why: str = "") -> Case:
    def make(place: Place) -> Callable[[], object]:
        damage(place.copy("runs") / "run")
        return lambda: whole("runs")

    return Case(f"run/{kind}", make, why)


def put(name: str, content: str | bytes) -> Callable[[Path], object]:
    """A damage: a file of other content."""
    text = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(text)


def becomes(name: str, kind: str) -> Callable[[Path], object]:
    """A damage: a file that is another thing."""

    def damage(folder: Path) -> None:
        path = folder / name
        path.unlink(missing_ok=True)
        if kind == "a folder":
            path.mkdir()
        elif kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a link to itself":
            path.symlink_to(name)
        elif kind == "a link to a device":
            path.symlink_to("/dev/zero")
        elif kind == "a link to nothing":
            path.symlink_to("nothing")

    return damage


KINDS = ("missing", "a folder", "a pipe", "a link to itself", "a link to a device", "a link to nothing")


def run_cases() -> Iterator[Case]:
    for key in ("status", "seed", "extra", "hash", "started"):
        for kind, text in {"missing": None, **VALUES}.items():
            why = "it is kept for people to read" if key in UNREAD else ""
            yield run_case(f"run.json, {key} is {kind}", put("run.json", with_value(RECORD, key, text)), why)
    for status in ("running", "failed", "stopped", "FINISHED", "done", "x" * 5000, "\x1b[2J"):
        text = with_value(RECORD, "status", json.dumps(status))
        yield run_case(f"run.json, status {status[:20]!r}", put("run.json", text), STATUS.get(status, ""))
    for key in ("measure", "metric", "value", "unit", "better", "where", "n", "error", "version"):
        for kind, text in {"missing": None, **VALUES}.items():
            line = with_value(ROW | {"error": None, "version": 1}, key, text)
            yield run_case(
                f"measurement, {key} is {kind}", put("measurements.jsonl", line + "\n"), row_reason(key, kind)
            )
    for name in ("run.json", "measurements.jsonl", "recipe.yaml"):
        for kind in KINDS:
            why = (
                "a run that has measured nothing yet has no such file"
                if name.startswith("meas")
                and kind
                in (
                    "missing",
                    "a link to nothing",
                )
                else ""
            )
            yield run_case(f"{name} is {kind}", becomes(name, kind), why)
    for kind in ("a file", "a link to itself", "a pipe"):
        yield run_case(
            f"model is {kind}",
            lambda folder, kind=kind: (
                becomes("model", kind)(folder) or (put("model", "x")(folder) if kind == "a file" else None)
            ),
            "a run whose recipe has no steps has no model",
        )


STATUS = dict.fromkeys(["running", "failed", "stopped"], "a run that was not finished is a run")


PLACES = ("a list", "an empty list", "an object")  # lists are of earlier versions


def row_reason(key: str, kind: str) -> str:
    """Why a measurement is right with a value."""
    if kind == "missing":
        return "" if key in ("measure", "metric", "value") else "it has a default"
    if key in ("measure", "metric", "unit") and kind in ("a text", "an empty text", "a number as text"):
        return ROWS_FINE[kind]
    numbers = {"negative", "zero", "huge", "a fraction", "beyond 64 bits"}
    if key in ("value", "error") and kind in numbers | {"NaN", "Infinity", "beyond all floats"} | (
        {"null"} if key == "error" else set()
    ):
        return "a measure may find any number, and NaN where there is none"
    if key in ("n", "version") and kind in ("zero", "huge", "negative"):
        return "a whole number"
    return "a place with any coordinates" if key == "where" and kind in PLACES else ""


def train_case(kind: str, damage: Callable[[Path], object], act: Callable[[Path], object], why: str = "") -> Case:
    def make(place: Place) -> Callable[[], object]:
        damage(place.copy("training"))
        return lambda: act(Path("training"))

    return Case(f"training/{kind}", make, why, ("training",), ("training",))


def state(record: dict[str, object]) -> str:
    return json.dumps({"identity": targets.goods.trained()[2].identity, "position": record})


def train_cases() -> Iterator[Case]:
    """A checkpoint between two runs: its state, its tensors, the best weights, the log."""
    for key in POSITION:
        for kind, text in {"missing": None, **VALUES}.items():
            position = with_value(POSITION, key, text)
            content = f'{{"identity": "{targets.goods.trained()[2].identity}", "position": {position}}}'
            yield train_case(
                f"state.json, {key} is {kind}",
                put("checkpoint/state.json", content),
                targets.keeper_load,
                position_reason(key, kind),
            )
    for kind, text in VALUES.items():
        content = f'{{"identity": {text}, "position": {json.dumps(POSITION)}}}'
        yield train_case(f"state.json, identity is {kind}", put("checkpoint/state.json", content), targets.keeper_load)
        content = f'{{"identity": "{targets.goods.trained()[2].identity}", "position": {text}}}'
        why = "a position of no numbers is the beginning" if kind == "an empty object" else ""
        yield train_case(
            f"state.json, position is {kind}", put("checkpoint/state.json", content), targets.keeper_load, why
        )
    for name, act in (
        ("checkpoint/trained", targets.keeper_load),
        ("checkpoint/optimizer", targets.keeper_load),
        ("best/trained", targets.keeper_best),
    ):
        for kind, content in TENSORS.items():
            why = (
                "an optimiser that has not begun has no tensors"
                if (name, kind) == ("checkpoint/optimizer", "no tensor")
                else ""
            )
            yield train_case(f"{name}, {kind}", put(f"{name}.safetensors", content), act, why)
        for kind in KINDS:
            yield train_case(f"{name} is {kind}", becomes(f"{name}.safetensors", kind), act)
    for kind in KINDS:
        yield train_case(f"state.json is {kind}", becomes("checkpoint/state.json", kind), targets.keeper_load)
        why = "a training that has logged nothing yet has no log" if kind in ("missing", "a link to nothing") else ""
        yield train_case(f"log.jsonl is {kind}", becomes("log.jsonl", kind), targets.keeper_log, why)
    for kind, text in {"missing": None, **VALUES}.items():
        line = with_value({"step": 1, "loss": 0.5}, "step", text) + "\n"
        why = "a step is a whole number" if kind in ("negative", "zero", "huge") else ""
        yield train_case(f"log.jsonl, step is {kind}", put("log.jsonl", line), targets.keeper_log, why)


def position_reason(key: str, kind: str) -> str:
    """Why a position is right with a value."""
    if kind == "missing":
        return "it has a default"
    if key in ("step", "best_step", "worse", "judged"):
        return "a whole number" if kind in ("zero", "huge") else ""
    if key == "scaler":
        return "an empty scaler is none" if kind in ("an empty object",) else ""
    numbers = (
        "null",
        "negative",
        "zero",
        "huge",
        "a fraction",
        "NaN",
        "Infinity",
        "beyond all floats",
        "beyond 64 bits",
    )
    return "a score or a loss may be any number, or none" if kind in numbers else ""


def tar(*entries: tuple[str, bytes | str, int]) -> bytes:
    """A tar file of names, contents or targets of links, and types."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, kind in entries:
            about = tarfile.TarInfo(name)
            about.type = bytes([kind])
            if isinstance(content, str):
                about.linkname = content
                archive.addfile(about)
            else:
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
    return buffer.getvalue()


FILE, HARD, SOFT, CHAR, PIPE = (ord(kind) for kind in "01236")


def zipped(*entries: tuple[str, bytes], mode: int = 0, method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            about = zipfile.ZipInfo(name)
            about.external_attr, about.compress_type = mode << 16, method
            archive.writestr(about, content)
    return buffer.getvalue()


GOOD_TAR = tar(("a/b.txt", b"x" * 2000, FILE), ("a/c.txt", b"y" * 2000, FILE))
ARCHIVES: dict[str, bytes] = {
    "a path that leads out": tar(("../b", b"x", FILE)),
    "a path that leads out in the middle": tar(("a/../../b", b"x", FILE)),
    "an absolute path": tar(("/tmp/sottovoce-was-here", b"x", FILE)),
    "a path of Windows": tar(("C:\\b", b"x", FILE)),
    "a path of Windows that leads out": tar(("..\\b", b"x", FILE)),
    "an empty name": tar(("", b"x", FILE)),
    "the folder itself": tar((".", b"x", FILE)),
    "a null character": tar(("a\0b", b"x", FILE)),
    "letters that move the cursor, and out": tar(("../\x1b[2J", b"x", FILE)),
    "a name of 300 letters": tar(("y" * 300, b"x", FILE)),
    "a path of 5000 letters": tar(("a/" * 2500 + "b", b"x", FILE)),
    "a link that leads out": tar(("a", "../../x", SOFT)),
    "an absolute link": tar(("a", "/etc/passwd", SOFT)),
    "a file through a link": tar(("a", "/tmp", SOFT), ("a/sottovoce-was-here", b"x", FILE)),
    "links that lead out together": tar(("a", ".", SOFT), ("b", "a/..", SOFT)),
    "a circle of links": tar(("a", "b", SOFT), ("b", "a", SOFT)),
    "a hard link that leads out": tar(("a", "/etc/passwd", HARD)),
    "a hard link to nothing": tar(("a", "nothing", HARD)),
    "a device": tar(("a", b"", CHAR)),
    "a pipe": tar(("a", b"", PIPE)),
    "a file where a folder is": tar(("a/b", b"x", FILE), ("a", b"x", FILE)),
    "a folder where a file is": tar(("a", b"x", FILE), ("a/b", b"x", FILE)),
    "a file twice, a link between": tar(("a", b"x", FILE), ("a", "b", SOFT), ("a", b"y", FILE)),
    "tar, cut": GOOD_TAR[:1500],
    "tar, cut in a header": GOOD_TAR[:3000],
    "tar, another checksum": GOOD_TAR[:150] + b"9" + GOOD_TAR[151:],
    "tar, a vast size": GOOD_TAR[:124] + b"77777777777\0" + GOOD_TAR[136:],
    "tar, a size below zero": GOOD_TAR[:124] + b"\xff" * 12 + GOOD_TAR[136:],
    "gzip of nothing": b"\x1f\x8b",
    "gzip, cut": __import__("gzip").compress(GOOD_TAR, mtime=0)[:60],
    "gzip of a text": __import__("gzip").compress(b"hello", mtime=0),
    "bzip2 of nothing": b"BZh9",
    "xz of nothing": b"\xfd7zXZ\0",
    "nothing": b"",
    "a text": b"hello\n",
    "a page of the web": b"<!DOCTYPE html>",
    "zip, a path that leads out": zipped(("../b", b"x")),
    "zip, an absolute path": zipped(("/tmp/sottovoce-was-here", b"x")),
    "zip, a path of Windows": zipped(("..\\b", b"x")),
    "zip, a link that leads out": zipped(("a", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777),
    "zip, a link of bytes": zipped(("a", b"\xff\xfe\0"), mode=stat.S_IFLNK | 0o777),
    "zip, a device": zipped(("a", b""), mode=stat.S_IFCHR | 0o666),
    "zip, cut": zipped(("a", b"x" * 500))[:300],
    "zip, only its end": zipped(("a", b"x" * 500))[-22:],
    "zip, another checksum": zipped(("a", b"x" * 500)).replace(b"xxxx", b"xyxx", 1),
    "zip, encrypted": zipped(("a", b"x" * 50))
    .replace(b"PK\x03\x04\x14\0\0\0", b"PK\x03\x04\x14\0\1\0")
    .replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"),
    "zip, an unknown method": zipped(("a", b"x" * 50)).replace(
        b"PK\x01\x02\x14\x03\x14\0\0\0\0\0", b"PK\x01\x02\x14\x03\x14\0\0\0\x63\0"
    ),
    "zip, a file where a folder is": zipped(("a/b", b"x"), ("a", b"x")),
    "zip, a name twice": zipped(("a", b"x"), ("b", b"y")).replace(b"b", b"a"),
}
ARCHIVES_FINE = {
    "a path of Windows that leads out": "",
    "a circle of links": "links that lead to nothing are left out",
    "a file twice, a link between": "the last of a name is what stands",
    "gzip of nothing": "",
    "a null character": "a name ends with its null character",
    "zip, a name twice": "the last of a name is what stands",
}


def archive_cases() -> Iterator[Case]:
    for kind, content in ARCHIVES.items():

        def make(place: Place, content: bytes = content) -> Callable[[], object]:
            place.write("archive", content)
            return lambda: unpack("archive", "out")

        yield Case(f"archive/{kind}", make, ARCHIVES_FINE.get(kind, ""))


# Where each corpus keeps its lists, or its audio where names say it all.
LISTS = {
    "fsdd": "recordings/0_a_0.wav",
    "emodb": "wav/03a01Fa.wav",
    "librispeech": "dev-clean/1/2/1-2.trans.txt",
    "tedlium3": "legacy/dev/stm/A.stm",
    "slurp": "dataset/slurp/train.jsonl",
    "fluent": "data/train_data.csv",
    "speechocean762": "train/wav.scp",
    "voxceleb1": "iden_split.txt",
    "speech-commands-v1": "testing_list.txt",
    "iemocap": "Session1/dialog/EmoEvaluation/a.txt",
}
LIST_TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "not UTF-8": b"\xff\xfe a b c\n",
    "null characters": b"\0\0\0 \0\n",
    "one word": b"word\n",
    "many words": b"a b c d e f g h i j k l\n",
    "numbers": b"1 2 3\n",
    "a path that leads out": b"../../x ../../x\n3 ../../../etc/passwd\n",
    "an absolute path": b"1 /etc/passwd\n",
    "JSON": b'{"a": 1}\n',
    "a list of JSON": b"[1]\n",
    "commas": b",,,,\n,,,,\n",
    "a long line": b"x" * 100_000 + b"\n",
    "letters that move the cursor": b"\x1b[2J \x1b[2J\n",
}


def corpus_cases() -> Iterator[Case]:
    for name in CORPORA:
        file = LISTS.get(name, "list.txt")
        for kind, text in LIST_TEXTS.items():

            def make(place: Place, name: str = name, file: str = file, text: bytes = text) -> Callable[[], object]:
                place.write(f"corpus/{file}", text)
                return lambda: prepare(name, "corpus")

            yield Case(f"corpus/{name}, {kind} as a list", make)

        def make_folder(place: Place, name: str = name, file: str = file) -> Callable[[], object]:
            (place.folder / "corpus" / file).mkdir(parents=True)
            return lambda: prepare(name, "corpus")

        def make_pipe(place: Place, name: str = name, file: str = file) -> Callable[[], object]:
            (place.folder / "corpus" / file).parent.mkdir(parents=True, exist_ok=True)
            os.mkfifo(place.folder / "corpus" / file)
            return lambda: prepare(name, "corpus")

        yield Case(f"corpus/{name}, a folder as a list", make_folder)
        yield Case(f"corpus/{name}, a pipe as a list", make_pipe)


def cases() -> Iterator[Case]:
    yield from run_cases()
    yield from train_cases()
    yield from archive_cases()
    yield from corpus_cases()
