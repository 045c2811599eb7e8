"""Low rank: the fast maths against plain definitions, ranks against all that there are, pairs in every family."""

import copy
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import EDITS, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from speech import toys

import sottovoce as sv
from sottovoce.analysis.low_rank import (
    decompose,
    joint_ranks,
    most_saving,
    pair_of,
    rank_for,
    saving_ranks,
    square_root,
)
from sottovoce.data.batches import samples
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in
from sottovoce.methods.low_rank import low_rank
from sottovoce.models.edits import factor, keep_feed_forward, keep_heads, tie_layers, use_int8
from sottovoce.models.encoder import Encoder
from sottovoce.models.parts import Factored
from sottovoce.models.wavlm import adopt_attention
from sottovoce.models.widths import round_width
from sottovoce.studies import inputs
from sottovoce.studies.chunks import Unfinished, sharing
from sottovoce.studies.inputs import each_moment, groups, places, unpacked

DATA = toys(train=10, dev=2, test=4)
BOTH = ["attention", "feed_forward"]
SHAPES = [(7, 5), (5, 7), (6, 6), (1, 4), (12, 3)]
quick = settings(max_examples=30, deadline=None)


def matrices(shape: tuple[int, int], rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight, and inputs of uneven variance that are not centred."""
    generator = torch.Generator().manual_seed(seed)
    outputs, width = shape
    weight = torch.randn(outputs, width, generator=generator, dtype=torch.float64)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64) * torch.logspace(0, -2, width)[:, None]
    return weight, torch.randn(rows, width, generator=generator, dtype=torch.float64) @ mix + 0.3


def truncated(weight: torch.Tensor, rank: int) -> torch.Tensor:
    """The nearest matrix of a rank, by definition."""
    left, values, right = np.linalg.svd(weight.numpy(), full_matrices=False)
    return torch.from_numpy(sum(values[i] * np.outer(left[:, i], right[i]) for i in range(rank)))


def product_of(weight: torch.Tensor, left: torch.Tensor, rank: int) -> torch.Tensor:
    first, second = pair_of(weight, left, rank)
    assert first.shape == (rank, weight.shape[1]) and second.shape == (weight.shape[0], rank)
    torch.testing.assert_close(first.norm(dim=1), second.norm(dim=0))
    return second @ first


@pytest.mark.parametrize("shape", SHAPES)
def test_plain_cuts_are_the_nearest(shape: tuple[int, int]) -> None:
    weight, _ = matrices(shape, 1, 0)
    found = decompose(weight)
    torch.testing.assert_close(found.values, torch.from_numpy(np.linalg.svd(weight.numpy())[1]))
    for rank in range(1, min(shape) + 1):
        torch.testing.assert_close(product_of(weight, found.left, rank), truncated(weight, rank))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [2, 40])  # fewer inputs than numbers in them: the moment is singular
def test_cuts_by_inputs_change_the_outputs_the_least(shape: tuple[int, int], rows: int) -> None:
    weight, heard = matrices(shape, rows, 1)
    outputs = heard @ weight.T
    plain, found = decompose(weight), decompose(weight, heard.T @ heard)
    # The singular values of the outputs themselves: no matrix of a rank can come nearer than their tail.
    values = torch.zeros(min(shape), dtype=torch.float64)
    values[: min(outputs.shape)] = torch.linalg.svdvals(outputs)[: len(values)]
    scale = float(outputs.norm())
    torch.testing.assert_close(found.values, values, rtol=1e-6, atol=1e-4 * scale)
    for rank in range(1, min(shape) + 1):
        error = (outputs - heard @ product_of(weight, found.left, rank).T).norm()
        best = values[rank:].square().sum().sqrt()
        assert float(error) == pytest.approx(float(best), rel=1e-5, abs=1e-5 * scale)
        assert error <= (outputs - heard @ product_of(weight, plain.left, rank).T).norm() + 1e-5 * scale
    torch.testing.assert_close(product_of(weight, found.left, min(shape)), weight)


def test_a_ridge_decides_where_nothing_was_heard() -> None:
    weight, _ = matrices((6, 4), 1, 2)
    silent = decompose(weight, torch.zeros(4, 4))
    torch.testing.assert_close(product_of(weight, silent.left, 2), truncated(weight, 2))


def test_roots_of_moments_that_rounding_made_indefinite() -> None:
    _, heard = matrices((3, 6), 3, 3)
    moment = heard.T @ heard
    shaken = moment - 1e-9 * torch.eye(6, dtype=torch.float64)
    assert float(torch.linalg.eigvalsh(shaken)[0]) < 0
    for square in (moment + torch.eye(6, dtype=torch.float64), shaken):
        root = square_root(square)
        torch.testing.assert_close(root @ root.T, square, rtol=0, atol=1e-7)
    weight = torch.eye(6, dtype=torch.float64)[:4]
    assert bool(decompose(weight.T.contiguous(), shaken[:4, :4]).values.isfinite().all())


@given(st.lists(st.floats(0, 10), min_size=1, max_size=9), st.floats(0.01, 0.99))
@quick
def test_energy_keeps_just_enough(drawn: list[float], energy: float) -> None:
    values = torch.tensor(sorted(drawn, reverse=True), dtype=torch.float64)
    shares = [math.fsum(v * v for v in values[:rank].tolist()) for rank in range(len(values) + 1)]
    found = rank_for(values, energy)
    assert 1 <= found <= len(values)
    assert shares[found] >= energy * shares[-1] * (1 - 1e-12)
    assert found == 1 or shares[found - 1] <= energy * shares[-1] * (1 + 1e-12)


def test_ranks_that_save_and_their_multiples() -> None:
    for outputs, width in product(range(9), range(9)):
        saving = [rank for rank in range(1, 99) if rank * (outputs + width) < outputs * width]
        assert most_saving(outputs, width) == len(saving)
        for multiple in (1, 2, 3):
            assert list(saving_ranks(outputs, width, multiple)) == [r for r in saving if r % multiple == 0]
    assert [round_width(rank, 4, 10, down=True) for rank in (1, 4, 7, 8, 10)] == [4, 4, 4, 8, 8]
    assert round_width(2, 4, 3, down=True) == 3


def spectra(shapes: list[tuple[int, int]], seed: int, decay: float) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy(np.sort(rng.uniform(0.1, 3.0, min(shape)) * decay ** np.arange(min(shape)))[::-1].copy())
        for shape in shapes
    ]


def everything(shapes: list[tuple[int, int]], values: list[torch.Tensor], multiple: int) -> list[list[Any]]:
    """Each matrix's possible (numbers, error, rank)."""
    found = []
    for (outputs, width), singular in zip(shapes, values, strict=True):
        squares = [value * value for value in singular.tolist()]
        ranks = [rank for rank in range(multiple, 99, multiple) if rank * (outputs + width) < outputs * width]
        rows: list[Any] = [(rank * (outputs + width), math.fsum(squares[rank:]), rank) for rank in ranks]
        found.append([*rows, (outputs * width, 0.0, None)])
    return found


@pytest.mark.parametrize("multiple", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_joint_ranks_are_the_best_of_their_size(seed: int, multiple: int) -> None:
    shapes = [(9, 12), (10, 10), (16, 6)]
    values = spectra(shapes, seed, 0.3 + 0.06 * seed)
    rows = everything(shapes, values, multiple)
    choices = [(sum(c for c, _, _ in choice), math.fsum(e for _, e, _ in choice)) for choice in product(*rows)]
    priced: list[int] = []
    for price in np.geomspace(1e-6, 1.0, 60):
        # Best at a price for each number: then the best of its size, and what greed comes past.
        chosen = [min(row, key=lambda entry: (entry[1] + price * entry[0], entry[0])) for row in rows]
        priced.append(sum(c for c, _, _ in chosen))
        assert joint_ranks(values, shapes, priced[-1], multiple=multiple) == [rank for _, _, rank in chosen]
        best = min(error for size, error in choices if size <= priced[-1])
        assert math.fsum(e for _, e, _ in chosen) == pytest.approx(best)
    assert len(set(priced)) > 4
    least = sum(row[0][0] for row in rows)
    for budget in range(least, sum(row[-1][0] for row in rows) + 1, 7):
        found = joint_ranks(values, shapes, budget, multiple=multiple)
        picked = [next(e for e in row if e[2] == rank) for row, rank in zip(rows, found, strict=True)]
        size, error = sum(c for c, _, _ in picked), math.fsum(e for _, e, _ in picked)
        assert size <= budget
        # Nothing that takes error away fits any more.
        left = budget - size
        assert not [e for p, row in zip(picked, rows, strict=True) for e in row if p[0] < e[0] <= p[0] + left]
        # No worse than the best that the next smaller size with a price has.
        below = max([least, *(p for p in priced if p <= budget)])
        assert error <= min(e for s, e in choices if s <= below) + 1e-12 or below == least
    with pytest.raises(SottovoceError, match="the lowest ranks need"):
        joint_ranks(values, shapes, least - 1, multiple=multiple)


def test_greed_is_best_at_every_budget_where_steps_cost_the_same() -> None:
    shapes = [(8, 8), (8, 8)]
    values = [torch.logspace(0, -7, 8, dtype=torch.float64), torch.logspace(0.3, -6, 8, dtype=torch.float64)]
    rows = everything(shapes, values, 1)
    for budget in range(32, 129):
        found = joint_ranks(values, shapes, budget)
        picked = [next(e for e in row if e[2] == rank) for row, rank in zip(rows, found, strict=True)]
        best = min(a[1] + b[1] for a, b in product(*rows) if a[0] + b[0] <= budget)
        assert picked[0][1] + picked[1][1] == pytest.approx(best)


def slow_moments(model: Any, utterances: list[Any]) -> dict[str, torch.Tensor]:
    """What enters every Linear of the layers, one utterance at a time and nothing padded."""
    adopt_attention(model)
    body, encoder = sv.Anatomy(model), Encoder(model)
    found = {place.path: body.base.get_submodule(place.path) for place in places(model, BOTH)}
    sums = {path: torch.zeros(m.in_features, m.in_features, dtype=torch.float64) for path, m in found.items()}
    frames = 0

    def watch(path: str) -> Any:
        def hook(module: Any, args: tuple[torch.Tensor, ...]) -> None:
            for frame in args[0][0, :frames].double():
                sums[path] += torch.outer(frame, frame)

        return found[path].register_forward_pre_hook(hook)

    handles = [watch(path) for path in found]
    with torch.no_grad(), encoder.exact():
        for utterance in utterances:
            frames = max(1, encoder.frames(len(samples(utterance))))
            encoder.states(encoder.inputs([samples(utterance)]))
    for handle in handles:
        handle.remove()
    return sums


def test_moments_equal_a_plain_loop(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "CHUNK", 2)
    model = tiny(family, num_hidden_layers=2).double()
    found = places(model, BOTH)
    slow = slow_moments(model, [u for u in DATA if u.split == "train"])
    fast = dict(each_moment(model, DATA, [place.source for place in found], what="x"))
    for place in found:
        wanted = slow[place.path]
        torch.testing.assert_close(fast[place.source], wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))
    # Only what differs is worked out; rotary positions turn what enters query and key alone.
    rotary = family == "wav2vec2-conformer-rotary"
    assert len(fast) == 2 * (2 + rotary + 2 * len(sv.Anatomy(model).family.feed_forwards))


def test_a_shared_layer_is_heard_every_time() -> None:
    model = tiny("hubert").double()
    tie_layers(model, 1)
    path = "encoder.layers.0.attention.q_proj"
    slow = slow_moments(model, [u for u in DATA if u.split == "train"])
    torch.testing.assert_close(dict(each_moment(model, DATA, [path], what="x"))[path], slow[path])


def test_moments_go_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "CHUNK", 2)
    model, paths = tiny("wavlm"), [place.source for place in places(tiny("wavlm"), BOTH)]
    alone = dict(each_moment(model, DATA, paths, what="x"))
    calls, honest = [0], inputs.input_moments

    def interrupted(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return honest(*args)

    monkeypatch.setattr(inputs, "input_moments", interrupted)
    with working_in(tmp_path), pytest.raises(KeyboardInterrupt):
        dict(each_moment(model, DATA, paths, what="x"))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    with working_in(tmp_path):
        again = dict(each_moment(model, DATA, paths, what="x"))
    assert calls[0] == 3 + 3 and all(torch.equal(again[path], alone[path]) for path in alone)
    # Others do a part each; and what does not fit into memory at once takes several passes.
    monkeypatch.setattr(inputs, "NUMBERS", 5_000)
    for part in (1, 2):
        with sharing(tmp_path / "shares", part, 2), pytest.raises(Unfinished):
            dict(each_moment(model, DATA, paths[:3], what="x"))
    with sharing(tmp_path / "shares"):
        together = dict(each_moment(model, DATA, paths[:3], what="x"))
    assert all(torch.equal(together[path], alone[path]) for path in together)
    passes = dict(each_moment(model, DATA, paths, what="x"))
    assert list(passes) == list(alone) and all(torch.equal(passes[path], alone[path]) for path in alone)


def test_groups_hold_at_most_so_many_numbers() -> None:
    assert groups({"a": 10_000, "b": 5_000, "c": 5_000, "d": 20_000}) == [["a", "b", "c"], ["d"]]
    assert torch.equal(unpacked(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))[2], torch.tensor([3.0, 5.0, 6.0]).double())


