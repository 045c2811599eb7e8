"""Measures: one file each; importing this folder registers them."""

from sottovoce.measures.ablation import ablation
from sottovoce.measures.attention import attention
from sottovoce.measures.convexity import convexity, euclidean_convexity
from sottovoce.measures.layer_orders import layer_orders
from sottovoce.measures.macs import macs
from sottovoce.measures.similarity import similarity
from sottovoce.measures.size import size
from sottovoce.measures.speed import speed
from sottovoce.measures.tasks import TASK_MEASURES
from sottovoce.registry import MEASURES

__all__ = [
    "MEASURES",
    "TASK_MEASURES",
    "ablation",
    "attention",
    "convexity",
    "euclidean_convexity",
    "layer_orders",
    "macs",
    "similarity",
    "size",
    "speed",
]
