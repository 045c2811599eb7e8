"""Loading, making and saving models: a plain Hugging Face model in, a plain Hugging Face model out."""

import copy
import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download, try_to_load_from_cache

from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import atomic_folder, check_writable, local_path, put_back
from sottovoce.models.anatomy import FAMILIES, PREFIX, Anatomy
from sottovoce.models.build import compressed
from sottovoce.models.bundle import FILE, bundle
from sottovoce.models.checkpoint import (
    check_loaded,
    check_weights,
    find_class,
    first_line,
    make_config,
    quiet,
    read_config,
)
from sottovoce.models.packed import PACKED, pack, unpack
from sottovoce.models.shapes import SHAPES
from sottovoce.models.structure import settle
from sottovoce.models.teachers import DIFFERENCE, read_difference
from sottovoce.models.wavlm import adopt_attention, is_uncuttable

HEADS = {
    "": "AutoModel",
    "ForCTC": "AutoModelForCTC",
    "ForSequenceClassification": "AutoModelForAudioClassification",
    "ForAudioFrameClassification": "AutoModelForAudioFrameClassification",
    "ForXVector": "AutoModelForAudioXVector",
    "ForPreTraining": "AutoModelForPreTraining",
}
LABEL_NAMES = ("id2label", "label2id")
MODEL_FILES = ("config.json", "generation_config.json", "model.safetensors.index.json", FILE)
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "units.safetensors",
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
    fetch_processor(source, revision)
    options: dict[str, Any] = {"revision": revision} if revision else {}
    if dtype is not None:
        options["dtype"] = dtype
    packed = Path(source, PACKED).is_file()
    if packed:
        options["state_dict"] = unpack(source)
    elif Path(source, DIFFERENCE).is_file():
        with quiet():
            tensors = read_difference(source, compressed(model_class, plain=True)(config).state_dict())
        options["state_dict"] = tensors
    with quiet():
        try:
            model, found = compressed(model_class, plain=True).from_pretrained(
                None if "state_dict" in options else source,
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
        except OSError as error:
            raise SottovoceError(f"no weights of {source} could be read: {first_line(error)}") from error
    check_loaded(model, found, source)
    model.name_or_path = source
    model.packed = packed
    align(model.eval())
    return model if device is None else model.to(device)


def new(shape: Any = "hubert", *, head: str = "", seed: int = 0, **settings: Any) -> Any:
    """A random model of any shape: a family, a named shape, a folder's or Hub model's shape, or a configuration.

    `settings` change the configuration. The same seed gives the same weights, and the caller's random state stays.

    Example:
        >>> new("wavlm-large", head="ForCTC", num_hidden_layers=6, seed=1)
    """
    config = find_shape(shape)
    for key in settings:
        if not hasattr(config, key):
            raise unknown(f"setting of a {type(config).__name__}", key, [k for k in config.to_dict() if k[0] != "_"])
    if settings:
        # Settings depend on one another (the number of convolutions on their widths): the configuration is made anew.
        record = config.to_dict() | settings
        if "num_labels" in settings:
            # The names of another number of labels do not fit.
            record = {key: value for key, value in record.items() if key in settings or key not in LABEL_NAMES}
        config = type(config).from_dict(record)
    if head not in HEADS:
        raise unknown("head", head, [name for name in HEADS if name])
    try:
        model_class = getattr(transformers, HEADS[head])._model_mapping[type(config)]
    except KeyError:
        raise SottovoceError(
            f"Hugging Face has no {head} for the {config.model_type} family; give another head."
        ) from None
    if not head.startswith("ForPre") and config.model_type == "whisper":
        model_class = transformers.WhisperForAudioClassification
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = compressed(model_class, plain=True)(config)
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


def save(
    model: Any, folder: str | Path, *, check: bool = True, packed: bool | None = None, overwrite: bool = False
) -> Path:
    """Write a model so that it reloads bit for bit, and prove it before the folder appears.

    A folder that is there already is refused; with `overwrite`, one that holds a model and nothing else is replaced
    when the new one is whole. Where the shape needs more than a plain configuration, the folder carries a modelling
    file for `from_pretrained(..., trust_remote_code=True)`. `packed` stores zeros in a bit each; such a folder is for
    sottovoce alone. If not given, as the model was asked to be (`prune_weights(packed=True)`) or as it lay before.

    Example:
        >>> save(small, "hubert-9-layers")
        >>> save(sparse, "hubert-half-of-the-weights", packed=True)
    """
    target = local_path(folder, "the output folder")
    check_target(target, overwrite=overwrite)
    structure = settle(model)
    source = getattr(model, "name_or_path", "")
    kept = {path.name: path.read_bytes() for path in target.iterdir()} if target.is_dir() and not overwrite else {}
    with atomic_folder(target, replace=overwrite or bool(kept)) as temporary:
        with quiet():
            try:
                model.save_pretrained(temporary)
            except RuntimeError as error:
                raise SottovoceError(f"this model cannot be saved as tensors by name: {first_line(error)}.") from error
        add_processor(source, temporary, model, target)
        if not structure.regular:
            write_modelling_file(model, temporary)
        if getattr(model, "packed", False) if packed is None else packed:
            pack(temporary)
        if check:
            check_reload(model, temporary)
        for name, content in kept.items():
            if (temporary / name).read_bytes() != content:
                raise SottovoceError(f"{target} holds another {name} than this model's; give a new folder.")
    return target


def check_target(target: Path, *, overwrite: bool = False) -> None:
    """Refuse what cannot become a model's folder, or is one and is not to be replaced.

    Example:
        >>> check_target(Path("hubert-9-layers"))
    """
    put_back(target)
    if target.exists() and not target.is_dir():
        raise SottovoceError(f"{target} is a file; give the name of a folder.")
    check_writable(target)
    there = sorted(target.iterdir()) if target.is_dir() else []
    others = [path.name for path in there if not is_ours(path)]
    # A processor that was saved first stays as it is beside the model, so nothing is replaced then.
    models = [path.name for path in there if path.name not in PROCESSOR_FILES]
    if models and not others and not overwrite:
        raise SottovoceError(
            f"{target} holds a model already; give a new folder, or overwrite it (--overwrite, overwrite=True)."
        )
    if others:
        raise SottovoceError(
            f"{target} holds {others[0]}, which is no part of a model, and saving replaces the whole folder; "
            "give a new folder."
        )


def is_ours(path: Path) -> bool:
    """Whether a file is one that saving a model writes."""
    shard = re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", path.name)
    return path.is_file() and (path.name in (*PROCESSOR_FILES, *MODEL_FILES, PACKED) or shard is not None)


def write_modelling_file(model: Any, folder: Path) -> None:
    """The modelling file, and the lines of config.json that lead to it."""
    name = type(model).__name__
    base = type(getattr(model, model.base_model_prefix, model)).__name__
    path = folder / "config.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["model_type"] = PREFIX + record["model_type"].removeprefix(PREFIX)
    module = FILE.removesuffix(".py")
    record["auto_map"] = {"AutoConfig": f"{module}.SottovoceConfig", "AutoModel": f"{module}.{base}"}
    record["auto_map"] |= {auto: f"{module}.{name}" for auto in auto_classes(model)}
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    source = bundle(config_class=type(model.config).__name__, model_type=record["model_type"], classes={base, name})
    (folder / FILE).write_text(source, encoding="utf-8")


def auto_classes(model: Any) -> list[str]:
    """The Auto classes of Hugging Face that make models of this one's class."""
    found = []
    for auto in (*HEADS.values(), "AutoModelForSpeechSeq2Seq"):
        mapping = getattr(transformers, auto)._model_mapping
        if auto != "AutoModel" and type(model.config) in mapping and mapping[type(model.config)] is type(model):
            found.append(auto)
    return found


def add_processor(source: str, folder: Path, model: Any, before: Path) -> None:
    """The files beside the weights that pipelines need: of the folder that is replaced, or of the model's source.

    A model with a head of its own (`with_head`) brings its own vocabulary, or needs none.
    """
    own: dict[str, str | bytes] | None = getattr(model, "processor_files", None)
    for name, content in (own or {}).items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    names = PROCESSOR_FILES if own is None else PROCESSOR_FILES[:1]
    for name in names:
        if (before / name).is_file():
            shutil.copyfile(before / name, folder / name)
    for name in names:
        if (folder / name).exists():
            continue
        local = processor_file(source, name)
        if local is not None:
            shutil.copyfile(local, folder / name)
    body = Anatomy(model)
    if not source and body.family.convs is not None and not (folder / "preprocessor_config.json").exists():
        attends = getattr(model.config, "feat_extract_norm", "layer") == "layer"
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask=attends).save_pretrained(folder)


