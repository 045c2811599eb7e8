"""Named shapes of published checkpoints, as differences to their family's default configuration (the base shape)."""

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
