"""Where the command line starts: before the seconds that importing torch takes, Ctrl-C ends in a sentence."""

import os
import signal
from types import FrameType

from sottovoce.signals import SIGNALS


def main() -> None:
    """Import the commands, and run the one that is asked for.

    Example:
        >>> main()  # doctest: +SKIP
    """
    for number in SIGNALS:
        signal.signal(number, end_at_once)
    from sottovoce.cli import main as run

    run()


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End while nothing has begun, or when all is done: an exception would meet the middle of some import."""
    os.write(2, b"sottovoce: stopped; nothing was under way.\n")
    os._exit(128 + number)
