"""The one training loop."""

from sottovoce.training.loop import Outcome, train
from sottovoce.training.settings import Training

__all__ = ["Outcome", "Training", "train"]
