"""The families of Hugging Face's speech models: a table with a row each, of where parts are and what they are like."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from transformers import PreTrainedConfig

from sottovoce.errors import unknown

# A folder that only `trust_remote_code` can load says so in its `model_type`: plain Hugging Face code stops at it
# instead of filling the parts that it does not find with random numbers.
PREFIX = "sottovoce_"
POSITIONAL = "encoder.pos_conv_embed"


@dataclass(frozen=True)
class Family:
    """One family: the paths of its parts, from the base model or, for a layer's parts, from the layer; and its ways.

    Args:
        positional_runs: the positional convolution is applied, and not only stored.
        positional_stack: it is a stack of convolutions; `positional_norm`, its weights are normalised.
        narrows: the hidden size can be cut.
        layer_norms: how many norms a layer has; `convolves`, it has a convolution; `key_bias`, its keys have a bias.
        gated_position_bias: layers share a table of relative positions, and each gates it.
        mel_input: the input is a log-mel window of a fixed length, which Whisper's two convolutions read.
        squeezes: layers run at a lower rate than what comes in and goes out.
        skips_projection: where the front end is as wide as the hidden size, nothing stands between them.
        counts_heads: attention reads how many heads it has from itself, and not from the width of its queries.
        always_masks: there is a mask embedding even if nothing is masked in training.
        pretraining: what Hugging Face's head for pretraining is like, if there is one.
        only_head: the class of its one head, which also stands for a model without any.
        beside: parts that some of its classes have beside the encoder.
        config_names: settings of the configuration that have another name here.

    Example:
        >>> FAMILIES["wav2vec2"].query
        'attention.q_proj'
    """

    layers: str = "encoder.layers"
    query: str = "attention.q_proj"
    key: str = "attention.k_proj"
    value: str = "attention.v_proj"
    output: str = "attention.out_proj"
    feed_forwards: tuple[tuple[str, str], ...] = (("feed_forward.intermediate_dense", "feed_forward.output_dense"),)
    convs: str | None = "feature_extractor.conv_layers"
    projection: str = "feature_projection.projection"
    projection_norm: str = "feature_projection.layer_norm"
    positional: str | None = POSITIONAL
    positional_runs: bool = True
    final_norm: str | None = "encoder.layer_norm"
    whole_stack: str | None = "encoder"
    positional_stack: bool = False
    positional_norm: bool = True
    narrows: bool = True
    layer_norms: int = 2
    convolves: bool = False
    key_bias: bool = True
    gated_position_bias: bool = False
    mel_input: bool = False
    squeezes: bool = False
    skips_projection: bool = False
    counts_heads: bool = False
    always_masks: bool = False
    pretraining: Literal["contrastive", "ctc", "unused"] | None = None
    only_head: str | None = None
    beside: tuple[str, ...] = ()
    config_names: dict[str, str] = field(default_factory=dict)


POST_NORM = Family()
CONFORMER = replace(
    POST_NORM,
    query="self_attn.linear_q",
    key="self_attn.linear_k",
    value="self_attn.linear_v",
    output="self_attn.linear_out",
    feed_forwards=(
        ("ffn1.intermediate_dense", "ffn1.output_dense"),
        ("ffn2.intermediate_dense", "ffn2.output_dense"),
    ),
    positional_runs=False,
    narrows=False,
    layer_norms=4,
    convolves=True,
)
FAMILIES: dict[str, Family] = {
    "wav2vec2": replace(POST_NORM, pretraining="contrastive"),
    "hubert": POST_NORM,
    "wavlm": replace(POST_NORM, gated_position_bias=True),
    "data2vec-audio": replace(POST_NORM, positional_stack=True, positional_norm=False),
    "unispeech": replace(POST_NORM, pretraining="ctc"),
    "unispeech-sat": replace(POST_NORM, always_masks=True, pretraining="unused"),
    "sew": replace(
        POST_NORM,
        projection="feature_projection",
        projection_norm="layer_norm",
        squeezes=True,
        skips_projection=True,
    ),
    "wav2vec2-conformer": replace(CONFORMER, pretraining="contrastive"),
    "wav2vec2-bert": replace(CONFORMER, convs=None, positional=None, final_norm=None),
    "whisper": Family(
        layers="layers",
        query="self_attn.q_proj",
        key="self_attn.k_proj",
        value="self_attn.v_proj",
        output="self_attn.out_proj",
        feed_forwards=(("fc1", "fc2"),),
        convs=None,
        positional=None,
        final_norm="layer_norm",
        whole_stack=None,
        narrows=False,
        key_bias=False,
        mel_input=True,
        counts_heads=True,
        only_head="WhisperForAudioClassification",
        beside=("model",),
        config_names={
            "num_hidden_layers": "encoder_layers",
            "num_attention_heads": "encoder_attention_heads",
            "intermediate_size": "encoder_ffn_dim",
            "hidden_size": "d_model",
        },
    ),
}


def family_name(config: PreTrainedConfig) -> str:
    """The family of a configuration, also of one that only sottovoce's modelling file can load.

    Example:
        >>> family_name(transformers.HubertConfig())
        'hubert'
    """
    name = str(getattr(config, "model_type", "")).removeprefix(PREFIX)
    if name not in FAMILIES:
        raise unknown("family", name, FAMILIES)
    return name


def setting(config: Any, name: str) -> Any:
    """A value of a configuration under the name that most families give it.

    Example:
        >>> setting(transformers.WhisperConfig(), "hidden_size")
        384
    """
    return getattr(config, FAMILIES[family_name(config)].config_names.get(name, name))


def frames_of(config: Any, samples: int) -> int:
    """How many frames an encoder of this configuration makes of so many samples (of 16 kHz audio).

    Example:
        >>> frames_of(transformers.HubertConfig(), 16_000)
        49
    """
    family = FAMILIES[family_name(config)]
    if family.mel_input:
        return int(config.max_source_positions)
    if family.convs is None:
        # Fbank of 25 ms every 10 ms, two frames side by side: what SeamlessM4TFeatureExtractor makes.
        return max(0, (1 + (samples - 400) // 160) // 2)
    length = samples
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        length = max(0, (length - kernel) // stride + 1)
    return length
