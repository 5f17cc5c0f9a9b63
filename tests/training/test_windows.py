"""Windows of a large image: every pixel is used once, and has seen its surroundings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annoloop.training.windows import windows


@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.integers(9, 40), st.integers(0, 4))
def test_every_pixel_is_used_once_and_has_a_margin_unless_the_image_ends(
    size_hw: tuple[int, int], side: int, margin: int
) -> None:
    used = np.zeros(size_hw, int)
    for window in windows(size_hw, side, margin):
        used[window.used_rows, window.used_columns] += 1
        spans = ((window.rows, window.used_rows, size_hw[0]), (window.columns, window.used_columns, size_hw[1]))
        for looked_at, kept, length in spans:
            assert looked_at.stop - looked_at.start == min(side, length)
            assert looked_at.start <= kept.start < kept.stop <= looked_at.stop
            assert looked_at.start == 0 or kept.start - looked_at.start >= margin
            assert looked_at.stop == length or looked_at.stop - kept.stop >= margin
        part = np.zeros((window.rows.stop - window.rows.start, window.columns.stop - window.columns.start))
        assert part[window.used].shape == used[window.used_rows, window.used_columns].shape
    assert (used == 1).all()


def test_an_image_that_fits_is_one_window() -> None:
    (only,) = windows((30, 40), 64, 8)
    assert (only.rows, only.columns) == (slice(0, 30), slice(0, 40))
