"""``annoloop diff``: which masks differ between two sides, and how many pixels of which class became which.

Not here: what a side is (``sides.py``) and the page (``diff_page.py``).  The fact to know: the same bytes are the same
mask and are not decoded; other bytes may still hold the same labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from annoloop.compute.workers import spread
from annoloop.data.images import decode_index_png, read_bytes, sha256
from annoloop.data.mmseg_folders import to_label_map
from annoloop.errors import AnnoloopError, DataError
from annoloop.loop.handover.sides import Mask, Side, side_of
from annoloop.masks.classes import ClassTable
from annoloop.masks.regions import LabelMap
from annoloop.progress import Track, silent
from annoloop.project.files import ProjectFiles
from annoloop.project.project import Project

State: TypeAlias = Literal["changed", "added", "removed", "other size", "cannot be compared"]
Box: TypeAlias = tuple[int, int, int, int]

_PIECE_PX = 1 << 22


@dataclass(frozen=True, slots=True)
class MaskDiff:
    """A mask that is not the same: how many of its ``px`` pixels changed, and within which box (half-open).

    Of an ``added`` or ``removed`` mask, and of one that cannot be compared (``why``), no pixels are counted.
    """

    sample_id: str
    state: State
    changed_px: int = 0
    px: int = 0
    box_ltrb: Box | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Flow:
    """How many pixels of one class became another; ``ignore`` is one, too."""

    before: str
    after: str
    px: int


@dataclass(frozen=True, slots=True)
class ClassDiff:
    """What a class lost to others and gained from them, px, over all changed masks."""

    name: str
    lost_px: int
    gained_px: int


@dataclass(frozen=True, slots=True)
class DiffReport:
    """What differs: ``masks`` in which most pixels changed first, ``flows`` and ``classes`` the largest first.

    ``compared``: samples that both sides know of, ``only_a`` and ``only_b`` those that one does; ``same_labels``: masks
    of other bytes with the same labels; ``px``: of all masks of which pixels were compared; ``other_images``: samples
    whose image is another one on either side.
    """

    a: str
    b: str
    a_told: str
    b_told: str
    compared: int
    only_a: int
    only_b: int
    same: int
    same_labels: int
    changed: int
    added: int
    removed: int
    uncompared: int
    changed_px: int
    px: int
    classes: tuple[ClassDiff, ...]
    flows: tuple[Flow, ...]
    masks: tuple[MaskDiff, ...]
    other_images: tuple[str, ...]
    page: Path | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of two masks; ``flows``: px by both class indices."""

    mask: MaskDiff
    flows: dict[tuple[int, int], int] = field(default_factory=dict)


def diff(
    project: Project, a: str, b: str, *, splits: Sequence[str] | None = None, track: Track = silent
) -> tuple[DiffReport, Side, Side]:
    """Compare two sides; a mask that cannot be read is told, and the others are compared.

    Raises:
        ConfigError: a side that is none, classes other than the project's, or an unknown split.
        LedgerError: no such round or run.
        DataError: no masks there, or a file that cannot be read.
    """
    one, other = side_of(project, a, splits, track), side_of(project, b, splits, track)
    both = sorted(one.masks.keys() & other.masks.keys())
    pairs = [(name, one.masks[name], other.masks[name]) for name in both]
    same = {name for name, x, y in pairs if x == y or (x and y and x.sha256 and x.sha256 == y.sha256)}
    items = [(name, x, y) for name, x, y in pairs if name not in same and x is not None and y is not None]
    found = list(track(spread(partial(compare, files=project.files), items), "comparing masks", len(items)))
    single = [
        MaskDiff(name, "added" if x is None else "removed")
        for name, x, y in pairs
        if name not in same and (x is None or y is None)
    ]
    images = tuple(name for name in both if one.images.get(name, "") != other.images.get(name, "")
                   and name in one.images and name in other.images)  # fmt: skip
    return _report(project.classes, (one, other), len(same), found, single, images), one, other


