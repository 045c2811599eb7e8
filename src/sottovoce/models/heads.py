"""Task heads of Hugging Face on any encoder, with the files that its pipelines need."""

import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.build import compressed
from sottovoce.models.hub import HEADS, processor_file
from sottovoce.models.structure import settle

TASK = "sottovoce_task"


def with_head(
    model: Any, head: str, labels: Sequence[str], *, task: str = "", blank: str | None = None, seed: int = 0
) -> Any:
    """A copy of a model's encoder under a new head of Hugging Face's, `ForCTC` or `ForSequenceClassification`.

    With `blank`, the labels are the tokens of a CTC head, and the saved folder gets the vocabulary that Hugging Face's
    speech recognition pipeline reads.

    Example:
        >>> with_head(model, "ForSequenceClassification", ["no", "yes"]).config.id2label
        {0: 'no', 1: 'yes'}
    """
    body = Anatomy(model)
    config = copy.deepcopy(model.config)
    config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    if head == "ForCTC":
        config.vocab_size = len(labels)
        config.pad_token_id = list(labels).index(blank) if blank is not None else None
        config.bos_token_id = config.eos_token_id = None
    setattr(config, TASK, task)
    mapping = getattr(transformers, HEADS[head])._model_mapping
    if type(config) not in mapping or (body.name == "whisper" and head != "ForSequenceClassification"):
        raise SottovoceError(f"Hugging Face has no {head} for the {body.name} family; use a probe for this task.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        new = compressed(mapping[type(config)], plain=True)(config)
    base = copy.deepcopy(body.base)
    replaced = Anatomy(new).base
    own = base.config
    for module in base.modules():
        if getattr(module, "config", None) is own:
            module.config = new.config
    for name, module in new.named_modules():
        for child, found in module.named_children():
            if found is replaced:
                setattr(module, child, base)
                break
        del name
    new.to(device=body.base.device, dtype=body.base.dtype)
    # Where its own files lie: the feature extractor's still hold, a tokenizer's do not.
    new.name_or_path = getattr(model, "name_or_path", "") or ""
    new.processor_files = vocabulary_files(labels, blank) if blank is not None else {}
    settle(new)
    return new.train(model.training)


def vocabulary_files(labels: Sequence[str], blank: str) -> dict[str, str]:
    """The files of a tokenizer for CTC: of characters with `|` between words, or of phones with spaces."""
    phones = any(len(label) > 1 and label != blank for label in labels)
    settings: dict[str, Any] = {
        "tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer" if phones else "Wav2Vec2CTCTokenizer",
        "pad_token": blank,
        "unk_token": blank,
        "bos_token": None,
        "eos_token": None,
        "word_delimiter_token": None if phones else "|",
        "do_lower_case": False,
    }
    if phones:
        settings |= {"phone_delimiter_token": " ", "do_phonemize": False}
    vocabulary = {label: index for index, label in enumerate(labels)}
    texts = {"vocab.json": vocabulary, "tokenizer_config.json": settings}
    return {name: json.dumps(value, indent=2, ensure_ascii=False) + "\n" for name, value in texts.items()}


def head_labels(model: Any) -> tuple[str, ...]:
    """The labels that a model's own head can say, in its order; empty where it has no head that says any.

    Example:
        >>> head_labels(sv.load("superb/hubert-base-superb-ks"))[:2]
        ('yes', 'no')
    """
    name = type(model).__name__
    if name.endswith("ForCTC") and getattr(model.config, "pad_token_id", None) is not None:
        files = getattr(model, "processor_files", None) or {}
        path = processor_file(getattr(model, "name_or_path", "") or "", "vocab.json")
        text = files.get("vocab.json") or (path.read_text(encoding="utf-8") if path is not None else "{}")
        vocabulary: dict[str, int] = json.loads(text)
        return tuple(sorted(vocabulary, key=lambda token: vocabulary[token]))
    if name.endswith(("ForCTC", "ForSequenceClassification", "ForAudioClassification", "ForAudioFrameClassification")):
        return tuple(label for _, label in sorted(model.config.id2label.items()))
    return ()
