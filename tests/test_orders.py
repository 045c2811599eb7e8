"""Orders of layers of paper 1's code, against the slow way in double precision, and bands over several runs."""

import copy
import functools
import itertools
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny
from speech import toys

import sottovoce as sv
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.models.encoder import Encoder
from sottovoce.plots import line_plot
from sottovoce.report.analysis import analysis_page
from sottovoce.studies.jacobians import jacobian_shares, largest_share
from sottovoce.studies.orders import cuts_by, leaving
from sottovoce.studies.similarity import first_block, influences, likeness
from sottovoce.studies.speech import cut_to, not_tested, recordings

DATA = toys()
HEARD = not_tested(DATA, what="")


def head(family: str, **settings: Any) -> Any:
    """A random classifier of six layers."""
    settings = {"num_hidden_layers": 6, "num_labels": 3, **settings}
    return tiny(family, head="ForSequenceClassification", **settings).eval()


@functools.cache
def learnt() -> Any:
    return sv.finetune(tiny("hubert"), DATA, task="keywords", train={"steps": 3, "lr": 3e-3})


def tuned() -> Any:
    """A classifier of keywords, which need not be good."""
    return copy.deepcopy(learnt())


def bent(model: Any) -> Any:
    """A model whose layers are far from linear."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layers." in name and parameter.dim() == 2:
                parameter.mul_(12)
    return model


def flat_states(model: Any, utterances: Sequence[Utterance], seconds: float) -> np.ndarray:
    """Every state of utterances one at a time, flat over time, in double precision: (states, samples, numbers)."""
    encoder, found = Encoder(model.double()), []
    for utterance in utterances:
        with torch.no_grad(), encoder.exact():
            states = encoder.states(encoder.inputs([cut_to(utterance, seconds)]))
        found.append(np.stack([state[0].double().numpy().ravel() for state in states]))
    return np.stack(found, 1)


def near(points: np.ndarray, sample: int, k: int) -> set[int]:
    """The k others with the highest inner products."""
    others = [other for other in range(len(points)) if other != sample]
    return set(sorted(others, key=lambda other: -float(points[sample] @ points[other]))[:k])


@pytest.mark.parametrize("family", ["hubert", "wavlm-large"])
def test_what_enters_a_layer_is_compared_with_the_outputs_of_all(family: str) -> None:
    """As in the paper's code, whose scores are of outputs and are given to the layers that these enter."""
    model, chosen = head(family), recordings(HEARD, what="", limit=20)
    found = influences(likeness([model], chosen, reading="flatten", batch=20, seconds=0.4))
    states = flat_states(model, recordings(chosen, what=""), 0.4)
    for layer in range(6):
        total, count = 0.0, 0
        for k in (2, 4, 8, 16):  # of 20 samples; the code goes to 64, of 128
            for output in range(1, 7):
                shared = [len(near(states[layer], n, k) & near(states[output], n, k)) / k for n in range(20)]
                total, count = total + 1 - sum(shared) / 20, count + 1
        assert found[layer].multi_bi == pytest.approx(total / count, abs=1e-9)
    order = leaving(model.float(), DATA, "multi_bi", limit=20)
    again = influences(likeness([model], HEARD, reading="flatten", limit=20))
    assert order == sorted(range(1, 6), key=lambda layer: again[layer].multi_bi)


def test_the_core_is_the_first_block_and_goes_first() -> None:
    model = head("wavlm")
    found = likeness([model], HEARD, reading="flatten", limit=30)
    cka = found.matrices["cka"][1:, 1:]
    mean = np.mean([cka[i, j] for i in range(6) for j in range(i + 1, 6)])

    def gain(boundary: int) -> float:
        blocks = (range(boundary), range(boundary, 6))
        return sum(cka[i, j] - mean for block in blocks for i, j in itertools.combinations(block, 2))

    boundary = max(range(1, 6), key=gain)
    assert first_block(found) == boundary
    states = flat_states(model, recordings(HEARD, what="", limit=30), 1.0)
    turned = []
    for layer in range(6):
        pairs = zip(states[layer], states[layer + 1], strict=True)
        turned.append(1 - np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))
    core = sorted(range(1, boundary), key=turned.__getitem__)
    rest = sorted(range(max(1, boundary), 6), key=turned.__getitem__)
    assert leaving(model.float(), DATA, "core_first", limit=30) == core + rest
    assert leaving(model, DATA, "bi", limit=30) == sorted(range(1, 6), key=turned.__getitem__)


