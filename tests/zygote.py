"""A process that has imported everything and forks one child a command.

A new interpreter imports for four seconds before it does anything; a forked child is at work at once, and a signal
meets the work instead of the imports.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
SIGNALS = {signal.SIGINT, signal.SIGTERM}


def serve() -> None:
    """Fork a child for each line with a command; tell whether and how a child ended for each line with its number."""
    die_with_parent()
    sys.path.insert(0, str(TESTS))
    # The children would answer for the parent's threads, so it starts none.
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    import_everything()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "reap" in order:
            ended, status = os.waitpid(order["reap"], 0 if order["wait"] else os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), flush=True)
            continue
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        if not (pid := os.fork()):
            child(order)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        print(pid, flush=True)


def import_everything() -> None:
    """What the package imports, at once or when it is wanted, and what scripts of tests begin with."""
    import importlib
    import pkgutil

    import conftest  # noqa: F401
    import speech  # noqa: F401
    import torch.utils.tensorboard
    from transformers.models.hubert import modeling_hubert  # noqa: F401

    import sottovoce

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(sottovoce.__path__, "sottovoce."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    assert threading.active_count() == 1, "a child would lack the threads that its modules count on"


def die_with_parent() -> None:
    """Where the system can (Linux), nothing goes on when a test has been killed."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGKILL)


def child(order: dict[str, Any]) -> None:
    """Run a command of the command line, or a piece of Python, and end with its exit code."""
    from sottovoce.cli import main
    from sottovoce.signals import Stopped, raise_stopped

    die_with_parent()
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for handle, number in ((null, 0), (said, 1), (said, 2)):
        os.dup2(handle, number)
    os.chdir(order["cwd"])
    os.environ |= order["env"]
    sys.argv = ["-c", *order["argv"]]
    code: object = 1
    try:
        for number in SIGNALS:
            signal.signal(number, raise_stopped)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if "python" in order:
            exec(order["python"], {"__name__": "__main__"})
        else:
            main(order["argv"])
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except Stopped as stopped:  # before the command line took over, or after it was done
        code = stopped.code
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


class Child:
    """A command under way."""

    def __init__(self, zygote: "Zygote", pid: int, said: Path) -> None:
        self.zygote, self.pid, self.said_in = zygote, pid, said
        self.begin = time.monotonic()
        self.seconds = 0.0
        self.code: int | None = None

    def kill(self, number: int) -> None:
        """Send a signal, if the child still is."""
        if self.code is None:  # a child that has ended is a zombie until it is reaped, and its number its own
            os.kill(self.pid, number)

    def wait(self, after: float | None = None, number: int = signal.SIGKILL) -> int:
        """The exit code; with `after`, a signal is sent when so many seconds have passed."""
        if after is not None:
            time.sleep(max(0.0, self.begin + after - time.monotonic()))
            self.kill(number)
        code = self.poll(wait=True)
        assert code is not None
        return code

    def poll(self, *, wait: bool = False) -> int | None:
        """The exit code, or None of a child that is still at work."""
        if self.code is None:
            self.code = self.zygote.ask({"reap": self.pid, "wait": wait})
            self.seconds = time.monotonic() - self.begin
        return self.code

    @property
    def said(self) -> str:
        """What it wrote to both streams."""
        return self.said_in.read_text(errors="replace") if self.said_in.exists() else ""


class Zygote:
    """The process that forks, and who talks to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def ask(self, order: dict[str, Any]) -> Any:
        """An order, and the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self, argv: Sequence[str] = (), *, cwd: Path, python: str | None = None, env: Mapping[str, str] | None = None
    ) -> Child:
        """A child that runs a command, or some Python that finds the words in `sys.argv` as behind `python -c`."""
        self.count += 1
        said = self.folder / f"said-{self.count}"
        what = {} if python is None else {"python": python}
        pid = self.ask({**what, "argv": list(argv), "cwd": str(cwd), "said": str(said), "env": dict(env or {})})
        return Child(self, pid, said)

    def run(self, argv: Sequence[str] = (), *, cwd: Path, python: str | None = None) -> str:
        """What a child said that had to end well."""
        child = self.start(argv, cwd=cwd, python=python)
        assert child.wait() == 0, child.said
        return child.said

    def run_ranks(self, count: int, argv: Sequence[str] = (), *, cwd: Path, python: str | None = None) -> None:
        """The processes of one job, each told what torchrun would tell it; all have to end well."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        job |= dict.fromkeys(["WORLD_SIZE", "LOCAL_WORLD_SIZE"], str(count))
        ranks = [job | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
        children = [self.start(argv, cwd=cwd, python=python, env=env) for env in ranks]
        while all(child.poll() in (None, 0) for child in children) and None in [child.code for child in children]:
            time.sleep(0.01)
        for child in children:
            if child.poll() is None:  # another one failed, for which it would wait for minutes
                child.kill(signal.SIGKILL)
        said = "".join(child.said for child in children)
        assert [child.wait() for child in children] == [0] * count, said

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()


if __name__ == "__main__":
    serve()
