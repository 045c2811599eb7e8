"""What heads learn from and are scored on: padded inputs, frame counts, targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sottovoce.data.batches import plan_batches, samples
from sottovoce.data.shelf import Shelf
from sottovoce.errors import SottovoceError
from sottovoce.models.encoder import Encoder
from sottovoce.tasks.task import Material, Task


@dataclass(frozen=True)
class Batch:
    """Utterances side by side; `inputs` are a model's, or under the name `states` an encoder's states.

    Example:
        >>> batch.to("cuda").frames.device.type
        'cuda'
    """

    inputs: dict[str, torch.Tensor]
    frames: torch.Tensor
    targets: tuple[torch.Tensor, ...]

    def to(self, device: torch.device | str) -> "Batch":
        """The same on a device."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return Batch(inputs, self.frames.to(device), tuple(target.to(device) for target in self.targets))


@dataclass(frozen=True)
class Questions:
    """A split of a task as a `Source`: audio for a model, or states that an encoder made before (a shelf).

    `size` is the number of utterances of average length in a batch. Without labels there are no targets.

    Example:
        >>> Questions(task, splits["train"], encoder, labels=labels, size=16, seed=0).load([0, 1]).frames
        tensor([49, 120])
    """

    task: Task | None
    material: Material
    encoder: Encoder
    labels: tuple[str, ...] = ()
    size: float = 16
    seed: int | None = None
    shelf: Shelf | None = None

    def __post_init__(self) -> None:
        if not 0 < self.size < float("inf"):
            raise SottovoceError(f"batch={self.size}, but at least 1 utterance is wanted.")

    def _lengths(self) -> list[float]:
        if self.shelf is not None:
            return [float(length) for length in self.shelf.lengths(u.id for u in self.material.utterances)]
        return [utterance.seconds for utterance in self.material.utterances]

    def plan(self, epoch: int) -> list[list[int]]:
        """Batches of similar length, as many utterances of average length as `size` says."""
        lengths = self._lengths()
        most = self.size * sum(lengths) / max(1, len(lengths))
        return plan_batches(lengths, most=most, seed=self.seed, epoch=epoch)

    def load(self, items: Sequence[int]) -> Batch:
        """The batch of these utterances."""
        utterances = [self.material.utterances[item] for item in items]
        if self.shelf is None:
            audio = [samples(utterance) for utterance in utterances]
            inputs, frames = self.encoder.inputs(audio), self.encoder.counts(audio)
        else:
            pieces = [torch.from_numpy(np.array(self.shelf[utterance.id])) for utterance in utterances]
            inputs, frames = (
                {"states": torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)},
                list(map(len, pieces)),
            )
        return Batch(inputs, torch.tensor(frames), self.targets(items, frames))

    def targets(self, items: Sequence[int], frames: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """The answers of some utterances as numbers; none where there are no labels."""
        if self.task is None or not self.labels:
            return ()
        kind, numbers = self.task.kind, {label: number for number, label in enumerate(self.labels)}
        return tuple(
            torch.from_numpy(kind.target(self.material.answers[item], numbers, self.encoder.centers(count)))
            for item, count in zip(items, frames, strict=True)
        )

    def names(self, items: Sequence[int]) -> list[str]:
        """The ids."""
        return [self.material.utterances[item].id for item in items]

    def seconds(self, items: Sequence[int]) -> float:
        """The audio without padding."""
        return sum(self.material.utterances[item].seconds for item in items)
