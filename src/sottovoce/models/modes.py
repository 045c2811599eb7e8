"""Train and evaluation mode, module by module: a model may hold both at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def own_modes(*models: Any) -> Iterator[None]:
    """Whatever happens inside, every module is in its own mode again after.

    Example:
        >>> with own_modes(model):
        ...     model.train()
    """
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def evaluating(*models: Any) -> Iterator[None]:
    """Evaluation mode inside, for models that are measured; every module's own mode after.

    Example:
        >>> with evaluating(model):
        ...     model(**inputs)
    """
    with own_modes(*models):
        for model in models:
            model.eval()
        yield
