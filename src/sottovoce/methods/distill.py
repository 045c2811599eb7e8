"""Distillation: a smaller or another encoder learns to be like its teacher."""

from typing import Any, Literal

from sottovoce.distillation.plan import Distillation
from sottovoce.distillation.run import distill_model
from sottovoce.registry import method
from sottovoce.training import Training


@method(paper="MelHuBERT (arXiv 2211.09949), DistilHuBERT (arXiv 2110.01900)")
def distill(
    model: Any,
    data: Any = None,
    *,
    teacher: str | None = None,
    loss: Literal["cluster_kl", "hidden", "distilhubert", "arm", "star"] = "hidden",
    student: int | None = None,
    start: Literal["model", "random"] = "model",
    log_mel: bool = False,
    layers: list[int] | None = None,
    temperature: float = 1.0,
    share: float = 0.8,
    span: int = 10,
    freeze_front_end: bool = True,
    cache: bool | None = None,
    steps: int = 10_000,
    lr: float = 2e-4,
    batch_seconds: float = 90.0,
    warmup: float = 0.08,
    schedule: Literal["linear", "cosine", "constant"] = "linear",
    weight_decay: float = 0.01,
    clip: float | None = 1.0,
    accumulate: int = 1,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    optimiser: Literal["adamw", "muon"] = "adamw",
    dropout: float | None = None,
    validate_every: int | None = None,
    save_seconds: float = 120.0,
    seed: int = 0,
) -> Any:
    """Train a small encoder to be like a teacher: the model's lowest layers, or the model as it is, or drawn anew.

    The teacher is the model itself, or what `teacher` names; `student` is how many layers are kept from the bottom.
    `loss` says what is matched: `hidden` states, all from the last (`distilhubert`), names of clusters (`cluster_kl`),
    states of masked audio (`arm`), relations of frames (`star`); `layers`, which of the teacher's states, 0 being its
    first layer's input. A conv front end of the model's is frozen, unlike in the papers. With `cache`, states are read
    off the disk: those of whole utterances, of which a cut hears a part; by default where all take less than 4 GB and
    each is needed more than twice.

    Example:
        >>> small = distill(model, data, student=2, loss="distilhubert", steps=20_000)
    """
    every: dict[str, Any] = {"validate_every": validate_every or max(1, steps // 20), "save_seconds": save_seconds}
    rates: dict[str, Any] = {"lr": lr, "optimiser": optimiser, "warmup": warmup, "schedule": schedule, "clip": clip}
    rates |= {"weight_decay": weight_decay, "accumulate": accumulate, "precision": precision}
    settings = Training(steps=steps, log_every=50, seed=seed, **rates, **every)
    made: dict[str, Any] = {"teacher": teacher, "student": student, "start": start, "log_mel": log_mel}
    match: dict[str, Any] = {"loss": loss, "layers": None if layers is None else tuple(layers), "share": share}
    match |= {"span": span, "temperature": temperature, "freeze_front_end": freeze_front_end}
    plan = Distillation(**made, **match, cache=cache, precision=precision, batch_seconds=batch_seconds)
    return distill_model(model, data, plan=plan, settings=settings, dropout=dropout)
