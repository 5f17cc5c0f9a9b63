"""Tiles: cores part the image, cutting and stitching is the identity, an edit anywhere comes back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annoloop.masks.tiling import Tile, put_back, stitched, tiling


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[int, int], list[Tile]]:
    """An image's size and its tiles."""
    size_hw = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    tile_px = draw(st.integers(4, 60))
    return size_hw, tiling(size_hw, tile_px, draw(st.integers(0, tile_px // 2)))


@given(grids())
def test_every_pixel_has_one_owner_whose_window_shows_it(made: tuple[tuple[int, int], list[Tile]]) -> None:
    size_hw, tiles = made
    owners = np.zeros(size_hw, np.int64)
    for tile in tiles:
        owners[tile.core] += 1
        (left, top, right, bottom), (x0, y0, x1, y1) = tile.box_ltrb, tile.core_ltrb
        assert 0 <= left <= x0 < x1 <= right <= size_hw[1]
        assert 0 <= top <= y0 < y1 <= bottom <= size_hw[0]
        assert tile.owns(x0, y0)
        assert not tile.owns(x1, y0)
    assert (owners == 1).all()
    assert len({tile.box_ltrb for tile in tiles}) == len(tiles)


@given(st.integers(10, 300), st.integers(8, 64), st.data())
def test_neighbours_share_at_least_what_was_asked_for(length: int, tile_px: int, data: st.DataObject) -> None:
    overlap_px = data.draw(st.integers(0, tile_px // 2))
    boxes = [tile.box_ltrb for tile in tiling((1, length), tile_px, overlap_px)]
    for one, after in pairwise(boxes):
        assert one[2] - after[0] >= overlap_px
        assert (one[2] - one[0], after[2] - after[0]) == (tile_px, tile_px)


@given(grids(), st.integers(0, 2**32 - 1))
def test_cut_and_stitched_is_the_same_and_any_edit_comes_back(
    made: tuple[tuple[int, int], list[Tile]], seed: int
) -> None:
    size_hw, tiles = made
    rng = np.random.default_rng(seed)
    last = rng.integers(0, 4, size_hw).astype(np.uint8)
    same = [(tile, last[tile.window].copy()) for tile in tiles]
    result, disputed = stitched(last, same)
    assert np.array_equal(result, last)
    assert disputed == 0
    wanted = np.where(rng.random(size_hw) < 0.3, rng.integers(0, 4, size_hw), last).astype(np.uint8)
    edited = []  # each pixel is edited in one of the tiles that show it, whichever that is
    left = wanted != last
    for number in rng.permutation(len(tiles)):
        tile = tiles[number]
        mine = left[tile.window] & ((rng.random(tile.size_hw) < 0.5) | _only_here(tile, tiles, size_hw))
        left[tile.window] &= ~mine
        edited.append((tile, np.where(mine, wanted[tile.window], last[tile.window]).astype(np.uint8)))
    result, disputed = stitched(last, edited)
    assert disputed == 0
    assert np.array_equal(result, np.where(left, last, wanted))


def _only_here(tile: Tile, tiles: list[Tile], size_hw: tuple[int, int]) -> np.ndarray:
    shown = np.zeros(size_hw, np.int64)
    for one in tiles:
        shown[one.window] += 1
    return shown[tile.window] == 1


def test_of_two_edits_of_one_pixel_its_owner_counts_and_the_other_is_told() -> None:
    last = np.zeros((4, 8), np.uint8)
    first, second = Tile((0, 0, 6, 4), (0, 0, 4, 4)), Tile((2, 0, 8, 4), (4, 0, 8, 4))
    one, other = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    one[:, 2:6] = 1  # columns 2 to 5 of the image
    other[:, 0:2] = 2  # columns 2 and 3, which the first owns
    result, disputed = stitched(last, [(first, one), (second, other)])
    assert result[0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0], "4 and 5 the second owns, and left as they were"
    assert disputed == 8
    assert not last.any(), "what was given stays"


def test_an_edit_of_what_another_tile_owns_counts_where_nobody_owns_up() -> None:
    last = np.zeros((1, 6), np.uint8)
    tiles = [Tile((0, 0, 4, 1), (0, 0, 2, 1)), Tile((1, 0, 5, 1), (4, 0, 5, 1))]
    maps = [np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 2, 0]], np.uint8)]
    result, disputed = stitched(last, list(zip(tiles, maps, strict=True)))
    assert (result[0].tolist(), disputed) == ([0, 0, 0, 1, 0, 0], 1)


def test_only_what_no_seen_tile_shows_is_put_back() -> None:
    result, before = np.ones((1, 6), np.uint8), np.zeros((1, 6), np.uint8)
    put_back(result, before, [Tile((0, 0, 4, 1), (0, 0, 3, 1))], [Tile((2, 0, 6, 1), (3, 0, 6, 1))])
    assert result[0].tolist() == [0, 0, 1, 1, 1, 1]
