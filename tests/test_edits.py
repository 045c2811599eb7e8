"""What an edit leaves computes as before: each cut equals the same thing set to zero."""

import copy
from typing import Any

import pytest
import torch
from conftest import EDITS, TINY, edited, tiny
from torch import nn

import sottovoce as sv
from sottovoce import edits
from sottovoce.models.differences import differences
from sottovoce.models.parts import Factored, GroupedConv, Repeated

FAMILIES = sorted(TINY)
SETTINGS: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


def run(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**sv.Anatomy(model).dummy_inputs(0.6, batch=2, seed=5))[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kept", [[0, 3], [2], []])
def test_a_removed_head_is_a_head_whose_output_is_zero(family: str, kept: list[int]) -> None:
    model = tiny(family)
    body = sv.Anatomy(model)
    zeroed = copy.deepcopy(model)
    width = body.head_dim
    with torch.no_grad():
        for head in set(range(4)) - set(kept):
            sv.Anatomy(zeroed).linear(1, "output").weight[:, head * width : (head + 1) * width] = 0
    edits.keep_heads(model, 1, kept)
    assert sv.Anatomy(model).heads(1) == len(kept)
    torch.testing.assert_close(run(model), run(zeroed), **SETTINGS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_removed_inner_unit_is_a_unit_whose_output_is_zero(family: str) -> None:
    model = tiny(family)
    zeroed = copy.deepcopy(model)
    last = len(sv.Anatomy(model).family.feed_forwards) - 1
    with torch.no_grad():
        sv.Anatomy(zeroed).feed_forward(2, last)[1].weight[:, 10:] = 0
    edits.keep_feed_forward(model, 2, range(10), which=last)
    torch.testing.assert_close(run(model), run(zeroed), **SETTINGS)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "sew", "unispeech"])
def test_a_removed_channel_is_a_channel_that_nothing_reads(family: str) -> None:
    model = tiny(family)
    zeroed = copy.deepcopy(model)
    with torch.no_grad():
        sv.Anatomy(zeroed).convs[1].weight[:, [0, 4, 5]] = 0
    edits.keep_channels(model, 0, [unit for unit in range(12) if unit not in (0, 4, 5)])
    assert model.config.conv_dim[0] == 9
    torch.testing.assert_close(run(model), run(zeroed), **SETTINGS)


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm-large", "data2vec-audio", "sew", "unispeech-sat"])
def test_narrowing_keeps_exactly_the_chosen_units_of_every_tensor(family: str) -> None:
    """Norms work on fewer units, so the reference is the weights themselves, cut one by one."""
    model = tiny(family, head="ForCTC")
    kept = [0, 1, 2, 7, 8, 13, 20, 31]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    convs: dict[str, Any] = dict(sv.Anatomy(model).positional_convs())
    positional = {path: conv.weight.detach().clone() for path, conv in convs.items()}
    sv.keep_hidden(model, kept)
    after = model.state_dict()
    for name in ("lm_head.weight", *(n for n in after if "q_proj.weight" in n or "intermediate_dense.weight" in n)):
        assert torch.equal(after[name], before[name][:, kept]), name
    for name in (n for n in after if "out_proj" in n or "output_dense" in n or "encoder.layers.1.layer_norm" in n):
        assert torch.equal(after[name], before[name][kept]), name
    for path, conv in sv.Anatomy(model).positional_convs():
        assert isinstance(conv, GroupedConv)
        for rows, piece in zip([[0, 1, 2, 7], [8, 13], [20], [31]], conv.groups, strict=True):
            inside = [unit % 8 for unit in rows]
            torch.testing.assert_close(piece.weight, positional[path][rows][:, inside])
    assert model.config.hidden_size == 8
    assert run(model).isfinite().all()


def test_narrowed_wavlm_gates_read_what_is_left_of_each_slice() -> None:
    model = tiny("wavlm")
    attention: Any = sv.Anatomy(model).attention(1)
    kept = [unit for unit in range(32) if unit % 3]
    whole = torch.randn(1, 9, 32)
    without = whole.clone()
    without[..., [unit for unit in range(32) if unit % 3 == 0]] = 0
    wanted = attention.gate(without)
    sv.keep_hidden(model, kept)
    torch.testing.assert_close(attention.gate(whole[..., kept]), wanted)


