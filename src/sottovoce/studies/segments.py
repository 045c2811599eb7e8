"""Euclidean convexity: what a model says of points on the line between two utterances of a class (arXiv 2305.17154)."""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from sottovoce.analysis.convexity import Convex
from sottovoce.data.batches import data_stamp
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import keep_layers
from sottovoce.models.encoder import Encoder, fingerprint
from sottovoce.models.heads import head_labels
from sottovoce.studies.chunks import Arrays, chunked
from sottovoce.studies.convexity import LayerConvexity, points_of, summed, task_of_head
from sottovoce.studies.speech import cut_to, ready

POINTS = 10  # between two utterances
BATCH = 64  # points in a pass


def euclidean_convexity_of(
    model: Any,
    data: Sequence[Utterance] | None,
    *,
    pairs: int = 5000,
    limit: int = 200,
    seconds: float = 1.0,
    classes: int | None = None,
    seed: int = 0,
) -> list[LayerConvexity]:
    """For each state: ten points on the segment between two utterances of a class (cut or padded to `seconds`), through
    the rest of the network; the share that it puts into the class, by class.

    The paper's code has this for images only; for speech it is our reading of it.

    Example:
        >>> euclidean_convexity_of(tuned, data, pairs=20)[-1].by_class
        0.97
    """
    task, labels = task_of_head(model), head_labels(model)
    if pairs < 1 or not 0 < seconds < float("inf"):
        raise SottovoceError(f"pairs={pairs}, seconds={seconds}: at least 1 and above 0 are wanted.")
    if getattr(model.config, "use_weighted_layer_sum", False):
        raise SottovoceError("this model's head reads a weighted sum of layers: there is no rest of the network.")
    points = points_of(task, data, limit=limit, classes=classes, seed=seed)
    members = {label: [p.utterance for p in points if p.label == label] for label in labels}
    chosen = {label: some_pairs(found, pairs, seed) for label, found in members.items() if len(found) > 1}
    if not chosen:
        raise SottovoceError("no class that this model knows has two utterances; give more speech.")
    names = list(chosen)
    encoder = Encoder(model)

    def work(name: str) -> Arrays:
        return {"scores": scores_of_class(encoder, chosen[name], labels.index(name), seconds)}

    about = {"model": fingerprint(encoder), "data": data_stamp([p.utterance for p in points])}
    about |= {"options": [pairs, seconds, seed, names]}
    with ready(encoder):
        made = {n: part["scores"] for n, part in zip(names, chunked("segments", about, names, work), strict=True)}
    return [
        summed(
            state,
            [Convex.of(name, scores[state], len(members[name])) for name, scores in made.items()],
            np.concatenate([scores[state] for scores in made.values()]),
        )
        for state in range(encoder.depth)
    ]


def scores_of_class(
    encoder: Encoder, pairs: Sequence[tuple[Utterance, Utterance]], wanted: int, seconds: float
) -> np.ndarray:
    """The score of each pair of a class in every state: (states, pairs)."""
    audio = {utterance.id: cut_to(utterance, seconds) for pair in pairs for utterance in pair}
    states = dict(zip(audio, zip(*encoder.states(encoder.inputs(list(audio.values()))), strict=True), strict=True))
    rows = []
    for state in range(encoder.depth):
        ends = [(states[first.id][state], states[second.id][state]) for first, second in pairs]
        rows.append(scores_at(encoder, state, ends, seconds, wanted))
    return np.stack(rows)


def some_pairs(found: Sequence[Utterance], pairs: int, seed: int) -> list[tuple[Utterance, Utterance]]:
    """Unordered pairs of different utterances, so many at most."""
    everything = list(itertools.combinations(found, 2))
    if len(everything) <= pairs:
        return everything
    chosen = np.random.default_rng(seed).choice(len(everything), pairs, replace=False)
    return [everything[index] for index in sorted(chosen)]


def scores_at(
    encoder: Encoder, state: int, ends: Sequence[tuple[torch.Tensor, torch.Tensor]], seconds: float, wanted: int
) -> np.ndarray:
    """For each pair, the share of the points between that the rest of the network puts into the wanted class."""
    steps = torch.arange(1, POINTS + 1, device=encoder.device) / (POINTS + 1)
    with rest_of(encoder, state, seconds) as rest:
        rows = [first + step * (second - first) for first, second in ends for step in steps]
        said = [rest(torch.stack(rows[begin : begin + BATCH])).argmax(-1) for begin in range(0, len(rows), BATCH)]
    return (torch.cat(said).view(-1, POINTS) == wanted).double().mean(1).cpu().numpy()


@contextmanager
def rest_of(encoder: Encoder, state: int, seconds: float) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """What follows a state, as a function of (batch, frames, width) to logits.

    The layers before it are gone from a copy of the model; what its front end makes of silence is thrown away.
    """
    model = copy.deepcopy(encoder.model)
    last = encoder.depth - 1
    keep_layers(model, range(min(state, last - 1), last))
    view, held = Encoder(model), list[torch.Tensor]()
    layer = Anatomy(model).layers[Anatomy(model).order[0]]

    def enter(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (held[0], *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": held[0]}

    def leave(module: Any, args: tuple[Any, ...], result: Any) -> Any:
        return (held[0], *result[1:]) if isinstance(result, tuple) else held[0]

    handle = (
        layer.register_forward_pre_hook(enter, with_kwargs=True) if state < last else layer.register_forward_hook(leave)
    )
    silence = np.zeros(round(seconds * 16_000), np.float32)

    def run(points: torch.Tensor) -> torch.Tensor:
        held[:] = [points.to(view.device, model.dtype)]
        return model(**view.placed(view.inputs([silence] * len(points)))).logits

    try:
        with view.exact():
            yield run
    finally:
        handle.remove()
