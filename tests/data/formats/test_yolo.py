"""YOLO segmentation text: exact where nothing is simplified, lossy and counted where it is; odd lines are told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annoloop.data.coco.json_values import Id
from annoloop.data.coco.reading import CocoImage
from annoloop.data.formats.yolo import decode, encode, yolo_classes
from annoloop.masks.classes import ClassTable, class_table
from annoloop.masks.regions import LabelMap

WITH_BACKGROUND = class_table(["background", "car", "tree"], background="background")
WITHOUT = class_table(["road", "car", "tree"])
IMAGE = CocoImage(0, "a", (40, 50), ())


def _read(text: str, classes: ClassTable, size_hw: tuple[int, ...]) -> LabelMap:
    index_of: dict[Id, int] = dict(enumerate(yolo_classes(classes)))
    read = decode(CocoImage(0, "a", (size_hw[0], size_hw[1]), ()), text, classes, index_of)
    assert read.label_map is not None
    return read.label_map


maps = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 12)), elements=st.sampled_from([0, 0, 1, 2, 255])
)


@given(maps, st.sampled_from([WITH_BACKGROUND, WITHOUT]))
def test_without_simplification_all_but_ignored_pixels_come_back(label_map: LabelMap, classes: ClassTable) -> None:
    encoded = encode(label_map, classes, tolerance_px=0)
    back = _read("\n".join(encoded.lines), classes, label_map.shape)
    ignored = label_map == 255
    assert np.array_equal(back[~ignored], label_map[~ignored])
    assert encoded.loss_px == 0
    assert encoded.ignored_px == (0 if classes is WITHOUT else np.count_nonzero(ignored))


@given(maps, st.sampled_from([0.5, 1.0, 4.0]))
def test_what_is_lost_is_counted(label_map: LabelMap, tolerance_px: float) -> None:
    encoded = encode(label_map, WITH_BACKGROUND, tolerance_px=tolerance_px)
    wrong = _read("\n".join(encoded.lines), WITH_BACKGROUND, label_map.shape) != label_map
    assert encoded.loss_px + encoded.ignored_px == np.count_nonzero(wrong)
    assert encoded.ignored_px == np.count_nonzero(wrong & (label_map == 255))


def test_large_images_lose_nothing_by_their_digits() -> None:
    label_map = np.zeros((61, 16_001), np.uint8)
    label_map[11:60, 8011:15_998] = 1
    label_map[13:14, 17:18] = 2
    for one in (label_map, label_map.T.copy()):
        assert encode(one, WITH_BACKGROUND, tolerance_px=0).loss_px == 0


def test_the_classes_of_yolo_are_those_that_are_drawn() -> None:
    assert (yolo_classes(WITH_BACKGROUND), yolo_classes(WITHOUT)) == ((1, 2), (0, 1, 2))
    (line,) = encode(np.pad(np.ones((2, 2), np.uint8), 1), WITH_BACKGROUND).lines
    assert line.startswith("0 ")
    assert set(line.split()[1:]) == {"0.25", "0.75"}


SQUARE = "0.2 0.25 0.6 0.25 0.6 0.75 0.2 0.75"


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("0 0.5 0.5 0.2 0.2", "boxes, which say nothing about pixels, left out: line 2 of a"),
        ("0 0.5 0.5 0.2 0.2 0.9", "lines that are no outline of three points or more, left out: line 2 of a"),
        ("0 0.5 0.5", "lines that are no outline of three points or more, left out: line 2 of a"),
        ("car 0.5 0.5 0.2 0.2 0.1 0.1", "lines that are no class and numbers, left out: line 2 of a"),
        ("0 0.5 nan 0.2 0.2 0.1 0.1", "lines that are no class and numbers, left out: line 2 of a"),
        ("0 10 10 30 10 30 30", "outlines in px instead of shares of the image's size, left out: line 2 of a"),
        ("9 0.1 0.1 0.2 0.1 0.2 0.2", "annotations with an unknown category_id, left out"),
    ],
)
def test_an_odd_line_is_left_out_and_told(line: str, note: str) -> None:
    read = decode(IMAGE, f"0 {SQUARE}\n{line}\n\n", WITH_BACKGROUND, {0: 1})
    assert read.label_map is not None
    assert np.count_nonzero(read.label_map) == 400
    assert read.remarks.notes()[0].startswith(f"1 {note}")


def test_an_empty_file_is_an_image_without_objects_and_one_of_boxes_is_not_read() -> None:
    empty = decode(IMAGE, "", WITH_BACKGROUND, {0: 1})
    assert empty.label_map is not None
    assert not empty.label_map.any()
    assert decode(IMAGE, "0 0.5 0.5 0.2 0.2", WITH_BACKGROUND, {0: 1}).label_map is None
