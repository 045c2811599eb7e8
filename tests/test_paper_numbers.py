"""Whole tables and figures of counts: the mimics of arXiv 2409.16302, the compressed MelHuBERTs of arXiv 2211.09949.

The models have shapes and no data.
"""

from functools import cache
from itertools import product
from typing import Any

import pytest
import torch

import sottovoce as sv
from sottovoce import edits
from sottovoce.analysis.sparsity import zero_count
from sottovoce.measures.macs import SUPERB_SAMPLES, macs_by_part

# Parameters by wav2vec2-base and wavlm-base (which agree), wav2vec2-large, wavlm-large. The networks of the same shapes
# that never saw a teacher ("non-mimic") have the same counts.
MIMICS: dict[tuple[Any, int, int], tuple[int, int, int]] = {
    # The head alone: the tables have no row for it, but each row less what its mimic layers hold, which is the same.
    ("linear", 0, 768): (4_801_315, 4_998_179, 5_004_323),
    ("linear", 1, 32): (4_851_331, 5_064_835, 5_070_979),
    ("linear", 2, 32): (4_901_283, 5_131_427, 5_137_571),
    ("linear", 1, 768): (5_984_035, 6_574_371, 6_580_515),
    ("linear", 2, 768): (7_165_219, 8_149_027, 8_155_171),
    ("linear", 1, 4096): (11_105_827, 13_400_099, 13_406_243),
    ("linear", 2, 4096): (17_402_147, 21_793_827, 21_799_971),
    ("transformer", 1, 32): (7_216_707, 9_267_267, 9_273_411),
    ("transformer", 2, 32): (9_632_099, 13_536_355, 13_542_499),
    ("transformer", 1, 768): (8_347_939, 10_775_331, 10_781_475),
    ("transformer", 2, 768): (11_894_563, 16_552_483, 16_558_627),
    ("transformer", 1, 4096): (13_463_075, 17_594_403, 17_600_547),
    ("transformer", 2, 4096): (22_124_835, 30_190_627, 30_196_771),
}
COLUMNS = {"wav2vec2-base": 0, "wavlm-base": 0, "wav2vec2-large": 1, "wavlm-large": 2}


def parameters(model: Any) -> int:
    return int(sv.size(model)[0].value)


@pytest.mark.parametrize("shape", COLUMNS)
@pytest.mark.parametrize("mimic", MIMICS)
def test_mimics(shape: str, mimic: tuple[Any, int, int]) -> None:
    """Tables 1-4 of arXiv 2409.16302 count no mask embedding behind a mimic."""
    kind, layers, width = mimic
    with torch.device("meta"):
        # The stack goes whole, so one layer of it is enough.
        options = {"num_labels": 35, "mask_time_prob": 0.0, "num_hidden_layers": 1}
        model = sv.new(shape, head="ForSequenceClassification", **options)
    edits.use_mimic(model, kind=kind, layers=layers, width=width)
    assert parameters(model) == MIMICS[mimic][COLUMNS[shape]]


Structure = tuple[int, int, int]

# The trade-off figure of arXiv 2211.09949, as read off the plot: billions of multiply-accumulates for a second of
# speech, millions of parameters. Each structure is so many layers of so many heads and inner units.
FIGURE: dict[Structure, tuple[float, float]] = {
    (12, 12, 3072): (4.94, 90.2),
    # The first layers alone, and the students of as many layers.
    (6, 12, 3072): (2.58, 47.7),
    (2, 12, 3072): (1.02, 19.4),
    # Heads: 120, 108, 84, 72, 48, 36, 24 and 12 are left, one less a layer each round.
    (12, 10, 3072): (4.63, 85.5),
    (12, 9, 3072): (4.49, 83.1),
    (12, 7, 3072): (4.14, 78.4),
    (12, 6, 3072): (4.00, 76.1),
    (12, 4, 3072): (3.70, 71.3),
    (12, 3, 3072): (3.52, 69.0),
    (12, 2, 3072): (3.38, 66.6),
    (12, 1, 3072): (3.21, 64.3),
    # What the figure calls low rank: rows of the feed-forward parts.
    (12, 12, 2560): (4.45, 80.8),
    (12, 12, 2048): (3.96, 71.4),
    (12, 12, 1536): (3.51, 61.9),
    (12, 12, 1024): (3.07, 52.5),
    (12, 12, 512): (2.58, 43.0),
    # The combination: a student of 6 layers, then fewer heads, then fewer inner units.
    (6, 9, 3072): (2.36, 44.2),
    (6, 6, 3072): (2.13, 40.7),
    (6, 6, 2560): (1.87, 36.0),
    (6, 6, 2048): (1.64, 31.2),
    (6, 6, 1536): (1.42, 26.5),
    (6, 6, 1024): (1.16, 21.8),
    (6, 6, 512): (0.93, 17.0),
}
WHOLE = (12, 12, 3072)
COMBINATION = list(FIGURE)[-7:]
# By the share of zeros; what is zero counts neither as a parameter nor as a multiplication.
SPARSE = {
    0.2: (4.1, 73.2),
    0.4: (3.25, 56.2),
    0.5: (2.8, 47.7),
    0.6: (2.4, 39.2),
    0.7: (1.97, 30.7),
    0.8: (1.57, 22.2),
    0.85: (1.35, 18.0),
    0.9: (1.12, 13.7),
    0.92: (1.03, 12.0),
    0.94: (0.93, 10.3),
}
# The smallest round ones that hold at every point. A reading of the plot is good to 0.03 billion at best.
SLACK_MACS, SLACK_PARAMETERS = 0.031, 0.0035
PRUNABLE = 85_017_600


