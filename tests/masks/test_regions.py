"""Law 1: label maps to regions and back without losing a pixel, and what outlines cover."""

from __future__ import annotations

import doctest

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from annoloop.errors import DataError
from annoloop.masks import regions as module
from annoloop.masks.regions import (
    Division,
    LabelMap,
    Region,
    check_label_map,
    components,
    coverage,
    divide,
    from_cvat_outline,
    paint,
    rasterize,
    regions,
    tight,
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

every_value = hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.integers(0, 255))
lines = hnp.arrays(np.uint8, st.tuples(st.just(1), st.integers(1, 40)), elements=st.sampled_from([0, 1, 255]))
all_maps = label_maps | every_value | lines | lines.map(np.transpose)

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
        for n in range(found.class_of.size)
    }
    assert numbered == {(r.class_index, r.area_px, r.box_ltrb) for r in regions(label_map)}
    assert np.array_equal(found.class_of[found.numbers], label_map)


def _components(bits: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], int]:
    """Numbered as SciPy does it, diagonal neighbours included."""
    return ndimage.label(bits, structure=np.ones((3, 3)))


def _cut_by_scipy(label_map: LabelMap, skip: int, min_region_px: int) -> list[Region]:
    """Regions the plain way: class by class, component by component."""
    found = []
    for index in (i for i in range(256) if i != skip):
        numbers, count = _components(label_map == index)
        small = np.isin(numbers, [n for n in range(1, count + 1) if np.count_nonzero(numbers == n) < min_region_px])
        cut = [tight(index, (numbers == n) & ~small) for n in range(1, count + 1)]
        found += [region for region in (*cut, tight(index, small)) if region is not None]
    return sorted(found, key=lambda r: (r.class_index, r.top_px, r.left_px))


@given(all_maps, st.sampled_from([0, 1, 255]), st.sampled_from([0, 1, 2, 5, 10_000]))
@settings(max_examples=50)
def test_regions_are_those_of_scipy(label_map: LabelMap, skip: int, min_region_px: int) -> None:
    def said(parts: list[Region]) -> list[tuple[object, ...]]:
        return [(r.class_index, r.box_ltrb, r.bits.tolist()) for r in parts]

    ours = said(regions(label_map, skip=(skip,), min_region_px=min_region_px))
    theirs = said(_cut_by_scipy(label_map, skip, min_region_px))
    assert [one[:2] for one in ours] == [one[:2] for one in theirs]
    assert sorted(ours) == sorted(theirs)  # of several in one box either may come first


@given(all_maps, st.sampled_from([(), (0,), (0, 255)]), st.sampled_from([0, 2, 5]))
def test_a_map_is_divided_alike_along_rows_and_along_columns(
    label_map: LabelMap, skip: tuple[int, ...], min_region_px: int
) -> None:
    by_rows = divide(label_map, skip=skip, min_region_px=min_region_px)
    by_columns = divide(label_map, along="columns", skip=skip, min_region_px=min_region_px)
    for name in ("class_of", "sizes_px", "boxes_ltrb", "parts"):
        assert np.array_equal(getattr(by_rows, name), getattr(by_columns, name))
    owners = _owner_map(by_rows, label_map.shape)
    assert np.array_equal(owners, _owner_map(by_columns, label_map.T.shape).T)
    assert np.array_equal(owners == -1, np.isin(label_map, skip))
    assert np.array_equal(by_rows.class_of[owners[owners >= 0]], label_map[owners >= 0])
    assert by_rows.parts.tolist() == [_components(owners == number)[1] for number in range(by_rows.class_of.size)]


def _owner_map(found: Division, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Which region each pixel is of, -1 for none; lines first."""
    owners = np.full(shape, -1)
    for (line, start, end, value), owner in zip(found.runs.tolist(), found.owners.tolist(), strict=True):
        assert (owners[line, start:end] == -1).all()
        assert value == found.class_of[owner]
        owners[line, start:end] = owner
    return owners


@given(all_maps, st.sampled_from([0, 2, 5]))
def test_a_map_of_two_bytes_is_divided_like_one_of_one(label_map: LabelMap, min_region_px: int) -> None:
    narrow = divide(label_map, skip=(1,), min_region_px=min_region_px)
    wide = divide(label_map.astype(np.uint16) * 257, skip=(257,), min_region_px=min_region_px)
    assert np.array_equal(wide.class_of, narrow.class_of.astype(np.uint16) * 257)
    for name in ("owners", "sizes_px", "boxes_ltrb", "parts"):
        assert np.array_equal(getattr(wide, name), getattr(narrow, name))


@given(label_maps)
def test_without_gathering_a_region_is_one_component(label_map: LabelMap) -> None:
    assert all(_components(part.bits)[1] == 1 for part in regions(label_map))


@given(label_maps, st.integers(2, 20))
def test_only_specks_are_gathered_one_region_per_class(label_map: LabelMap, min_region_px: int) -> None:
    def large(parts: list[Region]) -> list[tuple[int, tuple[int, int, int, int], int]]:
        whole = (p for p in parts if p.area_px >= min_region_px and _components(p.bits)[1] == 1)
        return [(p.class_index, p.box_ltrb, p.area_px) for p in whole]

    alone, gathered = regions(label_map), regions(label_map, min_region_px=min_region_px)
    assert set(large(alone)) <= set(large(gathered))
    left = [p.class_index for p in gathered if p.area_px < min_region_px or _components(p.bits)[1] > 1]
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


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.bool_, np.float32])
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


# polygons and other outlines


def test_a_polygon_covers_what_pycocotools_says() -> None:
    part = rasterize([[1, 1, 5, 1, 5, 3, 1, 3]], 2, (4, 7))
    assert part is not None
    assert (part.class_index, part.box_ltrb, part.area_px) == (2, (1, 1, 5, 3), 8)


def test_polygons_with_several_parts_are_one_region() -> None:
    part = rasterize([[0, 0, 2, 0, 2, 2, 0, 2], [4, 0, 6, 0, 6, 2, 4, 2]], 2, (4, 7))
    assert part is not None
    assert _components(part.bits)[1] == 2
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
    result = doctest.testmod(module)
    assert result.attempted >= 3
    assert result.failed == 0