def test_narrowing_twice_is_narrowing_once() -> None:
    twice, once = tiny("wavlm"), tiny("wavlm")
    EDITS["keep_hidden"](twice)
    first = [unit for unit in range(32) if unit % 5]
    sv.keep_hidden(once, [first[unit] for unit in range(25) if unit % 7])
    assert twice.state_dict().keys() == once.state_dict().keys()
    torch.testing.assert_close(run(twice), run(once))


@pytest.mark.parametrize("family", FAMILIES)
def test_order_says_what_runs(family: str) -> None:
    model = tiny(family)
    layers = [sv.Anatomy(model).layers[index] for index in range(4)]
    edits.set_order(model, [2, 0, 0, 3])
    body = sv.Anatomy(model)
    assert [*body.layers] == [layers[2], layers[0], layers[0], layers[3]]
    assert isinstance(body.layers, Repeated) and len(body.layers) == 3 and body.order == (0, 1, 1, 2)
    assert body.setting("num_hidden_layers") == 4
    edits.keep_layers(model, [1, 3])
    assert [*sv.Anatomy(model).layers] == [layers[0], layers[3]]
    assert not isinstance(sv.Anatomy(model).layers, Repeated)


def test_dropping_wavlms_first_layer_hands_its_position_bias_on() -> None:
    model = tiny("wavlm")
    table = sv.Anatomy(model).attention(0).rel_attn_embed
    edits.keep_layers(model, [2, 3])
    assert sv.Anatomy(model).attention(0).rel_attn_embed is table
    assert not hasattr(sv.Anatomy(model).attention(1), "rel_attn_embed")


def test_heads_that_weigh_layers_follow_the_layers() -> None:
    model = tiny("hubert", head="ForSequenceClassification", use_weighted_layer_sum=True)
    with torch.no_grad():
        model.layer_weights.copy_(torch.arange(5.0))
    edits.keep_layers(model, [1, 3])
    assert model.layer_weights.tolist() == [0.0, 2.0, 4.0]
    edits.set_order(model, [0, 0, 1])
    assert model.layer_weights.tolist() == [0.0, 2.0, 2.0, 4.0]
    assert run(model).shape == (2, 2)


def test_full_rank_is_the_same_map_and_lower_rank_the_nearest() -> None:
    model, path = tiny("hubert"), "encoder.layers.0.feed_forward.intermediate_dense"
    weight = model.get_submodule(path).weight.detach().clone()
    expected = run(model)
    whole = copy.deepcopy(model)
    edits.factor(whole, path, 32)
    torch.testing.assert_close(run(whole), expected, **SETTINGS)
    edits.factor(model, path, 5)
    pair = model.get_submodule(path)
    assert isinstance(pair, Factored) and pair.rank == 5
    values = torch.linalg.svdvals(weight.double())
    error = float((pair.weight.detach().double() - weight.double()).square().sum())
    assert error == pytest.approx(float(values[5:].square().sum()), rel=1e-5)


