"""Masks of small weights, against definitions that sort everything; schedules; when a pruning waits."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sottovoce as sv
from sottovoce import edits
from sottovoce.analysis.sparsity import (
    PAPER_SPARSITIES,
    Convergence,
    block_masks,
    sparsity_steps,
    two_of_four_masks,
    unstructured_masks,
    zero_count,
)
from sottovoce.errors import SottovoceError

Tensors = dict[str, torch.Tensor]
PRUNABLE = 85_017_600  # weights and biases of the twelve layers of MelHuBERT, but for their norms
quick = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10_000)
SHARES = st.one_of(st.floats(0, 0.999), st.sampled_from([0.0, 0.25, 0.5, 0.75]))


def weights(seed: int, *, dtype: torch.dtype = torch.float32, few: bool = False) -> Tensors:
    """Matrices and biases; with `few` values, most of them are equal to others, zeros of both signs among them."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (5, 8), "a.bias": (5,), "nothing": (0, 4), "b.weight": (3, 12), "one": (1,), "b.bias": (3,)}
    if few:
        values = torch.tensor([-1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0])
        made = {name: values[torch.randint(7, shape, generator=generator)] for name, shape in shapes.items()}
    else:
        made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {name: tensor.to(dtype) for name, tensor in made.items()}


def numbers(tensors: Tensors) -> list[tuple[str, int, float]]:
    """Every entry in order: its tensor, its place in it, its absolute value."""
    return [(n, i, abs(v)) for n, t in tensors.items() for i, v in enumerate(t.double().flatten().tolist())]


def lists(masks: Tensors) -> dict[str, list[Any]]:
    assert all(mask.dtype == torch.bool for mask in masks.values())
    return {name: mask.tolist() for name, mask in masks.items()}


def zeros(masks: Tensors) -> int:
    return sum(int((~mask).sum()) for mask in masks.values())


def unstructured_by_hand(tensors: Tensors, sparsity: float, before: Tensors | None = None) -> dict[str, list[Any]]:
    """Sort all entries by size, those dropped already first, and drop from the front."""
    masks = {name: torch.ones(tensor.shape, dtype=torch.bool) for name, tensor in tensors.items()}
    dropped = {(n, i) for n, mask in (before or {}).items() for i, kept in enumerate(mask.flatten()) if not kept}
    order = sorted(numbers(tensors), key=lambda entry: -1.0 if entry[:2] in dropped else entry[2])
    for name, place, _ in order[: round(sparsity * len(order))]:
        masks[name].view(-1)[place] = False
    return lists(masks)


@quick
@given(SEEDS, SHARES, st.booleans(), st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]))
def test_unstructured_masks_are_those_of_a_sort(seed: int, sparsity: float, few: bool, dtype: torch.dtype) -> None:
    tensors = weights(seed, dtype=dtype, few=few)
    masks = unstructured_masks(tensors, sparsity)
    assert lists(masks) == unstructured_by_hand(tensors, sparsity)
    assert zeros(masks) == round(sparsity * 85)
    assert all(masks[name].shape == tensors[name].shape for name in tensors)


def test_numbers_that_differ_in_their_last_bit_are_told_apart() -> None:
    for dtype in (torch.float32, torch.float64):
        info = torch.finfo(dtype)
        small = [0.0, info.smallest_normal / 4, info.smallest_normal, 1.0, 1.0 + info.eps, info.max]
        for sign in (1, -1):
            values = sign * torch.tensor(small, dtype=dtype)
            for count in range(6):
                kept = unstructured_masks({"w": values.flip(0)}, count / 6)["w"]
                assert kept.tolist() == [True] * (6 - count) + [False] * count, (dtype, count)


def test_one_double_among_singles_keeps_its_digits() -> None:
    tensors = {"single": torch.tensor([1.0]), "double": torch.tensor([1 - 1e-12, 1 + 1e-12], dtype=torch.float64)}
    assert lists(unstructured_masks(tensors, 1 / 3)) == {"single": [True], "double": [False, True]}
    assert lists(unstructured_masks(tensors, 2 / 3)) == {"single": [False], "double": [False, True]}


def test_of_equal_weights_the_first_go() -> None:
    tensors = {"z": torch.ones(2, 2), "a": -torch.ones(3)}
    assert lists(unstructured_masks(tensors, 5 / 7)) == {"z": [[False, False]] * 2, "a": [False, True, True]}
    assert lists(unstructured_masks(tensors, 3 / 7)) == {"z": [[False, False], [False, True]], "a": [True] * 3}


