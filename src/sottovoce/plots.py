"""Line plots as SVG: text that any browser shows, without a library."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 34, 48  # the margins; names of lines stand on the right
# Told apart by people who see fewer colours as well (Okabe and Ito's palette).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("", "6 3", "2 3")

Points = Sequence[tuple[float, float]]


def line_plot(lines: Mapping[str, Points], *, title: str, x: str, y: str, percent: bool = False) -> str:
    """Lines by name over one pair of axes; a line of one point is drawn across the plot, as a level.

    Example:
        >>> line_plot({"loss": [(0, 5.1), (100, 4.2)]}, title="Training", x="step", y="loss")[:4]
        '<svg'
    """
    lines = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    across = ticks([point[0] for points in lines.values() for point in points if len(points) > 1])
    upwards = ticks([point[1] for points in lines.values() for point in points])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        right = (point[0] - across[0]) / (across[-1] - across[0])
        up = (point[1] - upwards[0]) / (upwards[-1] - upwards[0])
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{escape(title)}"><rect width="100%" height="100%" fill="white"/>',
        text(LEFT, 20, title, weight="bold"),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x, anchor="middle"),
        f'<g transform="rotate(-90 16 {HEIGHT / 2})">{text(16, HEIGHT / 2, y, anchor="middle")}</g>',
    ]
    for value in upwards:
        _, height = place((across[0], value))
        shown = f"{100 * value:g} %" if percent else f"{value:g}"
        parts.append(stroke([(LEFT, height), (WIDTH - RIGHT, height)], "#ddd", 1))
        parts.append(text(LEFT - 6, height + 4, shown, anchor="end"))
    for value in across:
        side, _ = place((value, upwards[0]))
        parts.append(text(side, HEIGHT - BOTTOM + 18, f"{value:g}", anchor="middle"))
    ends = []
    for number, (name, points) in enumerate(lines.items()):
        if len(points) == 1:
            points = [(across[0], points[0][1]), (across[-1], points[0][1])]
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
        parts.append(stroke([place(point) for point in points], colour, 2, dash))
        ends.append((place(points[-1])[1], name, colour))
    parts += names(ends)
    return "\n".join([*parts, "</svg>"]) + "\n"


def names(ends: list[tuple[float, str, str]]) -> list[str]:
    """The names of lines beside their ends, moved apart where they would lie on one another."""
    heights, last = [], -math.inf
    for height, _, _ in sorted(ends):
        last = max(height, last + 14)
        heights.append(last)
    above = HEIGHT - 4.0
    for index in reversed(range(len(heights))):  # what went below the picture pushes the others up again
        heights[index] = above = min(heights[index], above)
        above -= 14
    return [
        text(WIDTH - RIGHT + 8, height, name, colour=colour)
        for height, (_, name, colour) in zip(heights, sorted(ends), strict=True)
    ]


def ticks(values: Sequence[float], *, wanted: int = 6) -> list[float]:
    """Round numbers at equal distances, from below the smallest value to above the largest.

    Example:
        >>> ticks([0.1, 4.7])
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max(1e-9, 1e-6 * max(abs(low), abs(high)))
    if high - low <= room:
        low, high = low - max(0.5, room), high + max(0.5, room)
    rough = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(rough))
    step = unit * min((size for size in (1, 2, 5, 10) if size * unit >= rough), default=10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12) for number in range(first, last + 1)]


def stroke(points: Points, colour: str, width: int, dash: str = "") -> str:
    """A line through points of the plane."""
    path = " ".join(f"{right:.1f},{down:.1f}" for right, down in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def text(right: float, down: float, what: str, *, anchor: str = "start", colour: str = "#222", weight: str = "") -> str:
    """Words at a point."""
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{right:.1f}" y="{down:.1f}" text-anchor="{anchor}" fill="{colour}"{bold}>{escape(what)}</text>'
