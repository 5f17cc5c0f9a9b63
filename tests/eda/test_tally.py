"""Quantiles of sizes that are only counted in bins: of the right rank, and near the true ones."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.eda import tally
from annoloop.eda.mask_facts import BINS, size_bin
from annoloop.eda.tally import quantile_px

shares = st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0])


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=40), shares)
def test_a_quantile_is_that_of_its_rank_to_a_quarter_octave(sizes: list[int], share: float) -> None:
    counts = np.bincount(size_bin(sizes), minlength=BINS)
    true = sorted(sizes)[max(1, math.ceil(round(share * len(sizes), 9))) - 1]
    told = quantile_px(counts, share)
    assert abs(math.log2(told / true)) <= 0.25 + 1e-9
    if true <= 3:
        assert told == true


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_areas_of_one_px_have_one_px(share: float) -> None:
    assert quantile_px(np.bincount(size_bin([1, 1, 1]), minlength=BINS), share) == 1


def test_of_nothing_there_is_none() -> None:
    assert math.isnan(quantile_px(np.zeros(BINS, np.int64), 0.5))


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(tally).failed == 0