def test_views_and_tensors_that_learn_are_taken_as_they_read() -> None:
    matrix = torch.nn.Parameter(torch.tensor([[1.0, 4.0], [3.0, 2.0]]))
    masks = unstructured_masks({"turned": matrix.T, "scalar": torch.tensor(2.5)}, 0.4)
    assert lists(masks) == {"turned": [[False, True], [True, False]], "scalar": True}
    assert matrix.tolist() == [[1.0, 4.0], [3.0, 2.0]] and not masks["turned"].requires_grad


@quick
@given(SEEDS, SHARES, SHARES, st.booleans())
def test_what_is_dropped_stays_dropped_unless_it_may_revive(seed: int, one: float, other: float, few: bool) -> None:
    first, second = sorted((one, other))
    before = unstructured_masks(weights(seed, few=few), first)
    del before["one"]  # a mask that is not there drops nothing
    after_training = weights(seed + 1, few=few)
    masks = unstructured_masks(after_training, second, before=before)
    assert lists(masks) == unstructured_by_hand(after_training, second, before)
    assert zeros(masks) == round(second * 85)
    assert not any(bool((masks[name] & ~before[name]).any()) for name in before)
    again = unstructured_masks(after_training, second, before=before, revive=True)
    assert lists(again) == unstructured_by_hand(after_training, second)


def test_a_lower_sparsity_needs_revival() -> None:
    tensors = {"w": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    before = {"w": torch.tensor([False, False, True, False])}
    assert lists(unstructured_masks(tensors, 0.75, before=before)) == lists(before)
    with pytest.raises(SottovoceError, match="sparsity=0.5 drops 2 weights, but 3 are dropped already"):
        unstructured_masks(tensors, 0.5, before=before)
    assert zeros(unstructured_masks(tensors, 0.5, before=before, revive=True)) == 2
    with pytest.raises(SottovoceError, match="'v', but no such weight"):
        unstructured_masks(tensors, 0.5, before={"v": before["w"]})
    with pytest.raises(SottovoceError, match=r"shape \(2,\), its weight \(4,\)"):
        block_masks(tensors, 0.5, before={"w": before["w"][:2]})


def test_masks_zero_a_models_weights() -> None:
    model: Any = sv.new("melhubert", num_hidden_layers=1, hidden_size=32, intermediate_size=48, num_attention_heads=4)
    layers = {n: p for n, p in model.named_parameters() if "layers." in n and "norm" not in n}
    edits.zero_weights(model, unstructured_masks(layers, 0.6))
    assert sum(int((p == 0).sum()) for p in layers.values()) == zero_count(0.6, sum(p.numel() for p in layers.values()))


@quick
@given(SEEDS, st.booleans(), st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]))
def test_two_of_four_stay(seed: int, few: bool, dtype: torch.dtype) -> None:
    tensors = weights(seed, dtype=dtype, few=few)
    masks = two_of_four_masks(tensors)
    for name, tensor in tensors.items():
        if tensor.dim() < 2:
            assert masks[name].all() and masks[name].shape == tensor.shape
            continue
        wanted = []
        for row in tensor.double().tolist():
            kept = []
            for start in range(0, len(row), 4):
                best = sorted(range(start, start + 4), key=lambda place: (-abs(row[place]), place))[:2]
                kept += [place in best for place in range(start, start + 4)]
            wanted.append(kept)
        assert masks[name].tolist() == wanted


def test_two_of_four_of_equal_weights_are_the_first_two() -> None:
    assert two_of_four_masks({"w": -torch.zeros(1, 8)})["w"].tolist() == [[True, True, False, False] * 2]
    assert two_of_four_masks({"w": torch.tensor([[1.0, 2.0, -2.0, 2.0]])})["w"].tolist() == [[False, True, True, False]]


def test_two_of_four_needs_inputs_in_fours() -> None:
    with pytest.raises(SottovoceError, match="'w' has 6 inputs, but 2:4 needs a multiple of 4"):
        two_of_four_masks({"w": torch.ones(4, 6)})
    with pytest.raises(SottovoceError, match="'conv' has shape"):
        two_of_four_masks({"conv": torch.ones(4, 4, 3)})


