"""Folders of models whose config.json, Structure, tensors, index or processor is not what it should be."""

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

from cases import Case, Place

import sottovoce as sv
from sottovoce.models.structure import KEY, Structure
from sottovoce.pretraining.unit_head import unit_head_of

# JSON texts that are put where a value stands.
VALUES: dict[str, str] = {
    "null": "null",
    "a text": '"x"',
    "an empty text": '""',
    "a number as text": '"2"',
    "negative": "-3",
    "zero": "0",
    "huge": "1" + "0" * 15,
    "beyond 64 bits": "9" * 30,
    "beyond all floats": "1e999",
    "a fraction": "0.37",
    "true": "true",
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "a list": "[1, 2, 3, 4, 5]",
    "an empty list": "[]",
    "a nested list": '[[1], {"a": [null]}]',
    "an object": '{"a": 1}',
}


def with_value(record: dict[str, Any], key: str, text: str | None) -> str:
    """A JSON text of a record in which one value is another text, or missing."""
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in record.items() if name != key]
    return "{" + ", ".join(lines if text is None else [*lines, f"{json.dumps(key)}: {text}"]) + "}"


# Keys that Hugging Face keeps in a configuration and that neither load nor a forward pass in evaluation reads.
UNREAD = {
    *("architectures", "transformers_version", "dtype", "torch_dtype", "_name_or_path"),
    *(
        "apply_spec_augment",
        "ctc_loss_reduction",
        "ctc_zero_infinity",
        "use_weighted_layer_sum",
        "gradient_checkpointing",
    ),
    *("mask_feature_length", "mask_feature_min_masks", "mask_feature_prob", "mask_time_length", "mask_time_min_masks"),
    *("mask_time_prob", "mask_channel_length", "mask_channel_min_space", "mask_channel_other", "mask_channel_prob"),
    *("mask_channel_selection", "mask_time_min_space", "mask_time_other", "mask_time_selection", "no_mask_overlap"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "vocab_size", "classifier_proj_size", "initializer_range"),
    *("final_dropout", "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"),
    *("feat_quantizer_dropout", "num_feat_extract_layers", "tokenizer_class", "do_stable_layer_norm_", "id2label"),
    *("label2id", "output_hidden_states", "output_attentions", "return_dict", "is_encoder_decoder", "problem_type"),
    *("chunk_size_feed_forward", "tie_word_embeddings", "conv_pos_batch_norm"),
    # What loaders would act on is dropped: Hugging Face sees only settings that the family's class names.
    *("quantization_config", "attn_implementation", "_attn_implementation"),
    *("num_ctc_classes", "num_codevectors_per_group", "num_codevector_groups", "contrastive_logits_temperature"),
    *("num_negatives", "codevector_dim", "auto_map", "num_labels", "tdnn_dim", "tdnn_kernel"),
    *("tdnn_dilation", "xvector_output_dim", "add_adapter", "adapter_kernel_size", "adapter_stride"),
    *("num_adapter_layers", "output_hidden_size", "replace_prob"),
}
NO_SHAPE = {"layer_norm_eps", "hidden_act", "feat_extract_activation", "max_bucket_distance", "conv_stride"}


def config_reason(key: str, kind: str) -> str:
    """Why success is right with a value of config.json, where it is."""
    if kind == "missing":
        return "Hugging Face has a default; where that is of another shape, the tensors do not fit"
    if key in UNREAD:
        return "evaluation does not read it, and Hugging Face keeps what it does not know"
    if key in NO_SHAPE:
        return "it changes no tensor's shape; that it is of the right kind is all that can be asked"
    return (
        "the right value, written otherwise" if kind in ("true", "null", "zero", "an empty list", "an object") else ""
    )


def config_cases() -> Iterator[Case]:
    """Every key of a plain configuration and of WavLM's own, with every value."""
    for folder, keys in (("plain", KEYS), ("wavlm", ["num_buckets", "max_bucket_distance"])):
        for key in keys:
            for kind, text in {"missing": None, **VALUES}.items():

                def make(
                    place: Place, folder: str = folder, key: str = key, text: str | None = text
                ) -> Callable[[], object]:
                    path = place.copy(folder) / "config.json"
                    path.write_text(with_value(json.loads(path.read_text()), key, text))
                    return lambda: sv.load(path.parent)

                yield Case(f"config/{key}/{kind}", make, config_reason(key, kind))


