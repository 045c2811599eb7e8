"""Reads the places of measurements that were written before coordinates had names: lists, by position."""

from collections.abc import Mapping, Sequence

Coordinate = str | int | float

# What stood at each position, by measure: a coordinate's name, or `=word` for a word that said what follows.
# States were called layers; a run of layers ended with the layer behind it.
_COST = (("=layer", "layer", "part"), ("part", "index"), ("part",))
_CONVEXITY = (("concept", "=layer", "state"), ("concept", "=layer", "state", "class"))
_TASK = (("=layer", "state"),)
_SHAPES: Mapping[str, Sequence[Sequence[str]]] = {
    "size": _COST,
    "macs": _COST,
    "speed": _COST,
    "similarity": (
        ("reading",),
        ("reading", "=block", "block"),
        ("reading", "=layer", "layer"),
        ("reading", "=layers", "first_layer", "last_layer"),
        ("reading", "first_state", "second_state"),
    ),
    "convexity": _CONVEXITY,
    "euclidean_convexity": _CONVEXITY,
    "attention": (
        ("=head", "layer", "head"),
        ("=head", "layer", "head", "=distance", "distance"),
        ("pattern", "importance"),
    ),
    "ablation": (("=layer", "layer"),),
    "layer_orders": (("order", "dropped"),),
    **dict.fromkeys(("phones", "pr", "asr", "keywords", "speakers", "verification", "emotion", "intents"), _TASK),
}


def named(measure: str, old: Sequence[Coordinate]) -> dict[str, Coordinate]:
    """The names of an old place's coordinates; of a measure that is not known here, of what can be told from the place.

    Example:
        >>> named("convexity", ["keywords", "layer", 3])
        {'concept': 'keywords', 'state': 3}
        >>> named("a stranger's", ["layer", 3]), named("a stranger's", [4, 7])
        ({'layer': 3}, {'at_0': 4, 'at_1': 7})
    """
    for shape in _SHAPES.get(measure, ()):
        if len(shape) == len(old) and all(
            f"={part}" == name for name, part in zip(shape, old, strict=True) if name[0] == "="
        ):
            found = {name: part for name, part in zip(shape, old, strict=True) if name[0] != "="}
            last = found.get("last_layer")
            return found if last is None or isinstance(last, str) else {**found, "last_layer": last - 1}
    names, values = old[::2], old[1::2]
    told = len(names) == len(values) == len(set(names)) and all(isinstance(name, str) for name in names)
    if told and not any(isinstance(value, str) for value in values):
        return dict(zip(map(str, names), values, strict=True))
    return {f"at_{position}": part for position, part in enumerate(old)}
