"""Measures: one file each; importing this folder registers them."""

from sottovoce.measures.macs import macs
from sottovoce.measures.size import size
from sottovoce.measures.speed import speed

__all__ = ["macs", "size", "speed"]