KEYS = [
    *("activation_dropout", "apply_spec_augment", "architectures", "attention_dropout", "bos_token_id"),
    *("classifier_proj_size", "conv_bias", "conv_dim", "conv_kernel", "conv_pos_batch_norm", "conv_stride"),
    *("ctc_loss_reduction", "do_stable_layer_norm", "dtype", "eos_token_id", "feat_extract_activation"),
    *("feat_extract_norm", "feat_proj_dropout", "feat_proj_layer_norm", "hidden_act", "hidden_dropout"),
    *("hidden_size", "initializer_range", "intermediate_size", "layer_norm_eps", "layerdrop", "mask_time_prob"),
    *("model_type", "num_attention_heads", "num_conv_pos_embedding_groups", "num_conv_pos_embeddings"),
    *("num_feat_extract_layers", "num_hidden_layers", "transformers_version", "vocab_size"),
    # Not in the file, but known to Hugging Face.
    *("id2label", "torch_dtype", "auto_map", "quantization_config", "attn_implementation", "_attn_implementation"),
    *("output_hidden_states", "output_attentions", "return_dict", "tie_word_embeddings", "chunk_size_feed_forward"),
    *("add_adapter", "use_weighted_layer_sum", "is_encoder_decoder", "problem_type", "num_labels"),
]
STRUCTURES: dict[str, str] = {
    **{
        f"{key} is {kind}": f'{{"{key}": {text}}}'
        for key in Structure.__dataclass_fields__
        for kind, text in VALUES.items()
    },
    **{f"version is {kind}": f'{{"version": {text}}}' for kind, text in VALUES.items()},
    "the part is a list": "[]",
    "the part is a text": '"x"',
    "the part is a number": "7",
    "an unknown key": '{"haeds": {}}',
    "heads of a layer that is not there": '{"heads": {"99": "0"}}',
    "heads of a layer below zero": '{"heads": {"-1": "0"}}',
    "heads of a layer by name": '{"heads": {"first": "0"}}',
    "heads without end": '{"heads": {"0": "0-999999999999"}}',
    "heads that are not there": '{"heads": {"0": "0-7"}}',
    "heads twice": '{"heads": {"0": "0,0"}}',
    "heads backwards": '{"heads": {"0": "1-0"}}',
    "heads with a comma too many": '{"heads": {"0": "0,,1,"}}',
    "heads with words": '{"heads": {"0": "zero"}}',
    "heads with a dash alone": '{"heads": {"0": "-"}}',
    "heads as a list": '{"heads": {"0": [0]}}',
    "heads of digits that are no ASCII": '{"heads": {"0": "\\u0663"}}',
    "widths for too few layers": '{"feed_forwards": ["3"]}',
    "widths for too many layers": '{"feed_forwards": ["3", "3", "3", "3", "3", "3"]}',
    "widths for parts that are not there": '{"feed_forwards": ["3,3", "3,3", "3,3"]}',
    "widths below zero": '{"feed_forwards": ["-3", "3", "3"]}',
    "widths beyond the tensors": '{"feed_forwards": ["999999999", "3", "3"]}',
    "widths as numbers": '{"feed_forwards": [3, 3, 3]}',
    "an order of a layer that is not there": '{"order": "0,1,77"}',
    "an order below zero": '{"order": "0,-1"}',
    "an order of a layer far away": '{"order": "99999999"}',
    "an empty order": '{"order": ""}',
    "an order with a hole": '{"order": "0,2"}',
    "an order of 5000 digits": '{"order": "' + "9" * 5000 + '"}',
    "a long order": '{"order": "' + ",".join(["0"] * 100_000) + '"}',
    "units that are not there": '{"hidden": "0-99", "hidden_of": 16}',
    "units without how many there were": '{"hidden": "0-11"}',
    "how many there were without units": '{"hidden_of": 64}',
    "units of nothing": '{"hidden": "", "hidden_of": 16}',
    "units without end": '{"hidden": "0-99999999999", "hidden_of": 16}',
    "units of a vast model": '{"hidden": "0-11", "hidden_of": 1000000000}',
    "a rank of a part that is not there": '{"ranks": {"encoder.layers.9.attention.q_proj": 3}}',
    "a rank of what is no Linear": '{"ranks": {"encoder.layer_norm": 3}}',
    "a rank of the model": '{"ranks": {"": 3}}',
    "a rank of zero": '{"ranks": {"encoder.layers.0.attention.q_proj": 0}}',
    "a rank below zero": '{"ranks": {"encoder.layers.0.attention.q_proj": -3}}',
    "a vast rank": '{"ranks": {"encoder.layers.0.attention.q_proj": 1000000000}}',
    "a rank of a method": '{"ranks": {"forward": 3}}',
    "a rank of a private name": '{"ranks": {"__class__": 3}}',
    "a rank of half a path": '{"ranks": {"encoder.layers": 3}}',
    "log-mel of nothing": '{"log_mel": {}}',
    "log-mel of no bins": '{"log_mel": {"bins": 0, "stack": 2}}',
    "log-mel of vast bins": '{"log_mel": {"bins": 1000000000, "stack": 2}}',
    "log-mel of too many bins": '{"log_mel": {"bins": 4000, "stack": 2}}',
    "log-mel without stack": '{"log_mel": {"bins": 10}}',
    "log-mel stacked without end": '{"log_mel": {"bins": 10, "stack": 1000000000}}',
    "log-mel with a stranger": '{"log_mel": {"bins": 10, "stack": 2, "model": 3}}',
    "log-mel below zero": '{"log_mel": {"bins": -10, "stack": -2}}',
    "a mimic of nothing": '{"mimic": {}}',
    "a mimic of an unknown kind": '{"mimic": {"layers": 1, "kind": "lstm", "width": 8}}',
    "a mimic of no layers": '{"mimic": {"layers": 0, "kind": "linear", "width": 8}}',
    "a mimic of vast layers": '{"mimic": {"layers": 1000000000, "kind": "linear", "width": 8}}',
    "a mimic of no width": '{"mimic": {"layers": 1, "kind": "linear", "width": 0}}',
    "a vast mimic": '{"mimic": {"layers": 1, "kind": "linear", "width": 10000000000}}',
    "a mimic with a stranger": '{"mimic": {"layers": 1, "kind": "linear", "width": 8, "model": null}}',
    "a mimic with a text": '{"mimic": {"layers": "1", "kind": "linear", "width": "8"}}',
    "a mimic and a cut": '{"mimic": {"layers": 1, "kind": "linear", "width": 8}, "order": "0", "heads": {"0": "0"}}',
    "int8 of a part that is not there": '{"int8": {"encoder.layers.9.attention.q_proj": "dynamic"}}',
    "int8 of an unknown kind": '{"int8": {"encoder.layers.0.attention.q_proj": "half"}}',
    "int8 of what is no Linear": '{"int8": {"encoder.layer_norm": "static"}}',
    "int8 that the tensors are not": '{"int8": {"encoder.layers.0.attention.q_proj": "static"}}',
    "int8 and a rank at once": '{"int8": {"encoder.layers.0.attention.q_proj": "static"}, '
    '"ranks": {"encoder.layers.0.attention.q_proj": 3}}',
    "folded that the tensors are not": '{"folded": true}',
    "everything at once": json.dumps(
        {"heads": {"0": "0"}, "order": "1,0", "hidden": "0-3", "hidden_of": 16, "folded": True}
    ),
}


