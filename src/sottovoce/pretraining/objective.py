"""Masked prediction: spans of frames are hidden, and a head says from what is around them what they were."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import nn
from torch.nn import functional as F

from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, frame_mask
from sottovoce.sharing.depth import Depth, first_steps
from sottovoce.tasks.batch import Batch


def span_mask(
    frames: torch.Tensor, time: int, *, share: float, span: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Frames hidden in spans, (batch, time): `share x frames / span` spans, which may overlap, begin anywhere.

    At least one span an utterance, and none past its end. HuBERT's share is 0.8 with spans of 10, MelHuBERT's 0.7
    with spans of 5.

    Example:
        >>> span_mask(torch.tensor([50, 20]), 50, share=0.8, span=10).shape
        torch.Size([2, 50])
    """
    batch = len(frames)
    counts = frames.cpu()
    spans = share * counts / span + torch.rand(batch, generator=generator)
    number = spans.floor().clamp(min=1)
    # The starts are drawn without repetition: those with the highest of random numbers.
    order = torch.rand(batch, time, generator=generator)
    starts = torch.arange(time)[None, :] <= (counts - span).clamp(min=0)[:, None]
    order = order.masked_fill(~starts, -1.0)
    rank = order.argsort(dim=1, descending=True).argsort(dim=1)
    begins = ((rank < number[:, None]) & starts).float()
    covered = F.max_pool1d(F.pad(begins, (span - 1, 0))[:, None], span, stride=1)[:, 0] > 0
    return covered & frame_mask(counts, time)


@final
class Masked(nn.Module):
    """An encoder with a head, learning to say what the hidden frames of a batch were: their units, or their numbers.

    A batch's targets are one number a frame (a unit, of `outputs`) or, with `frames`, a row of `outputs` numbers, of
    which the mean distance counts (L1). With a `depth`, the number of steps of the stack is drawn anew for each update.

    Example:
        >>> loss, frames = Masked(model, 100, share=0.8, span=10)(batch)
    """

    def __init__(
        self,
        model: Any,
        outputs: int,
        *,
        share: float,
        span: int,
        unmasked_weight: float = 0.0,
        frames: bool = False,
        depth: Depth | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(Anatomy(model).setting("hidden_size"), outputs)
        self.share, self.span, self.unmasked_weight, self.frames = share, span, unmasked_weight, frames
        self.depth, self.seed = depth, seed
        self.done = 0  # updates
        self._keep = {"inputs": Encoder(model, outputs=True)}  # in a dictionary: a view is no part of the module

    def on_step(self, done: int, steps: int) -> None:
        """Hear how many updates are done, for whoever judges, and for what is drawn."""
        self.done = done

    def states(self, batch: Batch, mask: torch.Tensor) -> torch.Tensor:
        """What the encoder makes of a batch some of whose frames it cannot hear."""
        inputs, body = self._keep["inputs"].placed(batch.inputs), Anatomy(self.model)
        depth = None if self.depth is None else self.depth.drawn(self.seed, self.done) if self.training else None
        with hidden_frames(self.model, mask) as more, first_steps(body, depth or len(body.order)):
            return body.base(**inputs, **more)[0]

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, summed over hidden frames, and over the others with the weight `unmasked_weight`."""
        mask, wanted = self.drawn(batch)
        states = self.states(batch, mask)
        loss = self.apart(self.head(states[mask]), wanted[mask])
        weight = mask.sum().float()
        if self.unmasked_weight:
            rest = frame_mask(batch.frames, mask.shape[1]) & ~mask
            loss = loss + self.unmasked_weight * self.apart(self.head(states[rest]), wanted[rest])
            weight = weight + self.unmasked_weight * rest.sum()
        return loss, weight

    def apart(self, said: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """How far what the head says is from what was wanted, summed over frames."""
        if self.frames:
            return (said.float() - wanted).abs().mean(-1).sum()
        return F.cross_entropy(said.float(), wanted, reduction="sum")

    def asked(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head says, and what is right, of the frames that are hidden this time."""
        mask, wanted = self.drawn(batch, generator)
        return self.head(self.states(batch, mask)[mask]), wanted[mask]

    def drawn(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Which frames are hidden this time, and the targets of all."""
        time = int(batch.frames.max())
        mask = span_mask(batch.frames, time, share=self.share, span=self.span, generator=generator)
        wanted = nn.utils.rnn.pad_sequence(list(batch.targets), batch_first=True)
        return mask.to(batch.frames.device), wanted.to(batch.frames.device)


@contextmanager
def hidden_frames(model: Any, mask: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
    """Hide frames inside, by the learned embedding where a model has one, else by zeros before its projection.

    Yields what the forward pass must be given.
    """
    base = Anatomy(model).base
    if getattr(base, "masked_spec_embed", None) is not None:
        before = base.config.apply_spec_augment
        base.config.apply_spec_augment = True
        try:
            yield {"mask_time_indices": mask}
        finally:
            base.config.apply_spec_augment = before
        return

    def blank(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0].masked_fill(mask[:, :, None], 0.0), *args[1:])

    handle = base.feature_projection.register_forward_pre_hook(blank)
    try:
        yield {}
    finally:
        handle.remove()
