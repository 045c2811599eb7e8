"""A tiny model of every family, made on the spot."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it: no test may ask the network

import pytest
import torch
from torch import nn
from zygote import Zygote

from sottovoce import Anatomy, edits, fold_weight_norm, keep_hidden
from sottovoce.models import hub
from sottovoce.models.own import own_parts

WAVEFORM = {
    "conv_dim": (12, 10, 16),
    "conv_stride": (5, 4, 4),
    "conv_kernel": (10, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "classifier_proj_size": 24,
    "vocab_size": 20,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}
LARGE_NORMS = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
DATA2VEC = {**WAVEFORM, "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("wav2vec2", WAVEFORM),
    "wav2vec2-large": ("wav2vec2", {**WAVEFORM, **LARGE_NORMS}),
    "hubert": ("hubert", WAVEFORM),
    "hubert-large": ("hubert", {**WAVEFORM, **LARGE_NORMS}),
    "wavlm": ("wavlm", {**WAVEFORM, "num_buckets": 16, "max_bucket_distance": 40}),
    "wavlm-large": ("wavlm", {**WAVEFORM, **LARGE_NORMS, "num_buckets": 16, "max_bucket_distance": 40}),
    "data2vec-audio": ("data2vec-audio", DATA2VEC),
    "unispeech": ("unispeech", WAVEFORM),
    "unispeech-sat": ("unispeech-sat", {**WAVEFORM, **LARGE_NORMS}),
    "sew": ("sew", {**WAVEFORM, "squeeze_factor": 2}),
    "wav2vec2-conformer": ("wav2vec2-conformer", {**WAVEFORM, "position_embeddings_type": "relative"}),
    "wav2vec2-conformer-rotary": ("wav2vec2-conformer", {**WAVEFORM, "position_embeddings_type": "rotary"}),
    "wav2vec2-bert": ("wav2vec2-bert", {"feature_projection_input_dim": 20}),
    "whisper": (
        "whisper",
        {
            "num_mel_bins": 16,
            "max_source_positions": 50,
            "decoder_layers": 1,
            "decoder_attention_heads": 2,
            **dict.fromkeys(["pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"], 0),
        },
    ),
}
WHISPER_NAMES = {
    "hidden_size": "d_model",
    "num_hidden_layers": "encoder_layers",
    "num_attention_heads": "encoder_attention_heads",
    "intermediate_size": "encoder_ffn_dim",
}


def tiny(name: str, *, head: str = "", seed: int = 0, **settings: Any) -> Any:
    """A random model of four layers; its norms are not at their trivial start, so that edits cannot hide behind it."""
    family, own = TINY[name]
    base = dict(SMALL)
    if family == "whisper":
        base = {WHISPER_NAMES.get(key, key): value for key, value in SMALL.items() if key != "layerdrop"}
    return shaken(hub.new(family, head=head, seed=seed, **{**base, **own, **settings}), seed)


def shaken(model: Any, seed: int = 0) -> Any:
    """The model with its norms and biases moved from where they start."""
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def linears(model: Any) -> list[str]:
    """Paths of the Linears of the first two layers."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return [name for name in names if "layers.0." in name or "layers.1." in name]


def narrow_twice(model: Any) -> None:
    """Unequal groups first, then fewer of them."""
    keep_hidden(model, [unit for unit in range(32) if unit % 5])
    keep_hidden(model, [unit for unit in range(25) if unit % 7])


def each_feed_forward(model: Any, layers: Iterable[int], units: Iterable[int]) -> None:
    """The same inner units in every feed-forward part of some layers."""
    units = list(units)
    for layer in layers:
        for which in range(len(Anatomy(model).family.feed_forwards)):
            edits.keep_feed_forward(model, layer, units, which=which)


def zero_half(model: Any) -> None:
    """Every second weight of the layers."""
    masks = {}
    for name, parameter in model.named_parameters():
        if "layers" in name and parameter.dim() == 2:
            masks[name] = (torch.arange(parameter.numel()) % 2 == 0).view(parameter.shape)
    edits.zero_weights(model, masks)


def drop_both_ends(model: Any) -> None:
    """The first layer goes as well: WavLM's position bias must be handed on."""
    edits.keep_layers(model, [1, 3])


def some_heads(model: Any) -> None:
    """Twice in one layer, so that the second time numbers the heads that are left."""
    edits.keep_heads(model, 1, [0, 2, 3])
    edits.keep_heads(model, 1, [1, 2])


def some_dims(model: Any) -> None:
    """Of one layer before its heads, of another behind them."""
    edits.keep_head_dims(model, 0, [0, 2, 3, 5, 6])
    edits.keep_heads(model, 0, [0, 2, 3])
    edits.keep_heads(model, 2, [1, 2])
    edits.keep_head_dims(model, 2, [1, 4, 7])


