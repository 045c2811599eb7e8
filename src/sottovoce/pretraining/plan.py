"""What a round of pretraining predicts, and how."""

import math
from dataclasses import dataclass

from sottovoce.errors import SottovoceError
from sottovoce.training.settings import Precision

MOST_UNITS = 2**16  # units are kept in 16 bits


@dataclass(frozen=True)
class Round:
    """What a round of pretraining predicts, and how.

    Args:
        layer: the state whose clusters are the units; None for MFCCs.
        teacher: the model whose state that is, a folder or a Hub id; None for the model itself.
        context: how many frames on each side MFCCs are clustered with, standardised over the utterance; None for
            HuBERT's own: single frames, as they are.
        share, span: of the mask; HuBERT's are 0.8 and 10, MelHuBERT's 0.7 and 5.
        heard: the weight in the loss of frames that are not hidden; HuBERT's is 0, and a little training learns more
            with 1.
        noise: the share of utterances that are heard with noise and reverberation, while their units are clean.
        speeds: each recording is there so often more, at these speeds (and pitches).
        probe_every: validations between phone probes; None for none.

    Example:
        >>> Round(clusters=100).layer is None
        True
    """

    clusters: int = 100
    layer: int | None = None
    teacher: str | None = None
    context: int | None = None
    share: float = 0.8
    span: int = 10
    heard: float = 0.0
    noise: float = 0.0
    speeds: tuple[float, ...] = ()
    precision: Precision = "fp32"
    batch_seconds: float = 90.0
    probe_every: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no round can be, before any work."""
        if not 1 <= self.clusters <= MOST_UNITS:
            raise SottovoceError(f"pretrain: clusters={self.clusters}, but 1 to {MOST_UNITS} units are wanted.")
        if self.layer is None and self.teacher is not None:
            raise SottovoceError(f"pretrain: teacher='{self.teacher}' needs a layer= whose clusters are the units.")
        if self.layer is not None and self.context is not None:
            raise SottovoceError("pretrain: context= is of MFCCs and layer= of a model; give one of the two.")
        for name in ("context", "layer"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise SottovoceError(f"pretrain: {name}={value}, but at least 0 is wanted.")
        if self.span < 1 or (self.probe_every is not None and self.probe_every < 1):
            raise SottovoceError(
                f"pretrain: span={self.span} and probe_every={self.probe_every}, but at least 1 is wanted."
            )
        if not 0 < self.share <= 1 or not 0 <= self.noise <= 1:
            raise SottovoceError(f"pretrain: share={self.share} and noise={self.noise}, but shares up to 1 are wanted.")
        if not 0 <= self.heard < math.inf or not 0 < self.batch_seconds < math.inf:
            raise SottovoceError(
                f"pretrain: heard={self.heard} and batch_seconds={self.batch_seconds}, but a weight of at least 0 "
                "and a length above 0 are wanted."
            )
        if not all(0.25 <= speed <= 4 for speed in self.speeds) or len(set(self.speeds)) < len(self.speeds):
            shown = ", ".join(f"{speed:g}" for speed in self.speeds)
            raise SottovoceError(f"pretrain: speeds={shown}, but different ones from 0.25 to 4 are wanted.")
