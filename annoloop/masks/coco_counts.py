"""COCO's run lengths of many masks at once: packed into its compressed text, unpacked, and painted as a label map.

Exact (law 1).  Not here: label maps to runs (``run_lengths.py``), the JSON around the text (``data/coco``).  The facts
to know: runs go column by column over the whole image and start with one of zeros, and the counts of all masks
follow one another in one array, so that each step is done for all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from annoloop.errors import DataError

Ints: TypeAlias = npt.NDArray[np.int64]
Pixels: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class PaintedMasks:
    """The label map (H, W) in the type of the classes, and of each mask its pixels (R,) and box (R, 4), half-open.

    Of a mask without a pixel both are 0.
    ``overlaps`` (M, 3): a mask, a later one of another class that took pixels from what was seen of it, and how many;
    ``is_hidden`` (R,): nothing is left to be seen of a mask that had pixels.
    """

    label_map: Pixels
    sizes_px: Ints
    boxes_ltrb: Ints
    overlaps: Ints
    is_hidden: npt.NDArray[np.bool_]


def pack_coco_counts(counts: Ints, stops: Ints) -> list[str]:
    """The counts of many masks, one after another, as COCO's compressed text, one for each mask.

    Each number is cut into 5-bit groups, lowest first, one character each, bit 6 saying that more follow; from a
    mask's fourth number on, what is stored is the difference to the number two before.

    >>> pack_coco_counts(np.array([2, 1, 1, 1, 2, 1, 2, 20, 5]), np.array([7, 9]))
    ['2110100', 'd05']

    Source: cocoapi ``maskApi.c``, rleToString.

    Args:
        stops: where the counts of each mask stop; no mask is without any.
    """
    from annoloop.masks.kernels import codes

    packed, text_stops = codes.pack(counts, stops)
    text = packed.tobytes().decode("ascii")
    return [text[start:stop] for start, stop in pairwise([0, *text_stops.tolist()])]


def unpack_coco_counts(texts: Sequence[str], where: Sequence[object]) -> tuple[Ints, Ints]:
    """The inverse of ``pack_coco_counts``: the counts of many masks, one after another, and where those of each stop.

    >>> unpack_coco_counts(["2110100", "d05"], ["a", "b"])
    (array([ 2,  1,  1,  1,  2,  1,  2, 20,  5]), array([7, 9]))

    The inverse in cocoapi's ``maskApi.c`` leaves the rest of a mask unset when the counts end early, so numbers come
    out here and are checked where they are painted.

    Args:
        where: the place of each mask, for the error.

    Raises:
        DataError: characters that no encoder writes, or a number that does not end; of the first such mask.
    """
    from annoloop.masks.kernels import codes

    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    text_stops = np.cumsum([len(one) for one in encoded], dtype=np.int64)
    counts, stops, damaged = codes.unpack(np.frombuffer(b"".join(encoded), np.uint8), text_stops)
    if damaged >= 0:
        raise DataError("the compressed RLE counts are damaged", where=where[damaged])
    return counts, stops


def unfit_masks(counts: Ints, stops: Ints, shape_hw: tuple[int, int]) -> list[int]:
    """The numbers of the masks whose counts are negative or do not add up to H x W.

    >>> unfit_masks(np.array([1, 2, 3, 4, 2, -1, 5]), np.array([1, 3, 5, 7]), (2, 3))
    [0, 1, 3]
    """
    from annoloop.masks.kernels import codes

    found: list[int] = []
    while True:
        done = found[-1] + 1 if found else 0
        begin = int(stops[done - 1]) if done else 0
        left = stops[done:] - begin
        unfit = codes.first_unfit(counts[begin:], left, np.full(left.size, shape_hw[0] * shape_hw[1]))
        if unfit < 0:
            return found
        found.append(done + unfit)


def paint_coco_counts(
    counts: Ints, stops: Ints, class_of: Pixels, shape_hw: tuple[int, int], *, fill: int, where: Sequence[object]
) -> PaintedMasks:
    """Paint masks on a map of ``fill``, later over earlier.

    Args:
        counts: run lengths mask after mask, zeros first.
        stops: where the counts of each mask stop (R,).
        class_of: class index of each mask (R,).
        where: the place of each mask, for the error.

    Raises:
        DataError: counts that are negative or do not add up to H x W; of the first such mask.
    """
    from annoloop.masks.kernels import codes

    height, width = shape_hw
    unfit = codes.first_unfit(counts, stops, np.full(stops.size, height * width))
    if unfit >= 0:
        raise DataError(said_unfit(np.split(counts, stops)[unfit], shape_hw), where=where[unfit])
    canvas = np.zeros((width, height), np.uint16 if stops.size < np.iinfo(np.uint16).max else np.uint32)
    overlaps, seen_px = codes.paint_owners(counts, stops, class_of, canvas)
    label_map = codes.transposed_values(canvas, np.concatenate([np.array([fill], class_of.dtype), class_of]))
    sizes_px = codes.covered_px(counts, stops)
    is_hidden = (seen_px == 0) & (sizes_px > 0)
    return PaintedMasks(label_map, sizes_px, codes.boxes(counts, stops, height), overlaps, is_hidden)


def said_unfit(counts: Ints, shape_hw: tuple[int, int]) -> str:
    """What is wrong with the counts of a mask that do not fill its image, in words."""
    return f"RLE counts add up to {sum(counts.tolist())} px, the image holds {shape_hw[0] * shape_hw[1]}"
