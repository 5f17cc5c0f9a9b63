"""Index maps to regions and back, and regions to the run lengths of CVAT and of COCO and back.

A ``Region`` is the one currency between PNG, CVAT and COCO; every pair of functions here is exact
(law 1).  Not here: files, class names, servers.  The fact to know: CVAT's runs go row by row over
the tight box, COCO's go column by column over the whole image; both start with a run of zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cc3d
import numpy as np
import numpy.typing as npt

from annoloop.errors import DataError

LabelMap: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (H, W): the class index of every pixel, or the ignore index."""

Bits: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]

_CONNECTIVITY = 8

_MOST_GROUPS = 12
"""5-bit groups of one compressed COCO count that fit into 63 bits."""

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

    def is_one_component(self) -> bool:
        """Whether all pixels hang together (diagonal neighbours count)."""
        return int(cc3d.connected_components(self.bits, connectivity=_CONNECTIVITY).max(initial=0)) <= 1


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
    """
    components, class_of = _numbered(check_label_map(label_map), skip)
    if class_of.size == 1:
        return []
    if min_region_px > 1:
        components, class_of = _gather_specks(components, class_of, min_region_px)
    found = _cut_out(components, class_of)
    return sorted(found, key=lambda r: (r.class_index, r.top_px, r.left_px))


def components(label_map: LabelMap) -> Components:
    """All connected components of a label map, every value's, background and ignore included; cuts nothing out.

    Raises:
        DataError: as ``check_label_map``.
    """
    numbers, class_of = _numbered(check_label_map(label_map), ())
    width = label_map.shape[1]
    starts = _row_starts(label_map)
    lengths = np.diff(starts, append=label_map.size)
    owners = numbers.ravel()[starts]
    rows, left = np.divmod(starts, width)
    boxes = np.empty((class_of.size, 4), np.int64)
    boxes[:, 0], boxes[:, 2] = width, 0
    np.minimum.at(boxes[:, 0], owners, left)
    boxes[owners[::-1], 1] = rows[::-1]  # runs come from top to bottom, and of several the last is kept
    np.maximum.at(boxes[:, 2], owners, left + lengths)
    boxes[owners, 3] = rows + 1
    sizes = np.bincount(owners, lengths, minlength=class_of.size).astype(np.int64)
    return Components(numbers, class_of, sizes, boxes)


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


def to_cvat_runs(region: Region) -> list[int]:
    """A region as CVAT's mask points: runs row by row, zeros first, then left, top, right, bottom inclusive.

    >>> to_cvat_runs(Region(1, 0, 1, np.array([[1, 1, 0], [0, 0, 1]], bool)))
    [0, 2, 3, 1, 1, 0, 3, 1]

    Source: CVAT documentation, "mask" shapes; checked against a 2.54 server.
    """
    left, top, right, bottom = region.box_ltrb
    return [*_runs(region.bits.ravel()).tolist(), left, top, right - 1, bottom - 1]


def from_cvat_runs(points: Sequence[float], class_index: int, shape_hw: tuple[int, int]) -> Region | None:
    """The region of a CVAT mask shape, or None if it has no pixel.

    CVAT stores what it is sent without a look, so everything is checked here.

    Raises:
        DataError: not whole numbers, runs that do not fill the box, a box outside (H, W).
    """
    numbers = np.asarray(points, np.float64)
    if numbers.size < 5 or not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
        raise DataError("a mask needs at least five whole numbers")
    whole = numbers.astype(np.int64)
    runs, (left, top, right, bottom) = whole[:-4], whole[-4:].tolist()
    h, w = bottom - top + 1, right - left + 1
    if left < 0 or top < 0 or h < 1 or w < 1 or right >= shape_hw[1] or bottom >= shape_hw[0]:
        raise DataError(f"mask box {left},{top}..{right},{bottom} leaves the image of {shape_hw[1]} x {shape_hw[0]} px")
    if (runs < 0).any() or int(runs.sum()) != h * w:
        raise DataError(f"mask runs add up to {int(runs.sum())} px, the box holds {h * w}")
    return tight(class_index, _unroll(runs).reshape(h, w), top_px=top, left_px=left)


def to_coco_counts(region: Region, shape_hw: tuple[int, int]) -> list[int]:
    """A region as uncompressed COCO counts: runs column by column over the whole image, zeros first.

    >>> to_coco_counts(Region(1, 0, 1, np.array([[1, 1, 0], [0, 0, 1]], bool)), (2, 4))
    [2, 1, 1, 1, 2, 1]

    Source: pycocotools ``mask.py``.
    """
    h, w = shape_hw
    starts, ends = _column_runs(region, h)
    # A run that ends at the foot of a column goes on at the head of the next.
    joined = starts[1:] == ends[:-1]
    starts, ends = starts[np.r_[True, ~joined]], ends[np.r_[~joined, True]]
    borders = np.empty(2 * starts.size, np.int64)
    borders[0::2], borders[1::2] = starts, ends
    counts = np.diff(borders, prepend=0).tolist()
    rest = h * w - int(ends[-1])
    return [*counts, rest] if rest else counts


def from_coco_counts(counts: Sequence[int] | Ints, class_index: int, shape_hw: tuple[int, int]) -> Region | None:
    """The region of uncompressed COCO counts, or None if it has no pixel.

    Raises:
        DataError: counts that are negative or do not add up to H x W.
    """
    runs = np.asarray(counts, np.int64)
    h, w = shape_hw
    if (runs < 0).any() or int(runs.sum()) != h * w:
        raise DataError(f"RLE counts add up to {int(runs.sum())} px, the image holds {h * w}")
    return tight(class_index, _unroll(runs).reshape(w, h).T)


def unpack_coco_counts(text: str) -> Ints:
    """COCO's compressed counts as plain ones; pycocotools writes them.

    Each number is cut into 5-bit groups, lowest first, one character each; from the fourth number
    on, what is stored is the difference to the number two before.

    >>> unpack_coco_counts("2110100").tolist()
    [2, 1, 1, 1, 2, 1, 2]

    Source: cocoapi ``maskApi.c``, rleToString.  Its inverse there leaves the rest of the mask unset
    when the counts end early, so the numbers come out here and are checked in ``from_coco_counts``.

    Raises:
        DataError: characters that no encoder writes, or a number that does not end.
    """
    groups = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    if groups.size == 0 or (groups < 0).any() or (groups > 63).any() or groups[-1] & 32:
        raise DataError("the compressed RLE counts are damaged")
    ends = np.flatnonzero(groups & 32 == 0)
    starts = np.r_[0, ends[:-1] + 1]
    lengths = ends - starts + 1
    if int(lengths.max()) > _MOST_GROUPS:
        raise DataError("the compressed RLE counts are damaged")
    place = np.arange(groups.size) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((groups & 31) << (5 * place), starts)
    numbers -= np.where(groups[ends] & 16, np.int64(1) << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def rasterize(polygons: Sequence[Sequence[float]], class_index: int, shape_hw: tuple[int, int]) -> Region | None:
    """Polygons as pycocotools draws them, several parts as one region; None if no pixel is covered.

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
    return tight(class_index, coco_mask.decode(merged).astype(np.bool_))


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


