"""Graph convexity of concepts in every layer: words, speakers, phones, what tasks ask for, a model's answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sottovoce.analysis.convexity import Convex, graph_convexity, neighbor_graph
from sottovoce.analysis.similarity import refuse_nan
from sottovoce.data.batches import data_stamp, samples
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.models.encoder import Encoder, fingerprint
from sottovoce.models.heads import TASK as TASK_NAME
from sottovoce.progress import track
from sottovoce.studies.chunks import Arrays, chunked
from sottovoce.studies.speech import each_states, ready
from sottovoce.tasks import TASKS
from sottovoce.tasks.kinds import SILENCE
from sottovoce.tasks.task import SPLITS, Task, material

CHUNK = 64  # utterances
PREDICTIONS = "predictions"


@dataclass(frozen=True)
class Point:
    """An utterance, or a part of it in seconds, with its label."""

    utterance: Utterance
    label: str
    start: float = 0.0
    end: float = float("inf")


@dataclass(frozen=True)
class LayerConvexity:
    """The convexity of a concept in a state: of each class, the mean over classes, and over all pairs.

    Example:
        >>> found[8].by_class > found[0].by_class
        True
    """

    state: int
    classes: tuple[Convex, ...]
    by_class: float
    by_pair: float
    error: float
    points: int


def points_of(
    task: Task, data: Sequence[Utterance] | None, *, limit: int, classes: int | None, seed: int
) -> list[Point]:
    """So many points of a task's answers at most, evenly from its classes (the most frequent ones, if so many).

    Example:
        >>> len(points_of(TASKS["keywords"], data, limit=500, classes=None, seed=0))
        500
    """
    if not task.kind.pooled and task.name != "phones":
        raise SottovoceError(
            f"convexity is of classes, and {task.name} has none; give labels such as keywords, phones."
        )
    splits = material(task, data)
    known: list[Point] = []
    for split in SPLITS:
        for utterance, answer in zip(splits[split].utterances, splits[split].answers, strict=True):
            if task.kind.pooled:
                known.append(Point(utterance, str(answer)))
            elif task.name == "phones":
                known += [Point(utterance, p.name, p.start, p.end) for p in answer if p.name not in ("", SILENCE)]
    if not known:
        raise SottovoceError(f"convexity of {task.name}: there is no utterance with {task.needs}; give other data.")
    by_label: dict[str, list[Point]] = {}
    for point in known:
        by_label.setdefault(point.label, []).append(point)
    rng = random.Random(f"{seed}/{task.name}")
    kept = sorted(by_label, key=lambda label: (-len(by_label[label]), label))[:classes]
    queues = [rng.sample(by_label[label], len(by_label[label])) for label in sorted(kept)]
    turns = [point for turn in range(max(map(len, queues))) for queue in queues for point in queue[turn : turn + 1]]
    return turns[:limit]


def convexity_of(
    model: Any,
    data: Sequence[Utterance] | None,
    *,
    of: Sequence[str] = ("keywords",),
    k: int = 10,
    pairs: int = 5000,
    limit: int = 2000,
    classes: int | None = None,
    seed: int = 0,
) -> dict[str, list[LayerConvexity]]:
    """The convexity of each concept in every state, on time means (of a phone: over the frames in its time).

    Example:
        >>> found = convexity_of(model, data, of=["keywords", "speakers"])
        >>> max(found["keywords"], key=lambda layer: layer.by_class).state
        8
    """
    encoder = Encoder(model)
    if k < 1 or pairs < 1 or limit < 2 or (classes is not None and classes < 1):
        raise SottovoceError(
            f"k={k}, pairs={pairs}, limit={limit}, classes={classes}: at least 1, 1, 2 and 1 are wanted."
        )
    names = list(dict.fromkeys(task_of_head(model).name if name == PREDICTIONS else name for name in of))
    concepts = {name: points_of(TASKS[name], data, limit=limit, classes=classes, seed=seed) for name in names}
    utterances = {point.utterance.id: point.utterance for points in concepts.values() for point in points}
    wanted: dict[str, list[tuple[str, int, Point]]] = {key: [] for key in utterances}
    for name, points in concepts.items():
        for number, point in enumerate(points):
            wanted[point.utterance.id].append((name, number, point))
    keys = sorted(utterances)
    chunks = [keys[begin : begin + CHUNK] for begin in range(0, len(keys), CHUNK)]
    predicted = PREDICTIONS in of

    def work(chunk: list[str]) -> Arrays:
        return pooled(encoder, [utterances[key] for key in chunk], [wanted[key] for key in chunk], predicted)

    about = {
        "model": fingerprint(encoder),
        "data": data_stamp([utterances[key] for key in keys]),
        "options": [names, predicted, limit, classes, seed],
    }
    with ready(encoder):
        features, said = gathered(concepts, keys, list(chunked("convexity", about, chunks, work)))
    labels = {name: [point.label for point in points] for name, points in concepts.items()}
    if predicted:
        task = task_of_head(model).name
        features[PREDICTIONS] = features[task]
        labels[PREDICTIONS] = [str(said[point.utterance.id]) for point in concepts[task]]
    return {
        name: [
            in_layer(features[name][:, state], labels[name], state, k=k, pairs=pairs, seed=seed)
            for state in track(range(encoder.depth), f"convexity of {name}", encoder.depth)
        ]
        for name in dict.fromkeys(of)
    }


def task_of_head(model: Any) -> Task:
    """The task of a model's own head, which must give one class an utterance."""
    name = getattr(getattr(model, "config", None), TASK_NAME, None) or "keywords"
    if "ForSequenceClassification" not in type(model).__name__ or not TASKS[name].kind.pooled:
        raise SottovoceError(
            f"convexity of {PREDICTIONS} needs a model that classifies utterances, but this is {type(model).__name__}; "
            "fine-tune it for a task first, or ask for labels of the data."
        )
    return TASKS[name]


