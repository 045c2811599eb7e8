"""The head over units that lies beside a pretrained model and goes where it goes: kept, read, asked for units."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as tensor_bytes
from torch import nn

from sottovoce.data.batches import data_stamp
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError, reason_of
from sottovoce.files import json_object
from sottovoce.hearing import Audio, heard_once, trimmed
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, Inputs, fingerprint
from sottovoce.models.processors import PROCESSOR_FILES, UNITS_FILE, processor_file
from sottovoce.pretraining.plan import Mask
from sottovoce.training import best_device

# What is noted of a mask, and the option that it was; heads of earlier versions note `heard`.
MASK = {"share": "share", "span": "span", "heard": "unmasked_weight", "unmasked_weight": "unmasked_weight"}


@dataclass(frozen=True)
class UnitHead:
    """A head over units: its tensors, the codebook's among them, and what is noted of them.

    Example:
        >>> unit_head_of(sv.load("small-hubert")).tensors["head.weight"].shape
        torch.Size([500, 192])
    """

    tensors: Mapping[str, torch.Tensor]
    about: Mapping[str, str]

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self.tensors["head.weight"])

    @property
    def asked(self) -> Mask:
        """How units are asked for in masked prediction: the mask, and the weight of what is heard."""
        plan = notes_of(self.about).get("plan", {})
        return Mask(**{MASK[name]: plan[name] for name in MASK if name in plan})

    def head(self) -> nn.Linear:
        """The head, frozen."""
        weight, bias = self.tensors["head.weight"], self.tensors["head.bias"]
        head = nn.Linear(weight.shape[1], weight.shape[0])
        head.load_state_dict({"weight": weight, "bias": bias})
        return head.requires_grad_(False)


def unit_head_of(model: Any) -> UnitHead | None:
    """The head over units beside a model; None where there is none.

    Example:
        >>> unit_head_of(sv.load("small-hubert")).head()
        Linear(in_features=192, out_features=500, bias=True)
    """
    content = processor_files_of(model).get(UNITS_FILE)
    if content is None:
        return None
    try:
        raw = content.encode() if isinstance(content, str) else content
        tensors = tensors_of(raw)
        # The format begins with the length of its header, which is JSON.
        header = json_object(raw[8 : 8 + int.from_bytes(raw[:8], "little")], "its header")
        about = header.get("__metadata__") or {}
        check_plan(notes_of(about).get("plan", {}))
        for name in ("head.weight", "head.bias"):
            if not tensors[name].is_floating_point() or not bool(tensors[name].isfinite().all()):
                raise ValueError(f"{name} holds no finite numbers")
        found, width = tensors["head.weight"].shape[1], Anatomy(model).setting("hidden_size")
        if tensors["head.bias"].shape != tensors["head.weight"].shape[:1]:
            raise ValueError("its bias does not fit its weight")
    except (SafetensorError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        reason = reason_of(error)
        raise SottovoceError(
            f"the {UNITS_FILE} beside this model is damaged ({reason}); pretrain it again, or delete the file."
        ) from error
    if found != width:
        raise SottovoceError(
            f"the head over units beside this model reads {found} numbers, but the model has {width}; give the model "
            f"as it was pretrained, or delete {UNITS_FILE}."
        )
    return UnitHead(tensors, about)


def notes_of(about: Mapping[str, str]) -> dict[str, Any]:
    """What is noted in the metadata of a file of units.

    Example:
        >>> notes_of({})
        {}
    """
    return json_object(about.get("sottovoce", "{}"), "its notes")


def check_plan(plan: Any) -> None:
    """Refuse a noted plan whose mask no training could have had.

    Example:
        >>> check_plan({"share": 0.8, "span": 10, "unmasked_weight": 0.0})
    """
    if not isinstance(plan, dict):
        raise ValueError(f"its plan is {reprlib.repr(plan)}")
    for name, most in {"share": 1.0, "span": 100_000, "unmasked_weight": 1e6, "heard": 1e6}.items():
        value = plan.get(name, 1)
        kind = int if name == "span" else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not 0 <= value <= most:
            raise ValueError(f"{name} of its plan is {reprlib.repr(value)}, but a number from 0 to {most:g} is wanted")


def keep_unit_head(model: Any, head: nn.Linear, clusters: UnitHead) -> None:
    """A head, with the other tensors and the notes of some clusters, as the file that goes with the model.

    Example:
        >>> keep_unit_head(student, head, unit_head_of(teacher))
    """
    own = {"head.weight": head.weight, "head.bias": head.bias}
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in {**clusters.tensors, **own}.items()}
    content = tensor_bytes({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(clusters.about))
    model.processor_files = {**processor_files_of(model), UNITS_FILE: content}


def narrow_unit_head(model: Any, clusters: UnitHead, units: Sequence[int]) -> None:
    """Keep beside a model a head that reads only these of the units that it read before.

    Example:
        >>> narrow_unit_head(model, clusters, [0, 2, 3])
    """
    whole = clusters.head()
    head = nn.Linear(len(units), clusters.count)
    head.load_state_dict({"weight": whole.weight[:, list(units)], "bias": whole.bias})
    keep_unit_head(model, head, clusters)


def named_units(model: Any, utterances: Sequence[Utterance], clusters: UnitHead, folder: Path) -> Shelf:
    """The unit that a head beside a model names for each frame of it, kept.

    Example:
        >>> named_units(model, utterances, unit_head_of(model), folder)["a-1"].shape
        (49,)
    """
    encoder, head = Encoder(model, outputs=True), clusters.head()
    identity = f"named {fingerprint(encoder)} {float(head.weight.sum())} {data_stamp(utterances)}"
    shelf = Shelf(folder, identity=identity, row=(), dtype="uint16")
    head = head.to(best_device())

    def units(inputs: Inputs, audio: Audio) -> list[np.ndarray]:
        placed: dict[str, Any] = encoder.placed(inputs)
        last = Anatomy(model).base(**placed)[0].float()
        return trimmed(encoder, head(last).argmax(-1).cpu().numpy().astype(np.uint16), audio)

    return heard_once(encoder, utterances, shelf, units, doing="naming units")


def processor_files_of(model: Any) -> dict[str, str | bytes]:
    """The files that go with a model when it is saved: its own, or those where it came from.

    Example:
        >>> sorted(processor_files_of(sv.load("small-hubert")))
        ['units.safetensors']
    """
    own: dict[str, str | bytes] | None = getattr(model, "processor_files", None)
    if own is not None:
        return dict(own)
    source = getattr(model, "name_or_path", "") or ""
    # The feature extractor's file is always looked for at the source.
    found = {name: processor_file(source, name) for name in PROCESSOR_FILES[1:]}
    return {name: path.read_bytes() for name, path in found.items() if path is not None}
