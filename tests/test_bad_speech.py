"""Speech from strangers: audio that is cut off or lies, manifests, lists and archives that nobody should believe."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sottovoce.data import audio
from sottovoce.data.audio import duration, read_audio
from sottovoce.data.batches import decoded, only_sound, samples
from sottovoce.data.corpora.prepare import check
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError

NOISE = (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32)
KINDS = {
    "wav": ("WAV", "PCM_16"),
    "wavex": ("WAVEX", "PCM_24"),
    "adpcm": ("WAV", "IMA_ADPCM"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def encoded(kind: str, samples: np.ndarray = NOISE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format=KINDS[kind][0], subtype=KINDS[kind][1])
    return buffer.getvalue()


def refused(path: Path, *words: str) -> str:
    """The sentence with which a file is refused, at once."""
    begun = time.monotonic()
    with pytest.raises(SottovoceError) as caught:
        read_audio(path)
    assert time.monotonic() - begun < 1
    said = str(caught.value)
    assert path.name in said and "\n" not in said and all(word in said for word in words), said
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_off_is_refused_and_what_follows_is_not(tmp_path: Path, kind: str) -> None:
    whole, path = encoded(kind), tmp_path / f"a.{kind}"
    path.write_bytes(whole)
    heard = read_audio(path)
    path.write_bytes(whole + b"\0" * (0 if kind in ("sph", "w64") else 1000))
    assert np.array_equal(read_audio(path), heard), "what stands behind the audio does not matter"
    for part in (0.1, 0.5, 0.9, 0.97):
        path.write_bytes(whole[: int(len(whole) * part)])
        said = refused(path)
        assert "is cut off" in said or "no audio that can be decoded" in said
        if part == 0.5 and kind != "flac":
            assert "is cut off" in said
    path.write_bytes(whole[:-200])
    said = refused(path)
    assert "is cut off" in said or (kind == "flac" and "lost sync" in said)


def test_a_wav_file_without_its_last_byte(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded("wav")[:-1])
    refused(tmp_path / "a.wav", "is cut off: of 48000 bytes of samples, 47999 are there; copy it again")


@pytest.mark.parametrize("after", [b"", b"LIST\x04\0\0\0INFO", b"id3 \3\0\0\0ab\0\0"])
def test_chunks_behind_the_samples(tmp_path: Path, after: bytes) -> None:
    whole = encoded("wav")
    (tmp_path / "a.wav").write_bytes(whole + after)
    assert len(read_audio(tmp_path / "a.wav")) == 24_000


@pytest.mark.parametrize("riff, data", [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (36, 0)])
def test_a_length_that_nobody_knew_is_no_promise(tmp_path: Path, riff: int, data: int) -> None:
    """What recorders leave behind that wrote to a pipe, or were killed."""
    whole = encoded("wav")
    at = whole.index(b"data") + 4
    sizes = riff.to_bytes(4, "little"), data.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(whole[:4] + sizes[0] + whole[8:at] + sizes[1] + whole[at + 4 :])
    (tmp_path / "b.wav").write_bytes(whole)
    assert np.array_equal(read_audio(tmp_path / "a.wav"), read_audio(tmp_path / "b.wav"))
    assert duration(tmp_path / "a.wav") == 1.5


def test_a_flac_stream_of_unknown_length(tmp_path: Path) -> None:
    whole = bytearray(encoded("flac"))
    whole[21] &= 0xF0
    whole[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(whole)
    assert len(read_audio(tmp_path / "a.flac")) == 24_000 and duration(tmp_path / "a.flac") == 1.5


def test_an_empty_wav_file_is_not_filled_with_what_follows(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded("wav", NOISE[:0]) + b"LIST\x04\0\0\0INFO")
    refused(tmp_path / "a.wav", "holds no samples")


@pytest.mark.parametrize("kind", ["wav", "opus"])
def test_shorter_than_its_manifest_says(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(encoded(kind))
    said = "is 1.50 s long, but 'a' says 2.00 s; copy it again"
    short, right = Utterance("a", path, 2.0), Utterance("b", path, 1.54)
    assert len(samples(right)) == 24_000
    with pytest.raises(SottovoceError, match=said):
        samples(short)
    with pytest.raises(SottovoceError, match=said):
        decoded([short], tmp_path / "cache")
    told: list[str] = []
    assert only_sound([short, right], told.append) == [right] and len(told) == 1 and said in told[0]
    (tmp_path / "m.jsonl").write_text(json.dumps({"id": "a", "path": path.name, "seconds": 2.0}))
    assert "1.50 s long, but 'a' says 2.00 s" in check(tmp_path / "m.jsonl").bad[0]


def flac_saying(place: int, bits: int, value: int) -> bytes:
    """A FLAC file whose 64 bits of rate, channels and length have another value at a place."""
    whole = bytearray(encoded("flac"))
    about = int.from_bytes(whole[18:26], "big")
    mask = ((1 << bits) - 1) << place
    whole[18:26] = (about & ~mask | value << place).to_bytes(8, "big")
    return bytes(whole)


def wav_saying(place: int, value: int, width: int = 4) -> bytes:
    whole = encoded("wav")
    return whole[:place] + value.to_bytes(width, "little") + whole[place + width :]


LIES = {
    "long.flac": (lambda: flac_saying(0, 36, (1 << 36) - 1), "is 4294967 s long, more than 1800 s; cut it"),
    "no_rate.flac": (lambda: flac_saying(44, 20, 0), "no audio that can be decoded"),
    "no_rate.wav": (lambda: wav_saying(24, 0), "no audio that can be decoded"),
    "slow.wav": (lambda: wav_saying(24, 7), "has 7 samples a second, but 1000 to 1000000 can be read"),
    "fast.wav": (lambda: wav_saying(24, 10**9), "has 1000000000 samples a second"),
    "none.wav": (lambda: wav_saying(22, 0, 2), "no audio that can be decoded"),
}


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie(tmp_path: Path, name: str) -> None:
    make, words = LIES[name]
    (tmp_path / name).write_bytes(make())
    refused(tmp_path / name, words)


def test_too_many_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "wide.wav", np.full((100, 65), 0.1), 16_000)
    refused(tmp_path / "wide.wav", "has 65 channels, but 1 to 64 can be read")
    soundfile.write(tmp_path / "all.wav", np.full((100, 64), 0.25), 16_000)
    assert read_audio(tmp_path / "all.wav")[0] == 0.25


def test_what_is_promised_takes_no_memory(tmp_path: Path) -> None:
    """Half an hour in eight channels at the highest rate, of which a second is there."""
    whole = bytearray(flac_saying(44, 20, 192_000))
    about = int.from_bytes(whole[18:26], "big")
    whole[18:26] = (about >> 36 << 36 | 1799 * 192_000).to_bytes(8, "big")
    (tmp_path / "a.flac").write_bytes(whole)
    script = (
        "import resource; from sottovoce.data.audio import read_audio\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), -1))\n"
        f"try: read_audio({str(tmp_path / 'a.flac')!r})\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "is cut off: 24000 of 345408000 samples are there" in done.stdout, done.stderr


def test_long_at_a_high_rate(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(flac_saying(44, 20, 655_350))
    assert len(read_audio(tmp_path / "a.flac")) == pytest.approx(24_000 * 16_000 / 655_350, abs=2)
    with pytest.raises(SottovoceError, match="is longer than 1 s"):
        path = tmp_path / "b.flac"
        whole = bytearray(encoded("flac"))
        whole[21] &= 0xF0
        whole[22:26] = bytes(4)
        path.write_bytes(whole)
        read_audio(path, longest=1.0)


def test_only_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.wav"))
        refused(tmp_path / "s.wav", "is a socket, but the audio is an ordinary file")
    refused(tmp_path / "pipe.wav", "is a pipe, but the audio is an ordinary file")
    refused(tmp_path / "folder.wav", "is a folder")
    refused(tmp_path / "device.wav", "is a device")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    refused(tmp_path / "loop.wav", "cannot be reached")
    (tmp_path / "broken.wav").symlink_to("nothing")
    refused(tmp_path / "broken.wav", "there is no audio file")


def test_too_many_open_files_is_no_fault_of_a_file(tmp_path: Path) -> None:
    """Left out as bad would be every file from here on."""
    (tmp_path / "a.wav").write_bytes(encoded("wav"))
    script = (
        "import os, resource; from pathlib import Path; from sottovoce.data.batches import only_sound\n"
        "from sottovoce.data.utterance import Utterance\n"
        "last = os.open('/dev/null', os.O_RDONLY)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, last + 1))\n"
        f"utterance = Utterance('a', Path({str(tmp_path / 'a.wav')!r}), 1.5)\n"
        "try: print('kept', only_sound([utterance], lambda message: print('bad', message)))\n"
        "except OSError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == f"[Errno 24] Too many open files: '{tmp_path / 'a.wav'}'\n", done.stderr


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_what_the_system_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("wav"))

    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(audio, "cut_off", fails)
    said = refused(path, "the system refused", os.strerror(number))
    assert "no audio" not in said and "copy" not in said
