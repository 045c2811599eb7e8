"""The one training loop."""

from sottovoce.training.clock import Trained, training_time, trainings
from sottovoce.training.loop import Outcome, best_device, processes, train
from sottovoce.training.optimizers import Rates
from sottovoce.training.settings import Training

__all__ = ["Outcome", "Rates", "Trained", "Training", "best_device", "processes", "train", "training_time", "trainings"]
