"""Loops over run lengths: as COCO's compressed text and back, checked, and painted as a label map.

Not here: where they come from (``runs.py``), and errors in words.
"""

from __future__ import annotations

import numpy as np

from annoloop.masks.kernels.machine_code import Bits, Bytes, Ints, Pixels, compiled

_CACHE_LINE = 64
_MOST_GROUPS = 12
"""5-bit groups of one compressed COCO count that fit into 63 bits."""


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
def paint_owners(counts: Ints, stops: Ints, values: Pixels, canvas: Pixels) -> Ints:
    """Draw masks that fit, given as run lengths down the columns, on a canvas (W, H) of zeros; later over earlier.

    A pixel gets the number of its mask + 1.  Returns (M, 3): a mask, one that came over it although it has another
    value, and how many pixels it took from it.
    """
    flat = canvas.reshape(-1)
    taken_px, under = np.zeros(stops.size + 1, np.int64), np.empty(stops.size + 1, np.int64)
    pairs, found, begin = np.empty((16, 3), np.int64), 0, 0
    for mask in range(stops.size):
        value, end, under_count = values[mask], 0, 0
        for number in range(begin, stops[mask]):
            start, end = end, end + counts[number]
            if (number - begin) % 2 == 0:
                continue
            for place in range(start, end):
                before = np.int64(flat[place])
                flat[place] = mask + 1
                if before and values[before - 1] != value:
                    if taken_px[before] == 0:
                        under[under_count] = before
                        under_count += 1
                    taken_px[before] += 1
        while found + under_count > len(pairs):
            pairs = np.concatenate((pairs, np.empty_like(pairs)))
        for before in under[:under_count]:
            pairs[found, 0], pairs[found, 1], pairs[found, 2] = before - 1, mask, taken_px[before]
            taken_px[before] = 0
            found += 1
        begin = stops[mask]
    return pairs[:found]


@compiled
def boxes(counts: Ints, stops: Ints, height: int) -> Ints:
    """The box of each mask given as run lengths down the columns, (R, 4) left, top, right, bottom, half-open.

    Of a mask without a pixel all are 0.
    """
    found, begin = np.zeros((stops.size, 4), np.int64), 0
    for mask in range(stops.size):
        left, top, right, bottom, end = 0, height, 0, 0, 0
        for number in range(begin, stops[mask]):
            start, end = end, end + counts[number]
            if (number - begin) % 2 == 0 or start == end:
                continue
            first, last = start // height, (end - 1) // height
            left = left if right else first
            right = last + 1
            top = 0 if last > first else min(top, start - first * height)
            bottom = height if last > first else max(bottom, end - first * height)
        if right:
            found[mask, 0], found[mask, 1], found[mask, 2], found[mask, 3] = left, top, right, bottom
        begin = stops[mask]
    return found


@compiled
def transposed_values(canvas: Pixels, value_of: Pixels) -> Pixels:
    """A canvas (W, H) as (H, W), with the value that each of its numbers stands for."""
    width, height = canvas.shape
    turned = np.empty((height, width), value_of.dtype)
    for left in range(0, width, _CACHE_LINE):
        right = min(width, left + _CACHE_LINE)
        for y in range(height):
            for x in range(left, right):
                turned[y, x] = value_of[canvas[x, y]]
    return turned
