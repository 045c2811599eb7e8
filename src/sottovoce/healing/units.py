"""The units that a model names when it hears everything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sottovoce.data.batches import data_stamp
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.hearing import Audio, heard_once, trimmed
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, Inputs, fingerprint
from sottovoce.training import best_device


def named(model: Any, utterances: Sequence[Utterance], head: nn.Linear, folder: Path) -> Shelf:
    """The unit that a head beside a model names for each frame of it, kept.

    Example:
        >>> named(model, utterances, clusters_of(model).head(), folder)["a-1"].shape
        (49,)
    """
    encoder = Encoder(model, outputs=True)
    identity = f"named {fingerprint(encoder)} {float(head.weight.sum())} {data_stamp(utterances)}"
    shelf = Shelf(folder, identity=identity, row=(), dtype="uint16")
    head = head.to(best_device())

    def units(inputs: Inputs, audio: Audio) -> list[np.ndarray]:
        placed: dict[str, Any] = encoder.placed(inputs)
        last = Anatomy(model).base(**placed)[0].float()
        return trimmed(encoder, head(last).argmax(-1).cpu().numpy().astype(np.uint16), audio)

    return heard_once(encoder, utterances, shelf, units, doing="naming units")
