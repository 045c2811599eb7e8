"""What enters the Linears of an encoder's layers, over speech: its second moments, in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sottovoce.analysis.low_rank import exact
from sottovoce.data.audio import SAMPLE_RATE
from sottovoce.data.batches import data_stamp, plan_batches, samples
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError, unknown
from sottovoce.hearing import BATCH_SECONDS
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, fingerprint, frame_mask
from sottovoce.models.wavlm import adopt_attention
from sottovoce.studies.chunks import Arrays, chunked
from sottovoce.studies.speech import ready, recordings

CHUNK = 16  # utterances, or more:
CHUNKS = 8  # at most, for a chunk of a base model is a file of half a gigabyte
NUMBERS = 150_000_000  # in the moments of one pass; a base model has fewer, larger ones take several passes
ATTENTION = ("query", "key", "value", "output")
PARTS = ("attention", "feed_forward", *ATTENTION)


@dataclass(frozen=True)
class Place:
    """A Linear of a stored layer: its path from the base model, and that of the first Linear with the same input.

    Example:
        >>> places(model, ["key"])[0]
        Place(path='encoder.layers.0.attention.k_proj', source='encoder.layers.0.attention.q_proj')
    """

    path: str
    source: str


def places(model: Any, parts: Sequence[str]) -> list[Place]:
    """The Linears of these parts in every stored layer; those that lost all their heads or units are left out.

    Example:
        >>> len(places(sv.new("hubert"), ["attention", "feed_forward"]))
        72
    """
    for part in parts:
        if part not in PARTS:
            raise unknown("part", part, PARTS)
    body = Anatomy(model)
    if body.mimics or not body.layers:
        raise SottovoceError("this model has no layers of its own: mimic layers stand in for them; give another model.")
    wanted = {name for part in parts for name in (ATTENTION if part == "attention" else (part,))}
    # Rotary positions turn what enters query and key, and not what enters value.
    apart = getattr(body.config, "position_embeddings_type", None) == "rotary"
    found = []
    for layer in range(len(body.layers)):
        root, family = f"{body.family.layers}.{layer}", body.family
        for part in (part for part in ATTENTION if part in wanted):
            shares = part == "key" or (part == "value" and not apart)
            path = getattr(family, part)
            found.append(Place(f"{root}.{path}", f"{root}.{family.query if shares else path}"))
        inner = [f"{root}.{path}" for pair in family.feed_forwards for path in pair] if "feed_forward" in wanted else []
        found += [Place(path, path) for path in inner]
    return [place for place in found if body.base.get_submodule(place.path).weight.numel()]


def each_moment(
    model: Any,
    data: Sequence[Utterance] | None,
    paths: Sequence[str],
    *,
    what: str,
    limit: int | None = 128,
    seed: int = 0,
) -> Iterator[tuple[str, torch.Tensor]]:
    """The moment `X^T X` of what enters each of these modules (paths from the base model), in float64, one by one.

    It is of the train split (of everything, where there is none), of all frames of the utterances themselves, and not
    centred. The model must stay as it is until the last one came; WavLM's attention is first brought into a form whose
    inputs can be seen.

    Example:
        >>> input_moments = dict(each_moment(model, data, ["encoder.layers.0.attention.q_proj"], what="low_rank"))
    """
    adopt_attention(model)
    train = [utterance for utterance in data or () if utterance.split == "train"]
    chosen = recordings(train or data, what=what, limit=limit, seed=seed)
    return _passes(Encoder(model), chosen, list(dict.fromkeys(paths)))


def _passes(encoder: Encoder, chosen: list[Utterance], paths: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
    size = max(CHUNK, -(-len(chosen) // CHUNKS))
    chunks = [chosen[begin : begin + size] for begin in range(0, len(chosen), size)]
    about = {"model": fingerprint(encoder), "data": data_stamp(chosen), "chunk": size}
    for group in groups(widths_of(encoder, paths)):
        total: dict[str, np.ndarray] = {}
        with ready(encoder):
            for part in chunked("moments", {**about, "paths": group}, chunks, lambda c, g=group: packed(encoder, c, g)):
                for path, triangle in part.items():
                    total[path] = total[path] + triangle if path in total else triangle
        for path in group:
            yield path, unpacked(total.pop(path))


def widths_of(encoder: Encoder, paths: Sequence[str]) -> dict[str, int]:
    """How many numbers enter each module."""
    assert encoder.body is not None
    return {path: encoder.body.base.get_submodule(path).in_features for path in paths}


def groups(widths: Mapping[str, int]) -> list[list[str]]:
    """Modules whose moments fit into memory together.

    Example:
        >>> groups({"a": 10_000, "b": 10_000})
        [['a'], ['b']]
    """
    found: list[list[str]] = [[]]
    room = NUMBERS
    for path, width in widths.items():
        if found[-1] and room < width**2:
            found.append([])
            room = NUMBERS
        found[-1].append(path)
        room -= width**2
    return found


def packed(encoder: Encoder, utterances: Sequence[Utterance], paths: Sequence[str]) -> Arrays:
    """The moments of a chunk, of each the upper triangle."""
    found = {
        path: sums.cpu().numpy() for path, sums in input_moments(encoder, list(map(samples, utterances)), paths).items()
    }
    return {path: sums[np.triu_indices(len(sums))] for path, sums in found.items()}


def unpacked(triangle: np.ndarray) -> torch.Tensor:
    """The symmetric matrix with this upper triangle.

    Example:
        >>> unpacked(np.array([1.0, 2.0, 3.0]))
        tensor([[1., 2.],
                [2., 3.]], dtype=torch.float64)
    """
    width = round((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    matrix = np.zeros((width, width))
    matrix[np.triu_indices(width)] = triangle
    return torch.from_numpy(matrix + np.triu(matrix, 1).T)


def input_moments(encoder: Encoder, audio: Sequence[np.ndarray], paths: Sequence[str]) -> dict[str, torch.Tensor]:
    """The sum of `x x^T` over the frames of some audio for what enters each module; a shared layer counts every time.

    Example:
        >>> with ready(encoder):
        ...     moments(encoder, audio, ["encoder.layers.0.attention.q_proj"])
    """
    assert encoder.body is not None
    base = encoder.body.base
    sums: dict[str, torch.Tensor] = {}
    frames: list[int] = []

    def watch(path: str) -> Any:
        def hook(module: Any, args: tuple[torch.Tensor, ...]) -> None:
            inside = frame_mask(torch.tensor(frames, device=args[0].device), args[0].shape[1])
            rows = exact(args[0][inside])
            if path not in sums:
                sums[path] = rows.new_zeros(rows.shape[1], rows.shape[1])
            sums[path].addmm_(rows.T, rows)

        return base.get_submodule(path).register_forward_pre_hook(hook)

    handles = [watch(path) for path in paths]
    try:
        for items in plan_batches([len(piece) / SAMPLE_RATE for piece in audio], most=BATCH_SECONDS, seed=None):
            frames[:] = encoder.counts([audio[item] for item in items])
            encoder.states(encoder.inputs([audio[item] for item in items]))
    finally:
        for handle in handles:
            handle.remove()
    for path, total in sums.items():
        if not bool(total.isfinite().all()):
            raise SottovoceError(f"what enters '{path}' has NaN or infinite values; check it with `sottovoce doctor`.")
    return sums
