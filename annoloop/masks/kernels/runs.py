"""Loops from a label map to runs, their components and measures, and to the run lengths of one mask after another.

Not here: run lengths as text, and painted (``codes.py``).  The fact to know: what CVAT and COCO mean by them is not
known here.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from annoloop.masks.kernels.machine_code import Bits, Ints, Owners, Pixels, compiled

Runs: TypeAlias = npt.NDArray[np.int32]
"""int32 (M, 4): pixels of one value along a line, as line, start, end (half-open) and value; in order."""

LINE, START, END, VALUE = range(4)

Measures: TypeAlias = npt.NDArray[np.int64]
"""int64 (R, 7), of some pixels of one value each: the value, how many, and their box as left, top, right, bottom in px,
half-open; and where in the topmost row the first of them lies."""

CLASS, SIZE, LEFT, TOP, RIGHT, BOTTOM, FIRST_LEFT = range(7)

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
