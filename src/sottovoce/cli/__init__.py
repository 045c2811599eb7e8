"""The command line: each command is a thin line to a public function."""

import os
import signal
import sys
import threading
from typing import Any

from sottovoce.cli import analysis, models, speech
from sottovoce.cli.common import app, bars, err
from sottovoce.errors import SottovoceError
from sottovoce.progress import shown_by

COMMANDS = (analysis, models, speech)  # importing them adds their commands to the app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: faults of the user's end in one line and exit code 2.

    Example:
        >>> main(["families"])  # doctest: +SKIP
    """
    before = stop_on_interrupt()
    try:
        with shown_by(bars):
            app(arguments, standalone_mode=True)
    except SottovoceError as error:
        err.print(f"sottovoce: {error}", markup=False)
        sys.exit(2)
    except (Stopped, KeyboardInterrupt):
        err.print("sottovoce: stopped; what was finished is kept.")
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone; writing more would only fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


class Stopped(BaseException):
    """Ctrl-C, under a name that Typer does not take for its own affair and end without a word."""


def stop_on_interrupt() -> Any:
    """Turn Ctrl-C into `Stopped`; what stood for it before comes back."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped

    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGINT, stop)
