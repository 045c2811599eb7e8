"""What makes a function an edit, and what edits ask of a model."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.int8 import check_unquantized
from sottovoce.models.own import check_in_common
from sottovoce.models.structure import settle
from sottovoce.models.wavlm import adopt_attention

P = ParamSpec("P")
OF_STEPS = {"set_order", "use_own", "use_exit"}  # the edits that know what steps may have of their own


def edit(function: Callable[Concatenate[Any, P], None]) -> Callable[Concatenate[Any, P], None]:
    """An edit of a model: what it changed stands in the model's configuration as soon as it returns."""

    @functools.wraps(function)
    def settled(model: Any, *args: P.args, **kwargs: P.kwargs) -> None:
        check_unquantized(model, function.__name__)
        if function.__name__ not in OF_STEPS:
            check_in_common(Anatomy(model).layers, function.__name__)
        adopt_attention(model)  # WavLM's own attention, as Hugging Face loads it, cannot be cut
        function(model, *args, **kwargs)
        settle(model)

    return settled


def stack_needed(body: Anatomy, what: str) -> None:
    """Refuse a model whose stack was replaced by mimic layers."""
    if body.mimics:
        raise SottovoceError(f"mimic layers stand where this model's {what} were; there is nothing of them to cut.")


def submodule(root: nn.Module, path: str) -> nn.Module | None:
    """The module at a path, or None where there is none."""
    try:
        return root.get_submodule(path)
    except AttributeError:
        return None


def check_projection(body: Anatomy, width: int, what: str) -> None:
    """Some families have no feature projection where the front end is as wide as the regular hidden size."""
    regular = getattr(body.base, "regular_hidden", None) or body.config.hidden_size
    if body.family.skips_projection and width == regular:
        raise SottovoceError(
            f"{width} {what} equal {body.name.upper()}'s hidden size, where it has no projection; take more or fewer."
        )
