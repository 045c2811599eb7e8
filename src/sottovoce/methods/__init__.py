"""Methods: one file each; importing this folder registers them."""

from sottovoce.methods.drop_layers import drop_layers
from sottovoce.methods.finetune import finetune
from sottovoce.methods.pretrain import pretrain

__all__ = ["drop_layers", "finetune", "pretrain"]
