"""Label maps to COCO instances and back (law 1), and what pycocotools makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from annoloop.data.coco import instances
from annoloop.data.coco.categories import match_categories, used_ids
from annoloop.data.coco.painting import ReadImage, read_label_map
from annoloop.data.coco.reading import read_images
from annoloop.data.remarks import Remarks
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
    annotations = instances.encode(label_map, classes, image_id=1, first_id=1, min_region_px=min_region_px)
    entry = instances.image_entry(1, "train/a.jpg", (label_map.shape[0], label_map.shape[1]))
    document: Json = {**instances.header(classes), "images": [entry], "annotations": annotations}
    assert json.loads(json.dumps(document)) == document
    return document


def _read(document: Json) -> tuple[ReadImage, ClassTable]:
    remarks = Remarks()
    (image,) = read_images(document, "coco.json", remarks)
    matched = match_categories(document, used_ids(document["annotations"]), "coco.json", remarks)
    assert remarks.notes() == ()
    return read_label_map(image, matched.classes, matched.index_of), matched.classes


@given(tables_and_maps, st.sampled_from([0, 4, 1000]))
def test_the_way_to_coco_and_back_loses_nothing(pair: tuple[ClassTable, LabelMap], min_region_px: int) -> None:
    classes, label_map = pair
    document = _document(label_map, classes, min_region_px)
    read, table = _read(document)
    assert read.label_map is not None
    assert np.array_equal(read.label_map, label_map)
    assert (read.remarks.notes(), read.overlaps) == ((), ())
    assert table == classes


@given(tables_and_maps, st.sets(st.sampled_from(["background", "ignore_index", "annoloop", "info", "color"])))
def test_another_tool_may_lose_what_only_we_write(pair: tuple[ClassTable, LabelMap], lost: set[str]) -> None:
    """Where even the number of the ignore index is lost, ignored pixels stay ignored, by 255."""
    classes, label_map = pair
    document = _document(label_map, classes)
    for key in lost & {"background", "ignore_index"}:
        del document["info"]["annoloop"][key]
    if "annoloop" in lost:
        document["info"]["annoloop"] = True
    if "info" in lost:
        del document["info"]
    for category in document["categories"] if "color" in lost else ():
        category["color"] = "#a60f2f"
    read, table = _read(document)
    ignored = label_map == classes.ignore_index
    assert read.label_map is not None
    assert np.array_equal(read.label_map[~ignored], label_map[~ignored])
    assert (read.label_map[ignored] == table.ignore_index).all()
    assert table.names == classes.names


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
