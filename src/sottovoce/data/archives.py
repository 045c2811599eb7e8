"""Archives unpacked with suspicion: nothing lands outside their folder, and a small one cannot fill the disk."""

import bz2
import errno
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, NamedTuple, cast

from sottovoce.errors import SottovoceError, explain_system_error
from sottovoce.files import atomic_folder, regular_file
from sottovoce.progress import Advance, bar

CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
# What the standard library raises where an archive is cut off, damaged, encrypted, or packed in a way it cannot read.
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, RuntimeError, LookupError, ValueError, OverflowError),
)
# Of the system's refusals, those that come of what stands in the archive: a file where another file wants a folder.
CLASHES = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)
# Speech, packed, is rarely half as long; a list of words may be a tenth. What becomes this much longer is no speech.
EXPANSION, UNSUSPICIOUS = 200, 1 << 30
PLACE = 4096  # bytes that a file takes on a disk at least
FEW, BYTES_OF_A_MEMBER = 10_000, 32  # members that any archive may have; beyond, each must take so much of it
LONGEST_HEADER = 1 << 20  # bytes of a member's names and attributes
LONGEST_NAME, LONGEST_PART = 4000, 255  # bytes


class Member(NamedTuple):
    """A thing in an archive: with content, with a place where it links to, or, without both, a folder.

    Example:
        >>> Member("wav", 0, None, "").name
        'wav'
    """

    name: str
    size: int
    content: IO[bytes] | None
    link: str


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a tar or zip archive as `folder`, as a whole or not at all.

    Refused are members that would land elsewhere, that are neither files, folders nor links, or whose names no disk
    takes, and archives that become 200 times as long as they are, and more than a gigabyte, or longer than the disk
    has place. A folder that is there already is replaced.

    Example:
        >>> unpack("dev-clean.tar.gz", "dev-clean")
        PosixPath('dev-clean')
    """
    source, target = regular_file(archive, "the archive"), Path(folder)
    length = source.stat().st_size
    with (
        bar(f"unpacking {source.name}", length) as advance,
        open(source, "rb") as file,
        atomic_folder(target) as place,
    ):
        try:
            _unpack(file, place, _Budget(length, shutil.disk_usage(place).free), advance)
        except SottovoceError:
            raise
        except DAMAGED as error:
            number = error.errno if isinstance(error, OSError) else None
            if number in FULL:
                raise
            if number is not None and number not in CLASHES:
                raise SottovoceError(f"{source} was not unpacked: {explain_system_error(error)}") from error
            what = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
            raise SottovoceError(f"{source} cannot be unpacked ({what}); remove it and fetch it again.") from error
    return target


@dataclass
class _Budget:
    """How much may come of an archive of a length, on a disk with so much place."""

    length: int
    free: int
    taken: int = 0
    members: int = 0

    def take(self, name: str, size: int) -> None:
        """Count a member, or refuse it."""
        self.members += 1
        self.taken += max(size, PLACE)
        if self.members > FEW + self.length // BYTES_OF_A_MEMBER:
            raise _unsafe(name, f"is number {self.members}, far too many for {self.length} bytes")
        if self.taken > max(UNSUSPICIOUS, EXPANSION * self.length):
            raise _unsafe(name, f"is {size} bytes long, far too much for an archive of {self.length} bytes")
        if self.taken > self.free:
            raise SottovoceError(
                f"nothing was unpacked: the archive needs more than {self.taken} bytes, but the disk has {self.free}; "
                "free some space and start again."
            )


def _unpack(file: BinaryIO, place: Path, budget: _Budget, advance: Advance) -> None:
    links: list[tuple[Path, str]] = []
    begin = file.read(6)
    file.seek(0)
    done, members = 0, _zipped(file, budget) if begin[:2] == b"PK" else _tarred(_unpressed(file, begin))
    for name, size, content, link in members:
        path = _inside(place, name)
        budget.take(name, size)
        if content is None and not link:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        if link:
            links.append((path, link))
        elif content is not None:
            with open(path, "wb") as written:
                shutil.copyfileobj(content, written, CHUNK)
        advance(file.tell() - done)
        done = file.tell()
    if not budget.members:
        raise SottovoceError("nothing was unpacked: the archive holds nothing; fetch it again.")
    _link(place, links)


def _link(place: Path, links: list[tuple[Path, str]]) -> None:
    """Make the links of an archive when all its files are there, so that nothing is written through one."""
    for path, target in links:
        path.symlink_to(target)
    root = os.path.realpath(place)
    for path, target in links:
        # Asked of the file system when all stand: links that each look harmless can lead out together.
        if not Path(os.path.realpath(path)).is_relative_to(root):
            raise _unsafe(path.name, f"is a link to '{target}', out of the folder")
    for path, _ in links:
        if not os.path.exists(path):
            path.unlink()  # it leads to something that the archive does not have


class _Careful:
    """A stream for `tarfile`, which believes headers that say how long they are and takes memory for them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int) -> bytes:
        """So many bytes, if they are not more than is ever read at once."""
        if size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.stream.read(size)


