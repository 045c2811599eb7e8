"""What the numbers of a configuration may be: looked at before anything is built, for a stranger wrote them."""

import math
import reprlib
from collections.abc import Mapping
from typing import Any

from transformers.activations import ACT2FN

from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.families import FAMILIES, family_name
from sottovoce.models.structure import KEY, Structure, damaged, recorded

MOST_STEPS = 256  # layers of one stack
MOST_CONVS = 64  # convolutions of one front end, or of one head
WIDEST = 1_000_000  # any one size
MOST_TOKENS = 10_000_000  # tokens, or labels
LARGEST_ID = 1_000_000_000
MOST_PARAMETERS = 20_000_000_000
# A base model's folder may lack a head, and a few buffers are computed; more than that are not in the files.
MORE_THAN_STORED, SOME = 2, 10_000_000
DTYPES = ("float32", "float16", "bfloat16", "float64")
# Top parts of the heads that Hugging Face hangs on these encoders, in any of its classes.
# fmt: off
HEAD_PARTS = frozenset([
    "lm_head", "classifier", "projector", "quantizer", "project_q", "project_hid", "tdnn", "feature_extractor",
    "objective", "layer_weights", "proj_out", "final_proj", "label_embs_concat", "label_embeddings_concat",
    "speaker_proj", "layer_norm_for_extract", "decoder",
])
# fmt: on
# fmt: off
_AT_LEAST_ONE = frozenset([
    "hidden_size", "d_model", "num_attention_heads", "encoder_attention_heads", "decoder_attention_heads",
    "vocab_size", "num_labels", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "squeeze_factor",
    "num_mel_bins", "max_source_positions", "feature_projection_input_dim", "num_codevectors_per_group",
    "num_codevector_groups", "codevector_dim", "output_hidden_size", "adapter_kernel_size", "adapter_stride",
    "conv_depthwise_kernel_size", "num_buckets",
])
# fmt: on
_TOKENS = frozenset(["vocab_size", "num_labels", "num_ctc_classes"])
_IDS = frozenset(["suppress_tokens", "begin_suppress_tokens"])
_SHARES = ("dropout", "layerdrop", "_prob")
_ACTIVATIONS = ("_act", "activation", "activation_function")
_LABELS = ("id2label", "label2id")


