"""Label maps to CVAT shapes and back, with class names: the exact exchange of one frame (law 1).

Not here: servers and files.  The facts to know: an annotator's edit keeps a shape's id, so shapes are told
apart by the digest of their content; and a shape that still has the digest it was sent with stands for its
original pixels, which for a polygon are more exact than its outline.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from annoloop.cvat.wire import Shape, shape_digest
from annoloop.errors import AnnoloopError, CvatError, DataError
from annoloop.masks.classes import ClassTable
from annoloop.masks.polygons import Piece, loss_px, pieces
from annoloop.masks.regions import LabelMap, Region, from_cvat_outline, paint
from annoloop.masks.run_lengths import CvatMask, cvat_masks, from_cvat_runs, paint_cvat_masks, to_cvat_runs

Kind = Literal["mask", "polygon"]

Outline: TypeAlias = tuple[float, ...]
"""As in ``polygons.Piece``."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How masks become shapes: exact masks, or outlines simplified by ``polygons.pieces``' ``tolerance_px``."""

    kind: Kind
    tolerance_px: float
    min_region_px: int


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A shape, its label and digest; frame and label id are filled in later.

    ``region``: the pixels that an outline stands for; None for a mask, whose numbers say them.
    """

    label: str
    shape: Shape
    digest: str
    region: Region | None


def draw(label_map: LabelMap, classes: ClassTable, how: Drawing, where: object) -> list[Drawn]:
    """The shapes of a label map, checked by reading them back: bounds, sums, no empties, every pixel.

    Raises:
        DataError: the shapes would not give the mask back, which must never happen.
    """
    outlined, masks = _outlines_and_masks(label_map, classes, how)
    try:
        bare = np.full(_size_hw(label_map), classes.fill_index, label_map.dtype)
        ground = paint((region for region, _ in outlined), bare.shape, fill=classes.fill_index, onto=bare)
        exact = np.array_equal(paint_cvat_masks(masks, ground), label_map)
    except DataError as error:
        raise DataError(f"the shapes cannot be read back ({error.message}); please report this", where=where) from error
    if not exact:
        raise DataError("the shapes do not give the mask back; please report this", where=where)
    # An outline leaves no room for the specks in it: they lie above.
    z_order = 1 if how.kind == "polygon" else 0
    return [*(_drawn_outline(*one, classes) for one in outlined), *(_drawn_mask(m, z_order, classes) for m in masks)]


def polygon_loss_px(drawn: Sequence[Drawn], label_map: LabelMap, classes: ClassTable) -> int:
    """How many pixels would change if somebody touched every shape that was drawn of a label map; 0 for masks."""
    if all(one.region is None for one in drawn):
        return 0
    return loss_px([_piece(one, classes, _size_hw(label_map)) for one in drawn], label_map, classes.fill_index)


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


def _size_hw(label_map: LabelMap) -> tuple[int, int]:
    return label_map.shape[0], label_map.shape[1]


def _outlines_and_masks(
    label_map: LabelMap, classes: ClassTable, how: Drawing
) -> tuple[list[tuple[Region, Outline]], list[CvatMask]]:
    skip = classes.undrawn_indices
    if how.kind == "mask":
        return [], cvat_masks(label_map, skip=skip, min_region_px=how.min_region_px)
    found = pieces(label_map, skip=skip, min_region_px=how.min_region_px, tolerance_px=how.tolerance_px)
    rest = [piece.region for piece in found if piece.outline is None]
    masks = [CvatMask(region.class_index, tuple(map(float, to_cvat_runs(region)))) for region in rest]
    return [(piece.region, piece.outline) for piece in found if piece.outline is not None], masks


def _drawn_outline(region: Region, outline: Outline, classes: ClassTable) -> Drawn:
    label = classes.label_of(region.class_index)
    shape = Shape(0, 0, "polygon", tuple(round(number, 2) for number in outline))
    return Drawn(label, shape, shape_digest(shape, label), region)


def _drawn_mask(mask: CvatMask, z_order: int, classes: ClassTable) -> Drawn:
    label = classes.label_of(mask.class_index)
    shape = Shape(0, 0, "mask", mask.points, z_order)
    return Drawn(label, shape, shape_digest(shape, label), None)


def _piece(one: Drawn, classes: ClassTable, size_hw: tuple[int, int]) -> Piece:
    if one.region is not None:
        return Piece(one.region, one.shape.points)
    region = from_cvat_runs(one.shape.points, classes.index_of(one.label), size_hw)
    assert region is not None, "draw has read it back"
    return Piece(region, None)


def _rasterized(shape: Shape, label: str, classes: ClassTable, size_hw: tuple[int, int], where: str) -> Region | None:
    class_index = classes.index_of(label)
    try:
        if shape.kind == "mask":
            return from_cvat_runs(shape.points, class_index, size_hw)
        return from_cvat_outline(shape.kind, shape.points, shape.rotation, class_index, size_hw)
    except AnnoloopError as error:
        hint = "correct it in CVAT; nothing was written"
        raise CvatError(error.message, where=f"{where}, shape {shape.id} ({label})", hint=hint) from error
