"""The target `web`: a page that hears the microphone and files, with the model in it, for any server or for none."""

import base64
import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.exporting.onnx import FORMAT, about, write_json
from sottovoce.exporting.order import Order
from sottovoce.exporting.ort_web import PACKAGE, runtime
from sottovoce.exporting.target import ORIGINAL, needs_tokens, register_target
from sottovoce.look import style
from sottovoce.models.heads import TASK
from sottovoce.runtimes.graph import Graph, gives
from sottovoce.runtimes.onnx_file import too_large, write_onnx
from sottovoce.tasks import TASKS
from sottovoce.tasks.kinds import DELIMITER

PAGE = Path(__file__).with_name("page")
INDEX, SHEET, ABOUT, SINGLE = "index.html", "page.css", "page.json", "single.html"
SCRIPTS = ("engine.js", "audio.js", "reading.js", "page.js")
LOADED = ("worker.js", "recorder.js")  # by the scripts, where they are to run
MODEL, ORT, BINARY = "model.onnx", "ort.js", "ort.wasm"
LARGEST = 64 << 20  # bytes of the single file
SAYS = {
    "classes": "Says which of {count} classes it hears.",
    "tokens": "Writes down what it hears.",
    "frame classes": "Says which of {count} classes it hears, and when.",
}
USAGE = """
Any server of plain files shows the page; here it is then at http://127.0.0.1:8000:

```sh
python3 -m http.server --bind 127.0.0.1
```

`{single}` is all of it in one file, which opens with a double click; it is not there if it would be larger than
{largest} MiB. Browsers give the microphone to pages from https, from the machine itself and from files. The page loads
nothing from elsewhere: `{ort}` and `{binary}` are {package} {version} (MIT license). It shows how fast the model is in
that browser; the times below are those of ONNX Runtime on the machine that made this folder.
"""


def usage(order: Order, graph: Graph) -> str:
    """How the page is opened."""
    names = {"single": SINGLE, "largest": LARGEST >> 20, "ort": ORT, "binary": BINARY, "package": PACKAGE}
    return USAGE.format(**names, version=runtime().version)


def suits(model: Any) -> None:
    """Refuse heads that a page cannot show, models that no browser holds, and a machine without the runtime."""
    kind = gives(model)
    if kind not in SAYS:
        raise SottovoceError(
            f"web shows classes, texts and classes of frames, but this {type(model).__name__} gives {kind}; fine-tune "
            "it for such a task first, or export it with --to onnx."
        )
    if kind == "tokens":
        needs_tokens("web")(model)
    if too_large(model):
        raise SottovoceError(
            f"this {type(model).__name__} is too large for one ONNX file, and a browser holds no more; export it with "
            "--to onnx."
        )
    runtime()


@register_target("web", usage=usage, suits=suits, compares=True)
def web(order: Order, graph: Graph, folder: Path) -> None:
    """Browsers: a page that hears the microphone and files, and loads nothing from elsewhere."""
    models = [entry(order, graph, folder / MODEL)]
    if order.original is not None:
        beside = Graph(order.original.model, seconds=order.seconds)
        write_onnx(beside, folder / ORIGINAL, opset=order.opset)
        models.append(entry(order.original, beside, folder / ORIGINAL))
    package = runtime()
    page = {
        "format": "sottovoce-web",
        "version": 1,
        "title": order.title,
        "describes": SAYS[graph.gives].format(count=len(order.labels)),
        "gives": graph.gives,
        "seconds": order.seconds,
        "runtime": f"{PACKAGE} {package.version}",
        "models": models,
    }
    write_json(folder / ABOUT, page)
    for name in (INDEX, *SCRIPTS, *LOADED):
        shutil.copyfile(PAGE / name, folder / name)
    shutil.copyfile(package.script, folder / ORT)
    shutil.copyfile(package.binary, folder / BINARY)
    (folder / SHEET).write_text(style() + (PAGE / SHEET).read_text(encoding="utf-8"), encoding="utf-8")
    write_single(folder, [ABOUT, *LOADED, ORT, BINARY, *(model["file"] for model in models)])


def entry(order: Order, graph: Graph, file: Path) -> dict[str, Any]:
    """What the page has to know of a model.

    Example:
        >>> entry(order, graph, Path("model.onnx"))["labels"][:2]
        ['_unknown_', 'close']
    """
    found = about(order, graph, FORMAT, opset=order.opset) | {
        "name": order.title,
        "file": file.name,
        "bytes": file.stat().st_size,
    }
    found["labels"] = list(order.labels)
    if graph.gives == "tokens":
        task = getattr(order.model.config, TASK, None)
        words = DELIMITER in order.labels or (task in TASKS and TASKS[task].kind.words)
        found["joiner"] = "" if words else " "  # phones stand apart
    return found


def write_single(folder: Path, names: list[str]) -> None:
    """The page with its files inside, compressed, as one file; none if that would be too large.

    Example:
        >>> write_single(folder, ["page.json", "model.onnx"])
    """
    sheet, scripts = f'<link rel="stylesheet" href="{SHEET}">', [f'<script src="{name}"></script>' for name in SCRIPTS]
    text = (folder / INDEX).read_text(encoding="utf-8")
    text = text.replace(sheet, f"<style>\n{(folder / SHEET).read_text(encoding='utf-8')}</style>")
    for name, tag in zip(SCRIPTS, scripts, strict=True):
        text = text.replace(tag, f"<script>\n{(folder / name).read_text(encoding='utf-8')}</script>")
    head, tail = text.split("<script>", 1)
    inside: list[str] = []
    size = len(text.encode())
    for element in elements(folder, names):
        size += len(element)
        if size > LARGEST:
            return
        inside.append(element)
    (folder / SINGLE).write_text(f"{head}{''.join(inside)}<script>{tail}", encoding="utf-8")


def elements(folder: Path, names: list[str]) -> Iterator[str]:
    """Files as elements of a page that browsers do not look into."""
    for name in names:
        packed = base64.b64encode(gzip.compress((folder / name).read_bytes(), mtime=0)).decode()
        yield f'<script type="application/gzip" data-file="{name}">{packed}</script>\n'
