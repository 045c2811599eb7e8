"""Layer similarity over many batches: matrices with intervals, of one model's layers or of two models'."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from sottovoce.analysis.blocks import blocks
from sottovoce.analysis.similarity import NEIGHBORS, normalized, similarities
from sottovoce.data.batches import data_stamp, samples
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.models.encoder import Encoder, fingerprint
from sottovoce.studies.chunks import Arrays, chunked
from sottovoce.studies.speech import cut_to, each_states, ready, recordings

Reading = Literal["flatten", "mean", "frames"]
Metrics = Callable[[Sequence[torch.Tensor], Sequence[str]], dict[str, torch.Tensor]]
BATCHES = 4  # of utterances in a chunk


@dataclass(frozen=True)
class Likeness:
    """Mean matrices over batches by metric, and half of their 95 % intervals (None of a single batch).

    Args:
        names: what each row is: the number of a state, of the other model with a prime.
        matrices, errors: by metric: cosine, angle, cka, cka_unbiased, knn_2 to knn_64.
        samples: in each batch.

    Example:
        >>> found.matrices["cka"][3, 4]
        0.98
    """

    names: tuple[str, ...]
    matrices: dict[str, np.ndarray]
    errors: dict[str, np.ndarray] | None
    samples: int
    batches: int


def likeness(
    models: Sequence[Any],
    data: Sequence[Utterance] | None,
    *,
    reading: Reading,
    batch: int = 128,
    seconds: float = 1.0,
    frames: int = 1024,
    limit: int | None = 1024,
    embedding: bool = True,
    ks: Sequence[int] = NEIGHBORS,
    metrics: Metrics | None = None,
    seed: int = 0,
) -> Likeness:
    """How alike the states of one model, or of two, are; a last batch that is not full is left out.

    Args:
        reading: what a sample is: an utterance, cut or padded to `seconds`, flattened over time (as in the paper); its
            mean over time; or a frame, so many of a batch's at chance.
        embedding: whether what enters the first layer counts as a state.
        metrics: what is asked of the layers of each batch, by the layers and their names; None for `similarities`.

    Example:
        >>> likeness([model], data, reading="mean").matrices["cka"].shape
        (13, 13)
    """
    if batch < 2 or frames < 2 or not 0 < seconds < float("inf"):
        raise SottovoceError(
            f"batch={batch}, frames={frames}, seconds={seconds}: at least 2, 2 and above 0 are wanted."
        )
    encoders = [Encoder(model) for model in models]
    chosen = recordings(data, what="similarity", limit=limit, seed=seed)
    size = min(batch, len(chosen))
    if size < 2:
        raise SottovoceError("similarity needs at least two recordings; give more speech.")
    batches = [chosen[begin : begin + size] for begin in range(0, len(chosen) - size + 1, size)]
    numbered, first = list(enumerate(batches)), 0 if embedding else 1
    chunks = [numbered[begin : begin + BATCHES] for begin in range(0, len(numbered), BATCHES)]
    marked = zip(encoders, ("", "'"), strict=False)
    names = [f"{state}{mark}" for encoder, mark in marked for state in range(first, encoder.depth)]
    what = "similarity" if metrics is None else metrics.__name__

    def work(chunk: list[tuple[int, list[Utterance]]]) -> Arrays:
        sums: dict[str, np.ndarray] = {}
        for number, part in chunk:
            rows = [samples_of(encoder, part, reading, seconds, frames, [seed, number]) for encoder in encoders]
            layers = [layer for row in rows for layer in row[first:]]
            made = similarities(layers, ks, names=names) if metrics is None else metrics(layers, names)
            for key, value in [*made.items(), *((f"{metric} squared", m.square()) for metric, m in made.items())]:
                sums[key] = sums.get(key, 0) + value.numpy()
            sums["samples"] = np.array(len(layers[0]))
        return {**sums, "batches": np.array(len(chunk))}

    about = {
        "models": [fingerprint(encoder) for encoder in encoders],
        "data": data_stamp(chosen),
        "options": [reading, size, seconds, frames, embedding, list(ks), seed],
    }
    with ready(*encoders):
        return put_together(names, list(chunked(f"{what}-{reading}", about, chunks, work)))


def samples_of(
    encoder: Encoder, utterances: Sequence[Utterance], reading: Reading, seconds: float, frames: int, seed: list[int]
) -> list[torch.Tensor]:
    """The samples of a batch of utterances in every state: (samples, numbers) each."""
    audio = [cut_to(u, seconds) if reading == "flatten" else samples(u) for u in utterances]
    picked = pick(encoder.counts(audio), frames, seed)
    rows: list[tuple[torch.Tensor, ...]] = [()] * len(audio)
    for item, states in each_states(encoder, audio):
        if reading == "frames":
            rows[item] = tuple(state[torch.from_numpy(picked[item])] for state in states)
        else:
            rows[item] = tuple(state.mean(0, True) if reading == "mean" else state.reshape(1, -1) for state in states)
    return [torch.cat([row[layer] for row in rows]) for layer in range(encoder.depth)]


def pick(lengths: Sequence[int], count: int, seed: list[int]) -> list[np.ndarray]:
    """Which frames of each utterance are among so many of all, without repetition.

    Example:
        >>> sum(map(len, pick([5, 7], 6, [0])))
        6
    """
    everything = np.concatenate([np.stack([np.full(n, i), np.arange(n)], 1) for i, n in enumerate(lengths)])
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(everything), min(count, len(everything)), replace=False))
    return [everything[chosen][everything[chosen, 0] == item, 1] for item in range(len(lengths))]


def put_together(names: Sequence[str], chunks: Sequence[Arrays]) -> Likeness:
    """Means and intervals from the sums of all chunks."""
    count = int(sum(int(chunk["batches"]) for chunk in chunks))
    metrics = [key for key in chunks[0] if f"{key} squared" in chunks[0]]
    sums = {
        key: np.sum([chunk[key] for chunk in chunks], axis=0)
        for metric in metrics
        for key in (metric, f"{metric} squared")
    }
    means = {metric: sums[metric] / count for metric in metrics}
    errors = None
    if count > 1:
        spread = {m: np.maximum(sums[f"{m} squared"] / count - means[m] ** 2, 0) * count / (count - 1) for m in metrics}
        errors = {metric: 1.96 * np.sqrt(value / count) for metric, value in spread.items() if metric != "hsic"}
    if "hsic" in means:
        means["cka_unbiased"] = normalized(torch.from_numpy(means.pop("hsic"))).numpy()
    return Likeness(tuple(names), means, errors, int(chunks[0]["samples"]), count)


@dataclass(frozen=True)
class Influence:
    """How much a layer changes what enters it, by several measures; small is redundant.

    `bi` is ShortGPT's block influence on these samples, `knn_bi` the same by k neighbours, `knn_bi_averaged` over 2 to
    64 of them as in the paper's code, `cka_bi` by CKA. `multi_bi` is how unlike what enters the layer is, by 2 to 64
    neighbours, to what leaves each of the layers, on average.

    Example:
        >>> influences(found)[0].layer
        0
    """

    layer: int
    bi: float
    knn_bi: float
    knn_bi_averaged: float
    cka_bi: float
    multi_bi: float


def influences(found: Likeness, *, k: int = 8) -> list[Influence]:
    """The scores of every layer whose input and output are among the states of one model; layers count from 0.

    Example:
        >>> min(influences(found), key=lambda layer: layer.bi).layer
        3
    """
    matrices = found.matrices
    averaged = [f"knn_{k}" for k in NEIGHBORS if f"knn_{k}" in matrices]
    if f"knn_{k}" not in matrices:
        raise SottovoceError(
            f"k={k} neighbours among {found.samples} samples; there are: {', '.join(averaged) or 'none'}."
        )
    rows, left = [], outputs(found)
    for row in range(1, len(found.names)):
        if found.names[row].isdigit():
            step = (row - 1, row)
            knn = [float(matrices[metric][step]) for metric in averaged or [f"knn_{k}"]]
            near, bi, shared = (1 - float(matrices[m][step]) for m in (f"knn_{k}", "cosine", "cka"))
            multi = 1 - float(np.mean([matrices[metric][row - 1, left] for metric in averaged or [f"knn_{k}"]]))
            rows.append(Influence(int(found.names[row]) - 1, bi, near, 1 - sum(knn) / len(knn), shared, multi))
    return rows


def outputs(found: Likeness) -> list[int]:
    """The rows of what leaves the layers of one model: all states but the one that enters the first layer."""
    return [row for row, name in enumerate(found.names) if name.isdigit() and name != "0"]


def first_block(found: Likeness) -> int:
    """How many layers the first block of similar layers has, by the best cut in two of CKA between their outputs.

    Example:
        >>> first_block(likeness([model], data, reading="flatten"))
        8
    """
    left = outputs(found)
    return blocks(found.matrices["cka"][np.ix_(left, left)], shuffles=0).boundary


def spans(found: Likeness) -> list[tuple[int, int, float]]:
    """For each run of layers: its first, how many, and the angle (over pi) between what enters and what leaves it.

    Example:
        >>> first, count, angle = spans(found)[0]
    """
    own = [row for row, name in enumerate(found.names) if name.isdigit()]
    states = [int(found.names[row]) for row in own]
    return [
        (states[i], states[j] - states[i], float(found.matrices["angle"][own[i], own[j]]))
        for i in range(len(own))
        for j in range(i + 1, len(own))
    ]
