"""Grids of recipes by many processes: equal beginnings once, times measured alone, killed and started again at will."""

from sottovoce.sweeping.run import sweep

__all__ = ["sweep"]
