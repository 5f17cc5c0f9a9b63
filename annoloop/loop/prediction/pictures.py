"""What is made of predictions that are there: overlays for people, one COCO file for programs.

Not here: the predictions.  The fact to know: an overlay of a large image is small, for it is to be looked at.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from annoloop.compute.workers import spread
from annoloop.data.coco import instances
from annoloop.data.coco.writing import coco_writer
from annoloop.data.images import read_bytes, read_image, read_index_png, sha256, write_atomic
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.progress import Track
from annoloop.reports.gallery import overlay

_LONGEST_PX = 2048
_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, its predicted mask, and where the overlay goes."""

    image: Path
    mask: Path
    overlay: Path


def write_overlays(pictures: Sequence[Picture], classes: ClassTable, track: Track) -> None:
    """A JPEG for each: the image with every class but the background in its colour, at most 2048 px long.

    Raises:
        DataError: a file cannot be read, or the disk is full.
    """
    for _ in track(spread(partial(_write_overlay, classes=classes), pictures), "drawing overlays", len(pictures)):
        pass


def write_coco(file: Path, masks: Sequence[tuple[str, Path]], classes: ClassTable, track: Track) -> int:
    """A COCO instances file of predicted masks, each with its image's name; returns the number of regions.

    Raises:
        DataError: a mask cannot be read, or the disk is full.
    """
    encoded = track(spread(partial(_encoded, classes=classes), [mask for _, mask in masks]), "to COCO", len(masks))
    with coco_writer(file, classes) as writer:
        for (name, _), (digest, size_hw, texts) in zip(masks, encoded, strict=True):
            writer.add(name, size_hw, texts, mask_sha256=digest)
    return writer.annotation_count


def _write_overlay(one: Picture, classes: ClassTable) -> None:
    image, label_map = read_image(one.image), read_index_png(one.mask).values
    longest = max(label_map.shape)
    if longest > _LONGEST_PX:
        size_wh = (
            max(1, label_map.shape[1] * _LONGEST_PX // longest),
            max(1, label_map.shape[0] * _LONGEST_PX // longest),
        )
        image = np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.BOX))
        label_map = _nearest(label_map, size_wh)
    stream = io.BytesIO()
    Image.fromarray(overlay(image, label_map, classes)).save(stream, "JPEG", quality=_JPEG_QUALITY)
    write_atomic(one.overlay, stream.getvalue(), durable=False)


def _nearest(label_map: LabelMap, size_wh: tuple[int, int]) -> LabelMap:
    rows, columns = (
        (np.arange(count) * 2 + 1) * length // (2 * count)
        for count, length in zip(size_wh[::-1], label_map.shape, strict=True)
    )
    smaller: LabelMap = label_map[rows[:, None], columns]
    return smaller


def _encoded(mask: Path, classes: ClassTable) -> tuple[str, tuple[int, int], list[str]]:
    label_map = read_index_png(mask).values
    height, width = label_map.shape
    return sha256(read_bytes(mask)), (height, width), instances.annotation_texts(label_map, classes)