def pairs(model: Any) -> dict[str, int]:
    base = sv.Anatomy(model).base
    return {path: part.rank for path, part in base.named_modules() if isinstance(part, Factored)}


def weights(model: Any, paths: list[str]) -> int:
    """Numbers in the weights at these places, in pairs or whole."""
    parts = [sv.Anatomy(model).base.get_submodule(path) for path in paths]
    return sum(p.numel() for part in parts for p in part.parameters() if p.dim() == 2)


def answers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**sv.Anatomy(model).dummy_inputs(0.6, batch=2, seed=3))[0]


@pytest.mark.parametrize("by", ["svd", "activation-aware"])
def test_every_family_keeps_its_budget(family: str, by: Any) -> None:
    model = tiny(family, num_hidden_layers=2, head="ForSequenceClassification" if family != "sew" else "")
    before = copy.deepcopy(model.state_dict())
    shapes = {
        place.path: tuple(sv.Anatomy(model).base.get_submodule(place.path).weight.shape)
        for place in places(model, BOTH)
    }
    whole = sum(math.prod(shape) for shape in shapes.values())
    small = low_rank(model, DATA, ratio=0.6, by=by, limit=4)
    ranks, size = pairs(small), weights(small, list(shapes))
    steps = [sum(shapes[path]) for path, rank in ranks.items() if rank < most_saving(*shapes[path])]
    assert ranks and 0.6 * whole - max(steps) < size <= 0.6 * whole
    assert all(rank <= most_saving(*shapes[path]) for path, rank in ranks.items())
    assert torch.isfinite(answers(small)).all() and not torch.equal(answers(small), answers(model))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert sv.macs(small, seconds=0.6)[0].value < sv.macs(model, seconds=0.6)[0].value


