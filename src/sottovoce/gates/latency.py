"""What a forward pass takes on this machine, as a smooth function of a model's widths that never falls as they grow."""

import contextlib
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write, cache_folder, is_number, read_json
from sottovoce.gates.latency_design import COPIES, Row, Setting, Timer, measured, on_pytorch
from sottovoce.gates.latency_fit import features, fit, kind_of, misses, price, rest_of
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.counting import Part
from sottovoce.models.int8 import check_unquantized
from sottovoce.models.structure import read
from sottovoce.models.widths import Number, Widths, widths_of
from sottovoce.timing import device_name, thread_count

FORMAT = 1  # of the stored file, and of the way that it is made
HELD_OUT = COPIES // 4  # the last cut models, which the fit that is judged does not see


@dataclass(frozen=True)
class LatencyModel:
    """The seconds of a forward pass as a function of widths, with coefficients that are zero or more.

    It speaks of models as the edits cut them: the weight norm of the positional convolution folded, the hidden units
    that are left anywhere in its groups, channels of the front end in multiples of 16 (kernels run others no faster
    than the next multiple).

    Args:
        setting: at what the time was taken; `device`, on what.
        costs: the seconds of one unit of each feature of each kind of part.
        scale: the time of a pass over the sum of its parts' own times; `rest`, what it takes beside them.
        held_out: the median relative error on parts of shapes that the fit had not seen; `held_out_whole`, on whole
            models that it had not seen.

    Example:
        >>> model = sv.load("small-hubert")
        >>> latency = latency_model(model, Setting(seconds=1, threads=1))  # doctest: +SKIP
        >>> latency(widths_of(model))  # doctest: +SKIP
        0.0098
    """

    setting: Setting
    device: str
    costs: Mapping[str, Mapping[str, float]]
    scale: float
    rest: Mapping[str, float]
    held_out: float
    held_out_whole: float

    def parts(self, widths: Widths) -> dict[Part, Number]:
        """The expected seconds of each part; `("other",)` is what no part accounts for.

        Example:
            >>> latency.parts(widths)[("front_end", 0)]  # doctest: +SKIP
            0.0011
        """
        found: dict[Part, Number] = {}
        for part, row in features(widths, self.setting.samples).items():
            if kind_of(part) not in self.costs:
                raise SottovoceError(
                    f"this latency model has no time for {kind_of(part)}, which its own model does not "
                    "have; make one for this model."
                )
            found[part] = price(self.costs[kind_of(part)], row, self.scale)
        return found | {("other",): price(self.rest, rest_of(widths))}

    def __call__(self, widths: Widths) -> Number:
        """The expected seconds of the whole pass: a float, or a float64 scalar with the gradients of the widths."""
        return sum(self.parts(widths).values())

    def to_dict(self) -> dict[str, Any]:
        """What the stored file holds."""
        return {**{entry.name: getattr(self, entry.name) for entry in fields(self)}, "setting": self.setting.to_dict()}

    @classmethod
    def from_dict(cls, record: Any) -> "LatencyModel":
        """The inverse of `to_dict`, checked: every number is finite and zero or more."""
        found = cls(**{**record, "setting": Setting(**record["setting"])})
        numbers = [found.scale, found.held_out, found.held_out_whole, *found.rest.values()]
        numbers += [value for row in found.costs.values() for value in row.values()]
        if not all(is_number(value) and 0 <= value < float("inf") for value in numbers) or not found.costs:
            raise ValueError("a coefficient is missing, negative or infinite")
        return found


def latency_model(model: Any, setting: Setting, *, folder: Path | None = None, seed: int = 0) -> LatencyModel:
    """The latency model of a model on the device where it is, from times of its own parts cut to several widths.

    It is kept in `folder`, by default in the user's cache, and read from there when the same question comes again.

    Example:
        >>> latency_model(sv.load("small-hubert"), Setting(seconds=1, threads=1)).held_out < 0.1  # doctest: +SKIP
        True
    """
    check(model)
    timer: Timer[Any] = setting.timer or on_pytorch
    Anatomy(model).dummy_inputs(setting.seconds, batch=setting.batch)  # refuses a setting that no audio has
    with thread_count(setting.threads):
        asked = question(model, setting, timer, seed)
        place = (folder or cache_folder() / "latency") / f"{digest(asked)}.json"
        with contextlib.suppress(SottovoceError, ValueError, KeyError, TypeError, AttributeError):
            kept = read_json(place, "the latency model")
            if kept["question"] == asked:
                return LatencyModel.from_dict(kept["model"])
        found = fitted(measured(model, setting, timer, seed), setting, asked["device"])
    # A cache that cannot be written is no reason to lose minutes of measuring; a folder that was asked for is.
    with contextlib.suppress(*(() if folder else (SottovoceError, OSError))):
        atomic_write(place, json.dumps({"question": asked, "model": found.to_dict()}, indent=1) + "\n")
    return found


def check(model: Any) -> None:
    """Refuse what has no widths that could be cut."""
    check_unquantized(model, "latency_model")
    if Anatomy(model).mimics:
        raise SottovoceError(
            "mimic layers have no heads, units or layers to cut, so there is no time to foretell; give their teacher."
        )
    widths_of(model)  # refuses decoders and adapters


def question(model: Any, setting: Setting, timer: Timer, seed: int) -> dict[str, Any]:
    """All that the times depend on, as JSON has it."""
    body, first = Anatomy(model), next(model.parameters())
    config = {key: value for key, value in model.config.to_dict().items() if key not in ("_name_or_path", "sottovoce")}
    asked = {
        "format": FORMAT,
        "device": device_name(first.device),
        "dtype": str(first.dtype),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "setting": setting.to_dict(),
        "class": type(model).__name__,
        "config": config,
        "structure": read(model, body).to_dict(),
        "timer": f"{getattr(timer, '__module__', '')}.{getattr(timer, '__qualname__', type(timer).__qualname__)}",
        "seed": seed,
    }
    return json.loads(json.dumps(asked, default=str))


def digest(asked: Mapping[str, Any]) -> str:
    """A short name for a question."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def fitted(rows: Sequence[Row], setting: Setting, device: str) -> LatencyModel:
    """The latency model of measured shapes: judged on those that a first fit does not see, then fitted to all."""
    seen = [row for row in rows if row.copy < COPIES - HELD_OUT]
    unseen = [row for row in rows if row.copy >= COPIES - HELD_OUT]
    parts, wholes = misses(fit(seen, setting.samples), unseen, setting.samples)
    return LatencyModel(
        setting, device, *fit(rows, setting.samples), statistics.median(parts), statistics.median(wholes)
    )
