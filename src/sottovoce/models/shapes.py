"""Named shapes: published checkpoints and our own, as differences to their family's default configuration (base)."""

from typing import Any

LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
LAYER_NORMS: dict[str, Any] = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}

SHAPES: dict[str, dict[str, Any]] = {
    "wav2vec2-base": {"model_type": "wav2vec2"},
    # The one trained on LibriSpeech alone keeps the base model's norms; those on more data have layer norms.
    "wav2vec2-large": {"model_type": "wav2vec2", **LARGE},
    "wav2vec2-large-lv60": {"model_type": "wav2vec2", **LARGE, **LAYER_NORMS, "conv_bias": True},
    "xls-r-300m": {"model_type": "wav2vec2", **LARGE, **LAYER_NORMS, "conv_bias": True},
    "hubert-base": {"model_type": "hubert"},
    "hubert-large": {"model_type": "hubert", **LARGE, **LAYER_NORMS, "conv_bias": True},
    "distilhubert": {"model_type": "hubert", "num_hidden_layers": 2, "feat_proj_layer_norm": False},
    "wavlm-base": {"model_type": "wavlm"},
    "wavlm-large": {"model_type": "wavlm", **LARGE, **LAYER_NORMS},
    # MelHuBERT sets masked frames to zero before the projection, so it has no learned mask embedding.
    "melhubert": {
        "model_type": "hubert",
        "conv_dim": [40, 80],
        "conv_kernel": [400, 2],
        "conv_stride": [160, 2],
        "feat_proj_layer_norm": False,
        "mask_time_prob": 0.0,
        "sottovoce": {"version": 1, "log_mel": {"bins": 40, "stack": 2}},
    },
}
# Frames every 10 ms, one at a time.
SHAPES["melhubert-10ms"] = {
    **SHAPES["melhubert"],
    "conv_dim": [40, 40],
    "conv_kernel": [400, 1],
    "conv_stride": [160, 1],
    "sottovoce": {"version": 1, "log_mel": {"bins": 40, "stack": 1}},
}
# Twelve Conformer layers that hear log-mel frames: as much of arXiv 2105.00812 as its abstract tells.
SHAPES["conformer-mel"] = {**SHAPES["melhubert"], "model_type": "wav2vec2-conformer"}
# The teachers that travel with the package: twelve layers like the base models, narrow enough to be trained at home.
SMALL: dict[str, Any] = {
    "hidden_size": 192,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
    "layerdrop": 0.0,
}
SHAPES["small-melhubert"] = {**SHAPES["melhubert"], **SMALL, "do_stable_layer_norm": True}
SHAPES["small-hubert"] = {
    "model_type": "hubert",
    **SMALL,
    "do_stable_layer_norm": True,
    "conv_dim": [32, 48, 64, 64, 96, 128, 128],
}
