"""Labels made wrong on purpose, to measure how well wrong labels are found: one component of a mask at a time.

Knows label maps only, no files and no models.  The fact to know: only foreground is touched, ignored
pixels and everything else stay as they are, and the same seed does the same damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from annoloop.errors import ConfigError, DataError
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import Bits, LabelMap, Region, regions

Kind = Literal["removed", "shifted", "swapped", "holes", "ragged"]
"""What careless labelling does: a component forgotten, drawn beside its place, given another class, with holes where
a stroke missed, with an outline that goes in and out."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_HOLE_SHARE = 0.3
"""Of a component's pixels, at least: so much is lost to holes."""

_BITE_EVERY_PX = 12
"""Pixels of a component's sides to one bite of its outline."""


@dataclass(frozen=True, slots=True, eq=False)
class Damage:
    """A label map made wrong, uint8 (H, W), and what was done to which component of the right one."""

    label_map: LabelMap
    kind: Kind
    component: Region


def damage(
    label_map: LabelMap,
    classes: ClassTable,
    seed: int | Sequence[int],
    *,
    least_px: int = 1,
    kinds: Sequence[Kind] = KINDS,
) -> Damage | None:
    """Damage one component of at least ``least_px`` pixels; None where there is none, or nothing would differ.

    Raises:
        ConfigError: no class is the background, so a component cannot be removed.
    """
    background = _background(classes)
    rng = np.random.default_rng(seed)
    found = [r for r in regions(label_map, skip=(background, classes.ignore_index)) if r.area_px >= least_px]
    if not found:
        return None
    component = found[rng.integers(len(found))]
    others = [c.index for c in classes.classes if c.index not in (background, component.class_index)]
    possible = [kind for kind in kinds if others or kind != "swapped"]
    if not possible:
        return None
    kind = possible[rng.integers(len(possible))]
    wrong = label_map.copy()
    cut = wrong[component.window]
    if kind == "swapped":
        cut[component.bits] = others[rng.integers(len(others))]
    elif kind in ("removed", "shifted"):
        cut[component.bits] = background
        if kind == "shifted":
            _draw_beside(wrong, component, background, rng)
    elif kind == "holes":
        cut[_holes(component.bits, rng)] = background
    else:
        _fray(wrong, component, background, rng)
    return None if np.array_equal(wrong, label_map) else Damage(wrong, kind, component)


def damage_share(
    names: Sequence[str],
    read: Callable[[str], LabelMap],
    classes: ClassTable,
    *,
    share: float,
    seed: int,
    least_px: int = 1,
    kinds: Sequence[Kind] = KINDS,
) -> Iterator[tuple[str, Damage]]:
    """Damage ``share`` (0 ... 1) of the label maps, rounded to whole maps and drawn by chance; one in memory at a time.

    Raises:
        ConfigError: no class is the background.
        DataError: too few of them have a component to damage.
    """
    wanted, done = round(share * len(names)), 0
    for position in np.random.default_rng(seed).permutation(len(names)):
        if done == wanted:
            return
        one = damage(read(names[position]), classes, (seed, int(position)), least_px=least_px, kinds=kinds)
        if one is not None:
            done += 1
            yield names[position], one
    if done < wanted:
        raise DataError(
            f"only {done} of {len(names)} masks have an object to damage, {wanted} are wanted",
            hint="ask for a smaller share",
        )


def _background(classes: ClassTable) -> int:
    if classes.background_index is None:
        raise ConfigError("labels can be damaged only where a class is the background", where="background")
    return classes.background_index


def _draw_beside(label_map: LabelMap, component: Region, background: int, rng: np.random.Generator) -> None:
    """Draw a component a quarter to half of its sides away, on background only; what leaves the image is lost."""
    sides = np.array(component.bits.shape)
    step = np.maximum(1, np.rint(sides * rng.uniform(0.25, 0.5, 2))).astype(int) * rng.choice([-1, 1], 2)
    rows, columns = np.nonzero(component.bits)
    rows, columns = rows + component.top_px + step[0], columns + component.left_px + step[1]
    inside = (rows >= 0) & (rows < label_map.shape[0]) & (columns >= 0) & (columns < label_map.shape[1])
    rows, columns = rows[inside], columns[inside]
    free = label_map[rows, columns] == background
    label_map[rows[free], columns[free]] = component.class_index


def _holes(bits: Bits, rng: np.random.Generator) -> Bits:
    """The pixels (h, w) of a component that round holes take, until a third or so of it is gone."""
    area_px = int(np.count_nonzero(bits))
    lost = np.zeros_like(bits)
    radius = max(1.0, np.sqrt(area_px * 0.1 / np.pi))
    places = np.argwhere(bits)
    while np.count_nonzero(lost) < _HOLE_SHARE * area_px:
        lost |= bits & _disc(bits.shape, places[rng.integers(len(places))], radius)
    return lost


def _fray(label_map: LabelMap, component: Region, background: int, rng: np.random.Generator) -> None:
    """Bite discs out of a component along its outline, and draw as many beside it, on background only."""
    bits = component.bits
    radius = max(1.5, 0.08 * float(np.hypot(*bits.shape)))
    margin = int(np.ceil(radius)) + 1
    padded = np.pad(bits, margin)
    inner = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    outline = np.argwhere(padded & ~np.pad(inner, 1))
    bitten, drawn = np.zeros_like(padded), np.zeros_like(padded)
    for number in range(2 * max(1, sum(bits.shape) // _BITE_EVERY_PX)):
        disc = _disc(padded.shape, outline[rng.integers(len(outline))], radius)
        (bitten if number % 2 == 0 else drawn)[disc] = True
    top, left = component.top_px - margin, component.left_px - margin
    for wanted, value in ((bitten & padded, background), (drawn & ~padded, component.class_index)):
        rows, columns = np.nonzero(wanted)
        rows, columns = rows + top, columns + left
        inside = (rows >= 0) & (rows < label_map.shape[0]) & (columns >= 0) & (columns < label_map.shape[1])
        rows, columns = rows[inside], columns[inside]
        free = (label_map[rows, columns] == background) | (value == background)
        label_map[rows[free], columns[free]] = value


def _disc(shape_hw: tuple[int, ...], centre: npt.NDArray[np.int64], radius: float) -> Bits:
    """A disc (h, w) around a pixel."""
    rows, columns = np.ogrid[: shape_hw[0], : shape_hw[1]]
    inside: Bits = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return inside
