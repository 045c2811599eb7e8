"""Gates: their distribution by formulas and by chance, what they compute against a pass by hand and the cut model."""

import copy
import math
from typing import Any

import pytest
import torch
from conftest import EDITS, tiny
from torch import nn

import sottovoce as sv
from sottovoce.errors import SottovoceError
from sottovoce.gates import hard_concrete
from sottovoce.gates.cutting import cut
from sottovoce.gates.expected import Expected
from sottovoce.gates.targets import Shares, Target, cost_of
from sottovoce.gates.units import Sites, Vector, sites_of
from sottovoce.gates.vectors import Gates
from sottovoce.models.anatomy import Anatomy

KINDS = ("conv", "heads", "dims", "ffn", "hidden", "layers")
# What a family has no units of.
LACKING: dict[str, set[str]] = {
    "wav2vec2-conformer": {"dims", "hidden", "layers"},
    "wav2vec2-conformer-rotary": {"dims", "hidden", "layers"},
    "wav2vec2-bert": {"conv", "dims", "hidden", "layers"},
    "whisper": {"conv", "hidden"},
}
COSTS = tuple(Target(name, 0.5) for name in ("size", "macs", "conv", "transformer"))
BETA, LOW, HIGH = 2 / 3, -0.1, 1.1  # of the papers


def kinds_of(family: str) -> list[str]:
    return [kind for kind in KINDS if kind not in LACKING.get(family, set())]


def head_of(family: str) -> str:
    return "ForSequenceClassification" if family == "whisper" else "ForCTC"


def shuffled(sites: Sites, seed: int = 3) -> Gates:
    """Gates of which about half are open."""
    gates, generator = Gates(sites, seed=1), torch.Generator().manual_seed(seed)
    for parameter in gates.parameters():
        parameter.data = 3 * torch.randn(parameter.shape, generator=generator) - 1
    return gates


def sigmoid(number: float) -> float:
    return 1 / (1 + math.exp(-number))


def z_of(u: torch.Tensor, logit: float) -> torch.Tensor:
    """The gates of some noise as the papers have them."""
    s = 1 / (1 + torch.exp(-(torch.log(u) - torch.log(1 - u) + logit) / BETA))
    return torch.clip(s * (HIGH - LOW) + LOW, 0, 1)


@pytest.mark.parametrize("logit", [-3.0, -1.2, 0.0, 0.7, 4.6])
def test_gates_are_drawn_as_the_papers_say(logit: float) -> None:
    count = 200_000
    logits = torch.full((count,), logit)
    noise = torch.rand(count, generator=torch.Generator().manual_seed(5))
    found = hard_concrete.drawn(logits, noise).double()
    torch.testing.assert_close(found, z_of(noise.double().clip(1e-6, 1 - 1e-6), logit), rtol=0, atol=2e-6)
    chance = sigmoid(logit - BETA * math.log(-LOW / HIGH))
    assert float(hard_concrete.open_probability(torch.tensor(logit, dtype=torch.float64))) == pytest.approx(
        chance, rel=1e-12
    )
    assert float((found > 0).double().mean()) == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / count))
    middles = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    mean, spread = float(z_of(middles, logit).mean()), float(z_of(middles, logit).std())
    assert float(found.mean()) == pytest.approx(mean, abs=4 * spread / math.sqrt(count)) and 0 < mean < 1


@pytest.mark.parametrize("seed", range(5))
def test_at_the_end_the_largest_stay_with_their_soft_values(seed: int) -> None:
    gates = shuffled(sites_of(tiny("hubert"), KINDS), seed).eval()
    settled = gates.settled()
    for vector, logits in gates.logits().items():
        numbers = logits.double().tolist()
        expected = sum(sigmoid(number - BETA * math.log(-LOW / HIGH)) for number in numbers)
        closed = round(len(numbers) - expected)
        least = 0 if vector.kind in ("heads", "ffn") else 1
        smallest = sorted(range(len(numbers)), key=lambda unit: numbers[unit])[: min(closed, len(numbers) - least)]
        for unit, number in enumerate(numbers):
            soft = 1.0 if vector.kind == "layers" else sigmoid(0.8 * number / BETA)
            wanted = 0.0 if unit in smallest else soft
            assert float(settled[vector].value[unit]) == pytest.approx(wanted, rel=1e-5), (vector, unit)
            assert float(settled[vector].opened[unit]) == (unit not in smallest)


