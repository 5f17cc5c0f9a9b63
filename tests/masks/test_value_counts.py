"""Pixels by value, of maps larger than a piece, too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.masks import value_counts as module
from annoloop.masks.value_counts import value_counts


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=200), st.integers(1, 400), st.sampled_from([1, 7, 64, 1 << 22])
)
def test_counts_are_those_of_bincount_whatever_the_piece(values: list[int], levels: int, piece_px: int) -> None:
    array = np.array(values, np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE_PX", piece_px)
        assert value_counts(array, levels).tolist() == np.bincount(array, minlength=levels).tolist()
