"""The pretrained models that travel with the package, and what was fine-tuned from them."""

import hashlib
import json
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write, inside, json_object, regular_file

TEACHERS = Path(__file__).parents[1] / "teachers"
WHOLE = "model.safetensors"
DIFFERENCE = "difference.safetensors"
LEVELS = 127  # steps on each side of zero


def teacher_names() -> list[str]:
    """The names that `load` knows without a network.

    Example:
        >>> "small-hubert" in teacher_names()
        True
    """
    return sorted(path.parent.name for path in TEACHERS.glob("*/config.json"))


def teacher_folder(name: str) -> Path | None:
    """Where a model that comes with the package lies.

    Example:
        >>> teacher_folder("facebook/hubert-base-ls960") is None
        True
    """
    return TEACHERS / name if name in teacher_names() else None


def weights_of(name: str) -> str:
    """Sixteen digits that say which weights of a teacher these are: it may be trained on, and keeps its name.

    Example:
        >>> len(weights_of("small-hubert"))
        16
    """
    whole = TEACHERS / name / WHOLE
    return hashlib.sha256((whole if whole.is_file() else whole.with_name(DIFFERENCE)).read_bytes()).hexdigest()[:16]


def write_difference(folder: str | Path, tensors: Mapping[str, torch.Tensor], base: str) -> None:
    """Write a model's tensors as what they differ by from a teacher's: 8 bits a number and a scale a row.

    Tensors that the teacher has not are written whole, in half precision; those that are equal are not written. A
    difference of fine-tuning is small, so that its 8 bits say as much as the 16 of the teacher's own numbers.

    Example:
        >>> write_difference("keywords", tuned.state_dict(), "small-hubert")
    """
    known = _whole(base)
    kept: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise SottovoceError(f"{name} holds numbers that are not finite; such a model is not worth keeping.")
        source = _counterpart(name, known)
        if source is None or known[source].shape != tensor.shape:
            kept[f"whole.{name}"] = tensor.detach().half()
            continue
        difference = tensor.detach().float() - known[source].float()
        if bool(difference.any()):
            rows = difference.flatten(1) if difference.dim() > 1 else difference[None]
            scale = rows.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / LEVELS
            kept[f"steps.{name}"] = (rows / scale[:, None]).round().to(torch.int8).view(difference.shape)
            kept[f"scale.{name}"] = scale
    place = Path(folder)
    record = json.dumps({"base": base, "weights": weights_of(base)})
    atomic_write(place / DIFFERENCE, save(kept, metadata={"sottovoce": record}))
    (place / WHOLE).unlink(missing_ok=True)


def read_difference(folder: str | Path, names: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a model that was written as a difference, by the names that it needs.

    Example:
        >>> read_difference("keywords", model.state_dict())["classifier.weight"].dtype
        torch.float32
    """
    path, base, weights = read_notes(folder)
    known = _whole(base)
    if weights != weights_of(base):
        raise SottovoceError(
            f"{path} is a difference to other weights of '{base}' ({weights}) than come with this version of sottovoce "
            f"({weights_of(base)}); load it with the version that it came with."
        )
    try:
        with safe_open(str(path), framework="pt") as opened:
            kept = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _foreign(path, error) from error
    strangers = sorted({name.partition(".")[2] for name in kept} - set(names))
    if strangers:
        raise SottovoceError(f"{path} has tensors that config.json knows nothing of, such as {strangers[0]}.")
    found = {}
    for name in names:
        if f"whole.{name}" in kept:
            found[name] = kept[f"whole.{name}"].float()
        elif (source := _counterpart(name, known)) is not None:
            found[name] = known[source].float()
            steps, scale = kept.get(f"steps.{name}"), kept.get(f"scale.{name}")
            if (steps is None) != (scale is None):
                raise _foreign(path, f"{name} has steps without scales, or scales without steps")
            if steps is not None and scale is not None:
                rows_of = steps.shape[:1] if steps.dim() > 1 else (1,)
                if steps.shape != found[name].shape or scale.shape != rows_of:
                    raise _foreign(path, f"the steps of {name} are of another shape than '{base}'s")
                rows = steps.float().flatten(1) if steps.dim() > 1 else steps.float()[None]
                found[name] += (rows * scale[:, None]).view(steps.shape)
    return found


def difference_size(path: Path) -> tuple[int, int]:
    """How many numbers and tensors a model that was written as a difference has at most, besides those in the file.

    Example:
        >>> difference_size(Path("keywords", DIFFERENCE))
        (5761376, 211)
    """
    _, base, _ = read_notes(path.parent)
    with safe_open(str(TEACHERS / base / WHOLE), framework="pt") as opened:
        shapes = [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118 (it is no mapping)
    return sum(map(math.prod, shapes)), len(shapes)


def read_notes(folder: str | Path) -> tuple[Path, str, str]:
    """The file of a difference, the teacher that it is from, and which weights of that teacher.

    Example:
        >>> read_notes("keywords")[1]
        'small-hubert'
    """
    path = regular_file(inside(folder, DIFFERENCE, "the difference"), "the difference")
    try:
        with safe_open(str(path), framework="pt") as opened:
            about = json_object((opened.metadata() or {})["sottovoce"], "its notes")
        base, weights = about["base"], about["weights"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _foreign(path, error) from error
    if base not in teacher_names() or not (TEACHERS / base / WHOLE).is_file():
        raise SottovoceError(
            f"{path} says what it differs from, but {reprlib.repr(base)} is no teacher that comes with this version of "
            f"sottovoce ({', '.join(teacher_names())})."
        )
    if not isinstance(weights, str):
        raise _foreign(path, f"weights is {reprlib.repr(weights)}")
    return path, base, weights


def _foreign(path: Path, reason: object) -> SottovoceError:
    said = " ".join(str(reason).split())[:300].rstrip(".")
    return SottovoceError(f"{path} is no difference that sottovoce wrote ({said}); make it anew.")


def _whole(base: str) -> dict[str, torch.Tensor]:
    path = TEACHERS / base / WHOLE
    if not path.is_file():
        raise SottovoceError(f"'{base}' is no teacher that comes with this version of sottovoce.")
    return load_file(path)


def _counterpart(name: str, known: Mapping[str, torch.Tensor]) -> str | None:
    """The teacher's name of a tensor: a model with a head has the encoder's name before it."""
    short = name.partition(".")[2]
    return name if name in known else short if short in known else None
