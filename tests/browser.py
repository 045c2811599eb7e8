"""A Chromium without a window, driven by its DevTools protocol over a pipe, and a server of plain files."""

import base64
import contextlib
import http.server
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
# A host that cannot be reached stands for every name: what asked the network for anything would show it.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
ENDS = b"\0"  # of a message


class Tab:
    """One page: what it says in its console and asks for is written down."""

    def __init__(self, send: int, receive: int) -> None:
        self.send, self.receive, self.session = send, receive, ""
        self.begun, self.count, self.events, self.unread = time.monotonic(), 0, [], b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """What the browser answers; events that come before are kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": given}
        os.write(self.send, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + ENDS)
        while True:
            answer = self.read()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def read(self) -> dict[str, Any]:
        """The next message."""
        while ENDS not in self.unread:
            piece = os.read(self.receive, 1 << 16)
            assert piece, "the browser ended"
            self.unread += piece
        message, _, self.unread = self.unread.partition(ENDS)
        return json.loads(message)

    def open(self, address: str, *, width: int = 1400, dark: bool = False) -> None:
        """Load a page, in a window so wide."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.call("Page.navigate", url=address)

    def ask(self, code: str) -> Any:
        """What an expression of the page's is worth."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, code: str, seconds: float = 60) -> Any:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.ask(f"document.readyState === 'complete' && location.href !== 'about:blank' && ({code})"):
                return found
            time.sleep(0.1)
        raise AssertionError(f"{code} is not true after {seconds} s: {self.text('#status')}; {self.faults()}")

    def text(self, selector: str) -> str:
        """The text of an element."""
        return self.ask(f"document.querySelector({json.dumps(selector)})?.textContent")

    def give(self, selector: str, path: Path) -> None:
        """Choose a file."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def faults(self) -> list[str]:
        """Errors and warnings of the console, exceptions that nobody caught, and what could not be loaded."""
        self.ask("0")
        found = []
        for event in self.events:
            given, kind = event.get("params", {}), event.get("method")
            if kind == "Runtime.exceptionThrown":
                found.append(str(given["exceptionDetails"]))
            elif kind == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
                found.append(str(given["args"]))
            elif kind == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
                found.append(str(given["entry"]))
        return found

    def asked(self) -> list[str]:
        """The addresses that the page asked for."""
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [given["request"]["url"] for given in sent]

    def picture(self, path: Path) -> None:
        """A picture of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def browser(profile: Path, *flags: str) -> Iterator[Tab]:
    """A browser with one tab, and an end to it."""
    theirs, ours = os.pipe(), os.pipe()

    def as_three_and_four() -> None:
        first, second = os.dup(theirs[0]), os.dup(ours[1])
        os.dup2(first, 3)
        os.dup2(second, 4)

    command = [str(BROWSER), *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", *flags]
    process = subprocess.Popen(
        command, preexec_fn=as_three_and_four, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(theirs[0])
    os.close(ours[1])
    try:
        yield Tab(theirs[1], ours[0])
    finally:
        os.close(theirs[1])
        os.close(ours[0])
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
