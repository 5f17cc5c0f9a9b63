"""The loops over pixels and over run lengths, compiled to machine code: the only home of Numba.

Not here: what the numbers mean to CVAT, to COCO or to a score, and errors in words.  The facts to know: a loop is
compiled at its first call, which takes seconds, and then kept on disk for every later process; and it trusts the
sizes of the arrays that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

P = ParamSpec("P")
R = TypeVar("R")

Pixels: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
Ints: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Bits: TypeAlias = npt.NDArray[np.bool_]
Words: TypeAlias = npt.NDArray[np.uint64]
Owners: TypeAlias = npt.NDArray[np.int32]

Runs: TypeAlias = npt.NDArray[np.int32]
"""int32 (M, 4): pixels of one value along a line, as line, start, end (half-open) and value; in order."""

LINE, START, END, VALUE = range(4)

Measures: TypeAlias = npt.NDArray[np.int64]
"""int64 (R, 7), of some pixels of one value each: the value, how many, and their box as left, top, right, bottom in px,
half-open; and where in the topmost row the first of them lies."""

CLASS, SIZE, LEFT, TOP, RIGHT, BOTTOM, FIRST_LEFT = range(7)

_CACHE_LINE = 64
_MOST_GROUPS = 12
"""5-bit groups of one compressed COCO count that fit into 63 bits."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The same function in machine code."""
    try:
        return cast(Callable[P, R], numba.njit(cache=True)(function))
    except RuntimeError:  # neither this folder nor the user's cache can be written: every process compiles anew
        return cast(Callable[P, R], numba.njit(function))


def readable(array: Pixels) -> Pixels:
    """The same row by row in memory and read-only: a loop is compiled for each kind of array that it gets."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


# label map -> runs -> components


@compiled
def find_runs(label_map: Pixels, is_skipped: Bits, along_columns: bool) -> Runs:
    """The runs along the rows or the columns of a label map (H, W), without those of values that are skipped.

    Args:
        is_skipped: by value, as long as there are values.
    """
    height, width = label_map.shape
    begins = _begins(label_map, along_columns)
    order = _grouped(begins[:, 1], width)[0] if along_columns else np.arange(len(begins))
    runs, count = np.empty((len(begins), 4), np.int32), 0
    for here in range(len(begins)):
        y, x = begins[order[here]]
        if is_skipped[label_map[y, x]]:
            continue
        line, start, end = (x, y, height) if along_columns else (y, x, width)
        if here + 1 < len(begins):
            after = begins[order[here + 1], 0 if along_columns else 1]
            end = after if after > start else end  # the next begins another line
        runs[count, LINE], runs[count, START], runs[count, END], runs[count, VALUE] = line, start, end, label_map[y, x]
        count += 1
    return runs[:count]


@compiled
def _begins(label_map: Pixels, along_columns: bool) -> Owners:
    """Row and column of pixels that differ from the one before them in their line, or have none; row by row, (M, 2)."""
    height, width = label_map.shape
    differs = np.zeros((width + 7) // 8 * 8, np.bool_)
    begins, count = np.empty((differs.size, 2), np.int32), 0
    words = differs.view(np.uint64)
    for y in range(height):
        if not along_columns:
            differs[0] = True
            for x in range(1, width):
                differs[x] = label_map[y, x] != label_map[y, x - 1]
        elif y:
            for x in range(width):
                differs[x] = label_map[y, x] != label_map[y - 1, x]
        else:
            differs[:width] = True
        if count + differs.size > len(begins):
            larger = np.empty((2 * (count + differs.size), 2), np.int32)
            larger[:count] = begins[:count]
            begins = larger
        for word in range(words.size):
            if words[word]:
                for x in range(8 * word, 8 * word + 8):
                    begins[count, 0], begins[count, 1] = y, x
                    count += differs[x]
    return begins[:count]


@compiled
def connect(runs: Runs) -> tuple[Owners, int]:
    """The connected component of every run, diagonal neighbours included, numbered from 0 in order; and how many.

    Source: He, Chao and Suzuki, A Run-Based Two-Scan Labeling Algorithm, IEEE Transactions on Image Processing 17
    (2008): union-find over runs that touch runs of the line before.
    """
    owners = np.empty(len(runs), np.int32)
    above = 0
    for here in range(len(runs)):
        owners[here] = here
        line, start, end = runs[here, LINE] - 1, runs[here, START], runs[here, END]
        while runs[above, LINE] < line or (runs[above, LINE] == line and runs[above, END] < start):
            above += 1
        other = above
        while runs[other, LINE] == line and runs[other, START] <= end:
            if runs[other, VALUE] == runs[here, VALUE]:
                one, two = _root(owners, here), _root(owners, other)
                owners[max(one, two)] = min(one, two)
            other += 1
    count = 0
    for here in range(len(runs)):  # a root comes before all that lead to it
        if owners[here] == here:
            owners[here] = count
            count += 1
        else:
            owners[here] = owners[owners[here]]
    return owners, count


@compiled
def _root(parents: Owners, number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


@compiled
def measure(runs: Runs, owners: Owners, count: int, along_columns: bool) -> Measures:
    """The measures of each owner (count, 7)."""
    measures = np.zeros((count, FIRST_LEFT + 1), np.int64)
    for here in range(len(runs)):
        line, start, end = runs[here, LINE], runs[here, START], runs[here, END]
        left, top, right, bottom = (line, start, line + 1, end) if along_columns else (start, line, end, line + 1)
        of = measures[owners[here]]
        if of[SIZE] == 0:
            of[CLASS], of[LEFT], of[TOP], of[FIRST_LEFT] = runs[here, VALUE], left, top, left
        elif top < of[TOP]:  # within one row, what is further to the left comes first
            of[TOP], of[FIRST_LEFT] = top, left
        of[LEFT], of[RIGHT], of[BOTTOM] = min(of[LEFT], left), max(of[RIGHT], right), max(of[BOTTOM], bottom)
        of[SIZE] += end - start
    return measures


@compiled
def draw(runs: Runs, values: Owners, canvas: Owners) -> None:
    """Give the pixels of every run, along rows, the run's value (M,) on a canvas (H, W)."""
    for here in range(len(runs)):
        canvas[runs[here, LINE], runs[here, START] : runs[here, END]] = values[here]


