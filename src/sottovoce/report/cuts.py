"""What could go, by what was measured, each with its reason."""

from collections.abc import Sequence

from sottovoce.measurement import Measurement
from sottovoce.report.views import measured
from sottovoce.views import Cut


def cuts(rows: Sequence[Measurement]) -> list[Cut]:
    """Every cut that these measurements speak for, by what their measures registered; none where they do not.

    Example:
        >>> cuts([])
        []
    """
    return [cut for shown, own in measured(rows) if shown.recommends is not None for cut in shown.recommends(own)]
