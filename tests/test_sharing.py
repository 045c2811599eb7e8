"""Shared layers, drawn depths, what steps have of their own, and utterances that leave early."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny
from speech import toys

import sottovoce as sv
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_layers, set_order, shared_stack, tie_layers, use_exit
from sottovoce.models.encoder import Encoder
from sottovoce.models.exits import changed
from sottovoce.models.own import OwnLinear, OwnNorm
from sottovoce.models.padding import set_exact_padding
from sottovoce.pretraining.objective import Masked
from sottovoce.sharing.depth import Depth, depth_of, first_steps
from sottovoce.sharing.groups import groups_of, order_of
from sottovoce.sharing.tying import Own, tie
from sottovoce.studies.exits import depths_of, scores_of_exits
from sottovoce.tasks import TASKS
from sottovoce.tasks.batch import Batch

DATA = toys(36, 18, 6)
LAYERS = 4


def hidden_of(model: Any, **inputs: Any) -> tuple[torch.Tensor, ...]:
    """The states of a pass."""
    return sv.states(model, **inputs).hidden


def model_of(family: str = "hubert", **settings: Any) -> Any:
    """A tiny model whose layers differ and whose norms do too."""
    torch.manual_seed(0)
    model = tiny(family, num_hidden_layers=LAYERS, **settings)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if ".layers." in name:
                tensor.add_(0.05 * torch.randn(tensor.shape))
    return model.eval()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (1, [[0, 1, 2, 3]]),
        ("2", [[0, 1], [2, 3]]),
        (3, [[0, 1], [2], [3]]),
        ("none", [[0], [1], [2], [3]]),
        ([[0, 2], [1, 3]], [[0, 2], [1, 3]]),
    ],
)
def test_groups_cover_the_stack(given: Any, wanted: list[list[int]]) -> None:
    assert groups_of(given, 4) == wanted
    assert len(set(order_of(wanted))) == len(wanted) and len(order_of(wanted)) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "a stack of 4 layers makes 1 to 4 groups"),
        (5, "a stack of 4 layers makes 1 to 4 groups"),
        ("half", "none, or lists of layers"),
        (True, "none, or lists of layers"),
        ([[0, 1], [2]], "in no group is layer 3"),
        ([[0, 1], [1, 2, 3]], "twice is layer 1"),
        ([[0, 1, 2, 3, 4]], "no layer of this stack is layer 4"),
        ([[0, 1, 2, 3], []], "lists of layers"),
    ],
)
def test_groups_that_do_not_are_refused(given: Any, message: str) -> None:
    with pytest.raises(SottovoceError, match=message):
        groups_of(given, 4)


def test_depths_are_uniform_and_a_matter_of_seed_and_update() -> None:
    depth = depth_of("uniform:2..12", 12)
    drawn = [depth.drawn(3, update) for update in range(11_000)]
    counts = Counter(drawn)
    assert sorted(counts) == list(range(2, 13))
    # Chi-squared with 10 degrees of freedom: above 29.6 once in 1 000 seeds.
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 29.6
    assert drawn != [depth.drawn(4, update) for update in range(11_000)]
    # No two neighbours hang together: their correlation is within four standard deviations of 0.
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / np.sqrt(len(drawn))
    assert depth_of("fixed:5", 12) == Depth(5, 5) and depth_of(None, 12) == Depth(12, 12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("uniform:2..13", "this stack holds 12 steps"),
        ("fixed:0", "from 1 step upwards"),
        ("uniform:5..2", "from 1 step upwards"),
        ("uniform:2-12", "fixed:12 or uniform"),
        ("12", "fixed:12 or uniform"),
    ],
)
def test_depths_that_no_stack_holds_are_refused(given: str, message: str) -> None:
    with pytest.raises(SottovoceError, match=message):
        depth_of(given, 12)


@pytest.mark.parametrize("family", ["hubert", "hubert-large", "wav2vec2-conformer", "wavlm"])
def test_gradients_of_a_shared_layer_are_summed_over_its_steps(family: str) -> None:
    """Against the same stack unrolled into layers of their own, in double precision."""
    shared = model_of(family).double()
    tie_layers(shared)
    unrolled = copy.deepcopy(shared)
    body = Anatomy(unrolled)
    layers = torch.nn.ModuleList(copy.deepcopy(body.layers[0]) for _ in range(LAYERS))
    for layer in list(layers)[1:]:
        attention = layer.get_submodule(body.family.query.rpartition(".")[0])
        if hasattr(attention, "rel_attn_embed"):
            del attention.rel_attn_embed
    parent, _, name = body.family.layers.rpartition(".")
    setattr(body.base.get_submodule(parent), name, layers)
    inputs = Anatomy(shared).dummy_inputs(0.4, batch=2)
    losses = [model(**inputs)[0].square().mean() for model in (shared, unrolled)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0.0)
    for loss in losses:
        loss.backward()
    for path, parameter in Anatomy(shared).layers[0].named_parameters():
        each = [dict(layer.named_parameters()).get(path) for layer in layers]
        gradients = [p.grad for p in each if p is not None and p.grad is not None]
        if gradients:
            torch.testing.assert_close(parameter.grad, sum(gradients), rtol=1e-9, atol=1e-12)


def test_shared_layers_are_stored_once_and_run_often(folder: Path) -> None:
    model = model_of()
    whole = {row.metric: row.value for row in [*sv.size(model), *sv.macs(model)] if not row.where}
    layer = sum(parameter.numel() for parameter in Anatomy(model).layers[0].parameters())
    shared = sv.METHODS["share_layers"](model, groups=2)
    cost = {row.metric: row.value for row in [*sv.size(shared), *sv.macs(shared)] if not row.where}
    assert cost["parameters"] == whole["parameters"] - 2 * layer and cost["macs"] == whole["macs"]
    steps = list(Anatomy(shared).layers)
    assert steps[0] is steps[1] and steps[2] is steps[3] and steps[0] is not steps[2]
    sv.save(shared, folder)
    again = sv.load(folder)
    assert Anatomy(again).order == (0, 0, 1, 1)
    inputs = Anatomy(model).dummy_inputs(0.5)
    assert torch.equal(again(**inputs)[0], shared(**inputs)[0])


@pytest.mark.parametrize("start", ["mean", "middle"])
def test_a_group_begins_as_its_mean_or_its_middle_layer(start: Any) -> None:
    model = model_of()
    before = [copy.deepcopy(layer.state_dict()) for layer in Anatomy(model).layers]
    tie(model, [[0, 1, 2], [3]], start=start)
    for name, tensor in Anatomy(model).layers[0].state_dict().items():
        each = [before[layer][name].double() for layer in ([1] if start == "middle" else range(3))]
        torch.testing.assert_close(tensor.double(), sum(each[1:], each[0]) / len(each))
    assert all(torch.equal(t, before[3][name]) for name, t in Anatomy(model).layers[1].state_dict().items())


@pytest.mark.parametrize("family", ["hubert", "wavlm-large", "wav2vec2-conformer", "whisper", "data2vec-audio"])
def test_full_rank_and_own_norms_give_the_model_back(family: str) -> None:
    """Biases in common are made equal before; what else layers are is in their own parts."""
    model = model_of(family)
    body = Anatomy(model)
    linears = [body.linear(0, part) for part in ("query", "key", "value", "output")]
    rank = min(min(linear.weight.shape) for linear in linears)
    with torch.no_grad():
        common = dict(body.layers[0].named_parameters())
        for index in range(LAYERS):
            for name, tensor in body.layers[index].named_parameters():
                module = name.rpartition(".")[0]
                is_norm = isinstance(body.layers[index].get_submodule(module), torch.nn.LayerNorm)
                low_rank = name.endswith("weight") and tensor.dim() == 2
                if not (is_norm and "." not in module) and not low_rank and name in common:
                    tensor.copy_(common[name])
                elif low_rank and name in common:  # within what the rank can say
                    apart = tensor - common[name]
                    left, values, right = torch.linalg.svd(apart, full_matrices=False)
                    tensor.copy_(common[name] + left[:, :4] * values[:4] @ right[:4])
    if family == "wav2vec2-conformer":  # the matrices of positions are in common
        for index in range(LAYERS):
            body.attention(index).linear_pos.load_state_dict(body.attention(0).linear_pos.state_dict())
    if family == "wavlm-large":
        for index in range(LAYERS):
            body.attention(index).gru_rel_pos_linear.load_state_dict(body.attention(0).gru_rel_pos_linear.state_dict())
    inputs = body.dummy_inputs(0.5)
    wanted = model(**inputs)[0]
    tie(model, [[0, 1], [2, 3]], own=Own(norms=True, rank=rank))
    torch.testing.assert_close(model(**inputs)[0], wanted, rtol=1e-4, atol=1e-4)
    parts = [type(part) for part in Anatomy(model).layers.modules() if isinstance(part, OwnNorm | OwnLinear)]
    assert parts.count(OwnNorm) >= 4 and parts.count(OwnLinear) >= 12


def test_own_parts_follow_their_steps() -> None:
    """A step that is dropped takes its own parts along; the others keep theirs."""
    model = model_of()
    tie(model, [[0, 1, 2, 3]], own=Own(norms=True, rank=3))
    states = hidden_of(model, **Anatomy(model).dummy_inputs(0.5))
    part = next(part for part in Anatomy(model).layers.modules() if isinstance(part, OwnNorm))
    norms = [norm.get_parameter("weight").clone() for norm in part.each]
    shorter = copy.deepcopy(model)
    keep_layers(shorter, [0, 1])
    torch.testing.assert_close(hidden_of(shorter, **Anatomy(model).dummy_inputs(0.5))[-1], states[2])
    keep_layers(model, [0, 3])
    part = next(part for part in Anatomy(model).layers.modules() if isinstance(part, OwnNorm))
    assert [torch.equal(a.get_parameter("weight"), norms[b]) for a, b in zip(part.each, (0, 3), strict=True)] == [
        True,
        True,
    ]
    with pytest.raises(SottovoceError, match="parts of its own for 2 steps"):
        set_order(model, [0, 0, 0])
    with pytest.raises(SottovoceError, match="have parts of their own"):
        sv.edits.keep_heads(model, 0, [0])
    with pytest.raises(SottovoceError, match="have parts of their own"):
        sv.METHODS["quantize"](model)


def test_first_steps_run_alone_for_a_while() -> None:
    model = model_of()
    tie(model, [[0, 1, 2, 3]], own=Own(norms=True))
    inputs, body = Anatomy(model).dummy_inputs(0.5), Anatomy(model)
    hidden, whole = hidden_of(model, **inputs), body.layers
    for count in range(1, LAYERS + 1):
        with first_steps(body, count):
            torch.testing.assert_close(model(**inputs)[0], hidden[count])
    assert body.layers is whole


def test_what_cannot_share_is_refused() -> None:
    model = model_of()
    sv.edits.keep_heads(model, 1, [0])
    with pytest.raises(SottovoceError, match="layers 0 and 1 cannot share: .* before they are pruned"):
        sv.METHODS["share_layers"](model, groups=2)
    assert sv.METHODS["share_layers"](model, groups=[[0, 2, 3], [1]]) is not None
    shared = sv.METHODS["share_layers"](model_of(), groups=1)
    with pytest.raises(SottovoceError, match="shares layers already"):
        sv.METHODS["share_layers"](shared, groups=2)
    with pytest.raises(SottovoceError, match="needs data"):
        sv.METHODS["share_layers"](model_of(), train={"steps": 2})
    with pytest.raises(SottovoceError, match="groups=blocks looks at states"):
        sv.METHODS["share_layers"](model_of(), groups="blocks")
    with pytest.raises(SottovoceError, match="share layers first"):
        sv.METHODS["shallow"](model_of(), exit=0.1)
    with pytest.raises(SottovoceError, match="one of layers, until, exit"):
        sv.METHODS["shallow"](model_of())


def test_blocks_of_similar_layers_share_and_heal(tmp_path: Path) -> None:
    """Healing brings the states of the tied model nearer to those of the model that it was."""
    model, speech = model_of(), toys(16, 2, 2)
    inputs = Anatomy(model).dummy_inputs(0.5)
    options: dict[str, Any] = {"groups": "blocks", "own": {"norms": True, "rank": 2}, "limit": 16}
    tied = sv.METHODS["share_layers"](model, speech, **options)
    with working_in(tmp_path):
        healed = sv.METHODS["share_layers"](model, speech, train={"steps": 30, "lr": 2e-3}, batch=4, **options)
    assert Anatomy(tied).order == Anatomy(healed).order != (0, 1, 2, 3)
    wanted = model(**inputs)[0].detach()
    far = [float((other(**inputs)[0].detach() - wanted).square().mean()) for other in (tied, healed)]
    assert far[1] < 0.8 * far[0]


@pytest.mark.parametrize("family", ["hubert", "hubert-large", "wav2vec2-conformer", "whisper"])
def test_utterances_leave_when_steps_change_little(family: str) -> None:
    """Each stops where it would alone, and has the state that the step put out; the slow loop says the same."""
    model = model_of(family)
    tie_layers(model)
    inputs = Anatomy(model).dummy_inputs(0.6, batch=3)
    hidden = hidden_of(model, **inputs)
    changes = [changed(a, b, None) for a, b in zip(hidden[:-1], hidden[1:], strict=True)]
    threshold = float(torch.stack(changes).flatten().sort().values[5])
    use_exit(model, threshold, least=2)
    wanted = []
    for row in range(3):
        found = [step for step in range(1, LAYERS) if float(changes[step][row]) <= threshold]
        wanted.append(1 + found[0] if found else LAYERS)
    output = model(**inputs)[0]
    assert depths_of(shared_stack(model)).tolist() == wanted
    body = Anatomy(model)
    for row, depth in enumerate(wanted if family != "whisper" else []):  # whose tiny model is a classifier
        state = hidden[depth][row]
        if body.norms_first or body.family.convolves:
            state = body.base.get_submodule(body.family.final_norm or "")(state)
        torch.testing.assert_close(output[row], state, rtol=1e-4, atol=1e-4)
    # States are asked of all steps, and training runs them.
    assert len(hidden_of(model, **inputs)) == LAYERS + 1
    use_exit(model, None)
    assert torch.equal(model(**inputs)[0], model(**inputs)[0]) and shared_stack(model).exits is None


def test_padding_is_nothing_to_exits(folder: Path) -> None:
    """A batch of different lengths leaves as its utterances alone do; and so does the model that was saved."""
    model = model_of()
    tie_layers(model)
    use_exit(model, 0.02, least=1)
    set_exact_padding(model)
    audio = [np.asarray(utterance.audio) for utterance in DATA[:4]]
    audio[1] = audio[1][:4000]
    encoder = Encoder(model, outputs=True)
    together = model(**encoder.inputs(audio))[0]
    depths = depths_of(shared_stack(model)).tolist()
    sv.save(model, folder)
    again = sv.load(folder)
    assert shared_stack(again).exits == (0.02, 1)
    for row, piece in enumerate(audio):
        alone = again(**Encoder(again, outputs=True).inputs([piece]))[0][0]
        assert depths_of(shared_stack(again)).tolist() == [depths[row]]
        torch.testing.assert_close(together[row, : len(alone)], alone, rtol=1e-4, atol=1e-4)


def test_a_threshold_is_found_and_the_cost_is_told(tmp_path: Path, folder: Path) -> None:
    """On the dev split, with the steps that are spared; kept by save."""
    torch.manual_seed(0)
    model = tiny("hubert", num_hidden_layers=LAYERS)
    tie_layers(model)
    with working_in(tmp_path):
        tuned = sv.METHODS["finetune"](
            model, DATA, task="keywords", train={"steps": 120, "lr": 3e-3}, batch=12, freeze=[]
        )
    found = scores_of_exits(TASKS["keywords"], tuned, DATA, least=1)
    steps = [each.steps for each in found]
    assert steps[0] == LAYERS and steps[1:] == sorted(steps[1:], reverse=True) and steps[-1] < LAYERS
    assert shared_stack(tuned).exits is None, "the model is as it was"
    quick = sv.METHODS["shallow"](tuned, DATA, exit="50% of keywords")
    sv.save(quick, folder)
    assert shared_stack(sv.load(folder)).exits == shared_stack(quick).exits is not None
    fewer = sv.METHODS["shallow"](tuned, layers=2)
    assert Anatomy(fewer).order == (0, 0)


def test_steps_that_are_not_drawn_do_not_run() -> None:
    """A masked objective runs the first steps of an update's depth in training, and all of them when it is judged."""
    model = model_of(mask_time_prob=0.1)
    tie_layers(model)
    objective = Masked(model, 5, share=0.5, span=3, depth=Depth(1, LAYERS), seed=7)
    audio = [np.asarray(utterance.audio) for utterance in DATA[:2]]
    encoder = Encoder(model, outputs=True)
    counts = encoder.counts(audio)
    targets = tuple(torch.zeros(count, dtype=torch.long) for count in counts)
    batch = Batch(encoder.inputs(audio), torch.tensor(counts), targets)
    calls = []
    Anatomy(model).layers[0].register_forward_hook(lambda *_: calls.append(1))
    for update in range(6):
        objective.train()
        objective.on_step(update, 6)
        calls.clear()
        objective(batch)
        assert len(calls) == Depth(1, LAYERS).drawn(7, update)
    objective.eval()
    calls.clear()
    objective(batch)
    assert len(calls) == LAYERS
