"""Image entries of COCO files as all kinds of tools write them: what is read, what is left out, what refuses a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from annoloop.data.coco.reading import load, read_images
from annoloop.data.remarks import Remarks
from annoloop.errors import DataError

Json = dict[str, Any]
IMAGE: Json = {"id": 4, "file_name": "a.jpg", "height": 5, "width": 7}
OTHER: Json = {"id": 5, "file_name": "b.jpg", "height": 5, "width": 7}


def _read(images: list[Any], annotations: list[Any] = [], **more: Any) -> tuple[list[Any], Remarks]:  # noqa: B006
    remarks = Remarks()
    return read_images({"images": images, "annotations": annotations, "categories": [], **more}, "f", remarks), remarks


@pytest.mark.parametrize("side", [5, 5.0, "5", " 5.0 "])
def test_whole_numbers_are_read_however_they_are_written(side: object) -> None:
    (image,), remarks = _read([{**IMAGE, "height": side}])
    assert (image.size_hw, remarks.notes()) == ((5, 7), ())


@pytest.mark.parametrize(("image_id", "told"), [("4", 4), (4.0, "4"), ("a-b", "a-b"), (0, 0.0)])
def test_ids_of_any_type_find_their_annotations(image_id: object, told: object) -> None:
    (image,), remarks = _read([{**IMAGE, "id": image_id}], [{"id": 1, "image_id": told}])
    assert len(image.annotations) == 1
    assert remarks.notes() == ()


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        (7, "1 image entries without an id, left out: images[1]"),
        ({**IMAGE, "id": None}, "1 image entries without an id, left out: images[1]"),
        ({**OTHER, "file_name": ""}, "1 image entries without a file_name, left out: images[1]: none"),
        ({**OTHER, "file_name": ["a"]}, "1 image entries without a file_name, left out: images[1]: no text but ['a']"),
        ({**OTHER, "file_name": "a/"}, "1 image entries with a file_name that no file can have, left out: images[1]"),
    ],
)
def test_a_bad_entry_is_left_out_and_told(entry: Any, note: str) -> None:
    images, remarks = _read([IMAGE, entry])
    assert [image.file_name for image in images] == ["a.jpg"]
    assert remarks.notes()[0].startswith(note)
    assert remarks.losses == 1


def test_annotations_of_images_that_are_not_listed_are_counted() -> None:
    annotations = [{"image_id": 4}, {"image_id": 9}, {"image_id": 9}, {"image_id": "x"}, 7, {}]
    (image,), remarks = _read([IMAGE], annotations)
    assert len(image.annotations) == 1
    assert remarks.notes() == (
        "2 annotations that name no image, left out: annotations[4], annotations[5]",
        "3 annotations of 2 images that the file does not list, left out: image_id 9, image_id 'x'",
    )


def test_a_size_that_is_missing_is_taken_from_run_lengths() -> None:
    annotation = {"image_id": 4, "segmentation": {"size": [5, 7], "counts": [35]}}
    (image,), remarks = _read([{"id": 4, "file_name": "a.jpg"}], [annotation])
    assert image.size_hw == (5, 7)
    assert remarks.notes() == ("1 images without a size, taken from their run lengths: a.jpg",)
    (image,), _ = _read([{"id": 4, "file_name": "a.jpg", "height": 0, "width": "x"}])
    assert image.size_hw == (0, 0)


def test_backslashes_are_separators_but_in_our_own_files() -> None:
    entry = {**IMAGE, "file_name": ".\\x\\a.jpg"}
    assert _read([entry])[0][0].file_name == "x/a.jpg"
    assert _read([entry], info={"annoloop": {}})[0][0].file_name == ".\\x\\a.jpg"


def test_an_image_that_is_listed_twice_has_the_annotations_of_both() -> None:
    (image,), remarks = _read([IMAGE, {**IMAGE, "id": 5}], [{"image_id": 4}, {"image_id": 5}])
    assert len(image.annotations) == 2
    assert remarks.notes() == ("1 images that are listed more than once, taken together: a.jpg",)


def test_all_that_is_ambiguous_is_told_at_once() -> None:
    images = [IMAGE, {**OTHER, "id": 4}, OTHER, {**OTHER, "id": 6, "height": 9}]
    with pytest.raises(DataError) as caught:
        _read(images)
    assert "images a.jpg and b.jpg have the same id 4" in caught.value.message
    assert "b.jpg is listed 2 times, of 7 x 5 and 7 x 9 px" in caught.value.message


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    document = {"images": [], "annotations": [], "categories": []}
    path = tmp_path / "coco.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(document).encode())
    assert load(path) == document
    path.write_text('{"images": []}')
    with pytest.raises(DataError, match="no lists 'annotations', 'categories': not a COCO instances file"):
        load(path)
