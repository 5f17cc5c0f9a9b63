"""Labels made wrong on purpose, to measure how well wrong labels are found: one component of a mask at a time.

Knows label maps only, no files and no models.  The fact to know: only foreground is touched, ignored
pixels and everything else stay as they are, and the same seed does the same damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from annoloop.errors import ConfigError, DataError
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap, Region, regions

Kind = Literal["removed", "shifted", "swapped"]
"""What careless labelling does: a component forgotten, drawn beside its place, given another class."""


@dataclass(frozen=True, slots=True, eq=False)
class Damage:
    """A label map made wrong, uint8 (H, W), and what was done to which component of the right one."""

    label_map: LabelMap
    kind: Kind
    component: Region


def damage(label_map: LabelMap, classes: ClassTable, seed: int | Sequence[int], *, least_px: int = 1) -> Damage | None:
    """Damage one component of at least ``least_px`` pixels; None where there is none.

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
    kinds = [kind for kind in get_args(Kind) if others or kind != "swapped"]
    kind = kinds[rng.integers(len(kinds))]
    wrong = label_map.copy()
    _cut(wrong, component)[component.bits] = others[rng.integers(len(others))] if kind == "swapped" else background
    if kind == "shifted":
        _draw_beside(wrong, component, background, rng)
    return Damage(wrong, kind, component)


def damage_share(
    names: Sequence[str],
    read: Callable[[str], LabelMap],
    classes: ClassTable,
    *,
    share: float,
    seed: int,
    least_px: int = 1,
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
        one = damage(read(names[position]), classes, (seed, int(position)), least_px=least_px)
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


def _cut(label_map: LabelMap, component: Region) -> LabelMap:
    """The part of a label map under a component's box; a view."""
    left, top, right, bottom = component.box_ltrb
    return label_map[top:bottom, left:right]
