"""Lines of lists that strangers wrote, with their numbers: bounded, unpacked where packed, and UTF-8."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sottovoce.data.corpora.corpus import LONGEST_LIST
from sottovoce.data.own.row import Bad
from sottovoce.data.utterance import LONGEST_LINE
from sottovoce.errors import SottovoceError
from sottovoce.files import json_object, reached, read_lines, regular_file


def numbered(path: Path, bad: Bad) -> Iterator[tuple[int, str]]:
    """The lines of a text file, each with its number; one that is not UTF-8 is told, and left out.

    Example:
        >>> next(numbered(Path("kaldi/text"), print))
        (1, 'a-1 we call it bear')
    """
    for number, line in enumerate(_packed(path) if path.name.endswith(".gz") else read_lines(path, "the list"), 1):
        if len(line) > LONGEST_LINE:  # no --skip-bad helps: of a file without line ends, each piece would be a fault
            raise SottovoceError(f"{path}, line {number}: it has more than {LONGEST_LINE} bytes; give a list of lines.")
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            bad(f"{path}, line {number}: it is not UTF-8 text (byte {error.start}); save the list as UTF-8")


def _packed(path: Path) -> Iterator[bytes]:
    """The lines of a gzip file, which may be small and hold very much."""
    file = regular_file(path, "the list")
    total = 0
    with reached(path, "the list"), open(file, "rb") as raw, gzip.open(raw) as opened:
        try:
            while line := opened.readline(LONGEST_LINE + 2):
                total += len(line)
                if total > LONGEST_LIST:
                    raise SottovoceError(f"'{path}' unpacks to more than {LONGEST_LIST} bytes; split the list.")
                yield line.removesuffix(b"\n").removesuffix(b"\r")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SottovoceError(f"'{path}' cannot be unpacked ({error}); copy it again.") from None


def objects(path: Path, bad: Bad) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file of lines, each with where it stands.

    Example:
        >>> next(objects(Path("nemo/train.json"), print))
        ('nemo/train.json, line 1', {'audio_filepath': 'a.wav', 'duration': 1.0, 'text': 'yes'})
    """
    for number, line in numbered(path, bad):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json_object(line, "the line")
        except SottovoceError as error:
            bad(f"{where}: {str(error).replace('(line 1: ', '(')}")
            continue
        yield where, record
