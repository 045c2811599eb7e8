"""sottovoce makes self-supervised speech models small and fast, and shows what each saving costs."""

from importlib.metadata import version as _version

from sottovoce.analyze import analyze
from sottovoce.cost import Cost, cost, cost_of_two, gain
from sottovoce.data.sources import read_data
from sottovoce.data.utterance import Utterance
from sottovoce.doctor import Finding, doctor
from sottovoce.errors import SottovoceError
from sottovoce.measurement import Measurement
from sottovoce.measures import ablation, attention, convexity, euclidean_convexity, macs, similarity, size, speed
from sottovoce.methods import (
    cut_at_convexity,
    distill,
    drop_layers,
    finetune,
    low_rank,
    mimic,
    pretrain,
    prune_ffn,
    prune_heads,
    prune_weights,
    quantize,
)
from sottovoce.models import edits
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.hub import load, new, save
from sottovoce.models.narrow import fold_weight_norm, keep_hidden
from sottovoce.models.padding import exact_padding, is_exact, set_exact_padding
from sottovoce.models.record import States, states
from sottovoce.models.structure import Structure
from sottovoce.recipe import Recipe
from sottovoce.registry import MEASURES, METHODS, measure, method
from sottovoce.runs import Run
from sottovoce.tasks import TASKS
from sottovoce.training import Training, train

__all__ = [
    "MEASURES",
    "METHODS",
    "Anatomy",
    "Cost",
    "Finding",
    "Measurement",
    "Recipe",
    "Run",
    "SottovoceError",
    "States",
    "Structure",
    "TASKS",
    "Training",
    "Utterance",
    "ablation",
    "analyze",
    "attention",
    "convexity",
    "cost",
    "cost_of_two",
    "cut_at_convexity",
    "distill",
    "doctor",
    "drop_layers",
    "edits",
    "euclidean_convexity",
    "exact_padding",
    "finetune",
    "fold_weight_norm",
    "gain",
    "is_exact",
    "keep_hidden",
    "load",
    "low_rank",
    "macs",
    "measure",
    "method",
    "mimic",
    "new",
    "pretrain",
    "prune_ffn",
    "prune_heads",
    "prune_weights",
    "quantize",
    "read_data",
    "save",
    "set_exact_padding",
    "similarity",
    "size",
    "speed",
    "states",
    "train",
]

__version__ = _version("sottovoce")