@pytest.mark.parametrize("family", ["hubert", "wav2vec2-conformer-rotary", "whisper"])
def test_reloads_bit_for_bit_and_is_the_same_every_time(family: str, folder: Path) -> None:
    model = tiny(family, head="ForSequenceClassification")
    wish: dict[str, Any] = {"by": "activation-aware", "energy": 0.9, "round_to": 2, "limit": 6}
    small, again = low_rank(model, DATA, **wish), low_rank(model, DATA, **wish)
    assert pairs(small) and all(rank % 2 == 0 for rank in pairs(small).values())
    assert all(torch.equal(tensor, small.state_dict()[name]) for name, tensor in again.state_dict().items())
    sv.save(small, folder)
    assert torch.equal(answers(sv.load(folder)), answers(small)) and pairs(sv.load(folder)) == pairs(small)


@pytest.mark.parametrize("family", ["wavlm", "sew", "wav2vec2-bert"])
def test_at_full_rank_nothing_changes(family: str) -> None:
    model = tiny(family, num_hidden_layers=2)
    adopt_attention(model)
    whole, found = copy.deepcopy(model), places(model, BOTH)
    for source, moment in each_moment(model, DATA, [place.source for place in found], what="x"):
        for place in (place for place in found if place.source == source):
            weight = sv.Anatomy(model).base.get_submodule(place.path).weight
            full = min(weight.shape)
            factor(whole, place.path, full, pair=pair_of(weight, decompose(weight, moment).left, full))
    assert len(pairs(whole)) == len(found)
    torch.testing.assert_close(answers(whole), answers(model), rtol=1e-5, atol=1e-5)


