"""Where work is done: the processes and the device that Accelerate finds, or the device that a user names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from sottovoce.errors import SottovoceError


@contextmanager
def accelerated_on(device: str) -> Iterator[None]:
    """Inside, what trains or listens does so on a device, as if it were the only one.

    Example:
        >>> with accelerated_on("cpu"):
        ...     best_device().type
        'cpu'
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SottovoceError(
            f"--device {device} with several processes, each of which has a device of its own; leave it out."
        )
    names = {"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {"ACCELERATE_TORCH_DEVICE": device}
    AcceleratorState._reset_state(reset_partial_state=True)
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        AcceleratorState._reset_state(reset_partial_state=True)


def part_processes() -> None:
    """Take leave of the other processes: who ends without doing so may be aborted."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def processes() -> Accelerator:
    """The processes that work together, as Accelerate sees them; one, if no more were launched.

    Example:
        >>> processes().is_main_process
        True
    """
    # Not PartialState: if it is made first, it does not heed ACCELERATE_USE_CPU, and each process is alone.
    return Accelerator(mixed_precision="no", gradient_accumulation_steps=1)


def best_device() -> torch.device:
    """Where Accelerate would run a model: a GPU if there is one, and CPU if the user said so.

    Example:
        >>> model.to(best_device())
    """
    return processes().device
