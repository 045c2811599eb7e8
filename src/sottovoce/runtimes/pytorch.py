"""What a model says of one utterance in PyTorch, by the names that its graph has for the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sottovoce.models.encoder import Encoder
from sottovoce.runtimes.graph import gives


def in_pytorch(model: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A pass of a model from samples to outputs, by its own feature extractor, without a mask.

    Example:
        >>> in_pytorch(model)(samples)["log_probs"].shape
        (49, 32)
    """
    kind = gives(model)
    encoder = Encoder(model, outputs=kind != "states")

    def one(piece: np.ndarray) -> dict[str, np.ndarray]:
        inputs: dict[str, Any] = encoder.placed(encoder.inputs([piece]))
        if encoder.normalizes is not None:
            inputs.pop("attention_mask", None)
        (count,) = encoder.counts([piece])
        if kind == "states":
            found = encoder.states(inputs)
            return {f"state_{number}": as_array(state[0, :count]) for number, state in enumerate(found)}
        if kind == "embedding":
            return {"embeddings": embedded(model, inputs)}
        logits = model(**inputs).logits[0].float()
        if kind == "classes":
            return {"logits": as_array(logits), "probabilities": as_array(logits.softmax(-1))}
        return {"log_probs": as_array(logits[:count].log_softmax(-1))}

    def run(piece: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            return one(piece)

    return run


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor in single precision on the CPU.

    Example:
        >>> as_array(torch.ones(1, dtype=torch.bfloat16))
        array([1.], dtype=float32)
    """
    return tensor.float().cpu().numpy()


def embedded(model: Any, inputs: dict[str, Any]) -> np.ndarray:
    """What the head for speakers says of one utterance, or what its classifier reads.

    Example:
        >>> embedded(sv.load("small-melhubert-speakers"), inputs).shape
        (256,)
    """
    seen: list[torch.Tensor] = []
    handle = model.classifier.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        model(**inputs)
    finally:
        handle.remove()
    return as_array(seen[0][0])
