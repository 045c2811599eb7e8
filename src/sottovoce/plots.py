"""Line plots as SVG: text that any browser shows, without a library."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 34, 48  # the margins; names of lines stand on the right
# Told apart by people who see fewer colours as well (Okabe and Ito's palette).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MORE_COLORS = ("#882255", "#999933", "#44aa99", "#7f7f7f")
DASHES = ("", "6 3", "2 3")
SCALE = ((255, 255, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))  # from little to much
EDGE, ROOF = 40, 28  # left of a matrix and above it

Points = Sequence[tuple[float, float]]


def line_plot(
    lines: Mapping[str, Points],
    *,
    title: str,
    x: str,
    y: str,
    percent: bool = False,
    bands: Mapping[str, Points] | None = None,
) -> str:
    """Lines by name over one pair of axes; a line of one point is drawn across the plot, as a level.

    A band, by the name of its line, is what lies between the lowest and the highest of its points at each place.

    Example:
        >>> line_plot({"loss": [(0, 5.1), (100, 4.2)]}, title="Training", x="step", y="loss")[:4]
        '<svg'
    """
    lines = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    edges = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in (bands or {}).items()}
    across = ticks([point[0] for points in lines.values() for point in points if len(points) > 1])
    upwards = ticks([point[1] for points in (*lines.values(), *edges.values()) for point in points])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        right = (point[0] - across[0]) / (across[-1] - across[0])
        up = (point[1] - upwards[0]) / (upwards[-1] - upwards[0])
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{escape(title)}"><rect width="100%" height="100%" fill="white"/>',
        text(LEFT, 20, title, weight="bold"),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x, anchor="middle"),
        f'<g transform="rotate(-90 11 {HEIGHT / 2})">{text(11, HEIGHT / 2, y, anchor="middle")}</g>',
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
        color, dash = COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)]
        if edges.get(name):
            parts.append(band([place(point) for point in edges[name]], color))
        parts.append(stroke([place(point) for point in points], color, 2, dash))
        ends.append((place(points[-1])[1], name, color))
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
        text(WIDTH - RIGHT + 8, height, name, color=color)
        for height, (_, name, color) in zip(heights, sorted(ends), strict=True)
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


def stroke(points: Points, color: str, width: int, dash: str = "") -> str:
    """A line through points of the plane."""
    path = " ".join(f"{right:.1f},{down:.1f}" for right, down in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"{dashes}/>'


def band(points: Points, color: str) -> str:
    """The area between the lowest and the highest point at each place.

    Example:
        >>> band([(0, 1), (0, 3), (1, 2), (1, 5)], "#000")
        '<polygon points="0.0,1.0 1.0,2.0 1.0,5.0 0.0,3.0" fill="#000" fill-opacity="0.15" stroke="none"/>'
    """
    sides: dict[float, list[float]] = {}
    for right, down in points:
        sides.setdefault(right, []).append(down)
    there = [(right, min(sides[right])) for right in sorted(sides)]
    back = [(right, max(sides[right])) for right in sorted(sides, reverse=True)]
    path = " ".join(f"{right:.1f},{down:.1f}" for right, down in there + back)
    return f'<polygon points="{path}" fill="{color}" fill-opacity="0.15" stroke="none"/>'


def text(right: float, down: float, what: str, *, anchor: str = "start", color: str = "#222", weight: str = "") -> str:
    """Words at a point."""
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{right:.1f}" y="{down:.1f}" text-anchor="{anchor}" fill="{color}"{bold}>{escape(what)}</text>'


def matrix_plot(
    values: Sequence[Sequence[float]],
    *,
    title: str,
    x: str,
    y: str,
    first: tuple[int, int] = (0, 0),
    blocks: Sequence[int] = (),
) -> str:
    """Numbers as colours, row 0 on top; those that are NaN are left out. `blocks` are the rows where squares begin.

    Rows and columns are numbered from `first` on; colours lie between the smallest and the largest.

    Example:
        >>> matrix_plot([[1.0, 0.2], [0.2, 1.0]], title="CKA", x="state", y="state", blocks=[0, 1])[:4]
        '<svg'
    """
    rows, columns = len(values), max(map(len, values))
    known = [value for row in values for value in row if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    size = min(26.0, 260 / max(rows, columns))
    across, down = size * columns, size * rows
    parts = framed(across, down, 110, title=title, x=x, y=y)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if math.isfinite(value):
                told = f"{row + first[0]}, {column + first[1]}: {value:.3f}"
                fill = shade(value, low, high)
                parts.append(square(EDGE + column * size, ROOF + row * size, size, size, fill=fill, told=told))
    every = 1 if size >= 14 else 5
    for row in range(0, rows, every):
        parts.append(text(EDGE - 5, ROOF + (row + 0.5) * size + 4, str(row + first[0]), anchor="end"))
    for column in range(0, columns, every):
        middle = EDGE + (column + 0.5) * size
        parts.append(text(middle, ROOF + down + 14, str(column + first[1]), anchor="middle"))
    for begin, end in zip(blocks, [*blocks[1:], rows], strict=False):
        place, wide = begin * size, (end - begin) * size
        parts.append(square(EDGE + place, ROOF + place, wide, wide, stroke=COLORS[1]))
    for step in range(20):
        fill = shade(step / 19, 0.0, 1.0)
        parts.append(square(EDGE + across + 12, ROOF + (19 - step) * down / 20, 12, down / 20 + 0.5, fill=fill))
    side = EDGE + across + 28
    digits = 0 if abs(high) >= 100 else 2
    ends = [text(side, ROOF + 9, f"{high:.{digits}f}"), text(side, ROOF + down, f"{low:.{digits}f}")]
    return "\n".join([*parts, *ends, "</svg>"]) + "\n"


def framed(across: float, down: float, margin: float, *, title: str, x: str, y: str) -> list[str]:
    """The beginning of a drawing of a grid of this size, with its title and the names of its sides."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across + margin:.0f} {down + 70:.0f}" '
        f'width="{across + margin:.0f}" font-family="sans-serif" font-size="11" role="img" '
        f'aria-label="{escape(title)}"><rect width="100%" height="100%" fill="white"/>',
        text(4, 16, title, weight="bold"),
        text(EDGE + across / 2, down + 62, x, anchor="middle"),
        f'<g transform="rotate(-90 12 {ROOF + down / 2:.1f})">{text(12, ROOF + down / 2, y, anchor="middle")}</g>',
    ]


