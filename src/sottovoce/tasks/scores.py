"""Error rates with their intervals: words and phones, classes, and pairs of speakers."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
import torch

from sottovoce.errors import SottovoceError

# As many multiplicities of the bootstrap are in memory at once: 32 MB.
CHUNK = 4_000_000
Values = Sequence[object] | np.ndarray | torch.Tensor


@dataclass(frozen=True, eq=False)
class Tally:
    """What was counted in each utterance (errors, or what was right), and out of how many.

    Example:
        >>> Tally(np.array([1.0, 0.0]), np.array([3.0, 5.0])).value
        0.125
    """

    hits: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        for name in ("hits", "counts"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        if self.hits.ndim != 1 or self.hits.shape != self.counts.shape or not self.hits.size:
            raise SottovoceError(
                f"hits of shape {self.hits.shape} and counts of shape {self.counts.shape} came, but two lists with "
                "one entry for each utterance are wanted; give at least one utterance."
            )
        for name in ("hits", "counts"):
            values = getattr(self, name)
            if not np.all(np.isfinite(values) & (values >= 0)):
                raise SottovoceError(
                    f"{name} hold a number that is negative, infinite or NaN; give counts of 0 or more."
                )
        if not self.counts.any():
            raise SottovoceError("all counts are 0, so there is nothing to divide by; give an utterance with a label.")

    @property
    def value(self) -> float:
        """All hits over all counts."""
        return float(self.hits.sum() / self.counts.sum())


def ratio_interval(tally: Tally, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The value of a tally and half the width of its 95 % percentile bootstrap interval over utterances.

    The half width of a single utterance is 0: nothing is known about its spread.

    Example:
        >>> ratio_interval(Tally(np.array([1.0, 1.0]), np.array([4.0, 4.0])))
        (0.25, 0.0)
    """
    pairs = np.stack([tally.hits, tally.counts], axis=1)
    sums = np.concatenate([chunk @ pairs for chunk in _multiplicities(len(pairs), draws, seed)])
    # A draw of nothing but empty references has no rate.
    hits, counts = sums[sums[:, 1] > 0].T
    return tally.value, _half_width(hits / counts)


def edit_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int]:
    """The least number of insertions, deletions and substitutions of tokens, and the length of the reference.

    Example:
        >>> edit_counts(["we", "call", "it"], ["we", "call"])
        (1, 3)
    """
    ((errors, length),) = _edits([reference], [hypothesis])
    return errors, length


