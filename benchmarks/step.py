"""A step of the training loop against the same step written by hand in PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lib.records import ratio, record

import sottovoce as sv
from sottovoce.timing import in_turns
from sottovoce.training import Training, train

NEEDS = {"nothing": ""}
STEPS = 20
SHAPES: dict[str, dict[str, Any]] = {
    "2 layers of 64, 4 x 4 s": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "batch": 4},
    "4 layers of 128, 4 x 4 s": {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "batch": 4},
}
PLAIN = {f"{name}_dropout": 0.0 for name in ("hidden", "attention", "activation", "feat_proj", "final")}


@dataclass(frozen=True)
class Audio:
    """One batch."""

    audio: torch.Tensor

    def to(self, device: Any) -> "Audio":
        """The same on a device."""
        return Audio(self.audio.to(device))


@dataclass(frozen=True)
class Fixed:
    """The same batch again and again: what is timed is the step, not the loader."""

    batch: Audio

    def plan(self, epoch: int) -> list[list[int]]:
        """One batch an epoch."""
        return [list(range(len(self.batch.audio)))]

    def load(self, items: Sequence[int]) -> Audio:
        """It."""
        return self.batch

    def names(self, items: Sequence[int]) -> list[str]:
        """Numbers."""
        return list(map(str, items))

    def seconds(self, items: Sequence[int]) -> float:
        """Of audio."""
        return self.batch.audio.numel() / 16_000


class Mean(torch.nn.Module):
    """A loss that costs nothing, on a whole model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Audio) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum of squares, and over how many frames."""
        hidden = self.model(batch.audio)[0]
        return hidden.square().sum(), torch.tensor(hidden.shape[0] * hidden.shape[1])


def by_hand(objective: Mean, batch: Audio, settings: Training) -> None:
    """What one would write without a library."""
    objective.train()
    parameters = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, betas=settings.betas, fused=True)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        summed, weight = objective(batch)
        loss = summed / weight
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()


def main() -> None:
    """Both shapes, and the same by hand twice: the noise of the machine."""
    rows: dict[str, Any] = {}
    settings = Training(steps=STEPS, lr=1e-5)
    for name, shape in SHAPES.items():
        own = {key: value for key, value in shape.items() if key != "batch"}
        own |= {"intermediate_size": 4 * own["hidden_size"], "layerdrop": 0.0, "mask_time_prob": 0.0, **PLAIN}
        objective = Mean(sv.new("melhubert", **own))
        batch = Audio(torch.randn(shape["batch"], 64_000, generator=torch.Generator().manual_seed(0)))
        functions = {
            "by_hand": lambda o=objective, b=batch: by_hand(o, b, settings),
            "by_hand_again": lambda o=objective, b=batch: by_hand(o, b, settings),
            "loop": lambda o=objective, b=batch: train(o, Fixed(b), settings),
        }
        times = in_turns(functions, rounds=14, warm_up=1)
        rows[name] = {new: ratio(times, new, "by_hand") for new in ("by_hand_again", "loop")}
    record("step", rows)


if __name__ == "__main__":
    main()
