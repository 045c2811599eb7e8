"""What is mutated: good files and texts of every kind, and the reader that each must pass or be refused by."""

import gzip
import io
import os
import random
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import goods
import mutate
import verdict
from verdict import Verdict

import sottovoce as sv
from sottovoce.checkup import check_processor
from sottovoce.data.archives import unpack as unpack_archive
from sottovoce.data.audio import read_audio
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import read_manifest
from sottovoce.files import claimed, load_yaml, parse_json
from sottovoce.models.checkpoint import find_class, read_config
from sottovoce.models.packed import unpack
from sottovoce.models.structure import KEY, Structure
from sottovoce.models.teachers import read_difference
from sottovoce.models.weights import check_headers
from sottovoce.registry import parse_step
from sottovoce.report.cuts import cuts
from sottovoce.runs import Run, read_runs
from sottovoce.tasks.decoding import NGrams

Reader = Callable[[Path], object]  # of the folder in which the changed file lies
STEPS = (
    "drop_layers:keep=1,by=backward",
    "drop_layers:drop=[0,1],until='0.5',heal.steps=3,heal.lr=1e-4",
    "low_rank:rank=4,parts=[attention,feed_forward],by=svd",
    "prune_heads:keep=1,per=model,rounds=2,speech.share=0.25",
    "prune_weights:sparsity=0.5,pattern=2:4,packed=true",
    "quantize:to=int8-static,parts=[attention],limit=null",
    "distill:loss=hidden,student.layers=3,match.layers=[1,2],train.clip=1.0,train.steps=10",
    "mimic:shape.layers=1,shape.kind=linear,shape.width=16,shape.at=0,shape.positional=false",
)
MEASURES = (
    "phones:layer=each,train.steps=10,train.lr=1e-3",
    "similarity:reading=mean,limit=64,seconds=1.5",
    "convexity:of=[keywords,phones],k=5",
    "speed:seconds=1.0,repeats=3,threads=1",
    "asr:decode.beam=4,decode.lm=words.arpa,mode=head",
)
HEADER = 8  # bytes before the header of a file of tensors, which say how long it is


@dataclass(frozen=True)
class Target:
    """A good file (or the text of none), how it is changed, who reads it, and how often in the long form."""

    file: str
    kinds: tuple[Callable[[bytes, random.Random], bytes], ...]
    read: Reader
    count: int
    texts: tuple[str, ...] = ()
    head: bool = False  # only the header is changed
    free: bool = False  # the reader may write beside the file


def load_step(registry: object) -> Reader:
    return lambda place: parse_step((place / "text").read_bytes().decode("utf-8", "replace"), registry)  # type: ignore[arg-type]


def recipe(place: Path) -> None:
    found = sv.Recipe.from_yaml(place / "recipe.yaml")
    if len(found.vary) < 4:
        found.check(sv.METHODS, sv.MEASURES)
    found.hash()
    assert sv.Recipe.from_yaml(found.to_yaml()) == found


def structure(place: Path) -> None:
    Structure.from_dict(parse_json((place / "structure.json").read_bytes()))


def keeper_load(place: Path) -> None:
    model, optimizers, keeper = goods.trained()
    keeper.folder = place
    keeper.load(model, optimizers)


def keeper_best(place: Path) -> None:
    model, _, keeper = goods.trained()
    keeper.folder = place
    keeper.load_best(model)


def keeper_log(place: Path) -> None:
    keeper = goods.trained()[2]
    keeper.folder = place
    keeper.cut_log(1)


def shelf(place: Path) -> None:
    made = Shelf(place, identity="goods", row=(2,), dtype="float32")
    for key in made:
        _ = made[key].sum()


def run_record(place: Path) -> None:
    for run in read_runs(place):
        _ = (run.record, run.finished, run.model)


def claim(place: Path) -> None:
    with claimed(place, "a test", keep_mark=True):
        pass


def difference(place: Path) -> None:
    read_difference(place, NAMES)


NAMES: dict = {}


def header_of(content: bytes) -> int:
    """How long the header of a file of tensors is."""
    return HEADER + int.from_bytes(content[:HEADER], "little")


