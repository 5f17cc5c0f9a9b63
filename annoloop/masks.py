"""Index maps to regions and back, and outlines to regions.

Exact both ways (law 1), but for outlines.  Not here: how CVAT and COCO write masks (``runs.py``), files, class
names, servers.  The fact to know: ``regions`` cuts every region out, which is for those who need its pixels;
``divide`` says the same of all regions at once, as runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cc3d
import numpy as np
import numpy.typing as npt

from annoloop.errors import DataError

LabelMap: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (H, W): the class index of every pixel, or the ignore index."""

Bits: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]

Along: TypeAlias = Literal["rows", "columns"]

_CONNECTIVITY = 8

_FAR_PX = 1 << 20
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


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """The connected components of a label map, diagonal neighbours included, numbered from 1.

    ``numbers`` unsigned (H, W); ``class_of`` uint8 (N + 1,), ``sizes_px`` int64 (N + 1,) and ``boxes_ltrb`` int64
    (N + 1, 4), half-open, are by number; number 0 stands for skipped pixels, and its box means nothing.
    """

    numbers: npt.NDArray[np.unsignedinteger]
    class_of: LabelMap
    sizes_px: Ints
    boxes_ltrb: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """A label map as runs of one owner each along its lines, rows or columns, every line anew, in their order.

    int64 (M,) each: ``owners``, the number of the component or region, 0 for skipped pixels; ``lines``; ``starts``
    and ``ends`` within the line, half-open.
    """

    owners: Ints
    lines: Ints
    starts: Ints
    ends: Ints

    @property
    def lengths(self) -> Ints:
        return self.ends - self.starts

    def of(self, owners: Ints) -> Runs:
        """The same runs of other owners."""
        return Runs(owners, self.lines, self.starts, self.ends)

    def by_owner(self) -> Ints:
        """Where the runs of number 1 are, then those of number 2, ..., each in their order; not the skipped ones."""
        return _stable_order(self.owners)[np.count_nonzero(self.owners == 0) :]


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """The regions of a label map, numbered from 1 and in order; of 0, the skipped pixels, only the size says something.

    By number: ``class_of`` uint8 (R + 1,), ``sizes_px`` int64 (R + 1,), ``boxes_ltrb`` int64 (R + 1, 4), half-open,
    and ``parts`` int64 (R + 1,), how many components travel together.
    """

    runs: Runs
    class_of: LabelMap
    sizes_px: Ints
    boxes_ltrb: Ints
    parts: Ints


def check_label_map(label_map: npt.NDArray[np.generic]) -> LabelMap:
    """Return ``label_map`` if it is uint8 (H, W) and holds a pixel.

    Raises:
        DataError: another dtype, another number of axes, or no pixels.
    """
    if label_map.dtype != np.uint8 or label_map.ndim != 2 or label_map.size == 0:
        raise DataError(f"a label map is uint8 (H, W), not {label_map.dtype} {label_map.shape}")
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
    found = divide(label_map, skip=skip, min_region_px=min_region_px)
    owners = found.runs.owners.astype(np.uint32).repeat(found.runs.lengths).reshape(label_map.shape)
    cut_out = []
    for number, (left, top, right, bottom) in enumerate(found.boxes_ltrb[1:].tolist(), 1):
        bits = owners[top:bottom, left:right] == number
        cut_out.append(Region(int(found.class_of[number]), top, left, bits))
    return cut_out


def divide(label_map: LabelMap, *, along: Along = "rows", skip: Iterable[int] = (), min_region_px: int = 0) -> Division:
    """The regions of ``regions``, in the same order, as runs along the map's rows or along its columns.

    >>> found = divide(np.array([[0, 1, 1, 0], [0, 0, 0, 1]], np.uint8), skip=[0])
    >>> found.boxes_ltrb[1:].tolist(), found.sizes_px[1:].tolist()
    ([[1, 0, 4, 2]], [3])
    >>> [getattr(found.runs, name).tolist() for name in ("owners", "lines", "starts", "ends")]
    [[0, 1, 0, 0, 1], [0, 0, 0, 1, 1], [0, 1, 3, 0, 3], [1, 3, 4, 3, 4]]

    Raises:
        DataError: as ``check_label_map``.
    """
    skipped = list(skip)
    numbers, count = _numbered(check_label_map(label_map), skipped)
    runs, class_of = _runs(label_map, numbers, count, along)
    region_of = _gather_specks(class_of, skipped, _sizes(runs, count + 1), min_region_px)
    runs, class_of, parts = runs.of(region_of[runs.owners]), _by_region(class_of, region_of), np.bincount(region_of)
    sizes, boxes = _sizes(runs, parts.size), _boxes(runs, parts.size, along)
    order = np.r_[0, 1 + np.lexsort((boxes[1:, 0], boxes[1:, 1], class_of[1:]))]
    place = np.argsort(order)  # where each region stands in the order
    return Division(runs.of(place[runs.owners]), class_of[order], sizes[order], boxes[order], parts[order])


def components(label_map: LabelMap) -> Components:
    """All connected components of a label map, every value's, background and ignore included; cuts nothing out.

    Raises:
        DataError: as ``check_label_map``.
    """
    numbers, count = _numbered(check_label_map(label_map), ())
    runs, class_of = _runs(label_map, numbers, count, "rows")
    return Components(numbers, class_of, _sizes(runs, class_of.size), _boxes(runs, class_of.size, "rows"))


