"""What training keeps on the disk: a checkpoint that is whole or not there, the best weights, the log."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sottovoce.errors import SottovoceError, reason_of
from sottovoce.files import (
    append_lines,
    atomic_folder,
    atomic_write,
    is_number,
    json_object,
    put_back,
    read_text,
    regular_file,
    whole_lines,
)
from sottovoce.training.settings import Training


@dataclass
class Position:
    """Where training stands.

    Example:
        >>> Position(step=3).best is None
        True
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    worse: int = 0
    judged: int = 0
    loss: float | None = None
    seconds: float = 0.0
    scaler: dict[str, Any] = field(default_factory=dict)


def read_position(record: Any) -> Position:
    """A position from what `state.json` holds, checked.

    Example:
        >>> read_position({"step": 3}).step
        3
    """
    if not isinstance(record, dict) or record.keys() - {entry.name for entry in fields(Position)}:
        raise SottovoceError("its position has other entries than this version of sottovoce writes")
    position = Position(**record)
    counts = {name: getattr(position, name) for name in ("step", "best_step", "worse", "judged")}
    for name, value in counts.items():
        if type(value) is not int or value < 0:
            raise SottovoceError(f"its {name} is {value!r}, but a whole number is wanted")
    for name in ("best", "loss"):
        value = getattr(position, name)
        if not isinstance(value, float | int | None) or isinstance(value, bool):
            raise SottovoceError(f"its {name} is {value!r}, but a number is wanted")
    if not is_number(position.seconds) or not 0 <= position.seconds < float("inf"):
        raise SottovoceError(f"its seconds are {position.seconds!r}, but a time is wanted")
    scaler = position.scaler
    known = torch.amp.GradScaler("cpu").state_dict().keys() if scaler else set()
    if not isinstance(scaler, dict) or scaler.keys() != known or not all(map(is_number, scaler.values())):
        raise SottovoceError(f"its scaler is {position.scaler!r}, but a mapping is wanted")
    return position


