"""Polygons beside the masks, for who asks for them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annoloop.masks.regions import Region, rasterize, tight
from annoloop.serving.detection import outline, silhouette

bits = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any)


@given(bits)
def test_a_silhouette_is_every_row_from_its_first_to_its_last_pixel(given_bits: np.ndarray) -> None:
    region = tight(1, given_bits, top_px=3, left_px=2)
    assert region is not None
    filled = np.zeros((15, 15), bool)
    row: np.ndarray | None = None
    for y in range(region.bits.shape[0]):
        columns = np.flatnonzero(region.bits[y])
        row = columns if columns.size else row
        assert row is not None
        filled[region.top_px + y, region.left_px + row[0] : region.left_px + row[-1] + 1] = True
    points = silhouette(region)
    assert len(points) >= 8
    drawn = rasterize([points], 1, (15, 15))
    if np.all([np.any(one) for one in region.bits]):
        assert drawn is not None
        got = np.zeros((15, 15), bool)
        got[drawn.top_px : drawn.top_px + drawn.bits.shape[0], drawn.left_px : drawn.left_px + drawn.bits.shape[1]] = (
            drawn.bits
        )
        assert not (got & ~filled).any()


def test_an_outline_is_that_of_the_largest_part() -> None:
    region = Region(1, 10, 20, np.array([[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], bool))
    xs, ys = outline(region)[::2], outline(region)[1::2]
    assert (min(xs), max(xs), min(ys), max(ys)) == (22, 24, 11, 13)