def _unpressed(file: BinaryIO, begin: bytes) -> IO[bytes]:
    if begin[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if begin[:3] == b"BZh":
        return bz2.BZ2File(file)
    if begin in (b"\xfd7zXZ\0", b"\x5d\0\0\x80\0\0"):
        return lzma.LZMAFile(file)
    return file


def _tarred(stream: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=_Careful(stream), mode="r:") as opened:  # type: ignore[arg-type]
        for member in opened:
            if member.isdir() or member.issym():
                yield Member(member.name, 0, None, member.linkname if member.issym() else "")
            elif member.isfile() or member.islnk():  # a hard link becomes a copy
                content = opened.extractfile(member)
                size = content.seek(0, os.SEEK_END) if content is not None else 0  # that of a hard link's file
                if content is not None:
                    content.seek(0)
                yield Member(member.name, size, content, "")
            else:
                raise _unsafe(member.name, "is neither a file nor a folder")
        # tarfile takes half a header for the end.
        if opened.fileobj is not None and 0 < opened.fileobj.tell() - opened.offset < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it ends within a header")


def _zipped(file: BinaryIO, budget: _Budget) -> Iterator[Member]:
    with zipfile.ZipFile(file) as opened:
        listed = opened.infolist()
        # Here, all is known before anything is written.
        whole = _Budget(budget.length, budget.free)
        for member in listed:
            whole.take(member.filename, member.file_size)
        for member in listed:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                yield Member(member.filename, 0, None, "")
            elif kind == stat.S_IFLNK:
                if member.file_size > LONGEST_NAME:
                    raise _unsafe(member.filename, f"is a link to a name of {member.file_size} bytes")
                yield Member(member.filename, 0, None, opened.read(member).decode())
            elif kind in (0, stat.S_IFREG):
                with opened.open(member) as content:
                    yield Member(member.filename, member.file_size, content, "")
            else:
                raise _unsafe(member.filename, "is neither a file nor a folder")


def _inside(place: Path, name: str) -> Path:
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or (pure.parts and ":" in pure.parts[0]):
        raise _unsafe(name, "leads out of the folder")
    if "\0" in name:
        raise _unsafe(name, "has a name with a null character")
    try:
        longest = max((len(part.encode()) for part in pure.parts), default=0)
    except UnicodeEncodeError:
        raise _unsafe(name, "has a name that is not UTF-8") from None
    if longest > LONGEST_PART or len(name.encode()) > LONGEST_NAME:
        raise _unsafe(name, "has a name that is too long for a disk")
    return place / pure


def _unsafe(name: str, why: str) -> SottovoceError:
    shown = ascii(name)[1:-1] if not name.isprintable() else name
    shown = shown if len(shown) <= 80 else f"{shown[:60]}…"
    return SottovoceError(f"nothing was unpacked: '{shown}' in the archive {why}; get the archive from its publisher.")