def test_log_mel_has_kaldis_numbers() -> None:
    """The filter bank against the definition, one frame and one bin at a time, in float64."""
    front = sv.Anatomy(sv.new("melhubert", num_hidden_layers=1)).base.feature_extractor
    wave = torch.randn(1, 1_000, generator=torch.Generator().manual_seed(0)) * 0.1
    features = front(wave)[0]
    assert features.shape == (80, 2)
    samples = wave[0].double() * 2**15

    def mel(hertz: float) -> float:
        return 1127.0 * float(torch.log1p(torch.tensor(hertz / 700.0, dtype=torch.float64)))

    for frame in range(4):
        piece = samples[160 * frame : 160 * frame + 400]
        piece = piece - piece.mean()
        emphasised = torch.stack([piece[i] - 0.97 * piece[max(i - 1, 0)] for i in range(400)])
        steps = torch.arange(400, dtype=torch.float64)
        windowed = emphasised * (0.54 - 0.46 * torch.cos(2 * torch.pi * steps / 399))
        power = torch.fft.fft(windowed, n=512).abs() ** 2
        edges = [mel(20.0) + (mel(8000.0) - mel(20.0)) * i / 41 for i in range(42)]
        for band in range(40):
            low, center, high = edges[band : band + 3]
            energy = 0.0
            for bin_number in range(257):
                here = mel(bin_number * 16_000 / 512)
                slope = (here - low) / (center - low) if here <= center else (high - here) / (high - center)
                energy += max(0.0, slope) * float(power[bin_number])
            expected = torch.tensor(max(energy, 1.1920929e-07)).log().item()
            assert features[40 * (frame % 2) + band, frame // 2].item() == pytest.approx(expected, abs=2e-3)


def test_weight_norm_folds_without_breaking_the_original() -> None:
    model = tiny("hubert")
    expected = run(model)
    folded = copy.deepcopy(model)
    sv.fold_weight_norm(folded)
    conv = next(conv for _, conv in sv.Anatomy(folded).positional_convs())
    assert type(conv) is nn.Conv1d and conv.weight.requires_grad and conv.weight.is_leaf
    assert torch.equal(run(folded), expected) and torch.equal(run(model), expected)
    model.train()(**sv.Anatomy(model).dummy_inputs(0.5))[0].sum().backward()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: edits.keep_layers(m, [0, 4]), "there is no layer 4: this model has 4; give 0-3"),
        (lambda m: edits.keep_layers(m, [0, 0]), "name one twice"),
        (lambda m: edits.keep_heads(m, 0, [4]), "there is no head 4: this model has 4"),
        (lambda m: edits.keep_heads(m, 9, [0]), "there is no layer 9"),
        (lambda m: edits.keep_feed_forward(m, 0, [48]), "there is no feed-forward unit 48"),
        (lambda m: edits.keep_channels(m, 3, [0]), "there is no convolution 3"),
        (lambda m: edits.keep_channels(m, 0, []), "keep at least 1"),
        (lambda m: sv.keep_hidden(m, []), "keep at least 1"),
        (lambda m: edits.factor(m, "encoder.layer", 4), "is not a Linear of this model"),
        (lambda m: edits.factor(m, "encoder.layers.0.attention.q_proj", 33), "full rank 32; give 1-32"),
        (lambda m: edits.zero_weights(m, {"x": torch.ones(1)}), "no parameter 'x'"),
        (lambda m: edits.zero_weights(m, {"masked": torch.ones(1)}), "no parameter 'masked'"),
        (lambda m: edits.apply_times(m, 0), "once or more; give 1 or more"),
        (lambda m: edits.keep_layers(m, []), "none of 4 layers would be left; keep at least one"),
        (lambda m: edits.use_mimic(m, layers=3), "give 0, 1 or 2 layers"),
        (lambda m: edits.use_log_mel(m, bins=0), "give 1 or more"),
    ],
)
def test_wrong_edits_say_what_is_wrong_and_change_nothing(call: Any, message: str) -> None:
    model = tiny("hubert")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(sv.SottovoceError, match=message.replace("(", r"\(")):
        call(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def saved_and_back(model: Any, place: Any) -> Any:
    """Saving checks that it computes the same."""
    return sv.load(sv.save(model, place))


@pytest.mark.parametrize(
    "then",
    [
        lambda m: edits.keep_heads(m, 0, [1]),
        lambda m: edits.keep_heads(m, 0, []),
        lambda m: edits.keep_feed_forward(m, 0, range(5)),
        lambda m: edits.keep_feed_forward(m, 0, []),
        lambda m: sv.keep_hidden(m, range(8)),
        lambda m: edits.use_log_mel(m, bins=6),
    ],
)
def test_cuts_below_the_rank_of_a_factored_part(then: Any, folder: Any) -> None:
    model = tiny("hubert")
    for part in ("attention.q_proj", "attention.out_proj", "feed_forward.output_dense"):
        edits.factor(model, f"encoder.layers.0.{part}", 20)
    edits.factor(model, "feature_projection.projection", 9)
    then(model)
    assert saved_and_back(model, folder).encoder.layers[0].attention.q_proj.rank == 20


def test_a_mimic_behind_a_narrow_projection(folder: Any) -> None:
    model = tiny("wav2vec2")
    sv.keep_hidden(model, range(24))
    edits.use_mimic(model, width=16)
    assert sv.Anatomy(saved_and_back(model, folder)).mimics


def test_sew_never_gets_as_narrow_as_to_lose_its_projection() -> None:
    model = tiny("sew", conv_dim=(12, 10, 40))
    with pytest.raises(sv.SottovoceError, match="equal SEW's hidden size"):
        edits.keep_channels(model, 2, range(32))
    with pytest.raises(sv.SottovoceError, match="equal SEW's hidden size"):
        edits.use_log_mel(model, bins=16)
    sv.keep_hidden(model, range(24))
    with pytest.raises(sv.SottovoceError, match="equal SEW's hidden size"):
        edits.keep_channels(model, 2, range(32))


@pytest.mark.parametrize("family", ["wav2vec2", "unispeech", "unispeech-sat", "wav2vec2-conformer"])
def test_a_quantiser_loses_the_columns_of_channels_only_if_it_reads_them(family: str, folder: Any) -> None:
    model = tiny(family, head="ForPreTraining")
    edits.keep_channels(model, 2, range(5))
    read = 32 if family == "unispeech-sat" else 5
    assert saved_and_back(model, folder).quantizer.weight_proj.weight.shape[1] == read


def test_a_batch_norm_is_refused_before_anything_is_cut() -> None:
    model = tiny("hubert", conv_pos_batch_norm=True)
    expected = run(model)
    with pytest.raises(sv.SottovoceError, match="batch norm"):
        sv.keep_hidden(model, range(24))
    assert torch.equal(run(model), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_log_mel_in_other_precisions(dtype: torch.dtype, folder: Any) -> None:
    model = tiny("hubert").to(dtype)
    edits.use_log_mel(model)
    assert {tensor.dtype for tensor in saved_and_back(model, folder).state_dict().values()} == {dtype}


def test_an_adapter_keeps_its_width(folder: Any) -> None:
    model = tiny("wav2vec2-bert", add_adapter=True, num_adapter_layers=1, output_hidden_size=32)
    EDITS["uniform_feed_forward"](model)
    assert model.config.intermediate_size == 48
    assert sv.Anatomy(saved_and_back(model, folder)).feed_forward_width(0) == 16


def test_shared_parameters_are_refused_in_a_sentence(folder: Any) -> None:
    model = tiny("hubert")
    model.encoder.layers[1].attention.q_proj = model.encoder.layers[0].attention.q_proj
    with pytest.raises(sv.SottovoceError, match="cannot be saved as tensors by name"):
        sv.save(model, folder)
    assert not folder.exists()


def test_a_mimic_has_no_layers_to_reorder() -> None:
    """Its Structure has no order, so what was reordered would come back as it was before."""
    model = edited("hubert", "mimic_linear")
    for change in (lambda: edits.apply_times(model, 3), lambda: edits.keep_layers(model, [0])):
        with pytest.raises(sv.SottovoceError, match="mimic layers stand where"):
            change()


NO_SHAPE = {"nothing", "zero_weights", "fold_weight_norm"}


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_what_went_is_told(edit: str) -> None:
    """A line a kind of part for every edit that changes a shape, and nothing for the others."""
    model = tiny("hubert")
    made = copy.deepcopy(model)
    EDITS[edit](made)
    found = differences(model, made)
    assert bool(found) == (edit not in NO_SHAPE), found
    assert differences(made, copy.deepcopy(made)) == []
    assert len({line.partition(":")[0] for line in found}) == len(found)


def test_what_went_is_told_in_numbers() -> None:
    model = tiny("hubert")
    made = copy.deepcopy(model)
    edits.keep_layers(made, [0, 1, 3])
    edits.keep_heads(made, 1, [0, 2])
    assert differences(model, made) == ["layers: 3 of 4 run", "heads: 10 of 16 (4, 2, 4)"]
    shared = copy.deepcopy(model)
    edits.tie_layers(shared)
    assert differences(model, shared) == ["layers: 4 of 4 run, of 1 that is shared"]


@pytest.mark.parametrize("frames", [0, 4, -3, 1003])
def test_a_filter_has_an_odd_number_of_frames(frames: int) -> None:
    with pytest.raises(sv.SottovoceError, match="an odd number of frames up to 1001"):
        sv.edits.use_mimic(tiny("hubert"), positional=frames)


def test_a_filter_hears_each_unit_alone_and_comes_back(folder: Any) -> None:
    model = edited("hubert", "mimic_filter").eval()
    stack = model.encoder
    states = torch.randn(1, 11, 32, generator=torch.Generator().manual_seed(0))
    weight, bias = stack.pos_conv_embed.conv.weight[:, 0], stack.pos_conv_embed.conv.bias
    padded = nn.functional.pad(states, (0, 0, 2, 2))
    wanted = sum(padded[:, n : n + 11] * weight[:, n] for n in range(5)) + bias
    torch.testing.assert_close(stack.entering(states, None), states + nn.functional.gelu(wanted))
    back = saved_and_back(model, folder)
    assert back.config.sottovoce["mimic"]["positional"] == 5
    broken = {**back.config.sottovoce, "mimic": {**back.config.sottovoce["mimic"], "positional": 6}}
    with pytest.raises(ValueError, match="odd number"):
        sv.Structure.from_dict(broken)
