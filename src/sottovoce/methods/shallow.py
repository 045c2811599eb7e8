"""Fewer steps of a stack at inference: the same for all utterances, or as many as each needs."""

from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.methods.drop_layers import drop_layers
from sottovoce.methods.drop_layers import outlined as shorter
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import use_exit
from sottovoce.progress import say
from sottovoce.registry import register_method
from sottovoce.studies.exits import scores_of_exits
from sottovoce.studies.targets import Target, higher_is_better


def outlined(
    model: Any,
    *,
    layers: int | None = None,
    exit: str | float | None = None,  # noqa: A002 (it is what the option is about)
    least: int = 1,
    **rest: Any,
) -> bool:
    """Fewer steps; how many, where a score is to be kept, hangs on speech."""
    if layers is not None:
        return shorter(model, keep=layers)
    if exit is not None:
        use_exit(model, 0.0 if isinstance(exit, str) else exit, least=least)
    return exit is not None


@register_method(outline=outlined, paper="arXiv 2105.00812; exits of single utterances are our own")
def shallow(
    model: Any,
    data: Any = None,
    *,
    layers: int | None = None,
    until: str | None = None,
    exit: str | float | None = None,  # noqa: A002 (it is what the option is about)
    least: int = 1,
    limit: int | None = None,
    seed: int = 0,
) -> Any:
    """Run the first steps of the stack alone; of a stack of shared layers, all parameters stay in use.

    Either `layers` steps; or as few as keep a share of a task's score on the dev split (`until`, such as "95% of
    keywords"); or, of shared layers, as many as each utterance needs (`exit`): it leaves behind the first step that
    changes its states by no more than a threshold, but runs the `least` steps. The threshold is a number (1 less the
    cosine), or found on the dev split from a share such as "98% of keywords": of 16 thresholds, the largest before the
    first that costs more. Of a model that shares no layers, steps are layers, and this is `drop_layers`.

    Example:
        >>> quick = shallow(model, layers=6)
        >>> quick = shallow(shared, data, exit="98% of keywords")  # doctest: +SKIP
    """
    if sum(option is not None for option in (layers, until, exit)) != 1:
        raise SottovoceError("shallow needs one of layers, until, exit: give layers=6, or exit='98% of keywords'.")
    body = Anatomy(model)
    if exit is None:
        if len(set(body.order)) == len(body.order):
            say("shallow: this model shares no layers, so this is drop_layers: the last ones go.")
        return drop_layers(model, data, keep=layers, until=until, limit=limit, seed=seed)
    if not isinstance(exit, str):
        use_exit(model, exit, least=least)
        return model
    target = Target.of(exit)
    use_exit(model, 0.0, least=least)  # refuses what cannot leave, before any work
    target.check(model, data)
    whole, *found = scores_of_exits(target.task, model, data, least=least, limit=limit, seed=seed)
    wanted = target.least(whole.score, data)
    kept = whole
    for each in found:
        if higher_is_better(each.score) < wanted:
            break
        kept = each
    if kept.threshold is None:
        raise SottovoceError(
            f"exit='{exit}' cannot be kept by any threshold: the most careful one runs {found[0].steps:.1f} of "
            f"{len(body.order)} steps and keeps {found[0].score.value:.3f} of {whole.score.value:.3f}; ask for less."
        )
    use_exit(model, kept.threshold, least=least)
    say(
        f"shallow: utterances run {kept.steps:.2f} of {len(body.order)} steps on average (dev split: "
        f"{kept.score.metric} {kept.score.value:.3f}, {whole.score.value:.3f} with all steps; threshold "
        f"{kept.threshold:.4g})."
    )
    return model
