"""Methods: one file each; importing this folder registers them."""

from sottovoce.methods.cut_at_convexity import cut_at_convexity as cut_at_convexity
from sottovoce.methods.distill import distill as distill
from sottovoce.methods.drop_layers import drop_layers as drop_layers
from sottovoce.methods.finetune import finetune as finetune
from sottovoce.methods.low_rank import low_rank as low_rank
from sottovoce.methods.mimic import mimic as mimic
from sottovoce.methods.pretrain import pretrain as pretrain
from sottovoce.methods.prune_ffn import prune_ffn as prune_ffn
from sottovoce.methods.prune_heads import prune_heads as prune_heads
from sottovoce.methods.prune_jointly import prune_jointly as prune_jointly
from sottovoce.methods.prune_weights import prune_weights as prune_weights
from sottovoce.methods.quantize import quantize as quantize
from sottovoce.methods.shallow import shallow as shallow
from sottovoce.methods.share_layers import share_layers as share_layers
from sottovoce.registry import METHODS as METHODS
