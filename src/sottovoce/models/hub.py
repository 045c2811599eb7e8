"""Loading, making and saving models: a plain Hugging Face model in, a plain Hugging Face model out."""

import copy
import difflib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers
from transformers.utils import logging as hf_logging

from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import atomic_folder
from sottovoce.models.anatomy import FAMILIES, PREFIX, Anatomy
from sottovoce.models.build import compressed
from sottovoce.models.bundle import FILE, bundle
from sottovoce.models.shapes import SHAPES
from sottovoce.models.structure import KEY, Structure, settle

HEADS = {
    "": "AutoModel",
    "ForCTC": "AutoModelForCTC",
    "ForSequenceClassification": "AutoModelForAudioClassification",
    "ForAudioFrameClassification": "AutoModelForAudioFrameClassification",
    "ForXVector": "AutoModelForAudioXVector",
    "ForPreTraining": "AutoModelForPreTraining",
}
# Only training reads it, and fine-tuned checkpoints of the early days were saved without it.
MAY_BE_MISSING = ("masked_spec_embed",)
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)


def load(
    id_or_folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
) -> Any:
    """A Hugging Face speech model, with the head it was saved with, from the Hub, a folder or a run's folder.

    Nothing is unpickled and no code of the checkpoint is run; every tensor must be there and fit.

    Example:
        >>> model = load("facebook/hubert-base-ls960")
    """
    source, config = read_config(id_or_folder, revision=revision)
    model_class = find_class(config, source)
    check_weights(source)
    options: dict[str, Any] = {"revision": revision} if revision else {}
    if dtype is not None:
        options["dtype"] = dtype
    with quiet():
        try:
            model, found = compressed(model_class).from_pretrained(
                source,
                config=config,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
        except SottovoceError as error:
            raise SottovoceError(f"the config.json of {source} does not fit a {config.model_type} model: {error}") from error
        except OSError as error:
            raise SottovoceError(f"no weights of {source} could be read: {_first_line(error)}") from error
    check_loaded(model, found, source)
    model.__class__ = model_class  # what the subclass adds is done: the user gets a plain Hugging Face class
    align(model.eval())
    return model if device is None else model.to(device)


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
        raise SottovoceError(f"the config.json of {source} is no JSON ({error}); save or download the model anew.") from error
    if not isinstance(record, dict):
        raise SottovoceError(f"the config.json of {source} holds no mapping; save or download the model anew.")
    return source, make_config(record, source)


def find_source(id_or_folder: str | Path) -> str:
    """A folder that exists, a run's `model` folder in it, or else a Hub id."""
    path = Path(id_or_folder).expanduser()
    if path.is_dir():
        run = path / "run.json"
        return str(path / "model") if run.is_file() and not (path / "config.json").is_file() else str(path)
    name = str(id_or_folder)
    if path.exists():
        raise SottovoceError(f"{name} is a file, but a model is a folder with config.json and model.safetensors.")
    # Every speech model of the Hub belongs to somebody: a name without a slash is a folder that is not there.
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        near = difflib.get_close_matches(name, [*FAMILIES, *SHAPES], n=1)
        shape = f" For random weights of a shape: sv.new('{near[0]}')." if near else ""
        raise SottovoceError(
            f"there is no folder {name}; give a model's folder or a Hub id such as facebook/hubert-base-ls960.{shape}"
        )
    return name


def fetch_config(name: str, revision: str | None) -> str:
    """The text of a Hub model's config.json, from the cache where it is there."""
    from huggingface_hub import hf_hub_download

    try:
        with quiet():
            return Path(hf_hub_download(name, "config.json", revision=revision)).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SottovoceError(
            f"there is no folder {name}, and no such model could be had from the Hub ({_first_line(error)}); "
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
        raise SottovoceError(f"the config.json of {source} is no {name} configuration: {_first_line(error)}") from error
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
        raise SottovoceError(f"{source} was saved as {names[0]}, which transformers {transformers.__version__} has not.")
    return found


def check_weights(source: str) -> None:
    """Refuse, in a local folder, weights that are missing, pickled or cut off."""
    if not Path(source).is_dir():
        return
    folder = Path(source)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = [path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in sorted(folder.glob(pattern))]
        if pickles:
            raise SottovoceError(
                f"{source} holds its weights as a pickle ({pickles[0]}), which can run code when it is opened; convert it "
                "where you trust it: python -c \"from transformers import AutoModel; "
                f"AutoModel.from_pretrained('{source}', use_safetensors=False).save_pretrained('{source}-safe')\""
            )
        raise SottovoceError(f"{source} holds no model.safetensors; give a folder that `save` wrote.")
    for path in weights:
        try:
            with safetensors.safe_open(str(path), framework="pt") as opened:
                opened.keys()
        except (safetensors.SafetensorError, OSError) as error:
            raise SottovoceError(f"{path} is cut off or damaged ({_first_line(error)}); copy or download it again.") from error


def check_loaded(model: Any, found: Any, source: str) -> None:
    """Refuse a model some of whose tensors were not there or did not fit: they would be random numbers."""
    mismatched = sorted(found["mismatched_keys"], key=str)
    if mismatched:
        name, stored, wanted = (list(mismatched[0]) + [None, None])[:3] if not isinstance(mismatched[0], str) else (
            mismatched[0], None, None)
        sizes = f"is {_shape(stored)} in its file and {_shape(wanted)} by" if stored is not None else "does not fit"
        raise SottovoceError(f"{source}: {name} {sizes} config.json; config and tensors are not of one model.")
    missing = sorted(key for key in found["missing_keys"] if not key.endswith(MAY_BE_MISSING))
    if missing:
        raise SottovoceError(
            f"{source} lacks {len(missing)} tensors that its config.json speaks of, {missing[0]} first; they would be random. "
            "Were layers deleted without changing config.json? `sottovoce doctor` says more."
        )
    base = Anatomy(model).base
    inside = model.base_model_prefix + "." if base is not model else ""
    left_over = sorted(key for key in found["unexpected_keys"] if key.startswith(f"{inside}encoder."))
    if left_over:
        raise SottovoceError(
            f"{source} holds {len(left_over)} encoder tensors that its config.json does not speak of, {left_over[0]} first; "
            "config and tensors are not of one model."
        )


def new(shape: Any = "hubert", *, head: str = "", seed: int = 0, **settings: Any) -> Any:
    """A random model of any shape: a family, a named shape, a folder's or Hub model's shape, or a configuration.

    `settings` change the configuration. The same seed gives the same weights, and the caller's random state stays.

    Example:
        >>> new("wavlm-large", head="ForCTC", num_hidden_layers=6, seed=1)
    """
    config = find_shape(shape)
    for key, value in settings.items():
        if not hasattr(config, key):
            raise unknown(f"setting of a {type(config).__name__}", key, [k for k in config.to_dict() if k[0] != "_"])
    if settings:
        # Settings depend on one another (the number of convolutions on their widths), so the configuration is made anew.
        config = type(config).from_dict(config.to_dict() | settings)
    if head not in HEADS:
        raise unknown("head", head, [name for name in HEADS if name])
    try:
        model_class = getattr(transformers, HEADS[head])._model_mapping[type(config)]
    except KeyError:
        raise SottovoceError(f"Hugging Face has no {head} for the {config.model_type} family; give another head.") from None
    if not head.startswith("ForPre") and config.model_type == "whisper":
        model_class = transformers.WhisperForAudioClassification
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = compressed(model_class)(config)
    model.__class__ = model_class
    settle(model)
    return model.eval()


def find_shape(shape: Any) -> Any:
    """The configuration that a name, a folder or another configuration stands for, as a copy."""
    if isinstance(shape, transformers.PreTrainedConfig):
        return copy.deepcopy(shape)
    name = str(shape)
    if name in SHAPES:
        record = dict(SHAPES[name])
        return make_config(record, name)
    if name in FAMILIES:
        return transformers.CONFIG_MAPPING[name]()
    if "/" in name or Path(name).is_dir():
        return read_config(name)[1]
    raise unknown("family or shape", name, [*FAMILIES, *SHAPES])


def save(model: Any, folder: str | Path, *, check: bool = True) -> Path:
    """Write a model so that it reloads bit for bit, and prove it before the folder appears.

    A folder that was there before is replaced as a whole, or stays as it was. Where the shape needs more than a plain
    configuration, the folder carries a modelling file for `from_pretrained(..., trust_remote_code=True)`.

    Example:
        >>> save(small, "small-hubert")
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise SottovoceError(f"{target} is a file; give the name of a folder.")
    structure = settle(model)
    source = getattr(model, "name_or_path", "")
    with atomic_folder(target) as temporary:
        with quiet():
            model.save_pretrained(temporary)
        add_processor(source, temporary, model)
        if not structure.regular:
            write_modelling_file(model, temporary)
        if check:
            check_reload(model, temporary)
    return target


def write_modelling_file(model: Any, folder: Path) -> None:
    """The modelling file, and the lines of config.json that lead to it."""
    name = type(model).__name__
    base = type(model).__name__.partition("For")[0]
    base = base if base.endswith("Model") or not hasattr(transformers, f"{base}Model") else f"{base}Model"
    head = next((head for head in HEADS if head and name.endswith(head)), "")
    path = folder / "config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["model_type"] = PREFIX + record["model_type"].removeprefix(PREFIX)
    module = FILE.removesuffix(".py")
    record["auto_map"] = {"AutoConfig": f"{module}.SottovoceConfig", "AutoModel": f"{module}.{base}"}
    if head:
        record["auto_map"][HEADS[head]] = f"{module}.{name}"
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    source = bundle(config_class=type(model.config).__name__, model_type=record["model_type"], classes={base, name})
    (folder / FILE).write_text(source, encoding="utf-8")


def add_processor(source: str, folder: Path, model: Any) -> None:
    """The files beside the weights that pipelines need, from where the model came from."""
    for name in PROCESSOR_FILES:
        if (folder / name).exists():
            continue
        local = Path(source, name) if source and Path(source).is_dir() else _cached(source, name)
        if local is not None and local.is_file():
            shutil.copyfile(local, folder / name)
    body = Anatomy(model)
    if not source and body.family.convs is not None and not (folder / "preprocessor_config.json").exists():
        attends = getattr(model.config, "feat_extract_norm", "layer") == "layer"
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask=attends).save_pretrained(folder)


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


def check_reload(model: Any, folder: Path) -> None:
    """Load what was written and compare every tensor and one forward pass, bit for bit."""
    reloaded = load(folder, dtype=model.dtype).to(next(model.parameters()).device)
    if any(is_crooked(tensor) for tensor in (*model.parameters(), *model.buffers())):
        model = copy.deepcopy(model)  # the given model stays where it lies
        align(model)
    was_training = model.training
    model.eval()
    try:
        inputs = Anatomy(model).dummy_inputs(1.0)
        with torch.no_grad():
            before, after = model(**inputs)[0], reloaded(**inputs)[0]
    finally:
        model.train(was_training)
    tensors = model.state_dict()
    same = tensors.keys() == reloaded.state_dict().keys() and all(
        equal(tensor, tensors[name]) for name, tensor in reloaded.state_dict().items()
    )
    if not (same and equal(before, after)):
        raise SottovoceError("the saved model does not compute what the given one does, so nothing was written; please report it.")


def equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    """The same numbers, NaN at the same places included."""
    return torch.equal(first.isnan(), second.isnan()) and torch.equal(first.nan_to_num(), second.nan_to_num())


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


def _cached(source: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, name) if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source or "") else None
    return Path(found) if isinstance(found, str) else None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _shape(size: Any) -> str:
    return "x".join(str(length) for length in size) if size is not None else "?"
