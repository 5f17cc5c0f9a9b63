"""Law 1: label maps, regions and the run lengths of CVAT and of COCO, there and back without losing a pixel."""

from __future__ import annotations

import doctest
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from annoloop import masks
from annoloop.errors import DataError
from annoloop.masks import (
    LabelMap,
    Region,
    check_label_map,
    components,
    coverage,
    from_coco_counts,
    from_cvat_outline,
    from_cvat_runs,
    paint,
    rasterize,
    regions,
    tight,
    to_coco_counts,
    to_cvat_runs,
    unpack_coco_counts,
)

IGNORE = 255
DOT = np.ones((1, 1), np.bool_)


def _blown_up(small: LabelMap, rows: int, columns: int) -> LabelMap:
    return np.repeat(np.repeat(small, rows, axis=0), columns, axis=1)


small_maps = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 12)), elements=st.sampled_from([0, 0, 0, 1, 2, 254, 255])
)
label_maps = st.builds(_blown_up, small_maps, st.integers(1, 3), st.integers(1, 3))
"""Noise and blocks, mostly not square, 1 x 1 included; class 0, 254 and ignore."""

bit_arrays = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 12)))

RING = np.array([[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 1, 1, 1, 1]], np.uint8)
"""Touching classes, each in the hole of the next, and a one-pixel class."""


@given(label_maps, st.sampled_from([0, 1, 255]), st.sampled_from([0, 1, 2, 5, 10_000]))
def test_painting_the_regions_gives_the_map_back(label_map: LabelMap, fill: int, min_region_px: int) -> None:
    parts = regions(label_map, skip=(fill,), min_region_px=min_region_px)
    assert np.array_equal(paint(parts, label_map.shape, fill=fill), label_map)


@given(label_maps, st.sampled_from([0, 5]))
def test_regions_cover_every_pixel_once_and_are_tight_and_in_order(label_map: LabelMap, min_region_px: int) -> None:
    parts = regions(label_map, min_region_px=min_region_px)
    assert (coverage(parts, label_map.shape) == 1).all()
    for part in parts:
        assert part.bits[0].any()
        assert part.bits[-1].any()
        assert part.bits[:, 0].any()
        assert part.bits[:, -1].any()
    order = [(p.class_index, p.top_px, p.left_px) for p in parts]
    assert order == sorted(order)


@given(label_maps)
def test_components_are_the_regions_without_cutting_them_out(label_map: LabelMap) -> None:
    found = components(label_map)
    numbered = {
        (int(found.class_of[n]), int(found.sizes_px[n]), tuple(found.boxes_ltrb[n].tolist()))
        for n in range(1, found.class_of.size)
    }
    assert numbered == {(r.class_index, r.area_px, r.box_ltrb) for r in regions(label_map)}
    assert np.array_equal(found.class_of[found.numbers], label_map)


@given(label_maps)
def test_without_gathering_a_region_is_one_component(label_map: LabelMap) -> None:
    assert all(part.is_one_component() for part in regions(label_map))


@given(label_maps, st.integers(2, 20))
def test_only_specks_are_gathered_one_region_per_class(label_map: LabelMap, min_region_px: int) -> None:
    def large(parts: list[Region]) -> list[tuple[int, tuple[int, int, int, int], int]]:
        whole = (p for p in parts if p.area_px >= min_region_px and p.is_one_component())
        return [(p.class_index, p.box_ltrb, p.area_px) for p in whole]

    alone, gathered = regions(label_map), regions(label_map, min_region_px=min_region_px)
    assert set(large(alone)) <= set(large(gathered))
    left = [p.class_index for p in gathered if p.area_px < min_region_px or not p.is_one_component()]
    assert len(left) == len(set(left))


def test_a_speckled_map_makes_few_regions() -> None:
    speckled = np.zeros((60, 80), np.uint8)
    speckled[::2, ::2] = 1
    speckled[10:30, 10:30] = 2
    assert len(regions(speckled, skip=(0,))) > 1000
    assert [p.class_index for p in regions(speckled, skip=(0,), min_region_px=16)] == [1, 2]


def test_holes_touching_classes_and_a_single_pixel() -> None:
    parts = regions(RING)
    assert [(p.class_index, p.area_px, p.box_ltrb) for p in parts] == [
        (0, 1, (2, 2, 3, 3)),
        (1, 14, (0, 0, 5, 4)),
        (2, 5, (1, 1, 4, 3)),
    ]


def test_diagonal_neighbours_hang_together() -> None:
    (part,) = regions(np.array([[1, 0], [0, 1]], np.uint8), skip=(0,))
    assert part.area_px == 2


