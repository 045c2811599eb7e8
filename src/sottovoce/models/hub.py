"""Loading, making and saving models: a plain Hugging Face model in, a plain Hugging Face model out."""

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import atomic_folder, check_writable, inside, is_folder, local_path, put_back
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.bounds import check_size, known_settings
from sottovoce.models.build import compressed
from sottovoce.models.card import CARD, is_card_of_ours, model_card
from sottovoce.models.checkpoint import (
    configured,
    is_path,
    loader_reason,
    make_config,
    numbers_in,
    outline,
    quiet,
    read_config,
    system_errors,
)
from sottovoce.models.families import FAMILIES, family_name
from sottovoce.models.loading import MODEL_FILES, align, is_crooked, load
from sottovoce.models.modes import evaluating
from sottovoce.models.packed import PACKED, pack
from sottovoce.models.positions import adopt_positions
from sottovoce.models.processors import (
    EXTRACTOR,
    PROCESSOR,
    PROCESSOR_FILES,
    extractor_settings,
    processor_file,
    write_extractor,
)
from sottovoce.models.shapes import SHAPES
from sottovoce.models.structure import KEY, settle
from sottovoce.models.wavlm import adopt_attention, is_uncuttable
from sottovoce.models.whole import HEADS

LABEL_NAMES = ("id2label", "label2id")


def new(shape: Any = "hubert", *, head: str = "", seed: int = 0, **settings: Any) -> Any:
    """A random model of any shape: a family, a named shape, a folder's or Hub model's shape, or a configuration.

    `settings` change the configuration. The same seed gives the same weights, and the caller's random state stays.

    Example:
        >>> model = new("wavlm-large", head="ForCTC", num_hidden_layers=6, seed=1)
    """
    config = changed(find_shape(shape), settings)
    if head not in HEADS:
        raise unknown("head", head, [name for name in HEADS if name])
    try:
        model_class = getattr(transformers, HEADS[head])._model_mapping[type(config)]
    except KeyError:
        raise SottovoceError(
            f"Hugging Face has no {head} for the {config.model_type} family; give another head."
        ) from None
    only_head = FAMILIES[family_name(config)].only_head
    if not head.startswith("ForPre") and only_head is not None:
        model_class = getattr(transformers, only_head)
    check_size(numbers_in(outline(model_class, config, "these settings")), None, "these settings")
    with torch.random.fork_rng(), system_errors("the model"):
        torch.manual_seed(seed)
        model = compressed(model_class, plain=True)(config)
    settle(model)
    return model.eval()


def changed(config: Any, settings: dict[str, Any]) -> Any:
    """A configuration with some of its settings changed, each of them looked at."""
    family = type(config)
    for key in settings:
        if not hasattr(config, key):
            raise unknown(f"setting of a {family.__name__}", key, [k for k in config.to_dict() if k[0] != "_"])
    # A family may have names of its own for what the others name alike.
    settings = {family.attribute_map.get(key, key): value for key, value in settings.items()}
    record = config.to_dict() | settings
    if "num_labels" in settings:
        # The names of another number of labels do not fit.
        record = {key: value for key, value in record.items() if key in settings or key not in LABEL_NAMES}
    known = known_settings(family, record, "these settings")
    if not settings:
        return config
    # Settings depend on one another (the number of convolutions on their widths): the configuration is made anew.
    made = configured(family, known, "these settings")
    if record.get(KEY) is not None:
        setattr(made, KEY, record[KEY])
    return made


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
    if "/" in name or is_path(name) or is_folder(name or "."):
        return read_config(name)[1]
    raise unknown("family or shape", name, [*FAMILIES, *SHAPES])


