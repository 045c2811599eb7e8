"""How many steps of a stack run: always as many, or a number that is drawn anew for every update."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sottovoce.errors import SottovoceError, shown
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.parts import Repeated

EXAMPLES = "fixed:12 or uniform:2..12"


@dataclass(frozen=True)
class Depth:
    """How many steps run: any number from `least` to `most`, each as likely.

    Example:
        >>> Depth(2, 12).mean
        7.0
    """

    least: int
    most: int

    @property
    def mean(self) -> float:
        """How many steps run on average."""
        return (self.least + self.most) / 2

    def drawn(self, seed: int, update: int) -> int:
        """The number for an update: a matter of the seed and the update alone, so every process draws the same.

        Example:
            >>> Depth(2, 12).drawn(0, 5) == Depth(2, 12).drawn(0, 5)
            True
        """
        digest = hashlib.sha256(repr(("depth", seed, update)).encode()).digest()
        return self.least + int.from_bytes(digest[:8], "big") % (self.most - self.least + 1)


def depth_of(given: str | None, steps: int) -> Depth:
    """The depth that a text names, of a stack of so many steps; None for all of them.

    Example:
        >>> depth_of("uniform:2..12", 12), depth_of(None, 12)
        (Depth(least=2, most=12), Depth(least=12, most=12))
    """
    if given is None:
        return Depth(steps, steps)
    found = re.fullmatch(r"fixed:(\d{1,4})|uniform:(\d{1,4})\.\.(\d{1,4})", str(given).strip())
    if found is None:
        raise SottovoceError(f"depth={shown(given)}, but {EXAMPLES} is wanted.")
    least, most = (int(found[1]),) * 2 if found[1] else (int(found[2]), int(found[3]))
    if not 1 <= least <= most:
        raise SottovoceError(f"depth={given}, but from 1 step upwards is wanted: {EXAMPLES}.")
    if most > steps:
        raise SottovoceError(f"depth={given}, but this stack holds {steps} steps; give {steps} at most.")
    return Depth(least, most)


@contextmanager
def first_steps(body: Anatomy, count: int) -> Iterator[None]:
    """Run only the first so many steps of a stack inside; its tensors stay where they are.

    Example:
        >>> with first_steps(Anatomy(model), 6):
        ...     output = model(**inputs)
    """
    parent, _, name = body.family.layers.rpartition(".")
    holder, whole = body.base.get_submodule(parent), body.layers
    if count == len(body.order):
        yield
        return
    layers = [whole[index] for index in range(len(whole))]
    setattr(holder, name, Repeated(layers, order=body.order[:count]).train(whole.training))
    try:
        yield
    finally:
        setattr(holder, name, whole)
