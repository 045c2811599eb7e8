"""Fronts against what the words say, point by point."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.analysis.fronts import Better, best_within, dominates, front, lead
from sottovoce.errors import SottovoceError

BETTER: list[Better] = ["lower", "higher"]


def no_worse(a: float, b: float, way: str) -> bool:
    return a <= b if way == "lower" else a >= b


@st.composite
def trade_offs(draw: st.DrawFn) -> tuple[list[tuple[float, ...]], list[Better]]:
    """Few values, so that many numbers are equal."""
    width = draw(st.integers(1, 4))
    value = st.one_of(st.integers(0, 3), st.sampled_from([float("inf"), -float("inf"), 0.1]))
    ways = st.lists(st.sampled_from(BETTER), min_size=width, max_size=width)
    return draw(st.lists(st.tuples(*[value] * width), max_size=12)), draw(ways)


@given(trade_offs())
def test_the_front_is_what_no_other_beats(drawn: tuple[list[tuple[float, ...]], list[Better]]) -> None:
    points, ways = drawn

    def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        whole = all(no_worse(x, y, way) for x, y, way in zip(a, b, ways, strict=True))
        return whole and any(not no_worse(y, x, way) for x, y, way in zip(a, b, ways, strict=True))

    wanted = [number for number, point in enumerate(points) if not any(beats(other, point) for other in points)]
    assert front(points, ways) == wanted
    for a in points[:4]:
        for b in points[:4]:
            assert dominates(a, b, ways) is beats(a, b)


def test_the_best_for_no_more() -> None:
    points = [(10.0, 0.9), (5.0, 0.7), (5.0, 0.6), (20.0, 0.8)]
    assert [best_within(points, cost) for cost in (4.9, 5.0, 9.9, 10.0, 99.0)] == [None, 0.7, 0.7, 0.9, 0.9]


def test_the_lead_is_where_it_is_most() -> None:
    others = [(10.0, 0.5), (5.0, 0.25)]
    assert lead([(4.0, 0.9), (5.0, 0.5), (9.0, 0.625), (10.0, 0.75)], others) == 0.375
    assert lead([(10.0, 0.25)], others) == -0.25
    assert lead([(4.0, 0.9)], others) is None and lead([], others) is None


def test_what_is_no_number_stands_on_no_front() -> None:
    with pytest.raises(SottovoceError, match="nan"):
        front([(1.0, 2.0), (float("nan"), 1.0)], ["lower", "lower"])
    with pytest.raises(ValueError):
        front([(1.0, 2.0)], ["lower"])