@pytest.mark.parametrize("family", ["hubert", "wavlm", "wavlm-large", "wav2vec2-conformer", "sew", "whisper"])
def test_ranks_of_jacobians_are_those_of_whole_jacobians(family: str) -> None:
    """Each utterance alone, all numbers by all numbers, then the eigenvalues of all cosines."""
    model, depth, size = bent(head(family, num_hidden_layers=3)), 3, 4
    chosen = recordings(HEARD, what="", limit=2 * size)
    found = jacobian_shares(model, chosen, batch=size, seconds=0.2)
    encoder = Encoder(model.double())
    wanted = np.zeros(depth)
    for part in (recordings(chosen, what="")[:size], recordings(chosen, what="")[size:]):
        for layer in range(depth):
            rows = [whole_jacobian(encoder, layer, cut_to(utterance, 0.2)) for utterance in part]
            cosines = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in rows] for a in rows])
            values = np.linalg.eigvalsh(cosines)
            wanted[layer] += values.max() / values.sum() / 2
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    if family != "whisper":  # which hears mostly the silence that it pads with
        assert wanted.max() - wanted.min() > 1e-3, "layers differ, or nothing is tested"


def whole_jacobian(encoder: Encoder, layer: int, audio: np.ndarray) -> np.ndarray:
    """Of all logits of one utterance by the state that enters a layer."""
    model, inputs = encoder.model, encoder.placed(encoder.inputs([audio]))
    with torch.no_grad(), encoder.exact():
        state = encoder.states(encoder.inputs([audio]))[layer].double()

    def rest(entering: torch.Tensor) -> torch.Tensor:
        def enter(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return (entering, *args[1:]), kwargs

        handle = sv.Anatomy(model).layers[layer].register_forward_pre_hook(enter, with_kwargs=True)
        try:
            return model(**inputs).logits[0]
        finally:
            handle.remove()

    made = torch.autograd.functional.jacobian(rest, state)
    assert isinstance(made, torch.Tensor)
    return made.detach().numpy().ravel()


def test_layers_before_a_linear_rest_go_first() -> None:
    """Behind layers that do nothing there is one linear map for all utterances: a share of 1."""
    model = bent(head("hubert-large", num_hidden_layers=4))
    stack = sv.Anatomy(model).base.encoder
    with torch.no_grad():
        for layer in stack.layers[2:]:
            layer.attention.out_proj.weight.zero_()
            layer.feed_forward.output_dense.weight.zero_()
        stack.layer_norm = torch.nn.Identity()
    model.requires_grad_(False)
    shares = jacobian_shares(model, HEARD, batch=8, limit=8)
    np.testing.assert_allclose(shares[2:], 1.0, atol=1e-6)
    assert max(shares[:2]) < 1 - 1e-4
    order = leaving(model, DATA, "jacobian_rank", limit=32)
    assert order[-1] == 1 and sv.Anatomy(sv.drop_layers(model, DATA, drop=2, by="jacobian_rank")).order == (0, 1)
    assert not any(p.grad is not None or p.requires_grad for p in model.parameters()), "left as it was"
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 9, generator=generator).double()
    unit = rows / rows.norm(dim=1, keepdim=True)
    values = torch.linalg.svdvals(unit) ** 2
    assert largest_share(rows @ rows.T) == pytest.approx(float(values[0] / values.sum()))


def test_jacobians_are_refused_where_there_is_no_class_of_an_utterance() -> None:
    small = sv.mimic(head("hubert"), shape={"width": 8}, train=None, task_train=None)
    for model, says in ((tiny("hubert"), "this is HubertModel; fine-tune"), (small, "with mimic layers")):
        with pytest.raises(SottovoceError, match=says):
            jacobian_shares(model, HEARD)
    with pytest.raises(SottovoceError, match="at least two recordings"):
        jacobian_shares(head("hubert"), HEARD[:1])
    with pytest.raises(SottovoceError, match="classifies utterances"):
        sv.drop_layers(tiny("hubert"), DATA, drop=1, by="jacobian_rank")


