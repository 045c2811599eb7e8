"""Structured pruning with learned gates: paper 3's, DPHuBERT's, and for a time on the user's own machine."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sottovoce.distillation.maps import kept_units
from sottovoce.distillation.plan import Match
from sottovoce.errors import SottovoceError
from sottovoce.gates.latency_design import Setting
from sottovoce.gates.objective import Gating
from sottovoce.gates.run import Pruning
from sottovoce.gates.targets import targets_of
from sottovoce.gates.units import Kind, sites_of
from sottovoce.healing import heal
from sottovoce.healing.continuing import ready_to_learn
from sottovoce.healing.losses import AS_DPHUBERT, Loss, objective_for
from sottovoce.models.anatomy import Anatomy
from sottovoce.pretraining.unit_head import narrow_unit_head, unit_head_of
from sottovoce.progress import say
from sottovoce.registry import register_method
from sottovoce.training import Training


def outlined(
    model: Any,
    *,
    target: str | dict[str, str],
    units: list[Kind] = ["conv", "heads", "ffn"],  # noqa: B006 (it is only read)
    gates: Gating = Gating(),
    seed: int = 0,
    **rest: Any,
) -> bool:
    """Whether the target can be met; which units go hangs on the training. A time is known only when it was taken."""
    if takes_times({"target": target}):
        sites_of(model, units)
    else:
        Pruning(model, units, targets_of(target), gates, seed=seed)
    return False


def takes_times(options: Mapping[str, Any]) -> bool:
    """Whether one of its targets is a time."""
    return any(each.cost == "latency" for each in targets_of(options["target"]))


@register_method(outline=outlined, paper="arXiv 2302.14132, DPHuBERT (arXiv 2305.17651)", alone=takes_times)
def prune_jointly(
    model: Any,
    data: Any = None,
    *,
    target: str | dict[str, str],
    units: list[Kind] = ["conv", "heads", "ffn"],  # noqa: B006 (it is only read)
    loss: Loss = "own",
    match: Match = AS_DPHUBERT,
    gates: Gating = Gating(),
    train: Training = Training(steps=1000, lr=1e-4, weight_decay=0.0),
    finish: Training | None = Training(steps=300, lr=5e-5, weight_decay=0.0),
    batch: float = 16,
    latency: Setting = Setting(),
    seed: int = 0,
) -> Any:
    """Learn which units a model can do without, all kinds at once, until a cost is what it is to be; then train on.

    `target` is what is to go: `size:-75%`, `macs:-40%` (of 10 s of audio), `latency:-50%`, or `{conv: -60%,
    transformer: -30%}` of the parameters of each. `units` are gated: channels of the convolutions (`conv`), attention
    heads (`heads`), as many dimensions of each head of a layer (`dims`), feed-forward units (`ffn`), the hidden size
    (`hidden`), whole layers (`layers`). `loss` is what the model was trained for (`own`), the task of its head
    (`task`), the units that it names (`units`), its states before the pruning (`distill`), or task and states (`both`).
    A `latency` target is met on this machine, at the length, batch and threads of `latency`: parts of the model are
    timed first, and what comes out in the end. `train` is the training with gates, `finish` the one behind the cut.
    The front end learns where it is gated.

    Example:
        >>> small = prune_jointly(tuned, data, target="macs:-40%", train={"steps": 2000, "lr": 1e-4})
    """
    Anatomy(model)  # refuses what has no units at all
    if not data:
        raise SottovoceError("prune_jointly needs data: speech, with answers where the loss is a task's; give --data.")
    pruning = Pruning(model, units, targets_of(target), gates, seed=seed, latency=latency)
    unit_head_of(model)  # a damaged one is refused here, before any work
    freeze = () if "conv" in units else ("front_end",)
    with objective_for(model, data, loss, size=batch, match=match) as objective:
        with ready_to_learn(model, objective, freeze, name="gates"):
            module = objective.module(model)
            source = objective.source(model, seed=seed)
            pruning.learn(module, source, replace(train, seed=seed), objective.about)
        objective.keep(model, module)
        clusters, before = unit_head_of(model), kept_units(model)
        say(f"prune_jointly: {pruning.finish()}.")
        after = kept_units(model)
        if clusters is not None and len(after) < len(before):
            narrow_unit_head(model, clusters, [before.index(unit) for unit in after])
        pruning.time(say)
        if finish is not None:
            model = heal(model, objective, replace(finish, seed=seed), freeze=freeze, name="finish")
    return model.eval()
