"""Annotations that have no pixel, lie outside of their image, or elsewhere than their ``bbox`` says.

Not here: painting (``painting.py``).  The fact to know: this is how a size or a scale that is another picture's
is noticed where the images are not at hand; nothing is left out for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from annoloop.data.coco.drawn import DrawnImage, place
from annoloop.data.coco.json_values import Json
from annoloop.data.coco.reading import CocoImage
from annoloop.data.coco.segmentation import Box
from annoloop.data.remarks import Remarks
from annoloop.masks.coco_counts import Ints, PaintedMasks
from annoloop.masks.regions import Bits

_LEAST_INSIDE = 0.5
_FAR_PX, _FAR_SHARE = 4.0, 0.2
"""A painted box is far from ``bbox`` where a side differs by more than so many px and this share of the longer side."""

Boxes = npt.NDArray[np.float64]


def look_at_boxes(image: CocoImage, drawn: DrawnImage, painted: PaintedMasks, remarks: Remarks) -> None:
    """Tell those of ``drawn`` that, as they were painted, have no pixel or are not where they should be."""
    kept, owners = drawn.kept, drawn.owners
    if not owners.size:
        return
    boxes, px = _boxes_of_annotations(owners, painted, len(kept))
    has_part = np.bincount(owners, minlength=len(kept)) > 0
    outside = _outside(drawn.polygon_boxes, len(kept), image.size_hw)
    far = has_part & ~outside & (px > 0) & _far(boxes, _bboxes(kept, image.size_hw), image.size_hw)
    hint = "is the size, or the scale, that of another picture? --images checks it"
    for number in np.flatnonzero(outside | far | (has_part & (px == 0))).tolist():
        where = place(image, kept[number])
        if outside[number]:
            remarks.add("annotations that lie mostly outside of their image", where, hint=hint)
        elif far[number]:
            said = f"{where} is painted at {_box(boxes[number])}, its bbox says {kept[number]['bbox']}"
            remarks.add("annotations whose painted box is far from their bbox (left, top, width, height)", said)
        else:
            remarks.add("segmentations without a pixel, left out", where)


def _boxes_of_annotations(owners: Ints, painted: PaintedMasks, count: int) -> tuple[Boxes, Ints]:
    """The box around all masks of each annotation, half-open, and their pixels."""
    if owners.size == count and np.array_equal(owners, np.arange(count)):
        return painted.boxes_ltrb.astype(np.float64), painted.sizes_px
    boxes = np.tile(np.array([np.inf, np.inf, -np.inf, -np.inf]), (count, 1))
    some = painted.sizes_px > 0
    np.minimum.at(boxes[:, :2], owners[some], painted.boxes_ltrb[some, :2].astype(np.float64))
    np.maximum.at(boxes[:, 2:], owners[some], painted.boxes_ltrb[some, 2:].astype(np.float64))
    return boxes, np.bincount(owners, painted.sizes_px, minlength=count).astype(np.int64)


def _outside(polygon_boxes: Mapping[int, Box], count: int, size_hw: tuple[int, int]) -> Bits:
    """Whether less than half of each polygon's box lies in the image, (N,); never of run lengths."""
    found = np.zeros(count, np.bool_)
    for number, (left, top, right, bottom) in polygon_boxes.items():
        seen = max(0.0, min(right, size_hw[1]) - max(left, 0)) * max(0.0, min(bottom, size_hw[0]) - max(top, 0))
        found[number] = seen < _LEAST_INSIDE * (right - left) * (bottom - top)
    return found


def _bboxes(kept: Sequence[Json], size_hw: tuple[int, int]) -> Boxes:
    """The ``bbox`` of each annotation, (N, 4) left, top, width, height; NaN where there is none that can be."""
    given: list[Any] = [one.get("bbox") for one in kept]
    try:
        if set(map(len, given)) != {4}:
            raise ValueError("a box of other than four numbers")
        boxes = np.fromiter(chain.from_iterable(given), np.float64, 4 * len(given)).reshape(-1, 4)
    except (TypeError, ValueError, OverflowError):
        boxes = np.array([_bbox(one) for one in given], np.float64)
    with np.errstate(invalid="ignore"):
        can_be = (boxes[:, 2:].min(axis=1) > 0) & (np.abs(boxes).max(axis=1) <= 100 * max(size_hw))
    boxes[~can_be] = np.nan
    return boxes


def _bbox(given: object) -> list[float]:
    try:
        left, top, width, height = map(float, given)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return [np.nan] * 4
    return [left, top, width, height]


def _far(painted_ltrb: Boxes, bbox_ltwh: Boxes, size_hw: tuple[int, int]) -> Bits:
    """Whether each painted box is far from what its ``bbox`` says, be that left, top, right, bottom by mistake."""
    bbox_ltrb = bbox_ltwh.copy()
    bbox_ltrb[:, 2:] += bbox_ltwh[:, :2]
    far = np.zeros(len(painted_ltrb), np.bool_)
    with np.errstate(invalid="ignore"):
        # Mostly they are the same, or there is none, which is not far from anything.
        differ = np.flatnonzero(np.abs(painted_ltrb - bbox_ltrb).max(axis=1) > _FAR_PX)
        if not differ.size:
            return far
        limit = np.array([size_hw[1], size_hw[0], size_hw[1], size_hw[0]], np.float64)
        painted, is_far = painted_ltrb[differ], np.ones(differ.size, np.bool_)
        for box in (bbox_ltrb[differ], bbox_ltwh[differ]):
            px = np.abs(painted - np.clip(box, 0, limit)).max(axis=1)
            sides = np.maximum(painted[:, 2:] - painted[:, :2], box[:, 2:] - box[:, :2]).max(axis=1)
            is_far &= px > np.maximum(_FAR_PX, _FAR_SHARE * sides)
    far[differ] = is_far
    return far


def _box(ltrb: npt.NDArray[np.float64]) -> str:
    left, top, right, bottom = ltrb.astype(int).tolist()
    return str([left, top, right - left, bottom - top])
