"""What one mask tells, on masks small enough to count by eye."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annoloop.eda.mask_facts import BINS, CELLS, SAMPLES_PER_CELL, Frame, MaskFacts, Spot, mask_facts, size_bin
from annoloop.masks.classes import class_table
from annoloop.masks.regions import LabelMap, regions

CLASSES = class_table(["ground", "disc", "ring"], background="ground")
IGNORE = 255


def blank(height: int = 40, width: int = 60) -> LabelMap:
    return np.zeros((height, width), np.uint8)


def facts(label_map: LabelMap) -> MaskFacts:
    return mask_facts(label_map, CLASSES)


def test_pixels_components_and_sides_are_counted_by_class() -> None:
    mask = blank()
    mask[5:15, 5:25] = 1
    mask[20, 30], mask[21, 31] = 1, 1  # diagonal neighbours are one component
    mask[30:33, 40:44] = 2
    mask[0, 0] = IGNORE
    one = facts(mask)
    assert one.size_hw == (40, 60)
    assert one.present.tolist() == [0, 1, 2]
    assert one.pixels.tolist() == [40 * 60 - 200 - 2 - 12 - 1, 202, 12]
    assert one.components.tolist() == [1, 2, 1]
    assert one.ignored_px == 1
    assert one.unknown == ()
    assert np.flatnonzero(one.sizes[1]).tolist() == size_bin([2, 200]).tolist()
    assert np.flatnonzero(one.sides).tolist() == size_bin([2, 4, 20]).tolist()


def test_what_is_no_class_is_counted_apart() -> None:
    mask = blank()
    mask[:2, :3], mask[10:12, 10] = 9, 200
    one = facts(mask)
    assert one.unknown == ((9, 6), (200, 2))
    assert one.present.tolist() == [0]
    assert one.specks == ()


def test_specks_are_small_and_keep_away_from_the_border() -> None:
    mask = blank()
    mask[10:14, 10:14] = 1
    mask[20, 20:22] = 2
    mask[0, 30] = 1  # an object that the border cuts
    mask[30:35, 30:35] = 1  # 25 px
    assert facts(mask).specks == (Spot(2, 2, (20, 20, 22, 21)), Spot(1, 16, (10, 10, 14, 14)))


@pytest.mark.parametrize("value", [0, IGNORE])
def test_a_hole_belongs_to_the_component_around_it(value: int) -> None:
    mask = blank()
    mask[5:30, 5:30] = 2
    mask[15, 14:17] = value
    one = facts(mask)
    assert one.holes == (Spot(2, 3, (14, 15, 17, 16)),)
    assert one.holed[one.present == 2] == 1


def test_what_two_classes_enclose_is_no_hole_and_neither_is_an_enclosed_class() -> None:
    mask = blank()
    mask[5:30, 5:30] = 2
    mask[5:30, 15:30] = 1
    mask[15, 14:17] = 0  # between both
    mask[10, 22] = 2
    one = facts(mask)
    assert one.holes == ()
    assert not one.holed.any()


def test_a_gap_behind_thin_walls_and_a_large_hole_are_honest_but_counted() -> None:
    mask = blank()
    mask[5:30, 5:30] = 2
    mask[7, 14:17] = 0
    mask[15:25, 10:20] = 0
    one = facts(mask)
    assert one.holes == ()
    assert one.holed[one.present == 2] == 1, "one component, however many holes"


@pytest.mark.parametrize("value", [1, IGNORE])
@pytest.mark.parametrize("width", [1, 3])
def test_a_frame_runs_along_all_four_sides(value: int, width: int) -> None:
    mask = np.full((40, 60), value, np.uint8)
    mask[width:-width, width:-width] = 0
    assert facts(mask).frame == Frame(value, width)


def test_ground_up_to_the_border_three_sides_and_a_filled_mask_are_no_frame() -> None:
    mask = blank()
    mask[10:30, 20:40] = 1
    assert facts(mask).frame is None
    three = np.full((40, 60), 1, np.uint8)
    three[2:, 2:-2] = 0
    assert facts(three).frame is None
    assert facts(np.full((40, 60), 1, np.uint8)).frame is None


def test_the_heat_says_where_a_class_lies() -> None:
    mask = blank(64, 128)
    mask[:32, :64] = 1
    one = facts(mask)
    assert one.heat.shape == (2, CELLS, CELLS)
    assert (one.heat[1, :16, :16] == SAMPLES_PER_CELL).all()
    assert one.heat[1].sum() == 16 * 16 * SAMPLES_PER_CELL


def test_only_the_smallest_slips_are_kept() -> None:
    mask = blank(200, 200)
    mask[10:190:10, 10:190:10] = 1
    mask[50:52, 55:57] = 1
    one = facts(mask)
    assert len(one.specks) == 8
    assert {spot.area_px for spot in one.specks} == {1}
    assert len(pickle.dumps(one)) < 10_000


def test_two_label_maps_have_two_fingerprints() -> None:
    mask = blank()
    other = mask.copy()
    other[3, 3] = 1
    assert facts(mask).fingerprint == facts(mask.copy()).fingerprint != facts(other).fingerprint


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, 7, 255]))
)
def test_any_mask_adds_up(mask: LabelMap) -> None:
    one = facts(mask)
    parts = [part for part in regions(mask) if part.class_index < len(CLASSES)]
    assert one.pixels.sum() + one.ignored_px + sum(px for _, px in one.unknown) == mask.size
    assert one.components.sum() == len(parts) == one.sizes.sum()
    assert one.sizes.shape[1] == BINS
    assert one.sides.sum() == sum(part.class_index != 0 for part in parts)
    assert one.heat.sum() <= CELLS * CELLS * SAMPLES_PER_CELL