def blocks_by_hand(tensors: Tensors, sparsity: float, size: int, before: Tensors | None = None) -> dict[str, list[Any]]:
    """Each block as a list of places, all of them sorted by their mean."""
    found, total, before = [], 0, before or {}
    masks = {n: before[n].clone() if n in before else torch.ones(t.shape, dtype=torch.bool) for n, t in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.dim() != 2:
            continue
        values, kept = tensor.double().abs(), masks[name]
        total += tensor.numel()
        for top in range(0, tensor.shape[0], size):
            for left in range(0, tensor.shape[1], size):
                rows, columns = slice(top, top + size), slice(left, left + size)
                part = (values * kept)[rows, columns]
                mean = math.fsum(part.flatten().tolist()) / part.numel()
                found.append((mean if kept[rows, columns].any() else -1.0, name, rows, columns, part.numel()))
    gone = 0
    for _, name, rows, columns, count in sorted(found, key=lambda block: block[0]):
        gone += count
        if gone > round(sparsity * total):
            break
        masks[name][rows, columns] = False
    return lists(masks)


@quick
@given(SEEDS, SHARES, st.integers(1, 13), st.sampled_from([torch.float64, torch.float32, torch.float16]), st.booleans())
def test_block_masks_are_those_of_a_sort(seed: int, sparsity: float, size: int, dtype: torch.dtype, few: bool) -> None:
    # Sums of these few values are exact, so equal means are equal in any order of adding.
    tensors = weights(seed, dtype=dtype, few=few)
    masks = block_masks(tensors, sparsity, block=size)
    assert lists(masks) == blocks_by_hand(tensors, sparsity, size)
    assert zeros(masks) <= round(sparsity * 76)
    later = weights(seed + 1, dtype=dtype, few=few)
    more = sparsity + (1 - sparsity) / 2
    masks = block_masks(later, more, block=size, before=masks)
    assert lists(masks) == blocks_by_hand(later, more, size, block_masks(tensors, sparsity, block=size))
    assert lists(block_masks(later, more, block=size, before=masks, revive=True)) == blocks_by_hand(later, more, size)


@quick
@given(SEEDS, SHARES, st.booleans())
def test_blocks_of_one_weight_are_unstructured(seed: int, sparsity: float, few: bool) -> None:
    matrices = {name: tensor for name, tensor in weights(seed, few=few).items() if tensor.dim() == 2}
    assert lists(block_masks(matrices, sparsity, block=1)) == lists(unstructured_masks(matrices, sparsity))


def test_blocks_at_an_edge_count_with_the_mean_of_what_they_hold() -> None:
    matrix = torch.full((5, 5), 3.0)
    matrix[:4, :4], matrix[4, 4] = 2.0, 1.0
    # The corner has the smallest mean, then the whole block, though its sum is the largest.
    assert block_masks({"w": matrix}, 0.05, block=4)["w"].tolist() == [[True] * 5] * 4 + [[True] * 4 + [False]]
    kept = block_masks({"w": matrix}, 17 / 25, block=4)["w"]
    assert kept.tolist() == [[False] * 4 + [True]] * 4 + [[True] * 4 + [False]]
    assert zeros({"w": block_masks({"w": matrix}, 16.4 / 25, block=4)["w"]}) == 1


def test_default_blocks_are_sixteen_wide_and_biases_stay() -> None:
    matrix = torch.ones(32, 32)
    matrix[16:, :16] = 0.5
    masks = block_masks({"w": matrix, "b": torch.zeros(32)}, 0.25)
    assert bool(masks["b"].all())
    assert torch.equal(masks["w"], matrix == 1)


def test_a_partly_dropped_block_counts_its_zeros_and_keeps_them() -> None:
    matrix = torch.tensor([[4.0, 4.0, 3.0, 3.0]])
    before = {"w": torch.tensor([[False, True, True, True]])}
    assert block_masks({"w": matrix}, 0.5, block=2)["w"].tolist() == [[True, True, False, False]]
    assert block_masks({"w": matrix}, 0.5, block=2, before=before)["w"].tolist() == [[False, False, True, True]]
    before = {"w": torch.tensor([[True, True, False, True]])}
    assert block_masks({"w": 5 + matrix}, 0.25, block=2, before=before)["w"].tolist() == before["w"].tolist()


def test_a_dropped_block_counts_before_one_of_zeros() -> None:
    before = {"w": torch.tensor([[True, True, False, False]])}
    assert block_masks({"w": torch.zeros(1, 4)}, 0.5, block=2, before=before)["w"].tolist() == before["w"].tolist()


PATTERNS: dict[str, Callable[[Tensors, float], Tensors]] = {
    "unstructured": unstructured_masks,
    "block": block_masks,
    "2:4": lambda tensors, _: two_of_four_masks(tensors),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_nothing_and_empty_tensors(pattern: str) -> None:
    masks = PATTERNS[pattern]
    assert masks({}, 0.5) == {}
    assert lists(masks({"none": torch.ones(0), "flat": torch.ones(0, 4), "thin": torch.ones(4, 0)}, 0.5)) == {
        "none": [],
        "flat": [],
        "thin": [[]] * 4,
    }
    if pattern != "2:4":
        assert not zeros(masks({"w": torch.zeros(3, 4), "b": torch.zeros(3)}, 0.0))
        assert lists(masks({"w": torch.zeros(1, 1)}, 0.4)) == {"w": [[True]]}
        assert lists(masks({"w": torch.ones(1, 1)}, 0.9)) == {"w": [[False]]}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([[1.0, 2.0, math.nan, 3.0]]), "'w' holds NaN or infinite values"),
        (torch.tensor([[1.0, -math.inf, 0.0, 3.0]]), "'w' holds NaN or infinite values"),
        (torch.tensor([[1, 2, 3, 4]]), "'w' is of torch.int64"),
        (torch.ones(1, 4, device="meta"), "'w' has no data"),
    ],
)
def test_weights_without_an_order_are_refused(pattern: str, bad: torch.Tensor, message: str) -> None:
    with pytest.raises(SottovoceError, match=message):
        PATTERNS[pattern]({"b": torch.ones(4), "w": bad}, 0.5)


