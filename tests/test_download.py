"""Downloads go on where they stopped and leave nothing wrong behind; archives cannot write outside their folder."""

import errno
import hashlib
import io
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sottovoce.data import download
from sottovoce.data.archives import unpack
from sottovoce.data.download import fetch
from sottovoce.errors import SottovoceError

BODY = bytes(range(256)) * 4096
SUM = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


class Server:
    """A web server of one file, on this machine alone, whose faults can be chosen."""

    def __init__(self) -> None:
        self.body = BODY
        self.ranges = True  # whether it knows how to send a part
        self.headers = {"ETag": '"one"'}
        self.cut: int | None = None  # closes the connection after so many bytes
        self.lie = 0  # sends a part that begins so much later than it was asked for
        self.length = True
        self.status = 200
        self.asked: list[dict[str, str]] = []
        self.sent: list[int] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}/speech.tar.gz"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                asked = dict(self.headers)
                server.asked.append(asked)
                if server.status != 200:
                    self.send_error(server.status)
                    return
                start = int(asked["Range"][6:-1]) if "Range" in asked else 0
                same = asked.get("If-Range") in (None, *server.headers.values())
                if not server.ranges or not same:
                    start = 0
                if start >= len(server.body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(server.body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206 if start else 200)
                start += server.lie if start else 0
                rest = server.body[start:]
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
                for name, value in server.headers.items():
                    self.send_header(name, value)
                if server.length:
                    self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                rest = rest[: server.cut]
                server.sent.append(len(rest))
                self.wfile.write(rest)

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "speech.tar.gz"


def interrupted(server: Server, target: Path, after: int = 300_000) -> None:
    server.cut = after
    with pytest.raises(SottovoceError, match=rf"after {after} of {len(BODY)} bytes.* {after} bytes are kept.*goes on"):
        fetch(server.url, target, checksum=SUM)
    server.cut = None
    assert not target.exists() and target.with_name("speech.tar.gz.part").stat().st_size == after


def only(target: Path, content: bytes = BODY) -> None:
    """The file is there, and nothing beside it."""
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize(
    "checksum", ["", SUM, f"md5:{hashlib.md5(BODY).hexdigest()}", SUM.upper().replace("SHA", "sha")]
)
def test_a_file_is_fetched_once(server: Server, target: Path, checksum: str) -> None:
    assert fetch(server.url, target, checksum=checksum) == target
    only(target)
    fetch(server.url, target, checksum=checksum)
    assert len(server.asked) == 1 and "Range" not in server.asked[0]


def test_without_a_length_the_end_is_the_end(server: Server, target: Path) -> None:
    server.length = False
    fetch(server.url, target)
    only(target)


@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {"Last-Modified": "Sat, 21 Nov 2026 09:00:00 GMT"}])
def test_only_the_rest_is_fetched(server: Server, target: Path, headers: dict[str, str]) -> None:
    server.headers = headers
    interrupted(server, target)
    fetch(server.url, target, checksum=SUM)
    only(target)
    assert server.asked[1]["Range"] == "bytes=300000-" and server.asked[1]["If-Range"] in headers.values()
    assert server.sent == [300_000, len(BODY) - 300_000]


def test_interrupted_twice(server: Server, target: Path) -> None:
    interrupted(server, target)
    server.cut = 100_000
    with pytest.raises(SottovoceError, match="400000 bytes are kept"):
        fetch(server.url, target)
    server.cut = None
    fetch(server.url, target)
    only(target)
    assert server.sent == [300_000, 100_000, len(BODY) - 400_000]


@pytest.mark.parametrize("fault", ["no ranges", "changed", "no state", "weak", "other address", "notes gone"])
def test_what_cannot_go_on_begins_again(server: Server, target: Path, fault: str) -> None:
    if fault in ("no state", "weak"):
        server.headers = {"ETag": 'W/"one"'} if fault == "weak" else {}
    interrupted(server, target)
    body, url = BODY, server.url
    if fault == "no ranges":
        server.ranges = False
    elif fault == "changed":
        server.body, server.headers = BODY[::-1] + b"longer", {"ETag": '"two"'}
        body = server.body
    elif fault == "other address":
        url = server.url.replace("speech", "other")
    elif fault == "notes gone":
        target.with_name("speech.tar.gz.part.json").unlink()
    fetch(url, target)
    only(target, body)
    assert server.sent[-1] == len(body)


def test_a_changed_file_interrupted_again_is_not_mixed(server: Server, target: Path) -> None:
    """The new file's beginning replaces the old one's before the notes say so."""
    interrupted(server, target)
    server.body, server.headers, server.cut = BODY[::-1], {"ETag": '"two"'}, 200_000
    with pytest.raises(SottovoceError, match="200000 bytes are kept"):
        fetch(server.url, target)
    server.cut = None
    fetch(server.url, target)
    only(target, BODY[::-1])
    assert server.asked[-1]["Range"] == "bytes=200000-" and server.asked[-1]["If-Range"] == '"two"'


