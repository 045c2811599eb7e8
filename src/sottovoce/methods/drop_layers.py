"""Dropping whole layers: the plainest saving, and the one that plain Hugging Face code can load."""

from collections.abc import Sequence
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_layers
from sottovoce.registry import method


@method("drop_layers", paper="arXiv 2409.16302")
def drop_layers(
    model: Any,
    data: Any = None,
    *,
    keep: int | Sequence[int] | None = None,
    drop: Sequence[int] | None = None,
) -> Any:
    """Drop whole layers and join what is left.

    `keep` is how many to keep from the bottom, or which ones; `drop` is which ones to drop. Layers count from 0.

    Example:
        >>> small = drop_layers(model, keep=9)
        >>> small = drop_layers(model, drop=[3, 4])
    """
    steps = len(Anatomy(model).order)
    if (keep is None) == (drop is None):
        raise SottovoceError("drop_layers needs either keep or drop: give keep=9, keep=[0, 1, 5] or drop=[3, 4].")
    if isinstance(keep, int):
        if not 1 <= keep <= steps:
            raise SottovoceError(f"keep={keep}, but this encoder has {steps} layers; give 1-{steps}.")
        kept = list(range(keep))
    elif keep is not None:
        kept = list(keep)
    else:
        gone = list(drop or ())
        wrong = [layer for layer in gone if not 0 <= layer < steps]
        if wrong:
            raise SottovoceError(f"drop names layer {wrong[0]}, but this encoder has {steps}; give 0-{steps - 1}.")
        kept = [layer for layer in range(steps) if layer not in gone]
    if not kept:
        raise SottovoceError(f"all {steps} layers would go; keep at least one.")
    keep_layers(model, kept)
    return model
