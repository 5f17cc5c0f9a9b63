"""The annotations of one COCO image painted as a label map, and which of them overlap.

Not here: the file around them (``reading.py``), what they draw (``drawn.py``).  The fact to know: an image of
which nothing can be read has no label map, since one that says "background" everywhere would be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from annoloop.data.coco.boxes import look_at_boxes
from annoloop.data.coco.drawn import DrawnImage, read_annotations
from annoloop.data.coco.json_values import Id, read_id
from annoloop.data.coco.reading import CocoImage
from annoloop.data.remarks import Remarks
from annoloop.masks.classes import ClassTable
from annoloop.masks.coco_counts import PaintedMasks, paint_coco_counts
from annoloop.masks.regions import LabelMap

OverlapRule = Literal["last", "small-over-large"]
"""Which of two annotations is seen where both are: the later in the file, or the smaller."""

_MOST_OVERLAPS = 20
"""Of an image that are listed, the largest; all are counted."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two annotations of different classes on the same pixels: the one below, and the one above that took ``px``.

    ``hidden``: nothing of the one below is left to be seen.
    """

    image: str
    below: Id | None
    below_class: str
    above: Id | None
    above_class: str
    px: int
    hidden: bool


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """The label map of an image, None if nothing of it could be read, and what is to be told of it.

    ``painted`` counts annotations; ``overlaps`` has the largest, ``overlap_count`` and ``overlap_px`` all of them.
    """

    label_map: LabelMap | None
    painted: int
    remarks: Remarks
    overlaps: tuple[Overlap, ...] = ()
    overlap_count: int = 0
    overlap_px: int = 0


def read_label_map(
    image: CocoImage,
    classes: ClassTable,
    index_of: Mapping[Id, int],
    *,
    overlap: OverlapRule = "last",
    in_shares: bool = False,
) -> ReadImage:
    """Paint an image's annotations in file order, the later over the earlier, or the smaller over the larger.

    Args:
        index_of: class index of every category id.
        in_shares: nearly all polygons of the file are shares of the image's size, so those of this image are none.
    """
    remarks = Remarks()
    drawn = read_annotations(image, index_of, remarks, in_shares=in_shares)
    if overlap == "small-over-large":
        _put_large_first(drawn)
    values = np.array(drawn.class_of, classes.dtype)[drawn.owners]
    painted = paint_coco_counts(
        drawn.numbers, drawn.stops, values, image.size_hw, fill=classes.fill_index, where=drawn.owners.tolist()
    )
    look_at_boxes(image, drawn, painted, remarks)
    if remarks.losses and not drawn.owners.size:
        return ReadImage(None, 0, remarks)
    overlaps, count, px = _overlaps(image, drawn, painted, classes)
    return ReadImage(painted.label_map, np.unique(drawn.owners).size, remarks, overlaps, count, px)


def _put_large_first(drawn: DrawnImage) -> None:
    """The masks in another order: those of larger annotations first, equal ones as they were."""
    from annoloop.masks.kernels import codes

    if not drawn.owners.size:
        return
    px = np.bincount(drawn.owners, codes.covered_px(drawn.numbers, drawn.stops))
    order = np.lexsort((np.arange(drawn.owners.size), drawn.owners, -px[drawn.owners]))
    apart = np.split(drawn.numbers, drawn.stops[:-1])
    drawn.owners = drawn.owners[order]
    drawn.numbers = np.concatenate([apart[number] for number in order])
    drawn.stops = np.cumsum([apart[number].size for number in order])


def _overlaps(
    image: CocoImage, drawn: DrawnImage, painted: PaintedMasks, classes: ClassTable
) -> tuple[tuple[Overlap, ...], int, int]:
    """The largest overlaps between classes, how many there are, and their px."""
    if not len(painted.overlaps):
        return (), 0, 0
    pairs: dict[tuple[int, int], int] = {}
    for below, above, px in painted.overlaps.tolist():
        pair = int(drawn.owners[below]), int(drawn.owners[above])
        pairs[pair] = pairs.get(pair, 0) + px
    hidden = set(drawn.owners[painted.is_hidden].tolist())
    hidden -= set(drawn.owners[~painted.is_hidden & (painted.sizes_px > 0)].tolist())
    largest = sorted(pairs.items(), key=lambda one: (one[0][0] not in hidden, -one[1], one[0]))[:_MOST_OVERLAPS]
    told = tuple(
        Overlap(
            image.file_name,
            read_id(drawn.kept[below].get("id")),
            classes.label_of(drawn.class_of[below]),
            read_id(drawn.kept[above].get("id")),
            classes.label_of(drawn.class_of[above]),
            px,
            below in hidden,
        )
        for (below, above), px in largest
    )
    return told, len(pairs), sum(pairs.values())
