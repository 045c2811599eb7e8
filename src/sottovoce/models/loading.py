"""Loading a model: its files are looked at first, and then read as no more than numbers."""

import logging
import os
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download

from sottovoce.errors import SottovoceError
from sottovoce.files import inside, read_json, read_whole, regular_file
from sottovoce.models.bounds import check_layers, check_size
from sottovoce.models.build import compressed
from sottovoce.models.bundle import FILE
from sottovoce.models.checkpoint import (
    check_loaded,
    find_class,
    find_source,
    folder_config,
    loader_reason,
    not_to_be_had,
    numbers_in,
    outline,
    quiet,
    system_errors,
)
from sottovoce.models.packed import PACKED
from sottovoce.models.processors import PROCESSOR_FILES
from sottovoce.models.teachers import WHOLE
from sottovoce.models.weights import (
    INDEX,
    PICKLE,
    PICKLE_INDEX,
    check_headers,
    is_pickled,
    read_weights,
    sharding,
    weight_files,
)

GENERATION = "generation_config.json"
MODEL_FILES = ("config.json", GENERATION, INDEX, FILE)


def load(
    id_or_folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
) -> Any:
    """A Hugging Face speech model, with the head it was saved with, from the Hub, a folder or a run's folder.

    No code of the checkpoint is run; every tensor must be there and fit. Weights are safetensors, or else the tensors
    by name of a `pytorch_model.bin`, of which nothing else is read; a line in the log says so. What a file asks of
    Hugging Face's loaders (attention code, kernels, quantisation) is left out, links that lead out of the folder are
    refused, and so is a tensor that no part of the model is for; tensors of other heads are passed over.

    Example:
        >>> model = load("facebook/hubert-base-ls960")
    """
    source = find_source(id_or_folder)
    with system_errors(source):
        place = source if Path(source).is_dir() else str(fetch_folder(source, revision))
        model = read_whole(place, lambda: read_model(place, source, dtype))
        if is_pickled(weight_files(place)[0]):
            say_pickled(source)
    model.name_or_path = source
    align(model.eval())
    return model if device is None else model.to(device)


def read_model(folder: str | Path, source: str, dtype: torch.dtype | None) -> Any:
    """The model in a local folder, each of whose files is looked at before it is believed."""
    for name in (*PROCESSOR_FILES, *MODEL_FILES):
        path = inside(folder, name, "the file")
        if os.path.lexists(path):
            regular_file(path, f"the {name} of a model")
    config = folder_config(folder)
    model_class = find_class(config, source)
    stored, tensors = check_headers(folder)
    check_layers(config, tensors, source)
    made = outline(model_class, config, f"the config.json of {source}")
    check_size(numbers_in(made), stored, source)
    weights = read_weights(folder, made.state_dict())
    model = assemble(source, model_class, config, dtype, state_dict=weights)
    model.packed = Path(folder, PACKED).is_file()
    if model.can_generate() and Path(folder, GENERATION).is_file():
        about = read_json(Path(folder, GENERATION), f"the {GENERATION} of a model")
        try:
            model.generation_config = transformers.GenerationConfig.from_dict(about)
        except (TypeError, ValueError, AttributeError) as error:
            reason = loader_reason(error)
            raise SottovoceError(f"the {GENERATION} of {source} is damaged ({reason}); delete it.") from error
    return model


def fetch_folder(name: str, revision: str | None = None) -> Path:
    """The files of a model of the Hub, in its cache: the safetensors of a revision, or its pickles where it has none.

    Example:
        >>> fetch_folder("facebook/hubert-base-ls960").name
        'dba3bb02fda4248b6e082697eee756de8fe8aa8a'
    """
    asked: list[str] = [*PROCESSOR_FILES, "config.json", GENERATION, FILE]
    try:
        with quiet():
            for index, whole in ((INDEX, WHOLE), (PICKLE_INDEX, PICKLE)):
                asked = [*asked, index, whole]
                folder = Path(snapshot_download(name, revision=revision, allow_patterns=asked))
                revision = folder.name  # what else is wanted is of the same commit
                if (folder / whole).is_file():
                    break
                if (folder / index).is_file():
                    shards = sorted(set(sharding(folder, index).values()))
                    return Path(snapshot_download(name, revision=revision, allow_patterns=shards))
            return folder
    except SottovoceError:
        raise
    except (OSError, ValueError) as error:
        raise not_to_be_had(name, error) from error


def conversion(source: str) -> str:
    """The command that writes a model's weights as safetensors.

    Example:
        >>> conversion("facebook/wav2vec2-base")
        'sottovoce convert facebook/wav2vec2-base -o wav2vec2-base-safetensors'
    """
    target = f"{os.path.basename(os.path.abspath(source))}-safetensors"
    return f"sottovoce convert {shlex.quote(source)} -o {shlex.quote(target)}"


@cache
def say_pickled(source: str) -> None:
    """Note once in the log that a model's weights were a pickle, and how to have them otherwise."""
    logging.getLogger("sottovoce").warning(
        "%s holds its weights as a pickle, of which only tensors are read; sv.save writes safetensors, and so does: %s",
        *(source, conversion(source)),
    )


def assemble(source: str, model_class: Any, config: Any, dtype: torch.dtype | None, **options: Any) -> Any:
    """A model with the tensors among the options, every one of them there and fitting."""
    if dtype is not None:
        options["dtype"] = dtype
    with quiet():
        try:
            model, found = compressed(model_class, plain=True).from_pretrained(
                None,
                config=config,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
        except SottovoceError as error:
            raise SottovoceError(
                f"the config.json of {source} does not fit a {config.model_type} model: {error}"
            ) from error
        except Exception as error:
            if isinstance(error, MemoryError):
                raise
            raise SottovoceError(f"no weights of {source} could be read: {loader_reason(error)}.") from error
    check_loaded(model, found, source)
    return model


def align(model: Any) -> None:
    """Move tensors that lie crookedly in a mapped file into memory of their own.

    Vector kernels round differently on memory that does not start at their width, so the same numbers would compute
    another last bit than in the model that was saved.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if is_crooked(tensor):
            tensor.data = tensor.data.clone()


def is_crooked(tensor: torch.Tensor) -> bool:
    """Whether a tensor does not start at a multiple of the widest vector."""
    return tensor.device.type == "cpu" and tensor.data_ptr() % 64 != 0
