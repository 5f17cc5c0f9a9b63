"""A COCO file written image by image: one JSON object, whole or not there, in little memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from annoloop.data.coco.instances import header
from annoloop.data.coco.writing import coco_writer, kept_texts, written_before
from annoloop.data.images import sha256
from annoloop.masks.classes import class_table

CLASSES = class_table(["road", "car"])


def test_images_and_annotations_are_numbered_from_one_in_their_order(tmp_path: Path) -> None:
    with coco_writer(tmp_path / "coco.json", CLASSES) as file:
        file.add("a.png", (2, 4), ['"area": 1', '"area": 2'], mask_sha256="aa")
        file.add("b.png", (3, 5), [], mask_sha256="bb")
        file.add("c.png", (2, 4), ['"area": 3'], mask_sha256="cc")
    assert (file.image_count, file.annotation_count) == (3, 3)
    written = (tmp_path / "coco.json").read_bytes()
    assert json.loads(written) == {
        **header(CLASSES),
        "images": [
            {"id": 1, "file_name": "a.png", "height": 2, "width": 4, "mask_sha256": "aa"},
            {"id": 2, "file_name": "b.png", "height": 3, "width": 5, "mask_sha256": "bb"},
            {"id": 3, "file_name": "c.png", "height": 2, "width": 4, "mask_sha256": "cc"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "area": 1},
            {"id": 2, "image_id": 1, "area": 2},
            {"id": 3, "image_id": 3, "area": 3},
        ],
        "sha256": sha256(written[: written.rindex(b"]")]),
    }


def test_what_a_file_holds_can_be_kept_image_by_image(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    texts = {"a.png": ['"area": 1, "counts": "5, 6}"', '"area": 2'], "b.png": [], "c.png": ['"area": 3']}
    assert written_before(path, CLASSES) == {}
    with coco_writer(path, CLASSES) as file:
        for name, annotations in texts.items():
            file.add(name, (2, 4), annotations, mask_sha256=name)
    found = written_before(path, CLASSES)
    assert {name: kept_texts(path, one) for name, one in found.items()} == texts
    assert {(name, one.size_hw) for name, one in found.items()} == {(name, (2, 4)) for name in texts}
    assert [one.mask_sha256 for one in found.values()] == list(texts)
    assert written_before(path, class_table(["road", "bus"])) == {}, "other classes"
    assert written_before(path, CLASSES, {"min_region_px": 5}) == {}, "made in another way"


def test_a_file_of_no_images_can_be_read_again(tmp_path: Path) -> None:
    with coco_writer(tmp_path / "coco.json", CLASSES):
        pass
    assert json.loads((tmp_path / "coco.json").read_bytes())["images"] == []
    assert written_before(tmp_path / "coco.json", CLASSES) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"area": 1', b'"area": 9'),
        lambda data: data.replace(b'"aa"', b'"bb"'),
        lambda data: data[:-5],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\n",
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: b"",
    ],
)
def test_nothing_is_kept_of_a_file_that_is_not_as_we_wrote_it(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "coco.json"
    with coco_writer(path, CLASSES) as file:
        file.add("a.png", (2, 4), ['"area": 1'], mask_sha256="aa")
    assert len(written_before(path, CLASSES)) == 1
    path.write_bytes(change(path.read_bytes()))
    assert written_before(path, CLASSES) == {}


def test_a_file_that_breaks_off_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text("before")

    def broken_off() -> None:
        with coco_writer(path, CLASSES) as file:
            file.add("a.png", (2, 4), ['"area": 1'] * 100_000, mask_sha256="aa")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["coco.json"]


def test_memory_stays_flat_however_many_images_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annoloop.data.coco.writing._KEPT_IN_MEMORY", 1 << 16)
    texts = ['"counts": "' + "x" * 1000 + '"']
    tracemalloc.start()
    try:
        with coco_writer(tmp_path / "coco.json", CLASSES) as file:
            for number in range(20_000):
                file.add(f"{number}.png", (2, 4), texts, mask_sha256="aa")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "coco.json").stat().st_size > 20e6
    assert peak_bytes < 1e6
