"""What every attention head does: its patterns over utterances, how far it looks, and how much it matters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sottovoce.analysis.attention import PATTERNS, patterns, profile
from sottovoce.analysis.importance import head_norms
from sottovoce.analysis.similarity import refuse_nan
from sottovoce.data.batches import data_stamp, samples
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, fingerprint
from sottovoce.models.record import states
from sottovoce.studies.chunks import Arrays, chunked
from sottovoce.studies.speech import cut_to, ready, recordings

CHUNK = 16  # utterances


@dataclass(frozen=True)
class Heads:
    """The heads of each layer application, in order; where layers have fewer heads than others, NaN stands.

    Args:
        values, errors: by pattern, (steps, heads); half of the 95 % interval over utterances.
        profiles: the mean weight by distance from -50 to 50 frames, (steps, heads, distances).

    Example:
        >>> found.values["diagonality"].shape
        (12, 12)
    """

    values: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    profiles: np.ndarray
    utterances: int


def patterns_of_heads(
    model: Any, data: Sequence[Utterance] | None, *, limit: int | None = 128, seconds: float = 10.0, seed: int = 0
) -> Heads:
    """The patterns of all heads, each a mean over utterances, of which at most so many seconds are heard.

    Example:
        >>> patterns_of_heads(model, data, limit=20).values["entropy"][0]
        array([3.1, 2.8, 4.0, 1.2])
    """
    body = Anatomy(model)
    if body.mimics or not body.layers:
        raise SottovoceError("this model has no attention: mimic layers stand in for its stack; give another model.")
    if not 0.1 <= seconds < float("inf"):
        raise SottovoceError(f"attention: seconds={seconds}, but at least 0.1 is wanted.")
    chosen = recordings(data, what="attention", limit=limit, seed=seed)
    chunks = [chosen[begin : begin + CHUNK] for begin in range(0, len(chosen), CHUNK)]
    encoder, most = Encoder(model), max(body.heads(layer) for layer in range(len(body.layers)))

    def work(chunk: list[Utterance]) -> Arrays:
        sums: dict[str, np.ndarray] = {}
        for utterance in chunk:
            audio = samples(utterance) if utterance.seconds <= seconds else cut_to(utterance, seconds)
            seen = states(encoder.model, attention=True, **encoder.placed(encoder.inputs([audio])))
            refuse_nan([found[0] for found in seen.attention], range(len(seen.attention)))
            for key, value in everything(seen.attention, most).items():
                sums[key] = sums.get(key, 0) + value
        return sums

    about = {"model": fingerprint(encoder), "data": data_stamp(chosen), "options": [seconds]}
    with ready(encoder):
        return put_together(list(chunked("attention", about, chunks, work)), len(chosen))


def everything(maps: Sequence[torch.Tensor], most: int) -> Arrays:
    """Patterns, their squares and profiles of one utterance, all layers."""
    found: dict[str, list[np.ndarray]] = {}
    for attention in maps:
        inside = attention[0].cpu() if attention.device.type == "mps" else attention[0]  # no double precision there
        values = patterns(inside)
        rows = {**values, **{f"{name} squared": value.square() for name, value in values.items()}}
        rows["profile"] = profile(inside)
        for name, value in rows.items():
            padded = np.full((most, *value.shape[1:]), np.nan)
            padded[: len(value)] = value.cpu().numpy()
            found.setdefault(name, []).append(padded)
    return {name: np.stack(layers) for name, layers in found.items()}


def put_together(chunks: Sequence[Arrays], count: int) -> Heads:
    """Means and intervals from the sums of all chunks."""
    sums = {name: np.sum([chunk[name] for chunk in chunks], axis=0) for name in chunks[0]}
    values = {name: sums[name] / count for name in PATTERNS}
    spread = {name: np.maximum(sums[f"{name} squared"] / count - values[name] ** 2, 0) for name in PATTERNS}
    errors = {name: 1.96 * np.sqrt(value / max(1, count - 1)) for name, value in spread.items()}
    return Heads(values, errors, sums["profile"] / count, count)


def norms_of(model: Any) -> list[torch.Tensor]:
    """The L1 norms of the heads of each stored layer, which need no data.

    Example:
        >>> [len(layer) for layer in norms_of(sv.new("hubert"))][:2]
        [12, 12]
    """
    body = Anatomy(model)
    found = []
    for layer in range(len(body.layers)):
        linears = [body.linear(layer, part) for part in ("query", "key", "value")]
        rows = [(linear.weight, linear.bias) for linear in linears]
        heads = body.heads(layer)
        found.append(head_norms(rows, heads) if heads else torch.zeros(0, dtype=torch.float64))
    return found