@pytest.mark.parametrize("bad", [1.0, 1.5, -0.1, math.nan, math.inf])
def test_bad_sparsities_are_refused(bad: float) -> None:
    for function in (unstructured_masks, block_masks):
        with pytest.raises(SottovoceError, match="but a share of weights from 0 up to, not including, 1"):
            function({"w": torch.ones(2, 2)}, bad)
    for schedule in ("paper", "cubic", "once"):
        with pytest.raises(SottovoceError, match="sparsity="):
            sparsity_steps(bad, schedule=schedule)
    with pytest.raises(SottovoceError, match="block=0"):
        block_masks({"w": torch.ones(2, 2)}, 0.5, block=0)


def test_the_papers_sparsities() -> None:
    text = ".2 .3 .4 .5 .55 .6 .65 .675 .7 " + " ".join(f".{share}" for share in range(71, 90))
    text += " .9 .91 .915 .92 .925 .93 .935 .94 .945 .95"
    assert tuple(map(float, text.split())) == PAPER_SPARSITIES
    assert len(PAPER_SPARSITIES) == 38
    assert sparsity_steps(0.95) == PAPER_SPARSITIES


def test_the_papers_sparsities_end_at_the_wished_one() -> None:
    assert sparsity_steps(0.5) == (0.2, 0.3, 0.4, 0.5)
    assert sparsity_steps(0.66)[-3:] == (0.6, 0.65, 0.66)
    assert sparsity_steps(0.1) == (0.1,)
    assert sparsity_steps(0.97) == (*PAPER_SPARSITIES, 0.97)
    assert sparsity_steps(0.5, schedule="once") == (0.5,)


@quick
@given(st.floats(0, 0.999), st.integers(1, 60))
def test_cubic_steps_are_zhu_and_guptas(final: float, rounds: int) -> None:
    found = sparsity_steps(final, schedule="cubic", rounds=rounds)
    exact = Fraction(final)
    wanted = [float(exact - exact * Fraction(rounds - t, rounds) ** 3) for t in range(1, rounds + 1)]
    assert found == pytest.approx(wanted, rel=1e-12) and found[-1] == final
    assert list(found) == sorted(found)


def test_unknown_schedules_and_no_rounds() -> None:
    with pytest.raises(SottovoceError, match="unknown schedule 'cubik'; did you mean 'cubic'"):
        sparsity_steps(0.5, schedule="cubik")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SottovoceError, match="rounds=0"):
        sparsity_steps(0.5, schedule="cubic", rounds=0)


def test_zeros_after_each_of_the_papers_prunings() -> None:
    exact = [Fraction(str(sparsity)) * PRUNABLE for sparsity in PAPER_SPARSITIES]
    counts = [zero_count(sparsity, PRUNABLE) for sparsity in PAPER_SPARSITIES]
    assert counts == exact  # every share of the schedule is a whole number of weights
    assert counts[0] == 17_003_520 and counts[7] == 57_386_880 and counts[-1] == 80_766_720
    assert [zero_count(0.5, total) for total in (0, 1, 2, 3, 5)] == [0, 0, 1, 2, 2]


