"""The one training loop."""

from sottovoce.training.loop import Outcome, best_device, processes, train
from sottovoce.training.settings import Training

__all__ = ["Outcome", "Training", "best_device", "processes", "train"]
