"""What one mask tells: pixels, components and their sizes, where classes lie, and what could be slips of the hand.

Arrays in, a small record out.  Not here: whether something is odd; that is decided against what is usual in the
whole data set (``outliers.py``).  The fact to know: sizes are counted in half octaves, so that records of any
number of masks add up to one of the same size.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import Bits, Components, IndexMap, Ints, LabelMap, components

BINS = 64
"""Size bins: bin b counts sizes from 2^(b/2) to below 2^((b+1)/2) px."""

CELLS = 32
"""Cells along each side of a map of where a class lies."""

SAMPLES_PER_CELL = 16

SPECK_PX = 16
HOLE_PX = 64
"""Larger components and holes are no slips of the hand, whatever is usual."""

_WALL_PX = 3
_MOST_SPOTS = 8
_MOST_TRIED = 64
_ACROSS = 4
"""Points along each side of a cell; their square is SAMPLES_PER_CELL."""
_WIDEST_FRAME = 8
"""A frame is at most so many times narrower than the image's shorter side."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A small component of a class, or a small unlabelled hole in a component of it."""

    class_index: int
    area_px: int
    box_ltrb: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """One value along all four sides, ``width_px`` wide, that most pixels just inside do not have."""

    value: int
    width_px: int


@dataclass(frozen=True, slots=True, eq=False)
class MaskFacts:
    """One mask; arrays are by the P classes in ``present``, the background among them.

    ``pixels``, ``components`` and ``holed`` (components that enclose something unlabelled) int64 (P,); ``sizes``
    int64 (P, BINS) counts components by area; ``heat`` uint8 (P, CELLS, CELLS) says how many of a cell's
    SAMPLES_PER_CELL points lie in the class.  ``sides`` int64 (BINS,) counts the foreground's components by the
    longer side of their box.  ``unknown``: index and px of what is no class.  Of ``specks`` and ``holes`` only the
    smallest few are kept.  ``fingerprint`` tells two label maps of one image apart.
    """

    size_hw: tuple[int, int]
    present: Ints
    pixels: Ints
    components: Ints
    holed: Ints
    sizes: Ints
    heat: npt.NDArray[np.uint8]
    sides: Ints
    ignored_px: int
    unknown: tuple[tuple[int, int], ...]
    specks: tuple[Spot, ...]
    holes: tuple[Spot, ...]
    frame: Frame | None
    fingerprint: int


def mask_facts(label_map: LabelMap, classes: ClassTable) -> MaskFacts:
    """Look at a label map (H, W).

    Raises:
        DataError: no pixels.
    """
    found = components(label_map)
    pixels = np.bincount(found.class_of, found.sizes_px, minlength=classes.levels).astype(np.int64)
    present = np.flatnonzero(pixels[: len(classes)])
    inside = _off_the_border(found)
    foreground = _is_foreground(found.class_of, classes)
    holes, owners = _holes(found, inside & ~foreground, foreground)
    return MaskFacts(
        size_hw=(label_map.shape[0], label_map.shape[1]),
        present=present,
        pixels=pixels[present],
        components=_count(found.class_of, classes.levels)[present],
        holed=_count(found.class_of[np.unique(owners)], classes.levels)[present],
        sizes=_by_size(found.class_of, found.sizes_px, present),
        heat=_heat(label_map, present),
        sides=_count(size_bin(_longer_sides(found.boxes_ltrb[foreground])), BINS),
        ignored_px=int(pixels[classes.ignore_index]),
        unknown=_unknown(pixels, classes),
        specks=_specks(found, np.flatnonzero(inside & foreground & (found.sizes_px <= SPECK_PX))),
        holes=_small_holes(found, holes, owners),
        frame=_frame(label_map, found),
        fingerprint=zlib.crc32(np.ascontiguousarray(label_map).data),
    )


def size_bin(px: npt.ArrayLike) -> Ints:
    """The bin of sizes of at least 1 px.

    >>> size_bin([1, 2, 3, 4, 1000]).tolist()
    [0, 2, 3, 4, 19]
    """
    return np.floor(2 * np.log2(px) + 1e-9).astype(np.int64)


def _is_foreground(values: IndexMap, classes: ClassTable) -> Bits:
    lookup = np.zeros(classes.levels, np.bool_)
    lookup[: len(classes)] = True
    if classes.background_index is not None:
        lookup[classes.background_index] = False
    return lookup[values]


def _count(values: IndexMap | Ints, length: int) -> Ints:
    return np.bincount(values, minlength=length).astype(np.int64)


def _by_size(class_of: IndexMap, px: Ints, present: Ints) -> Ints:
    """Counts (P, BINS) of sizes by class, of the classes in ``present``."""
    if not present.size:
        return np.zeros((0, BINS), np.int64)
    rows = np.minimum(np.searchsorted(present, class_of), present.size - 1)
    counted = present[rows] == class_of
    cells = rows[counted] * BINS + size_bin(px[counted])
    counts: Ints = np.bincount(cells, minlength=present.size * BINS).reshape(present.size, BINS)
    return counts


