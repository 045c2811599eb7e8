"""Counts as functions of widths: those of every model's own tensors, before it is built, and with exact gradients."""

import random
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from conftest import TINY, each_feed_forward, edited, possible, tiny
from transformers import HubertConfig, HubertModel, WavLMConfig
from transformers.models.hubert.modeling_hubert import HubertPreTrainedModel

import sottovoce as sv
from sottovoce.measurement import Where
from sottovoce.measures.places import place
from sottovoce.models.counting import macs_by_part, parameters_by_part
from sottovoce.models.head_rows import KINDS
from sottovoce.models.widths import Widths, narrowed, round_width, widths_from, widths_of

SAMPLES = 16_000
# Settings that add tensors or take some away, in families that know them.
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "a mask embedding": ("wav2vec2", {"mask_time_prob": 0.1}),
    "masked features": ("sew", {"mask_feature_prob": 0.1}),
    "biases": ("hubert", {"conv_bias": True}),
    "no norm before the projection": ("hubert", {"feat_proj_layer_norm": False}),
    "a batch norm": ("hubert", {"conv_pos_batch_norm": True}),
    "adapters in the layers": ("wav2vec2-large", {"adapter_attn_dim": 6}),
    "adapters that post-norm layers do not have": ("wav2vec2", {"adapter_attn_dim": 6}),
    "an even kernel": ("data2vec-audio", {"conv_pos_kernel_size": 4}),
    "no projection": ("sew", {"conv_dim": (12, 10, 32)}),
    "slower layers": ("sew", {"squeeze_factor": 3}),
    "distances": ("wav2vec2-bert", {"position_embeddings_type": "relative", "max_source_positions": 100}),
    "rotations": ("wav2vec2-bert", {"position_embeddings_type": "rotary"}),
    "no positions": ("wav2vec2-conformer", {"position_embeddings_type": None}),
    "a wide kernel": ("wav2vec2-conformer", {"conv_depthwise_kernel_size": 7}),
    "more buckets": ("wavlm-large", {"num_buckets": 64}),
}
CUTS: dict[str, tuple[str, ...]] = {
    "hubert": ("heads", "units", "channels", "hidden", "order"),
    "wavlm-large": ("heads", "units", "channels", "hidden", "order"),
    "data2vec-audio": ("heads", "units", "channels", "hidden", "order"),
    "sew": ("heads", "units", "channels", "hidden", "order"),
    "wav2vec2-conformer": ("heads", "units", "channels", "order"),
    "wav2vec2-bert": ("heads", "units", "order"),
    "whisper": ("heads", "units", "order"),
}


def some(counts: dict[Any, Any]) -> dict[Any, Any]:
    return {where: count for where, count in counts.items() if count}


def placed(counts: dict[Any, Any]) -> dict[Any, Any]:
    """Counts under the coordinates of measurements."""
    return {Where(place(where)): count for where, count in counts.items()}


def totals(widths: Widths) -> tuple[Any, Any]:
    return sum(parameters_by_part(widths).values()), sum(macs_by_part(widths, SAMPLES).values())


def check(model: Any, head: str) -> None:
    """Off the modules and off the configuration the same widths, and of them the counts of the model's tensors."""
    widths = widths_of(model)
    assert widths_from(model.config, head=head) == widths
    counts = parameters_by_part(widths)
    assert all(type(count) is int for count in counts.values())
    assert sum(counts.values()) == sum(parameter.numel() for parameter in model.parameters())
    measured = {Where(row.where): row.value for row in sv.size(model) if row.metric == "parameters" and row.where}
    assert some(placed(counts)) == some(measured)
    macs = {Where(row.where): row.value for row in sv.macs(model, seconds=1.0) if row.where}
    assert macs == placed(macs_by_part(widths, SAMPLES)) and all(type(count) is int for count in macs.values())


def test_counts_are_those_of_the_tensors(family: str, edit: str) -> None:
    """That multiply-accumulates are PyTorch's is held by `test_matrix`."""
    if possible(family, edit):
        check(edited(family, edit, head="ForSequenceClassification"), "ForSequenceClassification")


