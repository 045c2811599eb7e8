"""Every task as a measure: what a model knows of phones, words, speakers, emotions, intents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sottovoce.errors import SottovoceError
from sottovoce.measurement import Measurement
from sottovoce.registry import register_measure
from sottovoce.tasks import TASKS, Task
from sottovoce.tasks.decoding import NGrams
from sottovoce.tasks.finetune import can_score, finetune_model, score_head
from sottovoce.tasks.kinds import VERSION, Decoding
from sottovoce.tasks.probe import Probed, probe
from sottovoce.tasks.states import Keeping
from sottovoce.training import Training
from sottovoce.views import Lines, Shown, first_good_state

SHOWN = Shown(
    "What states know",
    (Lines("state", y="score", title="Probes of each state", main=True, percent=True, upward=True),),
    recommends=first_good_state,
    place=40,
)


@dataclass(frozen=True)
class Lessons:
    """How long a probe or a fine-tuned copy learns, and at which rate; None is 0.002 for a probe, else 0.0001.

    A probe's states are `kept` on the disk after one pass, or `streamed`: made anew for every batch, which takes longer
    and no room. `auto` keeps them where they fit. Means over time, which most tasks need, are always kept.

    Example:
        >>> Lessons(steps=400, lr=5e-3).steps
        400
    """

    steps: int = 1000
    lr: float | None = None
    states: Keeping = "auto"

    def __post_init__(self) -> None:
        Training(steps=self.steps, lr=1.0 if self.lr is None else self.lr)


@dataclass(frozen=True)
class Decode:
    """How sequences are read off: the width of the beam (at least 8 with a language model), and an ARPA file of one.

    Example:
        >>> Decode(beam=4).decoding().width
        4
    """

    beam: int = 1
    lm: Path | None = None

    def decoding(self) -> Decoding:
        """The same with the language model read."""
        width = self.beam if self.lm is None else max(self.beam, 8)
        return Decoding(width=width, lm=None if self.lm is None else NGrams.from_arpa(self.lm))


def rows_of(task: Task, probed: Sequence[Probed]) -> list[Measurement]:
    """The scores of probes, then what each state weighs in a learned sum.

    Example:
        >>> rows_of(TASKS["keywords"], probe(TASKS["keywords"], model, data, settings=Training()))[0].metric
        'accuracy'
    """
    rows = [
        score.measured(task.name, {} if found.layer is None else {"state": found.layer})
        for found in probed
        for score in found.scores
    ]
    return rows + [
        Measurement(task.name, "layer_weight", weight, where={"state": state}, version=VERSION)
        for found in probed
        for state, weight in enumerate(found.weights)
    ]


def register(task: Task) -> Any:
    """The measure of a task, by the task's name.

    Example:
        >>> register(TASKS["keywords"])(model, data, layer="each")
    """

    def run(
        model: Any,
        data: Any = None,
        *,
        mode: Literal["auto", "head", "probe", "finetune"] = "auto",
        layer: int | Literal["sum", "each"] = "sum",
        train: Lessons = Lessons(),
        batch: int = 32,
        inner: int = 256,
        freeze: list[str] = ["front_end"],  # noqa: B006 (it is only read)
        limit: int | None = None,
        seed: int = 0,
        decode: Decode = Decode(),
        final_norm: bool = False,
    ) -> list[Measurement]:
        for_probes = layer != "sum" or final_norm
        own = mode == "auto" and not for_probes and can_score(task, model, data)
        mode = ("head" if own else "probe") if mode == "auto" else mode
        if mode != "probe" and for_probes:
            given = "final_norm" if final_norm else f"layer={layer}"
            raise SottovoceError(f"{given} is for probes, but mode={mode}; give one of the two.")
        how = decode.decoding()
        if mode == "probe":
            settings = Training(steps=train.steps, lr=train.lr or 2e-3, clip=None, seed=seed)
            reading: dict[str, Any] = {
                "layer": layer,
                "inner": inner,
                "final_norm": final_norm,
                "keeping": train.states,
            }
            return rows_of(
                task, probe(task, model, data, settings=settings, size=batch, limit=limit, how=how, **reading)
            )
        if mode == "finetune":
            settings = Training(steps=train.steps, lr=train.lr or 1e-4, seed=seed)
            model = finetune_model(task, model, data, settings=settings, size=batch, freeze=freeze, limit=limit)
        return [
            score.measured(task.name)
            for score in score_head(task, model, data, size=batch, limit=limit, how=how, seed=seed)
        ]

    run.__name__ = task.name
    run.__doc__ = (
        f"How well a model does at this: {task.about}. A probe of the frozen encoder (on the learned sum of its "
        "layers, on one, or on each; with `final_norm` the last behind the norm at the end), the model's own head, or "
        "a fine-tuned copy; with a 95 % bootstrap interval."
    )
    return register_measure(paper=task.paper, version=VERSION, shown=SHOWN)(run)


TASK_MEASURES = {task.name: register(task) for task in TASKS.values()}
