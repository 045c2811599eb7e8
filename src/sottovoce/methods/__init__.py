"""Methods: one file each; importing this folder registers them."""

from sottovoce.methods.cut_at_convexity import cut_at_convexity
from sottovoce.methods.drop_layers import drop_layers
from sottovoce.methods.finetune import finetune
from sottovoce.methods.mimic import mimic
from sottovoce.methods.pretrain import pretrain
from sottovoce.methods.prune_ffn import prune_ffn
from sottovoce.methods.prune_heads import prune_heads
from sottovoce.methods.prune_weights import prune_weights

__all__ = [
    "cut_at_convexity",
    "drop_layers",
    "finetune",
    "mimic",
    "pretrain",
    "prune_ffn",
    "prune_heads",
    "prune_weights",
]