def test_first_logits_are_those_of_the_code() -> None:
    gates = Gates(sites_of(sv.new("hubert", num_hidden_layers=1), ["conv", "heads", "ffn"]), seed=3)
    for vector, logits in gates.logits().items():
        closed = 0.5 if vector.kind == "ffn" else 0.01
        off = logits.detach().double() - (math.log(1 - closed) - math.log(closed))
        assert float(off.abs().max()) < 0.05
        if len(off) >= 512:
            assert float(off.mean()) == pytest.approx(0, abs=0.002) and float(off.std()) == pytest.approx(0.01, rel=0.2)
    assert len(gates.logits()) == 9


def test_draws_are_a_matter_of_seed_and_step_alone() -> None:
    sites = sites_of(tiny("hubert"), ["heads", "ffn"])

    def noise(seed: int, *steps: int) -> torch.Tensor:
        gates = Gates(sites, seed=seed)
        for step in steps:
            torch.manual_seed(step + 7)  # whatever else happens in a process
            torch.rand(step)
            gates.draw(step)
        return torch.cat(list(gates.noise.values()))

    assert torch.equal(noise(4, 5), noise(4, 1, 2, 2, 5))
    assert not torch.equal(noise(4, 5), noise(4, 6)) and not torch.equal(noise(4, 5), noise(5, 5))
    first, second = Gates(sites, seed=4), Gates(sites, seed=5)
    one, two = (each.get_parameter("vectors.ffn_0_0.log_alpha") for each in (first, second))
    assert not torch.equal(one, two)
    pairs = torch.stack([noise(4, step) for step in range(400)])
    assert float(pairs.mean()) == pytest.approx(0.5, abs=0.01)
    assert abs(float(torch.corrcoef(torch.stack([pairs[:-1, 0], pairs[1:, 0]]))[0, 1])) < 0.2


def counted(model: Any) -> list[float]:
    """What `COSTS` are, from the measures and the model's own tensors."""
    found, body = sv.cost(model, seconds=10, time=False), Anatomy(model)
    front = body.base.get_submodule("feature_extractor") if body.convs else nn.Module()
    return [
        found["parameters"],
        found["macs"],
        sum(parameter.numel() for parameter in front.parameters()),
        sum(parameter.numel() for parameter in body.layers.parameters()),
    ]


def expected(model: Any, opened: dict[Vector, torch.Tensor]) -> list[float]:
    widths = Expected(model)(opened)
    return [float(cost_of(target, None)(widths)) for target in COSTS]


@pytest.mark.parametrize("headed", [False, True])
def test_expected_costs_of_certain_gates_are_those_of_the_cut_model(family: str, headed: bool) -> None:
    whole = tiny(family, head=head_of(family) if headed else "")
    kinds = kinds_of(family)
    sites = sites_of(whole, kinds)
    ones = {vector: torch.ones(size, dtype=torch.float64) for vector, size in sites.sizes.items()}
    # With what a family has of them; whisper's front end has convolutions that are none of the waveform.
    costs = counted(whole)
    compared = [index for index in range(4) if costs[index] or index < 2]
    assert [expected(whole, ones)[i] for i in compared] == [costs[i] for i in compared]
    assert len(compared) == 3 + ("conv" in kinds)
    for number, chosen in enumerate([*([kind] for kind in kinds), kinds]):
        model = copy.deepcopy(whole)
        sites = sites_of(model, chosen)
        gates = shuffled(sites, number)
        found = expected(model, {vector: mask.double() for vector, mask in gates.opened().items()})
        cut(model, sites, gates)
        after = counted(model)
        assert [found[i] for i in compared] == [after[i] for i in compared], chosen
        assert after[0] < costs[0], "something was cut"


