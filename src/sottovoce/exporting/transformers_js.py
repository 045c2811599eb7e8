"""The target `transformers-js`: pipelines in browsers and in Node."""

from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.exporting.card import PIPELINES
from sottovoce.exporting.onnx import write_json
from sottovoce.exporting.order import Order
from sottovoce.exporting.target import needs_tokens, register_target
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.front_end import SAMPLE_RATE
from sottovoce.models.processors import EXTRACTOR
from sottovoce.runtimes.graph import Graph, gives
from sottovoce.tasks.kinds import BLANK, DELIMITER

# What it calls the file of each precision, and that precision.
FILES = {"fp32": ("model.onnx", "fp32"), "fp16": ("model_fp16.onnx", "fp16"), "int8": ("model_quantized.onnx", "q8")}
# To it a graph is a graph: every family that takes a waveform goes by the name of the first.
KIND = "wav2vec2"
USAGE = """
```js
import {{ pipeline }} from "@huggingface/transformers";

const run = await pipeline("{pipeline}", "{name}");
console.log(await run("speech.wav"));
```

In Node, audio is a `Float32Array` at 16 kHz; `env.localModelPath` is the folder that this one lies in.
"""


def usage(order: Order, graph: Graph) -> str:
    """Lines of JavaScript that run the folder."""
    return USAGE.format(pipeline=PIPELINES[graph.gives], name=Path(order.name).name)


def suits(model: Any) -> None:
    """Refuse what its pipelines have no name for, and features that are not a waveform."""
    if Anatomy(model).family.convs is None:
        raise SottovoceError(
            f"transformers-js hands {Anatomy(model).name} models features of its own, and this graph has its front end "
            "inside; export it with --to onnx."
        )
    if gives(model) == "classes":
        return
    needs_tokens("transformers-js")(model)


@register_target(
    "transformers-js",
    usage=usage,
    suits=suits,
    files={precision: f"onnx/{name}" for precision, (name, _) in FILES.items()},
    lengths=False,
    names={"waveform": "input_values", "log_probs": "logits"},
)
def transformers_js(order: Order, graph: Graph, folder: Path) -> None:
    """transformers.js: pipelines for speech recognition and audio classification in browsers and in Node."""
    labels = order.labels
    head = "ForCTC" if graph.gives == "tokens" else "ForSequenceClassification"
    config: dict[str, Any] = {"model_type": KIND, "architectures": [f"Wav2Vec2{head}"]}
    config |= {"transformers.js_config": {"dtype": FILES[order.precision][1]}}
    if graph.gives == "classes":
        config |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    else:
        config |= {"vocab_size": len(labels), "pad_token_id": labels.index(BLANK)}
        write_tokenizer(folder, labels)
    write_json(folder / "config.json", config)
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": False,  # the graph does it, where the model wants it
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": SAMPLE_RATE,
    }
    write_json(folder / EXTRACTOR, extractor)


def write_tokenizer(folder: Path, labels: tuple[str, ...]) -> None:
    """The tokens of a CTC head as a tokenizer that only reads: the likeliest of each frame to text.

    Example:
        >>> write_tokenizer(Path("letters"), ("<pad>", "A", "|"))
    """
    # What stands between words is a space already: the decoder's way to make one also takes spaces before signs away.
    # Special tokens of a head have no text of their own.
    named = [" " if label == DELIMITER else label for label in labels]
    vocabulary = {label or f"<{number}>": number for number, label in enumerate(named)}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": {"type": "CTC", "pad_token": BLANK, "word_delimiter_token": " ", "cleanup": False},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": BLANK},
    }
    write_json(folder / "tokenizer.json", tokenizer)
    about: dict[str, Any] = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": BLANK, "unk_token": BLANK}
    write_json(folder / "tokenizer_config.json", about | {"clean_up_tokenization_spaces": False})
