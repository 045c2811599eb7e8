"""The target `sherpa-onnx`: speech recognition from a dozen programming languages."""

from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.errors import SottovoceError
from sottovoce.exporting.onnx import CONFIG, FORMAT, about, write_json
from sottovoce.exporting.order import Order
from sottovoce.exporting.target import needs_tokens, register_target
from sottovoce.models.encoder import Encoder
from sottovoce.runtimes.graph import Graph
from sottovoce.tasks.kinds import BLANK, DELIMITER

TOKENS = "tokens.txt"
NAMES = {BLANK: "<blk>", DELIMITER: "▁", "": "<unk>"}
USAGE = """
```python
import sherpa_onnx
import soundfile

recognizer = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc("model.onnx", "tokens.txt")
audio, rate = soundfile.read("speech.wav", dtype="float32")
stream = recognizer.create_stream()
stream.accept_waveform(rate, audio)
recognizer.decode_stream(stream)
print(stream.result.text)
```

In other languages it is the `omnilingual` model of an offline recognizer, with `tokens.txt`.
"""


def suits(model: Any) -> None:
    """Refuse what this program would hear otherwise than the model: it normalises every waveform."""
    needs_tokens("sherpa-onnx")(model)
    if Encoder(model).normalizes is not True:
        raise SottovoceError(
            "sherpa-onnx normalises every waveform, but this model takes it as it is (do_normalize=false, or features "
            "of its own); export it with --to onnx."
        )


def normalised(piece: np.ndarray) -> np.ndarray:
    """A waveform as this program hands it to the graph.

    Example:
        >>> normalised(np.array([1.0, -1.0], np.float32))
        array([ 1., -1.], dtype=float32)
    """
    return ((piece - piece.mean()) / np.sqrt(piece.var() + 1e-7)).astype(np.float32)


@register_target(
    "sherpa-onnx",
    usage=lambda order, graph: USAGE,
    suits=suits,
    lengths=False,
    normalizes=False,
    prepare=normalised,
)
def sherpa_onnx(order: Order, graph: Graph, folder: Path) -> None:
    """sherpa-onnx: speech recognition from a dozen programming languages, on servers, phones and small boards."""
    (folder / TOKENS).write_text(symbols(order), encoding="utf-8")
    write_json(folder / CONFIG, about(order, graph, FORMAT, opset=order.opset))


def symbols(order: Order) -> str:
    """The tokens of a head, a line each with its number; no symbol may hold a space.

    Example:
        >>> symbols(order).splitlines()[0]
        '<blk> 0'
    """
    named = [NAMES.get(label, label.replace(" ", "▁")) for label in order.labels]
    return "".join(f"{symbol} {number}\n" for number, symbol in enumerate(named))
