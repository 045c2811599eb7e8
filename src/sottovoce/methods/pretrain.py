"""Pretraining: the encoder learns to name the units of frames that it cannot hear."""

from typing import Any

from sottovoce.models.edits import set_order
from sottovoce.pretraining.plan import Mask, Round, Stack, Units
from sottovoce.pretraining.run import pretrain_model, stack_of
from sottovoce.registry import register_method
from sottovoce.training import Training


def outlined(model: Any, *, stack: Stack = Stack(), **rest: Any) -> bool:
    """The stack with the layers that are to be shared."""
    order, _ = stack_of(model, stack)
    if order is not None:
        set_order(model, order)
    return True


@register_method(
    outline=outlined,
    paper="HuBERT (arXiv 2106.07447), MelHuBERT (arXiv 2211.09949), Layer Consistency (arXiv 2105.00812)",
)
def pretrain(
    model: Any,
    data: Any = None,
    *,
    units: Units = Units(),
    mask: Mask = Mask(),
    stack: Stack = Stack(),
    train: Training = Training(steps=10_000, lr=5e-4, warmup=0.08, save_seconds=120.0, log_every=50),
    batch_seconds: float = 90.0,
    noise: float = 0.0,
    speeds: list[float] = [],  # noqa: B006 (it is only read)
    dropout: float | None = None,
    probe_every: int | None = None,
    seed: int = 0,
) -> Any:
    """Masked prediction of k-means units: of MFCCs first (no `units.layer`), then of a layer of the last round's model.

    With `units.teacher`, the layer is that model's; with `units.kind=frames`, log-mel frames are predicted. With
    `stack`, layers share their tensors, and how many steps run is drawn anew for each update, as in arXiv 2105.00812:
    only its abstract is public to us, so the rest is our reconstruction. Judged 20 times, if `train.validate_every`
    does not say how often.

    Example:
        >>> shared = pretrain(model, data, stack={"groups": 1, "depth": "uniform:2..12"})  # doctest: +SKIP
        >>> first = pretrain(sv.new("melhubert"), data, units={"clusters": 100}, train={"steps": 20_000})
        >>> again = pretrain(first, data, units={"clusters": 200, "layer": 4})  # doctest: +SKIP
    """
    plan = Round(units, mask, noise, tuple(speeds), train.precision, batch_seconds, probe_every, stack)
    settings = train.planned(seed=seed, validations=20)
    return pretrain_model(model, data, plan=plan, settings=settings, dropout=dropout)
