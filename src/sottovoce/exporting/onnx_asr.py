"""The target `onnx-asr`: speech recognition in Python on numpy and ONNX Runtime alone."""

import math
from pathlib import Path

from sottovoce.exporting.onnx import write_json
from sottovoce.exporting.order import Order
from sottovoce.exporting.sherpa_onnx import symbols
from sottovoce.exporting.target import needs_tokens, register_target
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.front_end import SHIFT
from sottovoce.runtimes.graph import Graph

KIND = "wav2vec2-ctc"
VOCABULARY = "vocab.txt"
USAGE = """
```python
import onnx_asr

model = onnx_asr.load_model("wav2vec2-ctc", ".")
print(model.recognize("speech.wav"))
```

For int8, `load_model("wav2vec2-ctc", ".", quantization="int8")`. The releases up to 0.12.0 do not know this kind yet.
"""


@register_target(
    "onnx-asr",
    usage=lambda order, graph: USAGE,
    suits=needs_tokens("onnx-asr"),
    files={"int8": "model.int8.onnx"},
    names={"waveform": "input_values", "lengths": "input_lengths", "log_probs": "logprobs"},
)
def onnx_asr(order: Order, graph: Graph, folder: Path) -> None:
    """onnx-asr: speech recognition in Python on numpy and ONNX Runtime alone."""
    body = Anatomy(order.model)
    shift = 2 * SHIFT if body.family.convs is None else math.prod(body.config.conv_stride)
    write_json(folder / "config.json", {"model_type": KIND, "subsampling_factor": shift})
    (folder / VOCABULARY).write_text(symbols(order), encoding="utf-8")
