"""The one error that users see: a sentence that says what came, what was wanted and what to do."""

import difflib
from collections.abc import Iterable


class SottovoceError(ValueError):
    """A fault in what the user gave; the command line prints it in one line and exits with 2.

    Example:
        >>> raise SottovoceError("keep=14, but this encoder has 12 layers; give 1-12.")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: keep=14, but this encoder has 12 layers; give 1-12.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> SottovoceError:
    """The error for a name that is not in a list, with the nearest one that is.

    Example:
        >>> print(unknown("family", "hubrt", ["hubert", "wavlm"]))
        unknown family 'hubrt'; did you mean 'hubert'? Known: hubert, wavlm.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return SottovoceError(f"unknown {kind} '{name}'{hint} Known: {', '.join(names)}.")
