"""COCO's run lengths of many masks at once: packed into its compressed text, unpacked, and painted as a label map.

Exact (law 1).  Not here: label maps to runs (``runs.py``), the JSON around the text (``coco.py``).  The facts to know:
runs go column by column over the whole image and start with one of zeros, and the counts of all masks follow one
another in one array, so that each step is done for all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from annoloop.errors import DataError

Ints: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]

_MOST_GROUPS = 12
"""5-bit groups of one compressed COCO count that fit into 63 bits."""

_GROUP_LIMITS = np.int64(16) << (5 * np.arange(_MOST_GROUPS, dtype=np.int64))
"""A number from -limit to limit - 1 fits into one 5-bit group, two, three, ...: the highest bit is its sign."""


@dataclass(frozen=True, slots=True, eq=False)
class PaintedMasks:
    """The label map uint8 (H, W), how many masks had no pixel, and how many pixels several masks cover."""

    label_map: Bytes
    empty_count: int
    overlap_px: int


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
    starts = np.r_[0, stops][:-1]
    numbers = counts.copy()
    numbers[2:] -= counts[:-2]
    for place in range(3):  # the first three are stored as they are
        head = (starts + place)[starts + place < stops]
        numbers[head] = counts[head]
    lengths = 1 + np.searchsorted(_GROUP_LIMITS, numbers ^ (numbers >> 63), side="right")
    ends = np.cumsum(lengths)
    place = np.arange(lengths.sum()) - (ends - lengths).repeat(lengths)
    groups = (numbers.repeat(lengths) >> (5 * place)) & 31 | 32
    groups[ends - 1] &= 31
    text = (groups + 48).astype(np.uint8).tobytes().decode("ascii")
    bounds = [0, *ends[stops - 1].tolist()]
    return [text[start:stop] for start, stop in pairwise(bounds)]


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
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    groups = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64) - 48
    owners, text_stops = np.arange(sizes.size).repeat(sizes), np.cumsum(sizes)
    is_end = groups & 32 == 0
    damaged = sizes == 0
    damaged[owners[(groups < 0) | (groups > 63)]] = True
    damaged[~damaged] |= ~is_end[text_stops[~damaged] - 1]
    ends = np.flatnonzero(is_end)
    lengths = np.diff(ends, prepend=-1)
    damaged[owners[ends[lengths > _MOST_GROUPS]]] = True
    if damaged.any():
        raise DataError("the compressed RLE counts are damaged", where=where[int(damaged.argmax())])
    starts = ends - lengths + 1
    place = np.arange(groups.size) - starts.repeat(lengths)
    numbers = np.add.reduceat((groups & 31) << (5 * place), starts) if starts.size else groups
    numbers -= np.where(groups[ends] & 16, np.int64(1) << (5 * lengths), 0)
    stops = np.searchsorted(ends, text_stops)
    return _summed_by_twos(numbers, stops), stops


def paint_coco_counts(
    counts: Ints, stops: Ints, class_of: Bytes, shape_hw: tuple[int, int], *, fill: int, where: Sequence[object]
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
    height, width = shape_hw
    sizes, size_px = np.diff(stops, prepend=0), height * width
    owners = np.arange(sizes.size).repeat(sizes)
    _check_sums(counts, owners, stops, size_px, where)
    ends = np.cumsum(counts) - owners * size_px
    drawn = ((np.arange(counts.size) - (stops - sizes)[owners]) % 2 == 1) & (counts > 0)
    owners, starts, ends = owners[drawn], (ends - counts)[drawn], ends[drawn]
    flat, overlap_px = _filled(starts, ends, class_of[owners], size_px, fill)
    empty_count = sizes.size - np.unique(owners).size
    return PaintedMasks(np.ascontiguousarray(flat.reshape(width, height).T), empty_count, overlap_px)


def _summed_by_twos(numbers: Ints, stops: Ints) -> Ints:
    """From a mask's fourth number on, each is stored as the difference to the one two before."""
    sizes = np.diff(stops, prepend=0)
    place = np.arange(numbers.size) - (stops - sizes).repeat(sizes)
    counts = numbers.copy()
    for first in (1, 2):
        chain = np.flatnonzero((place >= first) & ((place - first) % 2 == 0))
        sums, begins = np.cumsum(numbers[chain]), place[chain] == first
        before = (sums - numbers[chain])[begins]  # what the sums hold of the masks before
        counts[chain] = sums - before[np.cumsum(begins) - 1]
    return counts


def _check_sums(counts: Ints, owners: Ints, stops: Ints, size_px: int, where: Sequence[object]) -> None:
    beyond = (counts < 0) | (counts > size_px)  # whose sums might run over
    sums = np.diff(np.append(0, np.cumsum(np.where(beyond, 0, counts)))[stops], prepend=0)
    wrong = sums != size_px
    wrong[owners[beyond]] = True
    if wrong.any():
        first = int(wrong.argmax())
        total = sum(counts[owners == first].tolist())
        raise DataError(f"RLE counts add up to {total} px, the image holds {size_px}", where=where[first])


def _filled(starts: Ints, ends: Ints, values: Bytes, size_px: int, fill: int) -> tuple[Bytes, int]:
    """A line of pixels with runs painted on it, later over earlier, and how many pixels several runs cover."""
    order = np.argsort(starts, kind="stable")
    if (starts[order][1:] >= ends[order][:-1]).all():
        borders = np.stack([starts, ends], axis=1)[order].ravel()
        lengths = np.diff(borders, prepend=0, append=size_px)  # a gap, a run, a gap, ..., the rest
        line = np.full(lengths.size, fill, np.uint8)
        line[1::2] = values[order]
        return line.repeat(lengths), 0
    flat, covered = np.full(size_px, fill, np.uint8), np.zeros(size_px, np.uint16)
    for start, end, value in zip(starts.tolist(), ends.tolist(), values.tolist(), strict=True):
        flat[start:end] = value
        covered[start:end] += 1
    return flat, int(np.count_nonzero(covered > 1))