def test_a_changed_file_and_a_crash_before_its_first_byte(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of the old file is gone before the notes speak of the new one."""
    interrupted(server, target)
    server.body, server.headers = BODY[::-1], {"ETag": '"two"'}

    def crash(*_: object) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "reset")

    with monkeypatch.context() as patch, pytest.raises(SottovoceError, match="0 bytes are kept"):
        patch.setattr(download, "_receive", crash)
        fetch(server.url, target)
    fetch(server.url, target)
    only(target, BODY[::-1])


def test_a_part_that_is_whole_already(server: Server, target: Path) -> None:
    """Stopped between the last byte and the checksum."""
    interrupted(server, target)
    target.with_name("speech.tar.gz.part").write_bytes(BODY)
    fetch(server.url, target, checksum=SUM)
    only(target)
    assert server.sent == [300_000]


def test_a_part_that_is_too_long(server: Server, target: Path) -> None:
    interrupted(server, target)
    target.with_name("speech.tar.gz.part").write_bytes(BODY + b"more")
    fetch(server.url, target, checksum=SUM)
    only(target)


def test_another_part_than_asked_for_is_not_put_together(server: Server, target: Path) -> None:
    interrupted(server, target)
    server.lie = 10
    with pytest.raises(SottovoceError, match="another range"):
        fetch(server.url, target)
    assert target.with_name("speech.tar.gz.part").read_bytes() == BODY[:300_000]


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_wrong_file_does_not_stay(server: Server, target: Path, kind: str) -> None:
    wanted = f"{kind}:{hashlib.new(kind, b'other').hexdigest()}"
    with pytest.raises(SottovoceError) as caught:
        fetch(server.url, target, checksum=wanted)
    assert wanted in str(caught.value) and f"{kind}:{hashlib.new(kind, BODY).hexdigest()}" in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_target_is_replaced(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    fetch(server.url, target, checksum=SUM)
    only(target)


@pytest.mark.parametrize(("status", "words"), [(404, "check the address"), (503, "run it again later")])
def test_the_server_refuses(server: Server, target: Path, status: int, words: str) -> None:
    server.status = status
    with pytest.raises(SottovoceError, match=f"answers {status} .*{words}"):
        fetch(server.url, target)
    assert not target.exists()


def test_no_server(server: Server, target: Path) -> None:
    interrupted(server, target)
    url = server.url
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(SottovoceError, match="300000 bytes are kept, and running it again goes on"):
        fetch(url, target)


def test_a_full_disk_is_no_fault_of_the_network(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(SottovoceError, match="cannot be written .*free some space"):
        fetch(server.url, target)


def test_a_target_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SottovoceError, match="cannot be written .*another folder"):
        fetch(server.url, tmp_path / "file" / "speech.tar.gz")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a", "speech.tar.gz", ""])
def test_only_the_web(target: Path, url: str) -> None:
    with pytest.raises(SottovoceError, match="no address that can be fetched"):
        fetch(url, target)


@pytest.mark.parametrize("checksum", ["crc:1", "abc", "md5:", "md5"])
def test_unknown_checksums(target: Path, checksum: str) -> None:
    with pytest.raises(SottovoceError, match="unknown kind of checksum"):
        fetch("http://127.0.0.1:1/a", target, checksum=checksum)


def tarred(path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]]) -> Path:
    """A tar archive of files, and of whatever else is given as it is."""
    mode: Any = f"w:{path.suffix[1:] if path.suffix != '.tar' else ''}"
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                entry = tarfile.TarInfo(member[0])
                entry.size = len(member[1])
                archive.addfile(entry, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize("suffix", ["tar", "gz", "bz2", "xz"])
def test_tar_archives(tmp_path: Path, suffix: str) -> None:
    members: list[tarfile.TarInfo | tuple[str, bytes]] = [
        special("./", tarfile.DIRTYPE),
        ("./yes/a.wav", b"a"),
        special("empty", tarfile.DIRTYPE),
        special("legacy/sph", tarfile.SYMTYPE, "../yes"),
        special("hard.wav", tarfile.LNKTYPE, "./yes/a.wav"),
        special("nowhere", tarfile.SYMTYPE, "not/there"),
    ]
    folder = unpack(tarred(tmp_path / f"a.{suffix}", members), tmp_path / "unpacked")
    assert (folder / "yes" / "a.wav").read_bytes() == b"a" and (folder / "empty").is_dir()
    assert (folder / "legacy" / "sph" / "a.wav").read_bytes() == b"a" and (folder / "legacy" / "sph").is_symlink()
    assert (folder / "hard.wav").read_bytes() == b"a" and not (folder / "hard.wav").is_symlink()
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "hard.wav", "legacy", "yes"]


def test_zip_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("empty")
        archive.writestr("wav/03a01Fa.wav", b"a" * 10_000)
    folder = unpack(tmp_path / "a.zip", tmp_path / "unpacked")
    assert (folder / "wav" / "03a01Fa.wav").stat().st_size == 10_000 and (folder / "empty").is_dir()


GOOD = ("good.wav", b"good")
OUTSIDE: dict[str, list[tarfile.TarInfo | tuple[str, bytes]]] = {
    "up": [("../evil", b"x")],
    "deep": [("a/b/../../../evil", b"x")],
    "absolute": [("{here}/evil", b"x")],
    "backslash": [("..\\evil", b"x")],
    "drive": [("C:\\evil", b"x")],
    "link up": [special("link", tarfile.SYMTYPE, "..")],
    "link absolute": [special("link", tarfile.SYMTYPE, "/etc")],
    "through a link": [special("link", tarfile.SYMTYPE, ".."), ("link/evil", b"x")],
    "hard link": [special("link", tarfile.LNKTYPE, "../../etc/passwd")],
    "pipe": [special("pipe", tarfile.FIFOTYPE)],
    "device": [special("device", tarfile.CHRTYPE)],
    # Each link by itself stays inside; only together do they lead out.
    "links together": [
        ("p/q/r/file", b"x"),
        special("p/q/r/top", tarfile.SYMTYPE, "../../.."),
        special("out", tarfile.SYMTYPE, "p/q/r/top/../x"),
    ],
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_archives_that_lead_out_are_refused(tmp_path: Path, case: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    members = [
        one if isinstance(one, tarfile.TarInfo) else (one[0].format(here=tmp_path), one[1]) for one in OUTSIDE[case]
    ]
    archive = tarred(tmp_path / "a.tar", [GOOD, *members])
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SottovoceError, match="nothing was unpacked|cannot be unpacked"):
        unpack(archive, place / "unpacked")
    assert list(place.iterdir()) == [] and sorted(path.name for path in tmp_path.iterdir()) == before


def test_zip_archives_that_lead_out_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    pipe = zipfile.ZipInfo("pipe")
    pipe.external_attr = 0o010644 << 16
    for number, (entry, content) in enumerate([("../evil", b"x"), ("/evil", b"x"), (link, b"../.."), (pipe, b"")]):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            archive.writestr(entry, content)
        with pytest.raises(SottovoceError, match="nothing was unpacked"):
            unpack(tmp_path / f"{number}.zip", tmp_path / "unpacked")
        assert not (tmp_path / "unpacked").exists()


def test_unpacking_is_whole_or_not_at_all(tmp_path: Path) -> None:
    content = bytes(hashlib.sha256(str(number).encode()).digest()[0] for number in range(200_000))
    whole = tarred(tmp_path / "a.gz", [GOOD, ("long.wav", content)])
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole.read_bytes()[:-50_000])
    unpack(whole, tmp_path / "unpacked")
    with pytest.raises(SottovoceError, match="cannot be unpacked"):
        unpack(cut, tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "long.wav").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "cut.gz", "unpacked"]


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"PK no archive either"])
def test_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(SottovoceError, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "unpacked")
    with pytest.raises(SottovoceError, match="there is no file .*b.zip'; give the path of the archive"):
        unpack(tmp_path / "b.zip", tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


def test_notes_that_are_damaged_are_not_believed(server: Server, target: Path) -> None:
    notes = target.with_name("speech.tar.gz.part.json")
    for junk in (b"[" * 100_000, b"\xff", b'{"url": 3, "state": 4}', b'["url"]', b"9" * 5000, b'{"state": "a\\r\\nb"}'):
        interrupted(server, target)
        notes.write_bytes(junk)
        fetch(server.url, target, checksum=SUM)
        assert "Range" not in server.asked[-1]
        only(target)
        target.unlink()


@pytest.mark.parametrize("name", ["", ".part", ".part.json"])
def test_a_download_writes_into_no_pipe(server: Server, target: Path, name: str) -> None:
    target.parent.mkdir()
    os.mkfifo(target.with_name(f"speech.tar.gz{name}"))
    with pytest.raises(SottovoceError, match=rf"speech.tar.gz{name}' is in the way of a download, and is no file"):
        fetch(server.url, target)
    assert not server.asked


def test_a_full_disk_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(*GOOD)
    with pytest.raises(SottovoceError, match="the disk is full"):
        unpack(archive, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()