def prunings_by_hand(
    losses: list[float], every: int, look_back: int, drop: float, factor: float, waits: bool
) -> list[int]:
    """The steps after which the rule prunes, with the whole history of running means at hand."""
    pruned: list[int] = []
    decided = 0
    for step in range(1, len(losses) + 1):
        if step - decided < every:
            continue

        def mean_at(end: int) -> float:
            seen = losses[pruned[-1] if pruned else 0 : end]
            mean = math.fsum(seen[:3]) / len(seen[:3])
            for loss in seen[3:]:
                mean = factor * mean + (1 - factor) * loss
            return mean

        decided = step
        if not (pruned or waits) or mean_at(step - look_back) - mean_at(step) <= drop:
            pruned.append(step)
    return pruned


@quick
@given(SEEDS, st.integers(2, 9), st.data(), st.floats(0, 0.9), st.booleans(), st.booleans())
def test_prunings_wait_while_the_loss_falls(
    seed: int, every: int, data: st.DataObject, factor: float, waits: bool, killed: bool
) -> None:
    look_back = data.draw(st.integers(1, every - 1))
    generator = torch.Generator().manual_seed(seed)
    losses = torch.randn(80, generator=generator, dtype=torch.float64).tolist()
    state = Convergence(every=every, look_back=look_back, drop=0.1, factor=factor, first_waits=waits)
    pruned = []
    for step, loss in enumerate(losses, 1):
        state = state.saw(loss)
        if killed:
            state = Convergence(**json.loads(json.dumps(asdict(state))))
        if state.ready:
            pruned.append(step)
            state = state.pruned()
    assert pruned == prunings_by_hand(losses, every, look_back, 0.1, factor, waits)
    assert (state.step, state.prunings) == (80, len(pruned))
    assert state.prunings + state.postponed == 80 // every


def after(losses: list[float], **options: Any) -> Convergence:
    """The state after these losses and the prunings that they allow."""
    state = Convergence(**options)
    for loss in losses:
        state = state.saw(loss)
        state = state.pruned() if state.ready else state
    return state


def test_the_papers_numbers_are_the_defaults() -> None:
    state = Convergence()
    assert (state.every, state.look_back, state.drop, state.factor, state.mean_of) == (25_000, 15_000, 0.001, 0.9998, 3)
    # From 2 the loss falls by 1e-6 a step after the first pruning; over 15 000 steps the mean falls by more than 0.001.
    losses = [2.0] * 25_000 + [2.0 - 1e-6 * step for step in range(25_000)] + [1.975] * 25_000
    first = after(losses[:25_000])
    assert (first.prunings, first.postponed, first.average, first.batches) == (1, 0, 0.0, 0)
    second = after(losses[:50_000])
    assert (second.prunings, second.postponed, second.decided) == (1, 1, 50_000)
    assert second.earlier is None and after(losses).prunings == 2


def test_a_fall_of_exactly_the_allowed_is_no_fall() -> None:
    options: dict[str, Any] = {"every": 2, "look_back": 1, "factor": 0.0, "mean_of": 1, "first_waits": True}
    assert after([2.0, 1.5], drop=0.5, **options).prunings == 1
    assert after([2.0, 1.5], drop=0.49, **options).postponed == 1
    assert after([2.0, 9.0], drop=0.0, **options).prunings == 1
    assert after([2.0, 1.5], drop=0.0, **options | {"first_waits": False}).prunings == 1


def test_the_running_mean_begins_as_a_plain_mean_after_each_pruning() -> None:
    state = Convergence(every=10, look_back=2, factor=0.75)
    means = []
    for loss in (4.0, 2.0, 6.0, 8.0, 1.0):
        state = state.saw(loss)
        means.append(state.average)
    assert means == pytest.approx([4.0, 3.0, 4.0, 5.0, 4.0], abs=1e-15)
    again = state.pruned()
    assert again.saw(7.0).average == 7.0 and again.prunings == 1 and again.earlier is None


def test_ready_lasts_until_the_pruning() -> None:
    state = after([1.0] * 3, every=4, look_back=1)
    assert not state.ready
    for _ in range(3):
        state = state.saw(1.0)
        assert state.ready
    assert not state.pruned().ready and state.pruned().decided == 6


@pytest.mark.parametrize(
    "bad",
    [
        {"every": 5, "look_back": 5},
        {"look_back": 0},
        {"factor": 1.0},
        {"factor": math.nan},
        {"drop": -0.1},
        {"drop": math.nan},
        {"mean_of": 0},
    ],
)
def test_settings_that_no_training_can_follow_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(SottovoceError, match=next(reversed(bad))):
        Convergence(**bad)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_without_a_value_is_refused(loss: float) -> None:
    with pytest.raises(SottovoceError, match=f"the loss of step 2 is {loss}"):
        Convergence().saw(1.0).saw(loss)
