"""From the log-probabilities of a CTC head to tokens: greedy, or by beam search with a language model of words."""

import gzip
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sottovoce.errors import SottovoceError
from sottovoce.files import reached, regular_file

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
# log10 of what a word gets that the model has no entry for, not even one for unknown words.
FLOOR = -10.0
LONGEST_PREFACE = 1000  # lines before the first section
LONGEST_LINE = 1 << 16  # letters; a longer one is no n-gram
Gram = tuple[str, ...]


def greedy(log_probs: torch.Tensor, *, blank: int) -> list[int]:
    """The likeliest token of each frame, repetitions merged, blanks left out; `log_probs` is (time, tokens).

    Example:
        >>> greedy(torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7]]).log(), blank=0)
        [1, 1]
    """
    _check(log_probs, 2, blank)
    if torch.isnan(log_probs).any():
        raise SottovoceError("the log-probabilities hold a NaN; look for the step or the input that makes it.")
    best = torch.unique_consecutive(log_probs.argmax(dim=-1))
    return [token for token in best.tolist() if token != blank]


def greedy_batch(log_probs: torch.Tensor, lengths: Sequence[int] | torch.Tensor, *, blank: int) -> list[list[int]]:
    """`greedy` of (batch, time, tokens), each utterance up to its length in frames.

    Example:
        >>> greedy_batch(torch.tensor([[[0.1, 0.9], [0.9, 0.1]]]).log(), [1], blank=0)
        [[1]]
    """
    _check(log_probs, 3, blank)
    sizes = [int(length) for length in lengths]
    batch, time = log_probs.shape[:2]
    if len(sizes) != batch or not all(0 <= size <= time for size in sizes):
        raise SottovoceError(f"lengths {sizes} came, but {batch} lengths of 0-{time} frames are wanted; give those.")
    return [greedy(frames[:size], blank=blank) for frames, size in zip(log_probs, sizes, strict=True)]


def _check(log_probs: torch.Tensor | np.ndarray, dimensions: int, blank: int) -> None:
    shape = tuple(log_probs.shape)
    if len(shape) != dimensions:
        wanted = "(time, tokens)" if dimensions == 2 else "(batch, time, tokens)"
        raise SottovoceError(f"log-probabilities of shape {shape} came, but {wanted} is wanted; reshape them.")
    if not 0 <= blank < shape[-1]:
        raise SottovoceError(f"blank={blank}, but there are {shape[-1]} tokens; give the blank's number among them.")


@dataclass(frozen=True)
class NGrams:
    """A language model of words with backoff, as an ARPA file holds it: logarithms to base 10.

    It lives in dictionaries: some million n-grams fit, so prune larger models first.

    Example:
        >>> model = NGrams.from_texts(["we call it bear", "we call it"], order=2)
        >>> model.score(("we",), "call") > model.score(("we",), "bear")
        True
    """

    order: int
    probabilities: dict[Gram, float]
    backoffs: dict[Gram, float]

    def score(self, history: Sequence[str], word: str) -> float:
        """The natural logarithm of a word's probability after `history`, whose words before the last few are ignored.

        A word that is not known counts as `<unk>`, or gets `FLOOR` where the model has none.
        """
        context = tuple(map(self._known, history[max(0, len(history) - self.order + 1) :]))
        word = self._known(word)
        total = 0.0
        while (found := self.probabilities.get((*context, word))) is None:
            if not context:
                found = FLOOR
                break
            total += self.backoffs.get(context, 0.0)
            context = context[1:]
        return (total + found) * math.log(10)

    def _known(self, word: str) -> str:
        return word if (word,) in self.probabilities else UNKNOWN

    @classmethod
    def from_arpa(cls, path: str | Path) -> "NGrams":
        """Read an ARPA file, plain or, if its name ends so, `.gz`."""
        file = regular_file(path, "the language model")
        opened = gzip.open if file.suffix == ".gz" else open
        with reached(path, "the language model"):
            try:
                with opened(file, "rt", encoding="utf-8") as lines:
                    return _read_arpa(iter(lambda: lines.readline(LONGEST_LINE), ""), str(path))
            except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, zlib.error) as error:
                reason = "it is cut off" if isinstance(error, EOFError) else str(error)
                wanted = "give an ARPA file"
                raise SottovoceError(f"the language model {path} cannot be read ({reason}); {wanted}.") from error
        raise SottovoceError(f"the language model {path} has just been removed; give an ARPA file.")

    @classmethod
    def from_texts(cls, texts: Iterable[str], *, order: int = 3) -> "NGrams":
        """Estimate a model from transcripts by interpolated Witten-Bell smoothing.

        The words of the texts, `</s>` and `<unk>` share a probability of one after any history.
        """
        return _estimate(texts, order)

    def to_arpa(self) -> str:
        """The text of an ARPA file that reads back as an equal model."""
        grams = [sorted(gram for gram in self.probabilities if len(gram) == n + 1) for n in range(self.order)]
        lines = ["\\data\\", *(f"ngram {n}={len(some)}" for n, some in enumerate(grams, 1))]
        for n, some in enumerate(grams, 1):
            lines += ["", f"\\{n}-grams:"]
            for gram in some:
                backoff = f"\t{self.backoffs[gram]!r}" if gram in self.backoffs else ""
                lines.append(f"{self.probabilities[gram]!r}\t{' '.join(gram)}{backoff}")
        return "\n".join([*lines, "", "\\end\\", ""])


