"""All masks of a label map as the run lengths of CVAT and of COCO at once; CVAT's also back, and one at a time.

Exact both ways (law 1).  Not here: COCO's text and the way back from it (``coco_counts.py``), class names, servers.
The facts to know: CVAT's runs go row by row over the tight box, COCO's column by column over the whole image, and
both start with a run of zeros.  All at once goes label map -> runs along its lines -> runs mask after mask -> counts,
each step for all masks together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from annoloop.coco_counts import pack_coco_counts
from annoloop.errors import DataError
from annoloop.masks import Bits, Ints, LabelMap, Region, Runs, divide, tight


@dataclass(frozen=True, slots=True)
class CvatMask:
    """A region as CVAT keeps it; ``points`` as ``to_cvat_runs`` makes them, in CVAT's type."""

    class_index: int
    points: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CocoMask:
    """A region as COCO keeps it: compressed counts, pixels, box half-open; ``parts`` components travel together."""

    class_index: int
    counts: str
    area_px: int
    box_ltrb: tuple[int, int, int, int]
    parts: int


# all masks of a label map


def cvat_masks(label_map: LabelMap, *, skip: Iterable[int] = (), min_region_px: int = 0) -> list[CvatMask]:
    """All regions of a label map, as ``masks.regions`` finds them and in its order.

    >>> cvat_masks(np.array([[0, 1, 1, 0], [0, 0, 0, 1]], np.uint8), skip=[0])
    [CvatMask(class_index=1, points=(0.0, 2.0, 3.0, 1.0, 1.0, 0.0, 3.0, 1.0))]

    Raises:
        DataError: as ``masks.check_label_map``.
    """
    found = divide(label_map, skip=skip, min_region_px=min_region_px)
    runs, (left, top, right, bottom) = found.runs, found.boxes_ltrb.T
    widths = right - left
    heads = (runs.lines - top[runs.owners]) * widths[runs.owners] + runs.starts - left[runs.owners]
    counts, stops = _counts(runs, heads, widths * (bottom - top))
    corners = np.stack([left, top, right - 1, bottom - 1], axis=1)[1:]
    points = np.insert(counts, stops.repeat(4), corners.ravel()).astype(np.float64).tolist()
    bounds = [0, *(stops + 4 * np.arange(1, stops.size + 1)).tolist()]
    cut = (tuple(points[start:stop]) for start, stop in pairwise(bounds))
    return list(map(CvatMask, found.class_of[1:].tolist(), cut))


def coco_masks(label_map: LabelMap, *, skip: Iterable[int] = (), min_region_px: int = 0) -> list[CocoMask]:
    """All regions of a label map, as ``masks.regions`` finds them and in its order.

    >>> coco_masks(np.array([[0, 1, 1, 0], [0, 0, 0, 1]], np.uint8), skip=[0])
    [CocoMask(class_index=1, counts='211010', area_px=3, box_ltrb=(1, 0, 4, 2), parts=1)]

    Raises:
        DataError: as ``masks.check_label_map``.
    """
    found = divide(label_map, along="columns", skip=skip, min_region_px=min_region_px)
    heads = found.runs.lines * label_map.shape[0] + found.runs.starts
    texts = pack_coco_counts(*_counts(found.runs, heads, np.full(found.class_of.size, label_map.size)))
    classes, areas, parts = (by_number[1:].tolist() for by_number in (found.class_of, found.sizes_px, found.parts))
    boxes = map(tuple, found.boxes_ltrb[1:].tolist())
    return list(map(CocoMask, classes, texts, areas, boxes, parts))


def paint_cvat_masks(masks: Sequence[CvatMask], onto: LabelMap) -> LabelMap:
    """A copy of ``onto`` with all masks painted on it: the inverse of ``cvat_masks``, and as strict.

    Raises:
        DataError: as ``from_cvat_runs``; also a mask without a pixel, or two masks that share one.
    """
    if not masks:
        return onto.copy()
    boxes, owners, starts, ends = _read_cvat_masks(masks, onto.shape)
    left, top, right, _ = boxes.T
    runs = _split_at_line_ends(owners, starts, ends, (right - left)[owners])
    heads = (runs.lines + top[runs.owners]) * onto.shape[1] + runs.starts + left[runs.owners]
    order = np.argsort(heads, kind="stable")
    borders = np.stack([heads, heads + runs.lengths], axis=1)[order].ravel()
    lengths = np.diff(borders, prepend=0, append=onto.size)  # a gap, a run, a gap, ..., the rest
    if (lengths < 0).any():
        raise DataError("two masks share a pixel")
    values, drawn = np.zeros(lengths.size, np.uint8), np.zeros(lengths.size, np.bool_)
    values[1::2] = np.array([mask.class_index for mask in masks], np.uint8)[runs.owners[order]]
    drawn[1::2] = True
    return np.where(drawn.repeat(lengths), values.repeat(lengths), onto.ravel()).reshape(onto.shape)


