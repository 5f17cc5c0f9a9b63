"""Label maps as polygons: the regions lose nothing, the outlines little, and neighbours stay neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from annoloop.errors import DataError
from annoloop.masks.polygons import Piece, loss_px, pieces
from annoloop.masks.regions import LabelMap, Region, coverage, from_cvat_outline, paint


def _blown_up(small: LabelMap, times: int) -> LabelMap:
    return np.repeat(np.repeat(small, times, axis=0), times, axis=1)


small_maps = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 15)), elements=st.sampled_from([0, 0, 0, 1, 1, 2, 255])
)
label_maps = st.builds(_blown_up, small_maps, st.integers(1, 3))
"""Noise and blocks with holes, islands and corners that touch; class 0 and ignore."""


def _pierced(seed: int, share: float) -> LabelMap:
    """Mostly class 1, with holes and islands of all sizes, some of them in each other's way."""
    rng = np.random.default_rng(seed)
    return rng.choice(3, size=(20, 25), p=[0.8 * (1 - share), share, 0.2 * (1 - share)]).astype(np.uint8)


def _outlines(found: list[Piece]) -> list[shapely.Polygon]:
    return [shapely.Polygon(np.reshape(p.outline, (-1, 2))) for p in found if p.outline is not None]


def _ring(outer: int, hole: int) -> LabelMap:
    """A square of class 1 with a square hole in its middle, one pixel of margin."""
    label_map = np.zeros((outer + 2, outer + 2), np.uint8)
    label_map[1:-1, 1:-1] = 1
    first = 1 + (outer - hole) // 2
    label_map[first : first + hole, first : first + hole] = 0
    return label_map


@given(
    label_maps, st.sampled_from([(), (0,), (0, 255)]), st.sampled_from([0, 1, 5, 10_000]), st.sampled_from([0, 1, 3])
)
def test_the_regions_give_the_map_back(label_map: LabelMap, skip: tuple[int, ...], small: int, tolerance: int) -> None:
    found = pieces(label_map, skip=skip, min_region_px=small, tolerance_px=tolerance)
    parts = [p.region for p in found]
    expected = np.where(np.isin(label_map, skip), 7, label_map)
    assert np.array_equal(paint(parts, label_map.shape, fill=7), expected)
    assert coverage(parts, label_map.shape).max(initial=0) <= 1


@given(label_maps)
def test_without_tolerance_every_outline_is_its_region(label_map: LabelMap) -> None:
    found = pieces(label_map, tolerance_px=0)
    for piece in found:
        assert piece.outline is not None
        read = from_cvat_outline("polygon", piece.outline, 0, piece.region.class_index, label_map.shape)
        assert read is not None
        assert read.box_ltrb == piece.region.box_ltrb
        assert np.array_equal(read.bits, piece.region.bits)
    assert loss_px(found, label_map, fill=9) == 0


@given(st.builds(_pierced, st.integers(0, 9999), st.floats(0.6, 0.9)), st.integers(2, 12))
def test_with_small_holes_filled_an_outline_still_covers_its_region(label_map: LabelMap, small: int) -> None:
    found = pieces(label_map, skip=(0,), min_region_px=small, tolerance_px=0)
    for piece in found:
        bits = piece.region.bits
        assert all(edge.any() for edge in (bits[0], bits[-1], bits[:, 0], bits[:, -1]))
        if piece.outline is not None:
            read = from_cvat_outline("polygon", piece.outline, 0, piece.region.class_index, label_map.shape)
            assert read is not None
            covered = paint([read], label_map.shape, fill=9) != 9
            region = paint([piece.region], label_map.shape, fill=9) != 9
            assert (covered | ~region).all()
            assert (label_map[covered & ~region] != piece.region.class_index).all()
            holes, _ = ndimage.label(covered & ~region)
            assert np.bincount(holes.ravel())[1:].max(initial=0) < small


@given(label_maps, st.sampled_from([0, 1, 2.5]))
def test_outlines_are_simple_rings_that_do_not_overlap(label_map: LabelMap, tolerance: float) -> None:
    outlines = _outlines(pieces(label_map, skip=(0,), tolerance_px=tolerance))
    assert all(outline.is_valid and outline.exterior.is_simple for outline in outlines)
    assert shapely.union_all(outlines).area == pytest.approx(sum(o.area for o in outlines))


@given(label_maps, st.integers(0, 10))
def test_equal_maps_make_equal_pieces_in_order(label_map: LabelMap, small: int) -> None:
    def plain(found: list[Piece]) -> list[object]:
        return [(p.region.class_index, p.region.box_ltrb, p.region.bits.tolist(), p.outline) for p in found]

    found = pieces(label_map, min_region_px=small)
    assert plain(found) == plain(pieces(label_map.copy(), min_region_px=small))
    drawn = [p.region for p in found if p.outline is not None]
    order = [(r.class_index, r.top_px, r.left_px) for r in drawn]
    assert order == sorted(order)
    assert all(p.outline is None for p in found[len(drawn) :])


@given(label_maps, st.sampled_from([0, 1, 2]), st.sampled_from([0, 6]))
def test_loss_is_what_cvat_would_give_back(label_map: LabelMap, tolerance: int, small: int) -> None:
    found = pieces(label_map, skip=(0,), tolerance_px=tolerance, min_region_px=small)
    read: list[Region | None] = [
        from_cvat_outline("polygon", p.outline, 0, p.region.class_index, label_map.shape) if p.outline else p.region
        for p in found
    ]
    painted = paint((r for r in read if r is not None), label_map.shape, fill=0)
    assert loss_px(found, label_map, fill=0) == np.count_nonzero(painted != label_map)


