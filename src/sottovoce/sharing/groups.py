"""Which layers of a stack share one set of tensors."""

from collections.abc import Sequence

from sottovoce.errors import SottovoceError, shown

Groups = int | str | list[list[int]]
EXAMPLES = "1 (all layers), 3 (runs of equal length), none, or lists of layers such as [[0, 1, 2], [3, 4, 5]]"


def groups_of(given: Groups, layers: int) -> list[list[int]]:
    """The layers of each group: of so many groups of neighbours, of none in common, or as they are listed.

    Runs of layers are of equal length, or differ by one, the longer ones first. Listed groups name every layer once, in
    any order.

    Example:
        >>> groups_of(2, 5), groups_of("none", 2), groups_of([[0, 2], [1]], 3)
        ([[0, 1, 2], [3, 4]], [[0], [1]], [[0, 2], [1]])
    """
    if isinstance(given, list | tuple):
        return listed(given, layers)
    text = str(given).strip()
    if text == "none":
        return [[layer] for layer in range(layers)]
    if isinstance(given, bool) or not (text.isascii() and text.isdigit()):
        raise SottovoceError(f"groups={shown(given)}, but {EXAMPLES} is wanted.")
    count = int(text)
    if not 1 <= count <= layers:
        raise SottovoceError(f"groups={count}, but a stack of {layers} layers makes 1 to {layers} groups.")
    ends = [sum(layers // count + (number < layers % count) for number in range(end)) for end in range(count + 1)]
    return [list(range(begin, end)) for begin, end in zip(ends[:-1], ends[1:], strict=True)]


def order_of(groups: Sequence[Sequence[int]]) -> list[int]:
    """The layer that each step applies when the first of each group does the work of all.

    Example:
        >>> order_of([[0, 2], [1, 3]])
        [0, 1, 0, 1]
    """
    first = {layer: group[0] for group in groups for layer in group}
    return [first[layer] for layer in sorted(first)]


def listed(given: Sequence[Sequence[int]], layers: int) -> list[list[int]]:
    """Groups that somebody lists, checked."""
    whole = [type(group) in (list, tuple) and all(type(layer) is int for layer in group) for group in given]
    if not given or not all(whole) or not all(map(len, given)):
        raise SottovoceError(f"groups={shown(given)}, but {EXAMPLES} is wanted.")
    named = [layer for group in given for layer in group]
    wrong = [layer for layer in named if not 0 <= layer < layers]
    twice = sorted({layer for layer in named if named.count(layer) > 1})
    missing = sorted(set(range(layers)) - set(named))
    for what, found in (("no layer of this stack is", wrong), ("twice is", twice), ("in no group is", missing)):
        if found:
            raise SottovoceError(
                f"groups={shown(given)}, but {what} layer {found[0]}; name each of the layers 0-{layers - 1} once."
            )
    return [list(group) for group in given]
