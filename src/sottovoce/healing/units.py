"""The head over units that lies beside a pretrained model: what it says, and how it is kept."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as tensor_bytes
from torch import nn

from sottovoce.data.batches import ahead, data_stamp, plan_batches, samples
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder
from sottovoce.models.hub import processor_file
from sottovoce.pretraining.plan import Round
from sottovoce.pretraining.run import UNITS_FILE
from sottovoce.progress import bar
from sottovoce.tasks.probe import fingerprint
from sottovoce.training import best_device


def units_head(model: Any) -> tuple[torch.Tensor, torch.Tensor, Round] | None:
    """The head over units that lies beside a model, and how its units are asked for; None where there is none.

    Example:
        >>> weight, bias, plan = units_head(sv.load("small-hubert"))
        >>> weight.shape
        torch.Size([500, 192])
    """
    content = units_file(model)
    if content is None:
        return None
    tensors, plan = tensors_of(content), json.loads(note_of(content).get("sottovoce", "{}")).get("plan", {})
    heeded = {name: plan[name] for name in ("share", "span", "heard") if name in plan}
    return tensors["head.weight"], tensors["head.bias"], Round(**heeded)


def keep_head(model: Any, head: nn.Linear) -> None:
    """Put a trained head over units in the place of the one that lies beside the model."""
    content = units_file(model)
    assert content is not None
    tensors = {name: tensor.contiguous() for name, tensor in tensors_of(content).items()}
    tensors |= {"head.weight": head.weight.detach().cpu().clone(), "head.bias": head.bias.detach().cpu().clone()}
    own = getattr(model, "processor_files", None) or {}
    model.processor_files = {**own, UNITS_FILE: tensor_bytes(tensors, note_of(content))}


def units_file(model: Any) -> bytes | None:
    """The file as it goes with the model wherever it is saved."""
    own = (getattr(model, "processor_files", None) or {}).get(UNITS_FILE)
    if isinstance(own, bytes):
        return own
    path = processor_file(getattr(model, "name_or_path", "") or "", UNITS_FILE)
    return None if path is None else path.read_bytes()


def note_of(content: bytes) -> dict[str, str]:
    """What a safetensors file says of itself: it begins with the length of a header, which is JSON."""
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}


def named(model: Any, utterances: Sequence[Utterance], weight: torch.Tensor, bias: torch.Tensor, folder: Path) -> Shelf:
    """The unit that a model's head names for each frame when it hears everything, kept."""
    encoder = Encoder(model, outputs=True)
    identity = f"named {fingerprint(encoder)} {float(weight.sum())} {data_stamp(utterances)}"
    shelf = Shelf(folder, identity=identity, row=(), dtype="uint16")
    rest = [utterance for utterance in utterances if utterance.id not in shelf]
    plan = plan_batches([utterance.seconds for utterance in rest], most=60.0, seed=None)

    def load(items: list[int]) -> list[np.ndarray]:
        return [samples(rest[item]) for item in items]

    with encoder.on(best_device()), encoder.exact(), torch.no_grad(), bar("naming units", len(plan)) as advance:
        weight, bias = weight.to(encoder.device), bias.to(encoder.device)
        with closing(ahead(load, plan)) as loads:
            for items, audio in zip(plan, loads, strict=True):
                inputs: dict[str, Any] = encoder.placed(encoder.inputs(audio))
                last = Anatomy(model).base(**inputs)[0].float()
                units = nn.functional.linear(last, weight, bias).argmax(-1).cpu().numpy().astype(np.uint16)
                rows = [row[: max(1, encoder.frames(len(piece)))] for row, piece in zip(units, audio, strict=True)]
                shelf.add(dict(zip([rest[item].id for item in items], rows, strict=True)))
                advance()
    return shelf