def _numbered(label_map: LabelMap, skip: Iterable[int]) -> tuple[npt.NDArray[np.unsignedinteger], LabelMap]:
    """Components by number (H, W), 0 for what is skipped, and the class of each number."""
    # cc3d takes 0 for "no object"; classes are shifted by one, skipped ones become 0.
    shifted = label_map.astype(np.uint16) + 1
    for index in skip:
        shifted[label_map == index] = 0
    numbers, count = cc3d.connected_components(shifted, connectivity=_CONNECTIVITY, return_N=True)
    starts = _row_starts(label_map)
    class_of = np.zeros(count + 1, np.uint8)
    class_of[numbers.ravel()[starts]] = label_map.ravel()[starts]
    class_of[0] = 0
    return numbers, class_of


def _row_starts(label_map: LabelMap) -> Ints:
    """Where in the flat map runs of one value begin, every row anew: far fewer places than pixels."""
    flat = label_map.ravel()
    begins = np.empty(flat.size, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[:: label_map.shape[1]] = True
    return np.flatnonzero(begins)


def _gather_specks(
    components: npt.NDArray[np.unsignedinteger], class_of: LabelMap, min_region_px: int
) -> tuple[npt.NDArray[np.unsignedinteger], LabelMap]:
    """Give all small components of one class one number."""
    sizes = np.bincount(components.ravel(), minlength=class_of.size)
    small = sizes < min_region_px
    small[0] = False  # 0 stands for what was skipped
    number = np.arange(class_of.size, dtype=np.uint32)
    number[small] = class_of.size + class_of[small].astype(np.uint32)
    kept, new = np.unique(np.r_[np.uint32(0), number], return_inverse=True)
    new = new[1:].astype(np.uint32)
    gathered = np.zeros(kept.size, np.uint8)
    gathered[new] = class_of
    return new[components], gathered


def _cut_out(components: npt.NDArray[np.unsignedinteger], class_of: LabelMap) -> list[Region]:
    boxes = cc3d.statistics(components)["bounding_boxes"]
    found = []
    for number in range(1, class_of.size):
        rows, columns = boxes[number][:2]
        bits = components[rows, columns] == number
        found.append(Region(int(class_of[number]), int(rows.start), int(columns.start), bits))
    return found


def _runs(bits: Bits) -> Ints:
    """Run lengths of a flat bit array, zeros first."""
    changes = np.flatnonzero(bits[1:] != bits[:-1]) + 1
    borders = np.concatenate(([0], changes, [bits.size])).astype(np.int64)
    lengths = np.diff(borders)
    return np.concatenate(([0], lengths)) if bits[0] else lengths


def _unroll(runs: Ints) -> Bits:
    """The flat bit array of run lengths, zeros first."""
    values = np.zeros(runs.size, np.bool_)
    values[1::2] = True
    return np.repeat(values, runs)


def _column_runs(region: Region, height: int) -> tuple[Ints, Ints]:
    """Starts and ends of the runs of ones, counted column by column over an image of ``height``."""
    h, w = region.bits.shape
    framed = np.zeros((w, h + 2), np.int8)
    framed[:, 1:-1] = region.bits.T
    steps = np.diff(framed, axis=1)
    column, row = np.nonzero(steps == 1)
    starts = (region.left_px + column) * height + region.top_px + row
    column, row = np.nonzero(steps == -1)
    ends = (region.left_px + column) * height + region.top_px + row
    return starts.astype(np.int64), ends.astype(np.int64)
