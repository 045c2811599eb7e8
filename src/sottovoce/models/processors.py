"""The files beside a model's weights: feature extractor and tokenizer, as any version of transformers writes them."""

import json
import re
import reprlib
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from sottovoce.errors import SottovoceError
from sottovoce.files import inside, is_number, json_object, read_text

EXTRACTOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
NESTED = "feature_extractor"
UNITS_FILE = "units.safetensors"  # the head over units that pretraining keeps beside a model
PROCESSOR_FILES = (
    EXTRACTOR,
    PROCESSOR,
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
    UNITS_FILE,
)


def processor_file(source: str, name: str) -> Path | None:
    """A file beside a model's weights, where it is on this machine already: in its folder or in the Hub's cache.

    Example:
        >>> processor_file("letters-hubert", "vocab.json")
        PosixPath('letters-hubert/vocab.json')
    """
    if source and Path(source).is_dir():
        found: Any = inside(source, name)
    else:
        found = try_to_load_from_cache(source, name) if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source or "") else None
        found = inside(Path(found).parent, name) if isinstance(found, str) else None
    return found if found is not None and found.is_file() else None


def extractor_settings(source: str | Path) -> dict[str, Any] | None:
    """What the files beside a model's weights say of its feature extractor; None where they say nothing.

    transformers 5 writes these settings into the processor's file, and believes that one first; before, they had a file
    of their own.

    Example:
        >>> extractor_settings("wavlm-base")["do_normalize"]
        False
    """
    for name in (PROCESSOR, EXTRACTOR):
        path = processor_file(str(source), name)
        if path is None:
            continue
        record: Any = json_object(read_text(path, "the feature extractor's settings"), f"'{path}'")
        if name == PROCESSOR:
            record = record.get(NESTED)
            if record is None:
                continue
            if not isinstance(record, dict):
                raise SottovoceError(f"{NESTED} is {reprlib.repr(record)} in '{path}', but a JSON object is wanted.")
        normalizes, padding = record.get("do_normalize", True), record.get("padding_value", 0.0)
        if not isinstance(normalizes, bool):
            raise SottovoceError(
                f"do_normalize is {reprlib.repr(normalizes)} in {name} of {source}, but true or false is wanted."
            )
        if not is_number(padding) or not abs(padding) <= 1e6:
            raise SottovoceError(
                f"padding_value is {reprlib.repr(padding)} in {name} of {source}, but a number up to 1e6 is wanted."
            )
        return record
    return None


def write_extractor(folder: Path, settings: dict[str, Any]) -> None:
    """The settings of a feature extractor as a file of their own, which every version of transformers reads.

    Example:
        >>> write_extractor(Path("small"), {"do_normalize": False})
    """
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (folder / EXTRACTOR).write_text(text, encoding="utf-8")
