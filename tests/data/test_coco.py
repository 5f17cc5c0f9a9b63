"""Label maps to COCO instances and back (law 1), what pycocotools makes of them, and foreign files as they are."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from annoloop.data import coco
from annoloop.errors import AnnoloopError, DataError
from annoloop.masks.classes import ClassTable, class_table
from annoloop.masks.regions import LabelMap

WITH_BACKGROUND = class_table(["background", "car", "tree"], ["#000000"], background="background")
WITHOUT = class_table(["road", "car", "tree"])
OTHER_IGNORE = class_table(["road", "car", "tree"], ignore_index=200)

Json = dict[str, Any]


def _blown_up(small: LabelMap, times: int) -> LabelMap:
    return small.repeat(times, axis=0).repeat(times, axis=1)


def _maps(ignore_index: int) -> st.SearchStrategy[LabelMap]:
    small = hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 8), st.integers(1, 11)),
        elements=st.sampled_from([0, 0, 1, 2, ignore_index]),
    )
    return st.builds(_blown_up, small, st.integers(1, 3))


tables_and_maps = st.sampled_from([WITH_BACKGROUND, WITHOUT, OTHER_IGNORE]).flatmap(
    lambda table: st.tuples(st.just(table), _maps(table.ignore_index))
)


def _document(label_map: LabelMap, classes: ClassTable, min_region_px: int = 0) -> Json:
    annotations = coco.encode(label_map, classes, image_id=1, first_id=1, min_region_px=min_region_px)
    entry = coco.image_entry(1, "train/a.jpg", (label_map.shape[0], label_map.shape[1]))
    document: Json = {**coco.header(classes), "images": [entry], "annotations": annotations}
    assert json.loads(json.dumps(document)) == document
    return document


def _read(document: Json, classes: ClassTable | None = None) -> coco.ReadImage:
    (image,) = coco.read_images(document, "coco.json")
    table = classes or coco.read_classes(document)
    return coco.read_label_map(image, table, coco.class_index_of_category(document, table, "coco.json"), "coco.json")


@given(tables_and_maps, st.sampled_from([0, 4, 1000]))
def test_the_way_to_coco_and_back_loses_nothing(pair: tuple[ClassTable, LabelMap], min_region_px: int) -> None:
    classes, label_map = pair
    document = _document(label_map, classes, min_region_px)
    read = _read(document)
    assert np.array_equal(read.label_map, label_map)
    assert read.notes == ()
    assert coco.read_classes(document) == classes


@given(tables_and_maps)
def test_pycocotools_agrees_with_every_annotation(pair: tuple[ClassTable, LabelMap]) -> None:
    classes, label_map = pair
    for one in _document(label_map, classes)["annotations"]:
        mask = coco_mask.decode(one["segmentation"]).astype(bool)
        assert (label_map[mask] == one["category_id"] - 1).all()
        assert one["area"] == mask.sum() == coco_mask.area(one["segmentation"])
        assert one["bbox"] == coco_mask.toBbox(one["segmentation"]).tolist()


def test_the_coco_class_loads_the_file_and_draws_the_masks(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    label_map = np.array([[0, 1, 1, 0, 255], [2, 1, 0, 2, 255], [0, 0, 1, 2, 2]], np.uint8)
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(_document(label_map, WITHOUT)))
    loaded = COCO(str(path))
    assert {c["name"] for c in loaded.loadCats(loaded.getCatIds())} == {"road", "car", "tree", "ignore"}
    painted = np.full_like(label_map, 99)
    for one in loaded.loadAnns(loaded.getAnnIds(imgIds=[1])):
        painted[loaded.annToMask(one) == 1] = one["category_id"] - 1
    assert np.array_equal(np.where(painted == 99, 255, painted), label_map)


def test_iscrowd_marks_collections_and_ignored_area_only() -> None:
    label_map = np.zeros((8, 12), np.uint8)
    label_map[0, 0] = label_map[0, 2] = 1  # two specks that travel together
    label_map[3:8, 0:5] = 1
    label_map[3:8, 7:12] = 255
    found = _document(label_map, WITH_BACKGROUND, min_region_px=4)["annotations"]
    assert [(a["category_id"], a["area"], a["iscrowd"]) for a in found] == [(2, 2, 1), (2, 25, 0), (256, 25, 1)]


def test_class_0_is_category_1_and_travels_where_there_is_no_background() -> None:
    zeros = np.zeros((2, 3), np.uint8)
    assert _document(zeros, WITH_BACKGROUND)["annotations"] == []
    (one,) = _document(zeros, WITHOUT)["annotations"]
    assert (one["category_id"], one["area"], one["bbox"]) == (1, 6, [0, 0, 3, 2])


# foreign files


def _foreign(*annotations: Json, **changes: Any) -> Json:
    """A file as other tools write it: 7 x 5 px, categories 3 (car) and 8 (tree)."""
    return {
        "images": [{"id": 4, "file_name": "a.jpg", "height": 5, "width": 7}],
        "annotations": [{"id": i, "image_id": 4, **one} for i, one in enumerate(annotations)],
        "categories": [{"id": 8, "name": "tree"}, {"id": 3, "name": "car"}],
        **changes,
    }


SQUARE = [[1, 1, 3, 1, 3, 3, 1, 3]]


def test_foreign_categories_come_in_order_of_their_ids_below_a_background() -> None:
    table = coco.read_classes(_foreign())
    assert table.names == ("background", "car", "tree")
    assert table.background == "background"


def test_a_polygon_with_several_parts_and_a_hole_made_by_order() -> None:
    read = _read(
        _foreign(
            {"category_id": 3, "segmentation": [[0, 0, 5, 0, 5, 4, 0, 4], [6, 0, 7, 0, 7, 5, 6, 5]]},
            {"category_id": 8, "segmentation": SQUARE},
        )
    )
    expected = [[1, 1, 1, 1, 1, 0, 1], [1, 2, 2, 1, 1, 0, 1], [1, 2, 2, 1, 1, 0, 1], [1, 1, 1, 1, 1, 0, 1],
                [0, 0, 0, 0, 0, 0, 1]]  # fmt: skip
    assert read.label_map.tolist() == expected
    assert read.notes == ("4 px covered more than once, the later annotation won",)


def test_uncompressed_rle_is_read() -> None:
    read = _read(_foreign({"category_id": 3, "segmentation": {"size": [5, 7], "counts": [5, 2, 28]}}))
    assert read.label_map[:, 1].tolist() == [1, 1, 0, 0, 0]
    assert read.label_map.sum() == 2


@pytest.mark.parametrize("segmentation", [None, [], {}])
def test_a_box_alone_says_nothing_about_pixels_and_is_reported(segmentation: object) -> None:
    boxed = {"category_id": 3, "bbox": [1, 1, 2, 2], "segmentation": segmentation}
    read = _read(_foreign(boxed, boxed))
    assert not read.label_map.any()
    assert read.notes == ("2 annotations without a segmentation (a box alone says nothing about pixels), left out",)


def test_a_segmentation_without_a_pixel_is_reported() -> None:
    read = _read(_foreign({"category_id": 3, "segmentation": {"size": [5, 7], "counts": [35]}}))
    assert read.notes == ("1 segmentations without a pixel, left out",)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 3, 3]], "a polygon needs three points or more as x, y pairs, one has 4 numbers"),
        ([[1, 1, 3, 1, 3]], "one has 5 numbers"),
        ([1, 1, 3, 1, 3, 3], "segmentation cannot be read"),
        ([["a", "b", "c", "d", "e", "f"]], "segmentation cannot be read"),
        ([[0, 0, 1e300, 0, 4, 4]], "no position in an image"),
        ({"size": [7, 5], "counts": [35]}, r"RLE size \[7, 5\] is not the image's \[5, 7\]"),
        ({"size": [5, 7], "counts": [5, 2, 27]}, "RLE counts add up to 34 px, the image holds 35"),
        ({"size": [5, 7], "counts": "52"}, "RLE counts add up to 7 px, the image holds 35"),
        ({"size": [5, 7], "counts": "~~"}, "compressed RLE counts are damaged"),
        ({"size": [5, 7], "counts": ""}, "compressed RLE counts are damaged"),
        ({"size": [5, 7]}, "segmentation cannot be read"),
        ({"counts": [35]}, "segmentation cannot be read"),
        ({"size": 5, "counts": [35]}, "segmentation cannot be read"),
        ({"size": [5, 7], "counts": ["a"]}, "segmentation cannot be read"),
        ({"size": [5, 7], "counts": None}, "."),
        (7, "segmentation cannot be read"),
    ],
)
def test_a_segmentation_that_cannot_be_read_names_its_annotation(segmentation: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _read(_foreign({"category_id": 3, "segmentation": SQUARE}, {"category_id": 3, "segmentation": segmentation}))
    assert caught.value.where == "coco.json: annotation 1 of a.jpg"


def test_an_unknown_category_id_names_its_annotation() -> None:
    with pytest.raises(DataError, match="unknown category_id 5") as caught:
        _read(_foreign({"category_id": 5, "segmentation": SQUARE}))
    assert caught.value.where == "coco.json: annotation 0 of a.jpg"


def test_a_category_that_is_no_class_is_refused_before_anything_is_painted() -> None:
    with pytest.raises(DataError, match="category 'tree' is no class") as caught:
        _read(_foreign(), class_table(["background", "car"], background="background"))
    assert caught.value.where == "coco.json: categories[0]"
    assert caught.value.hint == "the classes are: background, car"


IMAGE = {"id": 4, "file_name": "a.jpg", "height": 5, "width": 7}


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({"categories": None}, "coco.json", "no list 'categories'"),
        ({"images": {}}, "coco.json", "no list 'images'"),
        ({"annotations": None}, "coco.json", "no list 'annotations'"),
        ({"categories": [{"name": "car"}]}, "coco.json: categories[0]", "'id' must be a whole number, not None"),
        ({"categories": [{"id": 1}]}, "coco.json: categories[0]", "no name"),
        ({"categories": ["car"]}, "coco.json: categories[0]", "'id' must be a whole number"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "coco.json", "must be unique; repeated: 1"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "coco.json", "must be unique; repeated: a"),
        ({"images": ["a.jpg"]}, "coco.json: images[0]", "'id' must be a whole number"),
        ({"images": [{**IMAGE, "height": None}]}, "coco.json: images[0]", "'height' must be a whole number, not None"),
        ({"images": [{**IMAGE, "width": 7.5}]}, "coco.json: images[0]", "'width' must be a whole number, not 7.5"),
        ({"images": [{**IMAGE, "width": 0}]}, "coco.json: images[0]", "size 0 x 5 px is not possible"),
        ({"images": [{**IMAGE, "file_name": ""}]}, "coco.json: images[0]", "no file_name"),
        ({"images": [IMAGE, IMAGE]}, "coco.json", "repeated: 4, a.jpg"),
        ({"annotations": [{"id": 1}]}, "coco.json: annotations[0]", "'image_id' must be a whole number, not None"),
        ({"annotations": [{"image_id": 9}]}, "coco.json", "the file does not list: image_id .9."),
    ],
)
def test_a_file_that_is_no_coco_file_says_where(changes: Json, where: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _read(_foreign(**changes))
    assert caught.value.where == where


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 40) | st.floats(allow_nan=True) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_any_segmentation_is_read_or_refused_and_never_a_bug(segmentation: object) -> None:
    with suppress(AnnoloopError):
        read = _read(_foreign({"category_id": 3, "segmentation": segmentation}))
        assert read.label_map.shape == (5, 7)
