"""WavLM's gated attention on fused kernels and with any number of heads.

Hugging Face's own calls one op that needs every head and plain Linear weights, and builds the position bias of every
layer from scratch for each utterance of the batch.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


class GatedAttention(WavLMAttention):
    """The same parameters under the same names as Hugging Face's `WavLMAttention`, the same outputs but for rounding.

    Args:
        attention: the attention whose modules and parameters this one takes over (and shares with it).
    """

    def __init__(self, attention: WavLMAttention):
        nn.Module.__init__(self)
        for name, child in attention.named_children():
            self.add_module(name, child)
        self.gru_rel_pos_const = attention.gru_rel_pos_const
        for name in ("embed_dim", "num_heads", "dropout", "head_dim", "scaling", "num_buckets", "max_distance"):
            setattr(self, name, getattr(attention, name))
        self.kept_heads = tuple(range(attention.num_heads))
        self.kept_dims: int = attention.head_dim
        self.kept_hidden: tuple[int, ...] | None = None
        self.eager = False
        self.train(attention.training)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - their annotation of the bias is not what they return
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        index: int = 0,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Attention output, the attention map of every head if asked for, and the position bias of all heads."""
        batch, time, _ = hidden_states.shape
        if position_bias is None:
            position_bias = self.position_bias(time)
        if not self.kept_heads:
            return self.out_proj(hidden_states[..., :0]), None, position_bias
        mask = self.gate(hidden_states) * self.pick(position_bias, 0)
        if attention_mask is not None:
            mask = mask.masked_fill(attention_mask.ne(1)[:, None, None, :], float("-inf"))
        shape = (batch, time, len(self.kept_heads), self.kept_dims)
        query, key, value = (
            project(hidden_states).view(shape).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if torch.compiler.is_exporting():
            # The exporter asks whether the strides of a transposed view divide its sizes, and of a dynamic length it
            # cannot know.
            query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        dropout = self.dropout if self.training else 0.0
        if self.eager or kwargs.get("output_attentions"):
            weights = torch.softmax(query @ key.transpose(2, 3) * self.scaling + mask, dim=-1)
            context = F.dropout(weights, dropout, training=self.training) @ value
        else:
            weights = None
            context = F.scaled_dot_product_attention(query, key, value, mask, dropout, scale=self.scaling)
        return self.out_proj(context.transpose(1, 2).reshape(batch, time, -1)), weights, position_bias

    def pick(self, values: torch.Tensor, dim: int) -> torch.Tensor:
        """The kept heads of a tensor that has all heads along `dim`."""
        if len(self.kept_heads) == self.num_heads:
            return values
        return values.index_select(dim, torch.tensor(self.kept_heads, device=values.device))

    def gate(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """How much of the position bias each head lets through at each frame: (batch, heads, time, 1)."""
        batch, time, _ = hidden_states.shape
        if self.kept_hidden is not None:
            # Head h reads the h-th slice of the regular hidden state, so what was cut out leaves zeros behind.
            whole = hidden_states.new_zeros(batch, time, self.num_heads * self.head_dim)
            places = torch.tensor(self.kept_hidden, device=hidden_states.device)
            hidden_states = whole.index_copy(2, places, hidden_states)
        slices = self.pick(hidden_states.view(batch, time, self.num_heads, self.head_dim), 2)
        # The eight outputs are only ever summed in two groups of four: sum the weights instead.
        weight = self.gru_rel_pos_linear.weight.view(2, 4, self.head_dim).sum(1)
        bias = self.gru_rel_pos_linear.bias.view(2, 4).sum(1)
        if torch.compiler.is_exporting():
            # Its Linear takes four dimensions apart again, so frames must be next to the units here too.
            gates = F.linear(slices.transpose(1, 2).contiguous(), weight, bias)
        else:
            gates = F.linear(slices, weight, bias).transpose(1, 2)
        update, reset = torch.sigmoid(gates).chunk(2, dim=-1)
        return update * (reset * self.gru_rel_pos_const - 1.0) + 2.0

    def position_bias(self, time: int) -> torch.Tensor:
        """The bias of every head for every pair of frames: (all heads, time, time).

        It depends on the distance alone, so only `2 time - 1` buckets are looked up.
        """
        device = self.rel_attn_embed.weight.device
        distances = torch.arange(1 - time, time, device=device)
        by_distance = self.rel_attn_embed(self._relative_positions_bucket(distances)).t()
        pairs = torch.arange(time, device=device)
        return by_distance[:, pairs[None, :] - pairs[:, None] + (time - 1)]


def is_uncuttable(model: nn.Module) -> bool:
    """Whether a model has WavLM's attention as Hugging Face loads it.

    Example:
        >>> is_uncuttable(transformers.WavLMModel(transformers.WavLMConfig()))
        True
    """
    return any(type(module) is WavLMAttention for module in model.modules())


def adopt_attention(model: nn.Module) -> None:
    """Give every WavLM layer of a model the fused attention; parameters and their names stay.

    Example:
        >>> adopt_attention(transformers.WavLMModel(transformers.WavLMConfig()))
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is WavLMAttention:
                setattr(module, name, GatedAttention(child))
