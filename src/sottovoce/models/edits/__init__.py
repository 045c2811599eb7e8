"""Exact edits of a model's tensors, in place: keep, drop, factor, share, replace.

Every edit is sliced tensors and nothing else: what stays computes as before. The same functions, replayed on a model
without data, rebuild an edited model's shape when it is loaded. Methods copy the model first.
"""

from sottovoce.models.edits.layers import (
    apply_times,
    hand_on_position_bias,
    keep_layers,
    linears_of,
    set_order,
    shared_stack,
    tie_layers,
    use_exit,
    use_own,
)
from sottovoce.models.edits.matrices import factor, split, use_int8, zero_weights
from sottovoce.models.edits.replaced import use_channels, use_log_mel, use_mimic
from sottovoce.models.edits.settled import edit
from sottovoce.models.edits.widths import keep_channels, keep_feed_forward, keep_head_dims, keep_heads

__all__ = [
    "apply_times",
    "edit",
    "factor",
    "hand_on_position_bias",
    "keep_channels",
    "keep_feed_forward",
    "keep_head_dims",
    "keep_heads",
    "keep_layers",
    "linears_of",
    "set_order",
    "shared_stack",
    "tie_layers",
    "split",
    "use_channels",
    "use_exit",
    "use_int8",
    "use_log_mel",
    "use_mimic",
    "use_own",
    "zero_weights",
]
