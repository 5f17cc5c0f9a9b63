"""What lies around each pixel: the highest value near it, and areas without their thin parts.

Knows arrays only; the operations are those of mathematical morphology with a square (Serra, "Image Analysis and
Mathematical Morphology", 1982).  The fact to know: overlapping stretches double their length with each step, so the
time hardly depends on how far one looks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.unsignedinteger[Any]]
Bits = npt.NDArray[np.bool_]


def highest_around(values: Values, reach_px: int) -> Values:
    """The largest value in the square of ``2 reach + 1`` around every pixel; beyond the image it is 0."""
    for _ in range(2):  # down the columns, then, turned, along the rows
        padded = np.pad(values, ((reach_px, reach_px), (0, 0)))
        values = np.ascontiguousarray(_highest_of(padded, 2 * reach_px + 1).T)
    return values


def without_thin_parts(bits: Bits, reach_px: int) -> Bits:
    """Only where a square of ``2 reach + 1`` fits in, (H, W): an opening; beyond the image everything is in."""
    core = highest_around((~bits).astype(np.uint8), reach_px) == 0
    kept: Bits = highest_around(core.astype(np.uint8), reach_px) > 0
    return kept & bits


def _highest_of(values: Values, length: int) -> Values:
    """The largest of every ``length`` neighbours in a column; two stretches that overlap make a longer one."""
    span = 1
    while span < length:
        step = min(span, length - span)
        values = np.maximum(values[:-step], values[step:])
        span += step
    return values