def _read_cvat_masks(masks: Sequence[CvatMask], shape_hw: tuple[int, ...]) -> tuple[Ints, Ints, Ints, Ints]:
    """Boxes (R, 4), half-open, and all runs of ones: their mask, start and end in its box."""
    sizes = np.array([len(mask.points) for mask in masks])
    numbers = np.fromiter(chain.from_iterable(mask.points for mask in masks), np.float64, int(sizes.sum()))
    if (sizes < 5).any() or not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
        raise DataError("a mask needs at least five whole numbers")
    corners = np.cumsum(sizes)[:, None] - np.arange(4, 0, -1)
    whole = numbers.astype(np.int64)
    boxes, runs, counts = whole[corners], np.delete(whole, corners), sizes - 4
    boxes[:, 2:] += 1
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    if (boxes[:, :2] < 0).any() or (boxes[:, 2:] > shape_hw[::-1]).any() or (w < 1).any() or (h < 1).any():
        raise DataError(f"a mask box leaves the image of {shape_hw[1]} x {shape_hw[0]} px")
    firsts = np.cumsum(counts) - counts
    if (runs < 0).any() or (np.add.reduceat(runs, firsts) != w * h).any():
        raise DataError("the runs of a mask do not fill its box")
    owners = np.arange(sizes.size).repeat(counts)
    # The sums go on from mask to mask; each mask's own begin with it.
    ends = np.cumsum(runs) - (np.cumsum(w * h) - w * h)[owners]
    ones = ((np.arange(runs.size) - firsts[owners]) % 2 == 1) & (runs > 0)
    if np.unique(owners[ones]).size < sizes.size:
        raise DataError("a mask without a pixel")
    return boxes, owners[ones], (ends - runs)[ones], ends[ones]


def _split_at_line_ends(owners: Ints, starts: Ints, ends: Ints, widths: Ints) -> Runs:
    """Runs in boxes read as one line, each of its own width, as runs along the boxes' rows."""
    first = starts // widths
    pieces = (ends - 1) // widths - first + 1
    which = np.arange(pieces.size).repeat(pieces)
    lines = np.arange(which.size) - (np.cumsum(pieces) - pieces - first)[which]
    heads = lines * widths[which]
    return Runs(
        owners[which], lines, np.maximum(starts[which] - heads, 0), np.minimum(ends[which] - heads, widths[which])
    )


def _counts(runs: Runs, heads: Ints, canvas_px: Ints) -> tuple[Ints, Ints]:
    """Run lengths mask after mask, zeros first, and where those of each mask stop (R,).

    Args:
        heads: where every run begins in its owner's canvas, read as one line (M,).
        canvas_px: the length of every owner's canvas (R + 1,).
    """
    order = runs.by_owner()
    owners, starts = runs.owners[order], heads[order]
    ends = starts + runs.lengths[order]
    # A run that ends where a line ends goes on at the head of the next.
    opens = (starts != np.r_[-1, ends][:-1]) | _is_first(owners)
    owners, starts, ends = owners[opens], starts[opens], ends[np.r_[opens, True][1:]]
    borders = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(borders, prepend=0)
    first = _is_first(owners)
    counts[0::2][first] = starts[first]
    last = np.flatnonzero(np.r_[first, True][1:])
    stops, rest = 2 * (last + 1), canvas_px[1:] - ends[last]
    unfilled = rest > 0
    return np.insert(counts, stops[unfilled], rest[unfilled]), stops + np.cumsum(unfilled)


def _is_first(owners: Ints) -> Bits:
    """Whether a run is the first of its mask."""
    first: Bits = owners != np.r_[-1, owners][:-1]
    return first


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