def pooled(
    encoder: Encoder, utterances: Sequence[Utterance], wanted: Sequence[list[tuple[str, int, Point]]], predicted: bool
) -> Arrays:
    """The time means of all states for the points of some utterances, with the points' numbers; and what is said."""
    audio = [samples(utterance) for utterance in utterances]
    rows: dict[str, list[tuple[int, np.ndarray]]] = {}
    for item, states in each_states(encoder, audio):
        refuse_nan(states, range(len(states)))
        stacked = torch.stack(states)
        centers = encoder.centers(stacked.shape[1])
        for name, number, point in wanted[item]:
            inside = np.flatnonzero((centers >= point.start) & (centers < point.end))
            # A phone between two frames' middles is heard in the nearest one.
            middle = (point.start + min(point.end, centers[-1] + 1)) / 2
            chosen = inside if len(inside) else encoder.nearest(np.array([middle])).clip(0, len(centers) - 1)
            rows.setdefault(name, []).append((number, stacked[:, torch.from_numpy(chosen)].mean(1).cpu().numpy()))
    found: Arrays = {}
    for name, points in rows.items():
        found[f"numbers {name}"] = np.array([number for number, _ in points])
        found[f"means {name}"] = np.stack([means for _, means in points])
    if predicted:
        found["said"] = np.array([int(classes_of(encoder, piece)) for piece in audio])
    return found


def gathered(
    concepts: dict[str, list[Point]], keys: Sequence[str], chunks: Sequence[Arrays]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The features of each concept's points in their order, (points, states, width), and the classes said."""
    features = {}
    for name, points in concepts.items():
        numbers = np.concatenate([chunk[f"numbers {name}"] for chunk in chunks if f"numbers {name}" in chunk])
        means = np.concatenate([chunk[f"means {name}"] for chunk in chunks if f"means {name}" in chunk])
        features[name] = np.empty((len(points), *means.shape[1:]), means.dtype)
        features[name][numbers] = means
    said = [int(number) for chunk in chunks for number in chunk.get("said", ())]
    return features, dict(zip(keys, said, strict=False))


def classes_of(encoder: Encoder, audio: np.ndarray) -> int:
    """The class that a model's head finds most likely."""
    return int(encoder.model(**encoder.placed(encoder.inputs([audio]))).logits[0].argmax())


def in_layer(
    features: np.ndarray, labels: Sequence[str], state: int, *, k: int, pairs: int, seed: int
) -> LayerConvexity:
    """The convexity of a concept in one state."""
    classes, scores = graph_convexity(neighbor_graph(features, k), labels, pairs=pairs, seed=seed)
    return summed(state, classes, scores)


def summed(state: int, classes: Sequence[Convex], scores: np.ndarray) -> LayerConvexity:
    """The classes of one state, and both means: over classes and over all pairs."""
    values = np.array([row.value for row in classes])
    # Classes as a sample of classes: how far the mean over them can be trusted.
    error = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else classes[0].error
    points = sum(row.points for row in classes)
    return LayerConvexity(state, tuple(classes), float(values.mean()), float(scores.mean()), error, points)
