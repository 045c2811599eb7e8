"""Texts that are no JSON, or not the JSON that is wanted, in every file that the program reads as JSON."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import targets
from cases import Case, Place
from cases_models import examined

import sottovoce as sv
from sottovoce.data.download import _read_notes
from sottovoce.files import claimed
from sottovoce.runs import Run

TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n\t\n",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-8 with a mark of order": b'\xef\xbb\xbf{"a": 1}',
    "half a letter": b'{"a": "\xc3',
    "a surrogate in bytes": b'{"a": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a lone surrogate as a key": b'{"\\udfff": 1}',
    "a null character": b'{"a": "\0"}',
    "zeros, as a crash leaves them": bytes(300),
    "brackets a thousand deep": b"[" * 1000 + b"]" * 1000,
    "brackets a hundred thousand deep": b'{"a":' * 100_000,
    "objects a hundred deep": b'{"a":' * 100 + b"1" + b"}" * 100,
    "a number of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a number beyond all floats": b'{"a": 1e99999}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a key twice": b'{"a": 1, "a": 2}',
    "a comma too many": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "a comment": b'{"a": 1} // one',
    "two objects": b'{"a": 1} {"b": 2}',
    "half of it": b'{"a": [1, 2',
    "a list": b"[1, 2]",
    "a list of objects": b'[{"a": 1}]',
    "a text": b'"a"',
    "a number": b"7",
    "null": b"null",
    "true": b"true",
    "an empty object": b"{}",
    "another object": b'{"a": 1, "b": {"c": [null]}}',
    "a page of the web": b"<!DOCTYPE html><html></html>",
    "YAML": b"a: 1\nb: 2\n",
    "old Mac lines": b'{"a": 1}\r{"b": 2}\r',
    "a text of a million letters": b'{"a": "' + b"x" * 1_000_000 + b'"}',
}


def reads(folder: str, act: Callable[[], object]) -> Callable[[Place], Callable[[], object]]:
    """Copy a good folder first."""

    def prepared(place: Place) -> Callable[[], object]:
        place.copy(folder)
        return act

    return prepared


def head_vocabulary() -> None:
    """What a head says, read with its vocabulary."""
    from sottovoce.models.heads import head_labels

    head_labels(sv.load("head"))


def held() -> None:
    with claimed("claimed", "a test"):
        pass


def metadata(file: str) -> Callable[[Place, bytes], None]:
    """Put a text where a file of tensors has metadata of this program."""

    def put(place: Place, text: bytes) -> None:
        path = place.folder / file
        content = path.read_bytes()
        size = struct.unpack("<Q", content[:8])[0]
        record = json.loads(content[8 : 8 + size])
        record["__metadata__"] = {"sottovoce": text.decode("utf-8", "replace")}
        head = json.dumps(record).encode()
        path.write_bytes(struct.pack("<Q", len(head)) + head + content[8 + size :])

    return put


def replaced(file: str) -> Callable[[Place, bytes], None]:
    return lambda place, text: place.write(file, text) and None


def as_line(file: str) -> Callable[[Place, bytes], None]:
    """Put a text as the last line of a file of lines."""

    def put(place: Place, text: bytes) -> None:
        path = place.folder / file
        path.write_bytes(path.read_bytes() + text + b"\n")

    return put


BEGINS_ANEW = "what is kept for later is worked out anew where it cannot be read"
NO_CLAIM = "a claim that cannot be read is of nobody"
LINES = "a blank line is no line"
TRAINING = "training"
# Where the text goes, what reads it, and why any text may pass, where it may.
FILES: dict[str, tuple[Callable[[Place], Callable[[], object]], Callable[[Place, bytes], None], str]] = {
    "config.json": (reads("plain", lambda: sv.load("plain")), replaced("plain/config.json"), ""),
    "config.json of new": (reads("plain", lambda: sv.new("plain/")), replaced("plain/config.json"), ""),
    "config.json, examined": (reads("plain", lambda: examined("plain")), replaced("plain/config.json"), ""),
    "index": (reads("shards", lambda: sv.load("shards")), replaced("shards/model.safetensors.index.json"), ""),
    "processor, examined": (
        reads("plain", lambda: examined("plain")),
        replaced("plain/preprocessor_config.json"),
        "other",
    ),
    "vocab.json": (reads("head", head_vocabulary), replaced("head/vocab.json"), "other"),
    "tokenizer_config.json": (reads("head", head_vocabulary), replaced("head/tokenizer_config.json"), "other"),
    "added_tokens.json": (reads("head", head_vocabulary), replaced("head/added_tokens.json"), "other"),
    "generation_config.json": (
        reads("plain", lambda: sv.load("plain")),
        replaced("plain/generation_config.json"),
        "any",
    ),
    "packed": (reads("packed", lambda: sv.load("packed")), metadata("packed/packed.safetensors"), ""),
    "difference": (
        reads("difference", lambda: sv.load("difference")),
        metadata("difference/difference.safetensors"),
        "",
    ),
    "run.json": (reads("runs", lambda: Run.open("runs/run").record), replaced("runs/run/run.json"), ""),
    "measurements": (
        reads("runs", lambda: Run.open("runs/run").measurements()),
        as_line("runs/run/measurements.jsonl"),
        "lines",
    ),
    "manifest": (reads("speech", lambda: sv.read_data("speech")), as_line("speech/manifest.jsonl"), "lines"),
    "state.json": (
        reads(TRAINING, lambda: targets.keeper_load(Path(TRAINING))),
        replaced("training/checkpoint/state.json"),
        "",
    ),
    "log.jsonl": (reads(TRAINING, lambda: targets.keeper_log(Path(TRAINING))), as_line("training/log.jsonl"), "lines"),
    "shelf": (reads("shelf", lambda: targets.shelf(Path("shelf"))), as_line("shelf/index.jsonl"), "any"),
    "shelf, its head": (reads("shelf", lambda: targets.shelf(Path("shelf"))), replaced("shelf/index.jsonl"), "any"),
    "claim": (reads("plain", held), replaced("claimed/.sottovoce"), "any"),
    "download notes": (reads("plain", lambda: _read_notes(Path("notes.json"))), replaced("notes.json"), "any"),
}
WHY = {
    "any": "what cannot be read there is worked out anew",
    "lines": "a blank line is no line",
    "other": "an object without the keys that are asked for says nothing",
}
OBJECTS = {"an empty object", "another object", "a key twice", "a text of a million letters", "a null character"}
PASSING = {
    "any": set(TEXTS),
    "lines": {"nothing", "blanks"},
    "other": {*OBJECTS, "a number beyond all floats"},
    "": set(),
}
OUT = {"shelf", "shelf, its head", "log.jsonl", "claim"}


def cases() -> Iterator[Case]:
    """Every text in every file."""
    for name, (prepare, put, rule) in FILES.items():
        for kind, text in TEXTS.items():

            def make(
                place: Place,
                prepare: Callable[[Place], Callable[[], object]] = prepare,
                put: Callable[[Place, bytes], None] = put,
                text: bytes = text,
            ) -> Callable[[], object]:
                act = prepare(place)
                put(place, text)
                return act

            written = ("shelf", TRAINING, "claimed") if name in OUT else ()
            yield Case(f"texts/{name}/{kind}", make, WHY[rule] if kind in PASSING[rule] else "", written, written)