def shade(value: float, low: float, high: float) -> str:
    """The colour of a number between two.

    Example:
        >>> shade(0.0, 0.0, 1.0), shade(1.0, 0.0, 1.0)
        ('#ffffff', '#08306b')
    """
    place = min(1.0, max(0.0, (value - low) / (high - low))) * (len(SCALE) - 1) if high > low else 0.0
    index = min(len(SCALE) - 2, int(place))
    mixed = (round(a + (place - index) * (b - a)) for a, b in zip(SCALE[index], SCALE[index + 1], strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def square(
    left: float, top: float, wide: float, high: float, *, fill: str = "none", stroke: str = "", told: str = ""
) -> str:
    """A rectangle; `told` is shown where the pointer rests on it."""
    edge = f' stroke="{stroke}" stroke-width="2.5"' if stroke else ""
    inside = f"<title>{escape(told)}</title>" if told else ""
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}" fill="{fill}"{edge}>{inside}</rect>'
    )


def small_lines(grid: Sequence[Sequence[Points]], *, title: str, x: str, y: str) -> str:
    """A small curve in each cell of a grid, row 0 on top, each from 0 to its own highest value.

    Example:
        >>> small_lines([[[(-1, 0.1), (0, 0.8), (1, 0.1)]]], title="Profiles", x="head", y="layer")[:4]
        '<svg'
    """
    rows, columns = len(grid), max(map(len, grid))
    wide, high = 46.0, 26.0
    across, down = wide * columns, high * rows
    parts = framed(across, down, 60, title=title, x=x, y=y)
    for row, line in enumerate(grid):
        parts.append(text(EDGE - 5, ROOF + (row + 0.6) * high, str(row), anchor="end"))
        for column, points in enumerate(line):
            if not points:
                continue
            top = max(point[1] for point in points) or 1.0
            first, last = points[0][0], points[-1][0]
            left, base = EDGE + column * wide + 3, ROOF + (row + 1) * high - 3
            scaled = [
                (left + (a - first) / ((last - first) or 1.0) * (wide - 6), base - b / top * (high - 6))
                for a, b in points
            ]
            parts.append(stroke(scaled, COLORS[0], 1))
    parts += [text(EDGE + (c + 0.5) * wide, ROOF + down + 14, str(c), anchor="middle") for c in range(columns)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def bars_plot(bars: Mapping[str, Mapping[str, float]], *, title: str) -> str:
    """One bar a name, divided into named shares of 1; the same part has the same colour everywhere.

    Example:
        >>> bars_plot({"time": {"layers": 0.7, "front end": 0.3}}, title="Cost")[:4]
        '<svg'
    """
    names = list(dict.fromkeys(part for shares in bars.values() for part in shares))
    palette = (*COLORS[:-1], *MORE_COLORS)
    colors = {name: palette[number % len(palette)] for number, name in enumerate(names)}
    high, step, long = ROOF + 34.0 * len(bars), 17, WIDTH - 120
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high + 16 + step * len(names):.0f}" '
        f'width="{WIDTH}" font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">'
        '<rect width="100%" height="100%" fill="white"/>',
        text(4, 16, title, weight="bold"),
    ]
    for number, (bar, shares) in enumerate(bars.items()):
        top, left = ROOF + 34.0 * number, 110.0
        parts.append(text(104, top + 17, bar, anchor="end"))
        for name, share in shares.items():
            told = f"{bar}, {name}: {100 * share:.1f} %"
            parts.append(square(left, top, share * long, 26, fill=colors[name], told=told))
            if share > 0.06:
                parts.append(
                    text(left + share * long / 2, top + 17, f"{100 * share:.0f} %", anchor="middle", color="#fff")
                )
            left += share * long
    for number, name in enumerate(names):
        parts.append(square(110, high + step * number, 12, 12, fill=colors[name]))
        parts.append(text(128, high + step * number + 10, name))
    return "\n".join([*parts, "</svg>"]) + "\n"
