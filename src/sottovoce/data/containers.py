"""What audio files promise of their own length: libsndfile takes one that was cut off for a shorter one."""

import re
import struct
from typing import BinaryIO

_UNKNOWN = 0x7FFF0000  # from here on, what programs write as a size of 32 bits while they do not know it yet
_PAGE = 27 + 255 + 255 * 255  # bytes of the longest page of Ogg
_CHUNKS = 10_000  # more than any file has: the rest of a longer list is not looked at
_W64_MAGIC = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")


def cut_off(file: BinaryIO) -> str | None:
    """How an open audio file is shorter than it says itself, or None.

    - WAV, RF64, W64, AIFF, AU, CAF: the chunk of the samples must be there to its end. A size of 0 or of all ones, as
      programs write that do not know it yet, is no promise.
    - NIST: the samples that the header counts.
    - Ogg (Opus, Vorbis): the last whole page must be the end of its stream.

    What stands behind the audio does not matter. FLAC and MP3 say how many samples they have; who decodes must count.

    Example:
        >>> import io
        >>> cut_off(io.BytesIO(b"RIFF" + bytes(4) + b"WAVEdata" + (1000).to_bytes(4, "little") + bytes(500)))
        'of 1000 bytes of samples, 500 are there'
    """
    size = file.seek(0, 2)
    head = _at(file, 0, 1024)
    if head[:4] == b"OggS":
        return _unended(file, size)
    promise = _nist(head) if head[:7] == b"NIST_1A" else _au(head) if head[:4] in (b".snd", b"dns.") else None
    if head[:16] == _W64_MAGIC:
        promise = _w64(file, size)
    elif head[:4] == b"caff":
        promise = _caf(file, size)
    elif head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
        promise = _chunked(file, size, head)
    if promise is None:
        return None
    begin, length = promise
    there = max(0, size - begin)
    return f"of {length} bytes of samples, {there} are there" if there < length else None


def without_size(file: BinaryIO) -> int | None:
    """Where a WAV file says that it has 0 bytes of samples although some follow, as a recorder leaves it that was
    killed or wrote to a pipe; None for any other file.

    Example:
        >>> import io
        >>> without_size(io.BytesIO(b"RIFF" + bytes(4) + b"WAVEdata" + bytes(4) + bytes(range(100))))
        16
    """
    size = file.seek(0, 2)
    if _at(file, 0, 4) != b"RIFF":
        return None
    empty = None
    for name, begin, length in _chunks(file, size, "<"):
        if name == b"data" and length == 0:
            empty = begin
        if empty is not None and begin + length == size:
            return None  # chunks to the end of the file: there really are no samples
    return empty - 4 if empty is not None and size > empty else None


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _chunks(file: BinaryIO, size: int, order: str) -> list[tuple[bytes, int, int]]:
    """Name, first byte and length of the chunks of RIFF or FORM."""
    found, place = [], 12
    while place + 8 <= size and len(found) < _CHUNKS:
        name, length = struct.unpack(f"{order}4sI", _at(file, place, 8))
        found.append((name, place + 8, length))
        if length >= _UNKNOWN:
            break
        place += 8 + length + length % 2
    return found


def _chunked(file: BinaryIO, size: int, head: bytes) -> tuple[int, int] | None:
    order = ">" if head[:4] in (b"RIFX", b"FORM") else "<"
    wide = None
    for name, begin, length in _chunks(file, size, order):
        if name == b"ds64" and length >= 16:
            content = _at(file, begin, 16)
            wide = struct.unpack("<QQ", content)[1] if len(content) == 16 else None
        elif name in (b"data", b"SSND", b"BODY"):
            if length == 0xFFFFFFFF and wide is not None:
                return (begin, wide) if wide < 1 << 62 else None
            return (begin, length) if length < _UNKNOWN else None
    return None


def _w64(file: BinaryIO, size: int) -> tuple[int, int] | None:
    place = 40
    for _ in range(_CHUNKS):
        content = _at(file, place, 24)
        if len(content) < 24:
            return None
        length = struct.unpack("<Q", content[16:])[0]  # with these 24 bytes
        if content[:16] == _W64_DATA:
            return (place + 24, length - 24) if 24 <= length < 1 << 62 else None
        if length < 24 or place + length > size:
            return None
        place += length + -length % 8
    return None


def _caf(file: BinaryIO, size: int) -> tuple[int, int] | None:
    place = 8
    for _ in range(_CHUNKS):
        content = _at(file, place, 12)
        if len(content) < 12:
            return None
        name, length = struct.unpack(">4sq", content)
        if name == b"data":
            return (place + 12, length) if length > 0 else None  # -1 is not known
        if length < 0 or place + 12 + length > size:
            return None
        place += 12 + length
    return None


def _au(head: bytes) -> tuple[int, int] | None:
    if len(head) < 12:
        return None
    begin, length = struct.unpack(">II" if head[:4] == b".snd" else "<II", head[4:12])
    return (begin, length) if length < _UNKNOWN else None


def _nist(head: bytes) -> tuple[int, int] | None:
    values = dict(re.findall(rb"^(\w+) -i (\d{1,18})\s*$", head, re.MULTILINE))
    begin = re.match(rb"NIST_1A\n *(\d{1,6})\n", head)
    count, width = values.get(b"sample_count"), values.get(b"sample_n_bytes")
    if begin is None or count is None or width is None or b"shorten" in head:
        return None
    return int(begin[1]), int(count) * int(width) * int(values.get(b"channel_count", 1))


def _unended(file: BinaryIO, size: int) -> str | None:
    """How the last whole page of an Ogg file is not the end of its stream."""
    tail = _at(file, max(0, size - 4 * _PAGE), 4 * _PAGE)
    place = len(tail)
    while (place := tail.rfind(b"OggS", 0, place)) >= 0:
        header = tail[place : place + 27]
        if len(header) < 27 or header[4] or header[5] > 7:
            continue
        segments = tail[place + 27 : place + 27 + header[26]]
        if len(segments) == header[26] and place + 27 + len(segments) + sum(segments) <= len(tail):
            return None if header[5] & 4 else "its last page is not the end of the stream"
    return "it has no whole page at its end"
