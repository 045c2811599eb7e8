"""The tensor files of a model's folder, found and looked at before a number of them is read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sottovoce.errors import SottovoceError, reason_of
from sottovoce.files import inside, read_json, regular_file
from sottovoce.models.packed import PACKED, packed_shapes, unpack
from sottovoce.models.pickles import MOST_DIMENSIONS, pickled_headers, read_pickled
from sottovoce.models.teachers import DIFFERENCE, WHOLE, difference_size, read_difference

INDEX = "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
SINGLE = (PACKED, DIFFERENCE, WHOLE, PICKLE)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
LONGEST_HEADER = 8 << 20  # bytes: some 80 000 tensors
REAL = ("F64", "F32", "F16", "BF16")
# What is no real number all the same: counters of norms, positions, the bytes of int8 Linears, of bits, of differences.
WHOLE_NUMBERS = (("num_batches_tracked", ("I64",)), ("position_ids", ("I64",)), (".levels", ("I8",)))
LAYOUTS = {"places.": ("U8",), "steps.": ("I8",)}


@dataclass(frozen=True)
class Header:
    """What a file says of one tensor.

    Example:
        >>> Header("F32", (768, 768)).dtype
        'F32'
    """

    dtype: str
    shape: tuple[int, ...]


def weight_files(folder: str | Path) -> list[Path]:
    """The files that hold a local model's tensors, each in the folder itself and of a plain name.

    Example:
        >>> [path.name for path in weight_files("small")]
        ['model.safetensors']
    """
    place = Path(folder)
    for index, single in ((INDEX, SINGLE[:3]), (PICKLE_INDEX, SINGLE[3:])):
        for name in single:
            if _there(place / name):
                return [_file(place, name)]
        if _there(place / index):
            shards = sorted(set(sharding(place, index).values()))
            for name in shards:
                if not _there(place / name):
                    raise SottovoceError(
                        f"{place / index} names '{name}', which is not there; copy or download it again."
                    )
            return [_file(place, name) for name in shards]
    others = [path.name for pattern in PICKLES for path in sorted(place.glob(pattern))]
    if others:
        raise SottovoceError(
            f"{folder} holds a pickle ({others[0]}), but weights are in {WHOLE} or {PICKLE}; convert it with the tool "
            "that wrote it."
        )
    raise SottovoceError(f"{folder} holds no {WHOLE} and no {PICKLE}; give a folder that `save` wrote.")


def sharding(folder: Path, index: str = INDEX) -> dict[str, str]:
    """Which file of a folder each tensor is in, by the index of a model in several files.

    Example:
        >>> sharding(Path("large"))["encoder.layer_norm.bias"]
        'model-00001-of-00002.safetensors'
    """
    path = inside(folder, index, "the index")
    record = read_json(path, "the index of the tensors")
    found = record.get("weight_map") if isinstance(record, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise SottovoceError(f"{path} maps no tensors to files; copy or download it again.")
    for name in set(found.values()):
        inside(folder, name, f"{index} of {folder} names a file, but")
        if not name.endswith(kind := ".safetensors" if index == INDEX else ".bin"):
            raise SottovoceError(f"{path} names '{name}', but tensors are in {kind} files; download it again.")
    return found


def headers(path: Path) -> dict[str, Header]:
    """Kind and shape of each tensor in a file, none of which is read.

    Example:
        >>> headers(Path("small/model.safetensors"))["encoder.layer_norm.bias"]
        Header(dtype='F32', shape=(192,))
    """
    file = regular_file(path, "the tensors")
    if is_pickled(file):
        return {name: Header(*about) for name, about in pickled_headers(file).items()}
    try:
        with open(file, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError(f"its header would have {length} bytes")
        with safe_open(str(file), framework="pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (it is no mapping)
            found = {name: Header(str(each.get_dtype()), tuple(each.get_shape())) for name, each in slices.items()}
            for name, header in found.items():
                if len(header.shape) > MOST_DIMENSIONS:
                    raise ValueError(f"{name} has {len(header.shape)} dimensions")
            return found
    except (SafetensorError, OSError, ValueError, UnicodeError) as error:
        reason = reason_of(error, 300)
        raise SottovoceError(f"{path} is cut off or damaged ({reason}); copy or download it again.") from error


def check_headers(folder: str | Path) -> tuple[int, int]:
    """Refuse tensors of kinds that no weights are of; how many numbers and how many tensors the files are for.

    Example:
        >>> check_headers("small")
        (5761376, 211)
    """
    files = weight_files(folder)
    seen: dict[str, Path] = {}
    stored = 0
    for path in files:
        for name, header in headers(path).items():
            if name in seen:
                both = f"{seen[name].name} and {path.name}"
                raise SottovoceError(f"{name} is in both {both} of {folder}; copy or download it again.")
            seen[name] = path
            _check_kind(name, header, path)
            stored += math.prod(header.shape)
    if files[0].name not in SINGLE:
        index = PICKLE_INDEX if is_pickled(files[0]) else INDEX
        for name, shard in sharding(Path(folder), index).items():
            if name not in seen or seen[name].name != shard:
                raise SottovoceError(
                    f"{index} of {folder} says that {name} is in {shard}, where it is not; copy or download it again."
                )
    more = (0, 0)
    if files[0].name == PACKED:
        shapes = packed_shapes(files[0])
        more = sum(map(math.prod, shapes.values())), len(shapes)
    elif files[0].name == DIFFERENCE:
        more = difference_size(files[0])
    return stored + more[0], len(seen) + more[1]


def read_weights(folder: str | Path, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a local model, whichever way they were written; `wanted` are the names of what they are for.

    Those of plain files are mapped: they stay readable when the folder is replaced.

    Example:
        >>> read_weights("small", model.state_dict())["encoder.layer_norm.bias"].shape
        torch.Size([192])
    """
    files = weight_files(folder)
    if files[0].name == PACKED:
        return unpack(folder)
    if files[0].name == DIFFERENCE:
        return read_difference(folder, wanted)
    found: dict[str, torch.Tensor] = {}
    for path in files:
        if is_pickled(path):
            found |= read_pickled(path)
            continue
        try:
            with safe_open(str(path), framework="pt") as opened:
                found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise SottovoceError(f"{path} cannot be read ({error}); copy or download it again.") from error
    return found


def is_pickled(path: Path) -> bool:
    """Whether a file of tensors is one of torch.save's.

    Example:
        >>> is_pickled(Path("old/pytorch_model.bin"))
        True
    """
    return path.suffix == ".bin"


def _check_kind(name: str, header: Header, path: Path) -> None:
    kinds: Any = next((kinds for end, kinds in WHOLE_NUMBERS if name.endswith(end)), REAL)
    if path.name in (PACKED, DIFFERENCE):
        kinds = next((own for start, own in LAYOUTS.items() if name.startswith(start)), kinds)
    if header.dtype not in kinds:
        raise SottovoceError(
            f"{path}: {name} is of {header.dtype}, but {' or '.join(kinds)} is wanted; give the model as it was saved."
        )


def _file(folder: Path, name: str) -> Path:
    return regular_file(inside(folder, name, "the tensor file"), "the tensors")


def _there(path: Path) -> bool:
    return path.is_symlink() or path.exists()