@pytest.mark.parametrize("head", [head for head in sorted(KINDS) if head != "ForAudioClassification"])
def test_counts_of_every_head(family: str, head: str) -> None:
    # The time-delay layers of Hugging Face's are wide by default.
    small = {"tdnn_dim": (6, 5, 4, 4, 8), "xvector_output_dim": 7} if head == "ForXVector" else {}
    try:
        model = tiny(family, head=head, **small)
    except sv.SottovoceError:
        return  # Hugging Face has no such head for this family
    check(model, head)
    if possible(family, "keep_hidden") and not hasattr(model, "quantizer"):
        sv.keep_hidden(model, [unit for unit in range(32) if unit % 5])
        check(model, head)


@pytest.mark.parametrize("name", SETTINGS)
def test_counts_of_other_settings(name: str) -> None:
    family, settings = SETTINGS[name]
    model = tiny(family, **settings)
    check(model, "")
    without = sum(p.numel() for p in tiny(family).parameters())
    absent = name == "adapters that post-norm layers do not have"
    assert (sum(p.numel() for p in model.parameters()) == without) == absent


def test_learned_weights_of_layers_follow_the_steps() -> None:
    model = tiny("hubert", head="ForSequenceClassification", use_weighted_layer_sum=True)
    check(model, "ForSequenceClassification")
    sv.edits.keep_layers(model, [0, 2])
    check(model, "ForSequenceClassification")


def test_quantised_weights_count_as_before() -> None:
    model = tiny("hubert", head="ForCTC")
    wanted = parameters_by_part(widths_of(model))
    sv.edits.use_int8(model, {"encoder.layers.0.attention.q_proj": None, "lm_head": None})
    assert parameters_by_part(widths_of(model)) == wanted
    assert widths_of(model) == widths_from(model.config, head="ForCTC")


