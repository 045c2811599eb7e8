"""Targets of a pruning with gates: met, refused with what can be met, read from text; and what they add to a loss."""

import copy
import re
from typing import Any

import pytest
import torch
from conftest import shaken, tiny
from test_prune_jointly import DATA, SHORT, WIDE, learnt
from torch import nn

import sottovoce as sv
from sottovoce.errors import SottovoceError
from sottovoce.gates.objective import Gated, Gating
from sottovoce.gates.run import Pruning
from sottovoce.gates.targets import Cost, targets_of
from sottovoce.gates.units import Vector
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.widths import Widths, widths_of


def small() -> Any:
    """Not tiny: a unit is well below a hundredth of every cost."""
    settings: dict[str, Any] = {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "intermediate_size": 256,
    }
    settings |= {"conv_dim": (64,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return shaken(sv.new("hubert", **settings)).eval()


def clock(widths: Widths) -> Any:
    """A time that is no sum of products."""
    inner = sum(width**1.5 for (width,) in widths.feed_forward) + widths.hidden * sum(widths.heads)
    return 1e3 + 20 * sum(widths.channels) + inner


def costs(model: Any) -> dict[str, float]:
    body, found = Anatomy(model), sv.cost(model, seconds=10, time=False)
    parts = {"conv": body.base.feature_extractor, "transformer": body.layers}
    sizes = {name: float(sum(p.numel() for p in part.parameters())) for name, part in parts.items()}
    return {"size": found["parameters"], "macs": found["macs"], "latency": clock(widths_of(model)), **sizes}


@pytest.mark.parametrize("round_to", [1, 8])
@pytest.mark.parametrize(
    "target", ["size:-60%", "macs:-45.5%", "latency:-30%", {"conv": "-60%", "transformer": "-35%"}, "conv:-20%"]
)
def test_targets_are_met_within_a_hundredth(target: Any, round_to: int) -> None:
    model = small()
    before, targets, plan = costs(model), targets_of(target), Gating(round_to=round_to, lr=0.1)
    latency: Cost | None = clock if "latency" in str(target) else None
    units = WIDE if "latency" not in str(target) else WIDE[:3]
    pruning = Pruning(model, units, targets, plan, seed=0, clock=latency)
    learnt(model, pruning)
    outcome = pruning.finish()
    after = costs(model)
    for wanted, left in zip(targets, outcome.left, strict=True):
        found = after[wanted.cost] / before[wanted.cost]
        assert left == pytest.approx(found, rel=1e-9), "the outcome says what the model costs"
        # Eight channels of one convolution are more than a hundredth of all of them.
        assert wanted.left - (0.05 if wanted.cost == "conv" and round_to == 8 else 0.01) <= found <= wanted.left + 1e-12
        assert f"{wanted}: {100 * (found - 1):.1f}%" in str(outcome)
    widths = widths_of(model)
    sizes = {"conv": widths.channels, "ffn": [w for (w,) in widths.feed_forward], "hidden": [widths.hidden]}
    whole = {"conv": 64, "ffn": 256, "hidden": 64}
    assert all(width % round_to == 0 or width == whole[kind] for kind, some in sizes.items() for width in some)
    kept = {vector: count for vector, count in outcome.kept.items() if vector.kind in ("heads", "ffn")}
    assert kept == {
        Vector(kind, layer): count  # pyright: ignore[reportArgumentType]
        for layer in range(4)
        for kind, count in (("heads", widths.heads[layer]), ("ffn", widths.feed_forward[layer][0]))
    }


def test_what_cannot_be_met_is_refused_with_what_can() -> None:
    model = small()
    bare = copy.deepcopy(model)
    for layer in range(4):
        sv.edits.keep_heads(bare, layer, [])
    least = costs(bare)["size"] / costs(model)["size"]
    with pytest.raises(SottovoceError) as refused:
        Pruning(model, ["heads"], targets_of("size:-90%"), Gating(), seed=0)
    assert f"size:{100 * (least - 1):.1f}% is reached" in str(refused.value)
    with pytest.raises(SottovoceError, match="cannot be met"):
        Pruning(model, ["heads"], targets_of(f"size:-{100 * (1 - least) + 0.01:.3f}%"), Gating(), seed=0)
    barely = Pruning(small(), ["heads"], targets_of(f"size:-{100 * (1 - least) - 0.01:.3f}%"), Gating(), seed=0)
    assert set(barely.finish().kept.values()) == {0}
    for units, target, plan in (
        (["heads", "ffn"], {"conv": "-10%", "transformer": "-10%"}, Gating()),
        (["hidden"], "size:-30%", Gating(round_to=48)),
    ):
        with pytest.raises(SottovoceError, match=r"target=\w+:-\d+% cannot be met: with as few units"):
            Pruning(model, units, targets_of(target), plan, seed=0)
    Pruning(model, ["hidden"], targets_of("size:-30%"), Gating(), seed=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"target": "macs"}, "target='macs'"),
        ({"target": ""}, "target=''"),
        ({"target": "macs:+40%"}, "target='macs:.40%'"),
        ({"target": "macs:-140%"}, "target='macs:-140%'"),
        ({"target": "macs:-0%"}, "target='macs:-0%'"),
        ({"target": "macs:-nan%"}, "macs:-nan%"),
        ({"target": "speed:-40%"}, "target='speed:-40%', but a cost"),
        ({"target": {"size": "-40%", "macs": "-40%"}}, "one cost is wanted"),
        ({"target": "macs:-40%, macs:-50%"}, "one cost is wanted"),
        ({"target": "conv:-40%,macs:-50%"}, "one cost is wanted"),
        ({"target": {}}, "target={}"),
        ({"target": {"conv": -0.4}}, "target="),
        ({"target": ["macs:-40%"]}, "target="),
        ({"units": []}, "units is empty"),
        ({"units": ["wings"]}, "units="),
        ({"units": ["layers"], "family": "wav2vec2-conformer"}, "leave layers out of units"),
        ({"units": ["conv"], "family": "wav2vec2-bert"}, "leave conv out of units"),
        ({"units": ["hidden"], "family": "wav2vec2-bert"}, "cannot be narrowed"),
        ({"units": ["heads"], "edit": "no heads"}, "nothing left to gate of heads"),
        ({"units": ["layers"], "num_hidden_layers": 1}, "one layer, which must stay"),
        ({"gates": {"shape": "round"}}, "shape"),
        ({"gates": {"ramp": 1.5}}, "ramp"),
        ({"gates": {"lr": 0.0}}, "lr"),
        ({"gates": {"closed": 1.0}}, "closed"),
        ({"gates": {"round_to": 0}}, "round_to"),
        ({"loss": "teach"}, "loss"),
        ({"loss": "task"}, "needs a model with a head for a task"),
        ({"loss": "both"}, "needs a model with a head for a task"),
        ({"loss": "units"}, "needs a model with a head over units"),
        ({"data": None}, "needs data"),
    ],
)
def test_nonsense_is_one_sentence(wrong: dict[str, Any], said: str) -> None:
    model = tiny(wrong.get("family", "hubert"), num_hidden_layers=wrong.get("num_hidden_layers", 2))
    if "edit" in wrong:
        for layer in range(2):
            sv.edits.keep_heads(model, layer, [])
    options = {"target": "macs:-40%", **SHORT, **wrong}
    for name in ("family", "edit", "num_hidden_layers"):
        options.pop(name, None)
    with pytest.raises(SottovoceError, match=said) as refused:
        sv.prune_jointly(model, options.pop("data", DATA), **options)
    text = str(refused.value)
    assert text.endswith(".") and not re.search(r"\. [A-Z]", text) and len(text) < 400


