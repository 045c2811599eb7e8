"""The three kinds of tasks: one answer an utterance, one a frame, or a sequence without times."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sottovoce.data.utterance import Phone
from sottovoce.errors import SottovoceError
from sottovoce.measurement import WHOLE, Coordinate, Measurement
from sottovoce.models.encoder import mean_over_time
from sottovoce.tasks import decoding, scores

VERSION = 1  # of the scores: another one says that numbers do not compare with those of the one before
IGNORED = -100  # what a frame without a label has as target: F.cross_entropy leaves it out
BLANK = "<pad>"
SILENCE = "SIL"
DELIMITER = "|"


@dataclass(frozen=True)
class Score:
    """One metric on a test set: `n` utterances, or trials; `error` is half of the 95 % interval.

    Example:
        >>> Score("accuracy", 0.91, 0.02, "higher", 500).value
        0.91
    """

    metric: str
    value: float
    error: float
    better: Literal["higher", "lower"]
    n: int

    def measured(self, task: str, where: Mapping[str, Coordinate] = WHOLE) -> Measurement:
        """As a Measurement of a task."""
        return Measurement(
            task, self.metric, self.value, better=self.better, where=where, n=self.n, error=self.error, version=VERSION
        )


@dataclass(frozen=True)
class Decoding:
    """How a sequence is read off the probabilities.

    Example:
        >>> Decoding(width=16, lm=NGrams.from_texts(["WE CALL IT BEAR"])).width
        16
    """

    width: int = 1
    lm: decoding.NGrams | None = None
    alpha: float = 0.5
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.width < 1:
            raise SottovoceError(f"beam={self.width}, but at least 1 is wanted.")


GREEDY = Decoding()


class Kind(Protocol):
    """What tasks of one kind share."""

    @property
    def head(self) -> str:
        """The head of Hugging Face's that fine-tuning trains."""
        ...

    @property
    def pooled(self) -> bool:
        """Whether a mean over time is all that a linear probe needs."""
        ...

    @property
    def verifies(self) -> bool:
        """Whether what lies before the classifier is what counts."""
        ...

    @property
    def words(self) -> bool:
        """Whether the tokens are characters."""
        ...

    def labels(self, answers: Iterable[Any]) -> tuple[str, ...]:
        """What a head can say, from the answers of the training split."""
        ...

    def target(self, answer: Any, labels: dict[str, int], centers: np.ndarray) -> np.ndarray:
        """An answer as numbers."""
        ...

    def probe(self, width: int, classes: int, inner: int) -> nn.Module:
        """A head for frozen states (batch, time, width)."""
        ...

    def loss(
        self, logits: torch.Tensor, frames: torch.Tensor, targets: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The summed loss of a batch, and over how much it sums."""
        ...

    def read(self, output: torch.Tensor, frames: torch.Tensor, how: Decoding, labels: Sequence[str]) -> list[Any]:
        """What a head says about each utterance."""
        ...

    def score(self, said: list[Any], answers: list[Any], centers: list[np.ndarray], *, draws: int) -> list[Score]:
        """The metrics, the main one first."""
        ...


class Pooled(nn.Module):
    """A Linear, the mean over time, a Linear: SUPERB's head for utterances, and Hugging Face's."""

    def __init__(self, width: int, classes: int, inner: int) -> None:
        super().__init__()
        self.projector, self.classifier = nn.Linear(width, inner), nn.Linear(inner, classes)

    def embed(self, state: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """What lies before the classifier."""
        return mean_over_time(self.projector(state), frames)

    def forward(self, state: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """(batch, time, width) to (batch, classes)."""
        return self.classifier(self.embed(state, frames))


class Framewise(nn.Module):
    """A Linear a frame, with another one before it where SUPERB has one."""

    def __init__(self, width: int, classes: int, inner: int | None) -> None:
        super().__init__()
        self.projector = nn.Linear(width, inner) if inner else nn.Identity()
        self.classifier = nn.Linear(inner or width, classes)

    def forward(self, state: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """(batch, time, width) to (batch, time, classes)."""
        return self.classifier(self.projector(state))


class Recurrent(nn.Module):
    """SUPERB's head for speech recognition: a projection, two bidirectional LSTMs, a Linear."""

    def __init__(self, width: int, classes: int, inner: int) -> None:
        super().__init__()
        self.projector = nn.Linear(width, inner)
        self.lstm = nn.LSTM(inner, inner, num_layers=2, dropout=0.2, bidirectional=True, batch_first=True)
        self.classifier = nn.Linear(2 * inner, classes)

    def forward(self, state: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """(batch, time, width) to (batch, time, classes)."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.projector(state), frames.cpu(), batch_first=True, enforce_sorted=False
        )
        unpacked, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=state.shape[1]
        )
        return self.classifier(unpacked)


@dataclass(frozen=True)
class Classify:
    """One answer an utterance; with `verifies`, the head is only a way to embeddings, whose pairs are scored.

    Example:
        >>> Classify().labels(["yes", "no", "yes"])
        ('no', 'yes')
    """

    verifies: bool = False
    head: str = "ForSequenceClassification"
    pooled: bool = True
    words: bool = False

    def labels(self, answers: Iterable[Any]) -> tuple[str, ...]:
        """The names that occur, sorted."""
        return tuple(sorted(set(answers)))

    def target(self, answer: Any, labels: dict[str, int], centers: np.ndarray) -> np.ndarray:
        """One number."""
        return np.array(labels[answer])

    def probe(self, width: int, classes: int, inner: int) -> nn.Module:
        """SUPERB's."""
        return Pooled(width, classes, inner)

    def loss(
        self, logits: torch.Tensor, frames: torch.Tensor, targets: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy, summed over utterances."""
        return F.cross_entropy(logits, torch.stack(list(targets)), reduction="sum"), logits.new_tensor(len(logits))

    def read(self, output: torch.Tensor, frames: torch.Tensor, how: Decoding, labels: Sequence[str]) -> list[Any]:
        """The name of the highest score, or the embedding."""
        if self.verifies:
            return list(output.float().cpu().numpy())
        return [labels[index] for index in output.argmax(-1).tolist()]

    def score(self, said: list[Any], answers: list[Any], centers: list[np.ndarray], *, draws: int) -> list[Score]:
        """Accuracy, or the equal error rate of all pairs."""
        if self.verifies:
            rate, error, trials = scores.pairs_error_rate(np.stack(said), answers, draws=max(1, draws // 5))
            return [Score("equal_error_rate", rate, error, "lower", trials)]
        tally = scores.accuracy_tally(np.array(said), np.array(answers))
        return [Score("accuracy", *scores.ratio_interval(tally, draws=draws), "higher", len(said))]


@dataclass(frozen=True)
class Frames:
    """One phone a frame: the one whose time holds the frame's middle.

    Example:
        >>> Frames().head
        'ForCTC'
    """

    head: str = "ForCTC"  # a Linear a frame; not every family has a class ForAudioFrameClassification
    pooled: bool = False
    verifies: bool = False
    words: bool = False

    def labels(self, answers: Iterable[Any]) -> tuple[str, ...]:
        """The phones that occur, sorted."""
        return tuple(sorted({phone.name for phones in answers for phone in phones}))

    def names(self, phones: Sequence[Phone], centers: np.ndarray) -> np.ndarray:
        """The phone at each centre; empty where there is none."""
        starts, ends = np.array([phone.start for phone in phones]), np.array([phone.end for phone in phones])
        found = np.searchsorted(starts, centers, side="right") - 1
        inside = (found >= 0) & (centers < ends[found])
        return np.where(inside, np.array([phone.name for phone in phones])[found], "")

    def target(self, answer: Any, labels: dict[str, int], centers: np.ndarray) -> np.ndarray:
        """One number a frame."""
        return np.array([labels.get(name, IGNORED) for name in self.names(answer, centers)], dtype=np.int64)

    def probe(self, width: int, classes: int, inner: int) -> nn.Module:
        """One Linear."""
        return Framewise(width, classes, None)

    def loss(
        self, logits: torch.Tensor, frames: torch.Tensor, targets: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy, summed over frames with a label."""
        wanted = nn.utils.rnn.pad_sequence(list(targets), batch_first=True, padding_value=IGNORED)
        logits = logits[:, : wanted.shape[1]].float()
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum")
        return loss, (wanted != IGNORED).sum()

    def read(self, output: torch.Tensor, frames: torch.Tensor, how: Decoding, labels: Sequence[str]) -> list[Any]:
        """The names of the highest scores."""
        best = output.argmax(-1).cpu()
        return [np.array(labels)[row[:count]] for row, count in zip(best.numpy(), frames.tolist(), strict=True)]

    def score(self, said: list[Any], answers: list[Any], centers: list[np.ndarray], *, draws: int) -> list[Score]:
        """Frame accuracy without silence, and with it."""
        wanted = [self.names(phones, middle) for phones, middle in zip(answers, centers, strict=True)]
        found = []
        for metric, left_out in (("accuracy_without_silence", ("", SILENCE)), ("accuracy", ("",))):
            masks = [~np.isin(names, left_out) for names in wanted]
            right = [((a == b) & mask).sum() for a, b, mask in zip(said, wanted, masks, strict=True)]
            tally = scores.Tally(np.array(right, float), np.array([mask.sum() for mask in masks], float))
            found.append(Score(metric, *scores.ratio_interval(tally, draws=draws), "higher", len(said)))
        return found


@dataclass(frozen=True)
class Transcribe:
    """A sequence of tokens by CTC: phones, or the characters of words.

    Example:
        >>> Transcribe(words=True).labels([["A", "|", "B"]])
        ('<pad>', 'A', 'B', '|')
    """

    words: bool = False
    head: str = "ForCTC"
    pooled: bool = False
    verifies: bool = False

    def labels(self, answers: Iterable[Any]) -> tuple[str, ...]:
        """The blank, then the tokens that occur, sorted."""
        return (BLANK, *sorted({token for tokens in answers for token in tokens}))

    def target(self, answer: Any, labels: dict[str, int], centers: np.ndarray) -> np.ndarray:
        """The numbers of the tokens that the head knows."""
        return np.array([labels[token] for token in answer if token in labels], dtype=np.int64)

    def probe(self, width: int, classes: int, inner: int) -> nn.Module:
        """SUPERB's: recurrent for words, linear for phones."""
        return (Recurrent if self.words else Framewise)(width, classes, inner)

    def loss(
        self, logits: torch.Tensor, frames: torch.Tensor, targets: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """CTC, summed over tokens; an utterance with more tokens than its frames can say is left out."""
        lengths = torch.tensor([len(target) for target in targets])
        doubles = torch.tensor([int((target[1:] == target[:-1]).sum()) for target in targets])
        fits = lengths + doubles <= frames.cpu()
        if not fits.any():
            return 0.0 * logits.sum(), logits.new_tensor(0.0)
        chosen = fits.nonzero().flatten()
        log_probs = F.log_softmax(logits[chosen.to(logits.device)].float(), dim=-1).transpose(0, 1)
        wanted = torch.cat([targets[index] for index in chosen.tolist()])
        loss = F.ctc_loss(log_probs, wanted, frames.cpu()[chosen], lengths[chosen], blank=0, reduction="sum")
        return loss, lengths[chosen].sum().to(logits.device)

    def read(self, output: torch.Tensor, frames: torch.Tensor, how: Decoding, labels: Sequence[str]) -> list[Any]:
        """Tokens: the likeliest a frame, or a beam's."""
        blank = labels.index(BLANK)
        log_probs = F.log_softmax(output.float(), dim=-1).cpu()
        if how.width == 1 and how.lm is None:
            found = decoding.greedy_batch(log_probs, frames.cpu(), blank=blank)
        else:
            settings: dict[str, Any] = {"width": how.width, "lm": how.lm, "alpha": how.alpha, "beta": how.beta}
            symbols = [" " if label == DELIMITER else label.upper() for label in labels]
            found = [
                decoding.beam(row[:count], blank=blank, symbols=symbols, **settings)
                for row, count in zip(log_probs, frames.tolist(), strict=True)
            ]
        said = [[labels[token] for token in tokens if labels[token] not in ("", BLANK)] for tokens in found]
        # A head of small letters says the same as one of capitals.
        small = self.words and not any(label.isupper() for label in labels)
        return [[token.upper() for token in tokens] for tokens in said] if small else said

    def score(self, said: list[Any], answers: list[Any], centers: list[np.ndarray], *, draws: int) -> list[Score]:
        """The rate of wrong words and characters, or of wrong phones."""
        found = []
        if self.words:
            tally = scores.edit_tally([words_of(tokens) for tokens in answers], [words_of(tokens) for tokens in said])
            found.append(Score("word_error_rate", *scores.ratio_interval(tally, draws=draws), "lower", len(said)))
        tally = scores.edit_tally(answers, said)
        name = "character_error_rate" if self.words else "phone_error_rate"
        return [*found, Score(name, *scores.ratio_interval(tally, draws=draws), "lower", len(said))]


def words_of(tokens: Sequence[str]) -> list[str]:
    """Characters as words.

    Example:
        >>> words_of(["W", "E", "|", "I", "T"])
        ['WE', 'IT']
    """
    return [word for word in "".join(tokens).split(DELIMITER) if word]


def refuse_strangers(task: str, answers: Iterable[str], labels: Sequence[str], split: str) -> None:
    """An error for an answer that the training split does not have."""
    strange = sorted(set(answers) - set(labels))
    if strange:
        shown = ", ".join(strange[:3]) + (" …" if len(strange) > 3 else "")
        raise SottovoceError(
            f"{task}: {len(strange)} of the labels of the {split} split are not known to the head ({shown}); give data "
            "whose labels are all in the training split, or for another head, mode=probe."
        )
