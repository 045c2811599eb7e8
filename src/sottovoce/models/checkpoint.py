"""Reading a checkpoint's files with suspicion: what is missing, damaged, pickled or does not fit is refused."""

import copy
import difflib
import logging
import os
import re
import reprlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from transformers.utils import logging as hf_logging

from sottovoce.errors import SottovoceError, explain_system_error, reason_of, unknown
from sottovoce.files import inside, json_object, local_path, put_back, read_text, read_whole
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.bounds import check_structure, is_of_a_head, known_settings
from sottovoce.models.build import compressed
from sottovoce.models.families import FAMILIES, PREFIX
from sottovoce.models.shapes import SHAPES
from sottovoce.models.structure import KEY, Structure, damaged, recorded
from sottovoce.models.teachers import teacher_folder, teacher_names

# Only training reads it, and fine-tuned checkpoints of the early days were saved without it.
MAY_BE_MISSING = ("masked_spec_embed",)
LARGEST_CONFIG = 16 << 20  # bytes
LONGEST_REASON = 500  # characters of what another library said


def read_config(id_or_folder: str | Path, *, revision: str | None = None) -> tuple[str, Any]:
    """The place of a model's files and its checked configuration.

    Example:
        >>> source, config = read_config("small-hubert")
    """
    source = find_source(id_or_folder)
    if Path(source).is_dir():
        return source, read_whole(source, lambda: folder_config(source))
    return source, fetch_config(source, revision)


def folder_config(folder: str | Path) -> Any:
    """The checked configuration of a local folder.

    Example:
        >>> folder_config("small").hidden_size
        192
    """
    path = inside(folder, "config.json", "the configuration")
    if not os.path.lexists(path):
        raise SottovoceError(f"{folder} holds no config.json, so it is no model; give a folder that `save` wrote.")
    return make_config(config_record(path, str(folder)), str(folder))


def config_record(path: str | Path, source: str) -> dict[str, Any]:
    """What a model's config.json holds.

    Example:
        >>> config_record("small/config.json", "small")["hidden_size"]
        192
    """
    text = read_text(path, "the configuration", largest=LARGEST_CONFIG)
    try:
        return json_object(text, f"the config.json of {source}")
    except SottovoceError as error:
        raise SottovoceError(f"{str(error).rstrip('.')}; save or download the model anew.") from error


def find_source(id_or_folder: str | Path) -> str:
    """A folder that exists, a run's `model` folder in it, a model that comes with the package, or else a Hub id.

    What can only be a path, or begins with a folder that is here, is never asked for at the Hub. A folder that a killed
    process had moved aside is put back first.
    """
    name = str(id_or_folder)
    path, ours = put_back(local_path(name, "the model")), teacher_folder(name)
    # A folder that happens to have a teacher's name, such as one of results, does not hide the teacher.
    if path.is_dir() and (ours is None or any((path / file).is_file() for file in ("config.json", "run.json"))):
        run = path / "run.json"
        is_run = run.is_file() and not (path / "config.json").is_file()
        return str(put_back(path / "model")) if is_run else str(path)
    if ours is not None:
        return str(ours)
    if path.exists():
        raise SottovoceError(f"{name} is a file, but a model is a folder with config.json and model.safetensors.")
    # Every speech model of the Hub belongs to somebody: a name without a slash is a folder that is not there.
    if isinstance(id_or_folder, Path) or is_path(name) or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        near = difflib.get_close_matches(name, [*FAMILIES, *SHAPES], n=1)
        bundled = " or ".join(f"{own} (in the package)" for own in teacher_names())
        shape = f" For random weights of a shape: sv.new('{near[0]}')." if near else ""
        wanted = "a model's folder or a Hub id such as facebook/hubert-base-ls960"
        raise SottovoceError(f"there is no folder {name}; give {wanted}{', or ' if bundled else ''}{bundled}.{shape}")
    return name


def is_path(name: str) -> bool:
    """Whether a name can only be meant as a path on this machine.

    Example:
        >>> is_path("../small"), is_path("facebook/hubert-base-ls960")
        (True, False)
    """
    first = name.partition("/")[0]
    files = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".json", ".yaml")
    return (
        first in ("", ".", "..")
        or name.startswith("~")
        or "\\" in name
        or name.count("/") > 1
        or name.endswith(("/", *files))
        or ("/" in name and Path(first).is_dir())
    )


