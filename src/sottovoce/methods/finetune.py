"""Fine-tuning: the encoder with the head of a task, all or some of its parts trained."""

from typing import Any, Literal

from sottovoce.errors import unknown
from sottovoce.registry import method
from sottovoce.tasks import TASKS
from sottovoce.tasks.finetune import finetune_model
from sottovoce.training import Training


@method()
def finetune(
    model: Any,
    data: Any = None,
    *,
    task: str,
    steps: int = 1000,
    lr: float = 1e-4,
    batch: int = 16,
    warmup: float = 0.1,
    schedule: Literal["linear", "cosine", "constant"] = "linear",
    weight_decay: float = 0.01,
    clip: float | None = 1.0,
    accumulate: int = 1,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    checkpoint_gradients: bool = False,
    freeze: list[str] = ["front_end"],  # noqa: B006 (it is only read)
    dropout: float | None = None,
    mask_time: float | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    save_seconds: float = 60.0,
    limit: int | None = None,
    seed: int = 0,
) -> Any:
    """Put the head of a task on the encoder and train it; the best weights on the dev split are kept.

    `batch` counts utterances of average length. Frozen parts (`front_end`, `projection`, `positional`, `layers`,
    `layers.0`, `head`) take no gradients. The model's own head goes on if it knows all labels of the train split.

    Example:
        >>> tuned = finetune(model, data, task="keywords", steps=2000)
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    settings = Training(
        steps=steps,
        lr=lr,
        warmup=warmup,
        schedule=schedule,
        weight_decay=weight_decay,
        clip=clip,
        accumulate=accumulate,
        precision=precision,
        checkpoint_gradients=checkpoint_gradients,
        validate_every=validate_every,
        patience=patience,
        save_seconds=save_seconds,
        seed=seed,
    )
    return finetune_model(
        TASKS[task],
        model,
        data,
        settings=settings,
        size=batch,
        freeze=freeze,
        limit=limit,
        dropout=dropout,
        mask_time=mask_time,
    )