def test_energy_and_rank_choose_as_they_say() -> None:
    model = tiny("hubert")
    base, small = sv.Anatomy(model).base, low_rank(model, energy=0.7)
    assert pairs(small)
    for place in places(model, BOTH):
        weight = base.get_submodule(place.path).weight.detach().double()
        kept = torch.linalg.svdvals(weight).square().cumsum(0) / weight.square().sum()
        wanted = 1 + int((kept < 0.7).sum())
        assert pairs(small).get(place.path) == (wanted if wanted * sum(weight.shape) < weight.numel() else None)
    # At rank 16 a square of 32 would be as large as its pair.
    weight = base.encoder.layers[0].attention.k_proj.weight.detach().double()
    kept = torch.linalg.svdvals(weight).square().cumsum(0) / weight.square().sum()
    for last, wanted in ((14, 15), (15, None)):
        energy = float(kept[last - 1] + kept[last]) / 2
        assert pairs(low_rank(model, energy=energy)).get("encoder.layers.0.attention.k_proj") == wanted
    few = low_rank(model, rank=11, parts=["query", "output"], round_to=4)
    assert set(pairs(few).values()) == {8} and len(pairs(few)) == 8
    weight = base.encoder.layers[2].attention.q_proj.weight.detach().double()
    torch.testing.assert_close(few.encoder.layers[2].attention.q_proj.weight.detach().double(), truncated(weight, 8))


