"""Panoptic COCO: the PNGs' segment numbers as classes, through the command's operation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from annoloop.data.coco.panoptic import read_numbers
from annoloop.data.images import read_index_png
from annoloop.errors import DataError
from annoloop.loop.conversion.coco import from_coco
from annoloop.masks.classes import class_table

CATEGORIES = [{"id": 1, "name": "road", "isthing": 0}, {"id": 7, "name": "car", "isthing": 1}]
NUMBERS = np.array([[0, 3, 3], [70_000, 3, 9]], np.uint32)


def _png(path: Path, numbers: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([numbers >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)).save(path)


def _file(folder: Path, segments: list[Any]) -> Path:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 3}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}],
        "categories": CATEGORIES,
    }
    path = folder / "panoptic_val.json"
    path.write_text(json.dumps(document))
    return path


SEGMENTS = [{"id": 3, "category_id": 1}, {"id": 70_000.0, "category_id": "7"}, {"id": 9, "category_id": 7}]


@pytest.mark.parametrize("place", ["panoptic_val/a.png", "a.png", "elsewhere/a.png"])
def test_segments_become_classes_and_what_is_none_is_ignored(tmp_path: Path, place: str) -> None:
    _png(tmp_path / place, NUMBERS)
    file = _file(tmp_path, SEGMENTS)
    segments = tmp_path / "elsewhere" if place.startswith("elsewhere") else None
    read = from_coco(file, tmp_path / "out", segments_dir=segments)
    assert read.classes == ("road", "car")
    assert read_index_png(tmp_path / "out" / "a.png").values.tolist() == [[255, 0, 0], [1, 0, 1]]
    assert (read.annotations, read.notes) == (3, ())


def test_in_a_project_what_is_no_segment_is_the_background(tmp_path: Path) -> None:
    _png(tmp_path / "a.png", NUMBERS)
    classes = class_table(["background", "road", "car"], background="background")
    from_coco(_file(tmp_path, SEGMENTS), tmp_path / "out", classes=classes)
    assert read_index_png(tmp_path / "out" / "a.png").values.tolist() == [[0, 1, 1], [2, 1, 2]]


def test_segments_that_do_not_fit_are_told(tmp_path: Path) -> None:
    _png(tmp_path / "a.png", NUMBERS)
    odd = [SEGMENTS[0], {"id": 5, "category_id": 1}, {"id": 9, "category_id": 4}, {"id": "x", "category_id": 1}, 7]
    read = from_coco(_file(tmp_path, odd), tmp_path / "out")
    assert read.notes == (
        "1 segments with an unknown category_id, left out: segment 9 of a.jpg",
        "1 segments without a number, left out: segment x of a.jpg",
        "2 px of segments that the file does not list, left as what is not covered: segment 9 of a.jpg,"
        " segment 70000 of a.jpg",
        "1 segments without a pixel: segment 5 of a.jpg",
    )


def test_a_png_that_is_missing_damaged_or_of_another_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jpg: its segments are in a\.png, which is not there") as caught:
        from_coco(_file(tmp_path, SEGMENTS), tmp_path / "out")
    assert "a panoptic file: its masks are PNGs" in str(caught.value.hint)
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="segment PNGs that cannot be read, left out"):
        from_coco(_file(tmp_path, SEGMENTS), tmp_path / "out")
    _png(tmp_path / "a.png", NUMBERS.T)
    with pytest.raises(DataError, match=r"has 2 x 3 px, a\.jpg 3 x 2"):
        from_coco(_file(tmp_path, SEGMENTS), tmp_path / "out")
    Image.new("I;16", (3, 2)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="segments are numbered by 8-bit colours"):
        from_coco(_file(tmp_path, SEGMENTS), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(hnp.arrays(np.uint32, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.integers(0, (1 << 24) - 1)))
def test_numbers_come_back_from_their_colours(tmp_path_factory: pytest.TempPathFactory, numbers: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("panoptic") / "a.png"
    _png(path, numbers)
    assert np.array_equal(read_numbers(path), numbers)
