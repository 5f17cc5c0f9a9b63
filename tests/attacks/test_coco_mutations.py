"""A sound COCO file with any value in it replaced by any other: it is read or refused in words, and never a bug."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from annoloop.errors import AnnoloopError
from annoloop.loop.conversion.coco import from_coco

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]
SOUND: dict[str, Any] = {
    "info": {"annoloop": {"background": "background", "ignore_index": 255}},
    "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 1, 2, 2], "segmentation": [SQUARE]},
        {"id": 2, "image_id": 1, "category_id": 2, "segmentation": {"size": [4, 6], "counts": [5, 2, 17]}},
        {"id": 3, "image_id": 1, "file_name": "a.png", "segments_info": []},
    ],
    "categories": [
        {"id": 1, "name": "background", "supercategory": "", "color": [0, 0, 0]},
        {"id": 2, "name": "car", "supercategory": "background", "color": "#ff0000"},
        {"id": 256, "name": "ignore"},
    ],
}

TEXTS = ("1", "2.0", "", "a.jpg", "\0", "..", "/", "\\", "ignore", "[[1,2]]")
KEYS = ("id", "name", "size", "counts", "x", "y", "segments_info")
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from _places(value[key], (*path, key))


PLACES = list(_places(SOUND))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    Image.new("RGB", (6, 4)).save(folder / "a.jpg")
    return folder


@given(st.lists(st.tuples(st.sampled_from(PLACES), values), min_size=1, max_size=3), st.booleans())
def test_any_value_anywhere(
    tmp_path_factory: pytest.TempPathFactory, images: Path, changes: list[tuple[tuple[Any, ...], Any]], seen: bool
) -> None:
    document = copy.deepcopy(SOUND)
    for path, value in changes:
        with suppress(KeyError, IndexError, TypeError):
            inner = document
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
    folder = tmp_path_factory.mktemp("mutation")
    (folder / "coco.json").write_text(json.dumps(document))
    with suppress(AnnoloopError):
        read = from_coco(folder / "coco.json", folder / "out", images_dir=images if seen else None)
        assert read.written == len(list((folder / "out").rglob("*.png")))
    assert not list(folder.parent.glob("*.png"))
