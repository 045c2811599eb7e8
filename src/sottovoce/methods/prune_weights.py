"""Single weights to zero: less to store, but not to compute, for dense kernels multiply by zeros too."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from sottovoce.analysis.sparsity import (
    Convergence,
    block_masks,
    check_sparsity,
    sparsity_steps,
    two_of_four_masks,
    unstructured_masks,
)
from sottovoce.errors import SottovoceError
from sottovoce.files import scratch, work_folder, working_in
from sottovoce.healing import Heal, Objective, check_task, heal_logged, healed, wanted
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import zero_weights
from sottovoce.registry import register_method

Masks = dict[str, torch.Tensor]
LOOK_BACK = 0.6  # of the updates between two prunings: the paper compares with 15 000 of 25 000 steps before


@dataclass(frozen=True)
class Between:
    """What holds in the training between two steps.

    Args:
        converge: a step waits while the running mean of the loss falls by more than that; None does not wait.
        postpone: how often it waits at most.
        revive: zeros learn too, and are chosen anew.

    Example:
        >>> Between(converge=0.001).state(25_000).look_back
        15000
    """

    converge: float | None = None
    postpone: int = 10
    revive: bool = False

    def state(self, steps: int) -> Convergence | None:
        """What is known of the loss before the first step, where that matters."""
        if self.converge is None:
            return None
        return Convergence(every=steps, look_back=max(1, int(LOOK_BACK * steps)), drop=self.converge)


def outlined(
    model: Any,
    *,
    heal: Heal = Heal(),
    sparsity: float = 0.5,
    schedule: Literal["once", "paper", "cubic"] = "once",
    rounds: int = 10,
    **rest: Any,
) -> bool:
    """The same shape."""
    heal.check(len(sparsity_steps(sparsity, schedule=schedule, rounds=rounds)))
    return True


@register_method(outline=outlined, paper="arXiv 2211.09949")
def prune_weights(
    model: Any,
    data: Any = None,
    *,
    sparsity: float = 0.5,
    pattern: Literal["unstructured", "2:4", "block"] = "unstructured",
    schedule: Literal["once", "paper", "cubic"] = "once",
    rounds: int = 10,
    block: int = 16,
    heal: Heal = Heal(),
    task: str | None = None,
    between: Between = Between(),
    packed: bool = False,
    seed: int = 0,
) -> Any:
    """Set the smallest weights of attention and feed-forward parts to zero, biases too, over all layers together.

    Shapes and speed stay as they are: dense kernels do not run faster on zeros. `2:4` keeps the two largest of four
    weights side by side, `block` whole squares. By the paper's 38 steps up to the sparsity, by a cubic one of so many
    rounds, or at once. `heal.steps` updates follow each step, in which zeros stay zeros, or, with `between.revive`, may
    come back and are chosen anew. `between.converge` postpones a step by as many updates while the running mean of the
    loss still falls by more than that (the paper: 0.001), `postpone` times at most (the paper: without end). `packed`
    has the model saved with a bit for each zero, in a folder that only sottovoce loads.

    Example:
        >>> sparse = prune_weights(model, sparsity=0.5)
        >>> healed = prune_weights(tuned, data, schedule="paper", heal={"steps": 25_000})  # doctest: +SKIP
    """
    if Anatomy(model).mimics or not Anatomy(model).layers:
        raise SottovoceError("mimic layers stand where this model's layers were; there are none to prune.")
    check_wishes(sparsity, pattern, schedule, heal, between)
    steps = sparsity_steps(sparsity, schedule=schedule, rounds=rounds)
    heal.check(len(steps))
    if schedule == "paper" and heal.before is None:
        heal = replace(heal, before=heal.after(1))  # as long as between two steps
    masks = chosen(
        model, pattern, steps[0], None, block=block, revive=between.revive
    )  # here, to refuse before any other work
    check_task(task)
    state = between.state(heal.after(1))

    with a_place(), wanted(model, data, heal, task, looks=False) as objective:
        model = healed(model, objective, heal, 0, seed=1000 * seed, name="step-0")
        for number, share in enumerate(steps, start=1):
            if number > 1:
                masks = chosen(model, pattern, share, masks, block=block, revive=between.revive)
            zero_weights(model, masks)
            if objective is not None and heal.after(number):
                state = settled(model, masks, objective, heal, between, state, number, seed)
        if between.revive:
            zero_weights(model, chosen(model, pattern, sparsity, masks, block=block, revive=True))
    if packed:
        model.packed = True
    return model


def check_wishes(sparsity: float, pattern: str, schedule: str, heal: Heal, between: Between) -> None:
    """Refuse what does not go together."""
    check_sparsity(sparsity)
    if pattern == "2:4" and (sparsity != 0.5 or schedule != "once"):
        raise SottovoceError(
            "2:4 leaves two of four weights at once: sparsity is 0.5 and schedule once; leave them out."
        )
    converge = between.converge
    if (converge is not None or between.revive) and not heal.steps:
        raise SottovoceError("between is about training between the steps; give heal.steps, a number of updates.")
    if converge is not None and (converge < 0 or not isinstance(heal.steps, int) or heal.steps < 2):
        raise SottovoceError(
            f"between.converge={converge}, heal.steps={heal.steps}: a fall of at least 0 and one number of updates, 2 "
            "or more, are wanted."
        )


def chosen(model: Any, pattern: str, share: float, before: Masks | None, *, block: int, revive: bool) -> Masks:
    """Masks of a pattern for a share of zeros, which leave what was zero before unless it may revive."""
    tensors = prunable(model)
    if pattern == "2:4":
        return two_of_four_masks(tensors)
    if pattern == "block":
        return block_masks(tensors, share, block=block, before=before, revive=revive)
    return unstructured_masks(tensors, share, before=before, revive=revive)


def prunable(model: Any) -> dict[str, torch.Tensor]:
    """The weights and biases of all query, key, value, output and feed-forward projections, by name.

    Example:
        >>> sum(tensor.numel() for tensor in prunable(sv.new("melhubert")).values())
        85017600
    """
    body = Anatomy(model)
    modules: list[nn.Module] = []
    for layer in range(len(body.layers)):
        modules += [body.linear(layer, part) for part in ("query", "key", "value", "output")]
        for which in range(len(body.family.feed_forwards)):
            modules += body.feed_forward(layer, which)
    inside = {id(parameter) for module in modules for parameter in module.parameters()}
    return {name: p.detach() for name, p in model.named_parameters() if id(p) in inside and p.numel()}


def settled(
    model: Any,
    masks: Masks,
    objective: Objective,
    heal: Heal,
    between: Between,
    state: Convergence | None,
    number: int,
    seed: int,
) -> Convergence | None:
    """Train on after a step, longer as long as the next one is postponed; the state behind it."""
    attempt = 0
    state = None if state is None else state.pruned()
    while True:
        attempt += 1
        with zeros_stay(model, {} if between.revive else masks):
            own = heal.settings(heal.after(number), seed=1000 * (seed + number) + attempt)
            losses = heal_logged(model, objective, own, f"step-{number}-{attempt}")
        if state is None:
            return None
        for loss in losses:
            state = state.saw(loss)
        if state.ready or attempt > between.postpone:
            return state


@contextmanager
def zeros_stay(model: Any, masks: Masks) -> Iterator[None]:
    """Inside, what masks have set to zero takes no gradients."""

    def hook(mask: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda gradient: gradient * mask.to(gradient.device, gradient.dtype)

    parameters = dict(model.named_parameters())
    # What takes no gradients does not move anyway.
    learning = {name: mask for name, mask in masks.items() if parameters[name].requires_grad}
    handles = [parameters[name].register_hook(hook(mask)) for name, mask in learning.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def a_place() -> Iterator[None]:
    """The folder of the run that is under way, or one that vanishes."""
    if work_folder() is not None:
        yield
        return
    with scratch() as folder, working_in(folder):
        yield
