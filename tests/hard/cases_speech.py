"""Lines of manifests, audio files cut at many places or with headers that lie, names of data, language models."""

import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from cases import Case, Place
from cases_models import VALUES, with_value
from goods import FORMATS, RATE, sound

import sottovoce as sv
from sottovoce.data.audio import read_audio
from sottovoce.data.utterance import read_manifest
from sottovoce.tasks.decoding import NGrams

LINE = {
    "id": "a",
    "path": "u0.wav",
    "seconds": 0.3,
    "text": "ab",
    "phones": [["AH", 0.0, 0.1], ["B", 0.1, 0.3]],
    "speaker": "s",
    "label": "yes",
    "task": "keywords",
    "split": "train",
    "licence": "CC0",
}
LINES: dict[str, str] = {
    "an unknown column": with_value(LINE, "txt", '"ab"'),
    "no columns": "{}",
    "two lines in one": json.dumps(LINE) * 2,
    "a path that leads out": with_value(LINE, "path", '"../u0.wav"'),
    "a path that leads out in the middle": with_value(LINE, "path", '"a/../../u0.wav"'),
    "an absolute path": with_value(LINE, "path", '"/etc/passwd"'),
    "a path of Windows": with_value(LINE, "path", '"C:\\\\u0.wav"'),
    "a path of Windows that leads out": with_value(LINE, "path", '"..\\\\u0.wav"'),
    "a path with a null character": with_value(LINE, "path", '"a\\u0000b"'),
    "a path of 5000 letters": with_value(LINE, "path", '"' + "x" * 5000 + '"'),
    "a path of a lone surrogate": with_value(LINE, "path", '"\\ud800"'),
    "an id of a lone surrogate": with_value(LINE, "id", '"\\ud800"'),
    "an id of a new line": with_value(LINE, "id", '"a\\nb"') + "\n" + with_value(LINE, "id", '"a\\nb"'),
    "an id twice": json.dumps(LINE) + "\n" + json.dumps(LINE),
    "seconds of a million years": with_value(LINE, "seconds", "1e300"),
    "seconds of almost nothing": with_value(LINE, "seconds", "1e-320"),
    "phones that overlap": with_value(LINE, "phones", '[["a", 0, 0.2], ["b", 0.1, 0.3]]'),
    "phones backwards": with_value(LINE, "phones", '[["a", 0.2, 0.1]]'),
    "phones before the beginning": with_value(LINE, "phones", '[["a", -0.2, 0.1]]'),
    "phones behind the end": with_value(LINE, "phones", '[["a", 0, 1e9]]'),
    "phones without end": with_value(LINE, "phones", '[["a", 0, 1e999]]'),
    "phones of NaN": with_value(LINE, "phones", '[["a", 0, NaN]]'),
    "phones of two parts": with_value(LINE, "phones", '[["a", 0]]'),
    "phones of four parts": with_value(LINE, "phones", '[["a", 0, 0.1, 0.2]]'),
    "phones of numbers": with_value(LINE, "phones", "[[1, 2, 3]]"),
    "phones of texts": with_value(LINE, "phones", '["abc"]'),
    "phones as texts": with_value(LINE, "phones", '[["a", "0", "0.1"]]'),
    "phones of null": with_value(LINE, "phones", "[null]"),
    "phones of booleans": with_value(LINE, "phones", '[["a", false, true]]'),
    "phones as an object": with_value(LINE, "phones", '{"abc": 1}'),
    "phones of an empty name": with_value(LINE, "phones", '[["", 0, 0.1]]'),
}
MANIFEST_FINE = {
    "null": "a column of null is not given",
    "a text": "any text may be a text",
    "an empty text": "any text may be a text",
    "a number as text": "any text may be a text",
    "a fraction": "any length above 0",
    "huge": "any length above 0; `corpus check` compares it with the file",
    "missing": "the column may be left out",
    "an empty list": "no phones are known",
}
LINES_FINE = {
    "seconds of a million years": MANIFEST_FINE["huge"],
    "seconds of almost nothing": MANIFEST_FINE["huge"],
    "phones behind the end": "the last phone may end with the recording, which is longer than its manifest says",
    "phones of an empty name": "any text may be a name",
    "a path of 5000 letters": "whether a file is there is asked when it is decoded",
}


