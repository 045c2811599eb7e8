"""How pages look: one sheet of styles for reports and for the pages that exported models come with."""

from functools import cache
from pathlib import Path


@cache
def style() -> str:
    """The text of the sheet; a page sets what is its own behind it.

    Example:
        >>> style()[:5]
        ':root'
    """
    return Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
