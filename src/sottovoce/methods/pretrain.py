"""Pretraining: the encoder learns to name the units of frames that it cannot hear."""

from typing import Any, Literal

from sottovoce.pretraining.plan import Round
from sottovoce.pretraining.run import pretrain_model
from sottovoce.registry import method
from sottovoce.training import Training


@method(paper="HuBERT (arXiv 2106.07447), MelHuBERT (arXiv 2211.09949)")
def pretrain(
    model: Any,
    data: Any = None,
    *,
    clusters: int = 100,
    layer: int | None = None,
    teacher: str | None = None,
    context: int | None = None,
    share: float = 0.8,
    span: int = 10,
    heard: float = 0.0,
    steps: int = 10_000,
    lr: float = 5e-4,
    batch_seconds: float = 90.0,
    warmup: float = 0.08,
    schedule: Literal["linear", "cosine", "constant"] = "linear",
    weight_decay: float = 0.01,
    clip: float | None = 1.0,
    accumulate: int = 1,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    optimiser: Literal["adamw", "muon"] = "adamw",
    noise: float = 0.0,
    speeds: list[float] = [],  # noqa: B006 (it is only read)
    dropout: float | None = None,
    validate_every: int | None = None,
    probe_every: int | None = None,
    save_seconds: float = 120.0,
    seed: int = 0,
) -> Any:
    """Masked prediction of k-means units: of MFCCs first (no `layer`), then of a layer of the last round's model.

    With `teacher`, the layer is that model's.

    Example:
        >>> first = pretrain(sv.new("melhubert", num_hidden_layers=6), data, clusters=100, steps=20_000)
        >>> second = pretrain(first, data, clusters=200, layer=4, steps=20_000)
    """
    settings = Training(
        steps=steps,
        lr=lr,
        optimiser=optimiser,
        warmup=warmup,
        schedule=schedule,
        weight_decay=weight_decay,
        clip=clip,
        accumulate=accumulate,
        precision=precision,
        validate_every=validate_every or max(1, steps // 20),
        save_seconds=save_seconds,
        log_every=50,
        seed=seed,
    )
    units: dict[str, Any] = {"clusters": clusters, "layer": layer, "teacher": teacher, "context": context}
    heeded: dict[str, Any] = {"share": share, "span": span, "heard": heard, "noise": noise}
    audio: dict[str, Any] = {"speeds": tuple(speeds), "precision": precision, "batch_seconds": batch_seconds}
    plan = Round(**units, **heeded, **audio, probe_every=probe_every)
    return pretrain_model(model, data, plan=plan, settings=settings, dropout=dropout)
