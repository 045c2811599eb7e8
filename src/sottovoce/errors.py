"""The one error that users see: a sentence that says what came, what was wanted and what to do."""

import difflib
import errno
import re
import reprlib
from collections.abc import Iterable

_LONGEST_WORD, _LONGEST, _LONGEST_VALUE = 160, 680, 80
MOST_LISTED = 60  # names in one sentence
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _LONGEST_VALUE
_SHORT.maxlist = _SHORT.maxtuple = 12


def one_line(text: str) -> str:
    """A text for a sentence: on one line, in letters that can be shown, long words and long texts cut in the middle.

    Example:
        >>> one_line("a\\nb \\x1b[31m " + 200 * "x")[:24]
        'a b \\\\x1b[31m xxxxxxxxxxx'
    """
    words = ("".join(c if c.isprintable() else ascii(c)[1:-1] for c in word) for word in text.split())
    return _cut(" ".join(_cut(word, _LONGEST_WORD) for word in words), _LONGEST)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"


def reason_of(error: BaseException, most: int | None = None) -> str:
    """What an error says, on one line and without its period, for a sentence of ours to quote.

    Example:
        >>> reason_of(ValueError("no such\\n  setting."))
        'no such setting'
    """
    return " ".join(str(error).split())[:most].rstrip(".")


class SottovoceError(ValueError):
    """A fault in what the user gave; the command line prints it in one line and exits with 2.

    Whatever it quotes, its message is one line of letters that can be shown.

    Example:
        >>> raise SottovoceError("keep=14, but this encoder has 12 layers; give 1-12.")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: keep=14, but this encoder has 12 layers; give 1-12.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def unknown(kind: str, name: str, known: Iterable[str]) -> SottovoceError:
    """The error for a name that is not in a list, with the nearest one that is.

    Example:
        >>> print(unknown("family", "hubrt", ["hubert", "wavlm"]))
        unknown family 'hubrt'; did you mean 'hubert'? Known: hubert, wavlm.
    """
    names = sorted(known)
    listed = [*names[:MOST_LISTED], "and more"] if len(names) > MOST_LISTED else names
    return SottovoceError(f"unknown {kind} '{cut(name)}'{hint(name, names)} Known: {', '.join(map(cut, listed))}.")


def hint(name: object, known: Iterable[str]) -> str:
    """How a sentence about an unknown name ends: with the nearest that is known, if one is near.

    Example:
        >>> "no option 'ration'" + hint("ration", ["layers", "ratio"])
        "no option 'ration'; did you mean 'ratio'?"
    """
    near = difflib.get_close_matches(cut(name), list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else "."


def cut(name: object) -> str:
    """A name for a sentence, cut where it is too long for one.

    Example:
        >>> cut(100 * "ab")[36:44]
        'abab…bab'
    """
    return _cut(name if isinstance(name, str) else shown(name), _LONGEST_VALUE)


def shown(value: object) -> str:
    """A value for a sentence, as Python writes it, but cut where it is too long for one.

    Example:
        >>> shown([1, "a"]), shown(10**5000), len(shown(5000 * ["a"]))
        ("[1, 'a']", 'a whole number of 16610 bits', 65)
    """
    if isinstance(value, int) and value.bit_length() > 1000:  # Python refuses to write what has 4300 digits
        return f"a whole number of {value.bit_length()} bits"
    try:
        return _cut(_SHORT.repr(value), 2 * _LONGEST_VALUE)
    except ValueError:
        return f"a value of the type {type(value).__name__}"


def explain_system_error(error: BaseException) -> str | None:
    """What the system said where a library met its refusal, as a sentence; None for any other error.

    Example:
        >>> explain_system_error(OSError(28, "No space left on device", "model.safetensors"))
        "the system refused 'model.safetensors': No space left on device; free some space and start again."
        >>> explain_system_error(TypeError("3")) is None
        True
    """
    said = one_line(str(error))
    # torch tells of it in a RuntimeError, on CPU without a class of its own.
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(said)):
        reason = said or "no more of it"
        return f"the memory was not enough ({reason.rstrip('.')}); give less at a time, or a smaller model."
    if not isinstance(error, OSError):
        return None
    about = f" '{error.filename}'" if isinstance(error.filename, str) else ""
    reason = (error.strerror or said or type(error).__name__).rstrip(".")
    return f"the system refused{about}: {reason}; {_ADVICE.get(error.errno or 0, 'mend that and start again')}."


_NO_MEMORY = re.compile(r"not enough memory|out of memory|can.t allocate memory", re.IGNORECASE)
_ADVICE = {
    errno.ENOSPC: "free some space and start again",
    errno.EDQUOT: "free some of your quota and start again",
    errno.EFBIG: "files of this size are not allowed here; write to another disk",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ESTALE: "the network disk has changed; mount it again and start again",
    errno.EACCES: "ask for the right to use it, or give another path",
    errno.EPERM: "ask for the right to use it, or give another path",
    errno.EROFS: "the disk is read-only; give another path",
}
