"""Where a cost is: named coordinates of a part of a model, and how costs are shown."""

from sottovoce.measures.parts import Part
from sottovoce.views import Shares, Shown

COST = Shown("Cost", (Shares(("parameters", "macs", "latency"), title="Where the cost is"),), place=90)


def place(part: Part) -> dict[str, str | int]:
    """The coordinates of a part; none for the whole model.

    Example:
        >>> place(("layer", 3, "feed_forward")), place(("front_end", 0)), place(())
        ({'layer': 3, 'part': 'feed_forward'}, {'part': 'front_end', 'index': 0}, {})
    """
    names = ("layer", "part") if part[:1] == ("layer",) else ("part", "index")
    values = part[1:] if part[:1] == ("layer",) else part
    return dict(zip(names, values, strict=False))
