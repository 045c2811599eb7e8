"""Training that goes on: a model that was cut learns again what it knew."""

from sottovoce.healing.purpose import Purpose, heal, heal_logged, own_task, purpose_of
from sottovoce.healing.rounds import Healing, in_rounds, portions, wanted

__all__ = [
    "Healing",
    "Purpose",
    "heal",
    "heal_logged",
    "in_rounds",
    "own_task",
    "portions",
    "purpose_of",
    "wanted",
]