def test_what_a_family_lacks_is_refused(family: str) -> None:
    model = tiny(family)
    for kind in KINDS:
        if kind in LACKING.get(family, set()):
            with pytest.raises(SottovoceError, match=r"^[^.]*\.$|cannot be narrowed"):
                sites_of(model, [kind])
        else:
            assert {vector.kind for vector in sites_of(model, [kind]).sizes} == {kind}


def test_multiply_accumulates_at_fractions_are_the_papers_formulas() -> None:
    model = tiny("hubert")
    gates = shuffled(sites_of(model, KINDS[:5]))
    p = {vector: found.detach().tolist() for vector, found in gates.probabilities().items()}
    length, before, macs = 160_000, 1.0, 0.0
    for index, (kernel, stride) in enumerate(zip((10, 4, 4), (5, 4, 4), strict=True)):
        length, channels = (length - kernel) // stride + 1, sum(p[Vector("conv", index)])
        macs, before = macs + length * channels * before * kernel, channels
    hidden = sum(p[Vector("hidden")])
    groups = [sum(p[Vector("hidden")][begin : begin + 8]) for begin in range(0, 32, 8)]
    macs += length * before * hidden + (length + 1) * 16 * sum(group**2 for group in groups)
    for layer in range(4):
        heads, inner = sum(p[Vector("heads", layer)]), sum(p[Vector("ffn", layer)])
        attended = heads * sum(p[Vector("dims", layer)])
        macs += 4 * length * hidden * attended + 2 * length**2 * attended + 2 * length * hidden * inner
    found = cost_of(Target("macs", 0.5), None)(Expected(model)(gates.probabilities()))
    assert float(found.detach()) == pytest.approx(macs, rel=1e-12)


@pytest.mark.parametrize("family", ["hubert", "wavlm-large", "wav2vec2-bert", "wav2vec2-conformer", "whisper"])
def test_expected_shares_rise_with_the_gates_and_have_their_gradients(family: str) -> None:
    model = tiny(family, num_hidden_layers=2) if family != "whisper" else tiny(family, encoder_layers=2)
    sites = sites_of(model, kinds_of(family))
    shares = Shares(model, [cost for cost in COSTS if cost.cost != "conv" or "conv" in kinds_of(family)])
    generator = torch.Generator().manual_seed(0)
    low = {v: torch.rand(size, generator=generator, dtype=torch.float64) for v, size in sites.sizes.items()}
    high = {v: p + (1 - p) * torch.rand(p.shape, generator=generator) for v, p in low.items()}
    steps = [low]
    for vector in low:
        steps.append({**steps[-1], vector: high[vector]})
    rows = torch.tensor([[float(share) for share in shares(step)] for step in steps])
    assert (rows.diff(dim=0) >= -1e-12).all() and (rows[-1] > rows[0]).all() and (rows <= 1).all()

    def of(*values: torch.Tensor) -> tuple[Any, ...]:
        return tuple(shares(dict(zip(low, values, strict=True))))

    assert torch.autograd.gradcheck(of, [p.requires_grad_() for p in low.values()], eps=1e-5, fast_mode=True)


@pytest.mark.parametrize("edit", ["keep_hidden", "fold_weight_norm", "apply_times", "use_log_mel", "everything"])
def test_irregular_models_are_counted_as_exactly(edit: str) -> None:
    model = tiny("wavlm", head="ForCTC")
    EDITS[edit](model)
    sites = sites_of(model, [kind for kind in KINDS if kind != "conv" or edit != "use_log_mel"])
    gates = shuffled(sites)
    ones = {vector: torch.ones(size, dtype=torch.float64) for vector, size in sites.sizes.items()}
    assert expected(model, ones)[:2] == counted(model)[:2]
    found = expected(model, {vector: mask.double() for vector, mask in gates.opened().items()})
    cut(model, sites, gates)
    assert found[:2] == counted(model)[:2]
