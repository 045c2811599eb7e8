"""WavLM's attention: equal to Hugging Face's, with maps of every head."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import edited
from torch.export import Dim, export
from transformers import WavLMConfig, WavLMModel

import sottovoce as sv
from sottovoce.models.record import eager
from sottovoce.models.wavlm import GatedAttention, adopt_attention


@pytest.fixture(scope="module", params=["base", "large"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    torch.manual_seed(0)
    large = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"} if request.param == "large" else {}
    theirs: Any = WavLMModel(WavLMConfig(num_hidden_layers=3, mask_time_prob=0.0, **large)).eval()
    with torch.no_grad():
        for layer in theirs.encoder.layers:
            layer.attention.gru_rel_pos_const.normal_(1.0, 0.5)
            layer.attention.gru_rel_pos_linear.weight.normal_(0.0, 0.3)
        theirs.encoder.layers[0].attention.rel_attn_embed.weight.normal_(0.0, 0.5)
    ours = copy.deepcopy(theirs)
    adopt_attention(ours)
    return theirs, ours


def test_equals_hugging_face(pair: tuple[Any, Any]) -> None:
    speech = torch.randn(2, 20_000)
    with torch.no_grad():
        theirs, ours = (model(speech)[0] for model in pair)
        with eager(pair[1]):
            plain = pair[1](speech)[0]
    assert (theirs - ours).abs().max() < 1e-5
    assert (theirs - plain).abs().max() < 1e-5


def test_equals_hugging_face_on_a_padded_batch(pair: tuple[Any, Any]) -> None:
    speech = torch.randn(3, 20_000)
    mask = torch.ones(3, 20_000, dtype=torch.long)
    mask[1, 11_000:], mask[2, 4_000:] = 0, 0
    with torch.no_grad():
        theirs, ours = (model(speech, attention_mask=mask)[0] for model in pair)
    for index, length in enumerate(sv.Anatomy(pair[0]).frames(int(n)) for n in mask.sum(1)):
        assert (theirs[index, :length] - ours[index, :length]).abs().max() < 1e-5


def test_gradients_equal_hugging_face(pair: tuple[Any, Any]) -> None:
    speech = torch.randn(1, 6_000)
    for model in pair:
        model.zero_grad()
        model(speech)[0].square().mean().backward()
    theirs = dict(pair[0].named_parameters())
    for name, parameter in pair[1].named_parameters():
        if theirs[name].grad is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-6, msg=name)


def test_names_and_tensors_stay(pair: tuple[Any, Any]) -> None:
    theirs, ours = pair
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert all(isinstance(layer.attention, GatedAttention) for layer in ours.encoder.layers)


def test_maps_are_of_every_head(pair: tuple[Any, Any]) -> None:
    speech = torch.randn(1, 8_000)
    with torch.no_grad():
        seen = sv.states(pair[1], attention=True, input_values=speech)
        averaged = pair[0](speech, output_attentions=True).attentions
    for ours, theirs in zip(seen.attention, averaged, strict=True):
        torch.testing.assert_close(ours.sum(-1), torch.ones_like(ours.sum(-1)))
        # Hugging Face repeats the mean over heads for each head.
        torch.testing.assert_close(ours.mean(1), theirs[:, 0], rtol=1e-4, atol=1e-6)
        assert (ours[:, 0] - ours[:, 1]).abs().max() > 1e-4


def test_buckets_by_distance_equal_buckets_by_pair(pair: tuple[Any, Any]) -> None:
    attention = pair[1].encoder.layers[0].attention
    with torch.no_grad():
        for time in (1, 2, 37):
            assert torch.equal(attention.position_bias(time), attention.compute_bias(time, time))


def test_a_model_that_hugging_face_loaded_can_be_cut_and_saved(folder: Path) -> None:
    def theirs() -> Any:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "intermediate_size": 16,
            "conv_dim": [8] * 7,
        }
        return WavLMModel(WavLMConfig(**sizes)).eval()

    model = theirs()
    kinds = [type(module) for module in model.modules()]
    sv.save(model, folder)
    assert kinds == [type(module) for module in model.modules()]
    for cut in (lambda m: sv.edits.keep_heads(m, 1, [0, 2]), lambda m: sv.keep_hidden(m, range(24))):
        model = theirs()
        cut(model)
        assert sv.load(sv.save(model, folder, overwrite=True)) is not None


@pytest.mark.parametrize("edit", ["nothing", "everything"])
@pytest.mark.parametrize("masked", [False, True])
def test_exports_with_any_batch_and_length(edit: str, masked: bool) -> None:
    """What torch's ONNX exporter of today begins with."""
    model = edited("wavlm-large", edit)

    def inputs(batch: int, samples: int) -> dict[str, torch.Tensor]:
        lengths = torch.linspace(samples // 2, samples, batch).round()
        mask = (torch.arange(samples)[None] < lengths[:, None]).long()
        return {"input_values": torch.randn(batch, samples), **({"attention_mask": mask} if masked else {})}

    first = inputs(2, 8_000)
    free = {0: Dim("batch", min=1, max=64), 1: Dim("samples", min=2_000, max=160_000)}
    program = export(model, (), first, dynamic_shapes=dict.fromkeys(first, free), strict=False).module()
    for batch, samples in ((2, 8_000), (3, 12_345), (1, 9_001)):
        given = inputs(batch, samples)
        with torch.no_grad():
            torch.testing.assert_close(program(**given)[0], model(**given)[0], rtol=1e-5, atol=1e-6)