def _read_arpa(lines: Iterable[str], name: str) -> NGrams:
    model = NGrams(0, {}, {})
    sizes: dict[int, int] = {}
    section, number = -1, 0  # -1 is before \data\, 0 in it, n among the n-grams

    def fault(problem: str) -> SottovoceError:
        return SottovoceError(f"{name}, line {number}: {problem}; give a whole ARPA file.")

    def close_section() -> None:
        found = sum(len(gram) == section for gram in model.probabilities) if section > 0 else 0
        if section > 0 and found != sizes[section]:
            raise fault(f"{found} {section}-grams came, but \\data\\ announces {sizes[section]}")

    for number, line in enumerate(lines, 1):  # noqa: B007 - `fault` reads the number
        # Not split(): a word may hold a space of another kind.
        fields = re.split(r"[ \t]+", line.strip(" \t\r\n"))
        head = " ".join(fields)
        if section < 0 and number > LONGEST_PREFACE:
            raise fault(f"no \\data\\ came in {LONGEST_PREFACE} lines")
        if section < 0:
            section = 0 if head == "\\data\\" else -1
        elif not head:
            continue
        elif head.startswith("\\"):
            close_section()
            section += 1
            wanted = f"\\{section}-grams:" if section <= len(sizes) else "\\end\\"
            if head != wanted or not sizes:
                raise fault(f"'{wanted if sizes else 'ngram 1=...'}' was expected, not '{head}'")
            if section > len(sizes):
                return NGrams(len(sizes), model.probabilities, model.backoffs)
        elif section == 0:
            announced = re.fullmatch(r"ngram (\d{1,2}) ?= ?(\d{1,12})", head)
            if not announced or int(announced[1]) != len(sizes) + 1:
                raise fault(f"'ngram {len(sizes) + 1}=...' was expected, not '{head}'")
            sizes[len(sizes) + 1] = int(announced[2])
        else:
            problem = _read_gram(fields, section, model)
            if problem:
                raise fault(problem)
    raise fault("the end came before \\end\\" if section >= 0 else "the end came before \\data\\")


def _read_gram(fields: list[str], n: int, model: NGrams) -> str | None:
    """Put one line into the model; what is wrong with it, if something is."""
    if len(fields) not in (n + 1, n + 2):
        return f"a probability, {n} words and perhaps a backoff were expected, not {len(fields)} fields"
    # Some tools shout it.
    gram = tuple(UNKNOWN if word == "<UNK>" else word for word in fields[1 : n + 1])
    if gram in model.probabilities:
        return f"'{' '.join(gram)}' comes twice"
    try:
        probability, *backoff = map(float, (fields[0], *fields[n + 1 :]))
    except ValueError as error:
        return str(error)
    if not -math.inf < probability <= 0:
        return f"the log-probability {probability} is not finite and 0 or less"
    model.probabilities[gram] = probability
    for value in backoff:
        if not math.isfinite(value):
            return f"the backoff {value} is not finite"
        model.backoffs[gram] = value
    return None