AUDIO = {f"audio/a.{name}": 280 for name in goods.FORMATS}
TARGETS: dict[str, Target] = {
    "config": Target("plain/config.json", mutate.JSONS, lambda place: find_class(read_config(place)[1], "plain"), 3000),
    "config, loaded": Target("plain/config.json", mutate.JSONS, sv.load, 500),
    "config with a head, loaded": Target("head/config.json", mutate.JSONS, sv.load, 200),
    "config of wavlm, loaded": Target("wavlm/config.json", mutate.JSONS, sv.load, 300),
    "structure": Target("structure.json", mutate.JSONS, structure, 3000),
    "structure, loaded": Target("cut/config.json", (mutate.tree, mutate.number, mutate.swap), sv.load, 500),
    "weights": Target("plain/model.safetensors", mutate.JSONS, check_headers, 2500, head=True),
    "weights, loaded": Target("plain/model.safetensors", mutate.JSONS, sv.load, 300, head=True),
    "weights anywhere": Target("plain/model.safetensors", mutate.BYTES, sv.load, 200),
    "weights of a cut model": Target("cut/model.safetensors", mutate.JSONS, sv.load, 200, head=True),
    "pickle": Target("pickled/pytorch_model.bin", mutate.BYTES, sv.load, 300),
    "instructions of a pickle": Target(
        "pickled-long-ago/pytorch_model.bin", mutate.BYTES, check_headers, 900, head=True
    ),
    "pickle of long ago": Target("pickled-long-ago/pytorch_model.bin", mutate.BYTES, sv.load, 200),
    "packed": Target("packed/packed.safetensors", mutate.JSONS, unpack, 1800, head=True),
    "packed, loaded": Target("packed/packed.safetensors", mutate.JSONS, sv.load, 100, head=True),
    "difference": Target("difference/difference.safetensors", mutate.JSONS, difference, 400, head=True),
    "index": Target("shards/model.safetensors.index.json", mutate.JSONS, sv.load, 400),
    "doctor of a config": Target("plain/config.json", mutate.JSONS, sv.doctor, 150),
    "doctor of weights": Target("plain/model.safetensors", mutate.JSONS, sv.doctor, 150, head=True),
    "processor": Target(
        "plain/preprocessor_config.json", mutate.JSONS, lambda place: list(check_processor(place, None)), 600
    ),
    "manifest": Target(
        "speech/manifest.jsonl", mutate.JSONS, lambda place: read_manifest(place / "manifest.jsonl"), 3000
    ),
    "manifest, bad lines left out": Target(
        "speech/manifest.jsonl", mutate.JSONS, lambda place: sv.read_data(place, on_bad=lambda text: None), 500
    ),
    "recipe": Target("recipe.yaml", mutate.TEXTS, recipe, 2500),
    "yaml": Target("recipe.yaml", mutate.TEXTS, lambda place: load_yaml(verdict.text_of(place / "recipe.yaml")), 1000),
    "json": Target(
        "plain/config.json", mutate.JSONS, lambda place: parse_json((place / "config.json").read_bytes()), 800
    ),
    "run.json": Target("runs/run/run.json", mutate.JSONS, run_record, 2000),
    "measurements": Target(
        "runs/run/measurements.jsonl", mutate.JSONS, lambda place: Run.open(place).measurements(), 2500
    ),
    "measurements, reported": Target(
        "runs/run/measurements.jsonl", mutate.JSONS, lambda place: cuts(Run.open(place).measurements()), 300
    ),
    "recipe of a run": Target("runs/run/recipe.yaml", mutate.TEXTS, lambda place: Run.open(place).recipe, 500),
    "state": Target("training/checkpoint/state.json", mutate.JSONS, lambda place: keeper_load(place.parent), 2000),
    "trained": Target(
        "training/checkpoint/trained.safetensors", mutate.JSONS, lambda place: keeper_load(place.parent), 700
    ),
    "optimizer": Target(
        "training/checkpoint/optimizer.safetensors", mutate.JSONS, lambda place: keeper_load(place.parent), 700
    ),
    "best": Target("training/best/trained.safetensors", mutate.JSONS, lambda place: keeper_best(place.parent), 500),
    "log": Target("training/log.jsonl", mutate.JSONS, keeper_log, 400, free=True),
    "shelf": Target("shelf/index.jsonl", mutate.JSONS, shelf, 1200, free=True),
    "language model": Target("words.arpa", mutate.TEXTS, lambda place: NGrams.from_arpa(place / "words.arpa"), 1500),
    "language model, gz": Target(
        "words.arpa.gz", mutate.BYTES, lambda place: NGrams.from_arpa(place / "words.arpa.gz"), 300
    ),
    "archive, tar": Target(
        "a.tar", mutate.BYTES, lambda place: unpack_archive(place / "a.tar", place / "out"), 250, free=True
    ),
    "archive, tar.gz": Target(
        "a.tar.gz", mutate.BYTES, lambda place: unpack_archive(place / "a.tar.gz", place / "out"), 250, free=True
    ),
    "archive, zip": Target(
        "a.zip", mutate.BYTES, lambda place: unpack_archive(place / "a.zip", place / "out"), 250, free=True
    ),
    "claim": Target("claimed/.sottovoce", mutate.JSONS, claim, 200, free=True),
    "step": Target("text", mutate.TEXTS, load_step(sv.METHODS), 3000, texts=STEPS),
    "measure": Target("text", mutate.TEXTS, load_step(sv.MEASURES), 1200, texts=MEASURES),
    **{
        name.removeprefix("audio/a."): Target(
            name, mutate.BYTES, lambda place, name=name: read_audio(place / Path(name).name), count
        )
        for name, count in AUDIO.items()
    },
}
LONG = sum(target.count for target in TARGETS.values())
_PLACES: dict[str, tuple[Path, bytes, set[str]]] = {}


