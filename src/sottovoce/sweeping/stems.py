"""The beginnings that points of a grid have in common, each of which is computed once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sottovoce.recipe import Recipe


@dataclass(frozen=True)
class Stem:
    """Steps with which several points begin, as a recipe without measures.

    Args:
        recipe: the steps; how many there are is how far it goes.
        users: the numbers of the points that begin so.

    Example:
        >>> Stem(Recipe("hubert", steps=(("drop_layers", {"keep": 9}),)), (0, 1)).users
        (0, 1)
    """

    recipe: Recipe
    users: tuple[int, ...]


def stems_of(points: Sequence[Recipe]) -> list[Stem]:
    """The beginnings that two points or more share, the short ones first; of those with the same users the longest.

    Example:
        >>> recipe = Recipe("hubert", steps=(("finetune", {"task": "asr"}), ("drop_layers", {})))
        >>> grid = replace(recipe, vary={"steps.1.keep": [9, 6]})
        >>> [len(stem.recipe.steps) for stem in stems_of(grid.points())]
        [1]
    """
    users: dict[str, list[int]] = {}
    recipes: dict[str, Recipe] = {}
    for number, point in enumerate(points):
        for count in range(1, len(point.steps) + 1):
            stem = replace(point, steps=point.steps[:count], measures=(), vary={})
            key = json.dumps(stem.to_dict(), sort_keys=True)
            recipes[key] = stem
            users.setdefault(key, []).append(number)
    longest: dict[tuple[int, ...], str] = {}
    for key, numbers in users.items():
        of = tuple(numbers)
        if len(of) > 1 and (of not in longest or len(recipes[key].steps) > len(recipes[longest[of]].steps)):
            longest[of] = key
    found = [Stem(recipes[key], of) for of, key in longest.items()]
    return sorted(found, key=lambda stem: (len(stem.recipe.steps), stem.users))


def chain(stems: Sequence[Stem], number: int) -> list[Stem]:
    """The stems that a point goes through, the short ones first.

    Example:
        >>> chain([Stem(Recipe("hubert"), (0, 1)), Stem(Recipe("hubert"), (1, 2))], 0)[0].users
        (0, 1)
    """
    return [stem for stem in stems if number in stem.users]
