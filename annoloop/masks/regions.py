"""Index maps to regions and back, and outlines to regions.

Exact both ways (law 1), but for outlines.  Not here: how CVAT and COCO write masks (``run_lengths.py``), files, class
names, servers.  The fact to know: ``regions`` cuts every region out, which is for those who need its pixels;
``divide`` says the same of all regions at once, as runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from annoloop.errors import DataError

LabelMap: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""uint8 (H, W), uint16 where ``ClassTable.dtype`` says so: the class index of every pixel, or the ignore index."""

IndexMap: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""A label map, or any other numbers for pixels, uint8 or uint16 (H, W)."""

Bits: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]

Along: TypeAlias = Literal["rows", "columns"]

Floats: TypeAlias = npt.NDArray[np.float64]
Owners: TypeAlias = npt.NDArray[np.int32]

FAR_PX = 1 << 20
"""pycocotools walks along every polygon edge in memory: beyond this it would take gigabytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Some pixels of one class: ``bits`` (h, w) is tight, its top left pixel lies at (top, left)."""

    class_index: int
    top_px: int
    left_px: int
    bits: Bits

    @property
    def area_px(self) -> int:
        return int(np.count_nonzero(self.bits))

    @property
    def box_ltrb(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels, half-open."""
        h, w = self.bits.shape
        return self.left_px, self.top_px, self.left_px + w, self.top_px + h

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of its box: ``label_map[region.window][region.bits]`` are the pixels under it."""
        h, w = self.bits.shape
        return slice(self.top_px, self.top_px + h), slice(self.left_px, self.left_px + w)


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """The connected components of a label map, diagonal neighbours included, numbered from 0.

    ``numbers`` int32 (H, W); ``class_of`` (N,) in the map's own type, ``sizes_px`` int64 (N,) and ``boxes_ltrb``
    int64 (N, 4), half-open, are by number.
    """

    numbers: Owners
    class_of: IndexMap
    sizes_px: Ints
    boxes_ltrb: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """The regions of a label map, numbered from 0 and in order.

    ``runs`` int32 (M, 4) are ``kernels.runs.Runs`` along rows or columns, ``owners`` int32 (M,) their regions.
    By number:
    ``class_of`` (R,) in the map's own type, ``sizes_px`` int64 (R,), ``boxes_ltrb`` int64 (R, 4), half-open, and
    ``parts`` int64 (R,), how many components travel together.
    """

    runs: Owners
    owners: Owners
    class_of: IndexMap
    sizes_px: Ints
    boxes_ltrb: Ints
    parts: Ints


def check_label_map(label_map: npt.NDArray[np.generic]) -> LabelMap:
    """Return ``label_map`` if it is uint8 or uint16 (H, W) and holds a pixel.

    Raises:
        DataError: another dtype, another number of axes, or no pixels.
    """
    if label_map.dtype not in (np.uint8, np.uint16) or label_map.ndim != 2 or label_map.size == 0:
        raise DataError(f"a label map is uint8 or uint16 (H, W), not {label_map.dtype} {label_map.shape}")
    return label_map  # type: ignore[return-value]


def regions(label_map: LabelMap, *, skip: Iterable[int] = (), min_region_px: int = 0) -> list[Region]:
    """Split a label map into regions, ordered by class, then top, then left.

    A region is one connected component; components of fewer than ``min_region_px`` pixels travel
    together, one region per class, so that a speckled prediction makes tens of shapes and not
    thousands.  Classes in ``skip`` (the background) make none.
    ``paint(regions(m), m.shape, ...)`` gives ``m`` back.

    Raises:
        DataError: as ``check_label_map``.
    """
    found = divide(check_label_map(label_map), skip=skip, min_region_px=min_region_px)
    numbers = _drawn(found.runs, found.owners, label_map.shape)
    cut_out = []
    for number, (left, top, right, bottom) in enumerate(found.boxes_ltrb.tolist()):
        bits = numbers[top:bottom, left:right] == number
        cut_out.append(Region(int(found.class_of[number]), top, left, bits))
    return cut_out


def divide(label_map: IndexMap, *, along: Along = "rows", skip: Iterable[int] = (), min_region_px: int = 0) -> Division:
    """The regions of ``regions``, in the same order, as runs along the map's rows or along its columns.

    >>> found = divide(np.array([[0, 1, 1, 0], [0, 0, 0, 1]], np.uint8), skip=[0])
    >>> found.boxes_ltrb.tolist(), found.sizes_px.tolist(), found.parts.tolist()
    ([[1, 0, 4, 2]], [3], [1])
    >>> found.runs.tolist(), found.owners.tolist()  # line, start, end, class
    ([[0, 1, 3, 1], [1, 3, 4, 1]], [0, 0])

    Raises:
        DataError: as ``check_label_map``.
    """
    from annoloop.masks.kernels import runs as loops

    runs, owners, measures = _connected(label_map, along, skip)
    parts = np.ones(len(measures), np.int64)
    is_small = measures[:, loops.SIZE] < min_region_px
    if is_small.any():
        region_of = _gather_specks(measures[:, loops.CLASS], is_small)
        owners, parts = region_of[owners], np.bincount(region_of)
        measures = loops.measure(runs, owners, parts.size, along == "columns")
    order = np.lexsort(measures.T[[loops.FIRST_LEFT, loops.LEFT, loops.TOP, loops.CLASS]])
    place = np.empty(order.size, np.int32)
    place[order] = np.arange(order.size)
    return Division(runs, place[owners], *_columns(measures[order], label_map.dtype), parts[order])


def components(label_map: IndexMap) -> Components:
    """All connected components of a label map, every value's, background and ignore included; cuts nothing out.

    Raises:
        DataError: as ``check_label_map``.
    """
    runs, owners, measures = _connected(label_map, "rows", ())
    return Components(_drawn(runs, owners, label_map.shape), *_columns(measures, label_map.dtype))


def paint(parts: Iterable[Region], shape_hw: tuple[int, int], *, fill: int, onto: LabelMap | None = None) -> LabelMap:
    """Paint regions, later over earlier, on a map of ``fill`` or on a copy of ``onto``, in its type.

    Without ``onto`` the map is uint8, or uint16 where an index needs it.

    Raises:
        DataError: a region does not lie inside (H, W).
    """
    parts = list(parts)
    highest = max((region.class_index for region in parts), default=0)
    narrow = max(highest, fill) <= np.iinfo(np.uint8).max
    canvas: LabelMap = np.full(shape_hw, fill, np.uint8 if narrow else np.uint16) if onto is None else onto.copy()
    for region in parts:
        left, top, right, bottom = region.box_ltrb
        if left < 0 or top < 0 or right > shape_hw[1] or bottom > shape_hw[0]:
            raise DataError(f"region {region.box_ltrb} does not fit into an image of {shape_hw[1]} x {shape_hw[0]} px")
        canvas[region.window][region.bits] = region.class_index
    return canvas


def coverage(parts: Iterable[Region], shape_hw: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """How many regions cover each pixel, (H, W)."""
    count = np.zeros(shape_hw, np.uint16)
    for region in parts:
        count[region.window] += region.bits
    return count


def tight(class_index: int, bits: Bits, *, top_px: int = 0, left_px: int = 0) -> Region | None:
    """Cut the empty margin off ``bits``; None if no pixel is set."""
    rows = np.flatnonzero(bits.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(bits.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return Region(class_index, top_px + int(top), left_px + int(left), bits[top:bottom, left:right].copy())


def rasterize(polygons: Sequence[Sequence[float]], class_index: int, shape_hw: tuple[int, int]) -> Region | None:
    """Polygons as pycocotools draws them, several parts as one region; None if no pixel is covered.

    Raises:
        DataError: as ``polygon_counts``.
    """
    from pycocotools import mask as coco_mask

    drawn = {"size": list(shape_hw), "counts": polygon_counts(polygons, shape_hw)}
    return tight(class_index, coco_mask.decode(drawn).astype(np.bool_))


def polygon_counts(polygons: Sequence[Sequence[float]], shape_hw: tuple[int, int]) -> str:
    """The same as COCO's compressed counts.

    Raises:
        DataError: fewer than three points, an odd count of numbers, or a point far outside any image.
    """
    short = [p for p in polygons if len(p) < 6 or len(p) % 2]
    if short or not polygons:
        count = len(short[0]) if short else 0
        raise DataError(f"a polygon needs three points or more as x, y pairs, one has {count} numbers")
    outlines = [np.asarray(p, np.float64) for p in polygons]
    if not all(np.abs(outline).max() <= FAR_PX for outline in outlines):  # NaN is not, either
        raise DataError("a polygon has a point that is no position in an image")
    return outline_counts(outlines, shape_hw)


def outline_counts(outlines: Sequence[Floats], shape_hw: tuple[int, int]) -> str:
    """The same of outlines x, y, x, y, ... that were checked already."""
    from pycocotools import mask as coco_mask

    drawn = coco_mask.frPyObjects([outline.tolist() for outline in outlines], *shape_hw)
    return str((drawn[0] if len(drawn) == 1 else coco_mask.merge(drawn))["counts"], "ascii")


def from_cvat_outline(
    kind: str, points: Sequence[float], rotation: float, class_index: int, shape_hw: tuple[int, int]
) -> Region | None:
    """The region of a polygon, rectangle or ellipse that an annotator drew in CVAT; rotation in degrees.

    Raises:
        DataError: another kind of shape, which has no area.
    """
    if kind == "polygon":
        return rasterize([points], class_index, shape_hw)
    if kind not in ("rectangle", "ellipse"):
        raise DataError(f"a {kind} has no area to label; draw a mask, polygon, rectangle or ellipse")
    if len(points) != 4:
        raise DataError(f"a {kind} has 4 numbers, not {len(points)}")
    x1, y1, x2, y2 = map(float, points)
    if kind == "ellipse":  # centre x, centre y, right x, top y
        angle = np.linspace(0, 2 * np.pi, 73)[:-1]
        outline = np.stack([x1 + (x2 - x1) * np.cos(angle), y1 + (y2 - y1) * np.sin(angle)], axis=1)
    else:
        outline = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    turn = np.deg2rad(rotation)
    centre = outline.mean(axis=0)
    turned = (outline - centre) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + centre
    return rasterize([turned.ravel().tolist()], class_index, shape_hw)


def _connected(index_map: IndexMap, along: Along, skip: Iterable[int]) -> tuple[Owners, Owners, Ints]:
    """Runs, their components, and the ``kernels.runs.Measures`` of these."""
    from annoloop.masks.kernels import runs as loops
    from annoloop.masks.kernels.machine_code import readable

    check_label_map(index_map)
    columns = along == "columns"
    runs = loops.find_runs(readable(index_map), _lookup(skip, index_map.dtype), columns)
    owners, count = loops.connect(runs)
    return runs, owners, loops.measure(runs, owners, count, columns)


def _columns(measures: Ints, dtype: np.dtype[Any]) -> tuple[IndexMap, Ints, Ints]:
    """Classes, sizes and boxes (left, top, right, bottom) of ``kernels.runs.Measures``."""
    from annoloop.masks.kernels import runs as loops

    return (
        measures[:, loops.CLASS].astype(dtype),
        measures[:, loops.SIZE],
        measures[:, loops.LEFT : loops.BOTTOM + 1],
    )


def _lookup(values: Iterable[int], dtype: np.dtype[Any]) -> Bits:
    """Whether each value that a type has is one of some."""
    found = np.zeros(np.iinfo(dtype).max + 1, np.bool_)
    found[list(values)] = True
    return found


def _drawn(runs: Owners, owners: Owners, shape_hw: tuple[int, ...]) -> Owners:
    """The owner of every pixel (H, W), -1 where there is none."""
    from annoloop.masks.kernels import runs as loops

    canvas = np.full(shape_hw, -1, np.int32)
    loops.draw(runs, owners, canvas)
    return canvas


def _gather_specks(class_of: Ints, is_small: Bits) -> Owners:
    """The region of every component (N,): one and the same for all small ones of one class."""
    groups = np.where(is_small, class_of, -1 - np.arange(class_of.size))
    region_of: Owners = np.unique(groups, return_inverse=True)[1].astype(np.int32)
    return region_of