def test_a_head_of_ones_own_counts_each_linear_on_every_frame() -> None:
    class HubertForMoods(HubertPreTrainedModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.hubert = HubertModel(config)
            self.moods = torch.nn.Linear(32, 3, bias=False)
            self.post_init()

    model: Any = HubertForMoods(tiny("hubert").config)
    frames = sv.Anatomy(model).frames(SAMPLES)
    assert parameters_by_part(widths_of(model))[("head",)] == 32 * 3
    assert macs_by_part(widths_of(model), SAMPLES)[("head",)] == frames * 32 * 3
    known = tiny("hubert", head="ForCTC")
    known.lm_head = torch.nn.Linear(64, 3)  # which does not read the hidden state, so it does not follow that
    assert parameters_by_part(replace(widths_of(known), hidden=16))[("head",)] == 64 * 3 + 3


def numbers_of(widths: Widths) -> list[Any]:
    """Every width, in the order in which `with_numbers` takes them."""
    flat = [widths.hidden, widths.head_dim, *widths.channels, *widths.heads, *widths.present, *widths.ranks.values()]
    flat += [width for row in widths.feed_forward for width in row]
    return flat + [width for row in (widths.queries, widths.values, widths.groups) for width in row or ()]


def with_numbers(widths: Widths, flat: Any) -> Widths:
    left = iter(flat)

    def like(row: Any) -> Any:
        return None if row is None else tuple(next(left) for _ in row)

    hidden, head_dim = next(left), next(left)
    channels, heads, present = (like(row) for row in (widths.channels, widths.heads, widths.present))
    ranks = dict(zip(widths.ranks, like(tuple(widths.ranks)), strict=True))
    feed_forward = tuple(like(row) for row in widths.feed_forward)
    queries, values, groups = (like(row) for row in (widths.queries, widths.values, widths.groups))
    return replace(
        widths,
        **{"hidden": hidden, "head_dim": head_dim, "channels": channels, "heads": heads, "present": present},
        **{"ranks": ranks, "feed_forward": feed_forward, "queries": queries, "values": values, "groups": groups},
    )


DIFFERENT = [
    *((family, "nothing", "ForCTC") for family in TINY if family != "whisper"),
    *(
        ("hubert", edit, "")
        for edit in ("factor", "use_log_mel", "keep_hidden", "mimic_linear", "mimic_positional", "mimic_filter")
    ),
    ("whisper", "set_order", "ForSequenceClassification"),
    ("wavlm", "everything", "ForSequenceClassification"),
    ("sew", "set_order", ""),
    ("wav2vec2", "nothing", "ForPreTraining"),
    ("unispeech", "nothing", "ForPreTraining"),
    ("unispeech-sat", "nothing", "ForPreTraining"),
]


@pytest.mark.parametrize(("family", "edit", "head"), DIFFERENT)
def test_expected_widths_give_the_same_numbers_and_exact_gradients(family: str, edit: str, head: str) -> None:
    widths = widths_of(edited(family, edit, head=head))
    if widths.heads:  # heads that lost some of their dimensions are widths as well
        queries, values = (tuple(size * count + 1 for count in widths.heads) for size in (7, 5))
        widths = replace(widths, queries=queries, values=values)
    flat = numbers_of(widths)
    assert numbers_of(with_numbers(widths, flat)) == flat
    wanted = totals(widths)
    assert totals(with_numbers(widths, map(float, flat))) == wanted
    assert totals(with_numbers(widths, torch.tensor(flat, dtype=torch.float32))) == wanted
    vector = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    shifted = (vector + torch.rand(vector.shape, generator=generator, dtype=torch.float64)).detach().requires_grad_()
    for which in range(2):
        count = totals(with_numbers(widths, vector))[which]
        assert count.item() == wanted[which] and count.dtype == torch.float64
        # At no whole numbers; the counts are polynomials of a low degree, so that wide differences are exact.
        (gradient,) = torch.autograd.grad(totals(with_numbers(widths, shifted))[which], shifted)
        steps = torch.eye(len(flat), dtype=torch.float64) * 1e-2
        with torch.no_grad():
            ahead, behind = (
                torch.stack([totals(with_numbers(widths, shifted + sign * step))[which] for step in steps])
                for sign in (1, -1)
            )
        torch.testing.assert_close(gradient, (ahead - behind) / 2e-2, rtol=1e-6, atol=1e-3)


def test_all_gates_open_are_the_cost_of_the_whole_model_to_the_last_digit() -> None:
    with torch.device("meta"):
        model = sv.new("wavlm-base")
    gates = {
        name: torch.ones(size, requires_grad=True) for name, size in (("hidden", 768), ("heads", 12), ("ff", 3072))
    }
    widths = widths_of(model)
    opened = replace(
        widths,
        hidden=gates["hidden"].sum(),
        heads=(gates["heads"].sum(),) * 12,
        feed_forward=((gates["ff"].sum(),),) * 12,
        channels=tuple(torch.ones(width).sum() for width in widths.channels),
    )
    cost = sv.cost(model, time=False)
    parameters, macs = parameters_by_part(opened), macs_by_part(opened, 160_000)
    assert some(placed({where: int(count) for where, count in parameters.items()})) == some(cost.parts("parameters"))
    assert placed({where: int(count) for where, count in macs.items()}) == cost.parts("macs")
    total: Any = sum(macs.values())
    total.backward()
    assert all(gate.grad is not None and (gate.grad > 0).all() for gate in gates.values())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", CUTS)
def test_a_cut_costs_what_its_widths_said_before(family: str, seed: int) -> None:
    draw = random.Random(seed)
    model = tiny(family, head="ForSequenceClassification", seed=seed)
    body = sv.Anatomy(model)
    widths = widths_of(model)
    parts = range(len(body.family.feed_forwards))

    def kept(size: int, least: int) -> list[int]:
        return sorted(draw.sample(range(size), draw.randint(least, size)))

    heads = [kept(4, 0) for _ in range(4)]
    units = [[kept(48, 0) for _ in parts] for _ in range(4)]
    channels = [kept(width, 1) for width in widths.channels]
    order = [draw.randrange(4) for _ in range(draw.randint(1, 6))]
    for layer in range(4):
        sv.edits.keep_heads(model, layer, heads[layer])
        for which in parts:
            sv.edits.keep_feed_forward(model, layer, units[layer][which], which=which)
    said = replace(
        widths,
        heads=tuple(map(len, heads)),
        feed_forward=tuple(tuple(map(len, row)) for row in units),
        channels=tuple(map(len, channels)),
    )
    for conv, chosen in enumerate(channels):
        sv.edits.keep_channels(model, conv, chosen)
    if "hidden" in CUTS[family]:
        # Twice, so that the second cut finds groups of unequal width.
        first, second = kept(32, 20), kept(20, 3)
        sv.keep_hidden(model, first)
        sv.keep_hidden(model, second)
        said = narrowed(narrowed(said, first), second)
    sv.edits.set_order(model, order)
    said = replace(said, order=tuple(order))
    assert parameters_by_part(said) == parameters_by_part(widths_of(model))
    assert macs_by_part(said, SAMPLES) == macs_by_part(widths_of(model), SAMPLES)
    check(model, "ForSequenceClassification")


def test_a_factoring_costs_what_its_ranks_said_before() -> None:
    model = tiny("wav2vec2-conformer", head="ForCTC")
    names = ["encoder.layers.1.self_attn.linear_q", "encoder.layers.0.ffn2.output_dense", "lm_head"]
    said = replace(widths_of(model), ranks={name: rank for rank, name in enumerate(names, 3)})
    for rank, name in enumerate(names, 3):
        sv.edits.factor(model, name, rank)
    assert widths_of(model) == replace(said, config=widths_of(model).config)


@pytest.mark.parametrize("family", ["hubert", "wavlm", "sew", "whisper"])
def test_a_layer_that_is_not_present_costs_what_a_dropped_one_does(family: str) -> None:
    model = tiny(family)
    said = replace(widths_of(model), present=(0, 1, 1, 0))
    sv.edits.keep_layers(model, [1, 2])
    assert totals(said) == totals(widths_of(model))


def test_a_structure_costs_what_the_model_does_that_it_makes() -> None:
    """Asked before anything is built: the regular configuration, and what is to be cut off."""
    model = tiny("hubert")
    structure = sv.Structure(
        heads={0: (1, 3), 2: ()},
        feed_forwards=((4,), (48,), (0,)),
        order=(0, 1, 0, 2),
        hidden=(0, 1, 5, *range(9, 30)),
        ranks={"encoder.layers.1.attention.k_proj": 3},
        log_mel={"bins": 10, "stack": 2},
    )
    said = widths_from(model.config, structure)
    sv.edits.keep_heads(model, 0, [1, 3])
    sv.edits.keep_heads(model, 2, [])
    each_feed_forward(model, [0], range(4))
    each_feed_forward(model, [2], [])
    sv.edits.set_order(model, [0, 1, 0, 2])
    sv.keep_hidden(model, structure.hidden or ())
    sv.edits.use_log_mel(model, bins=10)
    sv.edits.factor(model, "encoder.layers.1.attention.k_proj", 3)
    assert parameters_by_part(said) == parameters_by_part(widths_of(model))
    mimic = {"layers": 2, "kind": "transformer", "width": 7, "over": "batch", "positional": True}
    other = tiny("hubert")
    said = widths_from(other.config, sv.Structure(mimic=mimic))
    sv.edits.use_mimic(other, layers=2, kind="transformer", width=7, over="batch", positional=True)
    assert totals(said) == totals(widths_of(other))


def test_widths_stay_when_the_model_is_cut() -> None:
    model = tiny("hubert")
    widths = widths_of(model)
    before = totals(widths)
    sv.edits.use_log_mel(model)
    sv.edits.keep_layers(model, [0])
    assert totals(widths) == before
    assert {entry.name for entry in fields(Widths)} >= {"hidden", "heads", "channels", "feed_forward", "order"}


def test_what_has_no_formula_is_refused() -> None:
    with pytest.raises(sv.SottovoceError, match="adapter"):
        widths_from(WavLMConfig(add_adapter=True))
    with pytest.raises(sv.SottovoceError, match="no ForPreTraining for the hubert family"):
        widths_from(HubertConfig(), head="ForPreTraining")
    with pytest.raises(sv.SottovoceError, match="ForCTC"):
        widths_from(HubertConfig(), head="ForCTc")
    with pytest.raises(sv.SottovoceError, match="make no frame for this hubert model"):
        macs_by_part(widths_from(HubertConfig()), 100)


def test_rounded_widths() -> None:
    """Against trying every multiple."""
    for width in range(1, 40):
        for multiple in (1, 3, 8, 16):
            for most in (1, 5, 24, 40):
                choices = [number for number in range(multiple, most + 1, multiple)] or [most]
                near = min(abs(number - width) for number in choices)
                assert abs(round_width(width, multiple, most) - width) == near
                below = [number for number in choices if number <= width] or choices[:1]
                assert round_width(width, multiple, most, down=True) == below[-1]
