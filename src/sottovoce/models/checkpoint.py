"""Reading a checkpoint's files with suspicion: what is missing, damaged, pickled or does not fit is refused."""

import difflib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import transformers
from huggingface_hub import hf_hub_download
from transformers.utils import logging as hf_logging

from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.anatomy import FAMILIES, PREFIX, Anatomy
from sottovoce.models.shapes import SHAPES
from sottovoce.models.structure import KEY, Structure
from sottovoce.models.teachers import teacher_folder, teacher_names

# Only training reads it, and fine-tuned checkpoints of the early days were saved without it.
MAY_BE_MISSING = ("masked_spec_embed",)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def read_config(id_or_folder: str | Path, *, revision: str | None = None) -> tuple[str, Any]:
    """The place of a model's files and its checked configuration.

    Example:
        >>> source, config = read_config("small-hubert")
    """
    source = find_source(id_or_folder)
    if Path(source).is_dir():
        path = Path(source, "config.json")
        if not path.is_file():
            raise SottovoceError(f"{source} holds no config.json, so it is no model; give a folder that `save` wrote.")
        text = path.read_text(encoding="utf-8")
    else:
        text = fetch_config(source, revision)
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise SottovoceError(
            f"the config.json of {source} is no JSON ({error}); save or download the model anew."
        ) from error
    if not isinstance(record, dict):
        raise SottovoceError(f"the config.json of {source} holds no mapping; save or download the model anew.")
    return source, make_config(record, source)


def find_source(id_or_folder: str | Path) -> str:
    """A folder that exists, a run's `model` folder in it, a model that comes with the package, or else a Hub id."""
    path, name = Path(id_or_folder).expanduser(), str(id_or_folder)
    ours = teacher_folder(name)
    # A folder that happens to have a teacher's name, such as one of results, does not hide the teacher.
    if path.is_dir() and (ours is None or any((path / file).is_file() for file in ("config.json", "run.json"))):
        run = path / "run.json"
        return str(path / "model") if run.is_file() and not (path / "config.json").is_file() else str(path)
    if ours is not None:
        return str(ours)
    if path.exists():
        raise SottovoceError(f"{name} is a file, but a model is a folder with config.json and model.safetensors.")
    # Every speech model of the Hub belongs to somebody: a name without a slash is a folder that is not there.
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        near = difflib.get_close_matches(name, [*FAMILIES, *SHAPES], n=1)
        bundled = " or ".join(f"{own} (in the package)" for own in teacher_names())
        shape = f" For random weights of a shape: sv.new('{near[0]}')." if near else ""
        wanted = "a model's folder or a Hub id such as facebook/hubert-base-ls960"
        raise SottovoceError(f"there is no folder {name}; give {wanted}{', or ' if bundled else ''}{bundled}.{shape}")
    return name


def fetch_config(name: str, revision: str | None) -> str:
    """The text of a Hub model's config.json, from the cache where it is there."""
    try:
        with quiet():
            return Path(hf_hub_download(name, "config.json", revision=revision)).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SottovoceError(
            f"there is no folder {name}, and no such model could be had from the Hub ({first_line(error)}); "
            "check the name, the network, and for private models the login."
        ) from error


def make_config(record: dict[str, Any], source: str) -> Any:
    """A configuration object from the record in config.json, Structure included."""
    name = str(record.get("model_type", "")).removeprefix(PREFIX)
    if name not in FAMILIES:
        raise unknown(f"family of {source}:", name, FAMILIES)
    config_class = transformers.CONFIG_MAPPING[name]
    structure = Structure.from_dict(record[KEY]) if record.get(KEY) is not None else Structure()
    plain = {key: value for key, value in record.items() if key not in ("model_type", "auto_map", KEY)}
    try:
        config = config_class.from_dict(plain)
    except Exception as error:  # a strict dataclass of its own error types, which differ between versions
        raise SottovoceError(f"the config.json of {source} is no {name} configuration: {first_line(error)}") from error
    if not structure.regular:
        setattr(config, KEY, structure.to_dict())
    return config


def find_class(config: Any, source: str) -> Any:
    """The Hugging Face class that the model was saved as."""
    names = getattr(config, "architectures", None) or []
    if not names:
        return transformers.AutoModel._model_mapping[type(config)]
    found = getattr(transformers, names[0], None)
    if found is None or not issubclass(found, transformers.PreTrainedModel):
        raise SottovoceError(
            f"{source} was saved as {names[0]}, which transformers {transformers.__version__} has not."
        )
    return found


def check_weights(source: str) -> None:
    """Refuse, in a local folder, weights that are missing, pickled or cut off."""
    if not Path(source).is_dir():
        return
    folder = Path(source)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = [path.name for pattern in PICKLES for path in sorted(folder.glob(pattern))]
        if pickles:
            raise SottovoceError(
                f"{source} holds its weights as a pickle ({pickles[0]}), which can run code when opened; convert it "
                'where you trust it: python -c "from transformers import AutoModel; '
                f"AutoModel.from_pretrained('{source}', use_safetensors=False).save_pretrained('{source}-safe')\""
            )
        raise SottovoceError(f"{source} holds no model.safetensors; give a folder that `save` wrote.")
    for path in weights:
        try:
            with safetensors.safe_open(str(path), framework="pt") as opened:
                opened.keys()
        except (safetensors.SafetensorError, OSError) as error:
            raise SottovoceError(
                f"{path} is cut off or damaged ({first_line(error)}); copy or download it again."
            ) from error


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
    base = Anatomy(model).base
    inside = model.base_model_prefix + "." if base is not model else ""
    left_over = sorted(key for key in found["unexpected_keys"] if key.startswith(f"{inside}encoder."))
    if left_over:
        raise SottovoceError(
            f"{source} holds {len(left_over)} encoder tensors that its config.json does not speak of, {left_over[0]} "
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
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        client.setLevel(level)
        if bars:
            hf_logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """The first line of an error, for a sentence of ours to quote."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _shape(size: Any) -> str:
    return "x".join(str(length) for length in size) if size is not None else "?"
