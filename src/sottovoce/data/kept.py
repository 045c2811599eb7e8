"""Files that are there already: right, and left alone, or other ones, which nothing replaces unasked."""

import os
from pathlib import Path

from sottovoce.errors import SottovoceError
from sottovoce.files import regular_file


def wanted(path: Path, content: bytes, *, overwrite: bool) -> bool:
    """Whether a file must be written: not if it has this content; if it has another, that is refused or replaced.

    Example:
        >>> wanted(Path("nothing.flac"), b"fLaC", overwrite=False)
        True
    """
    if not os.path.lexists(path):
        return True
    file = regular_file(path, "the file to write")
    if file.stat().st_size == len(content) and file.read_bytes() == content:
        return False
    if not overwrite:
        raise SottovoceError(
            f"'{path}' is there with other content; give another folder, or overwrite it (--overwrite)."
        )
    return True
