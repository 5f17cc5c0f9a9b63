"""Shares to validate on: every beginning holds the classes, and a budget keeps 85 % of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.training.validation_plan import MEANWHILE, judging_s, stratified_order, validations


def test_a_beginning_holds_every_class_about_as_often_as_the_whole() -> None:
    random = np.random.default_rng(1)
    pixels = (random.random((400, 5)) < [1, 0.5, 0.3, 0.1, 0.01]) * random.integers(1, 99, (400, 5))
    order = stratified_order(pixels.tolist())
    holds = pixels[order] > 0
    for beginning in (32, 64, 200):
        shares, whole = holds[:beginning].mean(axis=0), holds.mean(axis=0)
        assert holds[:beginning].any(axis=0).all(), "the rarest class, too, which 4 images of 400 hold"
        assert np.abs(shares - whole).max() < 0.12


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=40))
def test_it_is_an_order_and_always_the_same(pixels: list[list[int]]) -> None:
    order = stratified_order(pixels)
    assert sorted(order) == list(range(len(pixels)))
    assert order == stratified_order(pixels)


@given(st.floats(60, 1e5), st.floats(1e-3, 20), st.integers(1, 5000))
def test_validation_takes_at_most_15_percent_of_a_budget(budget_s: float, image_s: float, val: int) -> None:
    each_s = min(MEANWHILE, val) * image_s
    times = validations(budget_s, each_s)
    assert times >= 1
    if times > 1:
        assert times * each_s + judging_s(val, image_s, budget_s) <= max(0.15 * budget_s, 0.07 * budget_s + 5)


@pytest.mark.parametrize(("val", "expected"), [(32, 0.0), (100, 2 * 100 * 0.5)])
def test_candidates_are_judged_where_not_all_images_were_looked_at(val: int, expected: float) -> None:
    assert judging_s(val, 0.5, None) == expected
