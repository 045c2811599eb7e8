"""The padding switch: on, off, on copies, and without a mask."""

import copy
import functools
from typing import Any

import pytest
import torch
from conftest import TINY, tiny
from torch.utils.checkpoint import checkpoint

import sottovoce as sv
from sottovoce.models.padding import Ends, MaskedGroupNorm


def padded(model: Any, length: int = 9_123, room: int = 16_000) -> tuple[torch.Tensor, torch.Tensor]:
    """A short utterance's states in a padded batch, and alone."""
    speech = torch.randn(2, room, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, room, dtype=torch.long)
    mask[1, length:] = 0
    with torch.no_grad():
        together = model(speech * mask, attention_mask=mask)[0][1]
        alone = model(speech[1:, :length])[0][0]
    return together[: len(alone)], alone


def error(model: Any) -> float:
    together, alone = padded(model)
    return float((together - alone).norm() / alone.norm())


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm", "data2vec-audio", "sew", "wav2vec2-conformer"])
def test_hugging_face_is_wrong_and_the_switch_is_right(family: str) -> None:
    model = tiny(family)
    assert error(model) > 0.05
    with sv.exact_padding(model):
        assert error(model) < 1e-5
    assert error(model) > 0.05


@pytest.mark.parametrize("family", sorted(set(TINY) - {"whisper", "wav2vec2-bert"}))
def test_nothing_changes_without_padding(family: str) -> None:
    model = tiny(family)
    inputs = sv.Anatomy(model).dummy_inputs(0.7, batch=2)
    with torch.no_grad():
        before = model(**inputs)[0]
        with sv.exact_padding(model):
            assert torch.equal(model(**inputs)[0], before)
            all_real = torch.ones_like(inputs["input_values"], dtype=torch.long)
            torch.testing.assert_close(model(**inputs, attention_mask=all_real)[0], before, rtol=1e-4, atol=1e-5)
        assert torch.equal(model(**inputs)[0], before)


def test_a_copy_switches_off_without_the_original() -> None:
    model = tiny("sew")
    sv.set_exact_padding(model)
    copied = copy.deepcopy(model)
    sv.set_exact_padding(copied, False)
    assert error(copied) > 0.05 and not sv.is_exact(copied)
    assert error(model) < 1e-5 and sv.is_exact(model)
    hooks = sum(len(module._forward_pre_hooks) for module in copied.modules())
    assert hooks == 0


def test_methods_and_saving_keep_working_with_the_switch_on(tmp_path: Any) -> None:
    model = tiny("hubert")
    sv.set_exact_padding(model)
    sv.set_exact_padding(model)
    small = sv.drop_layers(model, keep=2)
    assert error(small) < 1e-5
    sv.save(small, tmp_path / "small")
    assert not sv.is_exact(sv.load(tmp_path / "small"))


def test_ends_do_not_outlive_their_batch() -> None:
    model = tiny("hubert")
    inputs = sv.Anatomy(model).dummy_inputs(0.7, batch=2)
    with sv.exact_padding(model), torch.no_grad():
        padded(model)
        first = model(**inputs)[0]
    with torch.no_grad():
        assert torch.equal(first, model(**inputs)[0])


def test_gradients_flow_through_the_masked_norm() -> None:
    model = tiny("hubert").train()
    speech, mask = torch.randn(2, 8_000), torch.ones(2, 8_000, dtype=torch.long)
    mask[1, 5_000:] = 0
    with sv.exact_padding(model):
        model(speech, attention_mask=mask)[0].square().mean().backward()
    norm = model.feature_extractor.conv_layers[0].layer_norm
    assert norm.weight.grad is not None and norm.weight.grad.abs().sum() > 0


def test_adapters_are_refused() -> None:
    model = tiny("wav2vec2", add_adapter=True, output_hidden_size=32, num_adapter_layers=1)
    with pytest.raises(sv.SottovoceError, match="adapter"):
        sv.set_exact_padding(model)


@pytest.mark.parametrize("family", ["wav2vec2", "sew"])
def test_padding_on_the_left_and_empty_utterances_are_refused(family: str) -> None:
    model = tiny(family)
    mask = torch.ones(2, 8_000, dtype=torch.long)
    mask[0, :3_000] = 0
    with sv.exact_padding(model), pytest.raises(sv.SottovoceError, match="pad on the right"):
        model(torch.randn(2, 8_000), attention_mask=mask)
    assert torch.isfinite(model(torch.randn(2, 8_000))[0]).all()


def test_parts_used_alone_know_no_ends_of_an_earlier_batch() -> None:
    model = tiny("hubert")
    speech = torch.randn(2, 16_000)
    with torch.no_grad():
        expected = model.feature_extractor(speech)
        with sv.exact_padding(model):
            padded(model)
            assert torch.equal(model.feature_extractor(speech), expected)


