"""Fine-tuning: the encoder with the head of a task, all or some of its parts trained."""

from dataclasses import replace
from typing import Any

from sottovoce.registry import register_method
from sottovoce.tasks import find_task
from sottovoce.tasks.finetune import finetune_model
from sottovoce.training import Training


def outlined(model: Any, *, task: str, **rest: Any) -> bool:
    """The same shape, with the head of a task."""
    find_task(task)
    return True


@register_method(outline=outlined)
def finetune(
    model: Any,
    data: Any = None,
    *,
    task: str,
    train: Training = Training(steps=1000, lr=1e-4),
    batch: int = 16,
    freeze: list[str] = ["front_end"],  # noqa: B006 (it is only read)
    dropout: float | None = None,
    mask_time: float | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Any:
    """Put the head of a task on the encoder and train it; the best weights on the dev split are kept.

    `batch` counts utterances of average length. Frozen parts (`front_end`, `projection`, `positional`, `layers`,
    `layers.0`, `head`) take no gradients. The model's own head goes on if it knows all labels of the train split.

    Example:
        >>> tuned = finetune(model, data, task="keywords", train={"steps": 2000, "lr": 5e-5})
    """
    return finetune_model(
        find_task(task),
        model,
        data,
        settings=replace(train, seed=seed),
        size=batch,
        freeze=freeze,
        limit=limit,
        dropout=dropout,
        mask_time=mask_time,
    )