def trained_tensors(objective: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: the parameters that take gradients, and every buffer that is saved.

    Example:
        >>> sorted(trained_tensors(torch.nn.Linear(2, 2)))
        ['bias', 'weight']
    """
    kept = {name: p.detach() for name, p in objective.named_parameters() if p.requires_grad}
    saved = objective.state_dict().keys()
    return kept | {name: buffer for name, buffer in objective.named_buffers() if name in saved}


def identity(objective: torch.nn.Module, settings: Training, about: object) -> str:
    """Twelve digits of what a checkpoint belongs to: every tensor as it is at the start, frozen ones too, the modules
    and configurations, the settings, and what else decides the outcome."""
    digest = hashlib.sha256(repr(objective).encode())
    for name, tensor in sorted(objective.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for name, module in objective.named_modules():
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "to_dict"):
            digest.update(f"{name} {json.dumps(config.to_dict(), sort_keys=True, default=str)}".encode())
    trained = [name for name, parameter in objective.named_parameters() if parameter.requires_grad]
    record = asdict(settings)
    for name in ("save_seconds", "log_every"):
        del record[name]
    digest.update(json.dumps([trained, record, about], default=str).encode())
    return digest.hexdigest()[:12]


class Keeper:
    """The folder of one training; without a folder, the best weights are kept in memory and nothing else.

    Example:
        >>> keeper = Keeper("training", "0a1b2c3d4e5f")
        >>> keeper.load(objective, optimizers)
        Position(step=0, best=None, best_step=0, worse=0, judged=0, loss=None, seconds=0.0, scaler={})
    """

    def __init__(self, folder: str | Path | None, identity: str) -> None:
        self.folder = None if folder is None else Path(folder)
        self.identity = identity
        self._best: dict[str, torch.Tensor] = {}

    @property
    def checkpoint(self) -> Path | None:
        """Where the last checkpoint is, if there is one."""
        place = None if self.folder is None else put_back(self.folder / "checkpoint")
        return place if place is not None and place.is_dir() else None

    def save(
        self,
        objective: torch.nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        position: Position,
        *,
        finished: bool = False,
    ) -> None:
        """Replace the checkpoint by the present state; of a finished training, nobody needs the optimizers' tensors.

        These are two thirds of a checkpoint, and a method that trains in rounds keeps one of every round.
        """
        if self.folder is None:
            return
        kept = () if finished else moments_of(objective, optimizers)
        moments = {f"{key}.{name}": value for name, key, value in kept}
        with atomic_folder(self.folder / "checkpoint") as folder:
            save_file(contiguous(trained_tensors(objective)), folder / "trained.safetensors")
            save_file(contiguous(moments), folder / "optimizer.safetensors")
            state = {"identity": self.identity, "position": asdict(position)}
            (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")

    def load(self, objective: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Position:
        """Take up the last checkpoint, or begin."""
        place = self.checkpoint
        if place is None:
            return Position()
        try:
            text = read_text(place / "state.json", "the state of the training")
            state = json_object(text, "state.json", nan=True)
            trained = load_file(regular_file(place / "trained.safetensors", "the weights"))
            moments = load_file(regular_file(place / "optimizer.safetensors", "the optimizer's state"))
            found, position = state["identity"], read_position(state["position"])
            if found != self.identity:
                raise SottovoceError("it belongs to a training with other settings, data or model")
            put(objective, trained)
            restore_moments(objective, optimizers, moments)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = reason_of(error)
            raise SottovoceError(
                f"the checkpoint {place} cannot be used ({reason}); give another folder, or delete it to begin anew."
            ) from error
        return position

    def save_best(self, objective: torch.nn.Module) -> None:
        """Keep the present weights as the best."""
        best = contiguous(trained_tensors(objective))
        if self.folder is None:
            self._best = {name: tensor.clone() for name, tensor in best.items()}
            return
        with atomic_folder(self.folder / "best") as folder:
            save_file(best, folder / "trained.safetensors")

    def load_best(self, objective: torch.nn.Module) -> None:
        """Go back to the best weights."""
        if self.folder is None:
            put(objective, self._best)
            return
        path = put_back(self.folder / "best") / "trained.safetensors"
        if not path.is_file():
            raise SottovoceError(
                f"{path}, the best weights of this training, is gone; delete {self.folder} to begin anew."
            )
        try:
            put(objective, load_file(path))
        except (ValueError, KeyError, RuntimeError, OSError, SafetensorError) as error:
            reason = reason_of(error)
            raise SottovoceError(
                f"the best weights {path} cannot be read ({reason}); delete {self.folder} to begin anew."
            ) from error

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to log.jsonl."""
        if self.folder is not None:
            append_lines(self.folder / "log.jsonl", json.dumps(record) + "\n")

    def cut_log(self, step: int) -> None:
        """Forget what was logged behind a step: it will be logged again."""
        if self.folder is None:
            return
        path = self.folder / "log.jsonl"
        kept = []
        for number, line in enumerate(whole_lines(path).splitlines(), start=1):
            record = json_object(line, f"{path}, line {number}", nan=True)
            if type(record.get("step")) is not int:
                raise SottovoceError(f"{path}, line {number} has no step; delete that line.")
            if record["step"] <= step:
                kept.append(line + b"\n")
        atomic_write(path, b"".join(kept))


def moments_of(
    objective: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> Iterable[tuple[str, str, torch.Tensor]]:
    """The optimizers' tensors by parameter name."""
    for name, parameter in objective.named_parameters():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                yield name, key, torch.as_tensor(value)


def restore_moments(
    objective: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], moments: dict[str, torch.Tensor]
) -> None:
    """Put the optimizers' tensors back."""
    parameters = dict(objective.named_parameters())
    owner = {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for path, value in moments.items():
        key, _, name = path.partition(".")
        parameter = parameters[name]
        owner[id(parameter)].state[parameter][key] = value.to(parameter.device).clone()


def put(objective: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors into a module by name."""
    own = trained_tensors(objective)
    if own.keys() != tensors.keys():
        odd = sorted(own.keys() ^ tensors.keys())
        raise SottovoceError(f"{odd[0]} is {'missing in' if odd[0] in own else 'one too many of'} its tensors")
    with torch.no_grad():
        for name, tensor in tensors.items():
            if own[name].shape != tensor.shape:
                raise SottovoceError(f"{name} is {list(tensor.shape)}, but {list(own[name].shape)} is wanted")
            own[name].copy_(tensor)


def contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On the CPU and in one piece each, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
