"""Downloads that go on where they stopped."""

import errno
import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import atomic_write, local_path, read_json
from sottovoce.progress import bar

CHUNK = 1 << 20
PARTIAL = http.client.PARTIAL_CONTENT
UNSATISFIABLE = http.client.REQUESTED_RANGE_NOT_SATISFIABLE
FULL = (errno.ENOSPC, errno.EDQUOT)


def fetch(url: str, target: str | Path, *, checksum: str = "", timeout: float = 60.0) -> Path:
    """Download a file, going on with what an earlier call left in `target.part`, and check it.

    A target that is there is kept, unless its checksum (`md5:...` or `sha256:...`) says that it is another file.
    What was fetched is only gone on with if the server says, by its ETag or date, that the file is still the same.

    Example:
        >>> fetch("https://www.openslr.org/resources/12/dev-clean.tar.gz", "dev-clean.tar.gz")
        PosixPath('dev-clean.tar.gz')
    """
    target = local_path(target, "the file to fetch")
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise SottovoceError(
            f"'{url}' is no address that can be fetched; give one that begins with https:// or http://."
        )
    _algorithm(checksum)
    if target.is_file() and (not checksum or digest(target, checksum) == checksum.lower()):
        return target
    part, notes = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    for path in (target, part, notes):
        if path.exists() and not path.is_file():
            raise SottovoceError(f"'{path}' is in the way of a download, and is no file; give another folder.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part, notes, timeout)
    except (OSError, http.client.HTTPException) as error:
        raise SottovoceError(_reason(url, part, error)) from error
    if checksum and (found := digest(part, checksum)) != checksum.lower():
        part.unlink()
        notes.unlink(missing_ok=True)
        raise SottovoceError(
            f"{url} is not the file that was expected: its checksum is {found}, not {checksum}; "
            "it was removed, so fetch it again, or report that the publisher has changed it."
        )
    os.replace(part, target)
    notes.unlink(missing_ok=True)
    return target


def digest(path: str | Path, checksum: str) -> str:
    """The checksum of a file, of the kind of another one.

    Example:
        >>> digest("dev-clean.tar.gz", "md5:42e2...")
        'md5:42e2...'
    """
    algorithm, file = _algorithm(checksum), Path(path)
    summed = hashlib.new(algorithm, usedforsecurity=False)
    with bar(f"checking {file.name}", file.stat().st_size) as advance, open(file, "rb") as opened:
        while chunk := opened.read(CHUNK):
            summed.update(chunk)
            advance(len(chunk))
    return f"{algorithm}:{summed.hexdigest()}"


def _algorithm(checksum: str) -> str:
    algorithm, colon, value = checksum.partition(":")
    if checksum and (algorithm not in ("md5", "sha256") or not colon or not value):
        raise unknown("kind of checksum", checksum, ("md5:...", "sha256:..."))
    return algorithm


def _download(url: str, part: Path, notes: Path, timeout: float) -> None:
    """Bring `part` to its full length."""
    known = _read_notes(notes)
    done = part.stat().st_size if part.is_file() and known.get("url") == url and known.get("state") else 0
    request = urllib.request.Request(url, headers={"User-Agent": "sottovoce"})
    if done:
        request.add_header("Range", f"bytes={done}-")
        # With this, a server whose file has changed sends all of the new one instead of the rest of another.
        request.add_header("If-Range", known["state"])
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            total = _total(error.headers.get("Content-Range", ""))
        if error.code != UNSATISFIABLE or not done:
            raise
        if total != done:
            part.unlink()
            _download(url, part, notes, timeout)
        return
    with response:
        if response.status != PARTIAL:
            # Before the notes change: they must never speak of other bytes than those that are there.
            part.unlink(missing_ok=True)
            done = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            raise http.client.HTTPException("the server sent another range than it was asked for")
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        # A weak ETag (W/...) promises the same meaning, not the same bytes.
        tag = response.headers.get("ETag", "")
        state = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        atomic_write(notes, json.dumps({"url": url, "state": state}))
        _receive(response, part, done, total)


def _receive(response: Any, part: Path, done: int, total: int | None) -> None:
    with bar(f"downloading {part.stem}", total) as advance, open(part, "ab" if done else "wb") as file:
        advance(done)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            advance(len(chunk))
    if total is not None and done != total:
        raise http.client.HTTPException(f"the connection ended after {done} of {total} bytes")


def _read_notes(path: Path) -> dict[str, str]:
    """What is known of a part; of notes that are damaged nothing is believed, and the download begins anew."""
    with suppress(OSError, SottovoceError):
        notes = read_json(path)
        if isinstance(notes, dict) and all(isinstance(value, str) and value.isprintable() for value in notes.values()):
            return notes
    return {}


def _total(content_range: str) -> int | None:
    """The length of the whole file in an answer such as `bytes */1234`."""
    match = re.fullmatch(r"bytes (?:\*|\d+-\d+)/(\d+)", content_range)
    return int(match[1]) if match else None


def _reason(url: str, part: Path, error: Exception) -> str:
    kept = part.stat().st_size if part.is_file() else 0
    if isinstance(error, urllib.error.HTTPError):
        advice = "check the address." if error.code < 500 else f"{kept} bytes are kept; run it again later."
        return f"{url} cannot be fetched: the server answers {error.code} {error.reason}; {advice}"
    if isinstance(error, OSError) and (error.filename is not None or error.errno in FULL):
        advice = "free some space and start again" if error.errno in FULL else "give another folder"
        return f"'{part}' cannot be written ({error.strerror}); {advice}."
    why = getattr(error, "reason", None) or error
    return (
        f"{url} could not be fetched to its end ({why}); "
        f"{kept} bytes are kept, and running it again goes on from there."
    )