def test_the_penalty_is_the_augmented_lagrangian_and_its_target_rises() -> None:
    model = tiny("hubert")
    plan, targets = Gating(ramp=0.2), targets_of({"conv": "-60%", "transformer": "-30%"})
    pruning = Pruning(model, WIDE, targets, plan, seed=0)
    objective = Gated(nn.Identity(), pruning.gates, pruning.shares, plan)
    with torch.no_grad():
        objective.multipliers.copy_(torch.tensor([[0.3, 2.0], [-0.7, 5.0]]))
    for done, begun in ((0, 0.0), (3, 0.15), (20, 1.0), (77, 1.0)):
        objective.on_step(done, 100)
        again = Pruning(model, WIDE, targets, plan, seed=0).gates
        again.draw(done)
        assert all(torch.equal(noise, again.noise[vector]) for vector, noise in objective.gates.noise.items())
        s = [1 - float(share.detach()) for share in pruning.shares(pruning.gates.probabilities())]
        off = [s[0] - 0.6 * begun, s[1] - 0.3 * begun]
        wanted = 0.3 * off[0] + 2 * off[0] ** 2 - 0.7 * off[1] + 5 * off[1] ** 2
        objective.zero_grad()
        found = objective.penalty()
        found.backward()
        assert float(found.detach()) == pytest.approx(wanted, rel=1e-6)
        assert objective.multipliers.grad is not None
        for row, each in zip(objective.multipliers.grad.tolist(), off, strict=True):
            assert row == pytest.approx([each, each**2], rel=1e-5)
    objective.plan = Gating(ramp=0.0)
    objective.on_step(0, 100)
    assert objective.begun == 1.0, "without a ramp the target stands at once"
