"""The most bytes of tensors that are alive at once in a forward pass, counted and not sampled."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sottovoce.models.modes import evaluating


class LiveBytes(TorchDispatchMode):
    """Follows every tensor that an operation makes, from its making to its release.

    The same on every machine and run, unlike the resident size of a process. A kernel's own scratch space is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.follow(leaf.untyped_storage())
        return result

    def follow(self, storage: Any) -> None:
        """Count a storage until it is released."""
        if storage in self.known:
            return
        self.known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.release, size)

    def release(self, size: int) -> None:
        """Stop counting a storage."""
        self.now -= size


def peak_bytes(model: Any, inputs: dict[str, torch.Tensor]) -> int:
    """Bytes of a model's tensors plus the most that its forward pass holds at once.

    Example:
        >>> peak_bytes(model, Anatomy(model).dummy_inputs(10)) > 377_000_000
        True
    """
    held = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    with torch.no_grad(), evaluating(model), LiveBytes() as live:
        # A parameter passing through a view is followed too; its storage is the model's, not the pass's.
        live.known.update(tensor.untyped_storage() for tensor in held.values())
        model(**inputs)
    return live.peak + sum(tensor.numel() * tensor.element_size() for tensor in held.values())
