"""What a name stands for: the models and the data that recipes, the command line and Python call by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch

from sottovoce.data.batches import only_sound
from sottovoce.data.sources import read_data
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.checkpoint import loader_reason
from sottovoce.models.families import FAMILIES
from sottovoce.models.front_end import LogMel
from sottovoce.models.hub import load, new
from sottovoce.models.shapes import SHAPES
from sottovoce.models.teachers import teacher_folder
from sottovoce.progress import told_to
from sottovoce.training import accelerated_on

BASELINE = "log-mel"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_CHOSEN: ContextVar[tuple[str | None, str | None]] = ContextVar("chosen", default=(None, None))
RANDOM = "random:"  # before a shape: its random weights, also where a model of this name comes with the package


def get_model(name: str) -> Any:
    """A model from a folder, the package or the Hub, a random one of a named shape, or the log-mel baseline.

    Example:
        >>> get_model("random:small-hubert").config.num_hidden_layers
        12
    """
    device, dtype = _CHOSEN.get()
    if (shape := drawn(name)) is not None:
        model = new(shape)
    else:
        model = LogMel() if name == BASELINE and not Path(name).exists() else load(name)
    return on_device(model if dtype is None else model.to(DTYPES[dtype]), device)


@contextmanager
def chosen(device: str | None, dtype: str | None = None) -> Iterator[None]:
    """Inside, models by name come on this device and in this dtype, and what trains or listens does so there.

    Example:
        >>> with chosen("cpu", "bfloat16"):
        ...     get_model("random:small-hubert").dtype
        torch.bfloat16
    """
    if dtype is not None and dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if device is None:
        told = nullcontext()
    else:
        on_device(torch.nn.Linear(1, 1), device)  # a device that is not there is refused before any work
        told = accelerated_on(device)
    token = _CHOSEN.set((device, dtype))
    try:
        with told:
            yield
    finally:
        _CHOSEN.reset(token)


def drawn(name: str) -> str | None:
    """The shape whose random weights a name stands for; None where a model is to be loaded.

    Example:
        >>> drawn("random:small-hubert"), drawn("wav2vec2-base"), drawn("small-hubert")
        ('small-hubert', 'wav2vec2-base', None)
    """
    if Path(name).exists():
        return None
    if name.startswith(RANDOM):
        return name.removeprefix(RANDOM)
    return name if teacher_folder(name) is None and (name in SHAPES or name in FAMILIES) else None


def get_data(
    name: str, *, skip_bad: bool = False, tell: Callable[[str], object] = lambda text: None
) -> list[Utterance]:
    """Utterances by name; with `skip_bad`, only those that can be decoded, and `tell` counts and lists the others.

    Example:
        >>> len(get_data("espeak:0.1", skip_bad=True, tell=print))  # doctest: +SKIP
        0 left out as bad, 210 kept
        210
    """
    bad: list[str] = []
    with told_to(tell):
        utterances = read_data(name, on_bad=bad.append if skip_bad else None)
    if skip_bad:
        utterances = only_sound(utterances, bad.append)
        tell(f"{len(bad)} left out as bad, {len(utterances)} kept")
        for message in bad:
            tell(f"  {message}")
    return utterances


def model_stamp(name: str) -> str:
    """What tells one state of a local model's folder from the next: a run of another state is another run.

    Example:
        >>> model_stamp("facebook/hubert-base-ls960")
        ''
    """
    files = sorted(Path(name).glob("*")) if Path(name).is_dir() else []
    told = [f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files if path.is_file()]
    dtype = _CHOSEN.get()[1]
    return " ".join(told if dtype is None else [*told, dtype])


def on_device(model: Any, device: str | None) -> Any:
    """The model on a device that is there; where it is, if none is named.

    Example:
        >>> on_device(model, "cuda")  # doctest: +SKIP
    """
    if device is None:
        return model
    try:
        place = torch.device(device)
        if place.type not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError("no model runs there")
        return model.to(place)
    except (RuntimeError, AssertionError) as error:
        raise SottovoceError(
            f"there is no device '{device}' here ({loader_reason(error)}); give cpu, cuda or mps."
        ) from error
