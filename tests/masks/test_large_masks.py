"""Label maps of many megapixels: what converting them needs is a few bytes a pixel, on the way there and back."""

from __future__ import annotations

import io
import multiprocessing
import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from memory import most_bytes, tells_memory
from PIL import Image

from annoloop.data.coco import instances
from annoloop.data.coco.painting import read_label_map
from annoloop.data.coco.reading import CocoImage
from annoloop.data.images import IndexImage, decode_index_png, encode_index_png
from annoloop.masks.classes import class_table
from annoloop.masks.run_lengths import CvatMask, cvat_masks, paint_cvat_masks

CLASSES = class_table(["background", *"abcdefg"], background="background")
SIDE, SMALL_SIDE = 6144, 192


def to_coco(png: bytes) -> CocoImage:
    label_map = decode_index_png(png, "mask").values
    annotations = instances.encode(label_map, CLASSES, image_id=1, first_id=1)
    return CocoImage(1, "mask", label_map.shape, tuple(annotations))


def from_coco(image: CocoImage) -> bytes:
    index_of = {instances.category_id(index): index for index in range(len(CLASSES))}
    label_map = read_label_map(image, CLASSES, index_of).label_map
    assert label_map is not None
    return encode_index_png(IndexImage(label_map))


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


def test_to_write_a_mask_takes_next_to_no_room_beside_it() -> None:
    mask = IndexImage(np.zeros((SIDE, SIDE), np.uint8))
    tracemalloc.start()
    try:
        encode_index_png(mask)
        assert tracemalloc.get_traced_memory()[1] < mask.values.size / 20
    finally:
        tracemalloc.stop()


@tells_memory
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
    before = most_bytes(os.getpid())
    converted = there(large)
    between = most_bytes(os.getpid())
    assert back(converted) == large
    return (between - before) / SIDE**2, (most_bytes(os.getpid()) - before) / SIDE**2
