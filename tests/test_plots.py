"""Plots that any browser shows."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.plots import HEIGHT, WIDTH, line_plot, ticks

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_ticks_are_round_and_hold_all_values(values: list[float]) -> None:
    found = ticks(values)
    steps = {round(b - a, 9) for a, b in zip(found, found[1:], strict=False)}
    slack = 1e-6 * max(1.0, *map(abs, values))
    assert found[0] <= min(values) + slack and found[-1] >= max(values) - slack
    assert 2 <= len(found) <= 12 and max(steps) - min(steps) < 1e-6 * max(1.0, max(steps))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8), st.booleans())
def test_lines_stay_inside_the_picture(points: list[tuple[float, float]], percent: bool) -> None:
    picture = line_plot({"a <b> & c": points, "level": [(0, 1.0)]}, title="t < u", x="x", y="y", percent=percent)
    root = ElementTree.fromstring(picture)
    for line in root.iter(f"{SVG}polyline"):
        for pair in line.attrib["points"].split():
            right, down = map(float, pair.split(","))
            assert -1 <= right <= WIDTH + 1 and -1 <= down <= HEIGHT + 1
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert {"a <b> & c", "level", "t < u", "x", "y"} <= set(words)


@pytest.mark.parametrize("values", [[0.3, 0.1 + 0.2], [0.0, 5e-324], [1e17, 1e17], [-3.0, -3.0]])
def test_values_that_are_nearly_equal_have_ticks(values: list[float]) -> None:
    found = ticks(values)
    assert found[0] <= min(values) and found[-1] >= max(values) and found[0] < found[-1]


def test_names_of_lines_that_end_low_stay_inside() -> None:
    picture = line_plot({f"line {n}": [(0, 1.0), (1, 0.0)] for n in range(8)}, title="t", x="x", y="y")
    heights = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>line \d', picture)]
    assert len(set(heights)) == 8 and max(heights) <= HEIGHT


def test_what_is_no_number_is_left_out_and_names_do_not_overlap() -> None:
    lines = {f"line {n}": [(0, 1.0), (1, 1.0 + n * 1e-9), (2, math.nan)] for n in range(9)}
    picture = line_plot({**lines, "nothing": [(0, math.inf)]}, title="t", x="x", y="y")
    assert "nothing" not in picture and "nan" not in picture
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>line \d', picture))
    assert len(heights) == 9 and all(b - a >= 13.9 for a, b in zip(heights, heights[1:], strict=False))


@pytest.mark.parametrize("lines", [{}, {"a": [(0.0, 0.5)]}])
def test_plots_of_little_are_plots(lines: dict[str, list[tuple[float, float]]]) -> None:
    assert ElementTree.fromstring(line_plot(lines, title="t", x="x", y="y")).tag == f"{SVG}svg"