def compare(item: tuple[str, Mask, Mask], files: ProjectFiles) -> Compared:
    """Two masks pixel by pixel."""
    name, before, after = item
    try:
        maps = [label_map_of(one, files) for one in (before, after)]
    except AnnoloopError as error:
        return Compared(MaskDiff(name, "cannot be compared", why=f"{error.where}: {error.message}"))
    if maps[0].shape != maps[1].shape:
        sizes = " and ".join(f"{one.shape[1]} x {one.shape[0]} px" for one in maps)
        return Compared(MaskDiff(name, "other size", why=sizes))
    differs = maps[0] != maps[1]
    flows = flows_of(maps[0][differs], maps[1][differs])
    return Compared(MaskDiff(name, "changed", sum(flows.values()), differs.size, _box(differs)), flows)


def label_map_of(mask: Mask, files: ProjectFiles) -> LabelMap:
    """The label map of a mask, whose bytes are still those that it stands for.

    Raises:
        DataError: they are not, or nobody knows where they are.
    """
    if mask.file is None:
        raise DataError("is in no file any more: neither in the history nor on disk", where=f"mask {mask.sha256[:12]}")
    stored = read_bytes(mask.file)
    if mask.is_prediction:
        return decode_index_png(stored, mask.file).values.astype(files.classes.dtype, copy=False)
    if sha256(stored) != mask.sha256:
        raise DataError("is not what it was", where=mask.file)
    return to_label_map(decode_index_png(stored, mask.file), files.config.data, mask.file)


def flows_of(before: LabelMap, after: LabelMap) -> dict[tuple[int, int], int]:
    """How many pixels have which pair of class indices; both (N,).

    >>> flows_of(np.array([0, 0, 1], np.uint8), np.array([2, 2, 0], np.uint8))
    {(0, 2): 2, (1, 0): 1}
    """
    flows: Counter[tuple[int, int]] = Counter()
    for start in range(0, before.size, _PIECE_PX):
        piece = slice(start, start + _PIECE_PX)  # all of a large map at once would be many times its bytes
        codes, counts = np.unique(before[piece].astype(np.uint32) << 16 | after[piece], return_counts=True)
        flows.update({divmod(code, 1 << 16): px for code, px in zip(codes.tolist(), counts.tolist(), strict=True)})
    return dict(flows)


def _box(differs: npt.NDArray[np.bool_]) -> Box | None:
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _report(
    classes: ClassTable,
    sides: tuple[Side, Side],
    same: int,
    found: Sequence[Compared],
    single: Sequence[MaskDiff],
    images: tuple[str, ...],
) -> DiffReport:
    one, other = sides
    masks = [item.mask for item in found]
    real = [mask for mask in masks if mask.state == "changed" and mask.changed_px]
    alike = sum(mask.state == "changed" and not mask.changed_px for mask in masks)
    odd = [mask for mask in masks if mask.state != "changed"]
    flows: Counter[tuple[int, int]] = Counter()
    for item in found:
        flows.update(item.flows)
    real.sort(key=lambda mask: (-mask.changed_px, mask.sample_id))
    return DiffReport(
        one.name, other.name, one.told, other.told,
        compared=len(one.masks.keys() & other.masks.keys()),
        only_a=len(one.masks.keys() - other.masks.keys()),
        only_b=len(other.masks.keys() - one.masks.keys()),
        same=same,
        same_labels=alike,
        changed=len(real),
        added=sum(mask.state == "added" for mask in single),
        removed=sum(mask.state == "removed" for mask in single),
        uncompared=len(odd),
        changed_px=flows.total(),
        px=sum(mask.px for mask in masks),
        classes=tuple(_by_class(flows, classes)),
        flows=tuple(Flow(_name(x, classes), _name(y, classes), px) for (x, y), px in flows.most_common()),
        masks=(*real, *single, *odd),
        other_images=images,
    )  # fmt: skip


def _by_class(flows: Counter[tuple[int, int]], classes: ClassTable) -> Iterator[ClassDiff]:
    lost: Counter[int] = Counter()
    gained: Counter[int] = Counter()
    for (before, after), px in flows.items():
        lost[before] += px
        gained[after] += px
    for index in sorted(lost | gained, key=lambda index: (-lost[index] - gained[index], index)):
        yield ClassDiff(_name(index, classes), lost[index], gained[index])


def _name(index: int, classes: ClassTable) -> str:
    """Of a class; of what is none its number, as in a mask that was made with other classes."""
    is_known = index < len(classes) or index == classes.ignore_index
    return classes.label_of(index) if is_known else f"{index} (no class)"
