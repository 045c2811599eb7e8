"""What is distilled, and which states of the two models belong together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sottovoce.errors import SottovoceError, unknown
from sottovoce.training.settings import Precision

Maps = Literal["each", "shared"]
Loss = Literal["cluster_kl", "hidden", "distilhubert", "arm", "star"]
HINT = 0.1  # the weight of the states before the last in masking distillation


@dataclass(frozen=True)
class Student:
    """How the student is made of the model.

    Args:
        layers: how many layers from the bottom it keeps; None for all.
        start: "random" draws its weights anew.
        log_mel: it gets a log-mel front end.
        channels: it gets a front end of convolutions with these numbers of channels, drawn anew.
        freeze_front_end: a convolutional front end does not learn, unless it is drawn anew.

    Example:
        >>> Student(layers=2).start
        'model'
    """

    layers: int | None = None
    start: Literal["model", "random"] = "model"
    log_mel: bool = False
    channels: tuple[int, ...] | None = None
    freeze_front_end: bool = True

    def __post_init__(self) -> None:
        if self.start not in ("model", "random"):
            raise unknown("start", self.start, ("model", "random"))
        if self.log_mel and self.channels is not None:
            raise SottovoceError("distill: a student has either log_mel or channels for a front end; give one of them.")

    @property
    def new_front_end(self) -> bool:
        """Whether the front end has everything to learn."""
        return self.start == "random" or self.channels is not None


@dataclass(frozen=True)
class Match:
    """What a loss matches, and how.

    Args:
        layers: the teacher's states that are matched; None for those that are usual for the loss.
        temperature: of the clusters of the loss `cluster_kl`.
        share, span: of the mask of the loss `arm`.
        maps: whether each matched state has a Linear of its own, or all but the first layer's input one in common.

    Example:
        >>> Match(layers=(4, 8, 12)).temperature
        1.0
    """

    layers: tuple[int, ...] | None = None
    temperature: float = 1.0
    share: float = 0.8
    span: int = 10
    maps: Maps = "each"

    def __post_init__(self) -> None:
        if self.maps not in get_args(Maps):
            raise unknown("maps", self.maps, get_args(Maps))
        if self.layers is not None and not self.layers:
            raise SottovoceError("layers= is empty; name at least one state of the teacher, or leave it out.")
        if not 0 < self.temperature < math.inf:
            raise SottovoceError(f"temperature={self.temperature}, but a number above 0 is wanted.")
        if not 0 < self.share <= 1:
            raise SottovoceError(f"share={self.share}, but a share above 0 and up to 1 is wanted.")
        if self.span < 1:
            raise SottovoceError(f"span={self.span}, but at least 1 frame is wanted.")


@dataclass(frozen=True)
class Distillation:
    """What is distilled into what, and how.

    Args:
        teacher: a folder, a Hub id or the name of a model in the package; None for the model as it came.
        cache: whether the teacher's states are kept on the disk; None for where that pays.

    Example:
        >>> Distillation(student=Student(layers=2)).loss
        'hidden'
    """

    loss: Loss = "hidden"
    teacher: str | None = None
    student: Student = Student()
    match: Match = Match()
    cache: bool | None = None
    precision: Precision = "fp32"
    batch_seconds: float = 90.0

    def __post_init__(self) -> None:
        """Refuse what no distillation can be, before any work."""
        if self.loss not in get_args(Loss):
            raise unknown("loss", self.loss, get_args(Loss))
        if self.match.layers is not None and self.loss == "cluster_kl":
            raise SottovoceError("distill: match.layers= is for losses that match states; cluster_kl matches clusters.")
        if self.cache and self.loss == "arm":
            raise SottovoceError("distill: the teacher of the loss arm hears other masks each time; leave cache= out.")
        if not 0 < self.batch_seconds < math.inf:
            raise SottovoceError(f"distill: batch_seconds={self.batch_seconds}, but a number above 0 is wanted.")
        made = self.student
        if self.teacher is None and made.layers is None and not made.log_mel and not made.new_front_end:
            raise SottovoceError(
                "distill: the student would be its own teacher; give teacher=, or make the student another model: "
                "student: {layers: 2}, {log_mel: true}, {channels: [...]} or {start: random}."
            )

    @property
    def outputs(self) -> bool:
        """Whether what the models put out is matched, and no states."""
        return self.loss == "cluster_kl"


@dataclass(frozen=True)
class Pair:
    """A state of the student, the state of the teacher that it is to be like, and how much that counts.

    Example:
        >>> Pair(student=2, teacher=12).weight
        1.0
    """

    student: int
    teacher: int
    weight: float = 1.0


def matched(plan: Distillation, student: int, teacher: int) -> list[Pair]:
    """Which states belong together in a student and a teacher of so many layers, by the share of the depth.

    Example:
        >>> [(pair.student, pair.teacher) for pair in matched(Distillation(student=Student(2)), 2, 12)]
        [(0, 0), (1, 6), (2, 12)]
    """
    if min(student, teacher) < 1:
        raise SottovoceError("distill: an encoder without layers has nothing to match; give one with layers.")
    if plan.outputs:
        return []
    chosen = usual_layers(plan.loss, student, teacher) if plan.match.layers is None else sorted(set(plan.match.layers))
    wrong = [layer for layer in chosen if not 0 <= layer <= teacher]
    if wrong:
        raise SottovoceError(f"distill: match.layers names {wrong[0]}, but the teacher's states are 0-{teacher}.")
    weights = [1.0 if plan.loss != "arm" or layer == chosen[-1] else HINT for layer in chosen]
    if plan.loss == "distilhubert":
        return [Pair(student, layer, weight) for layer, weight in zip(chosen, weights, strict=True)]
    # A state behind a layer is never matched with what has seen no layer.
    places = [max(min(layer, 1), nearest(layer * student / teacher)) for layer in chosen]
    return [Pair(*entry) for entry in zip(places, chosen, weights, strict=True)]


def usual_layers(loss: Loss, student: int, teacher: int) -> Sequence[int]:
    """The teacher's states that a loss matches where nobody chose.

    `hidden` takes the first and at most three more, evenly spread, the last included, as DPHuBERT (0, 4, 8 and 12 of
    12); `distilhubert` thirds (4, 8, 12); `arm` one for each layer of the student; `star` also the first.
    """
    thirds = {"hidden": min(3, student), "distilhubert": 3}.get(loss, student)
    first = 1 if loss in ("distilhubert", "arm") else 0
    spread = {nearest(step * teacher / thirds) for step in range(first, thirds + 1)}
    return sorted(spread - {0} if first else spread)


def nearest(number: float) -> int:
    """The nearest whole number, of two the higher."""
    return math.floor(number + 0.5)
