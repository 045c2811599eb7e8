"""Measures: one file each; importing this folder registers them."""

from sottovoce.measures.ablation import ablation as ablation
from sottovoce.measures.attention import attention as attention
from sottovoce.measures.consistency import consistency as consistency
from sottovoce.measures.convexity import convexity as convexity
from sottovoce.measures.convexity import euclidean_convexity as euclidean_convexity
from sottovoce.measures.layer_orders import layer_orders as layer_orders
from sottovoce.measures.macs import macs as macs
from sottovoce.measures.similarity import similarity as similarity
from sottovoce.measures.size import size as size
from sottovoce.measures.speed import speed as speed
from sottovoce.measures.tasks import TASK_MEASURES as TASK_MEASURES
from sottovoce.registry import MEASURES as MEASURES
