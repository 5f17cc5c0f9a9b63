"""The shapes of a prediction: one for each region, with how sure the model is of it.

Not here: how CVAT's parts write them (``nuclio.py``, ``cvat_function.py``).  The fact to know: the regions are those
that ``push`` would send, so that painting them gives the prediction back, but for what is never a shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from annoloop.masks.polygons import pieces
from annoloop.masks.regions import Region, regions
from annoloop.serving.model import Answer

_TOLERANCE_PX = 1.0
_DIGITS = 4
"""What is told is what a threshold is compared with."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A region of a class; ``confidence`` is the mean probability of the class over it, 0 to 1."""

    label: str
    region: Region
    confidence: float


def detected(answer: Answer, threshold: float | None = None) -> list[Found]:
    """All regions of a prediction but background and ignore; with a threshold those that are at least as sure."""
    label_map, confidence = answer.prediction.label_map, answer.prediction.confidence
    found = []
    for region in regions(label_map, skip=answer.unshown, min_region_px=answer.min_region_px):
        sure = round(float(confidence[region.window][region.bits].mean()) / 255, _DIGITS)
        if threshold is None or sure >= threshold:
            found.append(Found(answer.classes.names[region.class_index], region, sure))
    return found


def silhouette(region: Region) -> list[float]:
    """A polygon x1, y1, x2, y2, ... from the first to the last pixel of every row: exact where no row has a gap.

    For who cannot wait: a label map's ``outline`` takes a second, this a few microseconds for each region.

    >>> silhouette(Region(1, 0, 5, np.array([[1, 1], [1, 0]], bool)))
    [7.0, 0.0, 7.0, 1.0, 6.0, 1.0, 6.0, 2.0, 5.0, 2.0, 5.0, 0.0]
    """
    data, (height, width) = region.bits.tobytes(), region.bits.shape  # bytes are searched ten times faster
    left: list[tuple[int, int]] = []
    right: list[tuple[int, int]] = []
    begin, end = -1, -1
    for y in range(height):
        start, stop = y * width, (y + 1) * width
        found = data.find(1, start, stop)
        if found >= 0:  # between two parts it goes on as above
            begin = _turned(left, begin, found - start, y)
            end = _turned(right, end, data.rfind(1, start, stop) - start + 1, y)
    corners = [*right, (end, height), (begin, height), *reversed(left)]
    return [float(number) for x, y in corners for number in (x + region.left_px, y + region.top_px)]


def _turned(border: list[tuple[int, int]], before: int, now: int, y: int) -> int:
    """Add the corners of a border that lies at column ``now`` from row ``y`` on; returns ``now``."""
    if border and now != before:
        border.append((before, y))
    if now != before:
        border.append((now, y))
    return now


def outline(region: Region) -> list[float]:
    """The outline x1, y1, x2, y2, ... of a region's largest part, simplified; holes are lost.

    For who asks for polygons: masks are exact.
    """
    drawn = pieces(region.bits.astype(np.uint8), skip=[0], tolerance_px=_TOLERANCE_PX)
    outlined = [piece for piece in drawn if piece.outline is not None]
    if not outlined:
        left, top, right, bottom = map(float, region.box_ltrb)
        return [left, top, right, top, right, bottom, left, bottom]
    largest = max(outlined, key=lambda piece: piece.region.area_px)
    assert largest.outline is not None
    corners = np.array(largest.outline).reshape(-1, 2) + np.array([region.left_px, region.top_px])
    return [round(number, 2) for number in corners.ravel().tolist()]
