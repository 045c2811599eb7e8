"""Measures: one file each; importing this folder registers them."""

from sottovoce.measures.macs import macs
from sottovoce.measures.size import size
from sottovoce.measures.speed import speed
from sottovoce.measures.tasks import TASK_MEASURES

__all__ = ["TASK_MEASURES", "macs", "size", "speed"]
