"""Layers of a trained model that share one set of tensors, and learn again what they knew."""

from dataclasses import replace
from typing import Any

from sottovoce.analysis.blocks import blocks
from sottovoce.distillation.plan import Match
from sottovoce.errors import SottovoceError
from sottovoce.healing import heal
from sottovoce.healing.losses import AS_DPHUBERT, Loss, objective_for
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import set_order, use_own
from sottovoce.registry import register_method
from sottovoce.sharing.groups import Groups, groups_of, order_of
from sottovoce.sharing.tying import Own, Start, check_tying, tie
from sottovoce.studies.similarity import likeness
from sottovoce.training import Training


def outlined(model: Any, *, groups: Groups = 1, start: str = "mean", own: Own = Own(), **rest: Any) -> bool:
    """The stack with its shared layers; where the blocks are hangs on states."""
    if groups == "blocks":
        return False
    chosen = groups_of(groups, len(Anatomy(model).order))
    check_tying(model, chosen, start)
    set_order(model, order_of(chosen))
    if own.any:
        use_own(model, norms=own.norms, rank=own.rank)
    return True


@register_method(
    outline=outlined, paper="arXiv 2105.00812 and 2409.16302 together, our own; SKILL (arXiv 2402.16830) is near"
)
def share_layers(
    model: Any,
    data: Any = None,
    *,
    groups: Groups = 1,
    start: Start = "mean",
    own: Own = Own(),
    train: Training | None = None,
    loss: Loss = "distill",
    match: Match = AS_DPHUBERT,
    batch: float = 16,
    limit: int | None = 640,
    seed: int = 0,
) -> Any:
    """Let layers share their tensors: fewer parameters, the same number of steps; then heal.

    `groups` are all layers (1), so many runs of equal length, lists of layers, or `blocks`: those of similar layers
    that CKA finds on `limit` recordings. A group begins as the `mean` of its layers or as the `middle` one. What steps
    keep of their `own` costs little: norms, and differences of low rank. With `train`, the model learns to have the
    states that it had before (`loss=distill`), or by its task or units, as in `prune_jointly`. `shallow` then runs
    fewer steps.

    Example:
        >>> shared = share_layers(model, groups=2)
        >>> shared = share_layers(model, data, groups=3, own={"norms": True, "rank": 8}, train={"steps": 2000})
    """
    steps = len(Anatomy(model).order)
    if train is not None and not data:
        raise SottovoceError("share_layers: train= needs data: speech; give --data, or leave train out to tie only.")
    chosen = blocks_of(model, data, limit, seed) if groups == "blocks" else groups_of(groups, steps)
    check_tying(model, chosen, start)
    if train is None:
        tie(model, chosen, start=start, own=own)
        return model
    with objective_for(model, data, loss, size=batch, match=match) as objective:
        tie(model, chosen, start=start, own=own)
        return heal(model, objective, replace(train, seed=seed), name="share")


def blocks_of(model: Any, data: Any, limit: int | None, seed: int) -> list[list[int]]:
    """The blocks of similar layers, by CKA of what they put out, as `similarity` finds them."""
    if not data:
        raise SottovoceError("groups=blocks looks at states, so it needs data: speech; give --data, or name groups.")
    found = likeness([model], data, reading="flatten", embedding=False, limit=limit, ks=(), seed=seed)
    starts = [*blocks(found.matrices["cka"], seed=seed).starts, len(found.names)]
    return [list(range(begin, end)) for begin, end in zip(starts[:-1], starts[1:], strict=True)]