def keys(count: int, seed: int) -> list[str]:
    """So many mutations, shared out over the targets as in the long form, and at least one of each."""
    shares = {name: max(1, round(target.count * count / LONG)) for name, target in TARGETS.items()}
    shares["step"] += count - sum(shares.values())
    return [f"mutation/{name}/{seed}/{number}" for name, share in shares.items() for number in range(share)]


def run(key: str, good: Path) -> Verdict:
    """Change the good file of a key, and judge its reader."""
    name = key.split("/")[1]
    target = TARGETS[name]
    folder, content, names = place_of(name, good)
    path = folder / Path(target.file).name
    path.write_bytes(changed(key, content))
    found = verdict.judge(lambda: target.read(folder))
    left = set(os.listdir(folder)) - names
    shutil.rmtree(folder / "out", ignore_errors=True)
    if target.free:
        left = {leftover for leftover in left if leftover.startswith(".")}
    if left and not found.fault:
        found = Verdict(found.outcome, found.said, f"it left {sorted(left)[0]!r}")
    for leftover in left:
        shutil.rmtree(folder / leftover, ignore_errors=True)
    return found


def changed(key: str, content: bytes) -> bytes:
    """The content after the changes of a key."""
    _, name, seed, number = key.split("/")
    target, chance = TARGETS[name], random.Random(f"{name} {seed} {number}")
    if target.texts:
        content = chance.choice(target.texts).encode()
    if not target.head:
        return mutate.mutate(content, target.kinds, chance)
    end = header_of(content)
    head = mutate.mutate(content[HEADER:end], target.kinds, chance)
    # Half of the lengths before the header are right for what it has become, so that it is read.
    size = len(head).to_bytes(HEADER, "little") if chance.random() < 0.5 else content[:HEADER]
    return size + head + content[end:]


def content_of(key: str, good: Path) -> tuple[str, bytes]:
    """The name and the content of the file that a key makes."""
    name = key.split("/")[1]
    return TARGETS[name].file, changed(key, place_of(name, good)[1])


def place_of(name: str, good: Path) -> tuple[Path, bytes, set[str]]:
    """A folder with copies of the good files of a target, the content that is changed, and what lies there."""
    if name not in _PLACES:
        if not NAMES:
            NAMES.update(sv.load(good / "difference").state_dict())
        file = Path(TARGETS[name].file)
        top = Path(tempfile.mkdtemp(prefix="mutation-"))
        source = good / file.parent if len(file.parts) > 1 else None
        if len(file.parts) > 2:
            shutil.copytree(good / file.parts[0], top / file.parts[0])
            folder = top / file.parent
        elif source is not None and source.is_dir():
            folder = Path(shutil.copytree(source, top / file.parent))
        else:
            folder = top
        content = (good / file).read_bytes() if (good / file).is_file() else made(file.name, good)
        (folder / file.name).write_bytes(content)
        _PLACES[name] = folder, content, set(os.listdir(folder))
    return _PLACES[name]


def made(name: str, good: Path) -> bytes:
    """Content that lies in no good file."""
    if name == "structure.json":
        import json

        return json.dumps(json.loads((good / "cut" / "config.json").read_text())[KEY]).encode()
    if name == ".sottovoce":
        owner = b'{"host": "elsewhere", "pid": 12, "life": "0a1b2c3d", "since": "2024-01-01", "what": "a test"}'
        return b'{"made by": "sottovoce", "owner": ' + owner + b"}\n"
    if name == "words.arpa.gz":
        return gzip.compress((good / "words.arpa").read_bytes(), mtime=0)
    buffer = io.BytesIO()
    if name == "a.zip":
        with zipfile.ZipFile(buffer, "w") as packed:
            for entry in ("a/one.txt", "a/two.txt"):
                packed.writestr(zipfile.ZipInfo(entry), "x" * 300)
    elif name.startswith("a.tar"):
        with tarfile.open(fileobj=buffer, mode="w:gz" if name.endswith(".gz") else "w") as archive:
            for entry in ("a/one.txt", "a/two.txt"):
                about = tarfile.TarInfo(entry)
                about.size = 300
                archive.addfile(about, io.BytesIO(b"x" * 300))
            link = tarfile.TarInfo("a/link")
            link.type, link.linkname = tarfile.SYMTYPE, "one.txt"
            archive.addfile(link)
    return buffer.getvalue()
