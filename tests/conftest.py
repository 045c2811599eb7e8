"""A tiny model of every family, made on the spot."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from sottovoce.models import hub

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
        {"num_mel_bins": 16, "max_source_positions": 50, "decoder_layers": 1, "decoder_attention_heads": 2},
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
    model = hub.new(family, head=head, seed=seed, **{**base, **own, **settings})
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(params=sorted(TINY))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"
