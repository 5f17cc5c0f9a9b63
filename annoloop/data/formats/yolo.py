"""YOLO segmentation text: a file for each image, a line for each object, its class and its outline.

Lossy: an outline has no holes, and touching objects share its corners; ``loss_px`` says how much.  Not here: folders
(``yolo_folders.py``).  The fact to know: coordinates are shares of the image's width and height.  Source of the format:
docs.ultralytics.com/datasets/segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from annoloop.data.coco.json_values import Id, Json, whole
from annoloop.data.coco.painting import OverlapRule, ReadImage, read_label_map
from annoloop.data.coco.reading import CocoImage
from annoloop.data.remarks import Remarks
from annoloop.masks.classes import ClassTable
from annoloop.masks.polygons import pieces
from annoloop.masks.regions import LabelMap, Region

_DIGITS = 6
_BOX, _FEWEST = 4, 6
_MOST_SHARE = 1.5
"""Shares a little beyond an image's border are drawn by people; beyond this they are px."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The lines of an image, how many px another class would be read for, and how many ignored ones a class."""

    lines: tuple[str, ...]
    loss_px: int
    ignored_px: int


def yolo_classes(classes: ClassTable) -> tuple[int, ...]:
    """The class index of each of YOLO's: those that are drawn, without the ignore index, for which it has no place."""
    return tuple(index for index in classes.drawn_indices if index != classes.ignore_index)


def encode(label_map: LabelMap, classes: ClassTable, *, tolerance_px: float = 1.0) -> Encoded:
    """The objects of a label map as lines, one for each part that hangs together.

    Args:
        tolerance_px: as ``polygons.pieces``; at 0 corners stay, and nothing is lost but what is ignored.
    """
    number_of = {index: number for number, index in enumerate(yolo_classes(classes))}
    skip = {*classes.undrawn_indices, classes.ignore_index}
    lines = []
    for piece in pieces(label_map, skip=skip, tolerance_px=tolerance_px):
        number = number_of[piece.region.class_index]
        outlines = [piece.outline] if piece.outline is not None else _exact(piece.region)
        lines += [_line(number, outline, label_map.shape[:2]) for outline in outlines]
    image = CocoImage(0, "", (label_map.shape[0], label_map.shape[1]), ())
    index_of: dict[Id, int] = dict(enumerate(yolo_classes(classes)))
    read = decode(image, "\n".join(lines), classes, index_of)
    assert read.label_map is not None
    ignored = label_map == classes.ignore_index
    wrong = read.label_map != label_map
    return Encoded(tuple(lines), int((wrong & ~ignored).sum()), int((wrong & ignored).sum()))


def decode(
    image: CocoImage, text: str, classes: ClassTable, index_of: Mapping[Id, int], *, overlap: OverlapRule = "last"
) -> ReadImage:
    """The label map of an image's lines; ``index_of``: class index of every class of YOLO's."""
    remarks = Remarks()
    annotations = parsed(text, image, remarks)
    whole_image = CocoImage(image.id, image.file_name, image.size_hw, tuple(annotations))
    read = read_label_map(whole_image, classes, index_of, overlap=overlap)
    read.remarks.merge(remarks)
    if remarks.losses and not read.painted:
        return ReadImage(None, 0, read.remarks)
    return read


def parsed(text: str, image: CocoImage, remarks: Remarks) -> list[Json]:
    """The lines as COCO annotations in px; their ids are the lines' numbers."""
    found: list[Json] = []
    height, width = image.size_hw
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        place = f"line {number} of {image.file_name}"
        try:
            points = np.array(words[1:], np.float64)
        except ValueError:
            points = np.array([np.nan])
        category = whole(words[0])
        if category is None or not np.isfinite(points).all():
            remarks.add("lines that are no class and numbers, left out", place, loss=True)
        elif points.size == _BOX:
            remarks.add("boxes, which say nothing about pixels, left out", place, loss=True)
        elif points.size % 2 or points.size < _FEWEST:
            remarks.add("lines that are no outline of three points or more, left out", place, loss=points.size > _BOX)
        elif np.abs(points).max() > _MOST_SHARE:
            kind = "outlines in px instead of shares of the image's size, left out"
            remarks.add(kind, place, loss=True, hint="divide x by the width and y by the height")
        else:
            outline = (points.reshape(-1, 2) * (width, height)).ravel().tolist()
            found.append({"id": number, "category_id": category, "segmentation": [outline]})
    return found


def _line(number: int, outline: tuple[float, ...], size_hw: tuple[int, ...]) -> str:
    shares = np.array(outline).reshape(-1, 2) / (size_hw[1], size_hw[0])
    return " ".join([str(number), *(f"{share:.{_DIGITS}f}".rstrip("0").rstrip(".") for share in shares.ravel())])


def _exact(region: Region) -> list[tuple[float, ...]]:
    """The outlines of what is too small, or too thin, to be simplified."""
    small = np.where(region.bits, np.uint8(1), np.uint8(0))
    found = []
    for piece in pieces(small, skip=[0], tolerance_px=0):
        if piece.outline is not None:
            corners = np.array(piece.outline).reshape(-1, 2) + np.array([region.left_px, region.top_px])
            found.append(tuple(corners.ravel().tolist()))
    return found