def test_outputs_of_the_first_layer_are_the_best_that_there_are() -> None:
    model = tiny("hubert", num_hidden_layers=1).double()
    heard: list[torch.Tensor] = []
    query = model.encoder.layers[0].attention.q_proj
    handle = query.register_forward_pre_hook(lambda module, args: heard.append(args[0][0]))
    with torch.no_grad(), Encoder(model).exact():
        for utterance in (u for u in DATA if u.split == "train"):
            Encoder(model).states(Encoder(model).inputs([samples(utterance)]))
    handle.remove()
    frames = torch.cat(heard)
    outputs = frames @ query.weight.detach().T
    for rank in (1, 4, 9):
        errors = {}
        for by in ("svd", "activation-aware"):
            small = low_rank(model, DATA, rank=rank, by=by, parts=["query"], limit=None)
            errors[by] = float((outputs - frames @ small.encoder.layers[0].attention.q_proj.weight.detach().T).norm())
        tail = float(torch.linalg.svdvals(outputs)[rank:].norm())
        assert errors["activation-aware"] == pytest.approx(tail, rel=1e-4) and errors["svd"] > 1.01 * tail


def test_layers_without_heads_or_units_are_left_alone() -> None:
    model = tiny("hubert")
    keep_heads(model, 0, [])
    keep_heads(model, 1, [2])
    keep_feed_forward(model, 3, [])
    small = low_rank(model, DATA, ratio=0.5, by="activation-aware", limit=3)
    assert not [path for path in pairs(small) if "layers.0.attention" in path or "layers.3.feed" in path]
    assert len(places(model, BOTH)) == 3 * 4 + 3 * 2 and torch.isfinite(answers(small)).all()


def test_what_learns_and_what_is_biased_stay_so() -> None:
    model = tiny("wavlm").train()
    model.encoder.layers[0].attention.q_proj.weight.requires_grad = False
    small = low_rank(model, rank=3, parts=["query"])
    pair, old = small.encoder.layers[0].attention.q_proj, model.encoder.layers[0].attention.q_proj
    assert pair.training and not pair.first.weight.requires_grad and torch.equal(pair.bias, old.bias)
    assert small.encoder.layers[1].attention.q_proj.second.weight.requires_grad
    halves = low_rank(tiny("hubert").to(torch.bfloat16), ratio=0.5)
    assert {p.dtype for p in halves.parameters()} == {torch.bfloat16}


def test_a_given_pair_must_fit() -> None:
    model, path = tiny("hubert"), "encoder.layers.0.attention.q_proj"
    first, second = torch.randn(2, 32), torch.randn(32, 2)
    factor(model, path, 2, pair=(first, second))
    assert torch.equal(model.get_submodule(path).weight, second @ first)
    first.zero_()
    assert model.get_submodule(path).first.weight.abs().min() > 0
    with pytest.raises(SottovoceError, match=r"at rank 3 wants \[\(3, 32\), \(32, 3\)\]"):
        factor(model, path.replace("q_proj", "k_proj"), 3, pair=(first, second))


