"""Where issues are pinned: beside what is to be drawn, inside the image."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from annoloop.loop.exchange import markers
from annoloop.loop.exchange.markers import Box, marker


@st.composite
def areas(draw: st.DrawFn) -> tuple[Box, tuple[int, int]]:
    height, width = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
    return (left, top, right, bottom), (height, width)


@given(areas())
def test_a_marker_lies_in_the_image_and_hides_nothing_where_there_is_room(area: tuple[Box, tuple[int, int]]) -> None:
    (left, top, right, bottom), (height, width) = area
    x, y, x_end, y_end = marker(*area)
    side = x_end - x
    assert 0 <= x < x_end <= width
    assert 0 <= y < y_end <= height
    assert y_end - y == side
    covers = x < right and x_end > left and y < bottom and y_end > top
    has_room = (left >= side or width - right >= side) and (top >= side or height - bottom >= side)
    assert covers == (not has_room)


def test_the_example_in_its_docstring() -> None:
    assert doctest.testmod(markers).failed == 0
