"""Task heads of Hugging Face on any encoder, with the files that its pipelines need."""

import copy
import json
import reprlib
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from sottovoce.errors import SottovoceError
from sottovoce.files import json_object, read_text
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.bounds import MOST_TOKENS
from sottovoce.models.build import compressed
from sottovoce.models.processors import processor_file
from sottovoce.models.structure import settle
from sottovoce.models.whole import HEADS

TASK = "sottovoce_task"


def with_head(
    model: Any,
    head: str,
    labels: Sequence[str],
    *,
    task: str = "",
    blank: str | None = None,
    phones: bool = False,
    seed: int = 0,
) -> Any:
    """A copy of a model's encoder under a new head of Hugging Face's, `ForCTC` or `ForSequenceClassification`.

    With `blank`, the labels are the tokens of a CTC head, characters or `phones`, and the saved folder gets the
    vocabulary that Hugging Face's speech recognition pipeline reads.

    Example:
        >>> with_head(model, "ForSequenceClassification", ["no", "yes"]).config.id2label
        {0: 'no', 1: 'yes'}
    """
    body = Anatomy(model)
    config = copy.deepcopy(model.config)
    config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    if head == "ForCTC":
        config.vocab_size = len(labels)
        config.pad_token_id = list(labels).index(blank) if blank is not None else 0
    setattr(config, TASK, task)
    mapping = getattr(transformers, HEADS[head])._model_mapping
    if type(config) not in mapping or (body.family.only_head is not None and head != "ForSequenceClassification"):
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
    for module in list(new.modules()):
        for child, found in list(module.named_children()):
            if found is replaced:
                setattr(module, child, base)
    new.to(device=body.base.device, dtype=body.base.dtype)
    # Where its own files lie: the feature extractor's still hold, a tokenizer's do not.
    new.name_or_path = getattr(model, "name_or_path", "") or ""
    new.processor_files = vocabulary_files(labels, blank, phones=phones) if blank is not None else {}
    settle(new)
    return new.train(model.training)


def vocabulary_files(labels: Sequence[str], blank: str, *, phones: bool) -> dict[str, str]:
    """The files of a tokenizer for CTC: of characters with `|` between words, or of phones with spaces."""
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


def head_labels(model: Any, *, blank: str = "<pad>", delimiter: str = "|") -> tuple[str, ...]:
    """What a model's own head can say, in its order; empty where it has no head that says anything.

    Of a CTC head the blank is named `blank`, what stands between words `delimiter`, and special tokens are empty.

    Example:
        >>> head_labels(sv.load("superb/hubert-base-superb-ks"))[:2]
        ('yes', 'no')
    """
    name = type(model).__name__
    if name.endswith("ForCTC") and not getattr(model.config, TASK, None):
        return vocabulary(model, blank, delimiter)
    if name.endswith(("ForCTC", "ForSequenceClassification", "ForAudioClassification", "ForAudioFrameClassification")):
        return tuple(label for _, label in sorted(model.config.id2label.items()))
    return ()


def vocabulary(model: Any, blank: str, delimiter: str) -> tuple[str, ...]:
    """The tokens of a CTC head that was made elsewhere, read off the files beside its weights."""
    source = getattr(model, "name_or_path", "") or ""
    files = {name: processor_file(source, f"{name}.json") for name in ("vocab", "added_tokens", "tokenizer_config")}
    read = {
        name: json_object(read_text(path, "a tokenizer's file"), f"'{path}'")
        for name, path in files.items()
        if path is not None
    }
    about = read.get("tokenizer_config", {})
    # MMS has a vocabulary for each language, and names the one whose adapter is in the model.
    language = about.get("target_lang")
    vocab = read.get("vocab", {})
    chosen = vocab.get(language) if isinstance(language, str) else None
    numbers = {**(chosen if isinstance(chosen, dict) else vocab), **read.get("added_tokens", {})}
    if not numbers:
        return ()
    if any(isinstance(number, dict) for number in numbers.values()):
        raise SottovoceError(f"the vocabulary of {source} has a part for each language; give a model of one language.")
    for token, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST_TOKENS:
            given = f"{reprlib.repr(token)} the number {reprlib.repr(number)}"
            raise SottovoceError(
                f"the vocabulary of {source} gives {given}, but a whole number from 0 to {MOST_TOKENS} is wanted; copy "
                "vocab.json again."
            )
    special = {text_of(about.get(f"{kind}_token")) for kind in ("pad", "unk", "bos", "eos")}
    tokens = [""] * model.config.vocab_size
    for token, number in numbers.items():
        if (
            number < len(tokens)
            and token not in special
            and not (token[:1] in "<[" and token[-1:] in ">]" and token[1:])
        ):
            tokens[number] = delimiter if token == (text_of(about.get("word_delimiter_token")) or "|") else token
    if model.config.pad_token_id is not None:
        if not 0 <= model.config.pad_token_id < len(tokens):
            raise SottovoceError(
                f"pad_token_id is {model.config.pad_token_id}, but the head of {source} has {len(tokens)} tokens; mend "
                "config.json."
            )
        tokens[model.config.pad_token_id] = blank
    return tuple(tokens)


def text_of(token: Any) -> str:
    """A token as tokenizer files write it: a text, or a mapping with its text."""
    text = token.get("content") if isinstance(token, dict) else token
    if text is not None and not isinstance(text, str):
        raise SottovoceError(f"a token is {reprlib.repr(text)} in tokenizer_config.json, but a text is wanted.")
    return text or ""