def test_speech_tells_which_directions_matter() -> None:
    model = sv.load("small-melhubert-keywords")
    train, test = ([u for u in DATA if u.split == split] for split in ("train", "test"))
    encoder = Encoder(model)

    def last(other: Any) -> torch.Tensor:
        with torch.no_grad(), Encoder(other).exact():
            return torch.cat([Encoder(other).states(encoder.inputs([samples(u)]))[-1][0] for u in test])

    wanted = last(model)
    errors = {
        by: float((last(low_rank(model, train, ratio=0.5, by=by)) - wanted).norm() / wanted.norm())
        for by in ("svd", "activation-aware")
    }
    assert errors["activation-aware"] < 0.5 * errors["svd"]


def broken(model: Any) -> Any:
    with torch.no_grad():
        model.encoder.layers[2].final_layer_norm.weight[0] = torch.nan
    return low_rank(model, DATA, ratio=0.5, by="activation-aware", limit=2)


def quantized(model: Any) -> Any:
    use_int8(model, {"encoder.layers.0.attention.q_proj": None})
    return low_rank(model, rank=2)


def after(edit: str, **wish: Any) -> Callable[[Any], Any]:
    def call(model: Any) -> Any:
        EDITS[edit](model)
        return low_rank(model, **wish)

    return call


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: low_rank(m), "needs one of rank, energy and ratio, but none came"),
        (lambda m: low_rank(m, rank=0, ratio=0.5), "but rank=0, ratio=0.5 came"),
        (lambda m: low_rank(m, energy=1.0), "energy=1.0"),
        (lambda m: low_rank(m, ratio=0.0), "ratio=0.0"),
        (lambda m: low_rank(m, ratio=math.nan), "ratio=nan"),
        (lambda m: low_rank(m, rank=33), "rank=33, but .* has full rank 32; give 1-32"),
        (lambda m: low_rank(m, rank=0), "rank=0"),
        (lambda m: low_rank(m, rank=16), "from rank 16 on nothing is saved; give 1-15"),
        (lambda m: low_rank(m, rank=3, round_to=16), "rank=3, 16 by round_to=16, makes"),
        (lambda m: low_rank(m, rank=3, round_to=0), "round_to=0"),
        (lambda m: low_rank(m, energy=0.5, round_to=20), "multiple of 20 saves anything"),
        (lambda m: low_rank(m, energy=0.9999), "save nothing in any of the 24 Linears"),
        (lambda m: low_rank(m, ratio=0.01), "ratio=0.01, but at the lowest ranks there are, 1, .* give 0.0"),
        (lambda m: low_rank(m, rank=4, parts=["quary"]), "unknown part 'quary'; did you mean 'query'"),
        (lambda m: low_rank(m, rank=4, parts=[]), "no Linear left in any layer"),
        (lambda m: low_rank(m, rank=4, by="activation-aware"), "by=activation-aware needs data"),
        (lambda m: low_rank(m, DATA, rank=4, by="activation-aware", limit=0), "limit=0"),
        (lambda m: sv.METHODS["low_rank"](m, rank=4, by="knn"), "by='knn'"),
        (after("factor", rank=2), "is a pair of low rank already"),
        (quantized, "low_rank: this model is quantised"),
        (after("mimic_linear", rank=2), "mimic layers stand in"),
        (after("no_feed_forward", rank=24, parts=["feed_forward"]), "from rank 20 on"),
        (broken, r"what enters 'encoder.layers.3.attention.q_proj' has NaN"),
    ],
)
def test_nonsense_is_refused(call: Any, sentence: str) -> None:
    model = tiny("hubert")
    with pytest.raises(SottovoceError, match=sentence):
        call(model)


def test_the_least_ratio_that_the_error_names_is_possible() -> None:
    with pytest.raises(SottovoceError) as caught:
        low_rank(tiny("hubert"), ratio=0.01)
    least = float(str(caught.value).split("give ")[1].split(" ")[0])
    assert set(pairs(low_rank(tiny("hubert"), ratio=least)).values()) == {1}
