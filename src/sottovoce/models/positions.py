"""Positions of Conformers that are worked out in single precision, whatever the model's own is.

Hugging Face's modules take the dtype that the model is brought to, and keep what that rounded. Frequencies of rotary
positions are then multiplied by times that half precision does not hold, though not in a model that was loaded in half
precision; and the angles of one batch serve the next of the same length, in the dtype that they had.
"""

from typing import Any

import torch
from torch import nn
from transformers.models.wav2vec2_bert import modeling_wav2vec2_bert as bert
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as conformer

HALVES = (torch.float16, torch.bfloat16)


class RotaryPositions(bert.Wav2Vec2BertRotaryPositionalEmbedding, conformer.Wav2Vec2ConformerRotaryPositionalEmbedding):
    """Cosines and sines of each frame. Both families ask by class whose frequencies to fill in, so it is of both.

    Args:
        positions: Hugging Face's module, whose frequencies this one takes over.
        base: what the frequencies are powers of, where those were rounded already.
    """

    def __init__(self, positions: Any, base: float):
        nn.Module.__init__(self)
        found = positions.inv_freq
        if found.dtype in HALVES:
            size = 2 * len(found)
            found = (1.0 / (base ** (torch.arange(0, size, 2).float() / size))).to(found.device)
        self.inv_freq = nn.Buffer(found, persistent="inv_freq" not in positions._non_persistent_buffers_set)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Cosines and sines, (2, time, 1, 1, size of a head), in the dtype of the states."""
        frequencies = self.inv_freq
        times = torch.arange(hidden_states.shape[1], device=frequencies.device).type_as(frequencies)
        angles = (times[:, None] * frequencies).repeat(1, 2)[:, None, None, :]
        return torch.stack([angles.cos(), angles.sin()]).type_as(hidden_states)

    def _apply(self, fn: Any, recurse: bool = True) -> "RotaryPositions":
        before = self.inv_freq
        super()._apply(fn, recurse)
        self.inv_freq = unrounded(self.inv_freq, before)
        return self


class RelativePositions(conformer.Wav2Vec2ConformerRelPositionalEmbedding):
    """Sines and cosines of each distance between two frames.

    Args:
        positions: Hugging Face's module.
    """

    def __init__(self, positions: Any):
        nn.Module.__init__(self)
        self.max_len, self.d_model = positions.max_len, positions.d_model
        found = positions.pe
        if not found.is_meta:  # once rounded, it does not show
            found = self.extend_pe(found.new_empty((1, found.shape[1] // 2 + 1), dtype=torch.float32))
        self.pe = nn.Buffer(found, persistent=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Those of all distances, (1, 2 time - 1, width), in the dtype of the states."""
        time = hidden_states.shape[1]
        self.pe = self.extend_pe(self.pe.new_empty((1, time), device=hidden_states.device), self.pe)
        middle = self.pe.shape[1] // 2
        return self.pe[:, middle - time + 1 : middle + time].type_as(hidden_states)

    def _apply(self, fn: Any, recurse: bool = True) -> "RelativePositions":
        before = self.pe
        super()._apply(fn, recurse)
        self.pe = unrounded(self.pe, before)
        return self


def unrounded(tensor: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """A tensor as it was before, on the device that it came to, if it was brought to half precision.

    Example:
        >>> unrounded(torch.ones(1).half(), torch.ones(1)).dtype
        torch.float32
    """
    return before.to(tensor.device) if tensor.dtype in HALVES else tensor


def adopt_positions(model: Any) -> None:
    """Give a Conformer positions that stay exact; names and numbers stay, but for those that were rounded.

    Example:
        >>> adopt_positions(transformers.Wav2Vec2ConformerModel.from_pretrained(folder).half())
    """
    rotary = (bert.Wav2Vec2BertRotaryPositionalEmbedding, conformer.Wav2Vec2ConformerRotaryPositionalEmbedding)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) in rotary:
                setattr(module, name, RotaryPositions(child, model.config.rotary_embedding_base))
            elif type(child) is conformer.Wav2Vec2ConformerRelPositionalEmbedding:
                setattr(module, name, RelativePositions(child))
