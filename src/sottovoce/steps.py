"""Taking the steps of a recipe, one after another, each from the seed and in a folder of its own."""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sottovoce.costs import gain
from sottovoce.files import leads, working_in
from sottovoce.measurement import Measurement
from sottovoce.methods import METHODS
from sottovoce.names import get_data
from sottovoce.progress import bar, ignored, told_to
from sottovoce.recipe import Step, with_data
from sottovoce.registry import Entry, Registry
from sottovoce.tables import lasting
from sottovoce.training import training_time, trainings


def take_steps(
    model: Any,
    data: Any,
    steps: Sequence[Step],
    *,
    work: Path,
    seed: int = 0,
    methods: Registry = METHODS,
    read: Callable[[str], Any] = get_data,
    announce: Callable[[str], object] = lambda text: None,
    report: Callable[[str], object] = lambda text: None,
    timed: Callable[[Measurement], object] = lambda row: None,
    done: int = 0,
    gains: bool = True,
) -> Any:
    """The model after some steps, of which `done` are behind it already; the checkpoints of each lie in a folder of its
    own in `work`.

    `announce` gets a line before each step, `report` what a step has to say of what came out, and what it brought on
    this machine where that is not plain (not without `gains`); `timed` a row of what the trainings of a step took, over
    all processes that had a part in them.

    Example:
        >>> small = take_steps(model, None, [("drop_layers", {"keep": 9})], work=Path("work"))  # doctest: +SKIP
    """
    for number, name, options in announced("step", steps, seed, announce, without=range(1, done + 1)):
        entry = methods[name]
        own, options = with_data((name, options))
        given = data if own is None else read(own)
        place = working_in(work / f"step-{number}", shared=work)
        with place, told_to(report if leads() else ignored), trainings() as found:
            before, model = model, entry(model, given, **seeded(entry, options, seed))
        if leads() and found:
            row = training_time(number, name, found)
            timed(row)
            report(f"{name} trained for {lasting(row.value)} ({row.n:,} updates)")
        if leads() and gains and (text := gain_of(entry, before, model, given)):
            report(text)
    return model


def gain_of(entry: Entry, before: Any, after: Any, data: Any) -> str:
    """What a step brought on this machine, of those that may bring nothing; empty for all others.

    Example:
        >>> gain_of(sv.METHODS["drop_layers"], model, model, None)
        ''
    """
    if not entry.reports_gain:
        return ""
    with bar("measuring what it brings"):
        return f"{entry.name}: {gain(before, after, data)}."


def seeded(entry: Entry, options: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The options with the recipe's seed, for a function that takes one and is not given it.

    Example:
        >>> seeded(sv.METHODS["low_rank"], {}, 3)  # doctest: +SKIP
        {'seed': 3}
    """
    return {"seed": seed, **options} if entry.takes("seed") else dict(options)


def announced(
    kind: str, steps: Sequence[Step], seed: int, say: Callable[[str], object], *, without: Collection[int] = ()
) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Steps with their numbers, each told before it is taken, but for those `without`.

    Example:
        >>> list(announced("step", [("fold", {}), ("quantize", {})], 0, print, without=[1]))
        step 2 of 2: quantize()
        [(2, 'quantize', {})]
    """
    for number, (name, options) in enumerate(steps, start=1):
        if number in without:
            continue
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        say(f"{kind} {number} of {len(steps)}: {name}({given})")
        # Each starts from the seed, so that its outcome does not hang on how much chance was used before it.
        set_seed(seed)
        yield number, name, options


def set_seed(seed: int) -> None:
    """Let all chance begin from a seed.

    Example:
        >>> set_seed(0)
    """
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