def test_layerdrop_stays_with_sew() -> None:
    model = tiny("sew", layerdrop=1.0).train()
    runs: list[int] = []
    model.encoder.layers[0].register_forward_hook(lambda *_: runs.append(1))
    mask = torch.ones(2, 8_000, dtype=torch.long)
    mask[1, 5_000:] = 0
    with sv.exact_padding(model):
        model(torch.randn(2, 8_000), attention_mask=mask)
    assert runs == []


@pytest.mark.parametrize("family", ["wav2vec2", "data2vec-audio", "sew", "wav2vec2-conformer"])
def test_gradient_checkpointing_gives_the_same_gradients(family: str) -> None:
    mask = torch.ones(2, 8_000, dtype=torch.long)
    mask[1, 5_000:] = 0
    speech = torch.randn(2, 8_000, generator=torch.Generator().manual_seed(0))
    gradients = []
    off: dict[str, Any] = {
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.0,
    }
    for checkpointing in (False, True):
        model = tiny(family, **off).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            for module in model.modules():
                if hasattr(module, "gradient_checkpointing"):
                    module.gradient_checkpointing = True
                    module._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)
        with sv.exact_padding(model):
            model(speech, attention_mask=mask)[0].square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-6)


PADDED = set(TINY) - {"whisper", "wav2vec2-bert"}
LAST_PLACE = {torch.float32: 2.0**-23, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


@torch.no_grad()
@pytest.mark.parametrize("seconds", [1, 5, 60])
@pytest.mark.parametrize("dtype", LAST_PLACE, ids=str)
def test_the_masked_norm_is_as_exact_as_its_input(dtype: torch.dtype, seconds: int) -> None:
    plain, ends = torch.nn.GroupNorm(4, 4), Ends()
    time = (seconds * 16_000 - 10) // 5 + 1
    generator = torch.Generator().manual_seed(seconds)
    plain.weight.copy_(torch.randn(4, generator=generator))
    plain.bias.copy_(torch.randn(4, generator=generator))
    # As large as real front ends make it, and off zero.
    speech = (3.0 * torch.randn(2, 4, time, generator=generator) + 2.0).to(dtype)
    norm = MaskedGroupNorm(plain.to(dtype), ends, kernel=10, stride=5)
    ends.samples = torch.tensor([seconds * 16_000, seconds * 16_000 * 2 // 3])
    found = norm(speech)
    assert found.dtype == dtype
    for row, samples in enumerate(ends.samples.tolist()):
        own = speech[row, :, : (samples - 10) // 5 + 1].double()
        mean = own.mean(-1, keepdim=True)
        wanted = (own - mean) / (own.var(-1, correction=0, keepdim=True) + plain.eps).sqrt()
        wanted = wanted * plain.weight.double()[:, None] + plain.bias.double()[:, None]
        bound = 8.0 if dtype == torch.float32 else 0.5  # of the last place: its sums round, and the result once
        error = (found[row, :, : own.shape[-1]] - wanted).abs().max()
        assert error <= bound * LAST_PLACE[dtype] * wanted.abs().max()


@pytest.mark.parametrize("dtype", LAST_PLACE, ids=str)
@pytest.mark.parametrize("family", sorted(PADDED))
def test_padding_costs_no_precision_against_float64(family: str, dtype: torch.dtype) -> None:
    model = tiny(family, num_hidden_layers=2).to(dtype)
    for seconds in (1, 5):
        check_against_float64(model, seconds)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LAST_PLACE, ids=str)
@pytest.mark.parametrize("family", ["wav2vec2", "sew", "data2vec-audio"])
def test_a_minute_of_padding_costs_no_precision_either(family: str, dtype: torch.dtype) -> None:
    # Frames as sparse as those of real models, or attention takes minutes.
    sparse: dict[str, Any] = {"conv_stride": (5, 8, 8), "conv_kernel": (10, 8, 8)}
    check_against_float64(tiny(family, num_hidden_layers=1, **sparse).to(dtype), 60)


def check_against_float64(model: Any, seconds: int) -> None:
    """An utterance in a padded batch must come as close to what float64 makes of it alone as it comes alone."""
    precise, length = copy.deepcopy(model).double(), seconds * 16_000
    room = length + length // 2
    speech = torch.randn(2, room, generator=torch.Generator().manual_seed(length)).to(model.dtype)
    mask = torch.ones(2, room, dtype=torch.long)
    mask[1, length:] = 0
    with torch.no_grad():
        wanted = precise(speech[1:, :length].double())[0][0]
        alone = model(speech[1:, :length])[0][0].double()
        with sv.exact_padding(model):
            together = model(speech * mask, attention_mask=mask)[0][1, : len(wanted)].double()
    bound = 4 * LAST_PLACE[model.dtype] * wanted.norm()  # where the one comes close by luck, the other need not
    assert (together - wanted).norm() <= 1.5 * (alone - wanted).norm() + bound
