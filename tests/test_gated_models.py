"""Gates at work in models: what is computed against a pass by hand, the plain model, and the model that is cut."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import edited, tiny
from test_gates import KINDS, head_of, kinds_of, shuffled
from torch import nn
from torch.nn import functional as F

import sottovoce as sv
from sottovoce.gates.cutting import cut
from sottovoce.gates.hooks import OpenNorm, gated
from sottovoce.gates.units import Vector, sites_of, sort_head_dims
from sottovoce.gates.vectors import Gates, Values
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.padding import exact_padding
from sottovoce.training.loop import checkpointed

STILL: dict[str, Any] = dict.fromkeys(
    ["hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout"], 0.0
)


def heard(model: Any) -> Any:
    """Inputs without and, for who looks at it, with padding."""
    body = Anatomy(model)
    inputs = body.dummy_inputs(0.6, batch=2)
    if body.family.mel_input:
        return [inputs]
    mask = torch.ones(next(iter(inputs.values())).shape[:2], dtype=torch.long)
    mask[1, 3 * mask.shape[1] // 5 :] = 0
    return [inputs, {**inputs, "attention_mask": mask}]


def near(found: torch.Tensor, wanted: torch.Tensor, within: float = 1e-5) -> None:
    assert found.shape == wanted.shape and torch.isfinite(found).all()
    assert float((found - wanted).abs().max()) <= within * float(wanted.abs().max())


def check_cut(model: Any, kinds: Sequence[str], seed: int = 3) -> None:
    """The gated model in evaluation mode says what the cut one says, and so do all of its states."""
    sites, body = sites_of(model, kinds), Anatomy(model)
    gates, order, first = shuffled(sites, seed).eval(), body.order, body.norms_first
    with torch.no_grad(), gated(model, sites, gates):
        gates.refresh()
        wanted = [sv.states(model, **inputs) for inputs in heard(model)]
    opened = gates.opened()
    stays = opened.get(Vector("layers"), torch.ones(len(order), dtype=torch.bool)).tolist()
    units = opened.get(Vector("hidden"), torch.ones(wanted[0].hidden[0].shape[-1], dtype=torch.bool))
    steps = [0, *(step + 1 for step, layer in enumerate(order) if stays[layer] or not first)]
    cut(model, sites, gates)
    with torch.no_grad():
        found = [sv.states(model, **inputs) for inputs in heard(model)]
    for small, whole in zip(found, wanted, strict=True):
        for state, step in zip(small.hidden, steps, strict=True):
            near(state, whole.hidden[step][..., units])
            assert not whole.hidden[step][..., ~units].any()
        output = whole.output[0]
        near(small.output[0], output if output.shape == small.output[0].shape else output[..., units])


def test_a_gated_model_computes_what_the_cut_one_does(family: str) -> None:
    whole, kinds = tiny(family, head=head_of(family)).eval(), kinds_of(family)
    for number, chosen in enumerate([*([kind] for kind in kinds), kinds]):
        check_cut(copy.deepcopy(whole), chosen, number)


@pytest.mark.parametrize(
    "edit", ["keep_heads", "no_heads", "keep_head_dims", "factor", "use_log_mel", "set_order", "everything"]
)
@pytest.mark.parametrize("family", ["hubert", "wavlm-large", "data2vec-audio"])
def test_models_that_are_irregular_already_are_gated_as_exactly(family: str, edit: str) -> None:
    kinds = [kind for kind in KINDS if kind != "conv" or edit != "use_log_mel"]
    for chosen in (kinds, kinds[:-1]):
        check_cut(edited(family, edit).eval(), chosen)


@pytest.mark.parametrize("family", ["hubert", "hubert-large", "wavlm-large"])
def test_a_head_that_weighs_all_states_is_followed(family: str) -> None:
    model = tiny(family, head="ForSequenceClassification", use_weighted_layer_sum=True).eval()
    with torch.no_grad():
        model.layer_weights.copy_(torch.randn(5, generator=torch.Generator().manual_seed(0)))
    for chosen in (["hidden"], ["layers"], KINDS):
        check_cut(copy.deepcopy(model), chosen, seed=0)  # in which the last layer stays


def test_wavlm_as_hugging_face_makes_it() -> None:
    check_cut(transformers.WavLMModel(tiny("wavlm").config).eval(), ["heads", "hidden"])


@pytest.mark.parametrize("family", ["hubert", "sew", "wavlm-large"])
def test_exact_padding_goes_with_gates(family: str) -> None:
    with exact_padding(model := tiny(family).eval()):
        check_cut(model, KINDS)


@pytest.mark.parametrize("edit", ["nothing", "keep_heads", "factor"])
@pytest.mark.parametrize("family", ["hubert", "wavlm-large", "data2vec-audio"])
def test_dimensions_of_heads_are_sorted_by_what_they_weigh(family: str, edit: str) -> None:
    model = edited(family, edit).eval()
    with torch.no_grad():
        wanted = model(**heard(model)[1])[0]
        sort_head_dims(model)
        near(model(**heard(model)[1])[0], wanted)
    body = Anatomy(model)
    for layer in range(4):
        parts = ("query", "key", "value", "output")
        q, k, v, out = (body.linear(layer, part).weight.detach().double() for part in parts)
        for head in range(body.heads(layer)):
            rows = range(8 * head, 8 * head + 8)
            weights = [float(q[r].norm() * k[r].norm() + v[r].norm() * out[:, r].norm()) for r in rows]
            assert all(first >= second * (1 - 1e-5) for first, second in zip(weights, weights[1:], strict=False))


def test_the_pretraining_head_is_followed() -> None:
    model = transformers.Wav2Vec2ForPreTraining(tiny("wav2vec2", num_codevectors_per_group=4).config).eval()
    sites = sites_of(model, ["conv", "heads", "ffn"])
    gates, inputs = shuffled(sites).eval(), heard(model)[0]
    taken: list[torch.Tensor] = []
    read: list[torch.Tensor] = []
    weigh = model.quantizer.weight_proj

    def note(module: nn.Module, args: Any, result: torch.Tensor) -> None:
        read.append(args[0])
        taken.append(result)

    handle = weigh.register_forward_hook(note)
    with torch.no_grad(), gated(model, sites, gates):
        gates.refresh()
        wanted = model(**inputs).projected_states
    with torch.no_grad():
        near(taken[0], (read[0] * gates.now[Vector("conv", 2)].value) @ weigh.weight.T + weigh.bias)
    cut(model, sites, gates)
    with torch.no_grad():
        near(model(**inputs).projected_states, wanted)
    handle.remove()
    near(taken[1], taken[0])


def by_hand(model: Any, audio: torch.Tensor, z: dict[Vector, torch.Tensor]) -> list[torch.Tensor]:
    """A post-norm model's states in double precision, with gates on what units put out, as in the papers' text."""
    whole, d = copy.deepcopy(model).double(), {name: p.detach().double() for name, p in model.named_parameters()}

    def norm(x: torch.Tensor, path: str) -> torch.Tensor:
        off = x - x.mean(-1, keepdim=True)
        return off / (off.square().mean(-1, keepdim=True) + 1e-5).sqrt() * d[f"{path}.weight"] + d[f"{path}.bias"]

    def linear(x: torch.Tensor, path: str) -> torch.Tensor:
        return x @ d[f"{path}.weight"].T + d[f"{path}.bias"]

    x = audio.double()[:, None]
    for index, stride in enumerate((5, 4, 4)):
        x = F.conv1d(x, d[f"feature_extractor.conv_layers.{index}.conv.weight"], stride=stride)
        if index == 0:
            off, path = x - x.mean(-1, keepdim=True), "feature_extractor.conv_layers.0.layer_norm"
            x = off / (off.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            x = x * d[f"{path}.weight"][:, None] + d[f"{path}.bias"][:, None]
        x = F.gelu(x)
        x = x * z[Vector("conv", index)][:, None] if index < 2 else x
    gate, path = z[Vector("conv", 2)], "feature_projection.layer_norm"
    stay = gate > 0  # the norm behind the last convolution is over the channels that are open, and its output is gated
    off = x.transpose(1, 2)[..., stay]
    off = off - off.mean(-1, keepdim=True)
    scaled = off / (off.square().mean(-1, keepdim=True) + 1e-5).sqrt() * d[f"{path}.weight"][stay]
    x = ((scaled + d[f"{path}.bias"][stay]) * gate[stay]) @ d["feature_projection.projection.weight"].T[stay]
    x = x + d["feature_projection.projection.bias"]
    x = norm(x + whole.encoder.pos_conv_embed(x), "encoder.layer_norm")
    states = [x]
    for layer in range(4):
        path, place = f"encoder.layers.{layer}", z[Vector("layers")][layer]
        q, k, v = (linear(x, f"{path}.attention.{name}_proj").unflatten(-1, (4, 8)).transpose(1, 2) for name in "qkv")
        q, v = q * z[Vector("dims", layer)], v * z[Vector("dims", layer)]
        heads = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(8), dim=-1) @ v
        heads = (heads * z[Vector("heads", layer)][:, None, None]).transpose(1, 2).flatten(2)
        x = norm(x + place * linear(heads, f"{path}.attention.out_proj"), f"{path}.layer_norm")
        inner = F.gelu(linear(x, f"{path}.feed_forward.intermediate_dense")) * z[Vector("ffn", layer)]
        x = norm(x + place * linear(inner, f"{path}.feed_forward.output_dense"), f"{path}.final_layer_norm")
        states.append(x)
    return states


@pytest.mark.parametrize("training", [True, False])
def test_gates_do_what_a_pass_by_hand_does(training: bool) -> None:
    """Layers too: one that is closed adds nothing, and its norms stay."""
    model = tiny("wav2vec2", **STILL).train(training)
    sites = sites_of(model, ["conv", "heads", "dims", "ffn", "layers"])
    gates = shuffled(sites, seed=2).train(training)
    inputs: Any = Anatomy(model).dummy_inputs(0.6, batch=2)
    gates.vectors["layers_0_0"].log_alpha.data = torch.tensor([0.5, -4.0, 3.0, 0.0])
    with torch.no_grad(), gated(model, sites, gates):
        gates.refresh()
        found = sv.states(model, **inputs).hidden
        z = {vector: values.value.double() for vector, values in gates.now.items()}
    assert any(0 < float(value) < 1 for values in z.values() for value in values)
    assert training or set(z[Vector("layers")].tolist()) == {0.0, 1.0}, "layers end open or closed"
    with torch.no_grad():
        wanted = by_hand(model, inputs["input_values"], z)
    for state, own in zip(found, wanted, strict=True):
        near(state.double(), own)
    if not training:
        cut(model, sites, gates)
        with torch.no_grad():
            near(model(**inputs)[0].double(), wanted[-1])
        assert len(model.encoder.layers) == 4


@pytest.mark.parametrize("family", ["hubert", "hubert-large", "data2vec-audio", "sew"])
def test_the_hidden_state_is_scaled_where_norms_write_it(family: str) -> None:
    """With all units open: what is added to it stays as it is, as sums between layers are of any size."""
    model = tiny(family).eval()
    sites = sites_of(model, ["hidden"])
    gates, inputs = Gates(sites, seed=0).eval(), heard(model)[1]
    with torch.no_grad():
        gates.get_parameter("vectors.hidden_0_0.log_alpha").copy_(torch.linspace(4, 5, 32))
        with gated(model, sites, gates):
            gates.refresh()
            found, z = model(**inputs)[0], gates.now[Vector("hidden")].value
        assert float(z.max()) < 1
        for name, parameter in model.named_parameters():
            path, by = name.rpartition(".")[0], z[:, None] if parameter.dim() == 2 else z
            if path.startswith("encoder.upsample"):
                parameter.copy_((parameter.unflatten(0, (2, 32)) * by).flatten(0, 1))
            elif path in ("feature_projection", "feature_projection.projection") or (
                path.startswith("encoder.") and path.endswith("layer_norm")
            ):
                parameter.mul_(by)
        near(found, model(**inputs)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("opened", [[1, 4, 6], [0], [], list(range(8))])
def test_a_norm_over_open_units_is_one_of_a_narrower_model(opened: list[int], dtype: torch.dtype) -> None:
    norm = nn.LayerNorm(8).to(dtype)
    mask = torch.zeros(8).index_fill(0, torch.tensor(opened, dtype=torch.long), 1.0)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, 8))
        norm.bias.copy_(torch.linspace(-1, 1, 8))
    gates: Any = nn.Module()
    gates.now = {Vector("hidden"): Values(mask, mask, float(mask.mean()))}
    states = (3000 * torch.randn(5, 8, generator=torch.Generator().manual_seed(0))).to(dtype)
    with torch.no_grad():
        found = OpenNorm(norm, gates, Vector("hidden"))(states)
    wanted = torch.zeros(5, 8, dtype=torch.float64)
    for row in range(5 if opened else 0):
        numbers = states[row, opened].double()
        mean, variance = numbers.mean(), numbers.var(correction=0)
        for unit, number in zip(opened, numbers, strict=True):
            standard = (number - mean) / (variance + norm.eps).sqrt()
            wanted[row, unit] = standard * norm.weight[unit].double() + norm.bias[unit].double()
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=8 * torch.finfo(dtype).eps, atol=8 * torch.finfo(dtype).eps)


def test_open_gates_change_nothing_and_nothing_is_left_of_them(family: str) -> None:
    model = tiny(family)
    sites, inputs = sites_of(model, kinds_of(family)), Anatomy(model).dummy_inputs(0.6, batch=2)
    gates = shuffled(sites)

    def traces() -> list[Any]:
        modules = list(model.modules())
        hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in modules]
        return [hooks, [sorted(vars(module)) for module in modules]]

    def said() -> torch.Tensor:
        torch.manual_seed(0)
        return model(**inputs)[0]

    def stop(error: type[BaseException]) -> Callable[..., None]:
        def hook(*given: Any) -> None:
            raise error

        return hook

    with torch.no_grad():
        before, plain = traces(), said()
        for error in (ValueError, KeyboardInterrupt):
            handle = Anatomy(model).feed_forward(1)[1].register_forward_hook(stop(error))
            with pytest.raises(error), gated(model, sites, gates):
                gates.refresh()
                said()
            handle.remove()
            assert traces() == before and torch.equal(said(), plain)
        for parameter in gates.parameters():
            parameter.fill_(60.0)
        with gated(model, sites, gates):
            gates.refresh()
            assert torch.equal(said(), plain), "in training mode"
        assert traces() == before and torch.equal(said(), plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["hubert", "hubert-large", "wavlm-large"])
def test_half_precision_holds(family: str, dtype: torch.dtype) -> None:
    model = tiny(family, **STILL).eval()
    with torch.no_grad():  # states whose squares float16 does not hold
        Anatomy(model).projection.weight.mul_(3000)
    sites = sites_of(model.to(dtype), KINDS)
    gates, inputs = shuffled(sites).eval(), heard(model)[0]
    with torch.no_grad(), gated(model, sites, gates):
        gates.refresh()
        wanted = sv.states(model, **inputs)
        for step in range(4):
            gates.train().draw(step)
            gates.refresh()
            assert torch.isfinite(model(**inputs)[0]).all()
    assert float(max(state.abs().max() for state in wanted.hidden)) > (300 if "large" in family else 1)
    cut(model, sites, gates)
    with torch.no_grad():
        found, units = model(**inputs)[0].float(), gates.opened()[Vector("hidden")]
    assert float((found - wanted.output[0].float()[..., units]).abs().max()) < 0.1 * float(found.abs().max())


@pytest.mark.parametrize("family", ["hubert", "hubert-large", "wavlm"])
def test_gradients_are_those_without_checkpoints(family: str) -> None:
    model, found = tiny(family, **STILL).train(), []
    sites = sites_of(model, KINDS)
    gates = shuffled(sites)
    inputs = Anatomy(model).dummy_inputs(0.6, batch=2)
    with gated(model, sites, gates):
        for on in (False, True):
            with checkpointed(model, on):
                gates.refresh()
                model(**inputs)[0].square().sum().backward()
            tensors = [*model.parameters(), *gates.parameters()]
            found.append([None if tensor.grad is None else tensor.grad.clone() for tensor in tensors])
            model.zero_grad()
            gates.zero_grad()
    assert not any({"weight", "bias"} & vars(module).keys() for module in model.modules())
    for first, second in zip(*found, strict=True):
        assert (first is None) == (second is None)
        if first is not None and second is not None:
            torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    learning = zip(gates.sizes, found[0][-len(gates.sizes) :], strict=True)
    assert {vector.kind for vector, grad in learning if grad is not None and grad.any()} == set(KINDS)


@pytest.mark.parametrize("family", ["hubert", "hubert-large", "wavlm"])
def test_a_cut_model_is_an_ordinary_one(family: str, folder: Path) -> None:
    model = tiny(family, head="ForCTC").eval()
    check_cut(irregular := copy.deepcopy(model), KINDS)
    sv.save(irregular, folder / "a")
    inputs = heard(model)[1]
    with torch.no_grad():
        assert torch.equal(sv.load(folder / "a")(**inputs).logits, irregular(**inputs).logits)
    sites = sites_of(model, ["conv", "ffn"])
    gates = shuffled(sites)
    gates.chosen = {v: torch.arange(size) % 3 > 0 for v, size in sites.sizes.items()}  # as many in each layer
    cut(model, sites, gates)
    sv.save(model, folder / "b")
    plain = getattr(transformers, type(model).__name__).from_pretrained(folder / "b").eval()
    with torch.no_grad():
        near(plain(**inputs).logits, model(**inputs).logits)
    assert plain.config.conv_dim == [8, 6, 10] and plain.config.intermediate_size == 32
