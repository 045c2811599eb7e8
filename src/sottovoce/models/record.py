"""Hidden states and attention maps with one meaning, whatever version of transformers runs below.

Hugging Face's own `output_hidden_states` changed its last entry between versions 4 and 5 for models with a final norm,
and its `output_attentions` returns nothing under fused attention and averages the heads of WavLM.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from sottovoce.models.anatomy import Anatomy
from sottovoce.models.mimic import TransformerMimic
from sottovoce.models.wavlm import GatedAttention, adopt_attention


@dataclass(frozen=True)
class States:
    """What one forward pass showed.

    Args:
        hidden: one more than there are steps, each (batch, time, hidden). The first is what enters the first layer
            (behind the positional convolution), the i-th is what layer i adds up to, before any final norm.
        attention: one map a step, (batch, heads, time, time), rows summing to one; empty unless asked for.
        output: what the model returned.

    Example:
        >>> len(sv.states(model, input_values=batch).hidden)
        13
    """

    hidden: tuple[torch.Tensor, ...]
    attention: tuple[torch.Tensor, ...]
    output: Any


def states(model: Any, *, attention: bool = False, **inputs: Any) -> States:
    """Run a model and keep the hidden state before and after every layer, and on request every attention map.

    Example:
        >>> seen = states(model, attention=True, input_values=batch, attention_mask=mask)
        >>> len(seen.hidden), len(seen.attention)
        (13, 12)
    """
    if attention:
        adopt_attention(model)
    body = Anatomy(model)
    with watching(body, attention=attention) as (hidden, maps), eager(model) if attention else _nothing():
        output = model(**inputs)
    return States(tuple(hidden), tuple(maps), output)


@contextmanager
def watching(body: Anatomy, *, attention: bool = False) -> Iterator[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """The hidden states, and on request the attention maps, of a pass that is made inside.

    Example:
        >>> with watching(Anatomy(model)) as (hidden, _):
        ...     loss = objective(batch)
    """
    hidden: list[torch.Tensor] = []
    maps: list[torch.Tensor] = []

    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not hidden:
            hidden.append(args[0] if args else kwargs["hidden_states"])

    def after(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        hidden.append(result[0] if isinstance(result, tuple) else result)

    def mapped(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        state = args[0] if args else kwargs["hidden_states"]
        none = state.new_zeros(state.shape[0], 0, state.shape[1], state.shape[1])
        maps.append(none if result[1] is None else result[1])

    def passed(module: Any, args: tuple[Any, ...], result: Any) -> None:
        hidden.append(result[0])

    exits, handles = getattr(body.layers, "exits", None), []
    if body.mimics and not len(body.layers):  # what would enter the first layer is what comes out
        handles.append(body.base.encoder.register_forward_hook(passed))
    if exits is not None:  # the states of every step, of every utterance
        body.layers.__dict__["exits"] = None
    for index in range(len(body.layers)):
        handles.append(body.layers[index].register_forward_pre_hook(before, with_kwargs=True))
        handles.append(body.layers[index].register_forward_hook(after, with_kwargs=True))
        if attention and not body.mimics:
            handles.append(body.attention(index).register_forward_hook(mapped, with_kwargs=True))
    try:
        yield hidden, maps
    finally:
        if exits is not None:
            body.layers.__dict__["exits"] = exits
        for handle in handles:
            handle.remove()


@contextmanager
def eager(model: Any) -> Iterator[Any]:
    """Attention in plain matrix products inside: its maps are there to see and its operations to count.

    Example:
        >>> with eager(model):
        ...     model(**inputs)
    """
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    switched = [module for module in model.modules() if isinstance(module, GatedAttention | TransformerMimic)]
    flags = [module.eager for module in switched]
    try:
        for config in configs.values():
            config._attn_implementation = "eager"
        for module in switched:
            module.eager = True
        yield model
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
        for module, flag in zip(switched, flags, strict=True):
            module.eager = flag


@contextmanager
def _nothing() -> Iterator[None]:
    yield