# runs -> run lengths, mask after mask


@compiled
def run_lengths(
    runs: Runs, owners: Owners, origins: Ints, line_px: Ints, canvas_px: Ints, room: int
) -> tuple[Ints, Ints]:
    """Run lengths mask after mask, zeros first, and where those of each mask stop (R,).

    The canvas of a mask is read as one line, and a run that ends where a line of it ends goes on at the head of the
    next.

    Args:
        origins: first line and first place within the lines of each mask's canvas (R, 2).
        line_px: the length of a line of it (R,).
        canvas_px: how many pixels it has (R,).
        room: so many numbers are left 0 after each mask's own.
    """
    order, stops = _grouped(owners, canvas_px.size)
    counts, count, begin = np.zeros(2 * len(runs) + (1 + room) * stops.size, np.int64), 0, 0
    for owner in range(stops.size):
        filled = 0  # of the canvas, from its start
        for here in order[begin : stops[owner]]:
            head = (runs[here, LINE] - origins[owner, 0]) * line_px[owner] + runs[here, START] - origins[owner, 1]
            length = runs[here, END] - runs[here, START]
            if head > filled or filled == 0:
                counts[count] = head - filled
                count += 2
            counts[count - 1] += length
            filled = head + length
        if filled < canvas_px[owner]:
            counts[count] = canvas_px[owner] - filled
            count += 1
        count += room
        begin, stops[owner] = stops[owner], count
    return counts[:count], stops


@compiled
def _grouped(owners: Owners, count: int) -> tuple[Ints, Ints]:
    """Where the runs of owner 0 are, then those of owner 1, ..., each in their order; and where each owner's stop."""
    stops = np.zeros(count + 1, np.int64)
    for owner in owners:
        stops[owner + 1] += 1
    stops = np.cumsum(stops)[:-1]  # where they begin, until they have been put there
    order = np.empty(owners.size, np.int64)
    for here in range(owners.size):
        order[stops[owners[here]]] = here
        stops[owners[here]] += 1
    return order, stops


# COCO's text


@compiled
def pack(counts: Ints, stops: Ints) -> tuple[Bytes, Ints]:
    """The counts of many masks as COCO's compressed text, and where that of each stops (R,)."""
    text, text_stops = np.empty(counts.size * (_MOST_GROUPS + 1), np.uint8), np.empty_like(stops)
    size, begin = 0, 0
    for mask in range(stops.size):
        for here in range(begin, stops[mask]):
            rest = counts[here] - counts[here - 2] if here > begin + 2 else counts[here]
            while not -16 <= rest < 16:
                text[size] = (rest & 31 | 32) + 48
                rest >>= 5
                size += 1
            text[size] = (rest & 31) + 48
            size += 1
        begin, text_stops[mask] = stops[mask], size
    return text[:size], text_stops


@compiled
def unpack(text: Bytes, text_stops: Ints) -> tuple[Ints, Ints, int]:
    """The inverse of ``pack``, and the number of the first damaged mask, at which it ends, or -1."""
    counts, stops = np.empty(text.size, np.int64), np.empty_like(text_stops)
    count, at = 0, 0
    for mask in range(stops.size):
        begin, groups, number = count, 0, np.int64(0)
        if at == text_stops[mask]:
            return counts, stops, mask
        while at < text_stops[mask]:
            group = np.int64(text[at]) - 48
            at += 1
            if not 0 <= group < 64 or groups == _MOST_GROUPS:
                return counts, stops, mask
            number |= (group & 31) << 5 * groups
            groups += 1
            if group & 32:
                continue
            if group & 16:  # the sign
                number |= -1 << 5 * groups
            counts[count] = number + counts[count - 2] if count > begin + 2 else number
            count, groups, number = count + 1, 0, np.int64(0)
        if groups:
            return counts, stops, mask
        stops[mask] = count
    return counts[:count], stops, -1


