"""Label maps of many megapixels: what converting them needs is a few bytes a pixel, on the way there and back."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annoloop import coco
from annoloop.classes import class_table
from annoloop.images import IndexImage, decode_index_png, encode_index_png
from annoloop.runs import CvatMask, cvat_masks, paint_cvat_masks

CLASSES = class_table(["background", *"abcdefg"], background="background")
SIDE, SMALL_SIDE = 6144, 192


def to_coco(png: bytes) -> dict[str, Any]:
    label_map = decode_index_png(png, "mask").values
    image = coco.image_entry(1, "mask.png", label_map.shape)
    annotations = coco.encode(label_map, CLASSES, image_id=1, first_id=1)
    return {**coco.header(CLASSES), "images": [image], "annotations": annotations}


def from_coco(document: dict[str, Any]) -> bytes:
    (image,) = coco.read_images(document, "file")
    index_of = coco.class_index_of_category(document, CLASSES, "file")
    return encode_index_png(IndexImage(coco.read_label_map(image, CLASSES, index_of, "file").label_map))


def to_cvat(png: bytes) -> tuple[tuple[int, ...], list[CvatMask]]:
    label_map = decode_index_png(png, "mask").values
    return label_map.shape, cvat_masks(label_map, skip=[0])


def from_cvat(task: tuple[tuple[int, ...], list[CvatMask]]) -> bytes:
    shape_hw, masks = task
    return encode_index_png(IndexImage(paint_cvat_masks(masks, np.zeros(shape_hw, np.uint8))))


def test_a_mask_of_several_bands_is_read_by_others() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (701, 1103), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_index_png(IndexImage(noise)))) as image:
        assert np.array_equal(np.asarray(image), noise)


@pytest.mark.parametrize(
    ("there", "back", "most_there", "most_back"),
    [
        pytest.param(to_coco, from_coco, 2.5, 4, id="COCO"),
        pytest.param(to_cvat, from_cvat, 2.5, 4.5, id="CVAT"),
    ],
)
def test_a_conversion_needs_a_few_bytes_a_pixel(
    there: Callable[[bytes], Any], back: Callable[[Any], bytes], most_there: float, most_back: float
) -> None:
    # In a process of its own: the most that one has ever needed never becomes less.
    with multiprocessing.get_context("spawn").Pool(1) as one:
        needed_there, needed_back = one.apply(bytes_a_pixel, (there, back, made(SMALL_SIDE), made(SIDE)))
    assert needed_there < most_there, "the map itself is 1"
    assert needed_back < most_back, "the map painted, turned or copied, and what is covered are 3"


def made(side: int) -> bytes:
    cells = np.random.default_rng(0).integers(0, 8, (side // 64, side // 64), dtype=np.uint8)
    return encode_index_png(IndexImage(np.repeat(np.repeat(cells, 64, axis=0), 64, axis=1)))


def bytes_a_pixel(
    there: Callable[[bytes], Any], back: Callable[[Any], bytes], small: bytes, large: bytes
) -> tuple[float, float]:
    assert back(there(small)) == small  # what is loaded and compiled once does not count
    before = most_bytes()
    converted = there(large)
    between = most_bytes()
    assert back(converted) == large
    return (between - before) / SIDE**2, (most_bytes() - before) / SIDE**2


def most_bytes() -> int:
    status = Path("/proc/self/status").read_text()  # getrusage would tell the most of the process that started this one
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024