def manifest_reason(key: str, kind: str) -> str:
    """Why a line is right with a value."""
    if kind == "missing":
        return "" if key in ("id", "path", "seconds") else MANIFEST_FINE[kind]
    if key == "seconds":
        return MANIFEST_FINE.get(kind, "") if kind in ("a fraction", "huge") else ""
    if kind == "beyond 64 bits" and key == "seconds":
        return MANIFEST_FINE["huge"]
    wanted = {"null"} if key == "phones" else {"a text", "a number as text", "null", "an empty text"}
    if key in ("id", "path"):
        wanted = {"a text", "a number as text"}
    return MANIFEST_FINE.get(kind, "") if kind in wanted | ({"an empty list"} if key == "phones" else set()) else ""


def manifest_cases() -> Iterator[Case]:
    """Every column with every value, and lines of other kinds."""
    rows = {
        f"{key} is {kind}": (with_value(LINE, key, text), manifest_reason(key, kind))
        for key in LINE
        for kind, text in {"missing": None, **VALUES}.items()
    }
    rows |= {kind: (text, LINES_FINE.get(kind, "")) for kind, text in LINES.items()}
    for kind, (text, why) in rows.items():

        def make(place: Place, text: str = text) -> Callable[[], object]:
            place.write("speech/manifest.jsonl", text + "\n")
            return lambda: read_manifest(Path("speech/manifest.jsonl"))

        yield Case(f"manifest/{kind}", make, why)


def wav(
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    align: int | None = None,
    data: bytes | None = None,
    length: int | None = None,
    riff: int | None = None,
    before: bytes = b"",
    form: bytes = b"WAVE",
    format_size: int = 16,
) -> bytes:
    """A WAV file whose header says what it is told to."""
    samples = (sound(0.1, 1) * 30_000).astype("<i2").tobytes() if data is None else data
    width = max(1, bits // 8 * channels) if align is None else align
    about = struct.pack("<HHIIHH", tag, channels, rate & 0xFFFFFFFF, rate * width & 0xFFFFFFFF, width & 0xFFFF, bits)
    chunks = before + b"fmt " + struct.pack("<I", format_size) + about
    chunks += b"data" + struct.pack("<I", len(samples) if length is None else length) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) if riff is None else riff) + form + chunks