def _estimate(texts: Iterable[str], order: int) -> NGrams:
    if order < 1:
        raise SottovoceError(f"order={order}, but a model looks at 1 word at least; give 1 or more.")
    if isinstance(texts, str):
        raise SottovoceError(f"one text came, {texts[:20]!r}, but a list of them is wanted; give [text].")
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for text in texts:
        words = (START, *text.split(), END)
        if {START, END} & set(words[1:-1]):
            raise SottovoceError(f"the text {text!r} holds {START} or {END}, which mark its ends; take them out.")
        for n in range(1, order + 1):
            counts[n - 1].update(words[i : i + n] for i in range(len(words) - n + 1))
    del counts[0][(START,)]
    if not counts[0].keys() - {(END,)}:
        raise SottovoceError("there is no word in the texts; give some to estimate a language model from.")
    counts[0][(UNKNOWN,)] += 0
    probabilities: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    for grams in counts:
        followers: dict[Gram, list[int]] = defaultdict(list)
        for gram, count in grams.items():
            followers[gram[:-1]] += [count] if count else []
        for gram, count in grams.items():
            # What the kinds of followers are worth goes to the shorter history, at last to all words alike.
            after = followers[gram[:-1]]
            shorter = probabilities[gram[1:]] if len(gram) > 1 else 1 / len(counts[0])
            probabilities[gram] = (count + len(after) * shorter) / (sum(after) + len(after))
        backoffs |= {gram: len(after) / (sum(after) + len(after)) for gram, after in followers.items() if gram}
    logs = {gram: math.log10(value) for gram, value in probabilities.items()}
    # A sentence starts, so no word is ever <s>; files say so with -99.
    return NGrams(order, {(START,): -99.0} | logs, {gram: math.log10(value) for gram, value in backoffs.items()})


class _Text(NamedTuple):
    """What a prefix spells: the scores of its words, the last of them, and the letters of the one in progress."""

    score: float = 0.0
    history: Gram = (START,)
    partial: str = ""


@dataclass(frozen=True)
class _Fusion:
    """The language model's part in the search."""

    lm: NGrams | None
    alpha: float
    beta: float
    symbols: Sequence[str]
    separator: int

    def word(self, text: _Text) -> float:
        """What ending the word in progress adds."""
        if self.lm is None or not text.partial:
            return 0.0
        return self.alpha * self.lm.score(text.history, text.partial) + self.beta

    def grow(self, text: _Text, token: int) -> _Text:
        """The text with one more token."""
        if self.lm is None:
            return text
        if token != self.separator:
            return text._replace(partial=text.partial + self.symbols[token])
        if not text.partial:
            return text
        history = (*text.history, text.partial)[-max(1, self.lm.order - 1) :]
        return _Text(text.score + self.word(text), history)

    def end(self, text: _Text) -> float:
        """All that the language model says of a text that ends here."""
        if self.lm is None:
            return 0.0
        done = self.grow(text, self.separator)
        return done.score + self.alpha * self.lm.score(done.history, END)


def beam(
    log_probs: torch.Tensor | np.ndarray,
    *,
    blank: int,
    symbols: Sequence[str],
    width: int = 16,
    lm: NGrams | None = None,
    alpha: float = 0.5,
    beta: float = 1.0,
    separator: str = " ",
    floor: float = -12.0,
) -> list[int]:
    """The tokens of the likeliest text by CTC prefix beam search; `log_probs` is (time, tokens).

    With a language model, a text scores log P(tokens) + alpha log P(words, `</s>`) + beta words; a word ends at the
    symbol `separator` and at the end of the text. A token below `floor` in a frame starts nothing new there.

    Example:
        >>> beam(np.log([[0.4, 0.6], [0.4, 0.6]]), blank=0, symbols=["", "a"])
        [1]
    """
    frames = _frames(log_probs, blank, symbols, width)
    if lm is not None and separator not in symbols:
        raise SottovoceError(f"no symbol is the separator '{separator}'; name the one that ends a word.")
    fusion = _Fusion(lm, alpha, beta, symbols, symbols.index(separator) if lm is not None else -1)
    beams = _Beams([()], [_Text()], np.zeros(1), np.full(1, -np.inf))
    for frame in frames:
        beams = _step(beams, frame, blank, floor, width, fusion)
    final = np.logaddexp(beams.blank, beams.token) + [fusion.end(text) for text in beams.texts]
    return list(beams.prefixes[int(np.argmax(final))])