def structure_cases() -> Iterator[Case]:
    """Every field of a Structure with every value, and contents that fit no model."""
    for kind, text in STRUCTURES.items():

        def make(place: Place, text: str = text) -> Callable[[], object]:
            path = place.copy("plain") / "config.json"
            path.write_text(with_value(json.loads(path.read_text()), KEY, text))
            return lambda: sv.load(path.parent)

        regular = "as in the regular shape" if kind.endswith(("is null", "is an empty list", "is zero")) else ""
        yield Case(f"structure/{kind}", make, regular or STRUCTURE_FINE.get(kind, ""))


IGNORED = "a base model taken out of a folder with a head does not build the head's parts, so such paths pass"
SAYS_NOTHING = "what is empty says nothing, and so the shape is regular"
STRUCTURE_FINE: dict[str, str] = {
    **dict.fromkeys(
        ["a rank of a part that is not there", "a rank of a method", "a rank of a private name", "ranks is an object"],
        IGNORED,
    ),
    "int8 of a part that is not there": IGNORED,
    **{f"{key} is an empty text": SAYS_NOTHING for key in Structure.__dataclass_fields__},
    "a mimic of nothing": SAYS_NOTHING,
    "log-mel of nothing": SAYS_NOTHING,
    "an order with a hole": "layers that no step applies are left out, and these two fit the tensors",
    "heads with a comma too many": "an empty piece between commas is no number, and these are all heads",
}


def header(record: object, data: bytes = b"", size: int | None = None) -> bytes:
    """A file of tensors from what its header says."""
    text = record if isinstance(record, bytes) else json.dumps(record).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def one(dtype: str = "F32", shape: object = (2,), begin: object = 0, end: object = 8) -> dict[str, Any]:
    """What a header says of one tensor."""
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


