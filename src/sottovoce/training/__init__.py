"""The one training loop."""

from sottovoce.training.clock import Trained, training_time, trainings
from sottovoce.training.devices import accelerated_on, best_device, processes
from sottovoce.training.loop import Outcome, train
from sottovoce.training.optimizers import Rates
from sottovoce.training.settings import Training

__all__ = [
    "Outcome",
    "Rates",
    "Trained",
    "Training",
    "accelerated_on",
    "best_device",
    "processes",
    "train",
    "training_time",
    "trainings",
]
