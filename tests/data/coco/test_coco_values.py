"""Single values of COCO files: the examples in the docstrings, and that nothing is an error."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from annoloop.data.coco import json_values
from annoloop.data.coco.json_values import read_color, read_id, read_text, unusable_name, whole


def test_the_examples_in_the_docstrings_are_true() -> None:
    result = doctest.testmod(json_values)
    assert result.attempted >= 3
    assert result.failed == 0


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=4)
    )
)
def test_any_value_is_read_or_is_none(value: object) -> None:
    number, text, color = whole(value), read_text(value)[0], read_color(value)
    assert number is None or number == whole(str(number)) or abs(number) >= 10**18
    assert text is None or "\0" not in text
    assert color is None or len(color) == 7
    assert read_id(value) is None or isinstance(read_id(value), int | str)


def test_a_name_that_no_file_can_have_is_told() -> None:
    assert unusable_name("a/b.jpg") is None
    assert unusable_name("a" * 300) is not None
    assert unusable_name("a/" * 2500 + "b") is not None
    assert [unusable_name(name) is None for name in ("/", ".", "..", "a/")] == [False] * 4