DATA = bytes(8)
TENSORS: dict[str, bytes] = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "zeros": bytes(4096),
    "a header of no length": struct.pack("<Q", 0),
    "a header of one byte": header(b"{"),
    "an endless header": struct.pack("<Q", (1 << 64) - 1) + b"{}",
    "a header longer than the file": header({}, size=5000),
    "a header of 100 MB that is not there": struct.pack("<Q", 100 << 20) + b"{",
    "a negative length": struct.pack("<q", -1) + b"{}",
    "no tensor": header({}),
    "a list as header": header([]),
    "a text as header": header("x"),
    "null as header": header(None),
    "a header that is cut": header(json.dumps(one()).encode()[:30]),
    "a header of bytes": header(bytes(range(128, 200))),
    "a deep header": header(b"[" * 5000 + b"]" * 5000),
    "blanks before the header": header(b"   " + json.dumps(one()).encode(), DATA),
    "an unknown type": header(one("F128"), DATA),
    "a type of null": header({"a": {"dtype": None, "shape": [2], "data_offsets": [0, 8]}}, DATA),
    "no type": header({"a": {"shape": [2], "data_offsets": [0, 8]}}, DATA),
    "a shape below zero": header(one(shape=[-2]), DATA),
    "a shape of texts": header(one(shape=["2"]), DATA),
    "a shape that does not fit": header(one(shape=[3]), DATA),
    "a shape that overflows": header(one(shape=[1 << 40, 1 << 40]), DATA),
    "a shape of fractions": header(one(shape=[2.5]), DATA),
    "a shape of many parts": header(one(shape=[1] * 2000 + [2]), DATA),
    "offsets backwards": header(one(begin=8, end=0), DATA),
    "offsets beyond the file": header(one(begin=0, end=8)),
    "offsets below zero": header(one(begin=-8, end=0), DATA),
    "offsets with a hole": header(one(begin=8, end=16), DATA * 2),
    "offsets as texts": header(one(begin="0", end="8"), DATA),
    "one offset": header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}, DATA),
    "two tensors in one place": header({**one(), "b": one()["a"]}, DATA),
    "bytes that belong to none": header(one(), DATA * 2),
    "metadata of numbers": header({"__metadata__": {"format": 3}, **one()}, DATA),
    "metadata as a list": header({"__metadata__": [], **one()}, DATA),
    "a name of letters that move the cursor": header({"\x1b[2J": one()["a"]}, DATA),
    "a name of half a letter": header(b'{"\\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', DATA),
    "a name of 5000 letters": header({"x" * 5000: one()["a"]}, DATA),
    "another model's tensor": header(one(), DATA),
    "a pickle": b"\x80\x02cos\nsystem\n(S'true'\ntR.",
    "a pickle in a zip": b"PK\x03\x04" + bytes(100),
    "a page of the web": b"<!DOCTYPE html><html><title>404</title></html>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 378\n",
    "a text": b"model\n",
    "JSON": b'{"a": 1}',
}
# The files of tensors, and who reads them.
READERS: dict[str, tuple[str, Callable[[Place], Callable[[], object]]]] = {
    "model": ("plain/model.safetensors", lambda place: lambda: sv.load("plain")),
    "doctor": ("plain/model.safetensors", lambda place: lambda: examined("plain")),
    "shard": ("shards/model-00002-of-00004.safetensors", lambda place: lambda: sv.load("shards")),
    "pickle": ("pickled/pytorch_model.bin", lambda place: lambda: sv.load("pickled")),
    "packed": ("packed/packed.safetensors", lambda place: lambda: sv.load("packed")),
    "units": ("plain/units.safetensors", lambda place: lambda: unit_head_of(sv.load("plain"))),
    "difference": ("difference/difference.safetensors", lambda place: lambda: sv.load("difference")),
}


def examined(folder: str) -> None:
    """The doctor finds what load refuses: his findings are the refusal."""
    findings = sv.doctor(folder)
    errors = [finding.what for finding in findings if finding.level == "error"]
    if errors:
        raise sv.SottovoceError(errors[0] if errors[0].endswith(".") else errors[0] + ".")


def tensor_cases() -> Iterator[Case]:
    """Every broken file of tensors in every place where one is read."""
    for reader, (file, act) in READERS.items():
        for kind, content in TENSORS.items():

            def make(
                place: Place, file: str = file, act: Callable[..., Any] = act, content: bytes = content
            ) -> Callable[[], object]:
                place.copy(file.split("/")[0])
                place.write(file, content)
                return act(place)

            yield Case(f"tensors/{reader}/{kind}", make)


def cases() -> Iterator[Case]:
    yield from config_cases()
    yield from structure_cases()
    yield from tensor_cases()
