"""What clicks and a box take of a prediction: its connected regions, whole or cut by the box.

Arrays in and out; no HTTP.  The fact to know: a region is what ``masks.regions`` calls one, neighbours by a corner
included; what is never a shape, the background, cannot be clicked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from annoloop.masks.regions import Bits, LabelMap, Owners, components

Point = tuple[float, float]
"""x, y in px from the top left corner of the image."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What an annotator clicked: on the object, beside it, and a box (left, top, right, bottom) around it."""

    positive: tuple[Point, ...] = ()
    negative: tuple[Point, ...] = ()
    box_ltrb: tuple[float, float, float, float] | None = None


def clicked(label_map: LabelMap, prompts: Prompts, unshown: Collection[int]) -> Bits:
    """The pixels (H, W) that prompts take.

    A positive click takes the connected region under it, a box takes what is in it of any region; then a negative
    click takes the region under it away.  A click on what is never a shape (``unshown``) takes and removes nothing.

    >>> found = clicked(np.array([[1, 0, 1]], np.uint8), Prompts(positive=((0.5, 0.5),)), unshown=[0])
    >>> found.tolist()
    [[True, False, False]]
    """
    found = components(label_map)
    height, width = label_map.shape
    shown = ~np.isin(label_map, list(unshown))
    taken = np.isin(found.numbers, _under(found.numbers, prompts.positive))
    if prompts.box_ltrb is not None:
        left, top, right, bottom = _pixels(prompts.box_ltrb, (height, width))
        taken[top:bottom, left:right] = True
    taken &= ~np.isin(found.numbers, _under(found.numbers, prompts.negative))
    return np.asarray(taken & shown, np.bool_)


def _under(numbers: Owners, points: Sequence[Point]) -> list[int]:
    """The components under points; one on the far border belongs to the last pixel."""
    height, width = numbers.shape
    return sorted({int(numbers[min(int(y), height - 1), min(int(x), width - 1)]) for x, y in points})


def _pixels(box_ltrb: tuple[float, float, float, float], size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Every pixel that a box touches, half-open, inside the image."""
    left, top, right, bottom = box_ltrb
    height, width = size_hw
    return (
        max(0, int(np.floor(left))),
        max(0, int(np.floor(top))),
        min(width, int(np.ceil(right))),
        min(height, int(np.ceil(bottom))),
    )