@cache
def melhubert(layers: int = 12, heads: int = 12, width: int = 3072) -> Any:
    """With the head over 512 clusters, which the published parameters count."""
    with torch.device("meta"):
        model = sv.new("melhubert", head="ForCTC", vocab_size=512, num_hidden_layers=layers, intermediate_size=width)
    for layer in range(layers if heads < 12 else 0):
        edits.keep_heads(model, layer, range(heads))
    return model


@cache
def macs_a_second(structure: Structure, samples: tuple[int, ...]) -> dict[str, float]:
    """Billions for a second of speech: of the head, of the matrices that weight pruning takes, of the rest."""
    found = {"head": 0.0, "matrices": 0.0, "rest": 0.0}
    for each in samples:
        for where, count in macs_by_part(melhubert(*structure), each).items():
            pruned = where[-1] in ("attention_projections", "feed_forward")
            kind = "head" if where == ("head",) else "matrices" if pruned else "rest"
            found[kind] += count / 1e9 / (sum(samples) / 16_000)
    return found


def gigamacs(
    structure: Structure, samples: tuple[int, ...] = SUPERB_SAMPLES, *, head: bool = False, zeros: float = 0.0
) -> float:
    """Billions for a second of speech, less the share that multiplies by a weight that is zero."""
    found = macs_a_second(structure, samples)
    return found["rest"] + found["matrices"] * (1 - zeros) + found["head"] * head


@pytest.mark.parametrize("structure", FIGURE)
def test_smaller_melhuberts(structure: Structure) -> None:
    rate, count = FIGURE[structure]
    assert gigamacs(structure) == pytest.approx(rate, abs=SLACK_MACS)
    assert parameters(melhubert(*structure)) / 1e6 == pytest.approx(count, rel=SLACK_PARAMETERS)


@pytest.mark.parametrize("sparsity", SPARSE)
def test_sparse_melhuberts(sparsity: float) -> None:
    rate, count = SPARSE[sparsity]
    model = melhubert()
    pruned = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name and "norm" not in name)
    assert pruned == PRUNABLE
    assert gigamacs(WHOLE, zeros=sparsity) == pytest.approx(rate, abs=SLACK_MACS)
    left = parameters(model) - zero_count(sparsity, pruned)
    assert left / 1e6 == pytest.approx(count, rel=SLACK_PARAMETERS)


def test_what_the_figure_counts() -> None:
    """The encoder without its head, on SUPERB's lengths: every other count that was tried is further from it.

    Ten seconds, which the figure cannot tell from SUPERB's lengths, fit as well; nine and eleven do not.
    """

    def distance(samples: tuple[int, ...], head: bool) -> float:
        """The root of the mean square over all points."""
        away = [gigamacs(structure, samples, head=head) - rate for structure, (rate, _) in FIGURE.items()]
        away += [gigamacs(WHOLE, samples, head=head, zeros=share) - rate for share, (rate, _) in SPARSE.items()]
        return (sum(one**2 for one in away) / len(away)) ** 0.5

    lengths = {seconds: (16_000 * seconds,) for seconds in (1, 9, 10, 11, 20)} | {"superb": SUPERB_SAMPLES}
    found = {(name, head): distance(samples, head) for name, samples in lengths.items() for head in (False, True)}
    best = found.pop(("superb", False))
    assert best < 0.014
    assert found.pop((10, False)) == pytest.approx(best, rel=0.05)
    assert min(found.values()) > 1.5 * best


@pytest.mark.parametrize("point", COMBINATION)
def test_no_other_cut_of_six_layers_is_nearer_to_a_point_of_the_combination(point: Structure) -> None:
    """Of all numbers of heads a layer and of inner units in steps of 512, as the figure shows them.

    Steps of 128, in which the paper cuts, are too fine for the plot: 128 units weigh what a head weighs.
    """
    rate, count = FIGURE[point]
    full, fewer, thinner = (6, 12, 3072), (6, 11, 3072), (6, 12, 3072 - 512)
    found: dict[Structure, float] = {}
    for wanted, measure in ((rate, gigamacs), (count, lambda structure: parameters(melhubert(*structure)) / 1e6)):
        # Both counts are linear in heads and in units: a difference for each is enough.
        start = measure(full)
        by_head, by_units = start - measure(fewer), start - measure(thinner)
        for heads, steps in product(range(13), range(7)):
            value = start - (12 - heads) * by_head - (6 - steps) * by_units
            key = (6, heads, 512 * steps)
            found[key] = found.get(key, 0.0) + (value / wanted - 1) ** 2
    assert min(found, key=lambda key: found[key]) == point


def test_how_heads_are_spread_over_layers_changes_no_count() -> None:
    """Data-driven pruning takes them anywhere: 84 left as 12, 12, 12, 8 and then 5 a layer, against 7 in each."""
    with torch.device("meta"):
        model = sv.new("melhubert", head="ForCTC", vocab_size=512)
    for layer, heads in enumerate((12, 12, 12, 8, *(5,) * 8)):
        edits.keep_heads(model, layer, range(heads))
    even = melhubert(12, 7)
    assert parameters(model) == parameters(even)
    assert sum(macs_by_part(model, 160_000).values()) == sum(macs_by_part(even, 160_000).values())
