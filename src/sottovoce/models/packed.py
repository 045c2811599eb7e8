"""Weights with many zeros in less space: a bit a number for whether it is one, and the others in their order.

Only sottovoce reads such a folder. What is loaded from it is an ordinary model, whose zeros take room as before.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from sottovoce.errors import SottovoceError

PACKED = "packed.safetensors"
PATTERN = "model*.safetensors"
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def pack(folder: Path) -> None:
    """Write the tensors of a model's folder anew, those with enough zeros packed, and take the plain files away.

    Example:
        >>> pack(Path("sparse"))
    """
    kept: dict[str, torch.Tensor] = {}
    shapes: dict[str, list[int]] = {}
    plain = sorted(folder.glob(PATTERN))
    for path in plain:
        for name, tensor in load_file(path).items():
            packed = pack_tensor(tensor)
            if packed is None:
                kept[f"whole.{name}"] = tensor
            else:
                kept[f"places.{name}"], kept[f"values.{name}"] = packed
                shapes[name] = list(tensor.shape)
    save_file(kept, folder / PACKED, metadata={"sottovoce": json.dumps({"shapes": shapes})})
    for path in [*plain, folder / "model.safetensors.index.json"]:
        path.unlink(missing_ok=True)


def pack_tensor(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The places of a tensor's numbers, a bit each, and the numbers; None where that would not be shorter.

    Example:
        >>> pack_tensor(torch.tensor([0.0, 0.0, 3.0, 0.0]))
        (tensor([32], dtype=torch.uint8), tensor([3.]))
    """
    if not tensor.is_floating_point() or tensor.element_size() not in INTEGERS:
        return None
    flat = tensor.contiguous().flatten()
    # By their bits: a zero with a sign is a number like any other.
    there = flat.view(INTEGERS[flat.element_size()]) != 0
    values = flat[there]
    places = torch.from_numpy(np.packbits(there.numpy()))
    shorter = places.nbytes + values.nbytes < flat.nbytes
    return (places, values) if shorter else None


def unpack(folder: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a packed folder, as they were.

    Example:
        >>> sum(int((tensor == 0).sum()) for tensor in unpack("sparse").values())
        42508800
    """
    path = Path(folder, PACKED)
    found: dict[str, torch.Tensor] = {}
    try:
        with safe_open(str(path), framework="pt") as opened:
            shapes = json.loads((opened.metadata() or {})["sottovoce"])["shapes"]
            for key in opened.keys():  # noqa: SIM118 (it is no mapping)
                kind, _, name = key.partition(".")
                if kind == "whole":
                    found[name] = opened.get_tensor(key)
                elif kind == "values":
                    places = opened.get_tensor(f"places.{name}").numpy()
                    there = torch.from_numpy(np.unpackbits(places, count=math.prod(shapes[name]))).bool()
                    values = opened.get_tensor(key)
                    if int(there.sum()) != len(values):
                        raise ValueError(f"{name} has {len(values)} numbers and {int(there.sum())} places for them")
                    flat = values.new_zeros(len(there))
                    flat[there] = values
                    found[name] = flat.view(shapes[name])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SottovoceError(f"{path} is no packed model that sottovoce wrote ({error}); save it anew.") from error
    return found
