"""Chance in a training: a matter of the step alone, and none of the caller's."""

import contextlib
import hashlib
from collections.abc import Iterator

import numpy
import torch


def seed(device: torch.device, *numbers: int) -> None:
    """Start every source of chance that models use (Hugging Face masks with numpy) from some numbers."""
    number = int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8])
    # torch.manual_seed would note, with a traceback, each call for the GPUs that are not there.
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number % 2**63)
    numpy.random.seed(number % 2**32)


@contextlib.contextmanager
def own_chance() -> Iterator[None]:
    """Leave the caller's random state as it was."""
    other = numpy.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        numpy.random.set_state(other)