def _longer_sides(boxes_ltrb: Ints) -> Ints:
    left, top, right, bottom = boxes_ltrb.T
    longer: Ints = np.maximum(right - left, bottom - top)
    return longer


def _unknown(pixels: Ints, classes: ClassTable) -> tuple[tuple[int, int], ...]:
    rest = pixels.copy()
    rest[: len(classes)] = 0
    rest[classes.ignore_index] = 0
    return tuple((int(index), int(rest[index])) for index in np.flatnonzero(rest))


def _off_the_border(found: Components) -> Bits:
    """Whether each component keeps away from the image's border, where objects are cut to any size, (N,)."""
    height, width = found.numbers.shape
    left, top, right, bottom = found.boxes_ltrb.T
    inside: Bits = (left > 0) & (top > 0) & (right < width) & (bottom < height)
    return inside


def _holes(found: Components, candidates: Bits, foreground: Bits) -> tuple[Ints, Ints]:
    """The candidates that touch one component only, which is foreground, and these components; by number."""
    if not candidates.any():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    pairs = _neighbours(found.numbers)
    pairs = pairs[candidates[pairs[:, 0]]]
    count = found.class_of.size
    touching, beside = np.divmod(np.unique(pairs[:, 0] * count + pairs[:, 1]), count)
    numbers, first, neighbours = np.unique(touching, return_index=True, return_counts=True)
    owners = beside[first]
    enclosed = (neighbours == 1) & foreground[owners]
    return numbers[enclosed], owners[enclosed]


def _neighbours(numbers: npt.NDArray[np.int32]) -> Ints:
    """The numbers of pixels side by side or one above the other, where they differ; both ways round, (M, 2)."""
    flat, width = numbers.ravel(), numbers.shape[1]
    pairs = []
    for step in (1, width):
        first = np.flatnonzero(flat[step:] != flat[:-step])
        if step == 1 < width:
            first = first[(first + 1) % width > 0]  # the end of one row does not touch the start of the next
        pairs.append(np.stack([flat[first], flat[first + step]], axis=1).astype(np.int64))
    one_way = np.concatenate(pairs)
    return np.concatenate([one_way, one_way[:, ::-1]])


def _specks(found: Components, numbers: Ints) -> tuple[Spot, ...]:
    """The smallest of some components."""
    smallest = numbers[np.argsort(found.sizes_px[numbers], kind="stable")[:_MOST_SPOTS]]
    return tuple(_spot(found, number, number) for number in smallest)


def _small_holes(found: Components, holes: Ints, owners: Ints) -> tuple[Spot, ...]:
    """The smallest holes that lie deep inside their owners; what two touching objects enclose does not."""
    order = np.argsort(found.sizes_px[holes], kind="stable")[:_MOST_TRIED]
    deep = [_spot(found, holes[i], owners[i]) for i in order if _is_deep(found, holes[i], owners[i])]
    return tuple(spot for spot in deep if spot.area_px <= HOLE_PX)[:_MOST_SPOTS]


def _is_deep(found: Components, hole: int, owner: int) -> bool:
    """Whether the walls around a hole are as thick as the hole is long, and never thinner than ``_WALL_PX``."""
    left, top, right, bottom = found.boxes_ltrb[hole]
    wall = max(_WALL_PX, right - left, bottom - top)
    if min(left, top) < wall:
        return False
    around = found.numbers[top - wall : bottom + wall, left - wall : right + wall]
    return bool(((around == hole) | (around == owner)).all())


def _spot(found: Components, number: int, owner: int) -> Spot:
    return Spot(int(found.class_of[owner]), int(found.sizes_px[number]), _box(found.boxes_ltrb[number]))


def _box(ltrb: Ints) -> tuple[int, int, int, int]:
    left, top, right, bottom = ltrb.tolist()
    return left, top, right, bottom


def _heat(label_map: LabelMap, present: Ints) -> npt.NDArray[np.uint8]:
    """How many of the points of each cell lie in each class; the points are spread evenly over the image."""
    points = CELLS * _ACROSS
    rows, columns = (((np.arange(points) + 0.5) * side / points).astype(np.intp) for side in label_map.shape)
    seen = label_map[np.ix_(rows, columns)] == present[:, None, None]
    by_row = sum(seen[:, number::_ACROSS].view(np.uint8) for number in range(_ACROSS))
    heat: npt.NDArray[np.uint8] = sum(by_row[:, :, number::_ACROSS] for number in range(_ACROSS))
    return heat


def _frame(label_map: LabelMap, found: Components) -> Frame | None:
    value = label_map[0, 0]
    boxes = found.boxes_ltrb[found.class_of != value]
    if boxes.size == 0:
        return None
    height, width = label_map.shape
    left, top, right, bottom = boxes.T
    thick = int(min(left.min(), top.min(), width - right.max(), height - bottom.max()))
    if thick == 0 or thick * _WIDEST_FRAME > min(height, width):
        return None
    within = label_map[thick : height - thick, thick : width - thick] == value
    ring = np.concatenate([within[0], within[-1], within[1:-1, 0], within[1:-1, -1]])
    return Frame(int(value), thick) if ring.mean() < 0.5 else None
