"""Where an issue is pinned: a small square at a corner of its area, so that it hides nothing that is to be drawn.

CVAT hatches the whole rectangle of an issue; over the area itself it would cover just what an annotator has to see.
"""

from __future__ import annotations

from typing import TypeAlias

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in px, half-open."""

_SHARE = 0.02
_LEAST_PX, _MOST_PX = 4, 32


def marker(box_ltrb: Box, size_hw: tuple[int, int]) -> Box:
    """The square beside an area with this box in an image of this size, half-open px, inside the image.

    It touches a corner of the box from outside, the upper left one where there is room; an area that leaves no room at
    any corner has it in its own upper left corner.

    >>> marker((40, 30, 60, 50), (100, 200))
    (36, 26, 40, 30)
    >>> marker((0, 0, 60, 50), (100, 200))
    (60, 50, 64, 54)
    """
    height, width = size_hw
    side = min(max(round(_SHARE * max(size_hw)), _LEAST_PX), _MOST_PX, height, width)
    left, top, right, bottom = box_ltrb
    for x, y in ((left - side, top - side), (right, top - side), (left - side, bottom), (right, bottom)):
        if 0 <= x <= width - side and 0 <= y <= height - side:
            return (x, y, x + side, y + side)
    x, y = min(left, width - side), min(top, height - side)
    return (x, y, x + side, y + side)
