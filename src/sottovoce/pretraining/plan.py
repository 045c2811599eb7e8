"""What a round of pretraining predicts, and how."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from sottovoce.errors import SottovoceError, unknown
from sottovoce.sharing.groups import Groups
from sottovoce.training.settings import Precision

MOST_UNITS = 2**16  # units are kept in 16 bits
Kind = Literal["clusters", "frames"]


@dataclass(frozen=True)
class Units:
    """What is predicted: clusters of what is heard of each frame, or what is heard itself.

    Args:
        kind: `clusters`, or `frames`: the log-mel frames themselves, by their distance (L1).
        layer: the state whose clusters are the units; None for MFCCs.
        teacher: the model whose state that is, a folder or a Hub id; None for the model itself.
        context: how many frames on each side MFCCs are clustered with, standardised over the utterance; None for
            HuBERT's own: single frames, as they are.

    Example:
        >>> Units(clusters=500).layer is None
        True
    """

    kind: Kind = "clusters"
    clusters: int = 100
    layer: int | None = None
    teacher: str | None = None
    context: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown("kind of units", self.kind, get_args(Kind))
        if self.kind == "frames" and (self.layer is not None or self.context is not None):
            raise SottovoceError("kind=frames has no clusters; leave layer=, teacher= and context= out.")
        if not 1 <= self.clusters <= MOST_UNITS:
            raise SottovoceError(f"clusters={self.clusters}, but 1 to {MOST_UNITS} units are wanted.")
        if self.layer is None and self.teacher is not None:
            raise SottovoceError(f"teacher='{self.teacher}' needs a layer= whose clusters are the units.")
        if self.layer is not None and self.context is not None:
            raise SottovoceError("context= is of MFCCs and layer= of a model; give one of the two.")
        for name in ("context", "layer"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise SottovoceError(f"{name}={value}, but at least 0 is wanted.")


@dataclass(frozen=True)
class Mask:
    """What is hidden of an utterance.

    Args:
        share, span: of the frames; HuBERT's are 0.8 and 10, MelHuBERT's 0.7 and 5.
        unmasked_weight: the weight in the loss of frames that are not hidden; HuBERT's is 0, and a little training
            learns more with 1.

    Example:
        >>> Mask(share=0.7, span=5).unmasked_weight
        0.0
    """

    share: float = 0.8
    span: int = 10
    unmasked_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SottovoceError(f"share={self.share}, but a share above 0 and up to 1 is wanted.")
        if self.span < 1:
            raise SottovoceError(f"span={self.span}, but at least 1 frame is wanted.")
        if not 0 <= self.unmasked_weight < math.inf:
            raise SottovoceError(f"unmasked_weight={self.unmasked_weight}, but a weight of at least 0 is wanted.")


@dataclass(frozen=True)
class Stack:
    """What layers share, and how many steps run.

    Args:
        groups: layers that share one set of tensors: 1 for all of them, a number of runs of equal length, `none`, or
            lists of layers. The first layer of each group stays.
        depth: how many steps run in an update: `fixed:12`, or `uniform:2..12`, drawn anew for each; all, if not given.

    Example:
        >>> Stack(groups=1, depth="uniform:2..12").groups
        1
    """

    groups: Groups = "none"
    depth: str | None = None


@dataclass(frozen=True)
class Round:
    """What a round of pretraining predicts, and how.

    Args:
        noise: the share of utterances that are heard with noise and reverberation, while their units are clean.
        speeds: each recording is there so often more, at these speeds (and pitches).
        probe_every: validations between phone probes; None for none.

    Example:
        >>> Round(Units(clusters=500)).mask.span
        10
    """

    units: Units = Units()
    mask: Mask = Mask()
    noise: float = 0.0
    speeds: tuple[float, ...] = ()
    precision: Precision = "fp32"
    batch_seconds: float = 90.0
    probe_every: int | None = None
    stack: Stack = Stack()

    def __post_init__(self) -> None:
        """Refuse what no round can be, before any work."""
        if self.probe_every is not None and self.probe_every < 1:
            raise SottovoceError(f"pretrain: probe_every={self.probe_every}, but at least 1 is wanted.")
        if not 0 <= self.noise <= 1:
            raise SottovoceError(f"pretrain: noise={self.noise}, but a share up to 1 is wanted.")
        if not 0 < self.batch_seconds < math.inf:
            raise SottovoceError(f"pretrain: batch_seconds={self.batch_seconds}, but a length above 0 is wanted.")
        if not all(0.25 <= speed <= 4 for speed in self.speeds) or len(set(self.speeds)) < len(self.speeds):
            shown = ", ".join(f"{speed:g}" for speed in self.speeds)
            raise SottovoceError(f"pretrain: speeds={shown}, but different ones from 0.25 to 4 are wanted.")

    @property
    def noted(self) -> dict[str, Any]:
        """What is noted of it beside the model, in one mapping."""
        record = asdict(self)
        return {**record.pop("units"), **record.pop("mask"), **record.pop("stack"), **record}
