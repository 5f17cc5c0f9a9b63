"""A COCO file written image by image: one JSON object, whole or not there, in little memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from annoloop.classes import class_table
from annoloop.coco import header
from annoloop.coco_file import coco_writer

CLASSES = class_table(["road", "car"])


def test_images_and_annotations_are_numbered_from_one_in_their_order(tmp_path: Path) -> None:
    with coco_writer(tmp_path / "coco.json", CLASSES) as file:
        file.add("a.png", (2, 4), ['"area": 1', '"area": 2'])
        file.add("b.png", (3, 5), [])
        file.add("c.png", (2, 4), ['"area": 3'])
    assert (file.image_count, file.annotation_count) == (3, 3)
    document = json.loads((tmp_path / "coco.json").read_bytes())
    assert document == {
        **header(CLASSES),
        "images": [
            {"id": 1, "file_name": "a.png", "height": 2, "width": 4},
            {"id": 2, "file_name": "b.png", "height": 3, "width": 5},
            {"id": 3, "file_name": "c.png", "height": 2, "width": 4},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "area": 1},
            {"id": 2, "image_id": 1, "area": 2},
            {"id": 3, "image_id": 3, "area": 3},
        ],
    }


def test_a_file_that_breaks_off_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text("before")

    def broken_off() -> None:
        with coco_writer(path, CLASSES) as file:
            file.add("a.png", (2, 4), ['"area": 1'] * 100_000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["coco.json"]


def test_memory_stays_flat_however_many_images_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annoloop.coco_file._KEPT_IN_MEMORY", 1 << 16)
    texts = ['"counts": "' + "x" * 1000 + '"']
    tracemalloc.start()
    try:
        with coco_writer(tmp_path / "coco.json", CLASSES) as file:
            for number in range(20_000):
                file.add(f"{number}.png", (2, 4), texts)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "coco.json").stat().st_size > 20e6
    assert peak_bytes < 1e6
