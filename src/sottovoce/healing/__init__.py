"""Training that goes on: a model that was cut learns again what it knew."""

from sottovoce.healing.continuing import heal, heal_logged
from sottovoce.healing.objectives import Objective, objective_of, own_task
from sottovoce.healing.rounds import Healing, in_rounds, portions, wanted

__all__ = [
    "Healing",
    "Objective",
    "heal",
    "heal_logged",
    "in_rounds",
    "objective_of",
    "own_task",
    "portions",
    "wanted",
]
