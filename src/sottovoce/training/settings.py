"""How to train: the numbers that a recipe gives, and what follows from them at each step."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from sottovoce.errors import SottovoceError, unknown

Precision = Literal["fp32", "bf16", "fp16"]
Schedule = Literal["linear", "cosine", "constant"]
Optimizer = Literal["adamw", "muon"]


@dataclass(frozen=True)
class Training:
    """The settings of one training. Methods have them as one option, `train`, but for the last two.

    Args:
        steps: updates of the weights in all.
        lr: the highest learning rate.
        optimizer: "muon" makes the updates of the matrices in transformer layers orthogonal (the rest has AdamW); it
            learns more from a step of pretraining than AdamW, at the same rates.
        warmup: the share of the steps in which the rate rises to it.
        accumulate: batches to an update.
        clip: the largest norm of the gradients; None leaves them.
        validate_every: steps between validations; the best weights seen there are what training ends with.
        patience: validations without a better score before it stops early.
        save_seconds: the time between checkpoints.

    Example:
        >>> Training(steps=100, lr=1e-3, warmup=0.1).rate(4)
        0.0005
    """

    steps: int = 1000
    lr: float = 1e-4
    optimizer: Optimizer = "adamw"
    warmup: float = 0.1
    schedule: Schedule = "linear"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    clip: float | None = 1.0
    accumulate: int = 1
    precision: Precision = "fp32"
    checkpoint_gradients: bool = False
    validate_every: int | None = None
    patience: int | None = None
    save_seconds: float = 60.0
    log_every: int = field(default=10, metadata={"option": False})
    seed: int = field(default=0, metadata={"option": False})

    def __post_init__(self) -> None:
        for name, known in (("optimizer", Optimizer), ("precision", Precision), ("schedule", Schedule)):
            if getattr(self, name) not in get_args(known):
                raise unknown(name, getattr(self, name), get_args(known))
        whole = {"steps": self.steps, "accumulate": self.accumulate, "log_every": self.log_every}
        for name in ("validate_every", "patience"):
            if getattr(self, name) is not None:
                whole[name] = getattr(self, name)
        for name, value in whole.items():
            if not 1 <= value <= 10**9:
                raise SottovoceError(f"{name}={value}, but a whole number from 1 to 10**9 is wanted.")
        if not 0 < self.lr < math.inf:
            raise SottovoceError(f"lr={self.lr}, but a finite rate above 0 is wanted.")
        if not 0 <= self.weight_decay < math.inf:
            raise SottovoceError(f"weight_decay={self.weight_decay}, but a number of at least 0 is wanted.")
        if not 0 <= self.warmup <= 1:
            raise SottovoceError(f"warmup={self.warmup}, but a share of the steps is wanted: 0 to 1.")
        if not self.save_seconds >= 0:
            raise SottovoceError(f"save_seconds={self.save_seconds}, but a time of at least 0 is wanted.")
        if not 0 < self.eps < math.inf or not all(0 <= beta < 1 for beta in self.betas) or len(self.betas) != 2:
            raise SottovoceError(
                f"betas={self.betas} and eps={self.eps}, but two numbers from 0 to below 1, and a finite one "
                "above 0, are wanted."
            )
        if not 0 <= self.seed < 2**32:
            raise SottovoceError(f"seed={self.seed}, but a whole number from 0 to 4294967295 is wanted.")
        if self.clip is not None and not self.clip > 0:
            raise SottovoceError(f"clip={self.clip}, but a norm above 0, or none, is wanted.")

    @classmethod
    def adam(cls, steps: int, lr: float, **more: Any) -> "Training":
        """torch's Adam as it comes, at a constant rate: what the code of papers 1 and 5 trains with.

        Example:
            >>> Training.adam(100, 1e-5, clip=10.0).rate(99)
            1e-05
        """
        plain: dict[str, Any] = {"warmup": 0.0, "schedule": "constant", "weight_decay": 0.0, "betas": (0.9, 0.999)}
        return cls(steps=steps, lr=lr, **{**plain, "clip": None, **more})

    def planned(self, *, seed: int, validations: int) -> "Training":
        """The same with a seed, and with so many validations where it does not say how often.

        Example:
            >>> Training(steps=1000).planned(seed=1, validations=20).validate_every
            50
        """
        every = self.validate_every or max(1, self.steps // validations)
        return replace(self, seed=seed, validate_every=every)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = round(self.warmup * self.steps)
        if step < rising:
            return self.lr * (step + 1) / rising
        done = (step - rising) / max(1, self.steps - rising)
        if self.schedule == "linear":
            return self.lr * (1.0 - done)
        return self.lr * 0.5 * (1.0 + math.cos(math.pi * done)) if self.schedule == "cosine" else self.lr
