"""The units that a model names when it hears everything."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sottovoce.data.batches import ahead, data_stamp, plan_batches, samples
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, fingerprint
from sottovoce.progress import bar
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
    rest = [utterance for utterance in utterances if utterance.id not in shelf]
    plan = plan_batches([utterance.seconds for utterance in rest], most=60.0, seed=None)

    def load(items: list[int]) -> list[np.ndarray]:
        return [samples(rest[item]) for item in items]

    with encoder.on(best_device()), encoder.exact(), torch.no_grad(), bar("naming units", len(plan)) as advance:
        head = head.to(encoder.device)
        with closing(ahead(load, plan)) as loads:
            for items, audio in zip(plan, loads, strict=True):
                inputs: dict[str, Any] = encoder.placed(encoder.inputs(audio))
                last = Anatomy(model).base(**inputs)[0].float()
                units = head(last).argmax(-1).cpu().numpy().astype(np.uint16)
                rows = [row[: max(1, encoder.frames(len(piece)))] for row, piece in zip(units, audio, strict=True)]
                shelf.add(dict(zip([rest[item].id for item in items], rows, strict=True)))
                advance()
    return shelf