# run lengths -> label map


@compiled
def first_unfit(counts: Ints, stops: Ints, canvas_px: Ints) -> int:
    """The number of the first mask whose counts are no lengths or do not add up to its canvas (R,), or -1."""
    begin = 0
    for mask in range(stops.size):
        left = canvas_px[mask]
        for length in counts[begin : stops[mask]]:
            if not 0 <= length <= left:
                return mask
            left -= length
        if left or begin == stops[mask]:
            return mask
        begin = stops[mask]
    return -1


@compiled
def covered_px(counts: Ints, stops: Ints) -> Ints:
    """How many pixels each mask has (R,)."""
    covered, begin = np.zeros(stops.size, np.int64), 0
    for mask in range(stops.size):
        for number in range(begin + 1, stops[mask], 2):
            covered[mask] += counts[number]
        begin = stops[mask]
    return covered


@compiled
def paint_columns(counts: Ints, stops: Ints, values: Pixels, canvas: Pixels) -> int:
    """Paint masks that fit, given as run lengths down the columns, on a canvas (W, H); later over earlier.

    Returns how many pixels several masks cover.
    """
    flat, times, overlap_px = canvas.reshape(-1), np.zeros(canvas.size, np.uint8), 0
    begin = 0
    for mask in range(stops.size):
        end = 0
        for number in range(begin, stops[mask]):
            start, end = end, end + counts[number]
            if (number - begin) % 2 == 0:
                continue
            for place in range(start, end):
                flat[place] = values[mask]
                overlap_px += times[place] == 1
                times[place] = min(2, times[place] + 1)
        begin = stops[mask]
    return overlap_px


@compiled
def paint_boxes(counts: Ints, stops: Ints, boxes_ltrb: Ints, values: Pixels, canvas: Pixels, is_taken: Bits) -> bool:
    """Paint masks that fit, given as run lengths along the rows of their boxes, on a canvas (H, W).

    Marks what is taken (H, W); stops with False before a pixel that is taken already.
    """
    begin = 0
    for mask in range(stops.size):
        left, top, right = boxes_ltrb[mask, 0], boxes_ltrb[mask, 1], boxes_ltrb[mask, 2]
        x, y = left, top
        for number in range(begin, stops[mask]):
            is_drawn = (number - begin) % 2 == 1
            rest = counts[number]
            while rest:
                length = min(rest, right - x)
                if is_drawn:
                    for place in range(x, x + length):
                        if is_taken[y, place]:
                            return False
                        is_taken[y, place], canvas[y, place] = True, values[mask]
                rest, x = rest - length, x + length
                if x == right:
                    x, y = left, y + 1
        begin = stops[mask]
    return True


@compiled
def transposed(canvas: Pixels) -> Pixels:
    """A canvas (W, H) as (H, W)."""
    width, height = canvas.shape
    turned = np.empty((height, width), canvas.dtype)
    for left in range(0, width, _CACHE_LINE):
        right = min(width, left + _CACHE_LINE)
        for y in range(height):
            for x in range(left, right):
                turned[y, x] = canvas[x, y]
    return turned


# pairs of truth and prediction


@compiled
def count_pairs(truth: Pixels, prediction: Pixels, table: Ints) -> None:
    """Add how often every pair occurs to a table (K, K); values from K - 1 on count as K - 1.  Both maps flat."""
    for here in range(truth.size):
        _add(table, truth[here], prediction[here], 1)


@compiled
def count_words(truth: Words, prediction: Words, bits: int, table: Ints) -> None:
    """The same of maps read as words, each several pixels of so many bits.

    Mostly all pixels of a word are alike, and are counted at once.
    """
    pixels, mask = 64 // bits, np.uint64((1 << bits) - 1)
    one, rest = np.uint64(bits), np.uint64(64 - bits)
    for here in range(truth.size):
        t, p = truth[here], prediction[here]
        if t == (t << one | t >> rest) and p == (p << one | p >> rest):  # turned by a pixel it is the same
            _add(table, t & mask, p & mask, pixels)
            continue
        for _ in range(pixels):
            _add(table, t & mask, p & mask, 1)
            t, p = t >> one, p >> one


@compiled
def _add(table: Ints, row: Any, column: Any, count: int) -> None:
    last = np.int64(len(table) - 1)
    table[min(np.int64(row), last), min(np.int64(column), last)] += count
