"""Edits are counted from one map to another, and their minutes are what somebody states."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annoloop.errors import ConfigError
from annoloop.masks.classes import class_table
from annoloop.masks.regions import LabelMap
from annoloop.simulation.beginnings import edits_to_good
from annoloop.simulation.costs import Costs, Edits, edits_between, new_outline_px

CLASSES = class_table(["ground", "disc", "ring"], background="ground")

label_maps = hnp.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2, 255]), fill=st.just(0))


def square(*boxes: tuple[int, int, int, int, int]) -> LabelMap:
    """A map 40 x 40 with squares: top, left, bottom, right, class."""
    found = np.zeros((40, 40), np.uint8)
    for top, left, bottom, right, index in boxes:
        found[top:bottom, left:right] = index
    return found


A, B = (5, 5, 15, 15, 1), (20, 20, 30, 32, 2)


@given(label_maps)
def test_what_is_right_costs_a_look_alone(label_map: LabelMap) -> None:
    assert edits_between(label_map, label_map, CLASSES) == Edits(images=1)
    assert edits_to_good(label_map, label_map, CLASSES) == Edits(images=1)


def test_a_forgotten_object_is_drawn_and_one_too_many_deleted() -> None:
    drawn = edits_between(square(A), square(A, B), CLASSES)
    assert (drawn.deleted, drawn.drawn, drawn.outline_px) == (0, 1, pytest.approx(44 * math.pi / 4))
    assert edits_between(square(A, B), square(A), CLASSES) == Edits(images=1, deleted=1)


def test_of_a_mended_outline_only_the_mended_stretch_is_drawn() -> None:
    whole, bitten = square(A), square(A)
    bitten[5:8, 5:8] = 0
    edits = edits_between(bitten, whole, CLASSES)
    assert (edits.deleted, edits.drawn, edits.outline_px) == (1, 1, pytest.approx(6 * math.pi / 4))


def test_a_shape_that_is_nearly_right_is_left_alone() -> None:
    nearly, off = square((5, 5, 15, 14, 1)), square((5, 5, 15, 11, 1))
    assert edits_to_good(nearly, square(A), CLASSES) == Edits(images=1)
    assert edits_to_good(off, square(A), CLASSES).drawn == 1
    assert edits_to_good(square((5, 5, 15, 15, 2)), square(A), CLASSES).deleted == 1


@given(label_maps, label_maps)
def test_an_outline_is_new_or_was_there(before: LabelMap, after: LabelMap) -> None:
    assert 0 <= new_outline_px(before, after) <= new_outline_px(np.zeros_like(after), after) + 1e-9


def test_minutes_are_the_sum_of_what_was_done() -> None:
    costs = Costs(image=10, verdict=3, delete=2, draw=5, outline_px=0.5)
    assert Edits(2, 4, 3, 1, 10.0).minutes(costs) == pytest.approx((20 + 12 + 6 + 5 + 5) / 60)
    assert Edits(1, 1, 1, 1, 1.0) + Edits(1, 2, 3, 4, 5.0) == Edits(2, 3, 4, 5, 6.0)


def test_costs_are_given_by_name() -> None:
    assert Costs.given(("verdict=1.5", "image=0")) == Costs(image=0, verdict=1.5)
    for bad in ("verdikt=2", "verdict=much", "verdict=-1", "verdict=nan", "verdict"):
        with pytest.raises(ConfigError, match=r"cost|seconds"):
            Costs.given((bad,))
