"""Weights with many zeros in less space: a bit a number for whether it is one, and the others in their order.

Only sottovoce reads such a folder. What is loaded from it is an ordinary model, whose zeros take room as before.
"""

import json
import math
import reprlib
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from sottovoce.errors import SottovoceError, reason_of
from sottovoce.files import inside, json_object, regular_file

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
    path = regular_file(inside(folder, PACKED, "the packed tensors"), "the packed tensors")
    shapes = packed_shapes(path)
    found: dict[str, torch.Tensor] = {}
    try:
        with safe_open(str(path), framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 (it is no mapping)
                kind, _, name = key.partition(".")
                if kind == "whole":
                    found[name] = opened.get_tensor(key)
                elif kind == "values":
                    places = opened.get_tensor(f"places.{name}").numpy()
                    there = torch.from_numpy(np.unpackbits(places, count=math.prod(shapes[name]))).bool()
                    values = opened.get_tensor(key)
                    if values.dim() != 1 or int(there.sum()) != len(values):
                        shape = "x".join(map(str, values.shape))
                        raise ValueError(f"{name} has {shape} numbers and {int(there.sum())} places for them")
                    flat = values.new_zeros(len(there))
                    flat[there] = values
                    found[name] = flat.view(shapes[name])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return found


def packed_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the packed tensors of a file, each of which has a bit for each of its numbers.

    Example:
        >>> packed_shapes(Path("sparse", PACKED))["encoder.layers.0.attention.q_proj.weight"]
        (768, 768)
    """
    try:
        with safe_open(str(path), framework="pt") as opened:
            notes = json_object((opened.metadata() or {}).get("sottovoce", "{}"), "its notes")
            shapes, names = notes.get("shapes"), set(opened.keys())
            if not isinstance(shapes, dict):
                raise ValueError("its notes hold no shapes")
            packed = {name.partition(".")[2] for name in names if name.startswith(("places.", "values."))}
            for name in sorted(packed | shapes.keys()):
                shape = shapes.get(name)
                if {f"places.{name}", f"values.{name}"} - names:
                    raise ValueError(f"{name} lacks its places or its values")
                if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
                    raise ValueError(f"the shape of {name} is {reprlib.repr(shape)}")
                bits = opened.get_slice(f"places.{name}").get_shape()
                if bits != [-(-math.prod(shape) // 8)]:
                    raise ValueError(f"{name} is {reprlib.repr(shape)} by its notes, but has {bits} bytes of places")
            return {name: tuple(shape) for name, shape in shapes.items() if name in packed}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SottovoceError:
    reason = reason_of(error, 300)
    return SottovoceError(f"{path} is no packed model that sottovoce wrote ({reason}); save it anew.")
