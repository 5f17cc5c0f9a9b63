"""Label maps to CVAT shapes and back: exact, checked before sending, the upper and the touched shape wins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from annoloop.cvat.shapes import Drawing, draw, polygon_loss_px, read_regions
from annoloop.cvat.wire import Shape, shape_digest
from annoloop.errors import CvatError
from annoloop.masks.classes import ClassTable, class_table
from annoloop.masks.regions import LabelMap, coverage, paint
from annoloop.masks.run_lengths import from_cvat_runs

TABLES = tuple(class_table(["bg", "cat", "dog"], background=rule) for rule in ("bg", None, "previous"))
LABELS = {1: "cat", 2: "dog", 3: "ignore", 4: "bg"}
IDS = {name: number for number, name in LABELS.items()}
MASK, POLYGON = Drawing("mask", 0.0, 4), Drawing("polygon", 2.0, 4)

label_maps = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 15)), elements=st.sampled_from([0, 1, 2, 255])
)


def sent(label_map: LabelMap, classes: ClassTable, how: Drawing) -> list[Shape]:
    drawn = draw(label_map, classes, how, "here")
    return [replace(one.shape, label_id=IDS[one.label], id=number) for number, one in enumerate(drawn, 1)]


def read(shapes: list[Shape], classes: ClassTable, shape_hw: tuple[int, int], **details: object) -> LabelMap:
    options = {"originals": {}, "before": (), "where": "frame a.png"} | details
    parts = read_regions(shapes, LABELS, classes, shape_hw, **options)  # type: ignore[arg-type]
    return paint(parts, shape_hw, fill=classes.fill_index)


@given(label_maps, st.sampled_from(TABLES))
def test_masks_come_back_exactly(label_map: LabelMap, classes: ClassTable) -> None:
    assert np.array_equal(read(sent(label_map, classes, MASK), classes, label_map.shape), label_map)


@given(label_maps, st.sampled_from(TABLES))
def test_polygons_that_nobody_touched_come_back_exactly(label_map: LabelMap, classes: ClassTable) -> None:
    drawn = draw(label_map, classes, POLYGON, "here")
    originals = {one.digest: one.region for one in drawn if one.region is not None}
    shapes = sent(label_map, classes, POLYGON)
    assert np.array_equal(read(shapes, classes, label_map.shape, originals=originals), label_map)


@given(label_maps)
def test_every_pixel_is_drawn_once_where_uncovered_ones_keep_their_value(label_map: LabelMap) -> None:
    drawn = draw(label_map, TABLES[2], MASK, "here")
    regions = [from_cvat_runs(one.shape.points, 1, label_map.shape) for one in drawn]
    assert (coverage([region for region in regions if region], label_map.shape) == 1).all()


@given(label_maps)
def test_the_loss_of_polygons_is_what_reading_them_without_originals_loses(label_map: LabelMap) -> None:
    exact = Drawing("polygon", 2.0, 4)
    # Two decimals travel, and specks lie above: both as the loss counts them.
    lost = np.count_nonzero(read(sent(label_map, TABLES[0], exact), TABLES[0], label_map.shape) != label_map)
    assert polygon_loss_px(draw(label_map, TABLES[0], exact, "here"), label_map, TABLES[0]) == lost
    assert polygon_loss_px(draw(label_map, TABLES[0], MASK, "here"), label_map, TABLES[0]) == 0


def test_a_digest_is_of_the_content_not_of_the_id() -> None:
    (one,) = draw(np.array([[0, 1], [1, 1]], np.uint8), TABLES[0], MASK, "here")
    assert one.digest == shape_digest(replace(one.shape, id=77, frame=3, label_id=9, source="manual"), one.label)
    assert one.digest != shape_digest(one.shape, "dog")
    assert one.digest != shape_digest(replace(one.shape, z_order=1), one.label)


def test_where_shapes_overlap_the_upper_wins_and_at_equal_height_the_touched_one() -> None:
    cat = Shape(0, 1, "rectangle", (0.0, 0.0, 2.0, 2.0), id=2)
    dog = Shape(0, 2, "rectangle", (0.0, 0.0, 2.0, 2.0), id=1)
    assert (read([cat, dog], TABLES[0], (2, 2)) == 1).all(), "the newer one"
    untouched = {shape_digest(cat, "cat")}
    assert (read([cat, dog], TABLES[0], (2, 2), before=untouched) == 2).all(), "the touched one"
    assert (read([replace(cat, z_order=1), dog], TABLES[0], (2, 2), before=untouched) == 1).all(), "the upper one"


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (Shape(0, 1, "mask", (0.0, 3.0, 0.0, 0.0, 1.0, 1.0), id=8), "runs add up to 3 px"),
        (Shape(0, 1, "points", (1.0, 1.0), id=8), "has no area"),
        (Shape(0, 1, "polygon", (1.0, 1.0, 2.0, 2.0), id=8), "three points or more"),
    ],
)
def test_a_shape_that_cannot_be_is_named(shape: Shape, said: str) -> None:
    with pytest.raises(CvatError, match=said) as caught:
        read([shape], TABLES[0], (4, 4))
    assert caught.value.where == "frame a.png, shape 8 (cat)"
    assert "nothing was written" in str(caught.value.hint)


def test_a_mask_without_a_pixel_is_nothing() -> None:
    assert (read([Shape(0, 1, "mask", (4.0, 0.0, 0.0, 1.0, 1.0))], TABLES[0], (3, 3)) == 0).all()