def save(
    model: Any, folder: str | Path, *, check: bool = True, packed: bool | None = None, overwrite: bool = False
) -> Path:
    """Write a model so that `load` gives it back bit for bit, and prove it before the folder appears.

    A folder that is there already is refused; with `overwrite`, one that holds a model and nothing else is replaced
    when the new one is whole. Where the shape needs more than a plain configuration, the folder carries a modelling
    file for `from_pretrained(..., trust_remote_code=True)`. Plain Hugging Face code computes the same bits, except for
    a WavLM that a plain configuration describes: its own attention rounds otherwise. `packed` stores zeros in a bit
    each; such a folder is for sottovoce alone. If not given, as the model was asked to be
    (`prune_weights(packed=True)`) or as it lay before.

    Example:
        >>> folder = save(small, "hubert-9-layers")
        >>> folder = save(sparse, "hubert-half-of-the-weights", packed=True)
    """
    target = local_path(folder, "the output folder")
    check_target(target, overwrite=overwrite)
    adopt_positions(model)  # what Hugging Face rounded to half precision would not come back
    settle(model)
    check_finite(model)
    source = getattr(model, "name_or_path", "")
    kept = {path.name: path.read_bytes() for path in target.iterdir()} if target.is_dir() and not overwrite else {}
    with atomic_folder(target, replace=overwrite or bool(kept)) as temporary:
        with quiet():
            try:
                model.save_pretrained(temporary)
            except RuntimeError as error:
                reason = loader_reason(error)
                raise SottovoceError(f"this model cannot be saved as tensors by name: {reason}.") from error
        add_processor(source, temporary, model, target)
        (temporary / CARD).write_text(model_card(model, target.name), encoding="utf-8")
        if getattr(model, "packed", False) if packed is None else packed:
            pack(temporary)
        if check:
            check_reload(model, temporary)
        for name, content in kept.items():
            if not (temporary / name).is_file() or (temporary / name).read_bytes() != content:
                raise SottovoceError(f"{target} holds another {name} than this model's; give a new folder.")
    return target


def check_finite(model: Any) -> None:
    """Refuse a model that holds NaN or infinity: it computes nothing, and nothing can be learned from it.

    Example:
        >>> check_finite(model)
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise SottovoceError(
                f"{name} holds NaN or infinity, so this model computes nothing and is not saved; go back to a "
                "checkpoint from before that, or give a wider dtype."
            )


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
    named = path.name in (*PROCESSOR_FILES, *MODEL_FILES, PACKED) or shard is not None
    return path.is_file() and (named or is_card_of_ours(path))


def add_processor(source: str, folder: Path, model: Any, before: Path) -> None:
    """The files beside the weights that pipelines need: of the folder that is replaced, or of the model's source.

    A model with a head of its own (`with_head`) brings its own vocabulary, or needs none.
    """
    own: dict[str, str | bytes] | None = getattr(model, "processor_files", None)
    for name, content in (own or {}).items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    for name in PROCESSOR_FILES if own is None else (EXTRACTOR, PROCESSOR):
        if (before / name).is_file():
            shutil.copyfile(inside(before, name), folder / name)
    settled = extractor_settings(folder) is not None
    for name in PROCESSOR_FILES if own is None else ():
        # Of two feature extractors, the one that lies where the model is saved is meant.
        local = None if settled and name in (EXTRACTOR, PROCESSOR) else processor_file(source, name)
        if local is not None and not (folder / name).exists():
            shutil.copyfile(local, folder / name)
    settings = extractor_settings(folder) or extractor_settings(source)
    body = Anatomy(model)
    if settings is None and not source and body.family.convs is not None:
        attends = getattr(model.config, "feat_extract_norm", "layer") == "layer"
        settings = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=attends).to_dict()
    if settings is not None and extractor_settings(folder) is None:
        write_extractor(folder, settings)


def check_reload(model: Any, folder: Path) -> None:
    """Load what was written and compare every tensor and forward passes of several lengths, bit for bit."""
    reloaded = load(folder, dtype=model.dtype).to(next(model.parameters()).device)
    if is_uncuttable(model) or any(is_crooked(tensor) for tensor in (*model.parameters(), *model.buffers())):
        model = copy.deepcopy(model)  # the given model stays where it lies and as it is
        adopt_attention(model)
        align(model)
    tensors = model.state_dict()
    same = tensors.keys() == reloaded.state_dict().keys() and all(
        torch.equal(tensor, tensors[name]) for name, tensor in reloaded.state_dict().items()
    )
    if not (same and compute_alike(model, reloaded)):
        raise SottovoceError(
            "the saved model does not compute what the given one does, so nothing was written; please report it."
        )


def compute_alike(first: Any, second: Any) -> bool:
    """Whether two models give the same bits: with their heads, and as encoders of a batch and of the shortest audio.

    Example:
        >>> compute_alike(model, copy.deepcopy(model))
        True
    """
    bodies = Anatomy(first), Anatomy(second)
    with evaluating(first, second), torch.no_grad():
        for seed, (seconds, batch) in enumerate([(1.0, 1), (0.37, 2), (bodies[0].shortest / 16_000, 1)]):
            inputs = bodies[0].dummy_inputs(seconds, batch=batch, seed=seed)
            models = (first, second)
            if seconds < 1.0:  # a head may want more frames
                inputs.pop("decoder_input_ids", None)
                models = [body.base for body in bodies]
            before, after = (model(**inputs)[0] for model in models)
            if not torch.equal(before, after):
                return False
    return True
