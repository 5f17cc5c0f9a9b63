"""A label map as polygons for CVAT, each with the original pixels that it stands for.

Not here: masks, which lose nothing (``regions.py``), and polygons that people drew (``masks.rasterize``).
The fact to know: a CVAT polygon is one ring without holes, so shapes with holes are cut; the regions
give the label map back exactly, only the simplified outlines lose, and ``loss_px`` says how much.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from annoloop.masks.regions import Bits, Ints, LabelMap, Region, check_label_map, paint, rasterize, tight

Polygon: TypeAlias = Any
LinearRing: TypeAlias = Any
"""Shapely's; it has no types, and takes too long to load where no polygon is wanted."""

Shown: TypeAlias = npt.NDArray[np.int32]
"""int32 (H, W): class index, or -1 where nothing is drawn."""

_NOTHING = -1


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What one CVAT shape stands for.

    ``outline`` is x1, y1, x2, y2, ... in CVAT's continuous pixels, in which pixel (row r, column c)
    covers [c, c + 1] x [r, r + 1]; its corners are pixel corners.  None: it travels as a mask.
    """

    region: Region
    outline: tuple[float, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Walls:
    """Unit edges between pixels: ``level`` (H + 1, W) above each row, ``upright`` (H, W + 1) left of each column."""

    level: Bits
    upright: Bits


def pieces(
    label_map: LabelMap, *, skip: Iterable[int] = (), min_region_px: int = 0, tolerance_px: float = 1.0
) -> list[Piece]:
    """Split a label map into outlines ordered by class, top and left, then one mask per class for the rest.

    Outlined is every part of one class whose pixels hang together by their sides and that has at least
    ``min_region_px`` pixels.  A hole of fewer pixels is filled in the outline, not in the region; larger
    ones are cut open upwards and downwards.  The rest are smaller parts, and those whose outline
    simplifies to nothing; masks come last, so that they lie on top when shapes are painted in order.
    Painting the regions gives the map back.

    Outlines are simplified all together, so that touching classes still touch: while the triangle of a
    corner and its neighbours has an area of at most ``tolerance_px`` squared, the corner goes (Visvalingam
    & Whyatt, 1993).  At 0 corners stay, and an outline without filled holes rasterises to its region.

    Raises:
        DataError: not a label map.
    """
    shown = check_label_map(label_map).astype(np.int32)
    shown[np.isin(label_map, list(skip))] = _NOTHING
    polygons = _simple_polygons(shown, min_region_px)
    drawn = zip(polygons, _simplified(polygons, tolerance_px), strict=True)
    outlined = [Piece(_region(polygon, shown), outline) for polygon, outline in drawn if _covers_a_pixel(outline)]
    outlined.sort(key=lambda p: (p.region.class_index, p.region.top_px, p.region.left_px))
    return [*outlined, *_rest(outlined, shown)]


def loss_px(found: Sequence[Piece], label_map: LabelMap, fill: int) -> int:
    """How many pixels would change if every piece came back as its outline, painted in order over ``fill``."""
    read = [p.region if p.outline is None else _read_back(p.outline, p.region.class_index) for p in found]
    painted = paint((r for r in read if r is not None), (label_map.shape[0], label_map.shape[1]), fill=fill)
    return int(np.count_nonzero(painted != label_map))


def _simple_polygons(shown: Shown, min_region_px: int) -> list[Polygon]:
    """The parts to outline, without a hole: small holes filled, larger ones cut open."""
    polygons = _polygons(_walls(shown), shown, min_region_px)
    if not any(polygon.interiors for polygon in polygons):
        return polygons
    filled, large = shown.copy(), []
    for polygon in polygons:
        for hole in polygon.interiors:
            left, top, bits = _inside(hole)
            if np.count_nonzero(bits) < min_region_px:
                h, w = bits.shape
                filled[top : top + h, left : left + w][bits] = _class_index(polygon, shown)
            else:
                large.append(hole)
    return _polygons(_cut_open(_walls(filled), large), filled, min_region_px)


def _walls(shown: Shown) -> _Walls:
    framed = np.pad(shown, 1, constant_values=_NOTHING)
    return _Walls(framed[1:, 1:-1] != framed[:-1, 1:-1], framed[1:-1, 1:] != framed[1:-1, :-1])


def _cut_open(walls: _Walls, holes: Iterable[LinearRing]) -> _Walls:
    """Add walls from the top of every hole straight up to the next wall, and from its foot straight down.

    No part keeps a hole: going up from hole to hole ends outside, and so does going down, so every
    cut lies on a closed way around and parts what is left of it from what is right of it.
    """
    level = np.pad(walls.level, ((0, 0), (1, 1)))
    upright = np.pad(walls.upright, ((1, 1), (0, 0)))
    corner = level[:, 1:] | level[:, :-1] | upright[1:] | upright[:-1]
    cut = walls.upright.copy()
    for hole in holes:
        x, y = _corners(hole).T
        first, last = np.lexsort((x, y))[[0, -1]]
        above = np.flatnonzero(corner[: y[first], x[first]])[-1]
        below = y[last] + 1 + np.flatnonzero(corner[y[last] + 1 :, x[last]])[0]
        cut[above : y[first], x[first]] = True
        cut[y[last] : below, x[last]] = True
    return _Walls(walls.level, cut)


def _polygons(walls: _Walls, shown: Shown, min_region_px: int) -> list[Polygon]:
    """The areas that walls enclose, those of at least ``min_region_px`` in which something is shown."""
    import shapely

    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(_segments(walls))))
    found = [
        polygon
        for polygon in shapely.normalize(faces[shapely.area(faces) >= min_region_px])
        if _class_index(polygon, shown) != _NOTHING
    ]
    return sorted(found, key=_first_pixel)


def _segments(walls: _Walls) -> npt.NDArray[np.float64]:
    """Walls as straight lines between corners, (N, 2, 2) ends as x, y; a crossing wall makes a corner."""
    level = np.pad(walls.level, ((0, 0), (1, 1)))
    upright = np.pad(walls.upright, ((1, 1), (0, 0)))
    by_level = _runs(walls.level, upright[1:] | upright[:-1])
    by_upright = _runs(walls.upright.T, (level[:, 1:] | level[:, :-1]).T)
    return np.concatenate([by_level[..., ::-1], by_upright]).astype(np.float64)


def _runs(edges: Bits, breaks: Bits) -> Ints:
    """Runs of unit edges along axis 1 that go on until a break, (N, 2, 2) ends as row, column."""
    framed = np.pad(edges, ((0, 0), (1, 1)))
    starts = np.argwhere(edges & (~framed[:, :-2] | breaks[:, :-1]))
    ends = np.argwhere(edges & (~framed[:, 2:] | breaks[:, 1:]))
    ends[:, 1] += 1
    return np.stack([starts, ends], axis=1)


def _simplified(polygons: Sequence[Polygon], tolerance_px: float) -> list[tuple[float, ...]]:
    """Outlines of polygons without holes that touch, simplified together."""
    import shapely

    simple = shapely.coverage_simplify(polygons, tolerance_px) if tolerance_px > 0 and polygons else polygons
    return [tuple(shapely.get_coordinates(polygon.exterior)[:-1].ravel().tolist()) for polygon in simple]


def _covers_a_pixel(outline: tuple[float, ...]) -> bool:
    return len(outline) >= 6 and _read_back(outline, 0) is not None


def _read_back(outline: tuple[float, ...], class_index: int) -> Region | None:
    """``masks.rasterize`` in the outline's own box: whole images cost milliseconds each."""
    points = np.array(outline).reshape(-1, 2)
    left, top = points.min(axis=0).astype(int).tolist()
    right, bottom = points.max(axis=0).astype(int).tolist()
    part = rasterize([(points - (left, top)).ravel().tolist()], class_index, (bottom - top, right - left))
    return part and Region(class_index, top + part.top_px, left + part.left_px, part.bits)


