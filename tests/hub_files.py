"""Tiny random models in the files of published checkpoints: names, settings and layouts of their day."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from conftest import TINY, shaken, tiny
from safetensors.torch import save_file

PLACE = TemporaryDirectory()  # gone when the tests end
LETTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, **{letter: 5 + i for i, letter in enumerate("ETAOI'")}}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
# What version 4 wrote into config.json and version 5 does not know.
OF_THEIR_DAY: dict[str, Any] = {
    "_name_or_path": "somebody/something",
    "gradient_checkpointing": False,
    "feat_extract_dropout": 0.0,
    "freeze_feat_extract_train": True,
    "hidden_dropout_prob": 0.1,
    "mask_channel_length": 10,
    "mask_channel_min_space": 1,
    "mask_channel_other": 0.0,
    "mask_channel_prob": 0,
    "mask_channel_selection": "static",
    "mask_time_min_space": 1,
    "mask_time_other": 0.0,
    "mask_time_selection": "static",
    "no_mask_channel_overlap": False,
    "no_mask_time_overlap": False,
    "replace_prob": 0.5,
    "tokenizer_class": "Wav2Vec2CTCTokenizer",
    "torch_dtype": "float32",
    "transformers_version": "4.15.0.dev0",
}
WHISPERED: dict[str, Any] = {
    "forced_decoder_ids": [[1, 1], [2, 2]],
    "max_length": 448,
    "suppress_tokens": [],
    "torch_dtype": "float32",
    "transformers_version": "4.27.0.dev0",
}
# transformers itself has changed these since: what it writes today is another setting of the same model.
RENAMED = ("dtype", "_attn_implementation", "_attn_implementation_autoset", "transformers_version")
PLAIN = {"do_normalize": True, "return_attention_mask": False}
MASKED = {"do_normalize": True, "return_attention_mask": True}
RAW = {"do_normalize": False, "return_attention_mask": True}
SPEAKERS = {"tdnn_dim": (16, 16, 24), "tdnn_kernel": (5, 3, 1), "tdnn_dilation": (1, 2, 1), "xvector_output_dim": 12}
CODES = {"num_codevectors_per_group": 8, "codevector_dim": 16, "proj_codevector_dim": 16}
WORDS = {"id2label": {0: "yes", 1: "no", 2: "_unknown_"}, "label2id": {"yes": 0, "no": 1, "_unknown_": 2}}
SPOKEN = {"vocab_size": len(LETTERS), "pad_token_id": 0, "ctc_loss_reduction": "mean"}


@dataclass(frozen=True)
class Published:
    """A checkpoint of the Hub: which tiny model stands for it, and how its files are written."""

    tiny: str
    head: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    extractor: dict[str, Any] | None = None
    weights: str = "bin"
    letters: bool = False


PUBLISHED: dict[str, Published] = {
    "wav2vec2-base": Published("wav2vec2", "ForPreTraining", CODES, PLAIN),
    "wav2vec2-base-960h": Published("wav2vec2", "ForCTC", SPOKEN, PLAIN, "safetensors", letters=True),
    "wav2vec2-large-xlsr-53": Published("wav2vec2-large", "ForPreTraining", CODES, MASKED, "legacy"),
    "wav2vec2-base-superb-ks": Published(
        "wav2vec2", "ForSequenceClassification", {**WORDS, "use_weighted_layer_sum": True}, PLAIN
    ),
    "mms-1b-all": Published(
        "wav2vec2-large", "ForCTC", {**SPOKEN, "adapter_attn_dim": 4}, MASKED, "safetensors", letters=True
    ),
    "hubert-base-ls960": Published("hubert", extractor=PLAIN),
    "distilhubert": Published("hubert", settings={"feat_proj_layer_norm": False}, extractor=PLAIN),
    "hubert-large-ls960-ft": Published("hubert-large", "ForCTC", SPOKEN, MASKED, "shards", letters=True),
    "wavlm-base-plus": Published("wavlm", extractor={"do_normalize": False, "return_attention_mask": False}),
    "wavlm-base-plus-sv": Published("wavlm", "ForXVector", SPEAKERS, RAW),
    "wavlm-base-plus-sd": Published("wavlm", "ForAudioFrameClassification", {}, RAW, "safetensors"),
    "wavlm-large": Published("wavlm-large", extractor=MASKED),
    "data2vec-audio-base": Published("data2vec-audio", extractor=PLAIN),
    "data2vec-audio-base-960h": Published("data2vec-audio", "ForCTC", SPOKEN, PLAIN, letters=True),
    "unispeech-large-1500h-cv": Published("unispeech", "ForPreTraining", CODES, MASKED),
    "unispeech-sat-base": Published("unispeech-sat", "ForPreTraining", CODES, RAW),
    "sew-tiny-100k": Published("sew", extractor=PLAIN),
    "sew-tiny-100k-ft-ls100h": Published("sew", "ForCTC", SPOKEN, PLAIN, letters=True),
    "wav2vec2-conformer-rel-pos-large": Published("wav2vec2-conformer", "ForPreTraining", CODES, MASKED, "shards"),
    "wav2vec2-conformer-rope-large-960h-ft": Published(
        "wav2vec2-conformer-rotary", "ForCTC", SPOKEN, MASKED, letters=True
    ),
    "w2v-bert-2.0": Published("wav2vec2-bert", extractor={"padding_value": 1}, weights="safetensors"),
    "whisper-tiny": Published("whisper", "ForConditionalGeneration", extractor={}, weights="safetensors shards"),
}


@cache
def published(name: str) -> tuple[Path, Any]:
    """The folder of a published checkpoint in small, which nobody may write to, and the model that it is of."""
    place = Path(PLACE.name) / name
    return place, write(place, PUBLISHED[name])


def write(place: Path, about: Published) -> Any:
    """The files of a published checkpoint, and the model that they are of."""
    place.mkdir(parents=True)
    model = make(about)
    record = {key: value for key, value in model.config.to_dict().items() if key not in RENAMED}
    record |= {**(WHISPERED if about.tiny == "whisper" else OF_THEIR_DAY), "architectures": [type(model).__name__]}
    (place / "config.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    write_weights(place, {old_name(name): tensor for name, tensor in stored(model).items()}, about.weights)
    write_extractor(place, about, model.config)
    if about.letters:
        write_letters(place, by_language="adapter_attn_dim" in about.settings)
    if "adapter_attn_dim" in about.settings:
        adapter = {name: tensor.detach().clone() + 1 for name, tensor in model._get_adapters().items()}
        save_file(adapter, place / "adapter.fra.safetensors", metadata={"format": "pt"})
        torch.save(adapter, place / "adapter.fra.bin")
    return model


def make(about: Published) -> Any:
    """The tiny model that stands for a published one."""
    if about.head != "ForConditionalGeneration":
        settings = {**about.settings, **({} if about.tiny == "whisper" else {"mask_time_prob": 0.05})}
        return tiny(about.tiny, head=about.head, **settings)
    config = tiny(about.tiny).config
    torch.manual_seed(0)
    return shaken(transformers.WhisperForConditionalGeneration(config)).eval()


def stored(model: Any) -> dict[str, torch.Tensor]:
    """The tensors as files have them: one that goes by two names is there once."""
    seen: set[int] = set()
    found = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            found[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    return found


def old_name(name: str) -> str:
    """The name that a tensor of a weight norm had before torch 2."""
    start = "parametrizations.weight.original"
    return name.replace(f"{start}0", "weight_g").replace(f"{start}1", "weight_v")


def write_weights(place: Path, tensors: dict[str, torch.Tensor], kind: str) -> None:
    """The tensors as one file or as two, of safetensors or of torch.save."""
    suffix = "safetensors" if kind.startswith("safetensors") else "bin"
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    save: Callable[[Any, Path], object] = torch.save
    if suffix == "safetensors":
        save = lambda part, path: save_file(part, path, metadata={"format": "pt"})  # noqa: E731
    elif kind == "legacy":
        save = lambda part, path: torch.save(part, path, _use_new_zipfile_serialization=False)  # noqa: E731
    if "shards" not in kind:
        save(tensors, place / f"{stem}.{suffix}")
        return
    names = list(tensors)
    shards = {
        f"{stem}-0000{number}-of-00002.{suffix}": names[number - 1 :: 2]
        for number in (1, 2)
    }  # fmt: skip
    for file, of in shards.items():
        save({name: tensors[name] for name in of}, place / file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": {name: file for file, of in shards.items() for name in of}}
    (place / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=2))


def write_extractor(place: Path, about: Published, config: Any) -> None:
    """The feature extractor's settings, as version 4 wrote them."""
    if about.extractor is None:
        return
    record: dict[str, Any] = {"padding_side": "right", "padding_value": 0.0, "sampling_rate": 16_000}
    if about.tiny == "whisper":
        bins, frames = config.num_mel_bins, 2 * config.max_source_positions
        record |= {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": bins, "hop_length": 160}
        # Thirty seconds are asked for by default; these models are of shorter audio.
        record |= {"n_fft": 400, "chunk_length": frames * 160 // 16_000, "n_samples": frames * 160}
        record |= {"nb_max_frames": frames, "processor_class": "WhisperProcessor", "return_attention_mask": False}
    elif about.tiny == "wav2vec2-bert":
        bins = config.feature_projection_input_dim // 2
        record |= {"feature_extractor_type": "SeamlessM4TFeatureExtractor", "feature_size": bins, "stride": 2}
        record |= {"num_mel_bins": bins, "return_attention_mask": True}
    else:
        record |= {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1}
    (place / "preprocessor_config.json").write_text(json.dumps(record | about.extractor, indent=2))


def write_letters(place: Path, *, by_language: bool) -> None:
    """The files of a CTC tokenizer of version 4; MMS has a vocabulary for each language."""
    vocabulary: dict[str, Any] = {"eng": LETTERS, "fra": {**LETTERS, "É": 10}} if by_language else LETTERS
    about = {
        **TOKENS,
        "do_lower_case": False,
        "word_delimiter_token": "|",
        "return_attention_mask": False,
        "do_normalize": True,
        "replace_word_delimiter_char": " ",
        "model_max_length": int(1e30),
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "special_tokens_map_file": "somewhere/else.json",
        "clean_up_tokenization_spaces": True,
        **({"target_lang": "eng"} if by_language else {}),
    }
    special = {key: {"content": token, "lstrip": False, "rstrip": False} for key, token in TOKENS.items()}
    texts = {
        "vocab.json": vocabulary,
        "tokenizer_config.json": about,
        "special_tokens_map.json": special,
        "added_tokens.json": {"<s>": 1, "</s>": 2},
    }
    for name, value in texts.items():
        (place / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


assert {about.tiny for about in PUBLISHED.values()} == set(TINY), "every family of tiny models is on the Hub"