def test_a_map_of_nothing_but_skipped_classes_has_no_region() -> None:
    assert regions(np.zeros((3, 5), np.uint8), skip=(0,)) == []


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.bool_, np.float32])
def test_another_dtype_is_no_label_map(dtype: npt.DTypeLike) -> None:
    with pytest.raises(DataError, match="a label map is uint8"):
        regions(np.zeros((2, 3), dtype))


@pytest.mark.parametrize("shape", [(2, 3, 1), (6,), (0, 3), (3, 0)])
def test_another_shape_is_no_label_map(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="a label map is uint8"):
        check_label_map(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("top", "left"), [(-1, 0), (0, -1), (2, 0), (0, 3)])
def test_painting_outside_the_image_is_refused(top: int, left: int) -> None:
    with pytest.raises(DataError, match="does not fit into an image of 3 x 2 px"):
        paint([Region(1, top, left, DOT)], (2, 3), fill=0)


def test_painting_goes_later_over_earlier_and_leaves_the_ground_alone() -> None:
    ground = np.full((2, 3), 7, np.uint8)
    painted = paint([Region(1, 0, 0, np.ones((1, 2), np.bool_)), Region(2, 0, 1, DOT)], (2, 3), fill=0, onto=ground)
    assert painted.tolist() == [[1, 2, 7], [7, 7, 7]]
    assert (ground == 7).all()


@given(bit_arrays, st.integers(0, 4), st.integers(0, 4))
def test_tight_keeps_every_pixel_in_its_place(bits: npt.NDArray[np.bool_], top: int, left: int) -> None:
    part = tight(3, bits, top_px=top, left_px=left)
    if part is None:
        assert not bits.any()
        return
    h, w = bits.shape
    painted = paint([part], (top + h, left + w), fill=0)
    assert np.array_equal(painted[top:, left:] == 3, bits)
    assert part.area_px == np.count_nonzero(bits)


# CVAT


@given(label_maps, st.sampled_from([0, 5]))
def test_cvat_runs_give_every_region_back(label_map: LabelMap, min_region_px: int) -> None:
    parts = regions(label_map, min_region_px=min_region_px)
    # A server returns floats.
    read = [from_cvat_runs([float(n) for n in to_cvat_runs(p)], p.class_index, label_map.shape) for p in parts]
    assert np.array_equal(paint((r for r in read if r), label_map.shape, fill=9), label_map)


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
        ([0, 1, -1, 0, -1, 0], "leaves the image of 4 x 3 px"),
        ([0, 2, 3, 0, 4, 0], "leaves the image of 4 x 3 px"),
        ([0, 2, 0, 2, 0, 3], "leaves the image of 4 x 3 px"),
        ([0, 1, 2, 0, 1, 0], "leaves the image of 4 x 3 px"),
    ],
)
def test_what_cvat_stores_unseen_is_checked(points: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_cvat_runs(points, 1, (3, 4))


def test_a_cvat_mask_without_a_pixel_is_none() -> None:
    assert from_cvat_runs([1, 0, 0, 0, 0], 1, (3, 4)) is None


def test_a_loose_box_is_made_tight() -> None:
    part = from_cvat_runs([5, 1, 6, 0, 0, 3, 2], 1, (3, 4))
    assert part is not None
    assert part.box_ltrb == (1, 1, 2, 2)


# COCO


@given(label_maps, st.sampled_from([0, 5]))
def test_coco_counts_give_every_region_back(label_map: LabelMap, min_region_px: int) -> None:
    parts = regions(label_map, min_region_px=min_region_px)
    read = [from_coco_counts(to_coco_counts(p, label_map.shape), p.class_index, label_map.shape) for p in parts]
    assert np.array_equal(paint((r for r in read if r), label_map.shape, fill=9), label_map)


@given(label_maps)
def test_pycocotools_reads_our_counts_and_we_read_its(label_map: LabelMap) -> None:
    h, w = label_map.shape
    for part in regions(label_map):
        whole = paint([Region(1, part.top_px, part.left_px, part.bits)], (h, w), fill=0)
        counts = to_coco_counts(part, (h, w))
        packed = coco_mask.frPyObjects({"counts": counts, "size": [h, w]}, h, w)
        assert np.array_equal(coco_mask.decode(packed), whole)
        theirs = coco_mask.encode(np.asfortranarray(whole))["counts"].decode("ascii")
        assert unpack_coco_counts(theirs).tolist() == counts


@given(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=30))
def test_compressed_counts_of_any_size_unpack(counts: list[int]) -> None:
    packed = coco_mask.frPyObjects({"counts": counts, "size": [sum(counts), 1]}, sum(counts), 1)
    assert unpack_coco_counts(packed["counts"].decode("ascii")).tolist() == counts


