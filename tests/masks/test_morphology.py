"""What lies around each pixel, against SciPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from annoloop.masks.morphology import highest_around, without_thin_parts

pictures = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
reaches = st.integers(1, 4)


@given(pictures, reaches)
def test_the_highest_around_is_that_of_a_square(shape: tuple[int, int, int], reach: int) -> None:
    height, width, seed = shape
    values = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    expected = ndimage.maximum_filter(values, 2 * reach + 1, mode="constant", cval=0)
    assert np.array_equal(highest_around(values, reach), expected)


@given(pictures, reaches)
def test_thin_parts_are_what_an_opening_takes_away(shape: tuple[int, int, int], reach: int) -> None:
    height, width, seed = shape
    bits = np.random.default_rng(seed).random((height, width)) < 0.8
    square = np.ones((2 * reach + 1, 2 * reach + 1), bool)
    core = ndimage.binary_erosion(bits, square, border_value=1)
    expected = ndimage.binary_dilation(core, square)
    assert np.array_equal(without_thin_parts(bits, reach), expected)
