"""Annotations painted: every shape of a segmentation that is unambiguous, what is left out, and what overlaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from annoloop.data.coco.drawn import all_in_shares
from annoloop.data.coco.painting import ReadImage, read_label_map
from annoloop.data.coco.reading import CocoImage
from annoloop.masks.classes import class_table

Json = dict[str, Any]
CLASSES = class_table(["background", "car", "tree"], background="background")
INDEX_OF = {3: 1, 8: 2}
SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]


def _image(*annotations: Json, size_hw: tuple[int, int] = (5, 7)) -> CocoImage:
    numbered = tuple({"id": i, "image_id": 4, "category_id": 3, **one} for i, one in enumerate(annotations))
    return CocoImage(4, "a.jpg", size_hw, numbered)


def _read(*annotations: Json, **how: Any) -> ReadImage:
    return read_label_map(_image(*annotations), CLASSES, INDEX_OF, **how)


def _px(read: ReadImage) -> int:
    return 0 if read.label_map is None else int(np.count_nonzero(read.label_map))


SHAPES: dict[str, Any] = {
    "a polygon": [SQUARE],
    "a flat list": SQUARE,
    "texts": [[str(number) for number in SQUARE]],
    "floats": [[float(number) for number in SQUARE]],
    "pairs": [[[1, 1], [3, 1], [3, 3], [1, 3]]],
    "pairs in one list": [[1, 1], [3, 1], [3, 3], [1, 3]],
    "pairs in a list of lists": [[[[1, 1], [3, 1], [3, 3], [1, 3]]]],
    "a polygon in another list": [[SQUARE]],
    "points as objects": [[{"x": 1, "y": 1}, {"x": 3, "y": 1}, {"x": 3, "y": 3}, {"x": 1, "y": 3}]],
    "points as objects in one list": [{"x": 1, "y": 1}, {"x": 3, "y": 1}, {"x": 3, "y": 3}, {"x": 1, "y": 3}],
    "JSON text": "[[1, 1, 3, 1, 3, 3, 1, 3]]",
    "run lengths": {"size": [5, 7], "counts": [6, 2, 3, 2, 22]},
    "run lengths as floats": {"size": [5.0, "7"], "counts": [6.0, "2", 3, 2, 22]},
    "run lengths without a size": {"counts": [6, 2, 3, 2, 22]},
    "run lengths in a list": [{"size": [5, 7], "counts": [6, 2, 3, 2, 22]}],
    "two run lengths": [{"counts": [6, 2, 27]}, {"counts": [11, 2, 22]}],
    "run lengths and a polygon": [{"counts": [6, 2, 27]}, [2, 1, 3, 1, 3, 3, 2, 3]],
    "compressed": coco_mask.encode(np.asfortranarray(np.pad(np.ones((2, 2), np.uint8), ((1, 2), (1, 4))))),
}
SHAPES["compressed"]["counts"] = SHAPES["compressed"]["counts"].decode("ascii")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_the_same_square_is_the_same_square(shape: str) -> None:
    read = _read({"segmentation": SHAPES[shape]})
    assert read.label_map is not None
    assert read.label_map.tolist() == np.pad(np.ones((2, 2), int), ((1, 2), (1, 4))).tolist()
    assert (read.remarks.notes(), read.painted, read.overlaps) == ((), 1, ())


def test_a_polygon_with_several_parts_and_a_hole_made_by_order() -> None:
    read = _read(
        {"segmentation": [[0, 0, 5, 0, 5, 4, 0, 4], [6, 0, 7, 0, 7, 5, 6, 5]]},
        {"category_id": 8, "segmentation": [SQUARE]},
    )
    expected = [[1, 1, 1, 1, 1, 0, 1], [1, 2, 2, 1, 1, 0, 1], [1, 2, 2, 1, 1, 0, 1], [1, 1, 1, 1, 1, 0, 1],
                [0, 0, 0, 0, 0, 0, 1]]  # fmt: skip
    assert read.label_map is not None
    assert read.label_map.tolist() == expected


@pytest.mark.parametrize("part", [[], [1, 1], [1, 1, 3, 3], [1, 1, 3, 1, 3], [[1, 1], [3, 3]]])
def test_a_part_of_fewer_than_three_points_covers_nothing_and_is_counted(part: Any) -> None:
    note = "1 parts of fewer than three points, which cover nothing, left out: annotation 0 of a.jpg"
    read = _read({"segmentation": [SQUARE, part]})
    assert (_px(read), read.remarks.notes(), read.remarks.losses) == (4, (note,), 0)
    read = _read({"segmentation": [part]})
    assert (_px(read), read.remarks.notes(), read.label_map is None) == (0, (note,), False)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 3, 1, 3, 3, 1]], "a polygon is x, y pairs, one has 7 numbers"),
        ([["a", "b", "c", "d", "e", "f"]], "cannot be read"),
        ([[0, 0, 1e300, 0, 4, 4]], "no position in an image"),
        ([[1, 1, 3, None, 3, 3]], "no position in an image"),
        ([[0, 0, 9e5, 9e5] * 2000], "a polygon's outline is longer than"),
        ([[[1, 1, 3, 1, 3, 3], [1, 1, 2, 1, 2, 2]]], "may be holes"),
        ({"size": [7, 5], "counts": [35]}, "RLE size [7, 5] is not the image's [5, 7]"),
        ({"size": [5, 7], "counts": [5, 2, 27]}, "RLE counts add up to 34 px, the image holds 35"),
        ({"size": [5, 7], "counts": "52"}, "RLE counts add up to 7 px, the image holds 35"),
        ({"size": [5, 7], "counts": "~~"}, "compressed RLE counts are damaged"),
        ({"size": [5, 7], "counts": ""}, "compressed RLE counts are damaged"),
        ({"size": [5, 7]}, "an object without x and y"),
        ({"size": 5, "counts": [35]}, "RLE size 5 is not height and width"),
        ({"size": [5, 7], "counts": ["a"]}, "which is no whole number"),
        ({"size": [5, 7], "counts": None}, "RLE counts are no list and no text"),
        (7, "it is no list and no object"),
        ("abc", "it is no list and no object"),
    ],
)
def test_a_segmentation_that_cannot_be_read_is_left_out_and_told(segmentation: Any, message: str) -> None:
    read = _read({"segmentation": [SQUARE]}, {"segmentation": segmentation})
    assert _px(read) == 4
    (note,) = read.remarks.notes()
    assert "that cannot be read, left out: annotation 1 of a.jpg: " in note
    assert message in note
    assert _read({"segmentation": segmentation}).label_map is None


@pytest.mark.parametrize("segmentation", [None, [], {}, ""])
def test_a_box_alone_says_nothing_about_pixels_and_is_told(segmentation: object) -> None:
    boxed = {"bbox": [1, 1, 2, 2], "segmentation": segmentation}
    note = "2 annotations without a segmentation (a box alone says nothing about pixels), left out"
    read = _read(boxed, boxed, {"segmentation": [SQUARE]})
    assert _px(read) == 4
    assert read.remarks.notes()[0].startswith(note)
    assert _read(boxed, boxed).label_map is None, "a mask that is all background would be wrong"


def test_a_segmentation_without_a_pixel_and_an_unknown_category_are_told() -> None:
    empty = {"segmentation": {"size": [5, 7], "counts": [35]}}
    line = {"segmentation": [[1, 1, 3, 1, 5, 1]]}
    unknown = {"category_id": [5], "segmentation": [SQUARE]}
    read = _read(empty, line, unknown, {"segmentation": [SQUARE]})
    assert read.remarks.notes() == (
        "1 annotations with an unknown category_id, left out: annotation 2 of a.jpg has '[5]'",
        "2 segmentations without a pixel, left out: annotation 0 of a.jpg, annotation 1 of a.jpg",
    )


# what lies elsewhere


def test_what_lies_outside_or_far_from_its_box_is_told() -> None:
    outside = {"segmentation": [[14, 2, 20, 2, 20, 8, 14, 8]], "bbox": [7, 1, 3, 3]}
    far = {"segmentation": [[0, 0, 10, 0, 10, 30, 0, 30]], "bbox": [1, 60, 9, 30]}
    image = _image(outside, far, size_hw=(100, 12))
    notes = read_label_map(image, CLASSES, INDEX_OF).remarks.notes()
    assert notes[0] == "1 annotations that lie mostly outside of their image: annotation 0 of a.jpg"
    assert "annotation 1 of a.jpg is painted at [0, 0, 10, 30], its bbox says [1, 60, 9, 30]" in notes[1]


@pytest.mark.parametrize(
    "bbox",
    [None, [], [1], "x", [0, 0, 0, 0], [10, 10, 20, 20], [10.4, 9.2, 19, 21], [10, 10, 30, 30], [float("nan")] * 4],
)
def test_a_box_that_fits_or_says_nothing_is_not_told(bbox: object) -> None:
    image = _image({"segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]], "bbox": bbox}, size_hw=(100, 100))
    assert read_label_map(image, CLASSES, INDEX_OF).remarks.notes() == ()


def test_polygons_of_shares_are_known_where_nearly_all_are() -> None:
    shares = {"segmentation": [[0.1, 0.1, 0.5, 0.1, 0.5, 0.6]]}
    images = [_image(*[shares] * 10, {"segmentation": [SQUARE]}, {"segmentation": {"counts": [35]}})]
    assert all_in_shares(images)
    assert not all_in_shares([_image(shares, {"segmentation": [SQUARE]})])
    assert not all_in_shares([_image({"segmentation": None})])
    assert not all_in_shares([_image(shares, size_hw=(2, 2))])
    read = read_label_map(images[0], CLASSES, INDEX_OF, in_shares=True)
    assert read.painted == 2
    assert read.remarks.notes()[0].startswith("10 annotations with coordinates of 0 to 1")


# overlaps


def test_only_overlaps_between_classes_are_told_with_what_is_hidden() -> None:
    read = _read(
        {"segmentation": [SQUARE]},
        {"segmentation": [SQUARE]},
        {"category_id": 8, "segmentation": [[0, 0, 5, 0, 5, 4, 0, 4]]},
    )
    (one,) = read.overlaps
    assert (one.image, one.below, one.below_class, one.above, one.above_class) == ("a.jpg", 1, "car", 2, "tree")
    assert (one.px, one.hidden, read.overlap_count, read.overlap_px) == (4, True, 1, 4)
    assert _read({"segmentation": [SQUARE]}, {"segmentation": [SQUARE]}).overlaps == ()


def test_the_smaller_may_win() -> None:
    small, large = {"segmentation": [SQUARE]}, {"category_id": 8, "segmentation": [[0, 0, 5, 0, 5, 4, 0, 4]]}
    last = _read(small, large)
    assert np.unique(last.label_map).tolist() == [0, 2]
    read = _read(small, large, overlap="small-over-large")
    assert np.unique(read.label_map, return_counts=True)[1].tolist() == [15, 4, 16]
    (one,) = read.overlaps
    assert (one.below_class, one.above_class, one.px, one.hidden) == ("tree", "car", 4, False)


@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 5), st.just(4), st.just(5))),
    st.lists(st.sampled_from([3, 8]), min_size=5, max_size=5),
)
def test_small_over_large_paints_by_area(masks: np.ndarray, categories: list[int]) -> None:
    annotations, expected = [], np.zeros((4, 5), np.uint8)
    for bits, category in zip(masks, categories, strict=False):
        rle = coco_mask.encode(np.asfortranarray(bits.astype(np.uint8)))
        segmentation = {"size": [4, 5], "counts": rle["counts"].decode("ascii")}
        annotations.append({"category_id": category, "segmentation": segmentation})
    for number in sorted(range(len(masks)), key=lambda n: -int(masks[n].sum())):
        expected[masks[number]] = INDEX_OF[categories[number]]
    read = read_label_map(_image(*annotations, size_hw=(4, 5)), CLASSES, INDEX_OF, overlap="small-over-large")
    assert read.label_map is not None
    assert np.array_equal(read.label_map, expected)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 40) | st.floats(allow_nan=True) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=7)
            | st.dictionaries(st.sampled_from(["size", "counts", "x", "y"]), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_any_segmentation_is_read_or_told_and_never_a_bug(segmentation: object) -> None:
    read = _read({"segmentation": segmentation})
    assert read.label_map is not None or read.remarks.losses
    assert read.label_map is None or read.label_map.shape == (5, 7)
