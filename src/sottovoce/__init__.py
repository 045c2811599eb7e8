"""sottovoce makes self-supervised speech models small and fast, and shows what each saving costs."""

from importlib import import_module as _import
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _CHECKING
from typing import Any as _Any

if _CHECKING:
    from sottovoce.analyses import analyze
    from sottovoce.checkup import Finding, doctor
    from sottovoce.costs import Cost, cost, cost_of_two, gain
    from sottovoce.data.sources import read_data
    from sottovoce.data.utterance import Utterance
    from sottovoce.errors import SottovoceError
    from sottovoce.execution import measure, run
    from sottovoce.exporting import TARGETS, Disagreement, Exported, export, register_target
    from sottovoce.measurement import Measurement
    from sottovoce.measures import (
        MEASURES,
        ablation,
        attention,
        consistency,
        convexity,
        euclidean_convexity,
        macs,
        similarity,
        size,
        speed,
    )
    from sottovoce.methods import (
        METHODS,
        cut_at_convexity,
        distill,
        drop_layers,
        finetune,
        low_rank,
        mimic,
        pretrain,
        prune_ffn,
        prune_heads,
        prune_jointly,
        prune_weights,
        quantize,
        shallow,
        share_layers,
    )
    from sottovoce.models import edits
    from sottovoce.models.anatomy import Anatomy
    from sottovoce.models.hub import load, new, save
    from sottovoce.models.narrow import fold_weight_norm, keep_hidden
    from sottovoce.models.padding import exact_padding, is_exact, set_exact_padding
    from sottovoce.models.record import States, states
    from sottovoce.models.structure import Structure
    from sottovoce.recipe import Recipe
    from sottovoce.registry import register_measure, register_method
    from sottovoce.runs import Run
    from sottovoce.streaming import Stream, Transcript, stream, transcribe
    from sottovoce.sweeping import sweep
    from sottovoce.tasks import TASKS
    from sottovoce.training import Training, train
    from sottovoce.views import Cut, HeatMap, Lines, Shown

__all__ = [
    "MEASURES",
    "METHODS",
    "TARGETS",
    "TASKS",
    "Anatomy",
    "Cost",
    "Cut",
    "Disagreement",
    "Exported",
    "Finding",
    "HeatMap",
    "Lines",
    "Measurement",
    "Recipe",
    "Run",
    "Shown",
    "SottovoceError",
    "States",
    "Stream",
    "Structure",
    "Training",
    "Transcript",
    "Utterance",
    "ablation",
    "analyze",
    "attention",
    "consistency",
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
    "export",
    "finetune",
    "fold_weight_norm",
    "gain",
    "is_exact",
    "keep_hidden",
    "load",
    "low_rank",
    "macs",
    "measure",
    "mimic",
    "new",
    "pretrain",
    "prune_ffn",
    "prune_heads",
    "prune_jointly",
    "prune_weights",
    "quantize",
    "read_data",
    "register_measure",
    "register_method",
    "register_target",
    "run",
    "save",
    "set_exact_padding",
    "shallow",
    "share_layers",
    "similarity",
    "size",
    "speed",
    "states",
    "stream",
    "sweep",
    "train",
    "transcribe",
]
# Where each of them is; imported when it is asked for, so that starting the command line can be stopped at once.
_PLACES = {
    "Anatomy": "models.anatomy",
    "Cost": "costs",
    "Cut": "views",
    "Disagreement": "exporting",
    "Exported": "exporting",
    "Finding": "checkup",
    "HeatMap": "views",
    "Lines": "views",
    "MEASURES": "measures",
    "METHODS": "methods",
    "Measurement": "measurement",
    "Recipe": "recipe",
    "Run": "runs",
    "Shown": "views",
    "SottovoceError": "errors",
    "States": "models.record",
    "Stream": "streaming",
    "Structure": "models.structure",
    "TARGETS": "exporting",
    "TASKS": "tasks",
    "Training": "training",
    "Transcript": "streaming",
    "Utterance": "data.utterance",
    "ablation": "measures",
    "analyze": "analyses",
    "attention": "measures",
    "consistency": "measures",
    "convexity": "measures",
    "cost": "costs",
    "cost_of_two": "costs",
    "cut_at_convexity": "methods",
    "distill": "methods",
    "doctor": "checkup",
    "drop_layers": "methods",
    "edits": "models.edits",
    "euclidean_convexity": "measures",
    "exact_padding": "models.padding",
    "export": "exporting",
    "finetune": "methods",
    "fold_weight_norm": "models.narrow",
    "gain": "costs",
    "is_exact": "models.padding",
    "keep_hidden": "models.narrow",
    "load": "models.hub",
    "low_rank": "methods",
    "macs": "measures",
    "measure": "execution",
    "mimic": "methods",
    "new": "models.hub",
    "pretrain": "methods",
    "prune_ffn": "methods",
    "prune_heads": "methods",
    "prune_jointly": "methods",
    "prune_weights": "methods",
    "quantize": "methods",
    "read_data": "data.sources",
    "register_measure": "registry",
    "register_method": "registry",
    "register_target": "exporting",
    "run": "execution",
    "save": "models.hub",
    "set_exact_padding": "models.padding",
    "shallow": "methods",
    "share_layers": "methods",
    "similarity": "measures",
    "size": "measures",
    "speed": "measures",
    "states": "models.record",
    "stream": "streaming",
    "sweep": "sweeping",
    "train": "training",
    "transcribe": "streaming",
}


def __getattr__(name: str) -> _Any:
    if name not in _PLACES:
        return _registered(name)
    module = _import(f"sottovoce.{_PLACES[name]}")
    found = module if _PLACES[name].rpartition(".")[2] == name else getattr(module, name)
    globals()[name] = found
    return found


def _registered(name: str) -> _Any:
    """A method or measure that registered itself: it is `sv.<name>` without a line here."""
    if not name.startswith("_"):
        for registry in (__getattr__("METHODS"), __getattr__("MEASURES")):
            if name in registry:
                return registry[name].function
    raise AttributeError(f"module 'sottovoce' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


__version__ = _version("sottovoce")
