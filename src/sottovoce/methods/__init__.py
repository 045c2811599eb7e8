"""Methods: one file each; importing this folder registers them."""

from sottovoce.methods.cut_at_convexity import cut_at_convexity
from sottovoce.methods.distill import distill
from sottovoce.methods.drop_layers import drop_layers
from sottovoce.methods.finetune import finetune
from sottovoce.methods.low_rank import low_rank
from sottovoce.methods.mimic import mimic
from sottovoce.methods.pretrain import pretrain
from sottovoce.methods.prune_ffn import prune_ffn
from sottovoce.methods.prune_heads import prune_heads
from sottovoce.methods.prune_weights import prune_weights
from sottovoce.methods.quantize import quantize
from sottovoce.registry import METHODS

__all__ = [
    "METHODS",
    "cut_at_convexity",
    "distill",
    "drop_layers",
    "finetune",
    "low_rank",
    "mimic",
    "pretrain",
    "prune_ffn",
    "prune_heads",
    "prune_weights",
    "quantize",
]
