"""Law 1: masks as the run lengths of CVAT and of COCO, as their own tools write them, and back from CVAT's."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask
from scipy import ndimage

from annoloop.errors import DataError
from annoloop.masks import run_lengths
from annoloop.masks.regions import LabelMap, Region, paint, regions
from annoloop.masks.run_lengths import (
    CvatMask,
    coco_masks,
    cvat_masks,
    from_cvat_runs,
    paint_cvat_masks,
    to_cvat_runs,
)


def _maps(longest_h: int, longest_w: int, values: st.SearchStrategy[int]) -> st.SearchStrategy[LabelMap]:
    return hnp.arrays(np.uint8, st.tuples(st.integers(1, longest_h), st.integers(1, longest_w)), elements=values)


def _blown_up(small: LabelMap, rows: int, columns: int) -> LabelMap:
    return np.repeat(np.repeat(small, rows, axis=0), columns, axis=1)


few_values = st.sampled_from([0, 0, 0, 1, 2, 254, 255])
label_maps = (
    st.builds(_blown_up, _maps(9, 12, few_values), st.integers(1, 3), st.integers(1, 3))
    | _maps(6, 7, st.integers(0, 255))
    | _maps(1, 40, few_values)
    | _maps(40, 1, few_values)
    | _maps(5, 8, few_values).map(np.asfortranarray)
)
"""Noise and blocks, mostly not square, every value there is, one row, one column, 1 x 1, columns first in memory."""


# CVAT


@given(label_maps, st.sampled_from([0, 5]))
def test_cvat_runs_give_every_region_back(label_map: LabelMap, min_region_px: int) -> None:
    parts = regions(label_map, min_region_px=min_region_px)
    # A server returns floats.
    read = [from_cvat_runs([float(n) for n in to_cvat_runs(p)], p.class_index, label_map.shape) for p in parts]
    assert np.array_equal(paint((r for r in read if r), label_map.shape, fill=9), label_map)


@given(label_maps, st.sampled_from([(), (0,), (0, 255)]), st.sampled_from([0, 1, 5]))
def test_all_cvat_masks_are_the_runs_of_every_region(
    label_map: LabelMap, skip: tuple[int, ...], min_region_px: int
) -> None:
    masks = cvat_masks(label_map, skip=skip, min_region_px=min_region_px)
    parts = regions(label_map, skip=skip, min_region_px=min_region_px)
    assert [(m.class_index, list(m.points)) for m in masks] == [(p.class_index, to_cvat_runs(p)) for p in parts]


@given(label_maps, st.sampled_from([(), (0,), (0, 255)]), st.sampled_from([0, 5]))
def test_all_cvat_masks_are_painted_back(label_map: LabelMap, skip: tuple[int, ...], min_region_px: int) -> None:
    masks = cvat_masks(label_map, skip=skip, min_region_px=min_region_px)
    ground = np.where(np.isin(label_map, skip), label_map, 9)
    kept = ground.copy()
    assert np.array_equal(paint_cvat_masks(masks, ground), label_map)
    assert np.array_equal(ground, kept)


def test_more_masks_than_two_bytes_can_number() -> None:
    dots = np.zeros((530, 530), np.uint8)
    dots[::2, ::2] = 1 + np.arange(265 * 265).reshape(265, 265) % 3
    masks = cvat_masks(dots, skip=(0,))
    assert len(masks) == 265 * 265 > 1 << 16
    assert np.array_equal(paint_cvat_masks(masks, np.zeros_like(dots)), dots)
    found = coco_masks(dots, skip=(0,))
    assert len(found.counts) == found.regions.class_of.size == 265 * 265
    assert (found.regions.sizes_px == 1).all()


@given(label_maps)
def test_cvat_runs_are_those_of_the_sdk(label_map: LabelMap) -> None:
    from cvat_sdk.masks import encode_mask

    for part in regions(label_map):
        whole = paint([Region(1, part.top_px, part.left_px, part.bits)], label_map.shape, fill=0) == 1
        assert to_cvat_runs(part) == encode_mask(whole, list(part.box_ltrb))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "at least five whole numbers"),
        ([0, 0, 1, 1], "at least five whole numbers"),
        ([0.5, 0.5, 0, 0, 0, 0], "at least five whole numbers"),
        ([0, float("nan"), 0, 0, 0, 0], "at least five whole numbers"),
        ([0, float("inf"), 0, 0, 0, 0], "at least five whole numbers"),
        ([0, 2, 0, 0, 0, 0], "add up to 2 px, the box holds 1"),
        ([2, -1, 0, 0, 0, 0], "add up to 1 px, the box holds 1"),
        ([2**62, 2**62, 2**62, 2**62 + 1024, 0, 0, 2, 2], "add up to 18446744073709552640 px, the box holds 9"),
        ([0, 2**53, 0, 0, 0, 0], "the box holds 1"),
        ([0, 10**400, 0, 0, 0, 0], "too large for one"),
        ([0, 2, 0, 0, 2**62, 0], "leaves the image of 4 x 3 px"),
        ([0, 1, -1, 0, -1, 0], "leaves the image of 4 x 3 px"),
        ([0, 2, 3, 0, 4, 0], "leaves the image of 4 x 3 px"),
        ([0, 2, 0, 2, 0, 3], "leaves the image of 4 x 3 px"),
        ([0, 1, 2, 0, 1, 0], "leaves the image of 4 x 3 px"),
    ],
)
def test_what_cvat_stores_unseen_is_checked(points: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_cvat_runs(points, 1, (3, 4))
    whole = CvatMask(1, (0, 1, 0, 0, 0, 0))
    with pytest.raises((DataError, OverflowError)):
        paint_cvat_masks([whole, CvatMask(1, tuple(points)), whole], np.zeros((3, 4), np.uint8))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([(1, 0, 0, 0, 0)], "a mask without a pixel"),
        ([(0, 1, 0, 0, 0, 0), (2, 0, 0, 1, 0)], "a mask without a pixel"),
        ([(0, 4, 0, 0, 1, 1), (0, 4, 1, 1, 2, 2)], "two masks share a pixel"),
    ],
)
def test_masks_that_do_not_fit_together_are_refused(masks: list[tuple[float, ...]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        paint_cvat_masks([CvatMask(1, points) for points in masks], np.zeros((3, 4), np.uint8))


def test_a_cvat_mask_without_a_pixel_is_none() -> None:
    assert from_cvat_runs([1, 0, 0, 0, 0], 1, (3, 4)) is None


def test_a_loose_box_is_made_tight() -> None:
    part = from_cvat_runs([5, 1, 6, 0, 0, 3, 2], 1, (3, 4))
    assert part is not None
    assert part.box_ltrb == (1, 1, 2, 2)


# COCO


@given(label_maps, st.sampled_from([(), (0,), (0, 255)]), st.sampled_from([0, 1, 5]))
def test_coco_masks_are_those_of_pycocotools(label_map: LabelMap, skip: tuple[int, ...], min_region_px: int) -> None:
    masks = coco_masks(label_map, skip=skip, min_region_px=min_region_px)
    found, parts = masks.regions, regions(label_map, skip=skip, min_region_px=min_region_px)
    boxes = [part.box_ltrb for part in parts]
    assert found.class_of.tolist() == [part.class_index for part in parts]
    assert found.boxes_ltrb.tolist() == [list(box) for box in boxes]
    assert found.parts.tolist() == [ndimage.label(part.bits, structure=np.ones((3, 3)))[1] for part in parts]
    for counts, area_px, part in zip(masks.counts, found.sizes_px, parts, strict=True):
        whole = paint([Region(1, part.top_px, part.left_px, part.bits)], label_map.shape, fill=0)
        theirs = coco_mask.encode(np.asfortranarray(whole))
        assert counts == theirs["counts"].decode("ascii")
        assert np.array_equal(coco_mask.decode({"size": list(label_map.shape), "counts": counts}), whole)
        assert area_px == coco_mask.area(theirs) == part.area_px
        left, top, w, h = coco_mask.toBbox(theirs).tolist()
        assert part.box_ltrb == (left, top, left + w, top + h)


def test_the_examples_in_the_docstrings_are_true() -> None:
    result = doctest.testmod(run_lengths)
    assert result.attempted == 4
    assert result.failed == 0
