"""Weights that torch.save pickled: looked through as inert values first, then read by torch's restricted unpickler."""

import io
import math
import struct
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickletools import genops
from typing import Any

import torch

from sottovoce.errors import SottovoceError, explain_system_error, reason_of

LONGEST_PICKLE = 2 << 20  # bytes of what is not numbers: some 14 000 tensors
LONGEST_DIRECTORY = 4 << 20  # bytes of a zip file's list of what is in it
MOST_DIMENSIONS = 8
ZIPPED = b"PK\x03\x04"
# A file of the days before torch 1.6 is five pickles, of which these two are the first, and then the numbers.
FIRST, SECOND = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "torch.DoubleStorage": ("F64", 8),
    "torch.FloatStorage": ("F32", 4),
    "torch.HalfStorage": ("F16", 2),
    "torch.BFloat16Storage": ("BF16", 2),
    "torch.LongStorage": ("I64", 8),
    "torch.IntStorage": ("I32", 4),
    "torch.ShortStorage": ("I16", 2),
    "torch.CharStorage": ("I8", 1),
    "torch.ByteStorage": ("U8", 1),
    "torch.BoolStorage": ("BOOL", 1),
}
ORDERED, PARAMETER = "collections.OrderedDict", "torch._utils._rebuild_parameter"
TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
NAMES = frozenset([ORDERED, PARAMETER, *TENSORS, *STORAGES])
VALUES = frozenset(["BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"])
NEW: dict[str, Any] = {
    **{"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple},
    **{"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False},
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()
FAULTS = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, OverflowError, NotImplementedError),
    *(struct.error, zipfile.BadZipFile),
)


@dataclass(frozen=True)
class Named:
    """What a pickle names; it is not looked up."""

    name: str


@dataclass(frozen=True)
class Numbers:
    """A row of numbers that tensors are cut from: of which kind, under which key, how many."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class Cut:
    """A tensor by what a pickle says of it."""

    numbers: Numbers
    shape: tuple[int, ...]


def pickled_headers(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Kind and shape of each tensor in a pickled file, by its instructions: none of them is followed.

    Refused is what names anything but tensors, and what speaks of more numbers than the file holds.

    Example:
        >>> pickled_headers(Path("old/pytorch_model.bin"))["encoder.layer_norm.bias"]
        ('F32', (768,))
    """
    try:
        with open(path, "rb") as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a text in a pickle may be no text
            found, sizes = _zipped(opened, path) if _is_zipped(path) else _legacy(opened, path)
        tensors = _tensors(found, path)
        for name, cut in tensors.items():
            wanted = cut.numbers.count * _width(cut.numbers.kind)
            if sizes.get(cut.numbers.key, -1) < wanted:
                raise ValueError(f"{name} has {wanted} bytes by the pickle, but they are not there")
        total = sum(math.prod(cut.shape) * _width(cut.numbers.kind) for cut in tensors.values())
        if total > 2 * path.stat().st_size:  # a tensor may go by two names
            raise ValueError(f"its tensors would have {total} bytes")
        return {name: (cut.numbers.kind, cut.shape) for name, cut in tensors.items()}
    except SottovoceError:
        raise
    except FAULTS as error:
        raise _damaged(path, reason_of(error, 300)) from error


def read_pickled(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a pickled file that was looked through; those of a zip file are mapped.

    Example:
        >>> read_pickled(Path("old/pytorch_model.bin"))["encoder.layer_norm.bias"].shape
        torch.Size([768])
    """
    wanted = pickled_headers(path)
    try:
        found = unpickled(path)
        shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
        if shapes != {name: shape for name, (_, shape) in wanted.items()}:
            raise ValueError("it holds other tensors than it says")
        return {name: tensor.detach().contiguous() for name, tensor in found.items()}
    except Exception as error:
        if explain_system_error(error) is not None:
            raise
        # What torch says here is the advice to switch its restrictions off.
        raise _damaged(path, "it does not follow its own instructions") from error


def unpickled(path: Path) -> Any:
    """What torch's restricted unpickler makes of a file: tensors and containers; no other class, no code."""
    return torch.load(path, map_location="cpu", mmap=_is_zipped(path), weights_only=True)


def _is_zipped(path: Path) -> bool:
    with open(path, "rb") as opened:
        return opened.read(4) == ZIPPED


def _zipped(opened: Any, path: Path) -> tuple[Any, dict[str, int]]:
    """What the pickle in a zip file would make, and how many bytes each row of numbers has."""
    tail = opened.seek(max(0, opened.seek(0, io.SEEK_END) - (1 << 16) - 22))
    end = opened.read()
    at, larger = end.rfind(b"PK\5\6"), end.rfind(b"PK\6\6")
    if at < 0:
        raise ValueError("its list of contents is not at its end")
    (size,) = struct.unpack_from("<I", end, at + 12)
    if size == 0xFFFFFFFF:
        (size,) = struct.unpack_from("<Q", end, larger + 40)
    if size > LONGEST_DIRECTORY:
        raise ValueError(f"a list of contents of {size} bytes")
    with zipfile.ZipFile(opened) as archive:
        entries = archive.infolist()
        if len({entry.filename.lower() for entry in entries}) < len(entries):
            raise ValueError("one name stands for two of its parts")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
            raise ValueError("it is compressed or encrypted, which torch.save does not do")
        if sum(entry.file_size for entry in entries) > tail + len(end):
            raise ValueError("its parts are longer than the whole")
        folder = entries[0].filename.partition("/")[0] if entries else ""
        pickle = archive.getinfo(f"{folder}/data.pkl")
        if pickle.file_size > LONGEST_PICKLE:
            raise ValueError(f"a list of tensors of {pickle.file_size} bytes")
        start = f"{folder}/data/"
        sizes = {e.filename.removeprefix(start): e.file_size for e in entries if e.filename.startswith(start)}
        return inert(io.BytesIO(archive.read(pickle)), path), sizes


def _legacy(opened: Any, path: Path) -> tuple[Any, dict[str, int]]:
    """The same of a file of the days before torch 1.6."""
    length = opened.seek(0, io.SEEK_END)
    opened.seek(0)
    stream = io.BytesIO(opened.read(LONGEST_PICKLE))
    if inert(stream, path) != FIRST or inert(stream, path) != SECOND:
        raise ValueError("it is no pickle that torch.save wrote")
    inert(stream, path)  # the machine that it was written on
    found, keys = inert(stream, path), inert(stream, path)
    tensors = _tensors(found, path).values()
    used = {cut.numbers.key: cut.numbers for cut in tensors}
    if any(used[cut.numbers.key] != cut.numbers for cut in tensors):
        raise ValueError("one row of numbers is told of in two ways")
    sizes = {key: numbers.count * _width(numbers.kind) for key, numbers in used.items()}
    # Each row stands behind its length, of 8 bytes.
    if sorted(keys) != sorted(used) or sum(sizes.values()) + 8 * len(sizes) > length - stream.tell():
        raise ValueError("its numbers are not all there")
    return found, sizes


def inert(stream: io.BytesIO, path: Path) -> Any:
    """What a pickle would build, of inert values: nothing that it names is looked up, called or run.

    Example:
        >>> inert(io.BytesIO(b"\\x80\\x02}X\\x01\\x00\\x00\\x00aK\\x03s."), Path("a.bin"))
        {'a': 3}
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for code, value, _ in genops(stream):
        name = code.name
        if name in VALUES:
            stack.append(value)
        elif name in NEW:
            stack.append(NEW[name]())
        elif name == "GLOBAL":
            stack.append(_named(str(value).replace(" ", "."), path))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[int(value or 0)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(value or 0)])
        elif name == "MARK":
            stack.append(MARK)
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
        elif name == "TUPLE":
            stack.append(tuple(_to_mark(stack)))
        elif name in ("SETITEM", "SETITEMS"):
            _fill(stack, [stack.pop(-2), stack.pop()] if name == "SETITEM" else _to_mark(stack))
        elif name in ("APPEND", "APPENDS"):
            more = [stack.pop()] if name == "APPEND" else _to_mark(stack)
            stack[-1].extend(more)
        elif name == "BINPERSID":
            stack.append(_numbers(stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_made(stack.pop(), arguments))
        elif name == "BUILD" and isinstance(stack[-2], dict):
            stack.pop()  # notes on a dictionary, such as the versions of modules
        elif name not in ("PROTO", "STOP") or (name == "PROTO" and value != 2):
            raise ValueError(f"{name} is no instruction that torch.save writes")
    (found,) = stack
    return found


def _named(name: str, path: Path) -> Named:
    if name not in NAMES:
        shown = name if len(name) < 100 else f"{name[:100]}…"
        raise SottovoceError(
            f"{path} is a pickle that names {shown!r}, but nothing except tensors by name is read from one (none of it "
            "was run); give model.state_dict() alone, as safetensors."
        )
    return Named(name)


def _to_mark(stack: list[Any]) -> list[Any]:
    found = []
    while (top := stack.pop()) is not MARK:
        found.append(top)
    return found[::-1]


def _fill(stack: list[Any], items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str) or not isinstance(stack[-1], dict):
            raise ValueError("what it names is named by other things than texts")
        stack[-1][key] = value


def _numbers(said: Any) -> Numbers:
    if not isinstance(said, tuple) or not 5 <= len(said) <= 6:
        raise ValueError("its numbers are in no order that torch.save writes")
    word, storage, key, _, count, *views = said
    if word != "storage" or not isinstance(storage, Named) or not isinstance(key, str) or any(views):
        raise ValueError("its numbers are in no order that torch.save writes")
    if type(count) is not int or not 0 <= count < 1 << 40:
        raise ValueError(f"{count} numbers in a row")
    return Numbers(STORAGES[storage.name][0], key, count)


def _made(what: Any, arguments: Any) -> Any:
    """What a call would make: an empty dictionary or a tensor; anything else is refused."""
    name = what.name if isinstance(what, Named) else ""
    if name == ORDERED and arguments == ():
        return {}
    if name == PARAMETER and isinstance(arguments[0], Cut):
        return arguments[0]
    if name not in TENSORS or not 4 <= len(arguments) <= 7 or not isinstance(arguments[0], Numbers):
        raise ValueError("it calls what makes no tensor")
    numbers, offset, shape, strides, *_ = arguments
    if len(shape) > MOST_DIMENSIONS or len(shape) != len(strides):
        raise ValueError(f"a tensor has {len(shape)} dimensions and {len(strides)} strides")
    if not all(type(size) is int and 0 <= size < 1 << 40 for size in (offset, *shape, *strides)):
        raise ValueError("the shape of a tensor is no list of sizes")
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count > numbers.count or (count and offset + last >= numbers.count):
        raise ValueError(f"a tensor of {count} numbers is cut from {numbers.count}")
    return Cut(numbers, tuple(shape))


def _tensors(found: Any, path: Path) -> dict[str, Cut]:
    if not isinstance(found, dict):
        raise SottovoceError(f"{path} is a pickle of something else than tensors by name; give model.state_dict().")
    for name, cut in found.items():
        if not isinstance(cut, Cut):
            shown = name if len(name) < 100 else f"{name[:100]}…"
            raise SottovoceError(
                f"{shown!r} in {path} is no tensor, but nothing except tensors by name is read from a pickle; give "
                "model.state_dict() alone."
            )
    return found


def _width(kind: str) -> int:
    return next(width for name, width in STORAGES.values() if name == kind)


def _damaged(path: Path, reason: str) -> SottovoceError:
    return SottovoceError(
        f"{path} is a pickle that is cut off or damaged ({reason.rstrip('.')}); copy or download it again."
    )
