"""How a model differs from the one that it was made of, in words: which layers, heads, units and channels went."""

from collections.abc import Sequence
from typing import Any

from sottovoce.models.anatomy import Anatomy
from sottovoce.models.structure import read
from sottovoce.models.widths import Widths, widths_of


def differences(before: Any, after: Any) -> list[str]:
    """What another shape a model has, a line a kind of part; nothing where only numbers changed.

    Example:
        >>> model = sv.new("hubert")
        >>> differences(model, sv.drop_layers(model, keep=9))
        ['layers: 9 of 12 run']
    """
    old, new = (widths_of(model) for model in (before, after))
    lines = [layers_told(old, new)]
    if old.mimic is None and new.mimic is None:
        lines += [
            counts_told("heads", stepwise(old, old.heads), stepwise(new, new.heads)),
            counts_told("feed-forward units", stepwise(old, units(old)), stepwise(new, units(new))),
        ]
    lines += [
        counts_told("channels of the front end", old.channels, new.channels),
        counts_told("hidden units", (old.hidden,), (new.hidden,)),
    ]
    was, now = (read(model, Anatomy(model)) for model in (before, after))
    lines += [
        f"{name}: {len(made)} Linears" if len(made) != len(had) else ""
        for name, had, made in (("of low rank", was.ranks, now.ranks), ("in 8 bits", was.int8, now.int8))
    ]
    if now.log_mel != was.log_mel:
        lines.append(f"front end: {'convolutions' if now.log_mel is None else 'log-mel'}")
    if now.exit != was.exit and now.exit is not None:
        lines.append(f"utterances leave the stack at a change of {now.exit['threshold']:.3g}")
    return [line for line in lines if line]


def layers_told(old: Widths, new: Widths) -> str:
    """Which layers run, and how many of them there are."""
    if old.mimic is None and new.mimic is not None and not new.order:
        return f"layers: none of {len(old.order)}; what reads the last one reads the projection"
    if old.mimic is None and new.mimic is not None:
        return f"layers: {len(new.order)} mimic of {len(old.order)}"
    if old.order == new.order:
        return ""
    stored = len(set(new.order))
    shared = "" if stored == len(new.order) else f", of {stored} that {'are' if stored > 1 else 'is'} shared"
    return f"layers: {len(new.order)} of {len(old.order)} run{shared}"


def units(widths: Widths) -> tuple[int, ...]:
    """The feed-forward units of each stored layer, in all its parts."""
    return tuple(sum(parts) for parts in widths.feed_forward)


def stepwise(widths: Widths, counts: Sequence[int]) -> tuple[int, ...]:
    """Counts of stored layers, for each step."""
    return tuple(counts[layer] for layer in widths.order)


def counts_told(name: str, old: Sequence[int], new: Sequence[int]) -> str:
    """How many of something are left, of each part where these differ.

    Example:
        >>> counts_told("heads", (12, 12), (12, 8))
        'heads: 20 of 24 (12, 8)'
    """
    if tuple(old) == tuple(new) or not new or (len(set(old)) == 1 and set(old) == set(new)):
        return ""
    each = f" ({', '.join(map(str, new))})" if len(set(new)) > 1 else f" ({new[0]} each)" if len(new) > 1 else ""
    return f"{name}: {sum(new)} of {sum(old)}{each}"
