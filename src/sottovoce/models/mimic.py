"""Small layers that stand in for the whole Transformer stack (arXiv 2409.16302, section 2.3)."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutput

LONGEST_FILTER = 1001  # frames
NEVER = -1e4  # a score whose exponential is 0
HEADS = 8  # the paper's nn.TransformerEncoderLayer(nhead=8)


class LinearMimic(nn.Module):
    """Linear, LayerNorm, ReLU, Linear, frame by frame; the LayerNorm belongs to the stack (two layers share it)."""

    def __init__(self, hidden: int, width: int, *, device: Any = None):
        super().__init__()
        self.down = nn.Linear(hidden, width, device=device)
        self.up = nn.Linear(width, hidden, device=device)

    def forward(self, hidden_states: torch.Tensor, norm: nn.Module) -> torch.Tensor:
        """One mimic layer with the stack's norm."""
        return self.up(F.relu(norm(self.down(hidden_states))))


class TransformerMimic(nn.Module):
    """A post-norm Transformer layer with 8 heads and ReLU.

    Attention runs over time. The published code attends over the utterances of a batch instead; `over="batch"` is that.
    """

    def __init__(self, hidden: int, width: int, *, over: Literal["time", "batch"] = "time", device: Any = None):
        super().__init__()
        self.over = over
        self.inputs = nn.Linear(hidden, 3 * hidden, device=device)
        self.output = nn.Linear(hidden, hidden, device=device)
        self.up = nn.Linear(hidden, width, device=device)
        self.down = nn.Linear(width, hidden, device=device)
        self.attention_norm = nn.LayerNorm(hidden, device=device)
        self.final_norm = nn.LayerNorm(hidden, device=device)
        self.dropout = 0.1
        self.eager = False
        self.in_graph = False  # written for runtimes that have no fused attention

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """One layer; `mask` is true at frames that exist."""
        x = hidden_states if self.over == "time" else hidden_states.transpose(0, 1)
        batch, time, hidden = x.shape
        split = self.inputs(x).view(batch, time, 3, HEADS, hidden // HEADS).permute(2, 0, 3, 1, 4)
        blocked = None
        if mask is not None and self.over == "time":
            blocked = torch.zeros(mask.shape, dtype=x.dtype, device=x.device)
            blocked = blocked.masked_fill(~mask.bool(), float("-inf"))[:, None, None, :]
        query, key, value = split.unbind(0)
        context = self.attend(query, key, value, blocked).transpose(1, 2).reshape(batch, time, hidden)
        x = self.normed(self.attention_norm, x + self.drop(self.output(context)))
        x = self.normed(self.final_norm, x + self.drop(self.down(self.drop(F.relu(self.up(x))))))
        return x if self.over == "time" else x.transpose(0, 1)

    def normed(self, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """A norm; ONNX Runtime's own operation for a sum with a norm behind it takes longer than the two, so in a graph
        something stands between them."""
        return norm(x[:, None])[:, 0] if self.in_graph else norm(x)

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocked: torch.Tensor | None
    ) -> torch.Tensor:
        """Scaled dot-product attention, on the fused kernel unless `eager`.

        In a graph the mask is one more unit of the keys, that every query has 1 of: where there is no fused kernel,
        adding it to all scores takes as long as their product.
        """
        if blocked is not None and self.in_graph:
            scale = query.shape[-1] ** -0.5
            more = (blocked.clamp(min=NEVER) / scale).transpose(2, 3).expand(-1, HEADS, -1, -1)
            query, key = torch.cat([query, torch.ones_like(query[..., :1])], -1), torch.cat([key, more], -1)
            return F.scaled_dot_product_attention(query, key, value, scale=scale)
        if not self.eager:
            return F.scaled_dot_product_attention(query, key, value, blocked, self.dropout if self.training else 0.0)
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        return self.drop(torch.softmax(scores if blocked is None else scores + blocked, dim=-1)) @ value

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout of the paper's default rate."""
        return F.dropout(x, self.dropout, training=self.training)


class FrameFilter(nn.Module):
    """A filter over time for each unit alone, with a GELU: where a positional convolution was, at a small part of its
    work.

    Example:
        >>> sum(p.numel() for p in FrameFilter(768, 31).parameters())
        24576
    """

    def __init__(self, hidden: int, kernel: int, *, device: Any = None):
        super().__init__()
        self.conv = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden, device=device)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch, frames, hidden) to the same."""
        return F.gelu(self.conv(hidden_states.transpose(1, 2)).transpose(1, 2))


class MimicEncoder(nn.Module):
    """One or two mimic layers behind the feature projection, where the whole stack was, or none; in front of them the
    positional convolution that stood there, a filter over so many frames, or nothing.

    Example:
        >>> stack = MimicEncoder(768, layers=1, kind="linear", width=768)
        >>> sum(p.numel() for p in stack.parameters())
        1182720
    """

    def __init__(
        self,
        hidden: int,
        *,
        layers: int = 1,
        kind: Literal["linear", "transformer"] = "linear",
        width: int = 768,
        over: Literal["time", "batch"] = "time",
        positional: nn.Module | int | None = None,
        device: Any = None,
    ):
        super().__init__()
        told = positional if isinstance(positional, int) else positional is not None
        self.mimic = {"layers": layers, "kind": kind, "width": width, "over": over, "positional": told}
        if isinstance(positional, int):
            self.pos_conv_embed = FrameFilter(hidden, positional, device=device)
        elif positional is not None:
            self.pos_conv_embed = positional
        if kind == "linear":
            if layers:
                self.norm = nn.LayerNorm(width, device=device)
            self.layers = nn.ModuleList(LinearMimic(hidden, width, device=device) for _ in range(layers))
        else:
            self.layers = nn.ModuleList(
                TransformerMimic(hidden, width, over=over, device=device) for _ in range(layers)
            )

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutput:
        """What the replaced encoder returned: the last hidden state."""
        hidden_states = self.entering(hidden_states, attention_mask)
        *_, hidden_states = hidden_states, *self.run(hidden_states, attention_mask)
        return BaseModelOutput(last_hidden_state=hidden_states)

    def each(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """What each layer makes of the one before, from what the projection says on."""
        return self.run(self.entering(hidden_states, attention_mask), attention_mask)

    def entering(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """What enters the first layer."""
        if self.mimic["positional"]:
            if attention_mask is not None:
                # As in the stack that was here: what is past an end must not reach the frames before it.
                hidden_states = hidden_states * attention_mask[..., None].to(hidden_states.dtype)
            hidden_states = hidden_states + self.pos_conv_embed(hidden_states)
        return hidden_states

    def run(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None) -> Iterator[torch.Tensor]:
        """What each layer makes of the one before."""
        for layer in self.layers:
            hidden_states = layer(hidden_states, self.norm if self.mimic["kind"] == "linear" else attention_mask)
            yield hidden_states