def no_heads(model: Any) -> None:
    """None in the first layer and in another."""
    edits.keep_heads(model, 0, [])
    edits.keep_heads(model, 2, [])


def fewer_channels(model: Any) -> None:
    """Every convolution of the front end."""
    for conv in range(3):
        edits.keep_channels(model, conv, range(1, 7 + conv))


def everything(model: Any) -> None:
    """One edit after another."""
    some_heads(model)
    edits.keep_layers(model, [1, 2, 3])
    edits.keep_heads(model, 2, [])
    each_feed_forward(model, [0], range(0, 48, 5))
    edits.set_order(model, [1, 0, 0, 2, 1])
    edits.factor(model, next(name for name in linears(model) if "layers.1." in name), 3)
    if Anatomy(model).family.narrows:
        keep_hidden(model, [unit for unit in range(32) if unit % 5])
        fewer_channels(model)
        fold_weight_norm(model)


def leave_early(model: Any) -> None:
    """Nobody, as every step changes something: so costs are those of all steps."""
    edits.tie_layers(model, 1)
    edits.use_exit(model, 0.0, least=2)


def share_with_own_parts(model: Any) -> None:
    """Two layers, twice each, whose steps differ; and then a step is dropped."""
    edits.set_order(model, [0, 0, 1, 1])
    edits.use_own(model, rank=2)
    with torch.no_grad():
        for index in range(2):
            for part in own_parts(Anatomy(model).layers[index]):
                for number, tensor in enumerate(part.parameters()):
                    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number))
                    tensor.add_(0.1 * noise)
    edits.keep_layers(model, [0, 1, 3])


EDITS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda model: None,
    "keep_layers": drop_both_ends,
    "keep_heads": some_heads,
    "no_heads": no_heads,
    "keep_head_dims": some_dims,
    "keep_feed_forward": lambda model: each_feed_forward(model, [1], range(0, 48, 3)),
    "no_feed_forward": lambda model: each_feed_forward(model, [1], []),
    "uniform_feed_forward": lambda model: each_feed_forward(model, range(4), range(0, 48, 3)),
    "keep_channels": fewer_channels,
    "keep_hidden": narrow_twice,
    "keep_hidden_evenly": lambda model: keep_hidden(model, [unit for unit in range(32) if unit % 4]),
    "factor": lambda model: [edits.factor(model, name, 4) for name in linears(model)],
    "zero_weights": zero_half,
    "use_log_mel": lambda model: edits.use_log_mel(model, bins=10),
    "share_layers": lambda model: edits.tie_layers(model, 1),
    "use_own": share_with_own_parts,
    "use_exit": leave_early,
    "apply_times": lambda model: edits.apply_times(model, 6),
    "set_order": lambda model: edits.set_order(model, [2, 0, 0, 3]),
    "mimic_linear": lambda model: edits.use_mimic(model, layers=2, width=16),
    "mimic_transformer": lambda model: edits.use_mimic(model, layers=1, kind="transformer", width=16),
    "mimic_positional": lambda model: edits.use_mimic(model, layers=1, kind="transformer", width=16, positional=True),
    "mimic_filter": lambda model: edits.use_mimic(model, layers=1, kind="transformer", width=16, positional=5),
    "mimic_none": lambda model: edits.use_mimic(model, layers=0),
    "fold_weight_norm": fold_weight_norm,
    "everything": everything,
}
# What an edit has nothing to work on in; it must say so.
IMPOSSIBLE = {
    "wavlm": {"use_exit"},
    "wavlm-large": {"use_exit"},
    "sew": {"mimic_linear", "mimic_transformer", "mimic_positional", "mimic_filter", "mimic_none"},
    "wav2vec2-conformer": {"keep_head_dims", "keep_hidden", "keep_hidden_evenly", "mimic_positional"},
    "wav2vec2-conformer-rotary": {"keep_head_dims", "keep_hidden", "keep_hidden_evenly", "mimic_positional"},
    "wav2vec2-bert": {
        "keep_head_dims",
        "keep_hidden",
        "keep_hidden_evenly",
        "keep_channels",
        "use_log_mel",
        "mimic_positional",
    },
    "whisper": {
        *("keep_hidden", "keep_hidden_evenly", "keep_channels", "use_log_mel"),
        *("mimic_linear", "mimic_transformer", "mimic_positional", "mimic_filter", "mimic_none"),
    },
}


def edited(family: str, edit: str, **options: Any) -> Any:
    """A tiny model after one edit."""
    model = tiny(family, **options)
    EDITS[edit](model)
    return model


def possible(family: str, edit: str) -> bool:
    """Whether an edit has something to work on in a family."""
    return edit not in IMPOSSIBLE.get(family, set())


@pytest.fixture(params=sorted(TINY))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=sorted(EDITS))
def edit(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Starts processes that need not import anything."""
    with Zygote(tmp_path_factory.mktemp("said")) as made:
        yield made
