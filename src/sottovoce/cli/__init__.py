"""The command line: each command is a thin line to a public function."""

import io
import os
import sys
import tempfile

from sottovoce.cli import analysis, exporting, listening, models, speech, sweeping
from sottovoce.cli.common import app, bars, err, out
from sottovoce.errors import SottovoceError, explain_system_error, one_line
from sottovoce.files import sweep
from sottovoce.progress import shown_by
from sottovoce.signals import Stopped, forget_stops, handled_by, raise_stopped, stop_behind

COMMANDS = (analysis, exporting, listening, models, speech, sweeping)  # importing them adds their commands to the app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: faults of the user's end in one line and exit code 2.

    Ctrl-C and SIGTERM end in a sentence and the exit codes 130 and 143; a reader that has gone (`| head`) is no fault.

    Example:
        >>> main(["families"])  # doctest: +SKIP
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (for as long as the process lives)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may hold letters that the terminal has not
    forget_stops()
    try:
        with handled_by(raise_stopped), shown_by(bars):
            sweep(tempfile.gettempdir())
            app(arguments, standalone_mode=True)
    except BrokenPipeError:
        end_unread()
    except SystemExit:
        # Typer and Rich end with 1 where the reader has gone.
        if out.quiet or type(sys.stdout).__name__ == "PacifyFlushWrapper":
            end_unread()
        raise
    except (Exception, Stopped) as error:
        if (stopped := stop_behind(error)) is not None:
            say("stopped; what was finished is kept, and the same command goes on from there.")
            sys.exit(stopped.code)
        if isinstance(error, SottovoceError):
            fail(str(error))
        if (reason := explain_system_error(error)) is None:
            raise
        fail(reason)


def say(text: str) -> None:
    """A line on the error stream, in letters that it has."""
    err.print(f"sottovoce: {one_line(text)}", markup=False)


def fail(reason: str) -> None:
    """End with a sentence and the code of faults in what was given."""
    say(reason)
    sys.exit(2)


def end_unread() -> None:
    """End without a fault; writing more would only fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)
