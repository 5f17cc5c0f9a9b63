"""All masks of a label map as the run lengths of CVAT and of COCO at once; CVAT's also back, and one at a time.

Exact both ways (law 1).  Not here: COCO's text and the way back from it (``coco_counts.py``), class names, servers.
The facts to know: CVAT's runs go row by row over the tight box, COCO's column by column over the whole image, and
both start with a run of zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from annoloop.errors import DataError
from annoloop.masks.coco_counts import pack_coco_counts
from annoloop.masks.regions import Bits, Division, Ints, LabelMap, Region, divide, tight

_LONGEST_SIDE_PX = 1 << 20
_MOST_PX = _LONGEST_SIDE_PX**2
"""More than any image has, and few enough for every sum."""


@dataclass(frozen=True, slots=True)
class CvatMask:
    """A region as CVAT keeps it; ``points`` as ``to_cvat_runs`` makes them, in CVAT's type."""

    class_index: int
    points: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CocoMasks:
    """The regions of a label map and their compressed counts, one text each."""

    regions: Division
    counts: list[str]


# all masks of a label map


def cvat_masks(label_map: LabelMap, *, skip: Iterable[int] = (), min_region_px: int = 0) -> list[CvatMask]:
    """All regions of a label map, as ``masks.regions`` finds them and in its order.

    >>> cvat_masks(np.array([[0, 1, 1, 0], [0, 0, 0, 1]], np.uint8), skip=[0])
    [CvatMask(class_index=1, points=(0.0, 2.0, 3.0, 1.0, 1.0, 0.0, 3.0, 1.0))]

    Raises:
        DataError: as ``masks.check_label_map``.
    """
    found = divide(label_map, skip=skip, min_region_px=min_region_px)
    left, top, right, bottom = found.boxes_ltrb.T
    widths = right - left
    numbers, stops = _counts(found, np.stack([top, left], axis=1), widths, widths * (bottom - top), room=4)
    numbers[stops[:, None] - np.arange(4, 0, -1)] = np.stack([left, top, right - 1, bottom - 1], axis=1)
    points = numbers.astype(np.float64).tolist()
    cut = (tuple(points[start:stop]) for start, stop in pairwise([0, *stops.tolist()]))
    return list(map(CvatMask, found.class_of.tolist(), cut))


def coco_masks(label_map: LabelMap, *, skip: Iterable[int] = (), min_region_px: int = 0) -> CocoMasks:
    """All regions of a label map, as ``masks.regions`` finds them and in its order.

    >>> found = coco_masks(np.array([[0, 1, 1, 0], [0, 0, 0, 1]], np.uint8), skip=[0])
    >>> found.counts, found.regions.class_of.tolist()
    (['211010'], [1])

    Raises:
        DataError: as ``masks.check_label_map``.
    """
    found = divide(label_map, along="columns", skip=skip, min_region_px=min_region_px)
    height, ones = label_map.shape[0], np.ones_like(found.sizes_px)
    counts, stops = _counts(found, np.zeros((ones.size, 2), np.int64), ones * height, ones * label_map.size)
    return CocoMasks(found, pack_coco_counts(counts, stops))


def paint_cvat_masks(masks: Sequence[CvatMask], onto: LabelMap) -> LabelMap:
    """A copy of ``onto`` with all masks painted on it: the inverse of ``cvat_masks``, and as strict.

    Raises:
        DataError: as ``from_cvat_runs``; also a mask without a pixel, or two masks that share one.
    """
    from annoloop.masks.kernels import codes

    canvas = onto.copy()
    if not masks:
        return canvas
    boxes, counts, stops = _read_cvat_masks(masks, onto.shape)
    values = np.array([mask.class_index for mask in masks], onto.dtype)
    if not codes.paint_boxes(counts, stops, boxes, values, canvas, np.zeros(onto.shape, np.bool_)):
        raise DataError("two masks share a pixel")
    return canvas


