"""Greedy and beam decoding against all labelings there are, and n-grams against arithmetic by hand."""

import gzip
import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.errors import SottovoceError
from sottovoce.tasks.decoding import FLOOR, NGrams, beam, greedy, greedy_batch

LN10 = math.log(10)
TOY = """written by hand

\\data\\
ngram 1=5
ngram 2 = 3
ngram 3=1

\\1-grams:
-99\t<s>\t-0.1
-0.5\t</s>
-1.0\t<UNK>\t-0.2
-0.7\ta\t-0.3
-0.9 b

\\2-grams:
-0.2\t<s>\ta\t-0.05
-0.4\ta\tb\t0.1
-0.6\tb\t<unk>

\\3-grams:
-0.15\t<s>\ta\tb

\\end\\
ignored
"""


def frames(time: int, tokens: int, seed: int, scale: float = 2.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(time, tokens)) * scale
    return values - np.log(np.exp(values).sum(axis=1, keepdims=True))


def collapse(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != blank)


def labelings(log_probs: np.ndarray, blank: int) -> dict[tuple[int, ...], float]:
    """The probability of every labeling, from every path."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        labels = collapse(path, blank)
        chance = math.exp(sum(log_probs[time, token] for time, token in enumerate(path)))
        found[labels] = found.get(labels, 0.0) + chance
    return found


@pytest.fixture
def toy(tmp_path: Path) -> NGrams:
    path = tmp_path / "toy.arpa"
    path.write_text(TOY, encoding="utf-8")
    return NGrams.from_arpa(path)


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(1, 5), st.integers(0, 10_000), st.data())
def test_greedy(time: int, tokens: int, seed: int, data: st.DataObject) -> None:
    blank = data.draw(st.integers(0, tokens - 1))
    values = frames(time, tokens, seed)
    wanted = collapse(tuple(int(token) for token in values.argmax(axis=1)), blank)
    assert greedy(torch.tensor(values), blank=blank) == list(wanted)


def test_greedy_batch() -> None:
    batch = torch.tensor(np.stack([frames(9, 4, seed) for seed in range(3)]))
    batch[1, 5:] = math.nan  # padding, which nobody may look at
    lengths = [9, 5, 0]
    wanted = [greedy(batch[row, :length], blank=2) for row, length in enumerate(lengths)]
    assert greedy_batch(batch, lengths, blank=2) == greedy_batch(batch, torch.tensor(lengths), blank=2) == wanted
    assert wanted[2] == [] != wanted[1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(2, 4), st.integers(0, 10_000), st.floats(0.1, 4), st.data())
def test_beam_finds_the_best_labeling(time: int, tokens: int, seed: int, scale: float, data: st.DataObject) -> None:
    blank = data.draw(st.integers(0, tokens - 1))
    values = frames(time, tokens, seed, scale)
    chances = labelings(values, blank)
    found = beam(values, blank=blank, symbols="abcd"[:tokens], width=10_000, floor=-math.inf)
    assert chances[tuple(found)] == pytest.approx(max(chances.values()), rel=1e-9)
    # Without a language model, neither alpha nor beta nor a separator says anything.
    options = {"alpha": 9.0, "beta": 50.0, "separator": "a"}
    assert beam(torch.tensor(values), blank=blank, symbols="abcd"[:tokens], width=10_000, **options) == found


def test_beam_beats_greedy_where_paths_add_up() -> None:
    halves = np.log([[0.6, 0.4]] * 2)
    assert greedy(torch.tensor(halves), blank=0) == []
    assert beam(halves, blank=0, symbols=["", "a"], width=2) == [1]  # 0.64 in three paths, 0.36 in one


@pytest.mark.parametrize("seed", range(12))
def test_beam_of_a_common_width_is_nearly_exact(seed: int) -> None:
    values = frames(7, 4, seed, 1.0)
    chances = labelings(values, 1)
    assert chances[tuple(beam(values, blank=1, symbols="abcd"))] == pytest.approx(max(chances.values()))
    assert chances[tuple(beam(values, blank=1, symbols="abcd", width=1))] > 0


def fused(values: np.ndarray, symbols: str, lm: NGrams, alpha: float, beta: float) -> dict[tuple[int, ...], float]:
    """The score of every labeling with its words, by the definition."""
    scores = {}
    for labels, chance in labelings(values, 0).items():
        words = "".join(symbols[token] for token in labels).split()
        sentence = ["<s>", *words, "</s>"]
        spoken = sum(lm.score(sentence[:i], sentence[i]) for i in range(1, len(sentence)))
        scores[labels] = math.log(chance) + alpha * spoken + beta * len(words)
    return scores


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_beam_with_words_finds_the_best_score(order: int, seed: int) -> None:
    symbols = "- ab"
    lm = NGrams.from_texts(["ab a", "ba ba ab", "a b a", "bb"], order=order)
    values = frames(6, 4, seed, 0.7)
    for alpha, beta in ((0.5, 1.0), (2.0, 0.0), (1.0, 3.0)):
        scores = fused(values, symbols, lm, alpha, beta)
        options = {"blank": 0, "symbols": symbols, "lm": lm, "alpha": alpha, "beta": beta, "floor": -math.inf}
        found = tuple(beam(values, width=10_000, **options))
        assert scores[found] == pytest.approx(max(scores.values()), abs=1e-9)
        narrow = tuple(beam(values, width=12, **options))
        assert scores[narrow] > max(scores.values()) - 3


def test_words_change_what_is_heard() -> None:
    symbols = ["", "|", "b", "e", "a", "r"]
    values = np.full((4, 6), -9.0)
    for place, chances in enumerate([{2: 1.0}, {3: 1.0}, {4: 0.45, 3: 0.05, 0: 0.5}, {5: 1.0}]):
        for token, chance in chances.items():
            values[place, token] = math.log(chance) - 1e-3
    lm = NGrams.from_texts(["bear", "we call it bear"], order=2)
    options = {"blank": 0, "symbols": symbols, "separator": "|"}
    assert "".join(symbols[token] for token in beam(values, **options)) == "ber"
    assert "".join(symbols[token] for token in beam(values, lm=lm, **options)) == "bear"


def test_words_count_in_what_a_narrow_beam_keeps() -> None:
    values = np.log([[0.01, 0.01, 0.98], [0.5, 0.4, 0.1], [0.8, 0.1, 0.1]])
    options = {"blank": 0, "symbols": ["", " ", "a"], "width": 1}
    assert beam(values, **options) == [2]
    assert beam(values, lm=NGrams.from_texts(["a a"]), beta=3.0, **options) == [2, 1]


def test_beam_prunes_but_keeps_the_best() -> None:
    values = frames(5, 4, 0)
    assert beam(values, blank=0, symbols="abcd", floor=0.0) == greedy(torch.tensor(values), blank=0)
    # Nothing is left for what has no probability at all.
    values[:, 2] = -math.inf
    assert 2 not in beam(values, blank=0, symbols="abcd", width=10_000, floor=-math.inf)


def test_beam_takes_little_time() -> None:
    values, symbols = frames(200, 32, 0, 1.0), ["", " ", *"abcdefghijklmnopqrstuvwxyzäöüéèà"][:32]
    lm = NGrams.from_texts(["abc de f", "gh ij"] * 3)
    start = time.perf_counter()
    beam(values, blank=0, symbols=symbols, lm=lm)
    # Ten times what it takes on a machine that does nothing else.
    assert time.perf_counter() - start < 0.3


def test_scores_by_hand(toy: NGrams) -> None:
    def score(history: str, word: str) -> float:
        return toy.score(tuple(history.split()), word) / LN10

    assert toy.order == 3
    assert score("", "a") == pytest.approx(-0.7)
    assert score("<s>", "a") == pytest.approx(-0.2)
    assert score("<s> a", "b") == pytest.approx(-0.15)
    assert score("x <s> a", "b") == pytest.approx(-0.15)  # only two words count
    assert score("b a", "b") == pytest.approx(-0.4)  # no backoff of "b a": 0
    assert score("<s> a", "a") == pytest.approx(-0.05 - 0.3 - 0.7)
    assert score("a b", "a") == pytest.approx(0.1 + 0 - 0.7)
    assert score("zebra", "a") == pytest.approx(-0.2 - 0.7)  # <unk> as a history
    assert score("b", "zebra") == pytest.approx(-0.6)
    assert score("a", "zebra") == pytest.approx(-0.3 - 1.0)


def test_unknown_words_without_an_entry() -> None:
    model = NGrams(1, {("a",): -0.5}, {})
    assert model.score(("a", "b"), "zebra") == pytest.approx(FLOOR * LN10)


def test_arpa_reads_back_equal(toy: NGrams, tmp_path: Path) -> None:
    made = NGrams.from_texts(["a b c", "naïve\u2028b a", "b", ""], order=4)
    for model in (toy, made, NGrams.from_texts(["a"], order=3)):
        plain, packed = tmp_path / "model.arpa", tmp_path / "model.arpa.gz"
        plain.write_text(model.to_arpa(), encoding="utf-8")
        packed.write_bytes(gzip.compress(model.to_arpa().encode()))
        assert NGrams.from_arpa(plain) == model == NGrams.from_arpa(str(packed))
    assert toy != made


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join), min_size=1, max_size=6),
    st.integers(1, 4),
    st.lists(st.sampled_from(["a", "b", "e", "<s>"]), max_size=4),
)
def test_probabilities_add_up_to_one(texts: list[str], order: int, history: list[str]) -> None:
    texts = [*texts, "a"]
    model = NGrams.from_texts(texts, order=order)
    words = {*" ".join(texts).split(), "</s>", "<unk>"}
    assert {gram for gram in model.probabilities if len(gram) == 1} == {(word,) for word in words | {"<s>"}}
    for start in (history, ["<s>"], ["<s>", *texts[0].split()]):
        assert sum(math.exp(model.score(start, word)) for word in words) == pytest.approx(1, abs=1e-9)


def test_witten_bell_by_hand() -> None:
    model = NGrams.from_texts(["a b", "a"], order=2)
    # a: 2, b: 1, </s>: 2, <unk>: 0; three kinds have been seen, and four share what is kept back.
    unigram = {word: (count + 3 / 4) / (5 + 3) for word, count in {"a": 2, "b": 1, "</s>": 2, "<unk>": 0}.items()}
    for word, chance in unigram.items():
        assert math.exp(model.score((), word)) == pytest.approx(chance)
    # After a: b and </s>, once each.
    assert math.exp(model.score(("a",), "b")) == pytest.approx((1 + 2 * unigram["b"]) / (2 + 2))
    assert math.exp(model.score(("a",), "a")) == pytest.approx(2 * unigram["a"] / (2 + 2))
    assert math.exp(model.score(("a",), "zebra")) == pytest.approx(2 * unigram["<unk>"] / (2 + 2))


ARPA_FAULTS = {
    r"line 22: the end came before \\end\\": TOY.replace("\\end\\\nignored\n", ""),
    r"line 1: the end came before \\data\\": "nothing",
    r"line 0: the end": "",
    "line 8: 'ngram 1=...' was expected": TOY.replace("ngram 1=5\nngram 2 = 3\nngram 3=1", "\n\n"),
    "line 4: 'ngram 1=...' was expected, not 'ngram 2=3'": TOY.replace("ngram 1=5", "ngram 2=3"),
    r"line 15: 4 1-grams came, but \\data\\ announces 5": TOY.replace("-0.7\ta\t-0.3", ""),
    r"line 20: '\\3-grams:' was expected": TOY.replace("\\3-grams:", "\\4-grams:"),
    r"line 20: '\\end\\' was expected": TOY.replace("ngram 3=1\n", "\n"),
    "line 12: could not convert": TOY.replace("-0.7", "minus"),
    "line 12: the log-probability 0.7": TOY.replace("-0.7", "0.7"),
    "line 12: the log-probability nan": TOY.replace("-0.7", "nan"),
    "line 12: the backoff inf": TOY.replace("-0.3", "inf"),
    "line 17: a probability, 2 words": TOY.replace("-0.4\ta\tb\t0.1", "-0.4\tb"),
    "line 17: '<s> a' comes twice": TOY.replace("-0.4\ta\tb", "-0.4\t<s>\ta"),
}


@pytest.mark.parametrize("message", ARPA_FAULTS)
def test_arpa_faults(message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.arpa"
    path.write_text(ARPA_FAULTS[message], encoding="utf-8")
    with pytest.raises(SottovoceError, match=message) as caught:
        NGrams.from_arpa(path)
    assert "broken.arpa, line" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    packed = gzip.compress(TOY.encode())
    contents = {
        "cut.gz": packed[:-20],
        "plain.gz": TOY.encode(),
        "packed.arpa": packed,
        "bent.gz": packed[:20] + b"x" * 90,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SottovoceError, match="there is no file '.*missing.arpa'; give the path of the language model"):
        NGrams.from_arpa(tmp_path / "missing.arpa")
    for name in contents:
        with pytest.raises(SottovoceError, match=f"{name} cannot be read"):
            NGrams.from_arpa(tmp_path / name)


GOOD = torch.zeros(3, 4).log_softmax(dim=-1)
LM = NGrams.from_texts(["a"])
FAULTS = {
    r"shape \(2, 3, 4\) came, but \(time, tokens\)": lambda: greedy(GOOD.expand(2, 3, 4), blank=0),
    r"shape \(3, 4\) came, but \(batch, time": lambda: greedy_batch(GOOD, [3], blank=0),
    "blank=4, but there are 4": lambda: greedy(GOOD, blank=4),
    "blank=-1": lambda: beam(GOOD, blank=-1, symbols="abcd"),
    "hold a NaN; look": lambda: greedy(GOOD * math.nan, blank=0),
    r"lengths \[3, 4\]": lambda: greedy_batch(GOOD.expand(2, 3, 4), [3, 4], blank=0),
    r"lengths \[3\] came, but 2": lambda: greedy_batch(GOOD.expand(2, 3, 4), [3], blank=0),
    "3 symbols and 4 tokens": lambda: beam(GOOD, blank=0, symbols="abc"),
    "width=0": lambda: beam(GOOD, blank=0, symbols="abcd", width=0),
    "hold a NaN, a value": lambda: beam(GOOD * math.nan, blank=0, symbols="abcd"),
    "give log_softmax's output": lambda: beam(GOOD + 2, blank=0, symbols="abcd"),
    "a frame without any token": lambda: beam(GOOD - math.inf, blank=0, symbols="abcd"),
    r"no symbol is the separator '\|'": lambda: beam(GOOD, blank=0, symbols="abcd", lm=LM, separator="|"),
    "no word in the texts": lambda: NGrams.from_texts(["", " "]),
    "order=0": lambda: NGrams.from_texts(["a"], order=0),
    "mark its ends": lambda: NGrams.from_texts(["a </s>"]),
    "one text came": lambda: NGrams.from_texts("we call it bear"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults(message: str) -> None:
    with pytest.raises(SottovoceError, match=message) as caught:
        FAULTS[message]()
    assert str(caught.value).endswith(".")
