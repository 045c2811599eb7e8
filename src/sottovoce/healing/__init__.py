"""Training that goes on: a model that was cut learns again what it knew."""

from sottovoce.healing.continuing import heal, heal_logged
from sottovoce.healing.objectives import Objective, check_task, objective_of, own_task
from sottovoce.healing.rounds import Heal, healed, in_rounds, portions, wanted

__all__ = [
    "Heal",
    "Objective",
    "check_task",
    "heal",
    "heal_logged",
    "healed",
    "in_rounds",
    "objective_of",
    "own_task",
    "portions",
    "wanted",
]