@pytest.fixture(scope="module")
def rows() -> list[sv.Measurement]:
    return sv.MEASURES["layer_orders"](tuned(), DATA, by=["forward", "bi", "jacobian_rank"], runs=5, limit=6, seed=3)


def test_runs_are_means_with_quantiles_of_single_runs(rows: list[sv.Measurement]) -> None:
    """Each with its own draw of utterances, and its own order; quantiles by hand, between the ranks."""
    model = tuned()
    alone = [
        sv.MEASURES["layer_orders"](model, DATA, by=["forward", "bi", "jacobian_rank"], limit=6, seed=seed)
        for seed in range(3, 8)
    ]
    assert [row.where for row in rows if "quantile" not in row.where] == [row.where for row in alone[0]]
    spread = 0.0
    for mean, *single in zip((row for row in rows if "quantile" not in row.where), *alone, strict=True):
        assert {row.where["dropped"] for row in single} == {mean.where["dropped"]} and mean.error is None
        values = sorted(row.value for row in single)
        assert mean.value == pytest.approx(sum(values) / 5) and mean.n == 6
        edges = {row.where["quantile"]: row.value for row in rows if row.where.items() > mean.where.items()}
        # Of five values the quantile q lies 4 q of the way through: a tenth of a step from either end.
        assert edges[0.025] == pytest.approx(values[0] + 0.1 * (values[1] - values[0]))
        assert edges[0.975] == pytest.approx(values[4] - 0.1 * (values[4] - values[3]))
        spread = max(spread, values[4] - values[0])
    assert spread > 0, "runs differ, or nothing is tested"


def test_runs_of_all_utterances_differ_by_their_orders_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass scores the cuts of all runs; an order that hangs on no speech is the same in each."""
    calls: list[Sequence[Sequence[int]]] = []
    module = sys.modules["sottovoce.measures.layer_orders"]
    plain = module.scores_of_cuts  # pyright: ignore[reportAttributeAccessIssue]

    def counted(task: Any, model: Any, data: Any, cuts: Any, **more: Any) -> Any:
        calls.append(cuts)
        return plain(task, model, data, cuts, **more)

    monkeypatch.setattr(module, "scores_of_cuts", counted)
    model = tuned()
    found = sv.MEASURES["layer_orders"](model, DATA, by=["forward"], runs=3)
    assert len(calls) == 1
    once = sv.MEASURES["layer_orders"](model, DATA, by=["forward"])
    values = [row.value for row in once]
    for quantile in (None, 0.025, 0.975):
        assert [row.value for row in found if row.where.get("quantile") == quantile] == pytest.approx(values)


def test_runs_are_drawn_as_bands(rows: list[sv.Measurement]) -> None:
    page = analysis_page("t", "a", rows)
    assert page.count("<polygon") == 3 and page.count("<polyline") >= 3
    assert len(re.findall(r">forward<", page)) >= 1, "the band bears its line's name, and none of its own"
    assert "quantile 0.025<" not in page
    plain = line_plot({"a": [(0, 1), (1, 2)]}, title="t", x="x", y="y")
    drawn = line_plot({"a": [(0, 1), (1, 2)]}, title="t", x="x", y="y", bands={"a": [(0, 0), (0, 9), (1, 2), (1, 2)]})
    assert "polygon" not in plain and ">10<" in drawn and ">10<" not in plain, "axes reach to the ends of the band"


def test_wrong_numbers_of_runs_are_refused() -> None:
    for runs in (0, -1, 1001):
        with pytest.raises(SottovoceError, match=f"runs={runs}, but a number from 1 to 1000"):
            sv.MEASURES["layer_orders"](tuned(), DATA, runs=runs)


def test_one_similarity_serves_all_orders() -> None:
    model = tuned()
    calls: list[int] = []

    def alike() -> Any:
        calls.append(1)
        return likeness([model], HEARD, reading="flatten", limit=640)

    for by in ("bi", "multi_bi", "core_first", "angular"):
        assert cuts_by(model, DATA, by, alike=alike) == cuts_by(model, DATA, by)  # pyright: ignore[reportArgumentType]
    assert len(calls) == 4