def fetch_processor(source: str, revision: str | None) -> None:
    """Have a Hub model's processor files in the cache, for `save` to carry along; a model without them is fine."""
    if not Path(source).is_dir():
        with quiet(), suppress(OSError, ValueError):
            snapshot_download(source, revision=revision, allow_patterns=list(PROCESSOR_FILES))


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
    if is_uncuttable(model) or any(is_crooked(tensor) for tensor in (*model.parameters(), *model.buffers())):
        model = copy.deepcopy(model)  # the given model stays where it lies and as it is
        adopt_attention(model)
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
        raise SottovoceError(
            "the saved model does not compute what the given one does, so nothing was written; please report it."
        )


def equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    """The same numbers, NaN at the same places included."""
    return torch.equal(first.isnan(), second.isnan()) and torch.equal(first.nan_to_num(), second.nan_to_num())


def processor_file(source: str, name: str) -> Path | None:
    """A file beside a model's weights, where it is on this machine already: in its folder or in the Hub's cache.

    Example:
        >>> processor_file("letters-hubert", "vocab.json")
        PosixPath('letters-hubert/vocab.json')
    """
    if source and Path(source).is_dir():
        found: Any = Path(source, name)
    else:
        found = try_to_load_from_cache(source, name) if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source or "") else None
    return Path(found) if isinstance(found, str | Path) and Path(found).is_file() else None
