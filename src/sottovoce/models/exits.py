"""Utterances that leave a stack of shared layers as soon as another application changes little."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass
class Pass:
    """One pass of a batch through the stack: who is still under way, and how many steps each has run.

    Args:
        threshold: an utterance leaves behind the first step that changes it by no more than this: 1 less the cosine of
            what enters the step and what leaves it, the mean over the frames that are heard.
        least: how many steps every utterance runs.
        changes: what each step changed in each utterance; of those that had left, nothing.

    Example:
        >>> Pass(0.01, 2).done
        False
    """

    threshold: float
    least: int
    waiting: torch.Tensor | None = None  # which utterances are under way; None before the first step
    depths: torch.Tensor | None = None  # how many steps each utterance has run
    changes: list[torch.Tensor] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether all have left."""
        return self.waiting is not None and not len(self.waiting)

    def step(self, layer: nn.Module, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """A step of those that are under way; the others stay what they are."""
        batch = len(hidden_states)
        if self.waiting is None or self.depths is None:
            self.waiting = torch.arange(batch, device=hidden_states.device)
            self.depths = torch.zeros_like(self.waiting)
        rows, whole = self.waiting, len(self.waiting) == batch
        entering = hidden_states if whole else hidden_states[rows]
        mask = args[0] if args else kwargs.get("attention_mask")
        heard = mask if mask is None or whole else mask[rows]
        if args:
            args = (heard, *args[1:])
        elif mask is not None:
            kwargs["attention_mask"] = heard
        result = layer(entering, *args, **kwargs)
        leaving = result[0] if isinstance(result, tuple) else result
        change = changed(entering, leaving, heard)
        self.changes.append(change.new_zeros(batch).index_copy(0, rows, change))
        self.depths[rows] += 1
        if len(self.changes) >= self.least:
            self.waiting = rows[change > self.threshold]
        if not whole:
            leaving = hidden_states.index_copy(0, rows, leaving.to(hidden_states.dtype))
        return (leaving, *result[1:]) if isinstance(result, tuple) else leaving


@torch.no_grad()
def changed(before: torch.Tensor, after: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """How much a step changed each utterance: 1 less the cosine, the mean over the frames that are heard.

    Example:
        >>> changed(torch.ones(1, 2, 4), -torch.ones(1, 2, 4), None)
        tensor([2.])
    """
    apart = 1 - nn.functional.cosine_similarity(before.float(), after.float(), dim=-1)
    if mask is None:
        return apart.mean(1)
    heard = mask[:, 0, 0] if mask.dim() == 4 else mask
    inside = heard.bool() if heard.dtype in (torch.bool, torch.int64) else heard >= 0
    return (apart * inside).sum(1) / inside.sum(1).clamp(min=1)


def exiting(steps: Iterable[nn.Module], under_way: Pass) -> Iterator[Any]:
    """What an encoder's forward pass iterates over: the steps, as long as anyone is under way.

    Example:
        >>> for step in exiting(layers, Pass(0.01, 1)):
        ...     hidden = step(hidden)
    """
    for layer in steps:
        if under_way.done:
            return
        yield lambda *args, layer=layer, **kwargs: under_way.step(layer, *args, **kwargs)
