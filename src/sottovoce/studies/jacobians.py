"""How alike, over a batch, what a head makes of the states before a layer is: ranks of Jacobians (arXiv 2409.16302)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from sottovoce.data.batches import data_stamp
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, fingerprint
from sottovoce.models.record import watching
from sottovoce.studies.chunks import Arrays, chunked
from sottovoce.studies.speech import cut_to, ready, recordings

HEADS = ("ForSequenceClassification", "ForAudioClassification")  # logits of an utterance as a whole


def jacobian_shares(
    model: Any,
    data: Sequence[Utterance] | None,
    *,
    batch: int = 32,
    seconds: float = 1.0,
    limit: int | None = 160,
    seed: int = 0,
) -> np.ndarray:
    """For each layer, the share of the largest eigenvalue of the cosines between the Jacobians of a batch.

    A Jacobian is of all logits of an utterance by the state that enters the layer, flat over time, numbers and classes.
    A share of 1 means that the rest of the network is one linear map for all utterances of the batch; 1 over the batch,
    that it is another one for each. Means over batches; a last batch that is not full is left out.

    Example:
        >>> jacobian_shares(tuned, data).argmax()
        11
    """
    body, encoder = Anatomy(model), Encoder(model)
    if body.mimics or not type(model).__name__.endswith(HEADS):
        raise SottovoceError(
            f"Jacobians are of a model with layers that classifies utterances, but this is {type(model).__name__}"
            f"{' with mimic layers' * body.mimics}; fine-tune a whole one for a task such as keywords first."
        )
    if batch < 2 or not 0 < seconds < float("inf"):
        raise SottovoceError(f"batch={batch}, seconds={seconds}: at least 2 and above 0 are wanted.")
    chosen = recordings(data, what="a rank of Jacobians", limit=limit, seed=seed)
    size = min(batch, len(chosen))
    if size < 2:
        raise SottovoceError("a rank of Jacobians needs at least two recordings; give more speech.")
    chunks = [chosen[begin : begin + size] for begin in range(0, len(chosen) - size + 1, size)]

    def work(chunk: list[Utterance]) -> Arrays:
        products = jacobian_products(encoder, [cut_to(utterance, seconds) for utterance in chunk])
        return {"shares": np.array([largest_share(product) for product in products])}

    about = {"model": fingerprint(encoder), "data": data_stamp(chosen), "options": [size, seconds, seed]}
    with ready(encoder):
        return np.mean([part["shares"] for part in chunked("jacobians", about, chunks, work)], axis=0)


def jacobian_products(encoder: Encoder, audio: Sequence[np.ndarray]) -> torch.Tensor:
    """The inner products of the Jacobians of utterances of one length, before each layer: (layers, samples, samples).

    Those of a class are gradients of its logits, each utterance's of its own state; sums over classes need no Jacobian
    as a whole.
    """
    body = Anatomy(encoder.model)
    depth, count = len(body.order), len(audio)
    products = torch.zeros(depth, count, count, dtype=torch.float64)
    with torch.enable_grad(), from_the_first_layer(body), watching(body) as (hidden, _):
        logits = encoder.model(**encoder.placed(encoder.inputs(audio))).logits
        entering = hidden[:depth]
        for number in range(logits.shape[1]):
            last = number == logits.shape[1] - 1
            found = torch.autograd.grad(logits[:, number].sum(), entering, retain_graph=not last, allow_unused=True)
            for layer, gradient in enumerate(found):
                if gradient is not None:  # a head without a path to a layer has a Jacobian of zeros
                    flat = gradient.flatten(1).double()
                    products[layer] += (flat @ flat.T).cpu()
    return products


@contextmanager
def from_the_first_layer(body: Anatomy) -> Iterator[None]:
    """What enters the first layer takes gradients, whether anything below it does or not."""

    def begin(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if started:
            return None
        state = (args[0] if args else kwargs["hidden_states"]).detach().requires_grad_(True)
        started.append(state)
        return ((state, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": state})

    started: list[torch.Tensor] = []
    handle = body.layers[body.order[0]].register_forward_pre_hook(begin, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def largest_share(products: torch.Tensor) -> float:
    """The largest eigenvalue of the cosines between vectors over the sum of all, from their inner products.

    Example:
        >>> largest_share(torch.eye(4)), largest_share(torch.ones(4, 4))
        (0.25, 1.0)
    """
    lengths = products.diagonal().clamp(min=0).sqrt()
    scale = torch.where(lengths > 0, 1 / lengths.clamp(min=torch.finfo(products.dtype).tiny), 0.0)
    values = torch.linalg.eigvalsh(scale[:, None] * products * scale)
    return float(values[-1] / values.sum()) if bool(lengths.any()) else 1.0