@given(st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=40))
def test_damaged_compressed_counts_are_data_errors_and_nothing_else(text: str) -> None:
    with suppress(DataError):
        from_coco_counts(unpack_coco_counts(text), 1, (5, 7))


@pytest.mark.parametrize("text", ["", "~~~", "!!", "P", "ÿ", "o" * 20 + "0"])
def test_damaged_compressed_counts_are_named(text: str) -> None:
    with pytest.raises(DataError, match="compressed RLE counts are damaged"):
        unpack_coco_counts(text)


@pytest.mark.parametrize("counts", [[], [11], [13], [6, -1, 7], [4, 4, 3]])
def test_counts_must_fill_the_image(counts: list[int]) -> None:
    with pytest.raises(DataError, match="the image holds 12"):
        from_coco_counts(counts, 1, (3, 4))


def test_counts_without_a_pixel_are_none() -> None:
    assert from_coco_counts([12], 1, (3, 4)) is None


# polygons and other outlines


def test_a_polygon_covers_what_pycocotools_says() -> None:
    part = rasterize([[1, 1, 5, 1, 5, 3, 1, 3]], 2, (4, 7))
    assert part is not None
    assert (part.class_index, part.box_ltrb, part.area_px) == (2, (1, 1, 5, 3), 8)


def test_polygons_with_several_parts_are_one_region() -> None:
    part = rasterize([[0, 0, 2, 0, 2, 2, 0, 2], [4, 0, 6, 0, 6, 2, 4, 2]], 2, (4, 7))
    assert part is not None
    assert not part.is_one_component()
    assert part.bits.tolist() == [[True, True, False, False, True, True]] * 2


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([], "three points or more"),
        ([[]], "one has 0 numbers"),
        ([[0, 0, 1, 1]], "one has 4 numbers"),
        ([[0, 0, 1, 1, 2, 2, 3]], "one has 7 numbers"),
        ([[0, 0, 4, 0, 4, 4], [1, 1]], "one has 2 numbers"),
        ([[0, 0, float("nan"), 0, 4, 4]], "no position in an image"),
        ([[0, 0, float("inf"), 0, 4, 4]], "no position in an image"),
        ([[0, 0, 1e300, 0, 4, 4]], "no position in an image"),
    ],
)
def test_a_polygon_that_cannot_be_is_refused(polygons: list[list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        rasterize(polygons, 1, (5, 7))


@pytest.mark.parametrize("rotation", [0, 180, 360])
def test_a_rectangle_covers_its_pixels(rotation: float) -> None:
    part = from_cvat_outline("rectangle", [1, 1, 5, 3], rotation, 1, (6, 9))
    assert part is not None
    assert (part.box_ltrb, part.area_px) == ((1, 1, 5, 3), 8)


@pytest.mark.parametrize("rotation", [90, 270])
def test_a_quarter_turn_swaps_a_rectangle_about_its_centre(rotation: float) -> None:
    part = from_cvat_outline("rectangle", [2, 4, 8, 6], rotation, 1, (10, 12))
    assert part is not None
    assert (part.box_ltrb, part.area_px) == ((4, 2, 6, 8), 12)


def test_rotation_is_clockwise_as_seen() -> None:
    # A long flat bar turned by 45 degrees clockwise points down to the right.
    part = from_cvat_outline("rectangle", [10, 28, 50, 32], 45, 1, (60, 60))
    assert part is not None
    painted = paint([part], (60, 60), fill=0)
    assert painted[42, 42] == 1
    assert painted[42, 18] == 0


def test_an_ellipse_has_about_its_area() -> None:
    part = from_cvat_outline("ellipse", [50, 40, 80, 20], 0, 1, (80, 100))  # centre, right end, top end
    assert part is not None
    assert part.area_px == pytest.approx(np.pi * 30 * 20, rel=0.02)
    assert part.box_ltrb == pytest.approx((20, 20, 80, 60), abs=1)


@pytest.mark.parametrize("kind", ["polyline", "points", "cuboid", "skeleton"])
def test_a_shape_without_an_area_is_refused_with_advice(kind: str) -> None:
    with pytest.raises(DataError, match=f"a {kind} has no area to label; draw a mask"):
        from_cvat_outline(kind, [0, 0, 1, 1], 0, 1, (5, 7))


def test_the_examples_in_the_docstrings_are_true() -> None:
    result = doctest.testmod(masks)
    assert result.attempted >= 3
    assert result.failed == 0