def edit_tally(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> Tally:
    """`edit_counts` of many utterances; an empty reference counts 0, and what was put there is errors all the same.

    Example:
        >>> edit_tally([["a", "b"], ["c"]], [["a"], ["c"]]).value
        0.3333333333333333
    """
    _same_length("references", references, "hypotheses", hypotheses)
    errors, lengths = zip(*_edits(references, hypotheses), strict=True)
    return Tally(np.array(errors), np.array(lengths))


def _edits(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    for tokens in (*references, *hypotheses):
        if isinstance(tokens, str):
            raise SottovoceError(f"the text {tokens!r} came, but a list of tokens is wanted; give text.split().")
    # Tokens go in as numbers: jiwer splits at spaces, and a token may be, or hold, one.
    numbers: dict[str, str] = {}

    def joined(tokens: Sequence[str]) -> str:
        return " ".join(numbers.setdefault(token, str(len(numbers))) for token in tokens)

    output = jiwer.process_words([joined(tokens) for tokens in references], [joined(tokens) for tokens in hypotheses])
    return [
        (
            sum(
                max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                for chunk in alignment
                if chunk.type != "equal"
            ),
            len(reference),
        )
        for alignment, reference in zip(output.alignments, references, strict=True)
    ]


def accuracy_tally(predicted: Values, wanted: Values) -> Tally:
    """One count for each utterance, and a hit where the prediction is what was wanted.

    Example:
        >>> accuracy_tally(["yes", "no"], ["yes", "yes"]).value
        0.5
    """
    _same_length("predicted", predicted, "wanted", wanted)
    left, right = ([*(value if isinstance(value, Sequence) else value.tolist())] for value in (predicted, wanted))
    hits = [one == other for one, other in zip(left, right, strict=True)]
    return Tally(np.array(hits), np.ones(len(hits)))


def equal_error_rate(scores: Values, same: Values, *, weights: Values | None = None) -> float:
    """The rate at which as many different pairs are accepted as pairs of the same speaker are refused.

    A pair is accepted if its score reaches the threshold; pairs of equal score move together. Between neighbouring
    thresholds both rates are interpolated linearly, which is the point where the ROC curve drawn with straight lines
    crosses the diagonal. A rate above 0.5 says that the scores are upside down.

    Example:
        >>> equal_error_rate([0.9, 0.8, 0.3, 0.1], [True, False, True, False])
        0.5
    """
    _same_length("scores", scores, "same", same)
    values, labels = _numbers(scores), _numbers(same)
    _check_scores(values, labels)
    if weights is None:
        share = np.ones(len(values))
    else:
        _same_length("scores", scores, "weights", weights)
        share = _numbers(weights)
        if share.ndim != 1 or not np.all(np.isfinite(share) & (share >= 0)):
            raise SottovoceError("weights hold a number that is negative, infinite or NaN; give weights of 0 or more.")
    order = np.argsort(-values)
    rate = _crossing(-values[order], labels[order].astype(bool), share[order])
    if rate is None:
        raise SottovoceError(
            "an equal error rate needs pairs of the same and of different speakers; one kind is missing."
        )
    return rate


def _check_scores(values: np.ndarray, labels: np.ndarray) -> None:
    if values.ndim != 1 or labels.ndim != 1:
        raise SottovoceError(f"scores of shape {values.shape} and labels of shape {labels.shape} came; give two lists.")
    if not np.all(np.isfinite(values)):
        raise SottovoceError(f"score {int(np.argmin(np.isfinite(values)))} is NaN or infinite; give finite scores.")
    if not np.isin(labels, (0, 1)).all():
        raise SottovoceError("same-speaker labels hold something other than True and False; give those.")


def _crossing(falling: np.ndarray, same: np.ndarray, weights: np.ndarray) -> float | None:
    """The equal error rate of pairs in the order of `falling` (their negated scores); None if a kind is missing."""
    accepted_same = np.cumsum(weights * same)
    accepted_other = np.cumsum(weights * ~same)
    all_same, all_other = (float(sums[-1]) if sums.size else 0.0 for sums in (accepted_same, accepted_other))
    if not (all_same and all_other):
        return None

    def rates(pair: int) -> tuple[float, float]:
        """False acceptance and false refusal where this pair is the last that is accepted."""
        if pair < 0:
            return 0.0, 1.0
        return float(accepted_other[pair]) / all_other, 1.0 - float(accepted_same[pair]) / all_same

    def excess(pair: int) -> float:
        accepted, refused = rates(pair)
        return accepted - refused

    # The excess rises from -1 to 1, so halving finds where it crosses 0; then to the ends of the pairs of equal score.
    pair = bisect_left(range(len(falling)), 0.0, key=excess)
    before = int(np.searchsorted(falling, falling[pair], side="left")) - 1
    after = int(np.searchsorted(falling, falling[pair], side="right")) - 1
    part = -excess(before) / (excess(after) - excess(before))
    return rates(before)[0] + part * (rates(after)[0] - rates(before)[0])


def pairs_error_rate(
    embeddings: np.ndarray | torch.Tensor,
    speakers: Sequence[str],
    *,
    trials: Sequence[tuple[int, int]] | None = None,
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float, int]:
    """The equal error rate of cosine scores, half the width of its 95 % interval, and the number of pairs.

    All pairs of utterances are scored, or the given trials; memory grows with their number. The interval is a
    percentile bootstrap over speakers, for pairs that share a speaker rise and fall together.

    Example:
        >>> pairs_error_rate(np.array([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]), ["a", "a", "b", "b"])
        (0.0, 0.0, 6)
    """
    unit = _unit_vectors(embeddings, speakers)
    if trials is None:
        left, right = np.triu_indices(len(unit), 1)
        scores = (unit @ unit.T)[left, right]
    else:
        left, right = _trial_columns(trials, len(unit))
        cuts = range(CHUNK // unit.shape[1] + 1, len(left), CHUNK // unit.shape[1] + 1)
        parts = zip(np.split(left, cuts), np.split(right, cuts), strict=True)
        scores = np.concatenate([np.einsum("td,td->t", unit[one], unit[other]) for one, other in parts])
    # So that pairs that differ by rounding alone are equal.
    falling = -np.round(scores, 12)
    order = np.argsort(falling)
    falling = falling[order]
    names, person = np.unique(np.asarray(speakers), return_inverse=True)
    one, other = person[left[order]], person[right[order]]
    same = one == other
    value = _crossing(falling, same, np.ones(len(same)))
    if value is None:
        kind = "different speakers" if same.any() else "the same speaker"
        raise SottovoceError(f"there is no pair of {kind} among the {len(same)} pairs; give utterances that make one.")
    rates = []
    for chunk in _multiplicities(len(names), draws, seed):
        for times in chunk:
            # A speaker drawn twice comes twice with the pairs within (not four times), and makes none with the copy.
            weights = times[one] * np.where(same, 1.0, times[other])
            rates.append(_crossing(falling, same, weights))
    # A draw that leaves one kind of pair out has no rate.
    return value, _half_width(np.array([rate for rate in rates if rate is not None])), len(same)


def _unit_vectors(embeddings: np.ndarray | torch.Tensor, speakers: Sequence[str]) -> np.ndarray:
    vectors = _numbers(embeddings)
    if vectors.ndim != 2 or not vectors.size or len(vectors) != len(speakers):
        raise SottovoceError(
            f"embeddings of shape {vectors.shape} and {len(speakers)} speakers came, but (utterances, size) and a "
            "speaker for each utterance are wanted."
        )
    lengths = np.linalg.norm(vectors, axis=1)
    bad = ~np.isfinite(lengths) | (lengths == 0)
    if bad.any():
        raise SottovoceError(
            f"embedding {int(np.argmax(bad))} is zero, NaN or infinite, so it has no direction; mend it."
        )
    return vectors / lengths[:, None]


def _trial_columns(trials: Sequence[tuple[int, int]], utterances: int) -> tuple[np.ndarray, np.ndarray]:
    columns = np.asarray(trials)
    if columns.ndim != 2 or columns.shape[1] != 2 or not np.issubdtype(columns.dtype, np.integer):
        raise SottovoceError(f"trials of shape {columns.shape} came; give pairs of the numbers of two utterances.")
    bad = ((columns < 0) | (columns >= utterances)).any(axis=1) | (columns[:, 0] == columns[:, 1])
    if bad.any():
        pair = tuple(int(number) for number in columns[np.argmax(bad)])
        raise SottovoceError(f"the trial {pair} is no pair of two utterances out of 0-{utterances - 1}; leave it out.")
    return columns[:, 0], columns[:, 1]


def _multiplicities(size: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `size` things is drawn, one row for each draw, in chunks of rows."""
    if draws < 1:
        raise SottovoceError(f"draws={draws}, but an interval needs some; give 100 or more.")
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // size)
    for start in range(0, draws, rows):
        yield rng.multinomial(size, np.full(size, 1 / size), size=min(rows, draws - start)).astype(np.float64)


def _half_width(values: np.ndarray) -> float:
    if not values.size:
        raise SottovoceError("no draw of the bootstrap had anything to count; give more draws, or more utterances.")
    low, high = np.quantile(values, (0.025, 0.975))
    return float(high - low) / 2


def _numbers(values: Values) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _same_length(name: str, values: Values, other_name: str, others: Values) -> None:
    if len(values) != len(others):
        raise SottovoceError(
            f"{len(values)} {name} and {len(others)} {other_name} came; give one of each for each utterance or pair."
        )
    if not len(values):
        raise SottovoceError(f"{name} and {other_name} are empty; give at least one of each.")