def known_settings(config_class: Any, record: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The settings of a record that the family's class has, each of the right kind and within bounds.

    Left out is all that the class does not name, at any depth: what chooses attention code and kernels
    (`attn_implementation`), weights (`quantization_config`, `transformers_weights`) or code (`auto_map`,
    `trust_remote_code`, `custom_pipelines`) is for the user to say, and never for a file. What sottovoce notes itself
    (`sottovoce_...`) stays.

    Example:
        >>> known_settings(transformers.HubertConfig, {"hidden_size": 64, "auto_map": {}}, "x")
        {'hidden_size': 64}
    """
    defaults = config_class().to_dict()
    kept: dict[str, Any] = {}
    for key, value in record.items():
        if key in ("model_type", KEY) or key.startswith("_"):
            continue
        if key in ("dtype", "torch_dtype"):
            if value is not None and str(value).removeprefix("torch.") not in DTYPES:
                raise _refusal(source, key, value, f"one of {', '.join(DTYPES)}")
            kept[key] = value
        elif key == "num_labels" or key in defaults:
            check_setting(key, value, defaults.get(key, 2), source)
            kept[key] = value
        elif key.startswith(f"{KEY}_"):
            if not isinstance(value, str):
                raise _refusal(source, key, value, "a text")
            kept[key] = value
    return kept


def check_setting(key: str, value: Any, default: Any, source: str) -> None:
    """Refuse a value that is not of the default's kind, or beyond all reason.

    Example:
        >>> check_setting("hidden_size", -1, 768, "config.json")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: config.json: hidden_size is -1, but a whole number from 1 to 1000000 is wanted.
    """
    if value is None:
        return  # what may be missing, Hugging Face's own class knows
    if key == "architectures":
        texts = isinstance(value, list) and all(isinstance(name, str) and 0 < len(name) <= 200 for name in value)
        if not texts or len(value) != 1:
            raise _refusal(source, key, value, "a list of one class name")
        return
    if key in _LABELS:
        _check_labels(key, value, source)
    elif key.endswith("_token_id") or key in _IDS:
        for number in value if isinstance(value, list | tuple) else [value]:
            _check_whole(key, number, -1, LARGEST_ID, source)
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise _refusal(source, key, value, "true or false")
    elif isinstance(default, list | tuple):
        if not isinstance(value, list | tuple) or len(value) > MOST_CONVS:
            raise _refusal(source, key, value, f"a list of at most {MOST_CONVS} whole numbers")
        for number in value:
            _check_whole(key, number, 1, WIDEST, source)
    elif isinstance(default, float):
        _check_real(key, value, source)
    elif isinstance(default, str):
        if not isinstance(value, str) or len(value) > 200:
            raise _refusal(source, key, value, "a short text")
        if key.endswith(_ACTIVATIONS) and value not in ACT2FN:
            raise unknown(f"{key} of {source}:", value, ACT2FN)
    elif isinstance(default, int) or (default is None and not isinstance(value, str | bool)):
        most = MOST_STEPS if key.endswith("_layers") else MOST_TOKENS if key in _TOKENS else WIDEST
        _check_whole(key, value, 1 if key in _AT_LEAST_ONE else 0, most, source)


def check_structure(structure: Structure, config: Any) -> None:
    """Refuse a Structure that contradicts itself or its configuration.

    Example:
        >>> check_structure(Structure(hidden=(0, 1)), config)
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: config.json's 'sottovoce' part is damaged (hidden without hidden_of); save ...
    """
    family = FAMILIES[family_name(config)]

    def setting(name: str) -> int:
        return getattr(config, family.config_names.get(name, name))

    steps, stored = setting("num_hidden_layers"), structure.stored_layers
    if structure.order is not None and structure.mimic is None and len(structure.order) != steps:
        raise damaged(f"order has {len(structure.order)} steps, but num_hidden_layers is {steps}")
    stored = (0 if structure.mimic is not None else steps) if stored is None else stored
    regular = setting("num_attention_heads")
    for layer, kept in structure.heads.items():
        if not 0 <= layer < stored:
            raise damaged(f"heads: there is no layer {layer}, for {_count(stored)}")
        if kept and kept[-1] >= regular:
            raise damaged(f"heads of layer {layer}: there is no head {kept[-1]}; give 0-{regular - 1}")
    full = (structure.hidden_of or setting("hidden_size")) // max(1, regular)
    for layer, dims in structure.head_dims.items():
        if not 0 <= layer < stored or dims >= full or family.convolves:
            raise damaged(f"head_dims: layer {layer} with heads of {dims}, for {_count(stored)} with heads of {full}")
    if structure.feed_forwards is not None:
        _check_feed_forwards(structure.feed_forwards, stored, len(family.feed_forwards), setting("intermediate_size"))
    if (structure.hidden is None) != (structure.hidden_of is None):
        given, lacking = ("hidden", "hidden_of") if structure.hidden is not None else ("hidden_of", "hidden")
        raise damaged(f"{given} without {lacking}")
    if structure.hidden is not None and structure.hidden_of is not None:
        width = setting("hidden_size")
        if not structure.hidden or structure.hidden[-1] >= structure.hidden_of:
            raise damaged(f"hidden must name units below hidden_of ({structure.hidden_of})")
        if len(structure.hidden) != width:
            raise damaged(f"hidden names {len(structure.hidden)} units, but hidden_size in config.json is {width}")


def check_size(wanted: int, stored: int | None, source: str) -> None:
    """Refuse a model of more numbers than any machine here holds, or than its files could.

    Example:
        >>> check_size(10**12, None, "hubert")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: hubert: these settings make a model of 1e+12 parameters; the most is 2e+10.
    """
    if wanted > MOST_PARAMETERS:
        most = f"{MOST_PARAMETERS:.2g}"
        raise SottovoceError(f"{source}: these settings make a model of {wanted:.2g} parameters; the most is {most}.")
    if stored is not None and wanted > MORE_THAN_STORED * stored + SOME:
        raise SottovoceError(
            f"{source}: its config.json makes a model of {wanted:.2g} numbers, but its files hold {stored:.2g}; config "
            "and tensors are not of one model."
        )


def check_layers(config: Any, tensors: int, source: str) -> None:
    """Refuse a stack of more layers than its files can be for; building so many would take its time.

    Example:
        >>> check_layers(transformers.HubertConfig(num_hidden_layers=200), 20, "small")
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: small: its config.json speaks of 200 layers, but its files hold 20 tensors; ...
    """
    structure = recorded(config)
    names = FAMILIES[family_name(config)].config_names
    steps = getattr(config, names.get("num_hidden_layers", "num_hidden_layers"))
    layers = 0 if structure.mimic is not None else steps if structure.order is None else structure.stored_layers
    # Even where nothing is left of a layer but its norms.
    if 4 * (layers or 0) > tensors:
        raise SottovoceError(
            f"{source}: its config.json speaks of {layers} layers, but its files hold {tensors} tensors; config and "
            "tensors are not of one model."
        )


def is_of_a_head(path: str, body: Anatomy) -> bool:
    """Whether a module's path is of a head of Hugging Face's that this model need not have.

    Example:
        >>> is_of_a_head("classifier", Anatomy(model)), is_of_a_head("encoder.nothing", Anatomy(model))
        (True, False)
    """
    first = path.partition(".")[0]
    if first in body.family.beside:
        return True
    # ForXVector has a Linear of the name of the front end.
    return first in HEAD_PARTS and (path == first or not hasattr(body.base, first))


def _check_feed_forwards(rows: tuple[tuple[int, ...], ...], stored: int, parts: int, widest: int) -> None:
    if len(rows) != stored:
        raise damaged(f"feed_forwards has {len(rows)} rows, but {_count(stored)}")
    for layer, row in enumerate(rows):
        if len(row) != parts:
            raise damaged(f"feed_forwards of layer {layer} has {len(row)} widths, but {parts} is right here")
        for width in row:
            if width > widest:
                raise damaged(f"feed_forwards of layer {layer} has {width} units, but intermediate_size is {widest}")


def _count(stored: int) -> str:
    return f"{stored} layers have tensors" if stored != 1 else "1 layer has tensors"


def _check_labels(key: str, value: Any, source: str) -> None:
    if not isinstance(value, Mapping):
        raise _refusal(source, key, value, "a mapping of numbers and names")
    for name, other in value.items():
        number, label = (name, other) if key == "id2label" else (other, name)
        if isinstance(number, str) and len(number) < 10 and number.isascii() and number.isdigit():
            number = int(number)
        _check_whole(key, number, 0, MOST_TOKENS, source)
        if key == "id2label" and not isinstance(label, str):
            raise _refusal(source, key, label, "a text for each number")


def _check_whole(key: str, value: Any, least: int, most: int, source: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _refusal(source, key, value, f"a whole number from {least} to {most}")


def _check_real(key: str, value: Any, source: str) -> None:
    is_share = key.endswith(_SHARES)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _refusal(source, key, value, "a finite number")
    if is_share and not 0 <= value <= 1:
        raise _refusal(source, key, value, "a number from 0 to 1")
    if not is_share and not 0 <= value <= WIDEST:
        raise _refusal(source, key, value, f"a number from 0 to {WIDEST}")


def _refusal(source: str, key: str, value: Any, wanted: str) -> SottovoceError:
    return SottovoceError(f"{source}: {key} is {reprlib.repr(value)}, but {wanted} is wanted.")
