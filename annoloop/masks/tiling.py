"""A large label map cut into overlapping windows, and what was edited in the windows put together again.

Not here: frames, files and what is left out.  The fact to know: every pixel has one tile that owns it, in whose core it
lies; what lies between two tiles is shown by both, and an edit counts in whichever of them it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from annoloop.masks.regions import LabelMap

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in px, half-open."""

LEAST_TILE_PX = 64


@dataclass(frozen=True, slots=True)
class Tile:
    """A window of an image and, inside of it, the pixels that it owns: its core; both in px of the image."""

    box_ltrb: Box
    core_ltrb: Box

    @property
    def top_px(self) -> int:
        return self.box_ltrb[1]

    @property
    def left_px(self) -> int:
        return self.box_ltrb[0]

    @property
    def size_hw(self) -> tuple[int, int]:
        left, top, right, bottom = self.box_ltrb
        return bottom - top, right - left

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image."""
        return _slices(self.box_ltrb)

    @property
    def core(self) -> tuple[slice, slice]:
        """Rows and columns of the image that are its own."""
        return _slices(self.core_ltrb)

    @property
    def core_inside(self) -> tuple[slice, slice]:
        """Rows and columns of the window that are its own."""
        left, top, right, bottom = self.core_ltrb
        return _slices((left - self.left_px, top - self.top_px, right - self.left_px, bottom - self.top_px))

    def owns(self, x: int, y: int) -> bool:
        """Whether a pixel of the image is its own."""
        left, top, right, bottom = self.core_ltrb
        return left <= x < right and top <= y < bottom


def tiling(size_hw: tuple[int, int], tile_px: int, overlap_px: int) -> list[Tile]:
    """Square windows of ``tile_px`` that cover an image, row by row; neighbours share ``overlap_px`` or more.

    The last ones of a row and of a column are moved back inside, so that all are of one size as far as the image is
    large enough.  The cores part the image: two neighbours meet in the middle of what they share.

    >>> [tile.box_ltrb for tile in tiling((64, 150), 100, 20)]
    [(0, 0, 100, 64), (50, 0, 150, 64)]
    >>> [tile.core_ltrb for tile in tiling((64, 150), 100, 20)]
    [(0, 0, 75, 64), (75, 0, 150, 64)]
    """
    rows, columns = (_along(length, tile_px, overlap_px) for length in size_hw)
    return [
        Tile((left, top, right, bottom), (core_left, core_top, core_right, core_bottom))
        for top, bottom, core_top, core_bottom in rows
        for left, right, core_left, core_right in columns
    ]


def stitched(last: LabelMap, edited: Sequence[tuple[Tile, LabelMap]]) -> tuple[LabelMap, int]:
    """A copy of a label map (H, W) with what tiles have otherwise, and how many pixels two tiles changed differently.

    A pixel that one tile changed has the value of that tile; one that several changed has that of its owner, or where
    the owner left it as it was, that of the first of them in the order given.
    """
    result = last.copy()
    differing: list[npt.NDArray[np.int64]] = []
    for tile, label_map in reversed(edited):
        before, now = last[tile.window], result[tile.window]
        changed = label_map != before
        rows, columns = np.nonzero(changed & (now != before) & (now != label_map))
        differing.append((rows + tile.top_px) * last.shape[1] + columns + tile.left_px)
        now[changed] = label_map[changed]
    for tile, label_map in edited:
        mine = label_map[tile.core_inside]
        changed = mine != last[tile.core]
        result[tile.core][changed] = mine[changed]
    return result, int(np.unique(np.concatenate(differing)).size) if differing else 0


def put_back(result: LabelMap, before: LabelMap, unseen: Sequence[Tile], seen: Sequence[Tile]) -> None:
    """Give pixels that only unseen tiles show the values of ``before``; all maps are (H, W)."""
    for tile in unseen:
        alone = np.ones(tile.size_hw, np.bool_)
        for other in seen:
            shared = _shared(tile, other)
            if shared is not None:
                alone[shared] = False
        result[tile.window][alone] = before[tile.window][alone]


def _shared(tile: Tile, other: Tile) -> tuple[slice, slice] | None:
    """What of a tile's window another one shows, too."""
    (left, top, right, bottom), (x0, y0, x1, y1) = tile.box_ltrb, other.box_ltrb
    box = max(left, x0), max(top, y0), min(right, x1), min(bottom, y1)
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    return _slices((box[0] - left, box[1] - top, box[2] - left, box[3] - top))


def _along(length: int, tile_px: int, overlap_px: int) -> list[tuple[int, int, int, int]]:
    """Begin and end of the windows along one side, and of their cores."""
    last = max(0, length - tile_px)
    starts = [*range(0, last, tile_px - overlap_px), last]
    ends = [min(start + tile_px, length) for start in starts]
    borders = [0, *((start + end) // 2 for start, end in zip(starts[1:], ends, strict=False)), length]
    return list(zip(starts, ends, borders, borders[1:], strict=False))


def _slices(box: Box) -> tuple[slice, slice]:
    left, top, right, bottom = box
    return slice(top, bottom), slice(left, right)
