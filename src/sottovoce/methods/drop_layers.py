"""Dropping whole layers: the plainest saving, and the one that plain Hugging Face code can load."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.healing import Heal, check_task, healed, wanted
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_layers
from sottovoce.registry import register_method
from sottovoce.studies.cuts import scores_of_cuts
from sottovoce.studies.orders import PLACES, By, cut_copy, cuts_by, leaving
from sottovoce.studies.targets import Target, higher_is_better
from sottovoce.tasks.kinds import Score


def outlined(
    model: Any, *, keep: int | Sequence[int] | None = None, drop: int | Sequence[int] | None = None, **rest: Any
) -> bool:
    """The stack with as many layers as will be left: which ones does not change a shape where all are alike."""
    steps, given = len(Anatomy(model).order), keep if keep is not None else drop
    if given is None:
        return False
    if isinstance(given, int):
        keep_layers(model, range(steps - how_many(None if keep is None else given, given, steps)))
    else:
        keep_layers(model, named_layers(keep, drop, steps))
    return True


@register_method("drop_layers", paper="arXiv 2409.16302", outline=outlined)
def drop_layers(
    model: Any,
    data: Any = None,
    *,
    keep: int | Sequence[int] | None = None,
    drop: int | Sequence[int] | None = None,
    until: str | None = None,
    by: By = "backward",
    rescore: bool = False,
    heal: Heal = Heal(batch=16),
    task: str | None = None,
    limit: int | None = 640,
    seed: int = 0,
) -> Any:
    """Drop whole layers and join what is left.

    `keep` or `drop`: how many, or which ones (layers count from 0); or `until`, a share of a task's score such as
    "95% of keywords", which as many layers go for as can, judged on the dev split. Where no layers are named, they go
    in an order: from the last (`backward`), from the second on (`forward`), in turns (`alternate`), or those that
    change states least first: by cosine (`bi`), by 8 nearest neighbours (`knn_bi`), by 2 to 64 of them as in the
    paper's code (`knn_bi_averaged`), by CKA (`cka_bi`), by what the task loses without each (`ablation`), or as the run
    of layers whose ends are least apart (`angular`). The paper's code also has those before which states are most like
    the outputs of all layers (`multi_bi`), the first block by `bi` and then the others (`core_first`), and those before
    which the head's Jacobians are most alike (`jacobian_rank`). The first layer stays. Scores are taken once; with
    `rescore`, anew after each layer; `heal.steps` updates follow each. One by one, `angular` looks anew each time.

    Example:
        >>> small = drop_layers(model, keep=9)
        >>> small = drop_layers(tuned, data, by="knn_bi_averaged", until="95% of keywords")  # doctest: +SKIP
    """
    steps = len(Anatomy(model).order)
    if Anatomy(model).mimics:
        raise SottovoceError("mimic layers stand in for this model's stack; there are no layers to drop.")
    if sum(option is not None for option in (keep, drop, until)) != 1:
        raise SottovoceError(
            "drop_layers needs one of keep, drop, until: give keep=9, drop=[3, 4], until='95% of ...'."
        )
    check_task(task)
    target = None if until is None else Target.of(until)
    given = keep if keep is not None else drop
    if given is not None and not isinstance(given, int):
        if by != "backward" or rescore or heal.trains:
            raise SottovoceError("drop_layers: where layers are named there is no order; leave out by, rescore, heal.")
        keep_layers(model, named_layers(keep, drop, steps))
        return model
    most = steps - 1 if given is None else how_many(None if keep is None else given, given, steps)
    if target is not None:
        target.check(model, data)
    options = Options(by, limit, task or (None if target is None else target.task.name), seed)
    if rescore or heal.trains:
        return one_by_one(model, data, most, target, options, heal, task, rescore=rescore)
    cuts = options.cuts(model, data)
    if target is not None:
        found = [scores[0] for scores in scores_of_cuts(target.task, model, data, cuts[: most + 1], split="dev")]
        least = target.least(found[0], data)
        most = max(number for number, score in enumerate(found) if higher_is_better(score) >= least)
    keep_layers(model, cuts[most])
    return model


@dataclass(frozen=True)
class Options:
    """By what layers are judged, and on what."""

    by: By
    limit: int | None
    task: str | None
    seed: int

    def cuts(self, model: Any, data: Any) -> list[list[int]]:
        """For every number of layers, those that stay."""
        return cuts_by(model, data, self.by, limit=self.limit, task=self.task, seed=self.seed)

    def order(self, model: Any, data: Any) -> list[int]:
        """The layers in the order in which they go."""
        if self.by == "angular":  # runs of one layer more need not hold the layers of the shorter ones
            whole, cut = self.cuts(model, data)[:2]
            return [step for step in whole if step not in cut]
        return leaving(model, data, self.by, limit=self.limit, task=self.task, seed=self.seed)


def named_layers(keep: int | Sequence[int] | None, drop: int | Sequence[int] | None, steps: int) -> list[int]:
    """The layers that stay, where either these or those that go are named."""
    if isinstance(keep, Sequence):
        kept = list(keep)
    else:
        gone = list(drop) if isinstance(drop, Sequence) else []
        wrong = [layer for layer in gone if not 0 <= layer < steps]
        if wrong:
            raise SottovoceError(f"drop names layer {wrong[0]}, but this encoder has {steps}; give 0-{steps - 1}.")
        kept = [layer for layer in range(steps) if layer not in gone]
    if not kept:
        raise SottovoceError(f"all {steps} layers would go; keep at least one.")
    return kept


def how_many(keep: int | None, drop: int, steps: int) -> int:
    """How many layers go."""
    if keep is None:
        if not 0 <= drop < steps:
            raise SottovoceError(
                f"drop={drop}, but this encoder has {steps} layers, and one stays; give 0-{steps - 1}."
            )
        return drop
    if not 1 <= keep <= steps:
        raise SottovoceError(f"keep={keep}, but this encoder has {steps} layers; give 1-{steps}.")
    return steps - keep


def one_by_one(
    model: Any,
    data: Any,
    most: int,
    target: Target | None,
    options: Options,
    heal: Heal,
    task: str | None,
    *,
    rescore: bool,
) -> Any:
    """Layer after layer, each judged or healed before the next one goes."""
    least = 0.0 if target is None else target.least(score_of(model, data, target), data)
    rescore = (rescore or options.by == "angular") and options.by not in PLACES
    heal.check(most)
    with wanted(model, data, heal, task, looks=False) as objective:
        model = healed(model, objective, heal, 0, seed=options.seed, name="whole")
        order = [] if rescore else options.order(model, data)
        left = list(range(len(Anatomy(model).order)))  # by the numbers of the whole stack
        for number in range(most):
            goes = left[options.order(model, data)[0]] if rescore else order[number]
            smaller = cut_copy(model, [step for step, name in enumerate(left) if name != goes])
            smaller = healed(
                smaller, objective, heal, number + 1, seed=options.seed + number + 1, name=f"without-{goes}"
            )
            if target is not None and higher_is_better(score_of(smaller, data, target)) < least:
                break
            model = smaller
            left.remove(goes)
    return model


def score_of(model: Any, data: Any, target: Target) -> Score:
    """What a model scores on the dev split."""
    every = range(len(Anatomy(model).order))
    return scores_of_cuts(target.task, model, data, [every], split="dev")[0][0]