def _region(polygon: Polygon, shown: Shown) -> Region:
    """The pixels of the polygon's class inside it.

    They reach all four sides of its box, and its first pixel is one of them, although a cut may go through
    a filled hole: cuts are upright, so whatever lies above and below the hole is in the same part.
    """
    left, top, bits = _inside(polygon.exterior)
    class_index = _class_index(polygon, shown)
    h, w = bits.shape
    return Region(class_index, top, left, bits & (shown[top : top + h, left : left + w] == class_index))


def _rest(outlined: Iterable[Piece], shown: Shown) -> list[Piece]:
    """All pixels of a class that no region has yet, as one mask."""
    left_over = shown.copy()
    for piece in outlined:
        left_over[piece.region.window][piece.region.bits] = _NOTHING
    classes = [int(index) for index in np.unique(left_over) if index != _NOTHING]
    regions = [tight(index, left_over == index) for index in classes]
    return [Piece(region, None) for region in regions if region is not None]


def _inside(ring: LinearRing) -> tuple[int, int, Bits]:
    """Left, top and the pixels inside a ring of level and upright edges: the winding number is not 0."""
    corners = _corners(ring)
    left, top = corners.min(axis=0)
    x, y = (corners - (left, top)).T
    turns = np.zeros((y.max() + 1, x.max() + 1), np.int8)
    # An upright edge from y to y' counts +1 or -1 in the rows between; a level one cancels itself.
    np.add.at(turns, (y[:-1], x[:-1]), 1)
    np.add.at(turns, (y[1:], x[:-1]), -1)
    inside = turns.cumsum(axis=0, dtype=np.int8).cumsum(axis=1, dtype=np.int8) != 0
    return int(left), int(top), inside[:-1, :-1]


def _corners(ring: LinearRing) -> Ints:
    """x, y of a closed ring, (N, 2)."""
    import shapely

    corners: Ints = shapely.get_coordinates(ring).astype(np.int64)
    return corners


def _first_pixel(polygon: Polygon) -> tuple[int, int]:
    """Row and column of the polygon's first pixel in reading order; no other polygon has it."""
    x, y = _corners(polygon.exterior).T
    first = np.lexsort((x, y))[0]
    return int(y[first]), int(x[first])


def _class_index(polygon: Polygon, shown: Shown) -> int:
    return int(shown[_first_pixel(polygon)])
