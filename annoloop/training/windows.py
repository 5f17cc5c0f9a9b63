"""A large image cut into windows that overlap, so that memory is bounded by a window and seams cannot be seen.

Numbers in and out; no pixels.  The fact to know: of each window only the middle is used, which has seen its
surroundings (the overlap-tile strategy of Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015); every pixel of the
image is in the middle of exactly one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """Rows and columns of an image that are looked at, and the part of them that is used; ends are exclusive."""

    rows: slice
    columns: slice
    used_rows: slice
    used_columns: slice

    @property
    def used(self) -> tuple[slice, slice]:
        """The part that is used, in px of the window."""
        return (
            slice(self.used_rows.start - self.rows.start, self.used_rows.stop - self.rows.start),
            slice(self.used_columns.start - self.columns.start, self.used_columns.stop - self.columns.start),
        )


def windows(size_hw: tuple[int, int], side: int, margin: int) -> Iterator[Window]:
    """Windows of at most ``side`` px, each with ``margin`` px around what is used of it, but at the image's border.

    >>> [(w.columns.start, w.columns.stop, w.used_columns.start, w.used_columns.stop) for w in windows((5, 20), 10, 2)]
    [(0, 10, 0, 8), (6, 16, 8, 14), (10, 20, 14, 20)]
    """
    for rows, used_rows in _spans(size_hw[0], side, margin):
        for columns, used_columns in _spans(size_hw[1], side, margin):
            yield Window(rows, columns, used_rows, used_columns)


def _spans(length: int, side: int, margin: int) -> Iterator[tuple[slice, slice]]:
    begin = 0
    while begin < length:
        # The last window is as wide as the others: a network answers best at the size that it knows.
        first = 0 if length <= side else max(0, min(begin - margin, length - side))
        last = min(length, first + side)
        end = length if last == length else last - margin
        yield slice(first, last), slice(begin, end)
        begin = end