def paint(parts: Iterable[Region], shape_hw: tuple[int, int], *, fill: int, onto: LabelMap | None = None) -> LabelMap:
    """Paint regions, later over earlier, on a map of ``fill`` or on a copy of ``onto``.

    Raises:
        DataError: a region does not lie inside (H, W).
    """
    canvas = np.full(shape_hw, fill, np.uint8) if onto is None else onto.copy()
    for region in parts:
        left, top, right, bottom = region.box_ltrb
        if left < 0 or top < 0 or right > shape_hw[1] or bottom > shape_hw[0]:
            raise DataError(f"region {region.box_ltrb} does not fit into an image of {shape_hw[1]} x {shape_hw[0]} px")
        canvas[top:bottom, left:right][region.bits] = region.class_index
    return canvas


def coverage(parts: Iterable[Region], shape_hw: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """How many regions cover each pixel, (H, W)."""
    count = np.zeros(shape_hw, np.uint16)
    for region in parts:
        left, top, right, bottom = region.box_ltrb
        count[top:bottom, left:right] += region.bits
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
    from pycocotools import mask as coco_mask

    short = [p for p in polygons if len(p) < 6 or len(p) % 2]
    if short or not polygons:
        count = len(short[0]) if short else 0
        raise DataError(f"a polygon needs three points or more as x, y pairs, one has {count} numbers")
    outlines = [list(map(float, p)) for p in polygons]
    if not all(-_FAR_PX <= number <= _FAR_PX for outline in outlines for number in outline):
        raise DataError("a polygon has a point that is no position in an image")
    merged = coco_mask.merge(coco_mask.frPyObjects(outlines, *shape_hw))
    return str(merged["counts"], "ascii")


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


def _numbered(label_map: LabelMap, skip: Sequence[int]) -> tuple[npt.NDArray[np.unsignedinteger], int]:
    """Components by number (H, W), from 1, and their count; those of the first skipped class have 0."""
    # cc3d takes 0 for "no object" and is fastest in one byte, where a skipped class can take the place of 0.
    values = label_map - np.uint8(skip[0]) if skip else label_map.astype(np.uint16) + 1
    return cc3d.connected_components(values, connectivity=_CONNECTIVITY, return_N=True)  # type: ignore[no-any-return]


def _runs(
    label_map: LabelMap, numbers: npt.NDArray[np.unsignedinteger], count: int, along: Along
) -> tuple[Runs, LabelMap]:
    """The runs of all components along the lines of a label map, and the class of each number (N + 1,)."""
    height, width = label_map.shape
    begins = np.ones((height, width), np.bool_)
    if along == "rows":
        np.not_equal(label_map[:, 1:], label_map[:, :-1], out=begins[:, 1:])
    else:
        np.not_equal(label_map[1:], label_map[:-1], out=begins[1:])
    # Far fewer places than pixels; neighbours of one value are of one component.
    places = np.flatnonzero(begins)
    owners = numbers.ravel()[places].astype(np.int64)
    class_of = np.zeros(count + 1, np.uint8)
    class_of[owners] = label_map.ravel()[places]
    class_of[0] = 0
    lines, starts = np.divmod(places, width)
    if along == "columns":
        order = _stable_order(starts)
        owners, lines, starts = owners[order], starts[order], lines[order]
    ends = np.append(starts[1:], 0)
    ends[ends == 0] = width if along == "rows" else height  # the next run begins another line
    return Runs(owners, lines, starts, ends), class_of


def _stable_order(numbers: Ints) -> Ints:
    """Where to find the smallest numbers first; equal ones keep their order."""
    # NumPy sorts integers of up to two bytes in linear time.
    return np.argsort(numbers.astype(np.min_scalar_type(int(numbers.max()))), kind="stable")


def _sizes(runs: Runs, count: int) -> Ints:
    """Pixels by owner (count,)."""
    return np.bincount(runs.owners, runs.lengths, minlength=count).astype(np.int64)


def _boxes(runs: Runs, count: int, along: Along) -> Ints:
    """Left, top, right and bottom by owner (count, 4), half-open."""
    first_start, last_end = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    first_line, last_line = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.minimum.at(first_start, runs.owners, runs.starts)
    np.maximum.at(last_end, runs.owners, runs.ends)
    # Runs come in the order of the lines, and of several the last is kept.
    first_line[runs.owners[::-1]] = runs.lines[::-1]
    last_line[runs.owners] = runs.lines + 1
    if along == "rows":
        return np.stack([first_start, first_line, last_end, last_line], axis=1)
    return np.stack([first_line, first_start, last_line, last_end], axis=1)


def _gather_specks(class_of: LabelMap, skip: Sequence[int], sizes_px: Ints, min_region_px: int) -> Ints:
    """The region of every component (N + 1,): one and the same for all small ones of one class, 0 for skipped ones."""
    small = sizes_px < min_region_px
    numbers = np.where(small, class_of.size + class_of.astype(np.int64), np.arange(class_of.size))
    numbers[np.isin(class_of, skip)] = numbers[0] = 0
    region_of: Ints = np.unique(numbers, return_inverse=True)[1]
    return region_of


def _by_region(class_of: LabelMap, region_of: Ints) -> LabelMap:
    """The class of every region (R + 1,), from that of its components."""
    classes = np.zeros(int(region_of.max()) + 1, np.uint8)
    classes[region_of] = class_of
    classes[0] = 0
    return classes
