"""COCO files that lie: the command says what is wrong and where, with exit code 4, and takes no more memory than the
images that are really there."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annoloop.cli.main import run
from annoloop.data.images import read_index_png
from annoloop.errors import DataError
from annoloop.loop.conversion import coco as convert
from annoloop.loop.conversion.coco import from_coco

IMAGE = {"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]}
CATEGORY = {"id": 1, "name": "car"}
OURS = {"annoloop": {"background": None, "ignore_index": 255}}

Json = dict[str, Any]


def _file(folder: Path, image: Json, annotation: Json, category: Json, more: Json) -> Path:
    document = {
        "images": [IMAGE | image],
        "annotations": [ANNOTATION | annotation],
        "categories": [CATEGORY | category],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps(document | more))
    return path


LIES: dict[str, tuple[Json, Json, Json, Json]] = {
    "a NUL in a file name": ({"file_name": "a\0b.jpg"}, {}, {}, {}),
    "half a character in a file name": ({"file_name": "\ud800.jpg"}, {}, {}, {}),
    "a file name of 300 bytes": ({"file_name": "a" * 300 + ".jpg"}, {}, {}, {}),
    "a file name of 250 bytes": ({"file_name": "a" * 246 + ".jpg"}, {}, {}, {}),
    "a path of 5000 bytes": ({"file_name": "a/" * 2500 + "a.jpg"}, {}, {}, {}),
    "a file name that is a list": ({"file_name": ["a"]}, {}, {}, {}),
    "a list as category": ({}, {"category_id": [1]}, {}, {}),
    "an object as category": ({}, {"category_id": {"a": 1}}, {}, {}),
    "no category": ({}, {"category_id": None}, {}, {}),
    "a category's name that is a list": ({}, {}, {"name": ["car"]}, {}),
    "a NUL in a category's name": ({}, {}, {"name": "c\0r"}, {}),
    "half a character in a category's name": ({}, {}, {"name": "\udc00"}, {}),
    "a category that is a number": ({}, {}, {}, {"categories": [7]}),
    "an annotation that is a number": ({}, {}, {}, {"annotations": [7]}),
    "an image that is a number": ({}, {}, {}, {"images": [7]}),
    "sides of a million": ({"height": 10**6, "width": 10**6}, {}, {}, {}),
    "sides beyond 64 bits": ({"height": 10**30, "width": 10**30}, {}, {}, {}),
    "2.5 gigapixels": ({"height": 50_000, "width": 50_000}, {}, {}, {}),
    "a side that is no number": ({"height": float("nan")}, {}, {}, {}),
    "a side of nothing": ({"height": 0}, {}, {}, {}),
    "counts beyond 64 bits": ({}, {"segmentation": {"size": [4, 6], "counts": [10**30]}}, {}, {}),
    "counts whose sum wraps": ({}, {"segmentation": {"size": [4, 6], "counts": [2**62] * 4 + [24]}}, {}, {}),
    "negative counts": ({}, {"segmentation": {"size": [4, 6], "counts": [-5, 29]}}, {}, {}),
    "counts that are a number": ({}, {"segmentation": {"size": [4, 6], "counts": 7}}, {}, {}),
    "a segmentation that is a text": ({}, {"segmentation": "abc"}, {}, {}),
    "a polygon of texts": ({}, {"segmentation": [["1", "1", "3", "1", "3", "x"]]}, {}, {}),
    "a polygon of lists": ({}, {"segmentation": [[[1], 1, 3, 1, 3, 3]]}, {}, {}),
    "a polygon that never ends": ({}, {"segmentation": [[0, 0, 9e5, 9e5] * 2000]}, {}, {}),
    "a polygon at infinity": ({}, {"segmentation": [[1, 1, float("inf"), 1, 3, 3]]}, {}, {}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named_with_exit_code_4(tmp_path: Path, lie: str, capfd: pytest.CaptureFixture[str]) -> None:
    file, out = _file(tmp_path, *LIES[lie]), tmp_path / "out"
    code = run(["convert", "from-coco", str(file), "--out", str(out), "--own-classes"])
    said = capfd.readouterr().err
    assert code == 4, said
    assert not list(out.rglob("*.png"))


READ: dict[str, tuple[Json, Json, Json, Json]] = {
    "a category's id that is a text": ({}, {}, {"id": "1"}, {}),
    "info.annoloop that is a list": ({}, {}, {}, {"info": {"annoloop": [1]}}),
    "an ignore index that is a text": ({}, {}, {}, {"info": {"annoloop": {"background": None, "ignore_index": "x"}}}),
    "a background that is a list": ({}, {}, {}, {"info": {"annoloop": {"background": [], "ignore_index": 255}}}),
    "a colour of texts": ({}, {}, {"color": ["a", "b", "c"]}, {"info": OURS}),
    "a colour that is a number": ({}, {}, {"color": 7}, {"info": OURS}),
}
"""Odd, but no reason to stop: only one thing can be meant, or nothing depends on it."""


@pytest.mark.parametrize("oddity", READ)
def test_what_is_only_odd_is_read(tmp_path: Path, oddity: str) -> None:
    file, out = _file(tmp_path, *READ[oddity]), tmp_path / "out"
    assert run(["convert", "from-coco", str(file), "--out", str(out), "--own-classes"]) == 0
    assert np.count_nonzero(np.bincount(read_index_png(out / "a.png").values.ravel(), minlength=256) == 4) == 1


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"images": 1' + "0" * 5000 + "}"])
def test_a_file_that_is_deep_or_long_is_named(tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "coco.json").write_text(text)
    arguments = ["convert", "from-coco", str(tmp_path / "coco.json"), "--out", str(tmp_path / "out"), "--own-classes"]
    assert run(arguments) == 4
    assert "not valid JSON" in capfd.readouterr().err


def test_lies_about_size_take_no_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for lie in ("sides of a million", "2.5 gigapixels", "a polygon that never ends", "counts whose sum wraps"):
        with pytest.raises(DataError):
            from_coco(_file(tmp_path, *LIES[lie]), tmp_path / "out")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


def test_a_large_size_is_believed_where_the_image_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "MOST_UNSEEN_PX", 20)
    file, images = _file(tmp_path, {}, {}, {}, {}), tmp_path / "images"
    images.mkdir()
    with pytest.raises(DataError, match=r"a\.jpg is said to have 6 x 4 px") as caught:
        from_coco(file, tmp_path / "out")
    assert "--images" in str(caught.value.hint)
    with pytest.raises(DataError, match="is said to have"):
        from_coco(file, tmp_path / "out", images_dir=images)
    Image.new("RGB", (6, 5)).save(images / "a.jpg")
    with pytest.raises(DataError, match="the file says 6 x 4 px, the image is 6 x 5"):
        from_coco(file, tmp_path / "out", images_dir=images)
    Image.new("RGB", (6, 4)).save(images / "a.jpg")
    assert from_coco(file, tmp_path / "out", images_dir=images).written == 1


# what a power cut left of masks that were not on disk yet

LEFT = {"empty": lambda data: b"", "zeros": lambda data: bytes(len(data)), "cut": lambda data: data[: len(data) // 2]}


@pytest.mark.parametrize("left", LEFT)
def test_what_a_power_cut_left_is_written_anew_by_the_same_command(tmp_path: Path, left: str) -> None:
    file, out = _file(tmp_path, {}, {}, {}, {}), tmp_path / "out"
    from_coco(file, out)
    whole = (out / "a.png").read_bytes()
    (out / "a.png").write_bytes(LEFT[left](whole))
    assert from_coco(file, out).written == 1
    assert (out / "a.png").read_bytes() == whole


@pytest.mark.parametrize("kind", ["a picture", "a text"])
def test_what_somebody_else_put_there_stays(tmp_path: Path, kind: str) -> None:
    file, out = _file(tmp_path, {}, {}, {}, {}), tmp_path / "out"
    out.mkdir()
    if kind == "a picture":
        Image.new("RGB", (6, 4)).save(out / "a.png")
    else:
        (out / "a.png").write_text("all I have")
    before = (out / "a.png").read_bytes()
    with pytest.raises(DataError, match="is there already with other pixels"):
        from_coco(file, out)
    assert (out / "a.png").read_bytes() == before


def test_a_link_to_nothing_is_written_through(tmp_path: Path) -> None:
    file, out = _file(tmp_path, {}, {}, {}, {}), tmp_path / "out"
    out.mkdir()
    (out / "a.png").symlink_to(tmp_path / "target.png")
    assert from_coco(file, out).written == 1
    assert (out / "a.png").is_symlink()
    assert read_index_png(tmp_path / "target.png").values.shape == (4, 6)