def fetch_config(name: str, revision: str | None) -> Any:
    """The checked configuration of a Hub model, from the cache where it is there."""
    try:
        with quiet():
            path = hf_hub_download(name, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        raise not_to_be_had(name, error) from error
    return make_config(config_record(path, name), name)


def not_to_be_had(name: str, error: Exception) -> SottovoceError:
    """The error for a model that is neither here nor to be had from the Hub.

    Example:
        >>> raise not_to_be_had("nobody/nothing", error)  # doctest: +SKIP
    """
    return SottovoceError(
        f"there is no folder {name}, and no such model could be had from the Hub ({loader_reason(error)}); "
        "check the name, the network, and for private models the login."
    )


def make_config(record: dict[str, Any], source: str) -> Any:
    """A configuration object from the record in config.json, Structure included.

    It has what `known_settings` lets through: nothing in it chooses code, kernels or files for Hugging Face's loaders.
    """
    name = str(record.get("model_type", ""))[:80].removeprefix(PREFIX)
    if name not in FAMILIES:
        raise unknown(f"family of {source}:", name, FAMILIES)
    config_class = transformers.CONFIG_MAPPING[name]
    structure = Structure.from_dict(record[KEY]) if record.get(KEY) is not None else Structure()
    what = f"the config.json of {source}"
    config = configured(config_class, known_settings(config_class, record, what), what)
    check_structure(structure, config)
    if not structure.regular:
        setattr(config, KEY, structure.to_dict())
    return config


def configured(config_class: Any, settings: dict[str, Any], what: str) -> Any:
    """A configuration of Hugging Face's, or what it says against these settings."""
    try:
        with quiet():
            return config_class.from_dict(settings)
    except Exception as error:  # a strict dataclass of its own error types, which differ between versions
        family = config_class.model_type
        raise SottovoceError(f"no {family} configuration can be made of {what}: {loader_reason(error)}.") from error


def find_class(config: Any, source: str) -> Any:
    """The Hugging Face class that the model was saved as, which is one of its own family."""
    base = transformers.AutoModel._model_mapping[type(config)]
    names = getattr(config, "architectures", None)
    if names is None:
        return base
    found = vars(sys.modules[base.__module__]).get(names[0])
    of_family = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    if found is None or not of_family or getattr(found, "config_class", None) is not type(config):
        raise SottovoceError(
            f"{source} was saved as {reprlib.repr(names[0])}, which transformers {transformers.__version__} has not "
            f"for the {config.model_type} family; mend architectures in config.json."
        )
    return found


def outline(model_class: Any, config: Any, what: str) -> Any:
    """The model that a configuration describes, without a number in it: it costs no memory, whatever it asks for.

    Example:
        >>> outline(transformers.HubertModel, config, "these settings").device
        device(type='meta')
    """
    try:
        with quiet(), torch.device("meta"):
            made = compressed(model_class, plain=True)(copy.deepcopy(config))
    except Exception as error:
        raise SottovoceError(f"{what} cannot make a {config.model_type} model: {loader_reason(error)}.") from error
    body, structure = Anatomy(made), recorded(config)
    for key in ("ranks", "int8"):
        for path in getattr(structure, key):
            if body.full_path(path) is None and not is_of_a_head(path, body):
                raise damaged(f"{key}: this model has no {reprlib.repr(path)}")
    return made


def numbers_in(model: Any) -> int:
    """How many numbers a model's parameters and buffers are.

    Example:
        >>> numbers_in(torch.nn.Linear(2, 3))
        9
    """
    return sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))


def check_loaded(model: Any, found: Any, source: str) -> None:
    """Refuse a model some of whose tensors were not there or did not fit: they would be random numbers."""
    mismatched = sorted(found["mismatched_keys"], key=str)
    if mismatched:
        name, stored, wanted = (
            (list(mismatched[0]) + [None, None])[:3]
            if not isinstance(mismatched[0], str)
            else (mismatched[0], None, None)
        )
        sizes = f"is {_shape(stored)} in its file and {_shape(wanted)} by" if stored is not None else "does not fit"
        raise SottovoceError(f"{source}: {name} {sizes} config.json; config and tensors are not of one model.")
    missing = sorted(key for key in found["missing_keys"] if not key.endswith(MAY_BE_MISSING))
    if missing:
        raise SottovoceError(
            f"{source} lacks {len(missing)} tensors that its config.json speaks of, {missing[0]} first; they would be "
            "random. Were layers deleted without changing config.json? `sottovoce doctor` says more."
        )
    # What hangs on none of this model's own parts is of another head.
    own = {name.partition(".")[0] for name in model.state_dict()} | {model.base_model_prefix}
    unexpected = [key for key in found["unexpected_keys"] if not key.endswith(MAY_BE_MISSING)]
    left_over = sorted(key for key in unexpected if key.partition(".")[0] in own)
    if left_over:
        raise SottovoceError(
            f"{source} holds {len(left_over)} tensors that its config.json does not speak of, {left_over[0]} "
            "first; config and tensors are not of one model."
        )


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines and progress bars of transformers inside; what matters comes back as an error."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    client = logging.getLogger("huggingface_hub")
    level = client.level
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    client.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # A feed-forward part may be without units, and torch says that it need not start them.
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            yield
    finally:
        hf_logging.set_verbosity(verbosity)
        client.setLevel(level)
        if bars:
            hf_logging.enable_progress_bar()


@contextmanager
def system_errors(source: str) -> Iterator[None]:
    """Turn what the system says while a model is read, and that memory is not enough, into sentences.

    Example:
        >>> with system_errors("small"):
        ...     pass
    """
    try:
        yield
    except SottovoceError:
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        explained = explain_system_error(error)
        if explained is None:
            raise
        raise SottovoceError(f"{source} cannot be read: {explained}") from error


def loader_reason(error: BaseException) -> str:
    """All that an error says, in one line of bounded length, for a sentence of ours to quote.

    Example:
        >>> loader_reason(ValueError("Validation failed:\\n  heads do not divide the width"))
        'Validation failed: heads do not divide the width'
    """
    said = reason_of(error) or type(error).__name__
    # Hugging Face's own errors name Python's types and errors.
    said = re.sub(r"<class '([\w.]+)'>", r"\1", re.sub(r"\b(Type|Value)Error: ", "", said)).replace("NoneType", "null")
    if isinstance(error, KeyError | AttributeError | IndexError | ZeroDivisionError | AssertionError):
        said = f"{type(error).__name__}: {said}"
    return said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON]}…"


def _shape(size: Any) -> str:
    return "x".join(str(length) for length in size) if size is not None else "?"
