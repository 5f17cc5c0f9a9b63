"""Label maps to CVAT shapes and back, with class names: the exact exchange of one frame (law 1).

Not here: servers and files.  The facts to know: an annotator's edit keeps a shape's id, so shapes are told
apart by the digest of their content; and a shape that still has the digest it was sent with stands for its
original pixels, which for a polygon are more exact than its outline.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from annoloop.classes import ClassTable
from annoloop.cvat_wire import Shape, shape_digest
from annoloop.errors import AnnoloopError, CvatError, DataError
from annoloop.masks import LabelMap, Region, from_cvat_outline, from_cvat_runs, paint, regions, to_cvat_runs
from annoloop.polygons import Piece, loss_px, pieces

Kind = Literal["mask", "polygon"]


@dataclass(frozen=True, slots=True)
class Drawing:
    """How masks become shapes: exact masks, or outlines simplified by ``polygons.pieces``' ``tolerance_px``."""

    kind: Kind
    tolerance_px: float
    min_region_px: int


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A shape, its label and digest, and the pixels that it stands for; frame and label id are filled in later."""

    label: str
    shape: Shape
    digest: str
    region: Region


def draw(label_map: LabelMap, classes: ClassTable, how: Drawing, where: object) -> list[Drawn]:
    """The shapes of a label map, checked by reading them back: bounds, sums, no empties, every pixel.

    Raises:
        DataError: the shapes would not give the mask back, which must never happen.
    """
    drawn = [_drawn(piece, classes, how) for piece in _pieces(label_map, classes, how)]
    exact = [_exact(one, label_map.shape) for one in drawn]
    whole = paint([region for region in exact if region is not None], label_map.shape, fill=classes.fill_index)
    if None in exact or not np.array_equal(whole, label_map):
        raise DataError("the shapes do not give the mask back; please report this", where=where)
    return drawn


def polygon_loss_px(drawn: Sequence[Drawn], label_map: LabelMap, classes: ClassTable) -> int:
    """How many pixels would change if somebody touched every shape that was drawn of a label map; 0 for masks."""
    if all(one.shape.kind == "mask" for one in drawn):
        return 0
    sent = [Piece(one.region, one.shape.points if one.shape.kind == "polygon" else None) for one in drawn]
    return loss_px(sent, label_map, classes.fill_index)


def read_regions(
    shapes: Sequence[Shape],
    labels: Mapping[int, str],
    classes: ClassTable,
    size_hw: tuple[int, int],
    *,
    originals: Mapping[str, Region],
    before: Collection[str],
    where: str,
) -> list[Region]:
    """What shapes mean, in painting order: by z-order, at equal z what an annotator touched above the rest.

    Args:
        labels: names by label id.
        originals: the pixels that untouched shapes stand for, by digest; others are rasterised.
        before: digests of the shapes that were there when the frame was last in step.

    Raises:
        CvatError: a shape that is no area of this image; names it.
    """
    digests = {id(shape): shape_digest(shape, labels[shape.label_id]) for shape in shapes}
    found = []
    for shape in sorted(shapes, key=lambda s: (s.z_order, digests[id(s)] not in before, s.id or 0)):
        region = originals.get(digests[id(shape)]) or _rasterized(
            shape, labels[shape.label_id], classes, size_hw, where
        )
        if region is not None:
            found.append(region)
    return found


def _pieces(label_map: LabelMap, classes: ClassTable, how: Drawing) -> list[Piece]:
    skip = classes.undrawn_indices
    if how.kind == "polygon":
        return pieces(label_map, skip=skip, min_region_px=how.min_region_px, tolerance_px=how.tolerance_px)
    return [Piece(region, None) for region in regions(label_map, skip=skip, min_region_px=how.min_region_px)]


def _drawn(piece: Piece, classes: ClassTable, how: Drawing) -> Drawn:
    label = classes.label_of(piece.region.class_index)
    if piece.outline is None:
        # An outline leaves no room for the specks in it: they lie above.
        z_order = 1 if how.kind == "polygon" else 0
        shape = Shape(0, 0, "mask", tuple(map(float, to_cvat_runs(piece.region))), z_order)
    else:
        shape = Shape(0, 0, "polygon", tuple(round(number, 2) for number in piece.outline))
    return Drawn(label, shape, shape_digest(shape, label), piece.region)


def _exact(one: Drawn, size_hw: tuple[int, int]) -> Region | None:
    """The region as the numbers that will be sent say it, where they say it exactly."""
    if one.shape.kind == "polygon":
        return one.region
    return from_cvat_runs(one.shape.points, one.region.class_index, size_hw)


def _rasterized(shape: Shape, label: str, classes: ClassTable, size_hw: tuple[int, int], where: str) -> Region | None:
    class_index = classes.index_of(label)
    try:
        if shape.kind == "mask":
            return from_cvat_runs(shape.points, class_index, size_hw)
        return from_cvat_outline(shape.kind, shape.points, shape.rotation, class_index, size_hw)
    except AnnoloopError as error:
        hint = "correct it in CVAT; nothing was written"
        raise CvatError(error.message, where=f"{where}, shape {shape.id} ({label})", hint=hint) from error