@pytest.mark.parametrize("tolerance", [1, 2, 4])
def test_a_wiggly_border_between_two_classes_stays_shared(tolerance: int) -> None:
    wiggle = np.round(30 + 6 * np.sin(np.arange(80) / 5) + 2 * np.sin(np.arange(80))).astype(int)
    label_map = np.where(np.arange(60) < wiggle[:, None], 1, 2).astype(np.uint8)
    exact, found = pieces(label_map, tolerance_px=0), pieces(label_map, tolerance_px=tolerance)
    left, right = _outlines(found)
    assert len(found[0].outline or ()) < len(exact[0].outline or ()) / 2
    assert shapely.union(left, right).area == left.area + right.area == 60 * 80
    assert 0 < loss_px(found, label_map, fill=0) < 60 * 80 * 0.05


def test_tolerance_is_the_root_of_the_triangle_that_may_go() -> None:
    bump = np.zeros((30, 30), np.uint8)
    bump[5:25, 5:25] = 1
    bump[4, 10:14] = 1  # its corners make triangles of 4 x 1 / 2 = 2 px
    (kept,), (gone,) = (_outlines(pieces(bump, skip=(0,), tolerance_px=t)) for t in (1.41, 1.42))
    assert (kept.area, gone.area) == (404, 400)


def test_a_hole_is_cut_open_and_no_more_than_needed() -> None:
    found = pieces(_ring(9, 3), skip=(0,), tolerance_px=0)
    assert [(p.region.class_index, p.region.box_ltrb) for p in found] == [(1, (1, 1, 7, 10)), (1, (4, 1, 10, 10))]
    assert sum(p.region.area_px for p in found) == 81 - 9


def test_many_holes_make_at_most_one_part_more_than_holes() -> None:
    label_map = np.ones((40, 50), np.uint8)
    label_map[5:35:10, 5:45:10] = 0
    label_map[8:38:10, 8:48:10] = 2
    found = pieces(label_map, skip=(0,), tolerance_px=0)
    assert sum(p.region.class_index == 1 for p in found) <= 12 + 12 + 1
    assert loss_px(found, label_map, fill=0) == 0


def test_an_island_in_a_lake_on_an_island() -> None:
    label_map = np.zeros((22, 22), np.uint8)
    for number, margin in enumerate(range(1, 10, 2)):
        label_map[margin : 22 - margin, margin : 22 - margin] = (1, 0, 1, 2, 1)[number]
    found = pieces(label_map, skip=(0,), tolerance_px=0)
    assert all(p.outline is not None for p in found)
    assert loss_px(found, label_map, fill=0) == 0


def test_a_small_hole_is_filled_in_the_outline_but_not_in_the_region() -> None:
    label_map = _ring(20, 3)
    (piece,) = pieces(label_map, skip=(0,), min_region_px=10, tolerance_px=0)
    assert piece.region.area_px == 400 - 9
    assert piece.outline is not None
    assert len(piece.outline) == 8
    assert loss_px([piece], label_map, fill=0) == 9
    assert len(pieces(label_map, skip=(0,), min_region_px=9, tolerance_px=0)) == 2


def test_a_speck_in_a_small_hole_lies_on_top_and_is_not_lost() -> None:
    label_map = _ring(20, 3)
    label_map[label_map == 0] = 2
    label_map[0], label_map[-1], label_map[:, 0], label_map[:, -1] = 0, 0, 0, 0
    outlined, speck = pieces(label_map, skip=(0,), min_region_px=10)
    assert (outlined.region.class_index, speck.region.class_index) == (1, 2)
    assert speck.outline is None
    assert loss_px([outlined, speck], label_map, fill=0) == 0


def test_specks_travel_together_as_one_mask_per_class() -> None:
    speckled = np.zeros((60, 80), np.uint8)
    speckled[::2, ::2] = 1
    speckled[1::4, 1::4] = 3
    speckled[10:30, 10:30] = 2
    found = pieces(speckled, skip=(0,), min_region_px=16)
    assert [(p.region.class_index, p.outline is None) for p in found] == [(2, False), (1, True), (3, True)]


def test_what_simplifies_to_nothing_travels_as_a_mask() -> None:
    diagonal = np.eye(6, dtype=np.uint8)  # six pixels, each its own part, each a triangle after simplifying
    found = pieces(diagonal, skip=(0,), tolerance_px=1)
    (mask,) = (p.region for p in found if p.outline is None)
    assert mask.area_px > 1
    for piece in found:
        if piece.outline is not None:
            assert from_cvat_outline("polygon", piece.outline, 0, 1, (6, 6)) is not None


def test_corners_that_touch_do_not_join() -> None:
    found = pieces(np.array([[1, 0], [0, 1]], np.uint8), skip=(0,))
    assert [p.region.box_ltrb for p in found] == [(0, 0, 1, 1), (1, 1, 2, 2)]


def test_a_map_of_nothing_but_skipped_classes_has_no_piece() -> None:
    assert pieces(np.zeros((3, 5), np.uint8), skip=(0,)) == []


def test_a_map_of_one_class_is_one_rectangle() -> None:
    (piece,) = pieces(np.full((3, 5), 4, np.uint8))
    assert shapely.equals(_outlines([piece])[0], shapely.box(0, 0, 5, 3))


def test_another_dtype_is_no_label_map() -> None:
    with pytest.raises(DataError, match="a label map is uint8"):
        pieces(np.zeros((2, 3), np.int64))  # type: ignore[arg-type]