def _frames(log_probs: torch.Tensor | np.ndarray, blank: int, symbols: Sequence[str], width: int) -> np.ndarray:
    if isinstance(log_probs, torch.Tensor):
        log_probs = log_probs.detach().cpu().double().numpy()
    frames = np.asarray(log_probs, dtype=np.float64)
    _check(frames, 2, blank)
    if len(symbols) != frames.shape[1]:
        raise SottovoceError(
            f"{len(symbols)} symbols and {frames.shape[1]} tokens came; give one symbol for each token."
        )
    if width < 1:
        raise SottovoceError(f"width={width}, but a search keeps something; give 1 or more.")
    # Half precision rounds, so a hair above 0 passes.
    if not np.all(frames <= 1e-3) or not np.all(frames.max(axis=1) > -np.inf):
        raise SottovoceError(
            "the log-probabilities hold a NaN, a value above 0 or a frame without any token; give log_softmax's output."
        )
    return frames


class _Beams(NamedTuple):
    """Prefixes, what they spell, and log P of the frames so far spelling them, the last a blank or a token."""

    prefixes: list[tuple[int, ...]]
    texts: list[_Text]
    blank: np.ndarray
    token: np.ndarray


def _step(beams: _Beams, frame: np.ndarray, blank: int, floor: float, width: int, fusion: _Fusion) -> _Beams:
    """One frame: every prefix stays as it is or grows by a token, and the best are kept."""
    whole = np.logaddexp(beams.blank, beams.token)
    last = np.array([prefix[-1] if prefix else blank for prefix in beams.prefixes])
    stay_blank, stay_token = whole + frame[blank], beams.token + frame[last]
    tokens = np.array([t for t in np.flatnonzero(frame >= min(floor, frame.max())) if t != blank], dtype=np.int64)
    # The same token once more is a new one only after a blank.
    grown = np.where(last[:, None] == tokens, beams.blank[:, None], whole[:, None]) + frame[tokens]
    # A prefix that grows into another that is here already adds to it.
    place, columns = (
        {prefix: row for row, prefix in enumerate(beams.prefixes)},
        {int(t): c for c, t in enumerate(tokens)},
    )
    for row, prefix in enumerate(beams.prefixes):
        parent, column = place.get(prefix[:-1]) if prefix else None, columns.get(int(last[row]))
        if parent is not None and column is not None:
            stay_token[row] = np.logaddexp(stay_token[row], grown[parent, column])
            grown[parent, column] = -np.inf
    texts = np.array([text.score for text in beams.texts])
    gains = grown + texts[:, None]
    if fusion.separator in columns:
        gains[:, columns[fusion.separator]] += [fusion.word(text) for text in beams.texts]
    rank = np.concatenate([np.logaddexp(stay_blank, stay_token) + texts, gains.ravel()])
    stays = len(texts)
    prefixes, spelt, ends = [], [], []
    for index in np.argsort(-rank, kind="stable")[:width]:
        if rank[index] == -np.inf:
            break
        if index < stays:
            prefixes.append(beams.prefixes[index])
            spelt.append(beams.texts[index])
            ends.append((stay_blank[index], stay_token[index]))
            continue
        row, column = divmod(int(index) - stays, len(tokens))
        prefixes.append((*beams.prefixes[row], int(tokens[column])))
        spelt.append(fusion.grow(beams.texts[row], int(tokens[column])))
        ends.append((-np.inf, grown[row, column]))
    blanks, last_tokens = np.array(ends).T
    return _Beams(prefixes, spelt, blanks, last_tokens)
