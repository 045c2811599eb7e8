"""What is asked of an export, and the forms in which audio is heard and answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sottovoce.models.card import shown_name
from sottovoce.models.front_end import SAMPLE_RATE
from sottovoce.models.heads import head_labels
from sottovoce.runtimes.onnx_file import OPSET
from sottovoce.tasks.kinds import BLANK, DELIMITER

Precision = Literal["fp32", "fp16", "int8"]
# Each utterance's outputs by name, cut at its end.
Said = list[dict[str, np.ndarray]]
Run = Callable[[Sequence[np.ndarray]], Said]


@dataclass(frozen=True)
class Order:
    """What is exported: a model by the name that it was given, in a precision, for any length or one.

    Args:
        seconds: the one length that is wanted, if it is one.
        longest: the most seconds that the target takes at once, if there is a most.
        original: the order of another model, in fp32, that is shown beside this one.

    Example:
        >>> Order(model, "small-hubert").precision
        'fp32'
    """

    model: Any
    name: str
    precision: Precision = "fp32"
    seconds: float | None = None
    opset: int = OPSET
    data: Sequence[Any] | None = None
    data_name: str | None = None
    longest: float | None = None
    original: "Order | None" = None

    @property
    def title(self) -> str:
        """The model's name, without a path of this machine."""
        return shown_name(self.name)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model's head can say; of a CTC head the blank is `<pad>`, and `|` stands between words."""
        return head_labels(self.model, blank=BLANK, delimiter=DELIMITER)

    def fitted(self, piece: np.ndarray) -> np.ndarray:
        """Audio cut, or padded with silence, to the one length that the graph takes, or cut to the longest."""
        if self.seconds is None:
            return piece if self.longest is None else piece[: round(self.longest * SAMPLE_RATE)]
        wanted = round(self.seconds * SAMPLE_RATE)
        return np.pad(piece[:wanted], (0, max(0, wanted - len(piece))))
