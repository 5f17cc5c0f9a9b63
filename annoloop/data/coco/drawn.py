"""The annotations of one COCO image that draw something, as run lengths one after another.

Not here: painting (``painting.py``), the shapes of a segmentation (``segmentation.py``).  The fact to know:
an annotation that cannot be read, or a part of it, is left out and told; the others are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from annoloop.data.coco.json_values import Id, Json, read_id
from annoloop.data.coco.reading import CocoImage
from annoloop.data.coco.segmentation import Box, Drawn, is_shares, read_segmentation
from annoloop.data.remarks import Remarks
from annoloop.errors import DataError
from annoloop.masks.coco_counts import Ints, said_unfit, unfit_masks, unpack_coco_counts

_NO_SEGMENTATION = "annotations without a segmentation (a box alone says nothing about pixels), left out"
_SHARES = "annotations with coordinates of 0 to 1, shares of the image's size instead of px, left out"

Counts = str | Ints
"""Of one mask: COCO's compressed text, or numbers."""

_TRIED = 500
_NEARLY_ALL = 0.9


@dataclass(slots=True)
class DrawnImage:
    """The annotations that draw something, their class indices, and the boxes of polygons by their place among them.

    ``numbers`` are the counts of all masks, which stop at ``stops`` (R,); ``owners`` (R,) are their annotations, for
    some have several masks.
    """

    kept: list[Json] = field(default_factory=list)
    class_of: list[int] = field(default_factory=list)
    polygon_boxes: dict[int, Box] = field(default_factory=dict)
    numbers: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    stops: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    owners: Ints = field(default_factory=lambda: np.empty(0, np.int64))


def read_annotations(
    image: CocoImage, index_of: Mapping[Id, int], remarks: Remarks, *, in_shares: bool = False
) -> DrawnImage:
    """What the annotations of an image draw; ``in_shares``: as ``all_in_shares`` says of the file."""
    drawn, size = DrawnImage(), [*image.size_hw]
    counts: list[Counts] = []
    owners: list[int] = []
    for annotation in image.annotations:
        category: Any = annotation.get("category_id")
        index = index_of.get(category if type(category) is int else read_id(category))  # type: ignore[arg-type]
        if index is None:
            said = f"{place(image, annotation)} has {str(category)[:40]!r}"
            remarks.add("annotations with an unknown category_id, left out", said, loss=True)
            continue
        value = annotation.get("segmentation")
        # As all of our own are, and there may be a million of them.
        if type(value) is dict and type(value.get("counts")) is str and value.get("size") == size:
            counts.append(value["counts"])
            owners.append(len(drawn.kept))
        else:
            one = _read(image, annotation, in_shares, remarks)
            if not one.counts:
                continue
            counts += one.counts
            owners += [len(drawn.kept)] * len(one.counts)
            if one.box_ltrb is not None:
                drawn.polygon_boxes[len(drawn.kept)] = one.box_ltrb
        drawn.kept.append(annotation)
        drawn.class_of.append(index)
    _unpack(drawn, counts, owners, image, remarks)
    return drawn


def place(image: CocoImage, annotation: Json) -> str:
    """An annotation in words."""
    return f"annotation {annotation.get('id')} of {image.file_name}"


def all_in_shares(images: Sequence[CocoImage]) -> bool:
    """Whether nearly all polygons of a file, or of a sample of it, have coordinates of 0 to 1 only."""
    found: list[bool] = []
    left = 4 * _TRIED
    for image in images:
        if min(image.size_hw) > 2:  # in a smaller one shares and px look alike
            for annotation in image.annotations[:left]:
                value = annotation.get("segmentation")
                shares = None if type(value) is dict else is_shares(value)
                found += [] if shares is None else [shares]
            left -= len(image.annotations)
        if left <= 0 or len(found) >= _TRIED:
            break
    return bool(found) and sum(found) >= _NEARLY_ALL * len(found)


def _read(image: CocoImage, annotation: Json, in_shares: bool, remarks: Remarks) -> Drawn:
    value = annotation.get("segmentation")
    if in_shares and is_shares(value):
        hint = "multiply x by the width and y by the height, or look for another export"
        remarks.add(_SHARES, place(image, annotation), loss=True, hint=hint)
        return Drawn()
    one = read_segmentation(value, image.size_hw)
    if one.is_empty:
        remarks.add(_NO_SEGMENTATION, place(image, annotation), loss=True)
    for why in one.wrong:
        _cannot(why, image, annotation, remarks)
    if one.short:
        kind = "parts of fewer than three points, which cover nothing, left out"
        remarks.add(kind, place(image, annotation), count=one.short)
    return one


def _cannot(why: str, image: CocoImage, annotation: Json, remarks: Remarks) -> None:
    kind = "segmentations or parts of one that cannot be read, left out"
    remarks.add(kind, f"{place(image, annotation)}: {why}", loss=True)


def _unpack(drawn: DrawnImage, counts: list[Counts], owners: list[int], image: CocoImage, remarks: Remarks) -> None:
    """The counts of all masks that fit their image, one after another."""
    try:
        drawn.numbers, drawn.stops = _numbers(counts)
    except DataError:  # one of them is damaged: which, is known only if each is tried
        sound = []
        for number, one in enumerate(counts):
            try:
                _numbers([one])
                sound.append(number)
            except DataError as error:
                _cannot(error.message, image, drawn.kept[owners[number]], remarks)
        counts, owners = [counts[number] for number in sound], [owners[number] for number in sound]
        drawn.numbers, drawn.stops = _numbers(counts)
    unfit = set(unfit_masks(drawn.numbers, drawn.stops, image.size_hw))
    if unfit:
        apart = np.split(drawn.numbers, drawn.stops[:-1])
        for number in sorted(unfit):
            _cannot(said_unfit(apart[number], image.size_hw), image, drawn.kept[owners[number]], remarks)
        fit = [number for number in range(len(apart)) if number not in unfit]
        drawn.numbers, drawn.stops = _numbers([apart[number] for number in fit])
        owners = [owners[number] for number in fit]
    drawn.owners = np.array(owners, np.int64)


def _numbers(counts: Sequence[Counts]) -> tuple[Ints, Ints]:
    texts = [one for one in counts if isinstance(one, str)]
    numbers, stops = unpack_coco_counts(texts, texts)
    if len(texts) == len(counts):
        return numbers, stops
    unpacked = iter(np.split(numbers, stops[:-1]))
    plain = [next(unpacked) if isinstance(one, str) else one for one in counts]
    return np.concatenate(plain), np.cumsum([one.size for one in plain])