def _read_cvat_masks(masks: Sequence[CvatMask], shape_hw: tuple[int, ...]) -> tuple[Ints, Ints, Ints]:
    """Boxes (R, 4), half-open; the run lengths of all masks one after another, and where those of each stop (R,)."""
    from annoloop.masks.kernels import codes

    sizes = np.array([len(mask.points) for mask in masks])
    numbers = np.fromiter(chain.from_iterable(mask.points for mask in masks), np.float64, int(sizes.sum()))
    if (sizes < 5).any() or not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
        raise DataError("a mask needs at least five whole numbers")
    if (np.abs(numbers) > _MOST_PX).any():  # sums of larger ones would wrap
        raise DataError("a mask has a number that is larger than any image")
    corners = np.cumsum(sizes)[:, None] - np.arange(4, 0, -1)
    whole = numbers.astype(np.int64)
    boxes, counts, stops = whole[corners], np.delete(whole, corners), np.cumsum(sizes - 4)
    boxes[:, 2:] += 1
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    if (boxes[:, :2] < 0).any() or (boxes[:, 2:] > shape_hw[::-1]).any() or (w < 1).any() or (h < 1).any():
        raise DataError(f"a mask box leaves the image of {shape_hw[1]} x {shape_hw[0]} px")
    if codes.first_unfit(counts, stops, w * h) >= 0:
        raise DataError("the runs of a mask do not fill its box")
    if (codes.covered_px(counts, stops) == 0).any():
        raise DataError("a mask without a pixel")
    return boxes, counts, stops


def _counts(found: Division, origins: Ints, line_px: Ints, canvas_px: Ints, *, room: int = 0) -> tuple[Ints, Ints]:
    """As ``kernels.runs.run_lengths``, of the runs of a division."""
    from annoloop.masks.kernels import runs

    return runs.run_lengths(found.runs, found.owners, origins, line_px, canvas_px, room)


# one mask of CVAT


def to_cvat_runs(region: Region) -> list[int]:
    """A region as CVAT's mask points: runs row by row, zeros first, then left, top, right, bottom inclusive.

    >>> to_cvat_runs(Region(1, 0, 1, np.array([[1, 1, 0], [0, 0, 1]], bool)))
    [0, 2, 3, 1, 1, 0, 3, 1]

    Source: CVAT documentation, "mask" shapes; checked against a 2.54 server.
    """
    left, top, right, bottom = region.box_ltrb
    return [*_run_lengths(region.bits.ravel()).tolist(), left, top, right - 1, bottom - 1]


def from_cvat_runs(points: Sequence[float], class_index: int, shape_hw: tuple[int, int]) -> Region | None:
    """The region of a CVAT mask shape, or None if it has no pixel.

    CVAT stores what it is sent without a look, so everything is checked here.

    Raises:
        DataError: not whole numbers, runs that do not fill the box, a box outside (H, W).
    """
    runs, (left, top, right, bottom) = check_cvat_runs(points, shape_hw)
    bits = _unroll(runs).reshape(bottom - top + 1, right - left + 1)
    return tight(class_index, bits, top_px=top, left_px=left)


def check_cvat_runs(
    points: Sequence[float], shape_hw: tuple[int, int] | None = None
) -> tuple[Ints, tuple[int, int, int, int]]:
    """Runs and box of a CVAT mask shape, checked before anything large is allocated; without (H, W) as far as can be.

    Raises:
        DataError: not whole numbers, a box that is none, runs that do not fill it.
    """
    try:
        numbers = np.asarray(points, np.float64)
    except (OverflowError, TypeError, ValueError):
        raise DataError("a mask has something that is no number, or too large for one") from None
    if numbers.ndim != 1 or numbers.size < 5 or not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
        raise DataError("a mask needs at least five whole numbers")
    left, top, right, bottom = map(int, numbers[-4:].tolist())
    h, w = bottom - top + 1, right - left + 1
    height, width = shape_hw or (_LONGEST_SIDE_PX, _LONGEST_SIDE_PX)
    if left < 0 or top < 0 or h < 1 or w < 1 or right >= width or bottom >= height:
        image = f"the image of {width} x {height} px" if shape_hw else "any image"
        raise DataError(f"mask box {left},{top}..{right},{bottom} leaves {image}")
    # A sum of whole numbers as int64 wraps, so that it may seem to fit; as Python's ints it does not.
    total = sum(map(int, numbers[:-4].tolist()))
    if (numbers[:-4] < 0).any() or total != h * w:
        raise DataError(f"mask runs add up to {total} px, the box holds {h * w}")
    return numbers[:-4].astype(np.int64), (left, top, right, bottom)


def _run_lengths(bits: Bits) -> Ints:
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