def encoded(samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str = "FLOAT") -> bytes:
    """A file of some samples."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def poked(name: str, at: int, content: bytes) -> Callable[[Place], bytes]:
    """A good file with other bytes at a place."""

    def made(place: Place) -> bytes:
        good = (place.good / "audio" / name).read_bytes()
        return good[:at] + content + good[at + len(content) :]

    return made


ONE = np.full(1600, np.float32(0.5))
SOUNDS: dict[str, bytes | Callable[[Place], bytes]] = {
    "no channels": wav(channels=0),
    "65535 channels": wav(channels=65535),
    "no rate": wav(rate=0),
    "a rate of 1": wav(rate=1),
    "a rate of 4 GHz": wav(rate=(1 << 32) - 1),
    "a rate below zero": wav(rate=1 << 31),
    "no bits": wav(bits=0),
    "7 bits": wav(bits=7),
    "64 bits": wav(bits=64),
    "65535 bits": wav(bits=65535),
    "no alignment": wav(align=0),
    "a lying alignment": wav(align=999),
    "an unknown code": wav(tag=0x1234),
    "a code of nothing": wav(tag=0),
    "float of 16 bits": wav(tag=3, bits=16),
    "MP3 in WAV": wav(tag=0x55),
    "ADPCM that is none": wav(tag=2, bits=4),
    "more samples than there are": wav(length=1 << 30),
    "one byte more than there is": wav(length=3201),
    "no samples": wav(data=b""),
    "half a sample": wav(data=b"\0"),
    "an odd end": wav(data=bytes(range(1, 256)), length=255),
    "a short format": wav(format_size=4),
    "a format of 4 GB": wav(format_size=(1 << 32) - 1),
    "another form": wav(form=b"AVI "),
    "a chunk of 4 GB first": wav(before=b"LIST" + struct.pack("<I", (1 << 32) - 1)),
    "a thousand chunks first": wav(before=(b"junk" + struct.pack("<I", 0)) * 20_000),
    "data before the format": b"RIFF" + struct.pack("<I", 100) + b"WAVE" + b"data" + struct.pack("<I", 4) + bytes(4),
    "only a head": b"RIFF\x24\0\0\0WAVE",
    "silence": encoded(np.zeros(1600, "float32")),
    "one sample": encoded(ONE[:1]),
    "no frame at all": encoded(ONE[:0]),
    "NaN": encoded(np.full(1600, np.float32(np.nan))),
    "one NaN": encoded(np.concatenate([ONE, np.full(1, np.float32(np.nan)), ONE])),
    "infinity": encoded(np.full(1600, np.float32(np.inf))),
    "numbers near the end of all floats": encoded(np.full(1600, np.float32(3e38))),
    "numbers near zero": encoded(np.full(1600, np.float32(1e-44))),
    "doubles beyond floats": encoded(np.full(1600, 1e300), subtype="DOUBLE"),
    "channels that cancel out": encoded(np.stack([ONE, -ONE], axis=1)),
    "too long": encoded(np.tile(ONE, 4), rate=3),
    "a rate that no filter takes": encoded(ONE, rate=1),
    "a text": b"not a sound\n",
    "a page of the web": b"<!DOCTYPE html>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 378\n",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a zip": b"PK\x03\x04" + bytes(100),
    "a film": b"\0\0\0\x20ftypisom" + bytes(100),
    "FLAC of nothing": b"fLaC",
    "FLAC of 2^36 samples": poked("a.flac", 21, b"\x0f\xff\xff\xff\xff"),
    "FLAC of no samples": poked("a.flac", 21, b"\xf0\0\0\0\0"),
    "FLAC of no rate": poked("a.flac", 18, b"\0\0\0"),
    "FLAC with vast blocks": poked("a.flac", 8, b"\xff\xff\xff\xff"),
    "FLAC with a vast comment": poked("a.flac", 43, b"\xff\xff\xff"),
    "Ogg of nothing": b"OggS",
    "Ogg of a vast page": poked("a.ogg", 26, b"\xff"),
    "Ogg of another version": poked("a.ogg", 4, b"\x07"),
    "Ogg of another stream": poked("a.ogg", 14, b"\x12\x34"),
    "Ogg of a vast position": poked("a.ogg", 6, b"\xff" * 7 + b"\x7f"),
    "Opus of 255 channels": poked("a.opus", 37, b"\xff"),
    "AIFF of vast samples": poked("a.aiff", 22, b"\xff\xff\xff\xff"),
    "AU of a vast header": poked("a.au", 4, b"\xff\xff\xff\x00"),
    "AU of another code": poked("a.au", 12, b"\0\0\0\xff"),
    "AU of no rate": poked("a.au", 16, b"\0\0\0\0"),
    "CAF of vast data": poked("a.caf", 60, b"\x7f" + b"\xff" * 7),
    "RF64 of vast data": poked("a.rf64", 28, b"\xff" * 7 + b"\x7f"),
    "W64 of vast data": poked("a.w64", 40, b"\xff" * 24),
    "NIST of vast samples": lambda place: (
        (place.good / "audio" / "a.sph").read_bytes().replace(b"-i 2400", b"-i 999999999")
    ),
    "MP3 of another layer": poked("a.mp3", 0, b"\xff\xff\xff\xff"),
}
SOUNDS_FINE = {
    "one sample": "one sample is a sound",
    "numbers near zero": "a quiet sound is a sound",
    "a lying alignment": "libsndfile goes by bits and channels",
    "an odd end": "libsndfile leaves half a sample out",
    "no alignment": "libsndfile goes by bits and channels",
    "7 bits": "they lie in a byte",
    "AIFF of vast samples": "the chunk of the samples says how many there are",
    "FLAC of no samples": "0 means that it was not known when the header was written",
    "RF64 of vast data": "a size that no disk holds is one that was not known",
    "FLAC with vast blocks": "the largest block is a hint to who plays it",
    "MP3 of another layer": "a frame that is damaged is passed over",
}


def audio_cases() -> Iterator[Case]:
    """Headers that lie, and every format cut at many places."""
    for kind, content in SOUNDS.items():

        def make(place: Place, content: bytes | Callable[[Place], bytes] = content) -> Callable[[], object]:
            place.write("a.wav", content if isinstance(content, bytes) else content(place))
            return lambda: read_audio("a.wav")

        yield Case(f"audio/{kind}", make, SOUNDS_FINE.get(kind, ""))
    for name in FORMATS:
        for parts in (1, 2, 3, 5, 8, 20, 50, 100, 200, 400, 600, 800, 900, 950, 990, 998):

            def make_cut(place: Place, name: str = name, parts: int = parts) -> Callable[[], object]:
                good = (place.good / "audio" / f"a.{name}").read_bytes()
                place.write(f"a.{name}", good[: len(good) * parts // 1000])
                return lambda: read_audio(f"a.{name}")

            yield Case(f"audio/{name} cut to {parts} in 1000", make_cut)
        for lost in (1, 2, 7, 16):

            def make_short(place: Place, name: str = name, lost: int = lost) -> Callable[[], object]:
                place.write(f"a.{name}", (place.good / "audio" / f"a.{name}").read_bytes()[:-lost])
                return lambda: read_audio(f"a.{name}")

            yield Case(f"audio/{name} without its last {lost} bytes", make_short)


DATA_NAMES = (
    *("espeak:", "espeak:0", "espeak:-1", "espeak:nan", "espeak:inf", "espeak:1e308", "espeak:1e6", "espeak:x"),
    *("espeak:1,", "espeak:1,xx", "espeak:1,,de", "espeak:0.0001,\x1b", "espeak:" + "9" * 400, "espeak 1", "ESPEAK"),
    *("espeak:1e-300", "espeak:1:2", "espeak:,de", " + ", "speech + ", "+", "speech + speech", "@", "@@"),
    *("fsdd@", "fsdd@ ", "@speech", "nothing@speech", "fsdd@speech", "iemocap@speech/manifest.jsonl", "librispeech"),
    *("speech@nothing", "speech/manifest.jsonl@", "fsdd", "speech + nothing", "speech + espeak:x", "hub:a/b"),
    *("file:///etc/passwd", "%s%s%s", "${HOME}", "speech\0", "speech/u0.wav", "speech/manifest.jsonl/", "./"),
)
DATA_FINE = {
    "espeak:1e-300": "however little is asked for, a sentence of each kind is spoken",
    "speech/manifest.jsonl/": "a path of Python has no end of its own",
    "speech@nothing": "the audio is then elsewhere, which is asked when it is decoded",
}
ARPA = "\\data\\\nngram 1=2\n\n\\1-grams:\n-1.0\ta\t-0.5\n-1.0\tb\n\n\\end\\\n"
MODELS: dict[str, str] = {
    "nothing": "",
    "another text": "hello\n",
    "no end": ARPA.replace("\\end\\", ""),
    "no counts": ARPA.replace("ngram 1=2\n", ""),
    "other counts": ARPA.replace("1=2", "1=3"),
    "counts below zero": ARPA.replace("1=2", "1=-2"),
    "counts of 5000 digits": ARPA.replace("1=2", "1=" + "9" * 5000),
    "an order of 5000 digits": ARPA.replace("1=2", "9" * 5000 + "=2"),
    "counts in another order": ARPA.replace("ngram 1=2", "ngram 2=2\nngram 1=2"),
    "an order that is skipped": ARPA.replace("ngram 1=2", "ngram 1=2\nngram 3=1"),
    "a probability above one": ARPA.replace("-1.0\tb", "0.5\tb"),
    "a probability of NaN": ARPA.replace("-1.0\tb", "nan\tb"),
    "a probability of nothing": ARPA.replace("-1.0\tb", "-inf\tb"),
    "a probability in words": ARPA.replace("-1.0\tb", "minus\tb"),
    "a backoff of NaN": ARPA.replace("-0.5", "nan"),
    "a word twice": ARPA.replace("-1.0\tb", "-1.0\ta"),
    "too many fields": ARPA.replace("-1.0\tb", "-1.0\tb\t-1\t-1\t-1"),
    "no word": ARPA.replace("-1.0\tb", "-1.0"),
    "an unknown section": ARPA.replace("\\1-grams:", "\\one-grams:"),
    "letters that move the cursor": ARPA.replace("-1.0\tb", "-1.0\t\x1b[2J b c d"),
    "null characters": ARPA.replace("-1.0\tb", "\0\0\0"),
    "a line of a million letters": ARPA.replace("-1.0\tb", "x" * 1_000_000),
    "a section name of 5000 letters": ARPA.replace("\\1-grams:", "\\" + "x" * 5000),
}


def data_cases() -> Iterator[Case]:
    """Names of data, and language models."""
    for name in DATA_NAMES:

        def make(place: Place, name: str = name) -> Callable[[], object]:
            place.copy("speech")
            return lambda: sv.read_data(name)

        yield Case(f"data/{name[:40]!r}", make, DATA_FINE.get(name, ""))
    for kind, text in MODELS.items():

        def make_model(place: Place, text: str = text) -> Callable[[], object]:
            place.write("words.arpa", text)
            return lambda: NGrams.from_arpa("words.arpa")

        yield Case(f"arpa/{kind}", make_model)


def cases() -> Iterator[Case]:
    yield from manifest_cases()
    yield from audio_cases()
    yield from data_cases()
