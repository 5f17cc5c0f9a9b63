"""The class contract: which classes there are, in which order and colour, and what the rest means.

``ClassTable.digest`` is stored with every CVAT task and compared when it comes back (law 6).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from annoloop.errors import ConfigError, some_of

if TYPE_CHECKING:
    import numpy.typing as npt

IGNORE_LABEL = "ignore"
"""The CVAT label and COCO category that stands for pixels with the ignore index."""

PREVIOUS = "previous"
"""The background rule by which a pixel that no shape covers keeps the value that it had."""

NARROW_IGNORE = 255
"""The ignore index of mmsegmentation, and the highest value of an 8-bit mask; with a higher one, masks have 16 bits."""

WIDE_IGNORE = 65_535
"""The highest value of a 16-bit mask: the ignore index of projects with more classes than 8 bits can tell apart."""

MAX_CLASSES = 255
"""So many classes fit into 8-bit masks, beside the ignore index 255."""

MAX_WIDE_CLASSES = 65_535
"""So many fit into 16-bit masks, beside the ignore index 65535."""

_DISTINCT_COLORS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6",
    "#bfef45", "#fabed4", "#469990", "#dcbeff", "#9a6324", "#fffac8", "#800000", "#aaffc3",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class: its index in the masks, its name and its colour as ``#rrggbb``."""

    index: int
    name: str
    color: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three numbers from 0 to 255."""
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)


@dataclass(frozen=True, slots=True)
class ClassTable:
    """All classes in index order (0 ... K-1).

    ``background`` is what pixels that no shape covers become: the class of that name, which is never
    drawn; with ``None`` every class, 0 included, travels as shapes and an uncovered pixel becomes
    ``ignore_index``; with ``PREVIOUS`` ignored pixels are drawn too and an uncovered one stays as it was.
    """

    classes: tuple[LabelClass, ...]
    ignore_index: int = 255
    background: str | None = None
    values: tuple[tuple[int, int], ...] = ()
    """Stored values of mask files and the indices that they mean; empty: they are the indices."""
    nearest: bool = False
    """A stored value that ``values`` does not name means what the nearest one does that it names."""
    digest: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "digest", _digest(self))

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def is_wide(self) -> bool:
        """Whether masks have 16 bits: the ignore index, which lies above all class indices, needs them."""
        return self.ignore_index > NARROW_IGNORE

    @property
    def dtype(self) -> npt.DTypeLike:
        """The type of label maps: uint8, or uint16 where these classes need it."""
        import numpy as np  # a Python without it can still say that it is missing: a job's record imports this module

        return np.uint16 if self.is_wide else np.uint8

    @property
    def levels(self) -> int:
        """How many values that type has: the length of a table by class index."""
        return (WIDE_IGNORE if self.is_wide else NARROW_IGNORE) + 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    @property
    def background_index(self) -> int | None:
        """Index of the background class, or None where every class is drawn."""
        return None if self.background in (None, PREVIOUS) else self.names.index(str(self.background))

    @property
    def keeps_uncovered(self) -> bool:
        """Whether a pixel that no shape covers keeps the value that it had."""
        return self.background == PREVIOUS

    @property
    def fill_index(self) -> int:
        """The value of a pixel that no shape covers, unless ``keeps_uncovered``."""
        return self.ignore_index if self.background_index is None else self.background_index

    @property
    def undrawn_indices(self) -> tuple[int, ...]:
        """Class indices that make no shape, because an uncovered pixel means them."""
        return () if self.keeps_uncovered else (self.fill_index,)

    @property
    def drawn_indices(self) -> tuple[int, ...]:
        """Class indices that annotators can draw; the ignore index last."""
        real = tuple(c.index for c in self.classes if c.index != self.background_index)
        return (*real, self.ignore_index)

    def label_of(self, index: int) -> str:
        """The name of a class index, the ignore index included."""
        return IGNORE_LABEL if index == self.ignore_index else self.classes[index].name

    def index_of(self, label: str) -> int:
        """The class index of a label name.

        Raises:
            KeyError: no class has this name.
        """
        if label == IGNORE_LABEL:
            return self.ignore_index
        for label_class in self.classes:
            if label_class.name == label:
                return label_class.index
        raise KeyError(label)


def default_color(index: int) -> str:
    """A colour that stands out from its neighbours; never black, which CVAT shows as background."""
    if index < len(_DISTINCT_COLORS):
        return _DISTINCT_COLORS[index]
    return f"#{(index * 2654435761) % 0xFFFFFE + 1:06x}"


def class_table(
    names: Iterable[str],
    colors: Iterable[str | None] = (),
    *,
    ignore_index: int = 255,
    background: str | None = None,
    values: tuple[tuple[int, int], ...] = (),
    nearest: bool = False,
) -> ClassTable:
    """Build a table from names in index order; missing colours are chosen."""
    given = list(colors)
    background = None if background == IGNORE_LABEL else background
    classes = tuple(
        LabelClass(i, name, (given[i] if i < len(given) else None) or default_color(i)) for i, name in enumerate(names)
    )
    return ClassTable(classes, ignore_index, background, values, nearest)


def _digest(table: ClassTable) -> str:
    contract: dict[str, Any] = {
        "classes": [[c.index, c.name, c.color.lower()] for c in table.classes],
        "ignore_index": table.ignore_index,
        "background": table.background,
    }
    if table.values:  # else the digests of before, with which tasks and runs are on record, would no longer be theirs
        contract |= {"values": table.values, "nearest": table.nearest}
    return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()


def _check(table: ClassTable) -> None:
    names = table.names
    if not 1 <= len(names) <= MAX_WIDE_CLASSES:
        raise ConfigError(f"between 1 and {MAX_WIDE_CLASSES} classes are possible, not {len(names)}", where="classes")
    if [c.index for c in table.classes] != list(range(len(names))):
        raise ConfigError("class indices must be 0, 1, 2, … in order", where="classes")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ConfigError(f"class names must be unique; repeated: {some_of(repeated, 20)}", where="classes")
    for reserved, meaning in ((IGNORE_LABEL, "the ignore index"), (PREVIOUS, "a background rule")):
        if reserved in names:
            raise ConfigError(f"{reserved!r} is the name of {meaning}", where="classes", hint="rename the class")
    if table.background not in (None, PREVIOUS, *names):
        raise ConfigError(
            f"no class is named {table.background!r}",
            where="background",
            hint=f"one of: {some_of(names, 20)}; or {IGNORE_LABEL}, or {PREVIOUS}",
        )
    if not len(names) <= table.ignore_index <= WIDE_IGNORE:
        raise ConfigError(
            f"ignore_index {table.ignore_index} must lie in {len(names)} ... {WIDE_IGNORE}",
            where="ignore_index",
            hint=f"{WIDE_IGNORE} for masks of 16 bits, which more than {MAX_CLASSES} classes need"
            if len(names) > MAX_CLASSES
            else f"{NARROW_IGNORE} for masks of 8 bits, {WIDE_IGNORE} for masks of 16",
        )
    for label_class in table.classes:
        _check_color(label_class)


def _check_color(label_class: LabelClass) -> None:
    color = label_class.color
    if len(color) != 7 or color[0] != "#" or not all(c in "0123456789abcdefABCDEF" for c in color[1:]):
        raise ConfigError(f"{color!r} is not a colour like #3cb44b", where=f"classes.{label_class.name}.color")
