"""Speech from strangers: audio that is cut off or lies, manifests, lists and archives that nobody should believe."""

import errno
import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sottovoce.data import audio
from sottovoce.data.archives import unpack
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
    "caf": ("CAF", "PCM_16"),
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
    (tmp_path / "m.jsonl").write_text("")
    assert check(tmp_path / "m.jsonl").bad == (f"{tmp_path / 'm.jsonl'} has no line, and so no utterance.",)


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


def packed(path: Path, members: Iterable[tuple[tarfile.TarInfo | str, int | bytes]]) -> Path:
    """A tar.gz of members of zeros, or of bytes."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for member, content in members:
            about = tarfile.TarInfo(member) if isinstance(member, str) else member
            about.size = content if isinstance(content, int) else len(content)
            archive.addfile(about, Zeros() if isinstance(content, int) else io.BytesIO(content))
    return path


class Zeros(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def refused_archive(archive: Path, words: str, seconds: float = 1.5) -> None:
    """Refused at once, and nothing left behind."""
    before = sorted(archive.parent.rglob("*"))
    begun = time.monotonic()
    with pytest.raises(SottovoceError) as caught:
        unpack(archive, archive.parent / "out")
    assert time.monotonic() - begun < seconds
    said = str(caught.value)
    assert words in said and "\n" not in said and len(said) < 400, said
    assert sorted(archive.parent.rglob("*")) == before


def test_a_small_archive_that_would_fill_the_disk(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        about = tarfile.TarInfo("big.wav")
        about.size = 1 << 40
        file.write(about.tobuf() + bytes(1 << 20))
    refused_archive(tmp_path / "a.tar.gz", "'big.wav' in the archive is 1099511627776 bytes long, far too much for")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(18):
            with archive.open(f"{number}.wav", "w") as file:
                for _ in range(60):
                    file.write(bytes(1 << 20))
    refused_archive(tmp_path / "a.zip", "far too much for an archive of")


def test_many_members_of_nothing(tmp_path: Path) -> None:
    packed(tmp_path / "a.tar.gz", ((f"{number}", 0) for number in range(25_000)))
    refused_archive(tmp_path / "a.tar.gz", "far too many for", seconds=10)


def test_what_is_longer_than_the_disk_has_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(tmp_path / "a.tar.gz", [("a.wav", os.urandom(200_000)), ("b.wav", os.urandom(200_000))])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=300_000))
    refused_archive(tmp_path / "a.tar.gz", "needs more than 400000 bytes, but the disk has 300000; free some space")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a" * 300, "has a name that is too long for a disk"),
        ("ä" * 200, "has a name that is too long for a disk"),
        ("a/" * 3000 + "b", "has a name that is too long for a disk"),
        ("b\udcff", "has a name that is not UTF-8"),
        ("\x1b[2J/../x", "'\\x1b[2J/../x' in the archive leads out of the folder"),
    ],
)
def test_names_that_no_disk_takes(tmp_path: Path, name: str, words: str) -> None:
    refused_archive(packed(tmp_path / "a.tar.gz", [("good", b"good"), (name, b"x")]), words)


def test_a_null_character_in_a_name(tmp_path: Path) -> None:
    about = tarfile.TarInfo("x")
    about.pax_headers = {"path": "a\0b"}
    refused_archive(packed(tmp_path / "a.tar.gz", [(about, b"x")]), "has a name with a null character")


def test_headers_of_archives_that_lie(tmp_path: Path) -> None:
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        about = tarfile.TarInfo("././@LongLink")
        about.type, about.size = kind, 1 << 32
        with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
            file.write(about.tobuf() + bytes(64 << 20))
        refused_archive(tmp_path / "a.tar.gz", "cannot be unpacked (a header of 4294967296 bytes)")
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    for content, words in (
        (b"a" * 10_000_000, "is a link to a name of 10000000 bytes"),
        (b"\xff", "cannot be unpacked"),
    ):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(link, content)
        refused_archive(tmp_path / "a.zip", words)


def test_links_below_links_and_in_circles(tmp_path: Path) -> None:
    def link(name: str, target: str) -> tuple[tarfile.TarInfo, int]:
        about = tarfile.TarInfo(name)
        about.type, about.linkname = tarfile.SYMTYPE, target
        return about, 0

    outside = tmp_path / "outside"
    outside.mkdir()
    below = [link("a", str(outside)), link("a/b", "c")]
    refused_archive(packed(tmp_path / "a.tar.gz", below), "cannot be unpacked")
    refused_archive(packed(tmp_path / "a.tar.gz", below[::-1]), "cannot be unpacked")
    assert list(outside.iterdir()) == []
    folder = unpack(packed(tmp_path / "a.tar.gz", [link("a", "b"), link("b", "a"), ("c", b"c")]), tmp_path / "out")
    assert [path.name for path in folder.iterdir()] == ["c"], "links that lead nowhere are left out"


def test_files_that_want_each_others_place(tmp_path: Path) -> None:
    refused_archive(packed(tmp_path / "a.tar.gz", [("a", b"x"), ("a/b", b"y")]), "remove it and fetch it again")
    refused_archive(packed(tmp_path / "a.tar.gz", [("a/b", b"x"), ("a", b"y")]), "remove it and fetch it again")


def test_an_archive_of_nothing(tmp_path: Path) -> None:
    with open(tmp_path / "a.tar", "wb") as file:
        file.truncate(40 << 30)
    refused_archive(tmp_path / "a.tar", "nothing was unpacked: the archive holds nothing; fetch it again")


def test_only_files_are_unpacked(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.zip")
    refused_archive(tmp_path / "a.zip", "is a pipe, but the archive is an ordinary file")


def test_a_disk_that_refuses_is_no_fault_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "x.wav")

    monkeypatch.setattr(shutil, "copyfileobj", fails)
    packed(tmp_path / "a.tar.gz", [("x.wav", b"x")])
    refused_archive(tmp_path / "a.tar.gz", "was not unpacked: the system refused 'x.wav': Input/output error")
